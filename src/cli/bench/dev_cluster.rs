//! The handle that `jarvis-secretsd dev` leaves for scripts: `dev.json`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use crate::cli::error::CliError;

/// A handle of five nodes takes about 2 KiB.
const MOST_BYTES: u64 = 1024 * 1024;

/// What a process's command line must hold before we signal it: a number in a file may be old.
const PROGRAM: &str = "jarvis-secretsd";

/// The cluster as the handle describes it. No `Debug`: it holds the root token.
#[derive(Deserialize)]
pub(super) struct DevCluster {
    ready: bool,
    pub(super) root_token: String,
    #[serde(default)]
    pub(super) ca_cert: Option<PathBuf>,
    pub(super) nodes: Vec<DevNode>,
}

/// One node of the cluster; its place in the list never changes.
#[derive(Deserialize)]
pub(super) struct DevNode {
    pub(super) id: u64,
    pub(super) api: String,
    /// The last one, while the node is down.
    pub(super) pid: i32,
}

impl DevCluster {
    /// Reads the handle, or `dev.json` of a directory.
    ///
    /// # Errors
    /// `Usage` when the file is missing, is no handle, or its cluster does not serve yet.
    pub(super) fn read(path: &Path) -> Result<Self, CliError> {
        let file = if path.is_dir() {
            path.join("dev.json")
        } else {
            path.to_owned()
        };
        let mut text = String::new();
        File::open(&file)
            .and_then(|opened| opened.take(MOST_BYTES).read_to_string(&mut text))
            .map_err(|error| CliError::file("read", file.display(), &error))?;
        let cluster = Self::parse(&text)
            .ok_or_else(|| CliError::Usage(format!("{} is no dev.json", file.display())))?;
        if !cluster.ready || cluster.nodes.is_empty() {
            return Err(CliError::Usage(format!(
                "the cluster of {} is not ready",
                file.display()
            )));
        }
        Ok(cluster)
    }

    /// The parser's own error is dropped: it could quote the token.
    fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

impl DevNode {
    /// Ends the node's process at once (SIGKILL). Its peers and clients notice at once too: the
    /// system closes its connections.
    ///
    /// # Errors
    /// `Other` when the process is gone, or is not a node.
    pub(super) fn kill(&self) -> Result<(), CliError> {
        self.signal(Signal::KILL)
    }

    /// Stops the node's process in the middle of whatever it does (SIGSTOP). To others it is a
    /// machine that lost its power: connections stay open, and nothing answers.
    ///
    /// # Errors
    /// As [`DevNode::kill`].
    pub(super) fn pause(self) -> Result<PausedNode, CliError> {
        self.signal(Signal::STOP)?;
        Ok(PausedNode { node: self })
    }

    fn signal(&self, signal: Signal) -> Result<(), CliError> {
        let not_a_node = || {
            let pid = self.pid;
            CliError::Other(format!(
                "process {pid} of node {} is no {PROGRAM}; is `dev` up?",
                self.id
            ))
        };
        let pid = Some(self.pid)
            .filter(|pid| *pid > 1 && is_running_program(*pid))
            .and_then(Pid::from_raw)
            .ok_or_else(not_a_node)?;
        kill_process(pid, signal)
            .map_err(|error| CliError::Other(format!("node {} takes no signal: {error}", self.id)))
    }
}

/// A node whose process is stopped. It never speaks again: dropping this kills the process, so that
/// none stays behind stopped, whatever ends the bench, and `dev` starts the node again.
pub(super) struct PausedNode {
    node: DevNode,
}

impl Drop for PausedNode {
    fn drop(&mut self) {
        // Whoever ended it before us did the same.
        let _gone_already = self.node.kill();
    }
}

/// Whether the process's command line names the server.
fn is_running_program(pid: i32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|line| String::from_utf8_lossy(&line).contains(PROGRAM))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HANDLE: &str = r#"{"ready": true,
        "root_token": "example-not-a-secret", "ca_cert": "/d/ca.pem",
        "nodes": [{"id": 7, "api": "http://127.0.0.1:8081", "peer": "127.0.0.1:9081", "pid": 4242,
                   "data_dir": "/d/n1", "config": "/d/n1/config.toml", "log": "/d/n1/node.log"}]}"#;

    #[test]
    fn a_handle_is_read_and_fields_we_do_not_need_are_ignored() {
        let cluster = DevCluster::parse(HANDLE).unwrap();
        assert!(cluster.ready);
        assert_eq!(cluster.nodes[0].id, 7);
        assert_eq!(cluster.nodes[0].pid, 4242);
    }

    #[test]
    fn a_handle_of_a_cluster_that_starts_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("dev.json");
        std::fs::write(&file, HANDLE.replace("\"ready\": true", "\"ready\": false")).unwrap();
        assert!(matches!(
            DevCluster::read(directory.path()),
            Err(CliError::Usage(_))
        ));
        std::fs::write(&file, HANDLE).unwrap();
        assert!(DevCluster::read(&file).is_ok());
    }

    #[test]
    fn rule_12_an_error_never_quotes_the_handle() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("dev.json");
        std::fs::write(&file, HANDLE.replace("\"ready\": true", "\"ready\": 1")).unwrap();
        let error = DevCluster::read(&file).err().unwrap().to_string();
        assert!(!error.contains("example"), "{error}");
    }

    #[test]
    fn a_process_that_is_no_node_is_never_signalled() {
        let node = |pid| DevNode {
            id: 1,
            api: String::new(),
            pid,
        };
        assert!(node(0).kill().is_err());
        assert!(node(1).kill().is_err());
        assert!(node(-1).kill().is_err());
        assert!(node(1).pause().is_err());
    }
}
