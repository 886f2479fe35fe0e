//! Processes of this machine: what they were started as, and signals to them.

use std::fs;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

/// What a process was started as; empty when it is gone.
pub(crate) fn command_line(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// Whether nothing is left of a process but its entry: its files are closed, its ports and locks are free.
pub(crate) fn is_gone(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return true;
    };
    // `pid (name) state …`; the name may hold anything.
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    state.is_some_and(|state| state.starts_with(['Z', 'X'])) && threads <= 1
}

/// Sends a signal; the caller knows whose number it is.
pub(crate) fn signal(pid: i32, signal: Signal) -> std::io::Result<()> {
    let pid = Pid::from_raw(pid).expect("a process id is not zero");
    Ok(kill_process(pid, signal)?)
}

/// Nothing of whoever runs the tests reaches the programs.
pub(crate) fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("JARVIS_") || text == "RUST_LOG" {
            command.env_remove(&name);
        }
    }
}
