//! Chain heads of the last events, so that a checkpoint can be compared with the event it signs.

use std::collections::VecDeque;

use crate::position::Head;

/// Heads kept: 2 MiB. A checkpoint is recorded seconds after the event it signs; the few that are later are looked
/// up in the trail.
const WINDOW: usize = 65_536;

#[derive(Debug)]
pub(super) struct RecentHeads {
    /// Event of the newest head.
    last_seq: u64,
    heads: VecDeque<Head>,
}

impl RecentHeads {
    /// Starts with the head after event `seq`.
    pub(super) fn starting_with(seq: u64, head: Head) -> Self {
        Self {
            last_seq: seq,
            heads: VecDeque::from([head]),
        }
    }

    /// Adds the head of the next event.
    pub(super) fn push(&mut self, head: Head) {
        if self.heads.len() == WINDOW {
            self.heads.pop_front();
        }
        self.heads.push_back(head);
        self.last_seq += 1;
    }

    pub(super) fn at(&self, seq: u64) -> Option<Head> {
        let back = usize::try_from(self.last_seq.checked_sub(seq)?).ok()?;
        let at = self.heads.len().checked_sub(back + 1)?;
        self.heads.get(at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::{RecentHeads, WINDOW};

    #[test]
    fn the_newest_heads_are_found_by_their_event() {
        let mut heads = RecentHeads::starting_with(0, [0; 32]);
        for _ in 0..WINDOW {
            heads.push([1; 32]);
        }
        heads.push([2; 32]);
        let newest = WINDOW as u64 + 1;
        assert_eq!(heads.at(newest), Some([2; 32]));
        assert_eq!(heads.at(newest - 1), Some([1; 32]));
        assert_eq!(heads.at(newest + 1), None);
        assert_eq!(heads.at(1), None, "it has left the window");
        assert_eq!(heads.at(2), Some([1; 32]));
    }
}
