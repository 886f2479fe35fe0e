//! Exactly-once inside the cluster (rule 8): a window of seen sequence numbers per origin node.
//!
//! An origin numbers its proposals 1, 2, 3 … within an incarnation (one start of its process). It keeps at most
//! [`SPAN`] of them in flight, so a number at or below `floor` has either been applied or been given up.

use serde::{Deserialize, Serialize};

use crate::NodeId;

/// Sequence numbers tracked above the floor. An origin keeps fewer in flight.
pub const SPAN: u64 = 128;

/// Where a proposal came from, once and for all its repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Envelope {
    /// The proposing node; the leader checks it against the peer's certificate.
    pub node: NodeId,
    /// The start of that node's process, larger at each start.
    pub incarnation: u64,
    /// The proposal's number within the incarnation, from 1.
    pub seq: u64,
}

/// What was seen of one node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    incarnation: u64,
    /// Every number up to this one is settled.
    floor: u64,
    /// Bit i set: `floor + 1 + i` was seen.
    seen: u128,
}

/// Whether an envelope is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Apply it.
    New,
    /// It was applied before, or is too old to tell: skip it without event or effect.
    Repeat,
    /// It comes from a process that has been replaced since.
    OldIncarnation,
}

impl Window {
    /// Marks the envelope as seen and says whether it was new.
    pub fn admit(&mut self, envelope: Envelope) -> Freshness {
        if envelope.incarnation < self.incarnation {
            return Freshness::OldIncarnation;
        }
        if envelope.incarnation > self.incarnation {
            *self = Self {
                incarnation: envelope.incarnation,
                floor: 0,
                seen: 0,
            };
        }
        if envelope.seq <= self.floor {
            return Freshness::Repeat;
        }
        let mut position = envelope.seq - self.floor - 1;
        if position >= SPAN {
            let shift = position - (SPAN - 1);
            self.shift(shift);
            position = SPAN - 1;
        }
        let bit = 1_u128 << position;
        if self.seen & bit != 0 {
            return Freshness::Repeat;
        }
        self.seen |= bit;
        let settled = u64::from(self.seen.trailing_ones());
        self.shift(settled);
        Freshness::New
    }

    fn shift(&mut self, by: u64) {
        self.floor += by;
        self.seen = if by >= SPAN { 0 } else { self.seen >> by };
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn envelope(incarnation: u64, seq: u64) -> Envelope {
        Envelope {
            node: 1,
            incarnation,
            seq,
        }
    }

    #[test]
    fn a_repeat_is_seen_also_out_of_order() {
        let mut window = Window::default();
        assert_eq!(window.admit(envelope(1, 2)), Freshness::New);
        assert_eq!(window.admit(envelope(1, 1)), Freshness::New);
        assert_eq!(window.admit(envelope(1, 2)), Freshness::Repeat);
        assert_eq!(window.admit(envelope(1, 1)), Freshness::Repeat);
    }

    #[test]
    fn an_older_incarnation_is_refused_and_a_newer_one_starts_over() {
        let mut window = Window::default();
        assert_eq!(window.admit(envelope(2, 1)), Freshness::New);
        assert_eq!(window.admit(envelope(1, 9)), Freshness::OldIncarnation);
        assert_eq!(window.admit(envelope(3, 1)), Freshness::New);
    }

    #[test]
    fn extreme_numbers_do_not_overflow() {
        let mut window = Window::default();
        assert_eq!(window.admit(envelope(u64::MAX, u64::MAX)), Freshness::New);
        assert_eq!(
            window.admit(envelope(u64::MAX, u64::MAX)),
            Freshness::Repeat
        );
        assert_eq!(window.admit(envelope(u64::MAX, 0)), Freshness::Repeat);
    }

    proptest! {
        /// Nothing is ever admitted twice, and nothing within the span of the highest number is refused unseen.
        #[test]
        fn nothing_twice(numbers in prop::collection::vec(1_u64..400, 0..400)) {
            let (mut window, mut seen, mut highest) = (Window::default(), BTreeSet::new(), 0);
            for seq in numbers {
                let fresh = window.admit(envelope(1, seq));
                let expected_new = !seen.contains(&seq) && seq + SPAN > highest;
                prop_assert_eq!(fresh == Freshness::New, expected_new);
                if fresh == Freshness::New {
                    seen.insert(seq);
                    highest = highest.max(seq);
                }
            }
        }
    }
}
