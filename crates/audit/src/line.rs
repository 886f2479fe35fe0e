//! One line of the trail: where its body ends, its hash, its sequence number, and the chain over many lines.

use jarvis_domain::audit::chain_hash;

use crate::position::Head;

/// Longest line that is read, newline included. Apply's events hold names, ids and short reasons, at most a few
/// KiB; a longer line is damage, and must not make a reader allocate without bound.
pub(crate) const MAX_LINE_BYTES: usize = 1024 * 1024;

/// What stands between a line's body and its hash.
const HASH_START: &[u8] = b",\"hash\":\"";
/// What stands after the hash.
const HASH_END: &[u8] = b"\"}";
/// Hex digits of a hash.
const HASH_DIGITS: usize = 64;
/// How every line starts.
const SEQ_START: &[u8] = b"{\"seq\":";

/// A line taken apart.
pub(crate) struct Parts<'a> {
    /// The bytes that the hash covers.
    pub(crate) body: &'a [u8],
    /// The chain head after this line, as the line states it.
    pub(crate) hash: Head,
}

/// Takes a line (without its newline) apart; `None` if it does not end in a hash.
pub(crate) fn split(line: &[u8]) -> Option<Parts<'_>> {
    let suffix_bytes = HASH_START.len() + HASH_DIGITS + HASH_END.len();
    let (body, suffix) = line.split_at(line.len().checked_sub(suffix_bytes)?);
    let digits = suffix.strip_prefix(HASH_START)?.strip_suffix(HASH_END)?;
    Some(Parts {
        body,
        hash: decode_array(digits)?,
    })
}

/// Decodes lower-case hex of exactly N bytes. Upper case is refused: the trail's bytes have one form only.
pub(crate) fn decode_array<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let canonical = digits
        .iter()
        .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    let mut decoded = [0; N];
    if !canonical || hex::decode_to_slice(digits, &mut decoded).is_err() {
        return None;
    }
    Some(decoded)
}

/// The sequence number at the start of a line, without parsing the rest.
pub(crate) fn seq_of(line: &[u8]) -> Option<u64> {
    let rest = line.strip_prefix(SEQ_START)?;
    let end = rest.iter().position(|byte| *byte == b',')?;
    let digits = std::str::from_utf8(&rest[..end]).ok()?;
    if digits.starts_with('+') {
        return None;
    }
    digits.parse().ok()
}

/// What a run of whole lines amounts to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Walked {
    pub(crate) lines: u64,
    /// One less than the first expected number when there are no lines.
    pub(crate) last_seq: u64,
    /// The chain head at the end; the given one when there are no lines.
    pub(crate) head: Option<Head>,
}

/// The first thing wrong in a run of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LineFault {
    /// From 1.
    pub(crate) line: u64,
    pub(crate) reason: &'static str,
}

impl From<LineFault> for std::io::Error {
    fn from(fault: LineFault) -> Self {
        let message = format!("line {}: {}", fault.line, fault.reason);
        Self::new(std::io::ErrorKind::InvalidData, message)
    }
}

/// Checks that `bytes` are whole lines, numbered from `first_seq` and chained from `previous`. When `previous` is
/// not known (the segment before is retired) the first line's own hash is taken on trust.
pub(crate) fn walk(
    previous: Option<Head>,
    first_seq: u64,
    bytes: &[u8],
) -> Result<Walked, LineFault> {
    let mut head = previous;
    let mut lines = 0_u64;
    let mut expected = first_seq;
    for whole in bytes.split_inclusive(|byte| *byte == b'\n') {
        lines += 1;
        let fault = |reason| LineFault {
            line: lines,
            reason,
        };
        let line = whole
            .strip_suffix(b"\n")
            .ok_or_else(|| fault("the last line is unfinished"))?;
        let parts = split(line).ok_or_else(|| fault("the line does not end in a hash"))?;
        if seq_of(line) != Some(expected) {
            return Err(fault("the sequence number does not follow"));
        }
        if head.is_some_and(|head| chain_hash(&head, parts.body) != parts.hash) {
            return Err(fault("the hash does not match"));
        }
        head = Some(parts.hash);
        expected = expected
            .checked_add(1)
            .ok_or_else(|| fault("sequence numbers overflow"))?;
    }
    Ok(Walked {
        lines,
        last_seq: expected.saturating_sub(1),
        head,
    })
}

#[cfg(test)]
mod tests {
    use super::{decode_array, seq_of, split};

    #[test]
    fn a_line_is_split_before_its_hash() {
        let line = format!(
            "{{\"seq\":7,\"event\":\"x\",\"hash\":\"{}\"}}",
            "0a".repeat(32)
        );
        let parts = split(line.as_bytes()).expect("a well-formed line");
        assert_eq!(parts.body, b"{\"seq\":7,\"event\":\"x\"");
        assert_eq!(parts.hash, [0x0a; 32]);
        assert_eq!(seq_of(line.as_bytes()), Some(7));
    }

    #[test]
    fn upper_case_hex_is_not_the_same_line() {
        assert_eq!(decode_array::<2>(b"0a0b"), Some([0x0a, 0x0b]));
        assert_eq!(decode_array::<2>(b"0A0b"), None);
        assert_eq!(decode_array::<2>(b"0a0"), None);
        assert_eq!(decode_array::<2>(b"0a0b0c"), None);
    }

    #[test]
    fn a_number_that_is_not_plain_digits_is_no_sequence_number() {
        assert_eq!(seq_of(b"{\"seq\":+7,"), None);
        assert_eq!(seq_of(b"{\"seq\":,"), None);
        assert_eq!(seq_of(b"{\"seq\":7"), None);
        assert_eq!(seq_of(b"{\"SEQ\":7,"), None);
    }
}
