//! A cluster of real processes: started by `jarvis-secretsd dev`, hurt from outside, stopped when it is dropped.
//!
//! ```text
//! folder/dev.out     what dev prints           folder/home        home of the command line
//! folder/cluster/    dev's --data: dev.json, one folder per node
//! ```
//! A signal goes to a process only after a look at its command line: numbers of processes are used again.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::Deserialize;
use tempfile::TempDir;

use super::process::{command_line, signal, without_settings};
use super::wait::wait_until;

#[path = "asking.rs"]
mod asking;
#[path = "faults.rs"]
mod faults;

/// A new cluster of three takes about three seconds; a busy machine many times that.
const START_LIMIT: Duration = Duration::from_secs(90);
/// A node that was killed serves again after one or two seconds.
pub(crate) const RECOVERY_LIMIT: Duration = Duration::from_secs(60);
/// `dev` promises ten seconds.
const END_LIMIT: Duration = Duration::from_secs(12);

/// Ports are taken from here on, below the range that the system gives to outgoing connections.
const FIRST_PORT: u16 = 20_000;
/// So many places to start from; peers listen 1000 above the APIs.
const PORT_PLACES: u16 = 1_100;
/// Ports from one place to the next: more than a cluster has nodes.
const PORTS_PER_PLACE: u16 = 10;
const PEER_OFFSET: u16 = 1_000;
/// Another process can take a port between the look and its use.
const START_TRIES: u32 = 5;
/// What is shown of each log when a test fails.
const SHOWN_LINES: usize = 30;

/// How a cluster is started.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// 1, 3 or 5.
    pub(crate) nodes: u16,
    /// Whether `dev` starts nodes again that died.
    pub(crate) restarts: bool,
    /// Settings for all nodes.
    pub(crate) environment: Vec<(&'static str, &'static str)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes: 3,
            restarts: true,
            environment: Vec::new(),
        }
    }
}

/// `dev.json`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Handle {
    pub(crate) ready: bool,
    pub(crate) root_token: String,
    pub(crate) nodes: Vec<NodeHandle>,
}

/// One node in `dev.json`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct NodeHandle {
    pub(crate) id: u64,
    api: String,
    pid: i32,
    pub(crate) data_dir: PathBuf,
    config: PathBuf,
    log: PathBuf,
}

/// A running cluster.
pub(crate) struct Cluster {
    folder: TempDir,
    dev: Child,
    /// As it was when the cluster became ready; only the process ids change.
    handle: Handle,
    environment: Vec<(&'static str, &'static str)>,
    /// Nodes that the test started itself, in the order of the handle.
    servers: Mutex<Vec<Option<Child>>>,
}

impl Cluster {
    /// Starts a new cluster and waits until it serves.
    ///
    /// # Panics
    /// When it does not, with what `dev` printed.
    pub(crate) fn start(options: &Options) -> Self {
        (0..START_TRIES)
            .find_map(|_| Self::try_start(options))
            .expect("free ports stay free for a moment")
    }

    /// `None` when somebody took a port in the meantime.
    fn try_start(options: &Options) -> Option<Self> {
        let folder = tempfile::Builder::new()
            .prefix("jarvis-test-")
            .tempdir()
            .expect("a temporary folder");
        fs::create_dir(folder.path().join("home")).expect("a home for the command line");
        let output = File::create(folder.path().join("dev.out")).expect("a file for dev's output");
        let errors = output.try_clone().expect("a file for dev's errors");
        let mut command = Command::new(env!("CARGO_BIN_EXE_jarvis-secretsd"));
        without_settings(&mut command);
        command
            .arg("dev")
            .arg("--data")
            .arg(folder.path().join("cluster"))
            .args(["--nodes", &options.nodes.to_string()])
            .args(["--port", &free_ports(options.nodes).to_string()])
            .args((!options.restarts).then_some("--no-restart"))
            .envs(options.environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors);
        let mut cluster = Self {
            dev: command.spawn().expect("dev starts"),
            handle: Handle {
                ready: false,
                root_token: String::new(),
                nodes: Vec::new(),
            },
            environment: options.environment.clone(),
            servers: Mutex::new((0..options.nodes).map(|_| None).collect()),
            folder,
        };
        let dir = cluster.dir();
        let dev = &mut cluster.dev;
        let ready = wait_until("dev says ready", START_LIMIT, || {
            match dev.try_wait().expect("dev can be asked") {
                Some(status) => Some(Err(status)),
                None => read_handle(&dir).filter(|handle| handle.ready).map(Ok),
            }
        });
        match ready {
            Ok(handle) => {
                cluster.handle = handle;
                Some(cluster)
            }
            Err(status) => {
                let output = cluster.output();
                assert!(
                    output.contains("are taken"),
                    "dev ended ({status}):\n{output}"
                );
                None
            }
        }
    }

    /// What everything lies in, `dev`'s output too.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `dev`'s data directory.
    pub(crate) fn dir(&self) -> PathBuf {
        self.folder.path().join("cluster")
    }

    /// What `dev` has printed.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(self.folder.path().join("dev.out")).unwrap_or_default()
    }

    /// The process id of `dev`.
    pub(crate) fn dev_pid(&self) -> u32 {
        self.dev.id()
    }

    /// The first token.
    pub(crate) fn root_token(&self) -> &str {
        &self.handle.root_token
    }

    /// How many nodes there are.
    pub(crate) fn count(&self) -> usize {
        self.handle.nodes.len()
    }

    /// The places of all nodes.
    pub(crate) fn all(&self) -> std::ops::Range<usize> {
        0..self.count()
    }

    /// A node's entry in the handle.
    pub(crate) fn node(&self, index: usize) -> &NodeHandle {
        &self.handle.nodes[index]
    }

    /// Where a node's API is.
    pub(crate) fn api(&self, index: usize) -> SocketAddr {
        let (_, address) = self.handle.nodes[index]
            .api
            .split_once("://")
            .expect("an address with its scheme");
        address.parse().expect("an address of loopback")
    }

    /// Ends everything in order, as SIGTERM does.
    ///
    /// # Panics
    /// When something does not end, or ends with an error.
    pub(crate) fn stop(&mut self) {
        let mut children: Vec<&mut Child> = self
            .servers
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .iter_mut()
            .flatten()
            .collect();
        children.push(&mut self.dev);
        for child in &mut children {
            if child.try_wait().expect("a child can be asked").is_none() {
                let pid = i32::try_from(child.id()).expect("a process id");
                signal(pid, Signal::TERM).expect("a child takes a signal");
            }
        }
        for child in children {
            let what = format!("process {} ends after SIGTERM", child.id());
            let status = wait_until(&what, END_LIMIT, || {
                child.try_wait().expect("a child can be asked")
            });
            assert!(status.success(), "process {}: {status}", child.id());
        }
    }

    fn servers(&self) -> MutexGuard<'_, Vec<Option<Child>>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a person would look at first.
    fn show_logs(&self) {
        println!("--- dev\n{}", last_lines(&self.output()));
        for node in &self.handle.nodes {
            let log = fs::read(&node.log).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            println!("--- {}\n{}", node.log.display(), last_lines(&log));
        }
    }
}

impl Drop for Cluster {
    /// Ends all processes, whatever happened; never panics.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_logs();
        }
        let servers = self.servers.get_mut();
        for server in servers
            .unwrap_or_else(PoisonError::into_inner)
            .iter_mut()
            .flatten()
        {
            let _ended_already = server.kill();
            let _ended_already = server.wait();
        }
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
        if let (Ok(None), Ok(pid)) = (self.dev.try_wait(), i32::try_from(self.dev.id())) {
            let _ended_already = signal(pid, Signal::TERM);
        }
        while matches!(self.dev.try_wait(), Ok(None)) && Instant::now() < limit {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ended_already = self.dev.kill();
        let _ended_already = self.dev.wait();
    }
}

/// Tells the reader of a test's output where it is.
pub(crate) fn phase(text: &str) {
    println!("== {text}");
}

/// Replaced atomically, so it is whole or not there.
fn read_handle(dir: &Path) -> Option<Handle> {
    let text = fs::read(dir.join("dev.json")).ok()?;
    serde_json::from_slice(&text).ok()
}

/// The first of so many free ports in a row, with as many for peers above them.
fn free_ports(nodes: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = u16::try_from(std::process::id() % u32::from(PORT_PLACES)).unwrap_or(0);
    for _ in 0..PORT_PLACES {
        let place = (own + NEXT.fetch_add(1, Ordering::Relaxed)) % PORT_PLACES;
        let first = FIRST_PORT + place * PORTS_PER_PLACE;
        let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if (first..first + nodes).all(|port| is_free(port) && is_free(port + PEER_OFFSET)) {
            return first;
        }
    }
    panic!("no {nodes} free ports in a row");
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}
