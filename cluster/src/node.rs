//! One replicated node: start, propose, read, members. The service above it needs nothing else of this crate.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use jarvis_domain::NodeId;
use jarvis_domain::audit::ClosedSegment;
use jarvis_domain::command::{Access, ClusterCommand, Command, Init};
use jarvis_domain::outcome::{Outcome, Reply};
use jarvis_domain::state::State;
use openraft::Instant as _;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::time::Instant;

use crate::barrier::Barrier;
use crate::env::Env;
use crate::housekeeping::own;
use crate::image::ImageSender;
use crate::leader::Leadership;
use crate::network::Security;
use crate::peers::JoinDesk;
use crate::proposer::{Lane, ProposeError};
use crate::protocol::Probe;
use crate::raft::machine::AuditWriter;
use crate::raft::snapshot::SnapshotStore;
use crate::raft::{RaftNode, RaftTiming, metrics, server_metrics};
use crate::shared::Shared;
use crate::status::Reporter;
use crate::wal::Wal;

mod start;

pub use start::StartError;

/// Everything a node must be told.
#[derive(Clone)]
pub struct NodeConfig {
    /// Its identity (rule 11).
    pub node_id: NodeId,
    /// The cluster it belongs to.
    pub cluster_id: [u8; 16],
    /// See the member records.
    pub recovery_epoch: u64,
    /// A name for people.
    pub name: String,
    /// Log, snapshots, image.
    pub data_dir: PathBuf,
    /// The trail.
    pub audit_dir: PathBuf,
    /// Where to listen for peers (`host:port`).
    pub peer_bind: String,
    /// Where peers reach this node.
    pub peer_address: String,
    /// Where clients reach this node.
    pub api_address: String,
    /// Raft's timing.
    pub timing: RaftTiming,
    /// Log bytes that make a snapshot due; at least as much log as the last snapshot is long is kept.
    pub snapshot_wal_bytes: u64,
    /// Segment size of the write-ahead log, bytes.
    pub wal_segment_bytes: u64,
    /// Events between two signatures of this node under the trail.
    pub checkpoint_events: u64,
    /// Time between two signatures, if anything happened.
    pub checkpoint_interval: Duration,
    /// Bytes of closed audit segments that are kept (before compression).
    pub audit_keep_bytes: u64,
    /// Age up to which they are kept, whatever their size allows; `None`: size alone decides.
    pub audit_keep: Option<Duration>,
    /// Nothing is let go of before it was exported.
    pub audit_require_export: bool,
    /// With less free space than this on the trail's disk nothing is accessed (X4): never unaudited.
    pub audit_min_free_bytes: u64,
    /// Signs the trail.
    pub audit_key: SigningKey,
    /// The program's version, for status tables.
    pub version: String,
    /// Called once when the node can not go on (a failed fdatasync, an unreadable entry): it must end the process.
    pub on_fatal: Arc<dyn Fn(String) + Send + Sync>,
}

/// A running node. Cheap to clone.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

/// What a status table shows of one member.
#[derive(Debug, Clone)]
pub struct MemberStatus {
    /// The member.
    pub node: NodeId,
    /// Its address for clients, from its record.
    pub api_address: String,
    /// Its address for peers, from its record.
    pub peer_address: String,
    /// Whether it votes.
    pub voter: bool,
    /// What it said, if it answered.
    pub probe: Option<Probe>,
}

pub(crate) struct Inner {
    pub(crate) config: NodeConfig,
    pub(crate) env: Env,
    pub(crate) shared: Arc<Shared>,
    pub(crate) raft: RaftNode,
    pub(crate) leadership: Leadership,
    pub(crate) reporter: Reporter,
    pub(crate) wal: Wal,
    pub(crate) snapshots: SnapshotStore,
    pub(crate) audit: AuditWriter,
    pub(crate) image: ImageSender,
    pub(crate) image_thread: std::sync::Mutex<Option<std::thread::JoinHandle<()>>>,
    pub(crate) sealed: Arc<AtomicBool>,
    pub(crate) trail_synced: AtomicU64,
    pub(crate) trail_disk_full: AtomicBool,
    pub(crate) segment_ends: std::sync::Mutex<std::collections::BTreeMap<u64, String>>,
    pub(crate) in_flight: Arc<AtomicUsize>,
    barrier: Barrier,
    accesses: Lane,
    writes: Lane,
    desk: Arc<OnceLock<Arc<dyn JoinDesk>>>,
    peer_address: std::net::SocketAddr,
    tasks: std::sync::Mutex<Vec<tokio::task::AbortHandle>>,
}

/// Between two looks at whether Raft still runs: its core reports several changes per entry.
const WATCH_PAUSE: Duration = Duration::from_millis(50);
/// Fixed cost charged per command against the bytes in flight.
const COMMAND_OVERHEAD: usize = 256;

impl Node {
    /// Starts a node from what is on its disk.
    ///
    /// # Errors
    /// [`StartError`]: says what is wrong and what to do.
    pub async fn start(
        config: NodeConfig,
        env: Env,
        security: Security,
    ) -> Result<Self, StartError> {
        let inner = start::start(config, env, security).await?;
        let tasks = [
            tokio::spawn(crate::housekeeping::lead(inner.clone())).abort_handle(),
            tokio::spawn(crate::housekeeping::keep(inner.clone())).abort_handle(),
            tokio::spawn(crate::hand_over::while_unfit(inner.clone())).abort_handle(),
            tokio::spawn(watch_raft(inner.clone())).abort_handle(),
        ];
        crate::shared::lock(&inner.tasks).extend(tasks);
        Ok(Self { inner })
    }

    /// Begins a new cluster with this node as its only member.
    ///
    /// # Errors
    /// A sentence when the log is not empty or the first entries could not be committed.
    pub async fn begin(&self, init: Init, deadline: Instant) -> Result<(), String> {
        let inner = &self.inner;
        inner.shared.clock.begin();
        // A crash between the two first entries leaves Raft initialised: then only the command is missing.
        if !inner
            .raft
            .is_initialized()
            .await
            .map_err(|error| error.to_string())?
        {
            let founder = openraft::BasicNode::new(inner.config.peer_address.clone());
            let first = std::collections::BTreeMap::from([(inner.config.node_id, founder)]);
            inner
                .raft
                .initialize(first)
                .await
                .map_err(|error| error.to_string())?;
        }
        let command = own(ClusterCommand::Init(Box::new(init)));
        match self
            .propose(command, deadline)
            .await
            .map_err(|error| error.to_string())?
            .outcome
        {
            Outcome::Joined { .. } => Ok(()),
            other => Err(format!("the cluster could not begin: {other:?}")),
        }
    }

    /// Proposes a command that changes something.
    ///
    /// # Errors
    /// [`ProposeError`] says whether it may have happened.
    pub async fn propose(
        &self,
        command: Command,
        deadline: Instant,
    ) -> Result<Reply, ProposeError> {
        let bytes = command_bytes(&command);
        self.inner.writes.submit(command, bytes, deadline).await
    }

    /// Proposes an access; its reply holds the decision and what may be seen.
    ///
    /// # Errors
    /// [`ProposeError`] says whether it may be in the trail.
    pub async fn access(&self, access: Access, deadline: Instant) -> Result<Reply, ProposeError> {
        self.inner
            .accesses
            .submit(Command::Access(access), COMMAND_OVERHEAD, deadline)
            .await
    }

    /// Waits until this node's state is as fresh as the leader's. `false` when the deadline passed.
    pub async fn barrier(&self, deadline: Instant) -> bool {
        self.inner.barrier.pass(deadline).await
    }

    /// A bound on the age of this node's state; `None` if it never confirmed any.
    #[must_use]
    pub fn staleness(&self) -> Option<Duration> {
        self.inner.shared.age()
    }

    /// The state as this node has applied it: possibly behind the cluster.
    #[must_use]
    pub fn view(&self) -> State {
        self.inner.shared.view()
    }

    /// Looks at the state without cloning it; keep it short.
    pub fn with_view<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        self.inner.shared.with_view(look)
    }

    /// Agreed time as far as this node can tell, ms.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.inner.shared.clock.now_ms()
    }

    /// The later of agreed time and this machine's clock, ms.
    #[must_use]
    pub fn cautious_now_ms(&self) -> u64 {
        self.inner.shared.clock.cautious_ms()
    }

    /// Monotonic time of this node.
    #[must_use]
    pub fn monotonic(&self) -> Duration {
        self.inner.shared.clock.monotonic()
    }

    /// This node's id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.inner.config.node_id
    }

    /// This start of the process, as the log knows it.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.inner.shared.incarnation
    }

    /// The leader as far as this node knows.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.inner.leadership.leader()
    }

    /// Whether this node leads and a majority acknowledged that lately (C10).
    #[must_use]
    pub fn leads(&self) -> bool {
        let metrics = metrics(&self.inner.raft);
        let lease = self.inner.config.timing.election_max() * 2;
        let alone = metrics.membership_config.voter_ids().count() == 1;
        metrics.current_leader == Some(metrics.id)
            && (alone
                || metrics
                    .last_quorum_acked
                    .is_none_or(|at| at.elapsed() <= lease))
    }

    /// What this node says about itself.
    #[must_use]
    pub fn probe(&self) -> Probe {
        self.inner.reporter.probe()
    }

    /// Raft's own metrics as text, for debugging.
    #[must_use]
    pub fn raft_metrics(&self) -> String {
        metrics(&self.inner.raft).to_string()
    }

    /// Log entries known to be committed but not yet applied here.
    #[must_use]
    pub fn apply_lag(&self) -> u64 {
        let metrics = metrics(&self.inner.raft);
        let committed = metrics.local_committed.map_or(0, |id| id.index());
        committed.saturating_sub(metrics.last_applied.map_or(0, |id| id.index()))
    }

    /// On the leader: log entries each other member has not confirmed yet.
    #[must_use]
    pub fn replication_lags(&self) -> Vec<(NodeId, u64)> {
        let metrics = metrics(&self.inner.raft);
        let last = metrics.last_log_index.unwrap_or(0);
        let behind = |matched: Option<u64>| last.saturating_sub(matched.unwrap_or(0));
        let replication = metrics.replication.unwrap_or_default().into_iter();
        replication
            .filter(|(id, _)| *id != metrics.id)
            .map(|(id, matched)| (id, behind(matched.map(|id| id.index()))))
            .collect()
    }

    /// Every member, asked now.
    pub async fn members(&self) -> Vec<MemberStatus> {
        let (members, voters) = self.with_view(|state| {
            let members: Vec<_> = state
                .members
                .iter()
                .map(|(id, member)| (*id, member.clone()))
                .collect();
            (members, state.core.voters.clone())
        });
        let asked = members.iter().map(|(id, _)| async {
            if *id == self.id() {
                Some(self.probe())
            } else {
                self.inner.reporter.ask(*id).await.map(|(probe, _)| probe)
            }
        });
        let probes = futures_util::future::join_all(asked).await;
        let described = members
            .iter()
            .zip(probes)
            .map(|((id, member), probe)| MemberStatus {
                node: *id,
                api_address: member.api_address.clone(),
                peer_address: member.peer_address.clone(),
                voter: voters.contains(id),
                probe,
            });
        described.collect()
    }

    /// Hands leadership over, from wherever it is.
    ///
    /// # Errors
    /// A sentence for people.
    pub async fn transfer_leader(&self, to: Option<NodeId>) -> Result<(), String> {
        let leader = self.leader().ok_or("there is no leader to hand over")?;
        if leader == self.id() {
            return crate::hand_over::hand_over(&self.inner.reporter, to).await;
        }
        let links = &self.inner.leadership.links;
        let address = links
            .directory
            .address(leader)
            .ok_or("the leader's address is not known")?;
        let body = crate::protocol::to_bytes(&to);
        let kind = crate::protocol::forward::HAND_OVER;
        let deadline = Duration::from_secs(4);
        let lane = crate::network::Lane::Forward;
        links
            .network
            .call(leader, &address, lane, kind, body, deadline)
            .await
            .map_err(|error| error.to_string())?;
        Ok(())
    }

    /// Says whether this node can decrypt; a sealed leader hands over.
    pub fn set_sealed(&self, sealed: bool) {
        self.inner.sealed.store(sealed, Ordering::Relaxed);
    }

    /// Lets this node admit others.
    pub fn set_join_desk(&self, desk: Arc<dyn JoinDesk>) {
        // A second desk would be a mistake of the caller; the first stays.
        let _ = self.inner.desk.set(desk);
    }

    /// Where this node listens for peers.
    #[must_use]
    pub fn peer_address(&self) -> std::net::SocketAddr {
        self.inner.peer_address
    }

    /// Whether the disk of the trail has too little room: then nothing may be accessed through this node.
    #[must_use]
    pub fn audit_is_full(&self) -> bool {
        self.inner.trail_disk_full.load(Ordering::Relaxed)
    }

    /// The audit trail's folder.
    #[must_use]
    pub fn audit_dir(&self) -> PathBuf {
        self.inner.config.audit_dir.clone()
    }

    /// The machine this node runs on.
    #[must_use]
    pub fn env(&self) -> &Env {
        &self.inner.env
    }

    /// Durations of the write-ahead log's flushes.
    #[must_use]
    pub fn wal(&self) -> &Wal {
        &self.inner.wal
    }

    /// Bytes proposed and not yet answered.
    #[must_use]
    pub fn in_flight_bytes(&self) -> usize {
        self.inner.in_flight.load(Ordering::Relaxed)
    }

    /// Takes a snapshot now (tests and operators).
    ///
    /// # Errors
    /// When Raft has stopped.
    pub async fn snapshot_now(&self) -> Result<(), String> {
        self.inner
            .raft
            .trigger()
            .snapshot()
            .await
            .map_err(|error| error.to_string())
    }

    /// Stops: no new work, Raft down, image and trail written.
    pub async fn shut_down(&self) {
        let inner = &self.inner;
        crate::shared::lock(&inner.tasks)
            .drain(..)
            .for_each(|task| task.abort());
        inner.leadership.links.network.shut_down();
        if let Err(error) = inner.raft.shutdown().await {
            tracing::warn!(%error, "raft did not stop cleanly");
        }
        if let Err(error) = inner.audit.sync() {
            tracing::warn!(%error, "the trail was not synced at the end; it is regenerated at the next start");
        }
        inner.image.stop();
        let thread = crate::shared::lock(&inner.image_thread).take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
        inner.wal.close();
    }
}

impl Inner {
    /// The time of a closed segment's last event, read once per segment.
    pub(crate) fn segment_end(&self, segment: &ClosedSegment) -> Option<String> {
        let mut known = crate::shared::lock(&self.segment_ends);
        if let Some(end) = known.get(&segment.first_seq) {
            return Some(end.clone());
        }
        let bytes = crate::shared::lock(&self.audit)
            .read_closed(segment.first_seq)
            .ok()?;
        let line = bytes
            .split(|byte| *byte == b'\n')
            .rfind(|line| !line.is_empty())?;
        let text = std::str::from_utf8(line).ok()?;
        let end = text
            .split_once(r#""time":""#)?
            .1
            .split('"')
            .next()?
            .to_owned();
        known.retain(|first, _| *first >= segment.first_seq);
        known.insert(segment.first_seq, end.clone());
        Some(end)
    }

    /// Proposes for the node itself; whether it is known to be applied.
    pub(crate) async fn propose_own(&self, command: ClusterCommand, at_most: Duration) -> bool {
        let command = own(command);
        let bytes = command_bytes(&command);
        let reply = self
            .writes
            .submit(command, bytes, Instant::now() + at_most)
            .await;
        matches!(reply, Ok(reply) if !matches!(reply.outcome, Outcome::Rejected(_)))
    }

    pub(crate) fn voters(&self) -> Vec<NodeId> {
        let metrics = server_metrics(&self.raft);
        metrics.membership_config.voter_ids().collect()
    }

    pub(crate) fn peers(&self) -> Vec<NodeId> {
        let me = self.config.node_id;
        self.shared.with_view(|state| {
            state
                .members
                .iter()
                .map(|(id, _)| *id)
                .filter(|id| *id != me)
                .collect()
        })
    }

    pub(crate) fn applied_index(&self) -> Option<u64> {
        metrics(&self.raft).last_applied.map(|id| id.index())
    }
}

/// A Raft core that stopped by itself can not go on: the process must end (rule 6).
async fn watch_raft(inner: Arc<Inner>) {
    let mut changes = inner.raft.metrics();
    loop {
        let state = changes.borrow_watched().running_state.clone();
        if let Err(fatal) = state {
            (inner.config.on_fatal)(format!("raft stopped: {fatal}"));
            return;
        }
        if changes.changed().await.is_err() {
            // It ended without a word. An orderly stop ends this task first.
            (inner.config.on_fatal)("raft is gone".to_owned());
            return;
        }
        tokio::time::sleep(WATCH_PAUSE).await;
    }
}

/// What a command counts against the bytes in flight.
fn command_bytes(command: &Command) -> usize {
    use jarvis_domain::command::Change;
    let content = match command {
        Command::Mutate(mutation) => match &mutation.change {
            Change::Write(writes) => writes
                .iter()
                .map(|write| write.value.ciphertext.len() + COMMAND_OVERHEAD)
                .sum(),
            Change::Rewrap { value, .. } => value.ciphertext.len(),
            Change::SetPolicy { source, .. } => 3 * source.len(),
            _ => 0,
        },
        Command::Access(_) => 0,
        Command::Cluster(command) => match &**command {
            ClusterCommand::ImportJournal { events, .. } => events.len() * COMMAND_OVERHEAD,
            _ => 0,
        },
    };
    content + COMMAND_OVERHEAD
}
