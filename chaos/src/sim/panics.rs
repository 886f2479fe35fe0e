//! Panics of a simulation's thread: on it a whole simulation runs, and a panic is a finding to be told, not to be printed.

use std::cell::RefCell;
use std::panic;
use std::sync::Once;

thread_local! {
    /// `Some`: this thread simulates. The message of its first panic.
    static FIRST: RefCell<Option<Option<String>>> = const { RefCell::new(None) };
}

/// While it lives, panics of this thread are kept.
pub(super) struct Watch(());

/// Keeps this thread's panics from here on.
pub(super) fn watch() -> Watch {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !keep(&panic.to_string()) {
                print(panic);
            }
        }));
    });
    set(Some(None));
    Watch(())
}

impl Drop for Watch {
    fn drop(&mut self) {
        set(None);
    }
}

/// The first panic since the last call.
pub(super) fn take() -> Option<String> {
    FIRST
        .try_with(|first| first.borrow_mut().as_mut().and_then(Option::take))
        .ok()
        .flatten()
}

fn set(value: Option<Option<String>>) {
    // A thread that is ending has no panics to keep any more.
    let _ = FIRST.try_with(|first| *first.borrow_mut() = value);
}

/// Whether this thread's panics are kept.
fn keep(message: &str) -> bool {
    let kept = FIRST.try_with(|first| {
        let mut first = first.borrow_mut();
        first.as_mut().is_some_and(|first| {
            first.get_or_insert_with(|| message.to_owned());
            true
        })
    });
    kept.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_panic_of_a_watched_thread_is_kept() {
        let watch = watch();
        for what in ["one", "two"] {
            assert!(panic::catch_unwind(|| panic!("{what}")).is_err());
        }
        assert!(take().is_some_and(|message| message.contains("one")));
        assert_eq!(take(), None);
        drop(watch);
        assert!(!keep("three"));
    }
}
