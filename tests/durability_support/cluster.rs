//! Three real nodes: made by `jarvis-secretsd dev`, then run one by one as `jarvis-secretsd server`, so that a test can
//! kill, damage and start each of them, and read what it said.
//!
//! Snapshots are small and frequent, so that a few hundred writes purge the log. A node's standard input is a pipe from
//! here: when the test program dies, however it does, its nodes end.

#![allow(
    dead_code,
    reason = "shared by several test programs, of which each uses its part"
)]

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::http::Endpoint;

/// The daemon under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_jarvis-secretsd");

/// Settings of all nodes, through the environment.
const SETTINGS: [(&str, &str); 4] = [
    ("RUST_LOG", "warn"),
    ("JARVIS_SECRETSD_RAFT_SNAPSHOT_WAL_BYTES", "16KiB"),
    ("JARVIS_SECRETSD_RAFT_WAL_SEGMENT_BYTES", "64KiB"),
    // The disks of these tests are small: full is full, not "nearly".
    ("JARVIS_SECRETSD_AUDIT_MIN_FREE_BYTES", "0"),
];

/// Nodes of a cluster.
const NODES: u16 = 3;
/// From an API's port to its node's port for peers, as `dev` has it.
const PEER_OFFSET: u16 = 1_000;
/// Below the ports that the system hands out by itself: a node that is down for a while finds its own again.
const FIRST_PORT: u16 = 20_000;
/// Blocks of ports from there on; with the peers' they end below 32,768.
const PORT_BLOCKS: u16 = 1_100;
const PORTS_PER_BLOCK: u16 = 10;
/// Somebody else may take a port between the look at it and its use.
const PORT_TRIES: usize = 10;

/// Far above what an idle machine needs.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Waits until `look` finds something; a story that gets no further has failed.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "not within {} s: {what}",
            LIMIT.as_secs()
        );
        thread::sleep(LOOK_AGAIN);
    }
}

/// The nodes, in the order of their names.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
}

/// One node and its process.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) endpoint: Endpoint,
    config: PathBuf,
    /// What the last process said.
    log: PathBuf,
    process: Option<Child>,
}

impl Cluster {
    /// A new cluster in `dir`, not running. `logs` is a folder outside of it for what the nodes say.
    pub(crate) fn make(dir: &Path, logs: &Path) -> Self {
        for _ in 0..PORT_TRIES {
            if let Some(handle) = establish(dir, logs, free_ports()) {
                return Self::of(&handle, logs);
            }
        }
        panic!("no free ports in {PORT_TRIES} tries");
    }

    fn of(handle: &Value, logs: &Path) -> Self {
        let token = text(&handle["root_token"]);
        let nodes = handle["nodes"].as_array().expect("dev.json lists nodes");
        let node = |(place, node): (usize, &Value)| {
            let name = format!("n{}", place + 1);
            Node {
                data_dir: PathBuf::from(text(&node["data_dir"])),
                endpoint: Endpoint::new(&text(&node["api"]), &token),
                config: PathBuf::from(text(&node["config"])),
                log: logs.join(format!("{name}.log")),
                process: None,
                name,
            }
        };
        Self {
            nodes: nodes.iter().enumerate().map(node).collect(),
        }
    }

    /// Starts all nodes and waits until each serves.
    pub(crate) fn start(&mut self) {
        self.nodes.iter_mut().for_each(Node::start);
        self.nodes.iter_mut().for_each(Node::wait_ready);
    }

    /// SIGKILL to all of them.
    pub(crate) fn kill(&mut self) {
        self.nodes.iter_mut().for_each(Node::kill);
    }

    /// Ends all of them in order; each must say that it went well.
    pub(crate) fn stop(&mut self) {
        self.nodes.iter_mut().for_each(Node::ask_to_end);
        for node in &mut self.nodes {
            let status = node.wait_for_end();
            assert!(status.success(), "{} ended with {status}", node.name);
        }
    }

    /// All APIs.
    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        self.nodes
            .iter()
            .map(|node| node.endpoint.clone())
            .collect()
    }
}

impl Node {
    /// Starts the process; what an earlier one said is forgotten.
    ///
    /// From the test's own thread: a node ends with the thread that started it.
    pub(crate) fn start(&mut self) {
        assert!(self.process.is_none(), "{} runs already", self.name);
        let log = File::create(&self.log).unwrap();
        let errors = log.try_clone().unwrap();
        let child = Command::new(PROGRAM)
            .arg("server")
            .arg("--config")
            .arg(&self.config)
            .arg("--exit-with-stdin")
            .envs(SETTINGS)
            .stdin(Stdio::piped())
            .stdout(Stdio::from(log))
            .stderr(Stdio::from(errors))
            .spawn()
            .unwrap();
        self.process = Some(child);
    }

    /// Waits until it serves.
    pub(crate) fn wait_ready(&mut self) {
        let what = format!("{} is ready", self.name);
        eventually(&what, || {
            if let Some(status) = self.ended() {
                panic!("{} ended with {status}:\n{}", self.name, self.said());
            }
            let answer = self.endpoint.get("/readyz").ok()?;
            (answer.status == 200).then_some(())
        });
    }

    /// Starts it and expects that it refuses; what it said.
    pub(crate) fn refuse(&mut self) -> String {
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
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            // It may be gone already.
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    /// Whether the process has ended by itself, and how.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.process
            .as_mut()
            .and_then(|child| child.try_wait().unwrap())
    }

    /// Waits until the process has ended by itself.
    pub(crate) fn wait_for_end(&mut self) -> ExitStatus {
        let what = format!("{} ends", self.name);
        let status = eventually(&what, || self.ended());
        self.process = None;
        status
    }

    /// What the last process said.
    pub(crate) fn said(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The folder of its trail.
    pub(crate) fn audit_dir(&self) -> PathBuf {
        self.data_dir.join("audit")
    }

    fn ask_to_end(&mut self) {
        if let Some(child) = &self.process {
            terminate(child);
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.process.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A `dev` that a failing test does not leave behind; its nodes end with it.
struct Dev(Child);

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Makes the cluster with `dev`, which is then ended in order; `None` when a port was taken after all.
fn establish(dir: &Path, logs: &Path, port: u16) -> Option<Value> {
    let log_path = logs.join("dev.log");
    let log = File::create(&log_path).unwrap();
    let errors = log.try_clone().unwrap();
    let child = Command::new(PROGRAM)
        .arg("dev")
        .arg("--data")
        .arg(dir)
        .arg("--port")
        .arg(port.to_string())
        .arg("--nodes")
        .arg(NODES.to_string())
        .arg("--no-restart")
        .envs(SETTINGS)
        .stdin(Stdio::null())
        .stdout(Stdio::from(log))
        .stderr(Stdio::from(errors))
        .spawn()
        .unwrap();
    let mut dev = Dev(child);
    let said = || std::fs::read_to_string(&log_path).unwrap_or_default();
    let handle = eventually("the cluster is made", || {
        if let Some(status) = dev.0.try_wait().unwrap() {
            let said = said();
            assert!(
                said.contains("addresses are taken"),
                "dev ended with {status}:\n{said}"
            );
            return Some(None);
        }
        let handle = read_handle(dir)?;
        (handle["ready"] == true).then_some(Some(handle))
    })?;
    terminate(&dev.0);
    eventually("dev ends", || dev.0.try_wait().unwrap());
    Some(handle)
}

fn read_handle(dir: &Path) -> Option<Value> {
    let bytes = std::fs::read(dir.join("dev.json")).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// The first of so many free ports in a row, for APIs and for peers.
fn free_ports() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = std::process::id() % u32::from(PORT_BLOCKS);
    let own = u16::try_from(own).unwrap_or(0);
    eventually("ports are free", || {
        let block = (own + NEXT.fetch_add(1, Ordering::Relaxed) % PORT_BLOCKS) % PORT_BLOCKS;
        let first = FIRST_PORT + block * PORTS_PER_BLOCK;
        let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        (first..first + NODES)
            .all(|port| is_free(port) && is_free(port + PEER_OFFSET))
            .then_some(first)
    })
}

fn terminate(child: &Child) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    // Not reaped yet, so the number is still this process's.
    kill_process(pid.expect("a process has a number"), Signal::TERM).unwrap();
}

fn text(value: &Value) -> String {
    value.as_str().expect("dev.json has a text here").to_owned()
}
