//! Where the trail stands: what a snapshot records about the audit folder (rule 7).
//!
//! Invariants of a usable [`Position`]: closed segments are in order and without gaps, and the open segment starts
//! right after the last of them.

pub use jarvis_domain::audit::ClosedSegment;
pub(crate) use jarvis_domain::audit::Head;
use serde::{Deserialize, Serialize};

use crate::error::AuditError;
use crate::line::{self, LineFault};

/// The chain head before the first event.
pub(crate) const GENESIS_HEAD: Head = [0; 32];

/// The closed segments and how far the open one reaches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Closed segments that are not retired, oldest first.
    pub closed: Vec<ClosedSegment>,
    /// Sequence number that the first event of the open segment has, or will have.
    pub open_first_seq: u64,
    /// Length of the open segment in bytes.
    pub open_bytes: u64,
}

impl Default for Position {
    /// The empty trail.
    fn default() -> Self {
        Self {
            closed: Vec::new(),
            open_first_seq: 1,
            open_bytes: 0,
        }
    }
}

impl Position {
    pub(crate) fn check(&self) -> Result<(), AuditError> {
        let mut expected = self
            .closed
            .first()
            .map_or(self.open_first_seq, |first| first.first_seq);
        if expected == 0 {
            return Err(bad("sequence numbers start at 1"));
        }
        for segment in &self.closed {
            if segment.first_seq != expected {
                return Err(bad("closed segments leave a gap or overlap"));
            }
            if segment.last_seq < segment.first_seq || segment.bytes == 0 {
                return Err(bad("a closed segment is empty"));
            }
            expected = segment
                .last_seq
                .checked_add(1)
                .ok_or_else(|| bad("sequence numbers overflow"))?;
        }
        if self.open_first_seq != expected {
            return Err(bad("the open segment does not follow the closed ones"));
        }
        Ok(())
    }

    /// The chain head before the open segment, if the position tells it.
    pub(crate) fn head_before_open(&self) -> Option<Head> {
        match self.closed.last() {
            Some(last) => Some(last.head),
            None => (self.open_first_seq == 1).then_some(GENESIS_HEAD),
        }
    }

    /// The closed segment that starts at `first_seq`, with the chain head before it where the position tells it.
    pub(crate) fn closed_at(&self, first_seq: u64) -> Option<(ClosedSegment, Option<Head>)> {
        find_closed(&self.closed, first_seq)
    }
}

/// See [`Position::closed_at`].
pub(crate) fn find_closed(
    closed: &[ClosedSegment],
    first_seq: u64,
) -> Option<(ClosedSegment, Option<Head>)> {
    let at = closed
        .binary_search_by_key(&first_seq, |segment| segment.first_seq)
        .ok()?;
    let previous = match at.checked_sub(1) {
        Some(before) => Some(closed[before].head),
        None => (first_seq == 1).then_some(GENESIS_HEAD),
    };
    Some((closed[at], previous))
}

/// Checks that `bytes` are the content of `segment`, chained from `previous` where that is known.
pub(crate) fn check_content(
    segment: &ClosedSegment,
    previous: Option<Head>,
    bytes: &[u8],
) -> Result<(), LineFault> {
    let walked = line::walk(previous, segment.first_seq, bytes)?;
    let matches = bytes.len() as u64 == segment.bytes
        && walked.last_seq == segment.last_seq
        && walked.head == Some(segment.head);
    if matches {
        Ok(())
    } else {
        Err(LineFault {
            line: walked.lines,
            reason: "the segment does not end where its description says",
        })
    }
}

fn bad(reason: &'static str) -> AuditError {
    AuditError::BadPosition { reason }
}
