//! What a test does to a cluster's processes, from outside, and how it waits for their return.

use std::fs::OpenOptions;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::super::process::{command_line, is_gone, signal, without_settings};
use super::super::wait::wait_until;
use super::{Cluster, RECOVERY_LIMIT, read_handle};

/// Hurting and mending.
impl Cluster {
    /// The node's process, or its last one.
    pub(crate) fn pid(&self, index: usize) -> i32 {
        if let Some(server) = &self.servers()[index] {
            return i32::try_from(server.id()).expect("a process id");
        }
        let handle = wait_until("dev.json can be read", RECOVERY_LIMIT, || {
            read_handle(&self.dir())
        });
        handle.nodes[index].pid
    }

    /// `kill -9`, and a look that it is done; answers the process id that was.
    pub(crate) fn kill(&self, index: usize) -> i32 {
        let pid = self.hit(index, Signal::KILL);
        if let Some(mut server) = self.servers()[index].take() {
            server.wait().expect("a killed process is gone");
        }
        wait_until("a killed process is gone", RECOVERY_LIMIT, || {
            is_gone(pid).then_some(())
        });
        pid
    }

    /// `kill -9` of all nodes, without anything in between; answers the process ids that were.
    pub(crate) fn kill_all(&self) -> Vec<i32> {
        let pids: Vec<i32> = self.all().map(|index| self.living_pid(index)).collect();
        for pid in &pids {
            signal(*pid, Signal::KILL).expect("a node takes a signal");
        }
        pids
    }

    /// Stops a node's process in the middle of whatever it does.
    pub(crate) fn pause(&self, index: usize) {
        self.hit(index, Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn resume(&self, index: usize) {
        self.hit(index, Signal::CONT);
    }

    /// Waits until `dev` has started the node again, and it is ready.
    pub(crate) fn wait_until_restarted(&self, index: usize, old_pid: i32) {
        let what = format!("node {index} is started again and ready");
        wait_until(&what, RECOVERY_LIMIT, || {
            (self.pid(index) != old_pid && self.is_well(index, "/readyz")).then_some(())
        });
    }

    /// Starts a dead node on its own data and ports, as a service manager would; its log goes on.
    pub(crate) fn start_server(&self, index: usize) {
        let node = self.node(index);
        let log = OpenOptions::new().append(true).open(&node.log);
        let log = log.expect("the node's log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_jarvis-secretsd"));
        without_settings(&mut command);
        command
            .arg("server")
            .arg("--config")
            .arg(&node.config)
            .envs(self.environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the node's log"))
            .stderr(log);
        let server = command.spawn().expect("a node starts");
        self.servers()[index] = Some(server);
    }

    /// The node's process, after a look that it is one.
    fn living_pid(&self, index: usize) -> i32 {
        let pid = self.pid(index);
        let config = self.node(index).config.display().to_string();
        let line = command_line(pid);
        assert!(
            line.contains(&config),
            "process {pid} is not node {index}: {line:?}"
        );
        pid
    }

    fn hit(&self, index: usize, with: Signal) -> i32 {
        let pid = self.living_pid(index);
        signal(pid, with).expect("a node takes a signal");
        pid
    }
}
