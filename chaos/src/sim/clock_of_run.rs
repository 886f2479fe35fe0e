//! The run's own time: virtual, and known inside of hosts and between two steps.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Virtual time since the run began.
#[derive(Debug, Default)]
pub(super) struct RunClock {
    /// Where the last step ended, for whoever asks from outside of a host.
    stepped_ns: AtomicU64,
}

impl RunClock {
    /// Now.
    pub(super) fn now(&self) -> Duration {
        let outside = || Duration::from_nanos(self.stepped_ns.load(Ordering::Relaxed));
        turmoil::sim_elapsed().unwrap_or_else(outside)
    }

    /// Now, ns.
    pub(super) fn now_ns(&self) -> u64 {
        u64::try_from(self.now().as_nanos()).unwrap_or(u64::MAX)
    }

    /// A step ended there.
    pub(super) fn stepped(&self, elapsed: Duration) {
        let ns = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        self.stepped_ns.store(ns, Ordering::Relaxed);
    }
}
