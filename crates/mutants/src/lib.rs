//! Known bugs, put back on purpose, to see that the checks find them. No release has them.
//!
//! A place of the product that a bug of this kind would spoil asks for it:
//!
//! ```text
//! if jarvis_mutants::active!(NoFsync) { … }
//!        │
//!        ├─ as the product is built:     `false`, a constant; the compiler drops the rest, names included
//!        └─ with --cfg jarvis_mutants:   whether this thread, or else this process, has switched it on
//! ```
//!
//! Invariants:
//! - without `--cfg jarvis_mutants` nothing of this crate is in any program but [`SwitchError`]'s words, and those only in
//!   programs that call [`switch_on`];
//! - one build has them all, and at most one is on: a failure then has one cause;
//! - a name that does not exist is an error, never a run that tests nothing;
//! - it is a cfg and no feature: features of one package are switched on for a whole workspace, release programs included.
//!
//! It has no dependencies, and every crate may depend on it.

use std::fmt;
use std::marker::PhantomData;

#[cfg(jarvis_mutants)]
mod switch;

#[cfg(jarvis_mutants)]
pub use switch::{Mutant, PREPARED, VARIABLE, announce, is_on, names, switch_on};

/// Whether this build has mutants.
pub const BUILT: bool = cfg!(jarvis_mutants);

/// What [`active!`] says in a build without mutants.
#[cfg(not(jarvis_mutants))]
pub const OFF: bool = false;

/// Whether that bug is switched on here: `active!(NoFsync)`.
#[cfg(jarvis_mutants)]
#[macro_export]
macro_rules! active {
    ($mutant:ident) => {
        $crate::is_on($crate::Mutant::$mutant)
    };
}

/// Whether that bug is switched on here: never, in this build.
#[cfg(not(jarvis_mutants))]
#[macro_export]
macro_rules! active {
    ($mutant:ident) => {
        $crate::OFF
    };
}

/// A mutant that is on in this thread until this is dropped.
#[must_use = "the mutant is on only while this lives"]
#[derive(Debug)]
pub struct Switched {
    #[cfg(jarvis_mutants)]
    before: Option<Mutant>,
    /// The switch is the thread's: it is put back where it was taken.
    _of_this_thread: PhantomData<*const ()>,
}

/// Why a mutant could not be switched on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SwitchError {
    /// This program was built without them.
    NotBuilt,
    /// There is none of that name.
    Unknown {
        /// The name.
        name: String,
    },
    /// The place that it would spoil does not exist yet.
    Prepared {
        /// The name.
        name: String,
        /// The feature that it waits for.
        waits_for: &'static str,
    },
}

impl fmt::Display for SwitchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBuilt => formatter.write_str(
                "this program was built without mutants; build it with --cfg jarvis_mutants in RUSTFLAGS and a target \
                 directory of its own",
            ),
            Self::Unknown { name } => write!(formatter, "there is no mutant {name}"),
            Self::Prepared { name, waits_for } => write!(
                formatter,
                "mutant {name} can not be switched on: it waits for {waits_for}"
            ),
        }
    }
}

impl std::error::Error for SwitchError {}

/// Switches a mutant on in the calling thread: a simulated cluster lives in one.
///
/// # Errors
/// Always [`SwitchError::NotBuilt`] in this build.
#[cfg(not(jarvis_mutants))]
pub const fn switch_on(_name: &str) -> Result<Switched, SwitchError> {
    Err(SwitchError::NotBuilt)
}

/// First thing in `main`: nothing to say in this build.
#[cfg(not(jarvis_mutants))]
pub const fn announce() {}

#[cfg(all(test, not(jarvis_mutants)))]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_mutants_says_so() {
        assert_eq!(switch_on("no-fsync").unwrap_err(), SwitchError::NotBuilt);
        assert_eq!([BUILT, active!(NoFsync)], [false, false]);
    }
}
