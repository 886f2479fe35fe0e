//! Waiting for a condition, with a limit and a name for it.

use std::thread;
use std::time::{Duration, Instant};

/// Whatever is waited for is there by then, on two busy cores and in a debug build.
pub const LIMIT: Duration = Duration::from_secs(90);
/// Between two looks: far below anything that is waited for, and cheap on two cores.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Looks until there is something, and gives it back.
///
/// # Panics
/// At the [`LIMIT`], naming what did not come.
#[track_caller]
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(LIMIT, what, look)
}

/// As [`eventually`], with a limit that says something about the product.
///
/// # Panics
/// At that limit, naming what did not come.
#[track_caller]
pub fn within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            started.elapsed() < limit,
            "not within {} s: {what}",
            limit.as_secs()
        );
        thread::sleep(LOOK_AGAIN);
    }
}
