//! One node's process: started, watched, ended.
//!
//! ```text
//! start ─► Running ─ ended ─► Down ─ restart_later ─► Waiting ─ is_due ─► start
//! ```
//! Its standard input is a pipe that only this process holds: when this process is gone, however it
//! went, the node reads the end and stops. It has a process group of its own, so that Ctrl-C in a
//! terminal reaches `dev` alone, which then ends the nodes in order.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::Instant;

use super::DevError;
use super::plan::PlannedNode;

/// Before a node is started again: enough to see in a log that it was down, far below a second.
const RESTART_PAUSE: Duration = Duration::from_millis(100);
/// The pause after a second failure in a row, doubled at each further one.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// The longest pause: a mended cause is noticed within it.
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);
/// Who lived this long did not fail at its start.
const STABLE_AFTER: Duration = Duration::from_secs(10);
/// Who ended well before this may not want to live at all (a removed node).
const TOO_SHORT_TO_BE_ASKED: Duration = Duration::from_secs(2);

/// HUP, INT, KILL, TERM: somebody else ended the process, it did not fail.
const SIGNALS_FROM_OUTSIDE: [i32; 4] = [1, 2, 9, 15];

/// A log longer than this is put aside at the next start, and the one before it is dropped.
const MAX_LOG_BYTES: u64 = 64 << 20;
/// What is shown of a log: its last lines, and of those no more than these bytes.
const TAIL_LINES: usize = 8;
const TAIL_BYTES: u64 = 4_096;

/// A node and its process.
pub(super) struct NodeProcess {
    /// What runs.
    pub(super) node: PlannedNode,
    program: PathBuf,
    /// The current process, or the last one; 0 before the first.
    pid: u32,
    state: State,
    /// Failures in a row.
    failures: u32,
}

enum State {
    Down,
    Running {
        child: Box<Child>,
        /// Its standard input; closing it ends the node.
        lifeline: Option<ChildStdin>,
        since: Instant,
    },
    Waiting {
        until: Instant,
    },
}

/// A process that ended.
pub(super) struct Death {
    /// How, as the system says it.
    pub(super) status: String,
    /// Whether it failed by itself.
    pub(super) is_failure: bool,
}

impl NodeProcess {
    /// Not started yet.
    pub(super) fn new(node: PlannedNode, program: PathBuf) -> Self {
        Self {
            node,
            program,
            pid: 0,
            state: State::Down,
            failures: 0,
        }
    }

    /// The current process, or the last one.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    /// Starts the process.
    ///
    /// # Errors
    /// [`DevError::Spawn`], [`DevError::File`]
    pub(super) fn start(&mut self) -> Result<(), DevError> {
        self.state = State::Down;
        let started = open_log(&self.node.log).and_then(|log| self.spawn(log));
        if started.is_err() {
            self.failures += 1;
        }
        started
    }

    fn spawn(&mut self, log: File) -> Result<(), DevError> {
        let failed = |source| DevError::Spawn {
            node: self.node.name.clone(),
            source,
        };
        let errors = log.try_clone().map_err(failed)?;
        let mut child = Command::new(&self.program)
            .arg("server")
            .arg("--config")
            .arg(&self.node.config)
            .arg("--exit-with-stdin")
            .stdin(Stdio::piped())
            .stdout(Stdio::from(log))
            .stderr(Stdio::from(errors))
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        self.pid = child.id().unwrap_or(0);
        self.state = State::Running {
            lifeline: child.stdin.take(),
            child: Box::new(child),
            since: Instant::now(),
        };
        Ok(())
    }

    /// Whether the process has ended since the last look. Never waits.
    pub(super) fn poll(&mut self) -> Option<Death> {
        let State::Running { child, since, .. } = &mut self.state else {
            return None;
        };
        let lived = since.elapsed();
        let death = match child.try_wait() {
            Ok(None) => return None,
            Ok(Some(status)) => Death {
                status: status.to_string(),
                is_failure: is_failure(status, lived),
            },
            Err(error) => Death {
                status: error.to_string(),
                is_failure: true,
            },
        };
        self.state = State::Down;
        if lived >= STABLE_AFTER || !death.is_failure {
            self.failures = 0;
        }
        if death.is_failure {
            self.failures += 1;
        }
        Some(death)
    }

    /// Plans the next start; answers how long it is away.
    pub(super) fn restart_later(&mut self) -> Duration {
        let pause = backoff(self.failures);
        self.state = State::Waiting {
            until: Instant::now() + pause,
        };
        pause
    }

    /// Whether a planned start is due.
    pub(super) fn is_due(&self) -> bool {
        matches!(self.state, State::Waiting { until } if until <= Instant::now())
    }

    /// Asks the process to end, in both ways that it knows.
    pub(super) fn ask_to_end(&mut self) {
        match &mut self.state {
            State::Running { lifeline, .. } => {
                drop(lifeline.take());
                // Not reaped yet, so the number is still this process's.
                if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
                    let _ended_already = kill_process(pid, Signal::TERM);
                }
            }
            State::Down | State::Waiting { .. } => self.state = State::Down,
        }
    }

    /// Ends the process at once.
    pub(super) fn kill(&mut self) {
        if let State::Running { child, .. } = &mut self.state {
            let _ended_already = child.start_kill();
        }
    }

    /// The last lines of the log, without control characters.
    pub(super) fn log_tail(&self) -> String {
        tail(&self.node.log)
    }
}

fn is_failure(status: ExitStatus, lived: Duration) -> bool {
    match status.signal() {
        Some(signal) => !SIGNALS_FROM_OUTSIDE.contains(&signal),
        None if status.success() => lived < TOO_SHORT_TO_BE_ASKED,
        None => true,
    }
}

/// The pause before the next start, after so many failures in a row.
fn backoff(failures: u32) -> Duration {
    match failures {
        0 | 1 => RESTART_PAUSE,
        _ => FIRST_BACKOFF
            .saturating_mul(1 << (failures - 2).min(4))
            .min(LONGEST_BACKOFF),
    }
}

fn open_log(path: &Path) -> Result<File, DevError> {
    let opened = put_aside_if_long(path).and_then(|()| {
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)
    });
    opened.map_err(|source| DevError::File {
        path: path.to_owned(),
        source,
    })
}

fn put_aside_if_long(path: &Path) -> std::io::Result<()> {
    match std::fs::metadata(path) {
        Ok(found) if found.len() > MAX_LOG_BYTES => {
            std::fs::rename(path, path.with_extension("log.old"))
        }
        _ => Ok(()),
    }
}

fn tail(path: &Path) -> String {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        file.take(TAIL_BYTES).read_to_end(&mut bytes)
    });
    if let Err(error) = read {
        return format!("  ({error})");
    }
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines
        .iter()
        .skip(lines.len().saturating_sub(TAIL_LINES))
        .map(|line| format!("  {}", printable(line)))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Control characters could steer the terminal.
fn printable(line: &str) -> String {
    line.chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended_by_signal(signal: i32) -> ExitStatus {
        ExitStatus::from_raw(signal)
    }

    fn ended_with_code(code: i32) -> ExitStatus {
        ExitStatus::from_raw(code << 8)
    }

    #[test]
    fn design_10_a_killed_node_is_back_within_a_second_however_often() {
        for signal in SIGNALS_FROM_OUTSIDE {
            assert!(
                !is_failure(ended_by_signal(signal), Duration::ZERO),
                "{signal}"
            );
        }
        assert!(backoff(0) < Duration::from_secs(1));
        assert!(backoff(1) < Duration::from_secs(1));
    }

    #[test]
    fn design_10_a_node_that_fails_again_and_again_waits_longer_and_longer() {
        let abort = 6;
        assert!(is_failure(ended_by_signal(abort), STABLE_AFTER));
        assert!(is_failure(ended_with_code(1), Duration::ZERO));
        assert!(is_failure(ended_with_code(0), Duration::ZERO));
        assert!(!is_failure(ended_with_code(0), TOO_SHORT_TO_BE_ASKED));
        let seconds: Vec<u64> = (2..9).map(|failures| backoff(failures).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 10, 10, 10]);
        assert_eq!(backoff(u32::MAX), LONGEST_BACKOFF);
    }

    #[test]
    fn the_tail_of_a_log_is_short_and_harmless() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("node.log");
        let lines: String = (0..5_000)
            .map(|line| format!("line {line}\u{1b}[2J\n"))
            .collect();
        std::fs::write(&log, lines).unwrap();
        let tail = tail(&log);
        assert_eq!(tail.lines().count(), TAIL_LINES);
        assert!(tail.ends_with("line 4999 [2J"), "{tail}");
        assert!(!tail.contains('\u{1b}'));
    }

    #[tokio::test]
    async fn design_10_a_process_is_started_watched_and_asked_to_end() {
        let folder = tempfile::tempdir().unwrap();
        // Stands for a node: ends when its standard input does, as a node is told to by its flag.
        let program = folder.path().join("node.sh");
        let mut options = OpenOptions::new();
        let mut file = options
            .create(true)
            .write(true)
            .mode(0o700)
            .open(&program)
            .unwrap();
        std::io::Write::write_all(&mut file, b"#!/bin/sh\necho \"$@\"\ncat >/dev/null\n").unwrap();
        drop(file);
        let node = PlannedNode::in_directory(folder.path(), 0, 1, 2);
        std::fs::create_dir(&node.data_dir).unwrap();

        let mut process = NodeProcess::new(node, program);
        process.start().unwrap();
        assert!(process.is_running() && process.pid() > 0);
        let expected = format!("server --config {}", process.node.config.display());
        while !process.log_tail().contains(&expected) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(process.poll().is_none());

        process.ask_to_end();
        let death = loop {
            if let Some(death) = process.poll() {
                break death;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        assert!(!process.is_running(), "{}", death.status);
        assert_eq!(
            std::fs::metadata(&process.node.log).unwrap().mode_bits(),
            0o600
        );

        process.restart_later();
        assert!(!process.is_due());
        process.ask_to_end();
        assert!(!process.is_due());
    }

    trait ModeBits {
        fn mode_bits(&self) -> u32;
    }

    impl ModeBits for std::fs::Metadata {
        fn mode_bits(&self) -> u32 {
            std::os::unix::fs::MetadataExt::mode(self) & 0o777
        }
    }
}
