//! Starting `dev`, and the handle that it writes.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;

use super::DevOptions;
use crate::process::{Process, bare};
use crate::{Programs, eventually, ports};

/// Another process can take a port between the look and its use.
const START_TRIES: u32 = 5;

/// `dev.json`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Handle {
    pub(crate) ready: bool,
    pub(crate) root_token: String,
    pub(crate) nodes: Vec<NodeHandle>,
}

/// One node in `dev.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct NodeHandle {
    /// Its id in the cluster.
    pub id: u64,
    /// All of its files.
    pub data_dir: PathBuf,
    /// Base address of its API.
    pub api: String,
    /// Its process under `dev`, or its last one there.
    pub(crate) pid: i32,
    pub(crate) config: PathBuf,
    pub(crate) log: PathBuf,
}

impl NodeHandle {
    /// Where its API is.
    ///
    /// # Panics
    /// When that is no address of loopback with its scheme.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        let (_, address) = self.api.split_once("://").expect("an address's scheme");
        address.parse().expect("an address of loopback")
    }
}

/// A new cluster in `dir`, under a `dev` that says so in `output`, and that has said ready.
///
/// # Panics
/// When it does not, with what it said.
#[track_caller]
pub(crate) fn run_dev(
    programs: Programs,
    dir: &Path,
    output: &Path,
    options: &DevOptions,
) -> (Process, Handle) {
    for _ in 0..START_TRIES {
        let mut dev = start(programs, dir, output, options);
        let ready = eventually("dev says ready", || match dev.ended() {
            Some(status) => Some(Err(status)),
            None => read_handle(dir).filter(|handle| handle.ready).map(Ok),
        });
        match ready {
            Ok(handle) => return (dev, handle),
            // Nothing was written then.
            Err(status) => {
                let said = fs::read_to_string(output).unwrap_or_default();
                assert!(said.contains("are taken"), "dev ended ({status}):\n{said}");
            }
        }
    }
    panic!("{START_TRIES} times somebody else took ports that had been free");
}

#[track_caller]
fn start(programs: Programs, dir: &Path, output: &Path, options: &DevOptions) -> Process {
    let log = File::create(output).expect("a file for dev's output");
    let mut command = bare(programs.daemon);
    command
        .arg("dev")
        .arg("--data")
        .arg(dir)
        .args(["--nodes", &options.nodes.to_string()])
        .args(["--port", &ports::reserve(options.nodes).to_string()])
        .args((!options.restarts).then_some("--no-restart"))
        .envs(options.environment.iter().copied())
        .stdin(Stdio::null());
    Process::start(&mut command, log)
}

/// Replaced atomically, so it is whole or not there.
pub(crate) fn read_handle(dir: &Path) -> Option<Handle> {
    let text = fs::read(dir.join("dev.json")).ok()?;
    serde_json::from_slice(&text).ok()
}
