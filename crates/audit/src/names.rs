//! Names of the files in the audit folder.

use crate::position::ClosedSegment;

/// The segment that is being appended to.
pub(crate) const OPEN_NAME: &str = "audit.jsonl";
/// Sequence number, head and length as of the last sync.
pub(crate) const HEAD_NAME: &str = "audit.head";
/// Suffix of files that are being written; what a crash leaves of them is removed at the next start.
pub(crate) const TEMPORARY_SUFFIX: &str = ".tmp";

/// Decimal digits of the first sequence number: sorts well up to 10^16 events.
const SEQ_DIGITS: usize = 16;
/// Hex digits of the chain head in a name: 64 bits tell segments apart; the full head is in the position.
const HEAD_DIGITS: usize = 16;
const PLAIN_SUFFIX: &str = ".jsonl";
const COMPRESSED_SUFFIX: &str = ".jsonl.gz";

/// What the name of a closed segment says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SegmentName {
    pub(crate) first_seq: u64,
    /// First 16 hex digits of the chain head after its last event.
    pub(crate) head_prefix: String,
}

impl SegmentName {
    pub(crate) fn of(segment: &ClosedSegment) -> Self {
        Self {
            first_seq: segment.first_seq,
            head_prefix: head_prefix(&segment.head),
        }
    }

    /// Parses a file name; the flag says whether it is the compressed form.
    pub(crate) fn parse(file_name: &str) -> Option<(Self, bool)> {
        let (stem, compressed) = match file_name.strip_suffix(COMPRESSED_SUFFIX) {
            Some(stem) => (stem, true),
            None => (file_name.strip_suffix(PLAIN_SUFFIX)?, false),
        };
        let (seq, head) = stem.split_once('-')?;
        let well_formed = seq.len() >= SEQ_DIGITS
            && seq.bytes().all(|byte| byte.is_ascii_digit())
            && head.len() == HEAD_DIGITS
            && head
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !well_formed {
            return None;
        }
        let name = Self {
            first_seq: seq.parse().ok()?,
            head_prefix: head.to_owned(),
        };
        Some((name, compressed))
    }

    pub(crate) fn plain(&self) -> String {
        format!("{:016}-{}{PLAIN_SUFFIX}", self.first_seq, self.head_prefix)
    }

    pub(crate) fn compressed(&self) -> String {
        format!(
            "{:016}-{}{COMPRESSED_SUFFIX}",
            self.first_seq, self.head_prefix
        )
    }

    pub(crate) fn matches_head(&self, head: &[u8; 32]) -> bool {
        self.head_prefix == head_prefix(head)
    }
}

fn head_prefix(head: &[u8; 32]) -> String {
    hex::encode(&head[..HEAD_DIGITS / 2])
}

#[cfg(test)]
mod tests {
    use super::SegmentName;
    use crate::position::ClosedSegment;

    #[test]
    fn a_name_survives_the_round_trip() {
        let name = SegmentName::of(&ClosedSegment {
            first_seq: 4097,
            last_seq: 8192,
            head: [0xab; 32],
            bytes: 10,
        });
        assert_eq!(name.plain(), "0000000000004097-abababababababab.jsonl");
        assert_eq!(
            SegmentName::parse(&name.plain()),
            Some((name.clone(), false))
        );
        assert_eq!(
            SegmentName::parse(&name.compressed()),
            Some((name.clone(), true))
        );
        assert!(name.matches_head(&[0xab; 32]));
    }

    #[test]
    fn other_files_are_not_segments() {
        for other in [
            "audit.jsonl",
            "audit.head",
            "1-ab.jsonl",
            "0000000000000001-ABABABABABABABAB.jsonl",
        ] {
            assert_eq!(SegmentName::parse(other), None, "{other}");
        }
    }
}
