//! What a test does to a cluster's processes, from outside, and how it waits for their return.

use std::fs::OpenOptions;

use rustix::process::Signal;

use super::{DevCluster, read_handle};
use crate::eventually;
use crate::process::{Process, command_line, is_gone, server, signal};

/// Hurting and mending.
impl DevCluster {
    /// The node's process, or its last one.
    #[must_use]
    #[track_caller]
    pub fn pid(&self, index: usize) -> i32 {
        if let Some(server) = &self.servers()[index] {
            return server.pid();
        }
        let handle = eventually("dev.json can be read", || read_handle(&self.dir()));
        handle.nodes[index].pid
    }

    /// `kill -9`, and a look that it is done; answers the process id that was.
    #[track_caller]
    pub fn kill(&self, index: usize) -> i32 {
        let pid = self.hit(index, Signal::KILL);
        // If the test started it, the test also reaps it.
        drop(self.servers()[index].take());
        eventually("a killed process is gone", || is_gone(pid).then_some(()));
        pid
    }

    /// `kill -9` of all nodes, without anything in between; answers the process ids that were.
    #[track_caller]
    pub fn kill_all(&self) -> Vec<i32> {
        let pids: Vec<i32> = self.all().map(|index| self.living_pid(index)).collect();
        for pid in &pids {
            signal(*pid, Signal::KILL).expect("a node takes a signal");
        }
        pids
    }

    /// Stops a node's process in the middle of whatever it does.
    #[track_caller]
    pub fn pause(&self, index: usize) {
        self.hit(index, Signal::STOP);
    }

    /// Lets it go on.
    #[track_caller]
    pub fn resume(&self, index: usize) {
        self.hit(index, Signal::CONT);
    }

    /// Waits until `dev` has started the node again, and it is ready.
    #[track_caller]
    pub fn wait_until_restarted(&self, index: usize, old_pid: i32) {
        let what = format!("node {index} is started again and ready");
        eventually(&what, || {
            (self.pid(index) != old_pid && self.is_well(index, "/readyz")).then_some(())
        });
    }

    /// Starts a dead node on its own data and ports, as a service manager would; its log goes on.
    ///
    /// From the test's own thread: the node ends with the thread that started it.
    #[track_caller]
    pub fn start_server(&self, index: usize) {
        let node = self.node(index);
        let log = OpenOptions::new().append(true).open(&node.log);
        let mut command = server(self.programs, &node.config);
        command.envs(self.environment.iter().copied());
        let started = Process::start(&mut command, log.expect("the node's log"));
        self.servers()[index] = Some(started);
    }

    /// The node's process, after a look that it is one.
    #[track_caller]
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

    #[track_caller]
    fn hit(&self, index: usize, with: Signal) -> i32 {
        let pid = self.living_pid(index);
        signal(pid, with).expect("a node takes a signal");
        pid
    }
}
