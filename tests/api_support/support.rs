//! What the tests over the API share: one node started from an old daemon's configuration (F7), a small HTTP/1.1
//! client that can also be slow, wordy or rude, and the command line.
//!
//! Nothing here knows the server's types: a request is text, an answer is a status, headers and JSON. Ports are free
//! ones, files lie in a temporary folder, and every wait is for a condition with a deadline.

#![allow(
    dead_code,
    unused_imports,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test program: each binary uses its part, real processes live in real time, and a panic is the verdict"
)]

use std::time::{Duration, Instant};

mod command_line;
mod http;
mod node;

pub(crate) use command_line::{Cli, Said};
pub(crate) use http::{Answer, Caller, Request, read_answer};
pub(crate) use node::{Node, Plan, Stopped};

/// Whatever is waited for is there by then, on two busy cores and in a debug build.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// Between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks until there is something, and gives it back.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {DEADLINE:?}");
        std::thread::sleep(PAUSE);
    }
}
