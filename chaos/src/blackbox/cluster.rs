//! The nodes as processes: each is started, killed, stopped and watched by the run.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustix::process::Signal;
use serde::Serialize;

use super::formation::{NodeHandle, SETTINGS, said};
use super::process::{Process, bare};
use super::shim::{Control, Shim};
use super::volumes::Volume;

/// A killed process is gone when its files are closed; a disk may take its time over that.
const GONE_LIMIT: Duration = Duration::from_secs(20);
/// A node hands over, lets requests finish, and writes its trail and image.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// What a node ends with that could lose data if it went on (`docs/operations.md`).
pub(crate) const STOPPED_ITSELF: i32 = 70;

/// All nodes, in the order of their names.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) members: Vec<Member>,
    /// Nodes that ended though nobody had done anything to them.
    pub(crate) deaths: Vec<Death>,
    daemon: PathBuf,
}

/// One node.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: u64,
    pub(crate) data_dir: PathBuf,
    /// What all of its processes said.
    pub(crate) log: PathBuf,
    /// What its library is told, if it has one.
    pub(crate) control: Option<Arc<Control>>,
    /// Its file system, if it has one of its own.
    pub(crate) volume: Option<Volume>,
    config: PathBuf,
    process: Option<Process>,
}

/// A process that ended by itself.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Death {
    pub(crate) node: u64,
    pub(crate) at_ns: u64,
    pub(crate) how: String,
    pub(crate) last_words: String,
}

impl Cluster {
    /// The nodes of a cluster that was just made; none of them runs yet.
    ///
    /// # Errors
    /// When the files that their libraries need can not be made.
    pub(crate) fn of(
        daemon: &Path,
        nodes: &[NodeHandle],
        work: &Path,
        shim: Option<&Shim>,
    ) -> anyhow::Result<Self> {
        let mut members = Vec::with_capacity(nodes.len());
        for (place, node) in nodes.iter().enumerate() {
            let name = format!("n{}", place + 1);
            let control = shim.map(|shim| shim.control(work.join(format!("{name}.control"))));
            let control = control
                .transpose()
                .context("a control file can not be made")?;
            members.push(Member {
                id: node.id,
                data_dir: node.data_dir.clone(),
                log: work.join(format!("logs/{name}.log")),
                control: control.map(Arc::new),
                volume: None,
                config: node.config.clone(),
                process: None,
            });
        }
        Ok(Self {
            members,
            deaths: Vec::new(),
            daemon: daemon.to_owned(),
        })
    }

    /// The places of all nodes.
    pub(crate) fn all(&self) -> Vec<usize> {
        (0..self.members.len()).collect()
    }

    /// The processes that run.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let processes = self
            .members
            .iter()
            .filter_map(|member| member.process.as_ref());
        processes.map(Process::pid).collect()
    }

    /// Starts the node's process, if none runs. From the thread that lives as long as the run.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn start(&mut self, place: usize) -> anyhow::Result<()> {
        let member = &mut self.members[place];
        if member.process.is_some() {
            return Ok(());
        }
        let mut command = bare(&self.daemon);
        command
            .arg("server")
            .arg("--config")
            .arg(&member.config)
            .arg("--exit-with-stdin")
            .envs(SETTINGS);
        if let Some(control) = &member.control {
            command.envs(control.environment());
        }
        let started = Process::start(&mut command, &member.log);
        let process = started.with_context(|| format!("node {} does not start", member.id))?;
        member.process = Some(process);
        Ok(())
    }

    /// SIGKILL to all these at once; returns when nothing is left of them.
    pub(crate) async fn kill(&mut self, places: &[usize]) {
        for place in places {
            if let Some(process) = &mut self.members[*place].process {
                process.kill();
            }
        }
        for place in places {
            if let Some(mut process) = self.members[*place].process.take() {
                process.end(GONE_LIMIT).await;
            }
        }
    }

    /// Sends a signal to a node that runs.
    ///
    /// # Errors
    /// When it does not run.
    pub(crate) fn signal(&mut self, place: usize, signal: Signal) -> std::io::Result<()> {
        match &mut self.members[place].process {
            Some(process) => process.signal(signal),
            None => Err(std::io::Error::other("the node does not run")),
        }
    }

    /// Waits until the node has ended by itself; `None` after the limit.
    pub(crate) async fn wait_for_end(
        &mut self,
        place: usize,
        limit: Duration,
    ) -> Option<ExitStatus> {
        let member = &mut self.members[place];
        let status = member.process.as_mut()?.end(limit).await?;
        member.process = None;
        Some(status)
    }

    /// Stops the node in order, as a service manager does.
    ///
    /// # Errors
    /// How it ended otherwise.
    pub(crate) async fn stop(&mut self, place: usize) -> Result<(), String> {
        // One that has ended already is somebody else's news.
        let _ended_already = self.signal(place, Signal::TERM);
        self.wait_until_stopped(place).await
    }

    /// Stops all nodes in order, all at once; how nodes ended otherwise.
    pub(crate) async fn stop_all(&mut self) -> Vec<String> {
        for place in self.all() {
            let _ended_already = self.signal(place, Signal::TERM);
        }
        let mut bad_ends = Vec::new();
        for place in self.all() {
            bad_ends.extend(self.wait_until_stopped(place).await.err());
        }
        bad_ends
    }

    async fn wait_until_stopped(&mut self, place: usize) -> Result<(), String> {
        let id = self.members[place].id;
        if self.members[place].process.is_none() {
            return Ok(());
        }
        match self.wait_for_end(place, STOP_LIMIT).await {
            Some(status) if status.success() => Ok(()),
            Some(status) => {
                let how = in_words(status);
                Err(format!("node {id} was asked to stop and ended with {how}"))
            }
            None => {
                let limit = STOP_LIMIT.as_secs();
                Err(format!("node {id} did not stop within {limit} s"))
            }
        }
    }

    /// Nodes that have ended though nobody did anything to them; noted, and not running any more.
    pub(crate) fn find_deaths(&mut self, now_ns: u64) -> Vec<usize> {
        let mut places = self.all();
        places.retain(|place| self.has_died(*place, now_ns));
        places
    }

    /// Whether this one has ended though nobody did anything to it; noted, and not running any more.
    pub(crate) fn has_died(&mut self, place: usize, now_ns: u64) -> bool {
        let member = &mut self.members[place];
        let Some(status) = member.process.as_mut().and_then(Process::ended) else {
            return false;
        };
        member.process = None;
        self.deaths.push(Death {
            node: member.id,
            at_ns: now_ns,
            how: in_words(status),
            last_words: said(&member.log),
        });
        true
    }
}

/// How a process ended.
pub(crate) fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}
