//! A cluster of real processes under a running `jarvis-secretsd dev`: hurt from outside, stopped when it is dropped.
//!
//! ```text
//! folder/dev.out     what dev prints           folder/home        home of the command line
//! folder/cluster/    dev's --data: dev.json, one folder per node
//! ```
//! A signal goes to a process only after a look at its command line: numbers of processes are used again.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::diagnosis::{self, Patient};
use crate::http::Caller;
use crate::process::{Process, command_line, last_lines, signal};
use crate::{Programs, within};

mod asking;
mod faults;
mod launch;

pub use asking::StateHash;
pub use launch::NodeHandle;

pub(crate) use launch::{Handle, run_dev};

use launch::read_handle;

/// `dev` promises ten seconds.
const END_LIMIT: Duration = Duration::from_secs(12);
/// Between two looks at an end.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How a cluster is started.
#[derive(Debug, Clone)]
pub struct DevOptions {
    /// 1, 3 or 5.
    pub nodes: u16,
    /// Whether `dev` starts nodes again that died.
    pub restarts: bool,
    /// Settings for all nodes.
    pub environment: Vec<(&'static str, &'static str)>,
}

impl Default for DevOptions {
    fn default() -> Self {
        Self {
            nodes: 3,
            restarts: true,
            environment: Vec::new(),
        }
    }
}

/// A running cluster.
#[derive(Debug)]
pub struct DevCluster {
    programs: Programs,
    folder: TempDir,
    dev: Process,
    /// As it was when the cluster became ready; only the process ids change.
    handle: Handle,
    environment: Vec<(&'static str, &'static str)>,
    /// Nodes that the test started itself, in the order of the handle.
    servers: Mutex<Vec<Option<Process>>>,
}

impl DevCluster {
    #[track_caller]
    pub(crate) fn start(programs: Programs, options: &DevOptions) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("jarvis-test-")
            .tempdir()
            .expect("a temporary folder");
        fs::create_dir(folder.path().join("home")).expect("a home for the command line");
        let output = folder.path().join("dev.out");
        let (dev, handle) = run_dev(programs, &folder.path().join("cluster"), &output, options);
        Self {
            programs,
            folder,
            dev,
            servers: Mutex::new(handle.nodes.iter().map(|_| None).collect()),
            handle,
            environment: options.environment.clone(),
        }
    }

    /// What everything lies in, `dev`'s output too.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `dev`'s data directory.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.folder.path().join("cluster")
    }

    /// The process id of `dev`.
    #[must_use]
    pub fn dev_pid(&self) -> i32 {
        self.dev.pid()
    }

    /// The first token.
    #[must_use]
    pub fn root_token(&self) -> &str {
        &self.handle.root_token
    }

    /// How many nodes there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.handle.nodes.len()
    }

    /// The places of all nodes.
    #[must_use]
    pub fn all(&self) -> std::ops::Range<usize> {
        0..self.count()
    }

    /// A node's entry in the handle.
    #[must_use]
    pub fn node(&self, index: usize) -> &NodeHandle {
        &self.handle.nodes[index]
    }

    /// Where a node's API is.
    #[must_use]
    pub fn api(&self, index: usize) -> SocketAddr {
        self.node(index).address()
    }

    /// Ends everything in order, as SIGTERM does.
    ///
    /// # Panics
    /// When something does not end, or ends with an error.
    #[track_caller]
    pub fn stop(&mut self) {
        let servers = self.servers.get_mut();
        let servers = servers.unwrap_or_else(PoisonError::into_inner);
        let mut processes: Vec<&mut Process> = servers.iter_mut().flatten().collect();
        processes.push(&mut self.dev);
        for process in &mut processes {
            process.ask_to_end();
        }
        for process in processes {
            let what = format!("process {} ends after SIGTERM", process.pid());
            let status = within(END_LIMIT, &what, || process.ended());
            assert!(status.success(), "process {}: {status}", process.pid());
        }
    }

    fn servers(&self) -> MutexGuard<'_, Vec<Option<Process>>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a person would look at first.
    fn show(&self) {
        let output = self.folder.path().join("dev.out");
        println!("--- dev\n{}", last_lines(&output));
        let patients: Vec<Patient> = self
            .handle
            .nodes
            .iter()
            .map(|node| Patient {
                name: node.config.display().to_string(),
                state: self.state_of(node),
                admin: Caller::stranger(node.address()).with_token(&self.handle.root_token),
                log: node.log.clone(),
            })
            .collect();
        diagnosis::show(&patients);
    }

    /// The node may have another process by now, under `dev` or of the test.
    fn state_of(&self, node: &NodeHandle) -> String {
        let newest = read_handle(&self.dir()).unwrap_or_else(|| self.handle.clone());
        let same = |other: &&NodeHandle| other.id == node.id;
        let pid = newest.nodes.iter().find(same).map_or(0, |node| node.pid);
        if command_line(pid).contains(&node.config.display().to_string()) {
            format!("process {pid} under dev")
        } else {
            "no process under dev".to_owned()
        }
    }
}

impl Drop for DevCluster {
    /// Ends all processes, whatever happened; never panics.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show();
        }
        self.servers().clear();
        // A paused node would end only when dev loses its patience.
        for node in read_handle(&self.dir())
            .iter()
            .flat_map(|handle| &handle.nodes)
        {
            if command_line(node.pid).contains(&node.config.display().to_string()) {
                let _ended_already = signal(node.pid, Signal::CONT);
            }
        }
        let limit = Instant::now() + END_LIMIT;
        self.dev.ask_to_end();
        while self.dev.ended().is_none() && Instant::now() < limit {
            std::thread::sleep(LOOK_AGAIN);
        }
        self.dev.kill();
    }
}
