//! The buckets' clock: elapsed time as the node's environment has it.

use std::sync::Arc;
use std::time::Duration;

use jarvis_cluster::env;

/// The monotonic clock of a node's environment.
#[derive(Clone)]
pub struct NodeClock(Arc<dyn env::Clock>);

impl NodeClock {
    pub(super) const fn new(clock: Arc<dyn env::Clock>) -> Self {
        Self(clock)
    }
}

impl governor::clock::Clock for NodeClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.monotonic()
    }
}
