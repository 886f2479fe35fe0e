//! Processes of this machine: started, watched, ended; and signals to those of somebody else.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::Programs;

/// What is shown of a log when a test fails.
const SHOWN_LINES: usize = 30;

/// A program that does not outlive its owner.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// Starts a program; what it says goes into a file.
    #[track_caller]
    pub(crate) fn start(command: &mut Command, output: File) -> Self {
        let errors = output.try_clone().expect("an open file has two handles");
        match command.stdout(output).stderr(errors).spawn() {
            Ok(child) => Self(child),
            Err(error) => panic!("{:?} does not start: {error}", command.get_program()),
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).expect("a process id")
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("a child can be asked")
    }

    /// SIGTERM, unless it has ended.
    pub(crate) fn ask_to_end(&mut self) {
        // Not reaped yet, so the number is still this process's.
        if self.ended().is_none() {
            let _ended_meanwhile = signal(self.pid(), Signal::TERM);
        }
    }

    /// SIGKILL; harmless if it has ended by itself. Nothing is left of it afterwards.
    pub(crate) fn kill(&mut self) {
        let _ended_already = self.0.kill();
        let _ended_already = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A program to which nothing of whoever runs the tests comes, but for the search path.
pub(crate) fn bare(program: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command.env_clear().env("PATH", path);
    command
}

/// A node on what `dev` has written for it. Its standard input is a pipe from here, so that it ends when the test
/// program dies, however that happens. It also ends with the *thread* that starts it.
pub(crate) fn server(programs: Programs, config: &Path) -> Command {
    let mut command = bare(programs.daemon);
    command
        .arg("server")
        .arg("--config")
        .arg(config)
        .arg("--exit-with-stdin")
        .stdin(Stdio::piped());
    command
}

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

/// The end of what a process said.
pub(crate) fn last_lines(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}
