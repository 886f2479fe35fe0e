//! Agreed time (rule 5).
//!
//! A stamp is the previous one plus the monotonic time since, steered towards the lower median of a majority of voters'
//! wall clocks. It never runs backwards, and a lone clock moves nothing. Every node follows the stamps it applies, so a
//! new leader goes on where the old one stopped.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::env::Clock;
use crate::shared::lock;

/// A difference beyond this is a step, not drift: it is taken at once, forwards only, and destruction waits (rule 5).
pub(crate) const STEP_MS: u64 = 60_000;
/// Steering per round towards the median, ms: 10 % of a round of half a second. Below it, time never stands still.
const SLEW_MS: u64 = 50;

/// A node's idea of agreed time.
pub(crate) struct AgreedClock {
    source: Arc<dyn Clock>,
    anchor: Mutex<Anchor>,
}

#[derive(Clone, Copy)]
struct Anchor {
    stamp_ms: u64,
    at: Duration,
    /// The next stamp must say that time stepped.
    stepped: bool,
    /// Every stamp given out is at least the last one.
    last_ms: u64,
}

impl AgreedClock {
    /// Starts from the latest stamp of a loaded state.
    pub(crate) fn new(source: Arc<dyn Clock>, stamp_ms: u64) -> Self {
        let at = source.monotonic();
        let anchor = Anchor {
            stamp_ms,
            at,
            stepped: false,
            last_ms: stamp_ms,
        };
        Self {
            source,
            anchor: Mutex::new(anchor),
        }
    }

    /// Agreed time now, as far as this node can tell.
    pub(crate) fn now_ms(&self) -> u64 {
        let anchor = lock(&self.anchor);
        self.estimate(&anchor).max(anchor.last_ms)
    }

    /// The later of agreed time and this machine's clock: for expiry while there is no quorum (C5).
    pub(crate) fn cautious_ms(&self) -> u64 {
        self.now_ms().max(self.source.wall_ms())
    }

    /// This machine's wall clock, as reported to the leader.
    pub(crate) fn wall_ms(&self) -> u64 {
        self.source.wall_ms()
    }

    /// Monotonic time of this machine.
    pub(crate) fn monotonic(&self) -> Duration {
        self.source.monotonic()
    }

    /// A stamp for the next entry; only a leader asks.
    pub(crate) fn stamp(&self) -> (u64, bool) {
        let mut anchor = lock(&self.anchor);
        let stamp = self.estimate(&anchor).max(anchor.last_ms);
        anchor.last_ms = stamp;
        (stamp, anchor.stepped)
    }

    /// An applied entry had this stamp. Stamps arrive late, never early: only one ahead of the estimate tells anything.
    pub(crate) fn observe(&self, stamp_ms: u64, stepped: bool) {
        let mut anchor = lock(&self.anchor);
        if stamp_ms > self.estimate(&anchor) {
            anchor.stamp_ms = stamp_ms;
            anchor.at = self.source.monotonic();
        }
        anchor.last_ms = anchor.last_ms.max(stamp_ms);
        // Said until an applied entry said it: a stamp may be given to an entry that is never appended.
        anchor.stepped &= !stepped;
    }

    /// Sets the time of a cluster that has none yet (its first stamp).
    pub(crate) fn begin(&self) {
        let mut anchor = lock(&self.anchor);
        if anchor.stamp_ms == 0 {
            anchor.stamp_ms = self.source.wall_ms();
            anchor.at = self.source.monotonic();
        }
    }

    /// Steers towards the wall clocks of a majority of voters, each as it would read now. Returns the difference taken.
    pub(crate) fn steer(&self, mut walls_ms: Vec<u64>, voters: usize) -> i64 {
        if walls_ms.len() <= voters / 2 {
            return 0;
        }
        walls_ms.sort_unstable();
        let median = walls_ms[(walls_ms.len() - 1) / 2];
        let mut anchor = lock(&self.anchor);
        let now = self.estimate(&anchor);
        let correction = if median > now {
            let ahead = median - now;
            anchor.stepped |= ahead > STEP_MS;
            let taken = if ahead > STEP_MS {
                ahead
            } else {
                ahead.min(SLEW_MS)
            };
            taken.cast_signed()
        } else {
            // Slower, never backwards: `last_ms` holds what was given out.
            -(now - median).min(SLEW_MS).cast_signed()
        };
        anchor.stamp_ms = now.saturating_add_signed(correction);
        anchor.at = self.source.monotonic();
        correction
    }

    fn estimate(&self, anchor: &Anchor) -> u64 {
        let since = self.source.monotonic().saturating_sub(anchor.at);
        anchor
            .stamp_ms
            .saturating_add(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine whose clocks the test turns.
    #[derive(Default)]
    struct Hand {
        wall: Mutex<u64>,
        elapsed: Mutex<Duration>,
    }

    impl Clock for Hand {
        fn wall_ms(&self) -> u64 {
            *lock(&self.wall)
        }
        fn monotonic(&self) -> Duration {
            *lock(&self.elapsed)
        }
    }

    fn clock(stamp: u64) -> (Arc<Hand>, AgreedClock) {
        let hand = Arc::new(Hand::default());
        (hand.clone(), AgreedClock::new(hand, stamp))
    }

    #[test]
    fn a_stamp_is_the_previous_one_plus_elapsed_time() {
        let (hand, clock) = clock(1_000);
        *lock(&hand.elapsed) += Duration::from_millis(250);
        assert_eq!(clock.stamp(), (1_250, false));
    }

    #[test]
    fn a_lone_clock_moves_nothing() {
        let (_, clock) = clock(1_000_000);
        assert_eq!(clock.steer(vec![90_000_000], 3), 0);
        assert_eq!(clock.steer(vec![1_000_000, 90_000_000], 3), 0);
        assert_eq!(clock.stamp(), (1_000_000, false));
    }

    #[test]
    fn time_is_steered_slowly_and_never_backwards() {
        let (_, clock) = clock(1_000_000);
        assert_eq!(clock.steer(vec![1_001_000; 3], 3), 50);
        let (ahead, _) = clock.stamp();
        assert_eq!(ahead, 1_000_050);
        assert_eq!(clock.steer(vec![0; 3], 3), -50);
        assert_eq!(clock.stamp(), (1_000_050, false));
    }

    #[test]
    fn a_step_is_taken_forwards_and_said_until_it_is_applied() {
        let (_, clock) = clock(1_000_000);
        assert_eq!(clock.steer(vec![10_000_000; 2], 3), 9_000_000);
        assert_eq!(clock.stamp(), (10_000_000, true));
        // Nobody appended it: it must be said again.
        assert_eq!(clock.stamp(), (10_000_000, true));
        clock.observe(10_000_000, true);
        assert_eq!(clock.stamp(), (10_000_000, false));
    }

    #[test]
    fn a_new_leader_goes_on_from_the_stamps_it_applied() {
        let (hand, clock) = clock(0);
        clock.observe(5_000, false);
        *lock(&hand.elapsed) += Duration::from_millis(10);
        clock.observe(5_005, false);
        assert_eq!(clock.stamp(), (5_010, false));
    }
}
