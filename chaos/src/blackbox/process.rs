//! Processes that do not outlive this one: started, watched, stopped, ended.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

/// Between two looks at an end.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A running program. Its standard input is a pipe from here, so that a node ends when this program does.
///
/// A node also ends with the *thread* that starts it: start it from the one that lives as long as the run.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// Starts a program; what it says goes to the end of a file.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn start(command: &mut Command, log: &Path) -> io::Result<Self> {
        let output = append_to(log)?;
        let errors = output.try_clone()?;
        let child = command
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors)
            .spawn()?;
        Ok(Self(child))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().ok().flatten()
    }

    /// Waits until it has ended; `None` after the limit.
    pub(crate) async fn end(&mut self, limit: Duration) -> Option<ExitStatus> {
        let began = Instant::now();
        loop {
            let ended = self.ended();
            if ended.is_some() || began.elapsed() > limit {
                return ended;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Sends a signal, unless it has ended: not reaped yet, the number is still this process's.
    pub(crate) fn signal(&mut self, signal: Signal) -> io::Result<()> {
        let gone = || io::Error::other("the process has ended");
        if self.ended().is_some() {
            return Err(gone());
        }
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        Ok(kill_process(pid.ok_or_else(gone)?, signal)?)
    }

    /// SIGKILL; harmless if it has ended by itself.
    pub(crate) fn kill(&mut self) {
        let _ended_already = self.0.kill();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        let _reaped_already = self.0.wait();
    }
}

/// What a program may have from whoever runs this: the search path, and the name of the bug that a program built with
/// known bugs shall have.
const INHERITED: [&str; 2] = ["PATH", "JARVIS_MUTANT"];

/// A program with next to nothing in its environment.
pub(crate) fn bare(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    for name in INHERITED {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

fn append_to(log: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(log)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_is_stopped_goes_on_and_ends() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut command = bare(Path::new("sh"));
        command.args(["-c", "echo hello; read line; exit 7"]);
        let mut process = Process::start(&mut command, &log).unwrap();
        process.signal(Signal::STOP).unwrap();
        process.signal(Signal::CONT).unwrap();
        assert!(process.end(Duration::from_millis(50)).await.is_none());
        drop(process.0.stdin.take());
        let status = process.end(Duration::from_secs(10)).await.unwrap();
        assert_eq!(status.code(), Some(7));
        assert!(process.signal(Signal::TERM).is_err());
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "hello\n");
    }
}
