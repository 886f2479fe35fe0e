//! What this node does with what its peers send.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use futures_util::StreamExt;
use jarvis_disk::DiskFile;
use jarvis_domain::outcome::Reply;
use jarvis_domain::window::Envelope;
use openraft::raft::{AppendEntriesResponse, SnapshotResponse};
use openraft::storage::Snapshot;

use crate::env::BoxFuture;
use crate::leader::Leadership;
use crate::network::{FramedReceiver, FramedStream, Lane, PeerHandler, PeerIdentity};
use crate::protocol::{
    Propose, Proposed, ReadIndex, SnapshotHeader, control, forward, from_bytes, stream, to_bytes,
};
use crate::raft::TypeConfig;
use crate::raft::machine::{AuditWriter, blocking};
use crate::raft::snapshot::{SnapshotFile, SnapshotStore};
use crate::shared::lock;
use crate::status::Reporter;

/// Piece of an audit segment per frame.
const SEGMENT_CHUNK: usize = 1024 * 1024;
/// Longest snapshot accepted: the largest vault, its metadata and the open audit segment, with room.
const MAX_SNAPSHOT_BYTES: u64 = 64 * 1024 * 1024 * 1024;

/// Admits new nodes. It needs the CA's key, so it lives above this crate.
pub trait JoinDesk: Send + Sync {
    /// Answers one join request.
    fn join(&self, body: Bytes) -> BoxFuture<'_, Result<Bytes, String>>;
}

/// The handler of one node.
pub(crate) struct Peers {
    pub(crate) leadership: Leadership,
    pub(crate) reporter: Reporter,
    pub(crate) snapshots: SnapshotStore,
    pub(crate) audit: AuditWriter,
    pub(crate) simulated: bool,
    pub(crate) desk: Arc<OnceLock<Arc<dyn JoinDesk>>>,
}

impl PeerHandler for Peers {
    fn call(
        &self,
        peer: PeerIdentity,
        lane: Lane,
        kind: u8,
        body: Bytes,
    ) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move {
            match (lane, kind) {
                (Lane::Control, control::VOTE) => {
                    self.raft_answer(self.leadership.raft.vote(from_bytes(&body)?))
                        .await
                }
                (Lane::Control, control::PRE_VOTE) => {
                    self.raft_answer(self.leadership.raft.pre_vote(from_bytes(&body)?))
                        .await
                }
                (Lane::Control, control::HEARTBEAT) => self.heartbeat(&body).await,
                (Lane::Control, control::TRANSFER_LEADER) => {
                    self.raft_answer(
                        self.leadership
                            .raft
                            .handle_transfer_leader(from_bytes(&body)?),
                    )
                    .await
                }
                (Lane::Control, control::PROBE) => Ok(to_bytes(&self.reporter.probe())),
                (Lane::Forward, forward::PROPOSE) => {
                    Ok(to_bytes(&self.propose(peer, from_bytes(&body)?).await))
                }
                (Lane::Forward, forward::READ_INDEX) => Ok(to_bytes(&self.read_index().await)),
                (Lane::Forward, forward::FETCH_REPLIES) => {
                    Ok(self.fetch_replies(peer, from_bytes(&body)?))
                }
                (Lane::Forward, forward::HAND_OVER) => self.hand_over(from_bytes(&body)?).await,
                _ => Err(format!(
                    "unknown call {kind} on this lane: is the peer of a newer release?"
                )),
            }
        })
    }

    fn stream(
        &self,
        _peer: PeerIdentity,
        lane: Lane,
        kind: u8,
        frames: FramedStream,
    ) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let result = match (lane, kind) {
                (Lane::Append, stream::APPEND) => self.append(frames).await,
                (Lane::Snapshot, stream::SNAPSHOT) => self.receive_snapshot(frames).await,
                (Lane::Snapshot, stream::SEGMENT) => self.send_segment(frames).await,
                _ => Err(format!("unknown stream {kind}")),
            };
            if let Err(reason) = result {
                tracing::debug!(?lane, reason, "a stream from a peer ended");
            }
        })
    }

    fn join(&self, body: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move {
            match self.desk.get() {
                Some(desk) => desk.join(body).await,
                None => {
                    Err("this node does not admit others yet: try again in a moment".to_owned())
                }
            }
        })
    }
}

impl Peers {
    async fn heartbeat(&self, body: &[u8]) -> Result<Bytes, String> {
        let Leadership { raft, shared, .. } = &self.leadership;
        let answer = raft.append_entries(from_bytes(body)?).await;
        // Heartbeats prove nothing: a deposed leader sends them too (C5).
        if jarvis_mutants::active!(FreshnessFromHeartbeats)
            && matches!(answer, Ok(AppendEntriesResponse::Success))
        {
            shared.refreshed(shared.clock.monotonic());
        }
        self.raft_answer(std::future::ready(answer)).await
    }

    async fn raft_answer<T: serde::Serialize, E: std::fmt::Display>(
        &self,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<Bytes, String> {
        answer
            .await
            .map(|answer| to_bytes(&answer))
            .map_err(|error| error.to_string())
    }

    /// Rule 8: one hop, and only for the node that the certificate names.
    async fn propose(&self, peer: PeerIdentity, request: Propose) -> Proposed {
        if request.envelope.node != peer.node_id {
            return Proposed::Refused {
                reason: "the envelope names another node than the certificate".to_owned(),
            };
        }
        if !self.leadership.leads() {
            return Proposed::NotLeader {
                leader: self.leadership.leader(),
            };
        }
        // Decoding made a copy of their own: the frame's buffer is not kept alive by the log.
        self.leadership
            .append(request.envelope, request.commands)
            .await
    }

    async fn read_index(&self) -> ReadIndex {
        match self.leadership.confirm().await {
            Some(index) => ReadIndex::At { index },
            None => ReadIndex::NotLeader,
        }
    }

    fn fetch_replies(&self, peer: PeerIdentity, envelope: Envelope) -> Bytes {
        let replies = (envelope.node == peer.node_id)
            .then(|| self.leadership.shared.recent(envelope))
            .flatten();
        // A reply with a state handle can not travel; its asker then does not learn the outcome.
        let encoded =
            replies.and_then(|replies| jarvis_domain::codec::try_encode(&Some(&*replies)).ok());
        encoded.map_or_else(|| to_bytes(&None::<Vec<Reply>>), Bytes::from)
    }

    async fn hand_over(&self, to: Option<u64>) -> Result<Bytes, String> {
        crate::hand_over::hand_over(&self.reporter, to)
            .await
            .map(|()| Bytes::new())
    }

    /// Appends of one leader connection, in order. Each answer carries the number of its request.
    async fn append(&self, frames: FramedStream) -> Result<(), String> {
        let (sender, receiver) = frames.split();
        let numbers: Arc<Mutex<VecDeque<u64>>> = Arc::default();
        let asked = (receiver, numbers.clone());
        let input = futures_util::stream::unfold(asked, |(mut receiver, numbers)| async move {
            let frame = receiver.recv().await.ok()??;
            let (seq, request) = from_bytes(&frame).ok()?;
            lock(&numbers).push_back(seq);
            Some((request, (receiver, numbers)))
        });
        let mut results = std::pin::pin!(self.leadership.raft.stream_append(input));
        while let Some(result) = results.next().await {
            let result = result.map_err(|fatal| fatal.to_string())?;
            let seq = lock(&numbers)
                .pop_front()
                .ok_or("an answer without a request")?;
            sender
                .send(to_bytes(&(seq, result)))
                .await
                .map_err(|error| error.to_string())?;
        }
        sender.finish().await.map_err(|error| error.to_string())
    }

    async fn receive_snapshot(&self, stream: FramedStream) -> Result<(), String> {
        let (sender, mut frames) = stream.split();
        let header = frames
            .recv()
            .await
            .map_err(|error| error.to_string())?
            .ok_or("no header")?;
        let header: SnapshotHeader = from_bytes(&header)?;
        if header.bytes > MAX_SNAPSHOT_BYTES {
            return Err("the snapshot is longer than any vault".to_owned());
        }
        let (part, file) = self
            .snapshots
            .incoming()
            .map_err(|error| error.to_string())?;
        let answer = self
            .install_snapshot(header, (part.clone(), file), &mut frames)
            .await;
        // A transfer that broke off, or that Raft did not want, must not stay on the disk until the next start.
        self.snapshots.discard(&part);
        sender
            .send(to_bytes(&answer?))
            .await
            .map_err(|error| error.to_string())?;
        sender.finish().await.map_err(|error| error.to_string())
    }

    /// Collects a snapshot in a file, checks it, and has Raft install it.
    async fn install_snapshot(
        &self,
        header: SnapshotHeader,
        (part, mut file): (PathBuf, Box<dyn DiskFile>),
        frames: &mut FramedReceiver,
    ) -> Result<SnapshotResponse<TypeConfig>, String> {
        let mut received = 0;
        while let Some(chunk) = frames.recv().await.map_err(|error| error.to_string())? {
            received += chunk.len() as u64;
            if received > header.bytes {
                return Err("more bytes than announced".to_owned());
            }
            file = blocking(self.simulated, move || file.append(&chunk).map(|()| file))
                .await
                .map_err(|error| error.to_string())?;
        }
        if received != header.bytes {
            return Err(format!("{received} bytes of {} arrived", header.bytes));
        }
        let (snapshots, collected, announced) =
            (self.snapshots.clone(), part.clone(), header.meta.clone());
        blocking(self.simulated, move || {
            file.sync_data()?;
            snapshots
                .check(&collected, &announced)
                .map_err(std::io::Error::other)
        })
        .await
        .map_err(|error| error.to_string())?;
        let file = SnapshotFile {
            path: part,
            bytes: received,
        };
        let snapshot = Snapshot {
            meta: header.meta,
            snapshot: file,
        };
        self.leadership
            .raft
            .install_full_snapshot(header.vote, snapshot)
            .await
            .map_err(|error| error.to_string())
    }

    async fn send_segment(&self, stream: FramedStream) -> Result<(), String> {
        let (sender, mut frames) = stream.split();
        let wanted = frames
            .recv()
            .await
            .map_err(|error| error.to_string())?
            .ok_or("no question")?;
        let first_seq: u64 = from_bytes(&wanted)?;
        let audit = self.audit.clone();
        let bytes = blocking(self.simulated, move || lock(&audit).read_closed(first_seq))
            .await
            .map_err(|error| error.to_string())?;
        for chunk in bytes.chunks(SEGMENT_CHUNK) {
            sender
                .send(Bytes::copy_from_slice(chunk))
                .await
                .map_err(|error| error.to_string())?;
        }
        sender.finish().await.map_err(|error| error.to_string())
    }
}
