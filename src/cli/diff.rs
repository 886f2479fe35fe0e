//! A line-by-line difference of two texts, for `policy apply` (P2).
//!
//! The longest common subsequence by dynamic programming: plain, and quick for files of a policy's size.

/// Above this many table cells (two texts of about 2,000 lines) only counts are shown: 16 MB of memory.
const MAX_CELLS: usize = 4_000_000;

/// The lines that differ, with `-` and `+`, and two unchanged lines around each change; empty for equal texts.
pub(crate) fn diff(old: &str, new: &str) -> String {
    let old: Vec<&str> = old.lines().collect();
    let new: Vec<&str> = new.lines().collect();
    if old == new {
        return String::new();
    }
    if (old.len() + 1).saturating_mul(new.len() + 1) > MAX_CELLS {
        return format!("- {} lines\n+ {} lines\n", old.len(), new.len());
    }
    with_context(&changes(&old, &new))
}

/// A mark (`-`, `+` or a space) and a line.
type Marked<'a> = (char, &'a str);

/// Unchanged lines shown on each side of a change: enough to see which client a rule belongs to.
const CONTEXT: usize = 2;

fn changes<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Marked<'a>> {
    let lengths = common_lengths(old, new);
    let columns = new.len() + 1;
    let common = |left: usize, right: usize| lengths[left * columns + right];
    let (mut left, mut right) = (0, 0);
    let mut marked = Vec::new();
    while left < old.len() || right < new.len() {
        if left < old.len() && right < new.len() && old[left] == new[right] {
            marked.push((' ', old[left]));
            left += 1;
            right += 1;
        } else if right >= new.len()
            || (left < old.len() && common(left + 1, right) >= common(left, right + 1))
        {
            marked.push(('-', old[left]));
            left += 1;
        } else {
            marked.push(('+', new[right]));
            right += 1;
        }
    }
    marked
}

/// For each pair of suffixes the length of their longest common subsequence.
fn common_lengths(old: &[&str], new: &[&str]) -> Vec<u32> {
    let columns = new.len() + 1;
    let mut lengths = vec![0_u32; (old.len() + 1) * columns];
    for left in (0..old.len()).rev() {
        for right in (0..new.len()).rev() {
            lengths[left * columns + right] = if old[left] == new[right] {
                lengths[(left + 1) * columns + right + 1] + 1
            } else {
                lengths[(left + 1) * columns + right].max(lengths[left * columns + right + 1])
            };
        }
    }
    lengths
}

fn with_context(marked: &[Marked<'_>]) -> String {
    let changed = |index: usize| marked.get(index).is_some_and(|(mark, _)| *mark != ' ');
    let mut text = String::new();
    let mut skipping = false;
    for (index, (mark, line)) in marked.iter().enumerate() {
        let near = (index.saturating_sub(CONTEXT)..=index + CONTEXT).any(changed);
        if near {
            text.push_str(&format!("{mark} {line}\n"));
        } else if !skipping {
            text.push_str("  …\n");
        }
        skipping = !near;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p2_equal_texts_have_no_difference() {
        assert_eq!(diff("a\nb\n", "a\nb\n"), "");
    }

    #[test]
    fn p2_a_changed_line_is_shown_between_its_neighbours() {
        let old = "1\n2\n3\n4\n5\n6\n7\n";
        let new = "1\n2\n3\nfour\n5\n6\n7\n";
        assert_eq!(
            diff(old, new),
            "  …\n  2\n  3\n- 4\n+ four\n  5\n  6\n  …\n"
        );
    }

    #[test]
    fn p2_added_and_removed_ends_are_shown() {
        assert_eq!(diff("", "a\n"), "+ a\n");
        assert_eq!(diff("a\n", ""), "- a\n");
        assert_eq!(diff("a\nb\n", "b\nc\n"), "- a\n  b\n+ c\n");
    }

    #[test]
    fn p2_huge_texts_are_counted_and_not_compared() {
        let old = "x\n".repeat(3_000);
        let new = "y\n".repeat(3_000);
        assert_eq!(diff(&old, &new), "- 3000 lines\n+ 3000 lines\n");
    }
}
