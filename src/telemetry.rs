//! Logs and the last words of a panic.
//!
//! Logs go to standard error, one line per event, text or JSON (F5). A process that panicked ends:
//! a node with a poisoned lock or a lost task must not go on as if nothing had happened (rule 6).
//! Invariants: a log that can not be written never stops the server, and a panic's message is shown
//! only where it is a literal of the program, since a formatted one may quote a caller (rule 12).

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{IsTerminal, Write};
use std::panic::PanicHookInfo;

use tracing_subscriber::EnvFilter;

use crate::config::LoggingConfig;

/// Threads whose panics are caught or harmless: those of the image, which is rebuilt when it is
/// damaged and is never the only copy of anything, and those of sled below it (ADR 0003).
const THREADS_THAT_MAY_PANIC: [&str; 2] = ["image", "sled"];

/// Why logging could not be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is none.
    #[error("[logging] level can not be used: {reason}")]
    Filter {
        /// The parser's message.
        reason: String,
    },
    /// Something else logs in this process already.
    #[error("logging is set up already: {reason}")]
    Installed {
        /// What tracing said.
        reason: String,
    },
}

/// Starts logging to standard error. Once per process.
///
/// # Errors
/// [`TelemetryError`]
pub fn init(config: &LoggingConfig) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(&config.filter).map_err(|error| TelemetryError::Filter {
        reason: error.to_string(),
    })?;
    // A line that can not be written (a full disk) is lost; reporting that would panic.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .log_internal_errors(false);
    let installed = if config.json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.try_init()
    };
    installed.map_err(|error| TelemetryError::Installed {
        reason: error.to_string(),
    })
}

/// From now on a panic is logged and ends the process at once (SIGABRT), except in threads that
/// exist to contain one.
pub fn abort_on_panic(json: bool) {
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("unnamed");
        let contained = may_panic(name);
        let text = last_words(panic, name, contained, json);
        // Not through tracing: the panic may have come from there.
        let _unwritable = std::io::stderr().lock().write_all(text.as_bytes());
        if !contained {
            std::process::abort();
        }
    }));
}

fn may_panic(thread: &str) -> bool {
    THREADS_THAT_MAY_PANIC
        .iter()
        .any(|start| thread.starts_with(start))
}

fn last_words(panic: &PanicHookInfo<'_>, thread: &str, contained: bool, json: bool) -> String {
    let place = panic
        .location()
        .map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let message = panic
        .payload()
        .downcast_ref::<&'static str>()
        .copied()
        .unwrap_or("(message withheld: it was made at run time)");
    let end = if contained {
        "the thread ends"
    } else {
        "the process ends"
    };
    let backtrace = backtrace();
    if json {
        let line = serde_json::json!({
            "level": if contained { "WARN" } else { "ERROR" },
            "message": format!("panic; {end}"),
            "panic": message,
            "place": place,
            "thread": thread,
            "backtrace": backtrace,
        });
        format!("{line}\n")
    } else {
        let backtrace = backtrace.unwrap_or_default();
        format!("panic in thread {thread} at {place}: {message}; {end}\n{backtrace}")
    }
}

/// Function names and lines only; where `RUST_BACKTRACE` asks for it.
fn backtrace() -> Option<String> {
    let backtrace = Backtrace::capture();
    (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_threads_around_the_image_may_panic() {
        assert!(may_panic("image"));
        assert!(may_panic("image-open"));
        assert!(may_panic("sled-io-0"));
        assert!(!may_panic("wal"));
        assert!(!may_panic("main"));
        assert!(!may_panic("unnamed"));
    }

    #[test]
    fn f5_a_filter_that_is_none_is_refused() {
        let config = LoggingConfig {
            filter: "!".to_owned(),
            json: false,
        };
        assert!(matches!(init(&config), Err(TelemetryError::Filter { .. })));
    }
}
