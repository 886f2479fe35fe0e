//! Virtual time, and the clocks of machines, which may be wrong.

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use jarvis_cluster::env::Clock;

/// Where wall clocks begin, ms since the Unix epoch.
pub(super) const WALL_START_MS: u64 = 1_795_316_400_000;
/// How far honest wall clocks are apart: less than a step of agreed time (rule 5), so that it is steered.
pub(super) const WALL_SPREAD_MS: u64 = 20_000;
/// A strobing clock stands at each of its two times for so long, ms.
const STROBE_MS: u64 = 130;
/// How far apart they are.
const STROBE_STEP_MS: i64 = 3_600_000;

/// One machine's clocks.
pub(super) struct MachineClock {
    /// It is wrong by so much from the beginning.
    skew_ms: u64,
    /// And by so much, because somebody set it.
    step_ms: AtomicI64,
    /// 1: it jumps to and fro.
    strobes: AtomicU8,
    /// The last answer: outside of the simulation's steps there is no other.
    last_micros: AtomicU64,
}

impl MachineClock {
    /// A clock that is wrong by less than [`WALL_SPREAD_MS`].
    pub(super) const fn new(skew_ms: u64) -> Self {
        Self {
            skew_ms,
            step_ms: AtomicI64::new(0),
            strobes: AtomicU8::new(0),
            last_micros: AtomicU64::new(0),
        }
    }

    /// Somebody sets the wall clock forwards or back; 0 puts it right.
    pub(super) fn step(&self, step_ms: i64) {
        self.step_ms.store(step_ms, Ordering::Relaxed);
    }

    /// The wall clock begins to jump to and fro, or stops to.
    pub(super) fn strobe(&self, is_on: bool) {
        self.strobes.store(u8::from(is_on), Ordering::Relaxed);
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.monotonic().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Clock for MachineClock {
    fn wall_ms(&self) -> u64 {
        let elapsed_ms = self.elapsed_ms();
        let is_away =
            self.strobes.load(Ordering::Relaxed) == 1 && (elapsed_ms / STROBE_MS).is_multiple_of(2);
        let strobe_ms = if is_away { STROBE_STEP_MS } else { 0 };
        (WALL_START_MS + self.skew_ms)
            .saturating_add(elapsed_ms)
            .saturating_add_signed(self.step_ms.load(Ordering::Relaxed))
            .saturating_add_signed(strobe_ms)
    }

    fn monotonic(&self) -> Duration {
        let elapsed = turmoil::sim_elapsed().unwrap_or_default();
        let now = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        let last = self.last_micros.fetch_max(now, Ordering::Relaxed);
        Duration::from_micros(last.max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_is_wrong_as_it_was_told_to_be() {
        let clock = MachineClock::new(7);
        assert_eq!(clock.wall_ms(), WALL_START_MS + 7);
        clock.step(-86_400_000);
        assert_eq!(clock.wall_ms(), WALL_START_MS + 7 - 86_400_000);
        clock.step(0);
        clock.strobe(true);
        assert_eq!(clock.wall_ms(), WALL_START_MS + 7 + 3_600_000);
        clock.strobe(false);
        assert_eq!(clock.wall_ms(), WALL_START_MS + 7);
        assert_eq!(clock.monotonic(), Duration::ZERO);
    }
}
