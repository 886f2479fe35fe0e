//! What a process does about itself before it holds a secret (X6).
//!
//! - no core dump: a dump is the keyring in a file;
//! - files are made for their owner only, whatever the caller's umask was;
//! - memory stays out of swap where the system allows it.
//!
//! Nothing here refuses a start: what could not be done comes back as a warning that says how to
//! allow it. Call it before threads are started, so that all of them inherit it.

use rustix::fs::Mode;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, getrlimit, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit, umask,
};

/// `CAP_IPC_LOCK`'s place in a capability mask: its owner may lock more than `RLIMIT_MEMLOCK`.
const CAP_IPC_LOCK: u64 = 1 << 14;

/// The number of user ids that the outermost user namespace maps: all of them. In any other
/// namespace a capability does not lift the limit of locked memory.
const ALL_USERS: &str = "4294967295";

/// Everything that a server does. Returns warnings, for the log.
#[must_use]
pub fn harden_server() -> Vec<String> {
    restrict_files();
    let mut warnings = forbid_core_dumps();
    warnings.extend(lock_memory());
    warnings
}

/// Files made from now on belong to their owner alone (umask 077).
pub fn restrict_files() {
    umask(Mode::RWXG | Mode::RWXO);
}

/// No core dump, and no look into this process's memory by others of its user. Returns warnings.
#[must_use]
pub fn forbid_core_dumps() -> Vec<String> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let mut warnings = Vec::new();
    if let Err(error) = setrlimit(Resource::Core, none) {
        warnings.push(format!(
            "core dumps can not be limited ({error}): a crash may write keys to a file; set LimitCORE=0"
        ));
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        warnings.push(format!(
            "the process can not be made undumpable ({error}): others of its user may read its memory"
        ));
    }
    warnings
}

/// Keeps memory, present and future, out of swap. For the server only: a command line that ends in
/// a moment has nothing to gain. Returns warnings.
///
/// Pages are locked as they are touched, so that untouched stacks and arenas cost nothing. Where a
/// limit remains, nothing is locked: with a limit, `MCL_FUTURE` turns an allocation beyond it into
/// a failure, long after the start.
#[must_use]
pub fn lock_memory() -> Vec<String> {
    let limit = getrlimit(Resource::Memlock);
    if let Some(hard) = limit.maximum
        && !may_lock_beyond_limit()
    {
        return vec![unlocked(&format!("at most {hard} bytes may be locked"))];
    }
    if limit.current.is_some() {
        // Up to the hard limit this needs no right; where it is refused, so is the lock, just below.
        let _unchanged = setrlimit(
            Resource::Memlock,
            Rlimit {
                current: limit.maximum,
                maximum: limit.maximum,
            },
        );
    }
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    match mlockall(flags) {
        Ok(()) => Vec::new(),
        Err(error) => vec![unlocked(&error.to_string())],
    }
}

/// The kernel ends this process when the thread that started it ends. For nodes under `dev`, beside
/// their watch on standard input: it also reaches a process that is stopped. Returns warnings.
#[must_use]
pub fn die_with_parent() -> Vec<String> {
    match set_parent_process_death_signal(Some(Signal::KILL)) {
        Ok(()) => Vec::new(),
        Err(error) => vec![format!(
            "this process may outlive the one that started it ({error})"
        )],
    }
}

fn unlocked(why: &str) -> String {
    format!(
        "memory is not locked ({why}): keys could reach swap. Set LimitMEMLOCK=infinity, allow \
         CAP_IPC_LOCK, or switch swap off"
    )
}

fn may_lock_beyond_limit() -> bool {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    holds_ipc_lock(&read("/proc/self/status")) && read("/proc/self/uid_map").contains(ALL_USERS)
}

/// Whether the text of `/proc/self/status` lists `CAP_IPC_LOCK` as effective.
fn holds_ipc_lock(status: &str) -> bool {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & CAP_IPC_LOCK != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x6_the_right_to_lock_memory_is_read_from_the_effective_capabilities() {
        assert!(holds_ipc_lock(
            "Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t000001ffffffffff\n"
        ));
        assert!(holds_ipc_lock("CapEff:\t0000000000004000\n"));
        assert!(!holds_ipc_lock(
            "CapPrm:\t0000000000004000\nCapEff:\t0000000000000000\n"
        ));
        assert!(!holds_ipc_lock(""));
        assert!(!holds_ipc_lock("CapEff:\tnonsense\n"));
    }

    #[test]
    fn x6_after_it_no_core_can_be_dumped() {
        assert_eq!(forbid_core_dumps(), Vec::<String>::new());
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
        assert_eq!(
            rustix::process::dumpable_behavior(),
            Ok(DumpableBehavior::NotDumpable)
        );
    }

    #[test]
    fn x6_a_refused_lock_is_a_warning_with_the_cure() {
        assert!(unlocked("a reason").contains("LimitMEMLOCK=infinity"));
    }
}
