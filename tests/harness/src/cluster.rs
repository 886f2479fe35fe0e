//! Three real nodes: made by `jarvis-secretsd dev`, then run one by one as `jarvis-secretsd server`, so that a test can
//! kill, damage and start each of them, and read what it said.
//!
//! Snapshots are small and frequent, so that a few hundred writes purge the log.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use crate::dev::{DevOptions, NodeHandle, run_dev};
use crate::diagnosis::{self, Patient};
use crate::http::Caller;
use crate::process::{Process, is_gone, server};
use crate::{Programs, eventually};

/// Settings of all nodes, through the environment.
const SETTINGS: [(&str, &str); 7] = [
    ("RUST_LOG", "warn"),
    // These tests are not about fail-over, and a vote waits for the disk: beside a build, or on a loop device, a sync can
    // take longer than the shortest election timeout is by default, and then nobody is elected until the disk rests.
    ("JARVIS_SECRETSD_RAFT_HEARTBEAT_MS", "200"),
    ("JARVIS_SECRETSD_RAFT_ELECTION_MIN_MS", "1000"),
    ("JARVIS_SECRETSD_RAFT_ELECTION_MAX_MS", "2000"),
    ("JARVIS_SECRETSD_RAFT_SNAPSHOT_WAL_BYTES", "16KiB"),
    ("JARVIS_SECRETSD_RAFT_WAL_SEGMENT_BYTES", "64KiB"),
    // The disks of these tests are small: full is full, not "nearly".
    ("JARVIS_SECRETSD_AUDIT_MIN_FREE_BYTES", "0"),
];

/// The nodes, in the order of their names.
#[derive(Debug)]
pub struct Cluster {
    /// Each with its process, if it runs.
    pub nodes: Vec<Member>,
    pub(crate) programs: Programs,
}

/// One node and its process.
#[derive(Debug)]
pub struct Member {
    /// `n1`, `n2`, `n3`.
    pub name: String,
    /// All of its files.
    pub data_dir: PathBuf,
    /// Asks it as administrator.
    pub admin: Caller,
    programs: Programs,
    config: PathBuf,
    /// What the last process said.
    log: PathBuf,
    process: Option<Process>,
}

impl Cluster {
    #[track_caller]
    pub(crate) fn make(programs: Programs, dir: &Path, logs: &Path) -> Self {
        let options = DevOptions {
            restarts: false,
            environment: SETTINGS.to_vec(),
            ..DevOptions::default()
        };
        let (mut dev, handle) = run_dev(programs, dir, &logs.join("dev.log"), &options);
        dev.ask_to_end();
        eventually("dev ends", || dev.ended());
        let node = |(place, node): (usize, NodeHandle)| {
            let name = format!("n{}", place + 1);
            Member {
                admin: Caller::stranger(node.address()).with_token(&handle.root_token),
                data_dir: node.data_dir,
                programs,
                config: node.config,
                log: logs.join(format!("{name}.log")),
                process: None,
                name,
            }
        };
        let nodes = handle.nodes.iter().cloned().enumerate().map(node);
        Self {
            nodes: nodes.collect(),
            programs,
        }
    }

    /// Starts all nodes and waits until each serves.
    #[track_caller]
    pub fn start(&mut self) {
        self.nodes.iter_mut().for_each(Member::start);
        self.nodes.iter_mut().for_each(Member::wait_ready);
    }

    /// SIGKILL to all of them.
    pub fn kill(&mut self) {
        self.nodes.iter_mut().for_each(Member::kill);
    }

    /// Ends all of them in order; each must say that it went well.
    #[track_caller]
    pub fn stop(&mut self) {
        let processes = self.nodes.iter_mut().flat_map(|node| &mut node.process);
        processes.for_each(Process::ask_to_end);
        for node in &mut self.nodes {
            let status = node.wait_for_end();
            assert!(status.success(), "{} ended with {status}", node.name);
        }
    }

    /// All APIs, as administrator.
    #[must_use]
    pub fn admins(&self) -> Vec<Caller> {
        self.nodes.iter().map(|node| node.admin.clone()).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let patients: Vec<Patient> = self.nodes.iter_mut().map(Member::as_patient).collect();
            diagnosis::show(&patients);
        }
    }
}

impl Member {
    /// Starts the process; what an earlier one said is forgotten.
    ///
    /// From the test's own thread: a node ends with the thread that started it.
    #[track_caller]
    pub fn start(&mut self) {
        assert!(self.process.is_none(), "{} runs already", self.name);
        let log = File::create(&self.log).unwrap();
        let mut command = server(self.programs, &self.config);
        command.envs(SETTINGS);
        self.process = Some(Process::start(&mut command, log));
    }

    /// Waits until it serves.
    #[track_caller]
    pub fn wait_ready(&mut self) {
        let what = format!("{} is ready", self.name);
        eventually(&what, || {
            if let Some(status) = self.ended() {
                panic!("{} ended with {status}:\n{}", self.name, self.said());
            }
            let answer = self.admin.try_get("/readyz").ok()?;
            (answer.status == 200).then_some(())
        });
    }

    /// Starts it and expects that it refuses; what it said.
    #[track_caller]
    pub fn refuse(&mut self) -> String {
        self.start();
        let status = self.wait_for_end();
        let said = self.said();
        assert!(
            status.code().is_some_and(|code| code != 0),
            "{} ended with {status}:\n{said}",
            self.name
        );
        said
    }

    /// SIGKILL; harmless if it has ended by itself.
    pub fn kill(&mut self) {
        drop(self.process.take());
    }

    /// Whether the process has ended by itself, and how.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.as_mut().and_then(Process::ended)
    }

    /// Whether the process has ended by itself, for who may only look.
    #[must_use]
    pub fn has_died(&self) -> bool {
        let process = self.process.as_ref();
        process.is_some_and(|process| is_gone(process.pid()))
    }

    /// Waits until the process has ended by itself.
    #[track_caller]
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let what = format!("{} ends", self.name);
        let status = eventually(&what, || self.ended());
        self.process = None;
        status
    }

    /// What the last process said.
    #[must_use]
    pub fn said(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The folder of its trail.
    #[must_use]
    pub fn audit_dir(&self) -> PathBuf {
        self.data_dir.join("audit")
    }

    fn as_patient(&mut self) -> Patient {
        let ended = self.ended();
        let state = match (&self.process, ended) {
            (None, _) => "not started".to_owned(),
            (Some(_), Some(status)) => format!("ended with {status}"),
            (Some(process), None) => format!("process {}", process.pid()),
        };
        Patient {
            name: self.name.clone(),
            state,
            admin: self.admin.clone(),
            log: self.log.clone(),
        }
    }
}
