//! Keeps the nodes up, and the handle true.
//!
//! Invariants: at most one process per node; a node is started again on its own data and ports; the
//! handle on the disk is rewritten as soon as a process id changes, and says `ready` only between
//! [`Supervisor::publish`] and [`Supervisor::stop`].

use std::path::PathBuf;
use std::time::Duration;

use jarvis_wire::SecretText;
use tokio::time::Instant;

use crate::cli::client::Client;

use super::handle::{Handle, HandleNode};
use super::plan::{Plan, PlannedNode};
use super::process::NodeProcess;
use super::screen::{Screen, columns, shell_word};
use super::{ADMIN, DevError, client_of, follow};

/// Between two looks at the processes: a death is noticed at once, as people count.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Between two questions to a node that starts.
const ASK_AGAIN: Duration = Duration::from_millis(20);
/// How long nodes may take to serve: a slow machine that rebuilds a large image.
pub(super) const READY_LIMIT: Duration = Duration::from_secs(60);
/// How long the last node of a found cluster is waited for, while a majority serves already.
const STRAGGLER_LIMIT: Duration = Duration::from_secs(15);
/// How long nodes may take to end by themselves; `dev` ends within ten seconds.
const END_LIMIT: Duration = Duration::from_secs(7);
/// How long a killed process may take to be gone.
const KILL_LIMIT: Duration = Duration::from_secs(2);

/// All nodes of the cluster.
pub(super) struct Supervisor<'a> {
    dir: PathBuf,
    urls: Vec<String>,
    processes: Vec<NodeProcess>,
    /// Whether a node that died is started again.
    restarts: bool,
    /// Whether a node that dies is an error: while a new cluster is made, it is.
    is_strict: bool,
    /// Known once the cluster is made.
    handle: Option<Handle>,
    screen: &'a Screen,
}

impl<'a> Supervisor<'a> {
    /// Nothing runs yet.
    ///
    /// # Errors
    /// [`DevError::File`] where this program can not be found.
    pub(super) fn new(plan: &Plan, restarts: bool, screen: &'a Screen) -> Result<Self, DevError> {
        let program = std::env::current_exe().map_err(|source| DevError::File {
            path: PathBuf::from("/proc/self/exe"),
            source,
        })?;
        let process = |node: &PlannedNode| NodeProcess::new(node.clone(), program.clone());
        Ok(Self {
            dir: plan.dir.clone(),
            urls: plan.urls(),
            processes: plan.nodes.iter().map(process).collect(),
            restarts,
            is_strict: true,
            handle: None,
            screen,
        })
    }

    /// Starts the nodes of a cluster that was found, and waits until it serves.
    ///
    /// # Errors
    /// [`DevError`] where it does not.
    pub(super) async fn resume(&mut self, handle: Handle) -> Result<(), DevError> {
        self.is_strict = !self.restarts;
        self.handle = Some(Handle {
            ready: false,
            ..handle
        });
        for index in 0..self.processes.len() {
            self.start(index)?;
        }
        self.write_handle()?;
        let client = self.client()?;
        let all: Vec<usize> = (0..self.processes.len()).collect();
        let waited = self.wait_until_ready(&client, &all, STRAGGLER_LIMIT).await;
        match waited {
            Err(late @ DevError::NotReady { .. }) => {
                if self.majority_is_ready(&client).await {
                    self.screen.say(format!("{late}; the others serve"));
                } else {
                    self.wait_until_ready(&client, &all, READY_LIMIT).await?;
                }
            }
            result => result?,
        }
        self.is_strict = false;
        Ok(())
    }

    /// A new cluster is complete: from now on nodes that die are started again. `ids` are in the
    /// order of the nodes.
    pub(super) fn adopt(&mut self, root_token: SecretText, ca_cert: PathBuf, ids: &[u64]) {
        let nodes = self.processes.iter().zip(&self.urls).zip(ids);
        let nodes = nodes.map(|((process, api), id)| HandleNode {
            id: *id,
            api: api.clone(),
            peer: process.node.peer.to_string(),
            pid: process.pid(),
            data_dir: process.node.data_dir.clone(),
            config: process.node.config.clone(),
            log: process.node.log.clone(),
        });
        self.handle = Some(Handle {
            ready: false,
            root_token,
            ca_cert,
            nodes: nodes.collect(),
        });
        self.is_strict = false;
    }

    /// Everything that was asked for is there: tells scripts.
    ///
    /// # Errors
    /// [`DevError::File`]
    pub(super) fn publish(&mut self) -> Result<(), DevError> {
        if let Some(handle) = &mut self.handle {
            handle.ready = true;
        }
        self.write_handle()
    }

    /// Starts one node.
    ///
    /// # Errors
    /// [`DevError::Spawn`], [`DevError::File`]
    pub(super) fn start(&mut self, index: usize) -> Result<(), DevError> {
        match self.processes.get_mut(index) {
            Some(process) => process.start(),
            None => Ok(()),
        }
    }

    /// Keeps the nodes up for ever.
    ///
    /// # Errors
    /// None while deaths are no errors; the type is that of [`Supervisor::tick`].
    pub(super) async fn supervise(&mut self) -> Result<(), DevError> {
        loop {
            self.tick()?;
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits until these nodes are ready, and keeps them up meanwhile.
    ///
    /// # Errors
    /// [`DevError::NotReady`] names those that are not; [`DevError::Ended`].
    pub(super) async fn wait_until_ready(
        &mut self,
        client: &Client,
        which: &[usize],
        limit: Duration,
    ) -> Result<(), DevError> {
        let patience = Instant::now() + limit;
        let mut waiting = which.to_vec();
        loop {
            self.tick()?;
            let mut late = Vec::new();
            for index in waiting {
                if !follow::is_ready(client, index).await {
                    late.push(index);
                }
            }
            if late.is_empty() {
                return Ok(());
            }
            if Instant::now() >= patience {
                return Err(self.not_ready(&late, limit));
            }
            waiting = late;
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// What to say about nodes that did not get ready.
    pub(super) fn not_ready(&self, late: &[usize], limit: Duration) -> DevError {
        let nodes: Vec<_> = late
            .iter()
            .filter_map(|index| self.processes.get(*index))
            .map(|process| &process.node)
            .collect();
        let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        DevError::NotReady {
            nodes: names.join(", "),
            seconds: limit.as_secs(),
            log: nodes
                .first()
                .map(|node| node.log.clone())
                .unwrap_or_default(),
        }
    }

    async fn majority_is_ready(&self, client: &Client) -> bool {
        let mut ready = 0;
        for index in 0..self.processes.len() {
            ready += usize::from(follow::is_ready(client, index).await);
        }
        2 * ready > self.processes.len()
    }

    /// One look at every process: notes deaths, starts what is due. Never waits.
    ///
    /// # Errors
    /// [`DevError::Ended`] while deaths are errors.
    pub(super) fn tick(&mut self) -> Result<(), DevError> {
        let mut has_new_pid = false;
        for process in &mut self.processes {
            let name = process.node.name.clone();
            if let Some(death) = process.poll() {
                if self.is_strict {
                    return Err(DevError::Ended {
                        node: name,
                        status: death.status,
                        log: process.node.log.clone(),
                        tail: process.log_tail(),
                    });
                }
                self.screen.say(format!("{name} ended ({})", death.status));
                if death.is_failure {
                    let log = process.node.log.display();
                    let tail = process.log_tail();
                    self.screen.say(format!("the end of {log}:\n{tail}"));
                }
                if self.restarts {
                    let pause = process.restart_later();
                    if pause >= Duration::from_secs(1) {
                        let seconds = pause.as_secs();
                        self.screen
                            .say(format!("{name} is started again in {seconds} s"));
                    }
                }
            } else if process.is_due() {
                match process.start() {
                    Ok(()) => {
                        has_new_pid = true;
                        let pid = process.pid();
                        self.screen
                            .say(format!("{name} is started again, process {pid}"));
                    }
                    Err(error) => {
                        self.screen.say(error.to_string());
                        process.restart_later();
                    }
                }
            }
        }
        if has_new_pid && let Err(error) = self.write_handle() {
            self.screen.say(error.to_string());
        }
        Ok(())
    }

    /// Brings the handle on the disk up to date, if there is a cluster to tell of.
    fn write_handle(&mut self) -> Result<(), DevError> {
        let Some(handle) = &mut self.handle else {
            return Ok(());
        };
        for (node, process) in handle.nodes.iter_mut().zip(&self.processes) {
            if process.pid() > 0 {
                node.pid = process.pid();
            }
        }
        handle.write(&self.dir)
    }

    /// Ends all nodes; within nine seconds, and usually at once.
    pub(super) async fn stop(&mut self) {
        if let Some(handle) = &mut self.handle {
            handle.ready = false;
        }
        if let Err(error) = self.write_handle() {
            self.screen.say(error.to_string());
        }
        for process in &mut self.processes {
            process.ask_to_end();
        }
        if !self.all_ended_within(END_LIMIT).await {
            for process in self
                .processes
                .iter_mut()
                .filter(|process| process.is_running())
            {
                self.screen
                    .say(format!("{} does not end, and is killed", process.node.name));
                process.kill();
            }
            self.all_ended_within(KILL_LIMIT).await;
        }
    }

    async fn all_ended_within(&mut self, limit: Duration) -> bool {
        let patience = Instant::now() + limit;
        loop {
            for process in &mut self.processes {
                let _asked_for = process.poll();
            }
            if !self.processes.iter().any(NodeProcess::is_running) {
                return true;
            }
            if Instant::now() >= patience {
                return false;
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// A client of the cluster as its administrator; addresses in the order of the nodes.
    ///
    /// # Errors
    /// [`DevError::Request`] where the CA's certificate can not be read.
    pub(super) fn client(&self) -> Result<Client, DevError> {
        let (token, ca_cert) = match &self.handle {
            Some(handle) => (handle.root_token.expose(), handle.ca_cert.clone()),
            None => ("", PathBuf::new()),
        };
        client_of(self.urls.clone(), token, ca_cert)
    }

    /// The nodes, and what a shell needs to reach them.
    pub(super) fn table(&self) -> String {
        let Some(handle) = &self.handle else {
            return String::new();
        };
        let header = ["NODE", "ID", "API", "PEERS", "PROCESS", "DATA"];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        for (process, node) in self.processes.iter().zip(&handle.nodes) {
            rows.push(vec![
                process.node.name.clone(),
                node.id.to_string(),
                node.api.clone(),
                node.peer.clone(),
                node.pid.to_string(),
                node.data_dir.display().to_string(),
            ]);
        }
        let urls = self.urls.join(",");
        let token = handle.root_token.expose();
        let ca_cert = shell_word(&handle.ca_cert.display().to_string());
        format!(
            "\n{table}\n\n\
             export JARVIS_SECRETS_URL={urls}\n\
             export JARVIS_CLIENT_ID={ADMIN}\n\
             export JARVIS_SECRETS_TOKEN={token}\n\
             export JARVIS_SECRETS_CACERT={ca_cert}\n\n\
             the cluster serves; Ctrl-C ends it, and its data stays in {dir}",
            table = columns(&rows),
            dir = self.dir.display(),
        )
    }
}
