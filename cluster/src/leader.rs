//! Who leads, and asking the leader: in process when this node leads, otherwise one hop (rule 8).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jarvis_domain::NodeId;
use jarvis_domain::window::Envelope;
use openraft::ReadPolicy;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use tokio::time::{Instant, timeout};

use crate::directory::Links;
use crate::network::{Lane, PeerError};
use crate::proposer::Tried;
use crate::protocol::{Propose, Proposed, ReadIndex, forward, from_bytes, to_bytes};
use crate::raft::{Payload, RaftNode, server_metrics};
use crate::shared::{Replies, Shared};

/// Raft, the links to peers, and what apply shows.
#[derive(Clone)]
pub(crate) struct Leadership {
    pub(crate) raft: RaftNode,
    pub(crate) links: Links,
    pub(crate) shared: Arc<Shared>,
}

impl Leadership {
    /// The leader as far as this node knows.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        let metrics = server_metrics(&self.raft);
        metrics.current_leader
    }

    /// Whether this node believes it leads.
    pub(crate) fn leads(&self) -> bool {
        self.leader() == Some(self.shared.node_id)
    }

    /// Waits until this node knows of another leader than now, at most so long.
    pub(crate) async fn changed(&self, at_most: Duration) {
        let before = self.leader();
        let _ = timeout(at_most, self.superseded(before)).await;
    }

    /// One try to propose at that leader.
    pub(crate) async fn propose(
        &self,
        leader: NodeId,
        envelope: Envelope,
        commands: Bytes,
        left: Duration,
    ) -> Tried {
        if leader == self.shared.node_id {
            // A deposed leader's own write may wait for an entry that nobody commits any more.
            return tokio::select! {
                biased;
                proposed = timeout(left, self.append(envelope, commands)) =>
                    proposed.map_or(Tried::Lost, Tried::Answer),
                () = self.superseded(Some(leader)) => Tried::Lost,
            };
        }
        let body = to_bytes(&Propose { envelope, commands });
        match self
            .ask_while_it_leads(leader, forward::PROPOSE, body, left)
            .await
        {
            Ok(answer) => from_bytes(&answer).map_or(Tried::Lost, Tried::Answer),
            Err(
                PeerError::Unreachable { .. }
                | PeerError::Refused { .. }
                | PeerError::TooLarge { .. },
            ) => Tried::NotDelivered,
            Err(PeerError::Timeout | PeerError::Closed | PeerError::Remote { .. }) => Tried::Lost,
        }
    }

    /// Stamps and appends here, and waits until it is applied here.
    pub(crate) async fn append(&self, envelope: Envelope, commands: Bytes) -> Proposed {
        let (stamp, stepped) = self.shared.clock.stamp();
        let payload = Payload {
            stamp,
            stepped,
            envelope: Some(envelope),
            commands,
        };
        match self.raft.client_write(payload).await {
            Ok(written) => Proposed::Applied {
                index: written.log_id().index(),
            },
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                Proposed::NotLeader {
                    leader: forward.leader_id,
                }
            }
            Err(_) => Proposed::Unknown,
        }
    }

    /// The replies of a batch this node got past by a snapshot.
    pub(crate) async fn fetch_replies(
        &self,
        leader: NodeId,
        envelope: Envelope,
        deadline: Instant,
    ) -> Option<Replies> {
        let left = deadline.saturating_duration_since(Instant::now());
        let answer = self
            .ask(leader, forward::FETCH_REPLIES, to_bytes(&envelope), left)
            .await
            .ok()?;
        let replies: Option<Vec<_>> = from_bytes(&answer).ok()?;
        replies.map(Arc::new)
    }

    /// An index such that whoever applied it has seen every write acknowledged before this call.
    pub(crate) async fn read_index(&self, left: Duration) -> Option<u64> {
        let leader = self.leader()?;
        if leader == self.shared.node_id {
            return timeout(left, self.confirm()).await.ok().flatten();
        }
        let answer = self
            .ask_while_it_leads(leader, forward::READ_INDEX, Bytes::new(), left)
            .await
            .ok()?;
        match from_bytes(&answer) {
            Ok(ReadIndex::At { index }) => Some(index),
            Ok(ReadIndex::NotLeader) | Err(_) => None,
        }
    }

    /// Confirms with a majority that this node leads; the index to apply before reading.
    pub(crate) async fn confirm(&self) -> Option<u64> {
        let linearizer = self
            .raft
            .get_read_linearizer(ReadPolicy::ReadIndex)
            .await
            .ok()?;
        Some(linearizer.read_log_id().index())
    }

    /// As [`Self::ask`], but gives up once that node leads no more: a leader that lost its power answers nothing, also
    /// no reset, and whoever waits for it would be late by the whole deadline (C8).
    async fn ask_while_it_leads(
        &self,
        leader: NodeId,
        kind: u8,
        body: Bytes,
        left: Duration,
    ) -> Result<Bytes, PeerError> {
        tokio::select! {
            biased;
            answer = self.ask(leader, kind, body, left) => answer,
            () = self.superseded(Some(leader)) => Err(PeerError::Closed),
        }
    }

    /// Waits until this node takes another one (or none) for the leader than that one (or none).
    async fn superseded(&self, leader: Option<NodeId>) {
        let mut metrics = self.raft.server_metrics();
        // A fresh receiver may report a change that is long past: only another leader ends the wait.
        while metrics.borrow_watched().current_leader == leader {
            if metrics.changed().await.is_err() {
                // A stopped Raft never changes: then the caller's deadline decides.
                std::future::pending::<()>().await;
            }
        }
    }

    async fn ask(
        &self,
        leader: NodeId,
        kind: u8,
        body: Bytes,
        left: Duration,
    ) -> Result<Bytes, PeerError> {
        let Some(address) = self.links.directory.address(leader) else {
            let reason = "no address is known for it".to_owned();
            return Err(PeerError::Unreachable {
                address: format!("node {leader}"),
                reason,
            });
        };
        self.links
            .network
            .call(leader, &address, Lane::Forward, kind, body, left)
            .await
    }
}
