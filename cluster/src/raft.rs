//! Raft by openraft: the types, the configuration, and the three adapters it asks for.
//!
//! ```text
//!  propose ─▶ openraft core ─▶ LogStore ─▶ Wal (fdatasync) ─▶ "flushed"
//!                 │  ▲
//!                 │  └──── PeerRaft (append stream, votes, heartbeats, snapshots)
//!                 ▼ committed
//!              Machine ─▶ domain::apply ─▶ waiters, audit segments
//! ```

use std::time::Duration;

use bytes::Bytes;
use jarvis_domain::NodeId;
use jarvis_domain::outcome::LogRef;
use jarvis_domain::window::Envelope;
use openraft::SnapshotPolicy;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::metrics::{RaftMetrics, RaftServerMetrics};
use serde::{Deserialize, Serialize};

pub(crate) mod log_store;
pub(crate) mod machine;
pub(crate) mod peer_raft;
pub mod runtime;
pub(crate) mod snapshot;
#[cfg(test)]
mod suite;

/// What a log entry carries: opaque to Raft, decoded only by apply.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Payload {
    /// The leader's stamp, agreed time in ms (rule 5).
    pub stamp: u64,
    /// Agreed time jumped at this stamp.
    pub stepped: bool,
    /// Exactly-once identity; `None` in an entry without commands.
    pub envelope: Option<Envelope>,
    /// Encoded `Vec<Command>`, as the origin made it.
    pub commands: Bytes,
}

impl std::fmt::Display for Payload {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} bytes", self.commands.len())
    }
}

/// What openraft hands back for an entry: nothing, the waiters have it already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ack;

impl std::fmt::Display for Ack {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("applied")
    }
}

openraft::declare_raft_types!(
    /// The types this product gives to openraft.
    pub TypeConfig:
        D = Payload,
        R = Ack,
        NodeId = u64,
        Node = openraft::BasicNode,
        AsyncRuntime = runtime::NodeRuntime,
);

pub(crate) type Entry = <TypeConfig as openraft::RaftTypeConfig>::Entry;
pub(crate) type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
pub(crate) type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
pub(crate) type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type RaftNode = openraft::Raft<TypeConfig, machine::Machine>;

/// A log id in the domain's words.
pub(crate) fn log_ref(id: &LogId) -> LogRef {
    let leader = id.committed_leader_id();
    LogRef {
        term: leader.term,
        node: leader.node_id,
        index: id.index(),
    }
}

/// Timing of Raft (DESIGN 7). All in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RaftTiming {
    /// Between heartbeats.
    pub heartbeat_ms: u64,
    /// Shortest election timeout.
    pub election_min_ms: u64,
    /// Longest election timeout; also the leader's lease.
    pub election_max_ms: u64,
}

impl Default for RaftTiming {
    fn default() -> Self {
        Self {
            heartbeat_ms: 50,
            election_min_ms: 200,
            election_max_ms: 400,
        }
    }
}

impl RaftTiming {
    /// The longest election timeout.
    #[must_use]
    pub const fn election_max(&self) -> Duration {
        Duration::from_millis(self.election_max_ms)
    }
}

/// Entries per append request: with batches of at most 1 MiB this stays below the frame limit.
const MAX_PAYLOAD_ENTRIES: u64 = 64;

/// Snapshot and purge are driven by bytes from our own task: openraft's entry counts live-lock a slow follower.
pub(crate) fn config(cluster: &str, timing: RaftTiming) -> openraft::Config {
    openraft::Config {
        cluster_name: cluster.to_owned(),
        heartbeat_interval: timing.heartbeat_ms,
        election_timeout_min: timing.election_min_ms,
        election_timeout_max: timing.election_max_ms,
        install_snapshot_timeout: 60_000,
        max_payload_entries: MAX_PAYLOAD_ENTRIES,
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        replication_lag_threshold: u64::MAX,
        quorum_loss_probe_interval: Some(2 * timing.election_max_ms),
        enable_pre_vote: Some(true),
        allow_log_reversion: Some(false),
        // A leader sends entries to its followers while its own disk still works on them. One that loses power then and
        // led on in the same term would give an index to two entries of one leader, and a committed one could be lost.
        enable_leader_restore: Some(false),
        ..openraft::Config::default()
    }
}

/// Raft's metrics now. Cloned at once: holding the guard can dead-lock Raft's core.
pub(crate) fn metrics(raft: &RaftNode) -> RaftMetrics<TypeConfig> {
    raft.metrics().borrow_watched().clone()
}

/// The part of the metrics that changes with leadership and membership only.
pub(crate) fn server_metrics(raft: &RaftNode) -> RaftServerMetrics<TypeConfig> {
    raft.server_metrics().borrow_watched().clone()
}

/// Node ids the raft membership knows.
pub(crate) fn voters(membership: &StoredMembership) -> Vec<NodeId> {
    membership.voter_ids().collect()
}
