//! The switch, in builds that have mutants. See the crate's page for what it is for.

use std::cell::Cell;
use std::marker::PhantomData;
use std::process;
use std::sync::OnceLock;

use crate::{SwitchError, Switched};

/// Names the mutant of a whole process.
pub const VARIABLE: &str = "JARVIS_MUTANT";
/// What every program with mutants has in it, and no other: a test looks for it.
const MARKER: &str = "jarvis-mutant:";
/// What a program ends with that was told of a mutant it does not know; as for a wrong configuration.
const EXIT_UNUSABLE: i32 = 2;

/// Declares the mutants, each with its name.
macro_rules! mutants {
    ($($(#[$what:meta])* $mutant:ident = $name:literal,)*) => {
        /// The bugs that can be switched on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Mutant {
            $($(#[$what])* $mutant,)*
        }

        impl Mutant {
            const ALL: &[Self] = &[$(Self::$mutant,)*];

            /// What it is called.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$mutant => $name,)*
                }
            }
        }
    };
}

mutants! {
    /// The write-ahead log calls back without an fdatasync (rule 6).
    NoFsync = "no-fsync",
    /// A vote is kept in memory only (rule 6).
    VoteNotPersisted = "vote-not-persisted",
    /// A snapshot gets its name, and the log is purged behind it, before its bytes are synced (rule 7).
    SnapshotNotSynced = "snapshot-not-synced",
    /// The trail is not synced before the log is purged (rule 7).
    PurgeBeforeAuditSync = "purge-before-audit-sync",
    /// A snapshot does not carry the head of the trail's chain (rule 7).
    SnapshotWithoutAuditHead = "snapshot-without-audit-head",
    /// A read shows what this node knew when it was asked (C4).
    ReadWithoutBarrier = "read-without-barrier",
    /// A value leaves before its event is in the log (C3).
    AuditAfterAnswer = "audit-after-answer",
    /// The node's own clock stamps what it applies (rules 1 and 5).
    WallClockInApply = "wall-clock-in-apply",
    /// An idempotency key is not looked up (A11).
    IdempotencyKeyForgotten = "idempotency-key-forgotten",
    /// A repeated proposal is applied again (rule 8).
    EnvelopeForgotten = "envelope-forgotten",
    /// The node that was asked decides by its own, possibly lagging state, and apply believes it (P4).
    PolicyOnLaggingState = "policy-on-lagging-state",
    /// A token that this node has not heard of is refused without asking the leader (I1).
    UnauthenticatedFromLocalState = "unauthenticated-from-local-state",
    /// A value under an earlier key epoch is accepted.
    PutUnderOldEpoch = "put-under-old-epoch",
    /// Whoever hears heartbeats takes its state for fresh (C5).
    FreshnessFromHeartbeats = "freshness-from-heartbeats",
    /// A node whose log is gone comes back under its old id (rule 11).
    NodeIdReused = "node-id-reused",
}

/// Bugs of features that do not exist yet: their names, and what they wait for. Each moves into [`Mutant`] with the code
/// that it spoils.
pub const PREPARED: &[(&str, &str)] = &[
    ("rotation-without-fence", "rotation"),
    ("fence-by-term-only", "rotation"),
    (
        "membership-without-joint-consensus",
        "commands that change the membership",
    ),
    ("level-ignored", "a second feature level"),
];

thread_local! {
    /// The mutant of this thread, if it has one of its own.
    static OF_THREAD: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// Whether it is on: in this thread, or else in this process.
#[must_use]
pub fn is_on(mutant: Mutant) -> bool {
    OF_THREAD.get().or_else(of_process) == Some(mutant)
}

/// The names of all that can be switched on.
pub fn names() -> impl Iterator<Item = &'static str> {
    Mutant::ALL.iter().map(|mutant| mutant.name())
}

/// Switches a mutant on in the calling thread: a simulated cluster lives in one.
///
/// # Errors
/// When there is none of that name, or none yet.
pub fn switch_on(name: &str) -> Result<Switched, SwitchError> {
    let mutant = named(name)?;
    Ok(Switched {
        before: OF_THREAD.replace(Some(mutant)),
        _of_this_thread: PhantomData,
    })
}

impl Drop for Switched {
    fn drop(&mut self) {
        OF_THREAD.set(self.before);
    }
}

/// First thing in `main`: says loudly that this is no program for anybody, and which bug it has. Ends the process if the
/// variable names none.
pub fn announce() {
    match of_environment() {
        Ok(None) => eprintln!(
            "{MARKER} built for tests of the tests, with every bug switched off; {VARIABLE} switches one on"
        ),
        Ok(Some(mutant)) => eprintln!(
            "{MARKER} {}: this program is wrong on purpose",
            mutant.name()
        ),
        Err(error) => {
            eprintln!("{MARKER} {VARIABLE}: {error}");
            process::exit(EXIT_UNUSABLE);
        }
    }
}

/// The process's mutant. One that is not known is none here: [`announce`] does not let such a process go on.
fn of_process() -> Option<Mutant> {
    static CHOSEN: OnceLock<Option<Mutant>> = OnceLock::new();
    *CHOSEN.get_or_init(|| of_environment().ok().flatten())
}

fn of_environment() -> Result<Option<Mutant>, SwitchError> {
    match std::env::var_os(VARIABLE) {
        None => Ok(None),
        Some(name) => named(&name.to_string_lossy()).map(Some),
    }
}

fn named(name: &str) -> Result<Mutant, SwitchError> {
    let mut all = Mutant::ALL.iter().copied();
    if let Some(mutant) = all.find(|mutant| mutant.name() == name) {
        return Ok(mutant);
    }
    let name = name.to_owned();
    let mut prepared = PREPARED.iter();
    Err(match prepared.find(|(known, _)| *known == name) {
        Some(&(_, waits_for)) => SwitchError::Prepared { name, waits_for },
        None => SwitchError::Unknown { name },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::thread;

    use super::*;

    #[test]
    fn a_mutant_is_on_in_its_thread_until_it_is_let_go() {
        assert!(!crate::active!(NoFsync));
        let outer = switch_on("no-fsync").unwrap();
        assert!(crate::active!(NoFsync) && !crate::active!(VoteNotPersisted));
        let elsewhere = thread::spawn(|| crate::active!(NoFsync)).join().unwrap();
        assert!(!elsewhere, "another seed runs there");
        let inner = switch_on("vote-not-persisted").unwrap();
        assert!(!crate::active!(NoFsync), "at most one is on");
        drop(inner);
        assert!(crate::active!(NoFsync));
        drop(outer);
        assert!(!crate::active!(NoFsync));
    }

    #[test]
    fn names_are_found_and_others_are_errors() {
        let all: BTreeSet<&str> = names().collect();
        assert_eq!(all.len(), Mutant::ALL.len(), "two mutants share a name");
        for name in all {
            assert_eq!(named(name).unwrap().name(), name);
        }
        let (name, waits_for) = (PREPARED[0].0.to_owned(), PREPARED[0].1);
        let prepared = SwitchError::Prepared { name, waits_for };
        assert_eq!(switch_on(PREPARED[0].0).unwrap_err(), prepared);
        let name = "no-such".to_owned();
        assert_eq!(
            switch_on("no-such").unwrap_err(),
            SwitchError::Unknown { name }
        );
    }
}
