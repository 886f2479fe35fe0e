//! Waiting for a condition, with a limit and a name for it.

use std::time::{Duration, Instant};

/// Between two looks: far below anything that is waited for, and cheap on two cores.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Looks until there is something, and returns it.
///
/// # Panics
/// At the limit, naming what did not come.
pub(crate) fn wait_until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            started.elapsed() < limit,
            "waited {} s in vain: {what}",
            limit.as_secs()
        );
        std::thread::sleep(LOOK_AGAIN);
    }
}
