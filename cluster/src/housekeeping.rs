//! What a node does by itself, round after round.
//!
//! - the leader: steers agreed time, makes members into learners and learners into voters, lets time pass for due
//!   destructions (whether it is fit to lead, `hand_over` looks);
//! - every node: keeps its own member record true, signs the trail, takes snapshots and purges by bytes (rule 7), fetches
//!   audit segments it lacks, compresses closed ones.

use std::collections::BTreeSet;
use std::time::Duration;

use jarvis_audit::checkpoint::{self, Checkpoint};
use jarvis_domain::NodeId;
use jarvis_domain::audit::ClosedSegment;
use jarvis_domain::command::{ClusterCommand, Command};
use jarvis_domain::member::Member;
use openraft::{BasicNode, ChangeMembers};
use tokio::time::{Instant, timeout};

use crate::network::{Lane, PeerError};
use crate::node::Inner;
use crate::protocol::{stream, to_bytes};
use crate::raft::machine::blocking;
use crate::raft::metrics;
use crate::shared::lock;

/// Between two rounds of the leader.
const LEADER_ROUND: Duration = Duration::from_millis(500);
/// Between two looks at log size and signatures.
const NODE_ROUND: Duration = Duration::from_millis(1_000);
/// A membership change or proposal of our own may take this long; the next round tries again.
const STEP_DEADLINE: Duration = Duration::from_secs(5);
/// A learner this close to the leader's log becomes a voter.
const CAUGHT_UP_ENTRIES: u64 = 200;
/// Audit segments fetched per round at most, so that signatures and snapshots are not kept waiting.
const SEGMENTS_PER_ROUND: usize = 64;
/// Voters at most (C1); further members stay learners.
const MAX_VOTERS: usize = 5;
/// Room wanted beside the vault's own size before a snapshot is begun, bytes.
const SNAPSHOT_ROOM: u64 = 64 * 1024 * 1024;

/// The leader's rounds, for as long as the node lives.
pub(crate) async fn lead(node: std::sync::Arc<Inner>) {
    loop {
        tokio::time::sleep(LEADER_ROUND).await;
        if !node.leadership.leads() {
            continue;
        }
        steer(&node).await;
        if let Err(reason) = reconcile_members(&node).await {
            tracing::debug!(reason, "membership is not settled yet");
        }
        let now = node.shared.clock.now_ms();
        if node.shared.with_view(|state| state.has_due(now)) {
            node.propose_own(ClusterCommand::Tick, STEP_DEADLINE).await;
        }
        retire_trail(&node).await;
    }
}

/// Retention (X4): the oldest closed segments go when there are too many bytes of them, or when they are too old. Never by
/// breaking the chain: an event records the head before the cut.
async fn retire_trail(node: &Inner) {
    if node.config.audit_require_export {
        return;
    }
    let segments: Vec<ClosedSegment> = node.shared.with_view(|state| {
        state
            .segments
            .iter()
            .map(|(_, segment)| **segment)
            .collect()
    });
    let total: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let mut over = total.saturating_sub(node.config.audit_keep_bytes);
    let mut due = None;
    for segment in &segments {
        if over == 0 && !is_too_old(node, segment) {
            break;
        }
        over = over.saturating_sub(segment.bytes);
        due = Some(segment.last_seq);
        if over == 0 {
            break;
        }
    }
    if let Some(upto_seq) = due {
        node.propose_own(ClusterCommand::RetireTrail { upto_seq }, STEP_DEADLINE)
            .await;
    }
}

/// Whether the last event of a segment is older than the trail is kept.
fn is_too_old(node: &Inner, segment: &ClosedSegment) -> bool {
    let Some(keep) = node.config.audit_keep else {
        return false;
    };
    let keep_ms = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
    let oldest = jarvis_domain::time::rfc3339(node.shared.clock.now_ms().saturating_sub(keep_ms));
    // RFC 3339 in UTC with a fixed number of digits sorts as text.
    node.segment_end(segment)
        .is_some_and(|ended| ended < oldest)
}

/// Asks every voter for its clock and steers agreed time (rule 5).
async fn steer(node: &Inner) {
    let clock = &node.shared.clock;
    let voters: Vec<NodeId> = node.voters();
    let others = voters.iter().filter(|voter| **voter != node.shared.node_id);
    let probes =
        futures_util::future::join_all(others.map(|voter| node.reporter.ask(*voter))).await;
    let mut walls: Vec<u64> = probes
        .into_iter()
        .flatten()
        .map(|(probe, took)| {
            probe
                .wall_ms
                .saturating_add(u64::try_from(took.as_millis() / 2).unwrap_or(0))
        })
        .collect();
    if voters.contains(&node.shared.node_id) {
        walls.push(clock.wall_ms());
    }
    let moved = clock.steer(walls, voters.len());
    if moved.unsigned_abs() > crate::clock::STEP_MS {
        tracing::warn!(
            moved_ms = moved,
            "agreed time stepped: destruction waits for an hour"
        );
    }
}

/// Members of the log that Raft does not know become learners; learners that caught up become voters.
async fn reconcile_members(node: &Inner) -> Result<(), String> {
    let metrics = metrics(&node.raft);
    let membership = metrics.membership_config.membership();
    if membership.get_joint_config().len() > 1 {
        return Err("a change is under way".to_owned());
    }
    let known: BTreeSet<NodeId> = membership.nodes().map(|(id, _)| *id).collect();
    let members: Vec<(NodeId, String)> = node.shared.with_view(|state| {
        state
            .members
            .iter()
            .map(|(id, member)| (*id, member.peer_address.clone()))
            .collect()
    });
    if let Some((id, address)) = members.iter().find(|(id, _)| !known.contains(id)) {
        let adding = node
            .raft
            .add_learner(*id, BasicNode::new(address.clone()), false);
        return step(adding).await;
    }
    let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
    let last = metrics.last_log_index.unwrap_or(0);
    let matched = |id: &NodeId| {
        let replication = metrics.replication.as_ref()?;
        replication.get(id)?.as_ref().map(|matched| matched.index())
    };
    let ready = members
        .iter()
        .map(|(id, _)| *id)
        .filter(|id| !voters.contains(id))
        .find(|id| matched(id).is_some_and(|index| index + CAUGHT_UP_ENTRIES >= last));
    match ready {
        Some(id) if voters.len() < MAX_VOTERS => {
            let change = ChangeMembers::AddVoterIds(BTreeSet::from([id]));
            step(node.raft.change_membership(change, true)).await
        }
        _ => Ok(()),
    }
}

async fn step<T, E: std::fmt::Display>(
    change: impl Future<Output = Result<T, E>>,
) -> Result<(), String> {
    match timeout(STEP_DEADLINE, change).await {
        Ok(result) => result.map(|_| ()).map_err(|error| error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// The rounds every node makes.
pub(crate) async fn keep(node: std::sync::Arc<Inner>) {
    let mut own = OwnRounds {
        snapshot_at: 0,
        asked: false,
        signed_seq: 0,
        signed_at: Instant::now(),
    };
    loop {
        tokio::time::sleep(NODE_ROUND).await;
        keep_member_record(&node).await;
        own.sign(&node).await;
        if let Err(error) = snapshot_and_purge(&node, &mut own).await {
            tracing::error!(%error, "snapshot or purge failed; the log grows until it works again");
        }
        for _ in 0..SEGMENTS_PER_ROUND {
            if !fetch_segments(&node).await {
                break;
            }
        }
        sync_trail(&node).await;
        watch_free_space(&node);
    }
}

struct OwnRounds {
    /// Log bytes written when the last snapshot was asked for.
    snapshot_at: u64,
    /// Whether this process asked for one already.
    asked: bool,
    signed_seq: u64,
    signed_at: Instant,
}

impl OwnRounds {
    /// Signs the trail every so many events or seconds, if there is something new (DESIGN 5).
    async fn sign(&mut self, node: &Inner) {
        let (cluster, applied, trail, content, member) = node.shared.with_view(|state| {
            let member = state.members.contains(&node.shared.node_id);
            (
                state.core.cluster.clone(),
                state.core.applied,
                state.core.trail,
                state.core.content_seq,
                member,
            )
        });
        let Some(cluster) = cluster.filter(|_| member) else {
            return;
        };
        let new = content.saturating_sub(self.signed_seq);
        let due = new >= node.config.checkpoint_events
            || self.signed_at.elapsed() >= node.config.checkpoint_interval;
        if new == 0 || !due {
            return;
        }
        let checkpoint = Checkpoint {
            cluster: cluster.cluster_id,
            recovery_epoch: cluster.recovery_epoch,
            index: applied.index,
            seq: trail.seq,
            head: trail.head,
        };
        let signature = checkpoint::sign(&node.config.audit_key, &checkpoint).to_vec();
        let signed = ClusterCommand::Checkpoint {
            index: applied.index,
            seq: trail.seq,
            head: trail.head,
            signature,
        };
        if node.propose_own(signed, STEP_DEADLINE).await {
            self.signed_seq = trail.seq;
            self.signed_at = Instant::now();
        }
    }
}

/// Proposes this node's description when it differs from what the log says.
async fn keep_member_record(node: &Inner) {
    let own = node
        .shared
        .with_view(|state| state.members.get(&node.shared.node_id).cloned());
    let Some(recorded) = own else { return };
    let wanted = Member {
        name: node.config.name.clone(),
        peer_address: node.config.peer_address.clone(),
        api_address: node.config.api_address.clone(),
        audit_key: node.config.audit_key.verifying_key().to_bytes(),
        level: jarvis_domain::FEATURE_LEVEL,
        ..(*recorded).clone()
    };
    if *recorded != wanted {
        node.propose_own(
            ClusterCommand::UpdateMember { member: wanted },
            STEP_DEADLINE,
        )
        .await;
    }
}

/// Rule 7, driven by bytes: a snapshot when as much log was written as is to be kept, a purge up to the older of the last
/// two, so that the log goes on from either.
async fn snapshot_and_purge(node: &Inner, rounds: &mut OwnRounds) -> std::io::Result<()> {
    let written = node.wal.stats().flushed_bytes;
    let last_snapshot = node.snapshots.newest_bytes()?.unwrap_or(0);
    let due_at = node.config.snapshot_wal_bytes.max(last_snapshot);
    let long = node.wal.live_bytes() >= due_at.saturating_mul(3);
    let due = written.saturating_sub(rounds.snapshot_at) >= due_at;
    let indexes = node.snapshots.indexes()?;
    if (due || (long && !rounds.asked)) && indexes.first() != node.applied_index().as_ref() {
        rounds.snapshot_at = written;
        rounds.asked = true;
        // A snapshot that can not be written would end the node: without room the log grows on instead.
        let needed = node
            .shared
            .with_view(|state| state.core.vault_bytes)
            .saturating_mul(2);
        let free = node.env.disk.free_bytes(&node.config.data_dir)?;
        if free < needed.saturating_add(SNAPSHOT_ROOM) {
            tracing::error!(
                free,
                needed,
                "no room for a snapshot; the log grows until there is"
            );
            return Ok(());
        }
        node.raft
            .trigger()
            .snapshot()
            .await
            .map_err(std::io::Error::other)?;
    }
    // The log counts from one above Raft's index.
    if let [_, older, ..] = indexes[..]
        && older + 1 >= node.wal.first_index()
    {
        node.raft
            .trigger()
            .purge_log(older)
            .await
            .map_err(std::io::Error::other)?;
    }
    Ok(())
}

/// Fetches one closed audit segment this node lacks (it got past it by a snapshot), oldest first, from any peer. Whether it
/// got one.
async fn fetch_segments(node: &Inner) -> bool {
    let missing = lock(&node.audit).missing_closed();
    let Some(segment) = missing.first().copied() else {
        return false;
    };
    for peer in node.peers() {
        match fetch_segment(node, peer, segment.first_seq, segment.bytes).await {
            Ok(bytes) => {
                let audit = node.audit.clone();
                let added = blocking(node.env.simulated, move || {
                    lock(&audit)
                        .add_closed(&segment, &bytes)
                        .map_err(std::io::Error::other)
                });
                match added.await {
                    Ok(_) => return true,
                    Err(error) => {
                        tracing::warn!(%error, peer, "an audit segment from a peer is not right")
                    }
                }
            }
            Err(error) => tracing::debug!(%error, peer, "no audit segment from this peer"),
        }
    }
    false
}

async fn fetch_segment(
    node: &Inner,
    peer: NodeId,
    first_seq: u64,
    length: u64,
) -> Result<Vec<u8>, PeerError> {
    let links = &node.leadership.links;
    let address = links.directory.address(peer).unwrap_or_default();
    let opened = links
        .network
        .open_stream(peer, &address, Lane::Snapshot, stream::SEGMENT)
        .await?;
    let (sender, mut frames) = opened.split();
    sender.send(to_bytes(&first_seq)).await?;
    sender.finish().await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = frames.recv().await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > length {
            return Err(PeerError::TooLarge {
                bytes: bytes.len(),
                limit: length as usize,
            });
        }
    }
    Ok(bytes)
}

/// Syncs the trail now and then, so that its recorded head stays near its end.
async fn sync_trail(node: &Inner) {
    let seq = node.shared.with_view(|state| state.core.trail.seq);
    if node
        .trail_synced
        .swap(seq, std::sync::atomic::Ordering::Relaxed)
        == seq
    {
        return;
    }
    let audit = node.audit.clone();
    if let Err(error) = blocking(node.env.simulated, move || audit.sync()).await {
        (node.config.on_fatal)(format!("the audit trail can not be written: {error}"));
        return;
    }
    let (disk, dir) = (node.env.disk.clone(), node.config.audit_dir.clone());
    let compressed = blocking(node.env.simulated, move || {
        jarvis_audit::compress::compress_closed(&*disk, &dir, 1)
    });
    if let Err(error) = compressed.await {
        // The plain segment stays; verification says what is wrong with it.
        tracing::warn!(%error, "a closed audit segment can not be compressed");
    }
}

/// Too little room for the trail: accesses are refused before they could go unaudited.
fn watch_free_space(node: &Inner) {
    match node.env.disk.free_bytes(&node.config.audit_dir) {
        Ok(free) => {
            let full = free < node.config.audit_min_free_bytes;
            if node
                .trail_disk_full
                .swap(full, std::sync::atomic::Ordering::Relaxed)
                != full
            {
                tracing::warn!(
                    free,
                    full,
                    "room for the audit trail: accesses are refused while it is full"
                );
            }
        }
        Err(error) => {
            tracing::warn!(%error, "the free space of the audit trail's disk is not known")
        }
    }
}

/// Wraps a command of the node's own.
pub(crate) fn own(command: ClusterCommand) -> Command {
    Command::Cluster(Box::new(command))
}
