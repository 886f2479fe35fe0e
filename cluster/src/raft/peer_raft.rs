//! openraft's network over the peer network: one connection per lane, appends pipelined in one stream.
//!
//! ```text
//!   entries     a session on the append lane: pipelined, as long as it makes progress
//!   heartbeats  calls on the control lane, over the connection that the votes came by
//! ```
//! openraft sends heartbeats as append sessions too, and ends each after one heartbeat interval. A session that had to
//! dial within that time would never succeed where a handshake takes longer, on a busy machine or to a distant peer: a
//! leader could not tell anyone that it leads.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use jarvis_domain::codec::encode_sized;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2, stream_append_sequential};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::SnapshotOf;
use openraft::{BasicNode, OptionalSend};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep_until};

use crate::directory::Links;
use crate::network::{FramedReceiver, FramedSender, Lane, PeerError};
use crate::protocol::{SnapshotHeader, control, from_bytes, stream, to_bytes};
use crate::raft::log_store::about_encoded_bytes;
use crate::raft::snapshot::{SnapshotFile, SnapshotStore};
use crate::raft::{TypeConfig, Vote, machine::blocking};
use crate::shared::lock;

/// Piece of a snapshot per frame: half the lane's frame limit.
const CHUNK_BYTES: u64 = 1024 * 1024;
/// A receiver must accept a chunk, or answer at the end, within this time (rule 10).
const TRANSFER_STEP: Duration = Duration::from_secs(60);
/// A follower that owes answers and gives none for this long is stuck, or gone without a sign: a machine that lost its
/// power closes no connection. Far above any flush that is no failure (after a second a leader hands over), far below
/// the half minute of silence that ends a connection.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
/// An encoded append request beside its entries: its number, a vote and two log ids take at most 90 bytes.
const REQUEST_OVERHEAD: usize = 128;

/// Makes clients for peers.
#[derive(Clone)]
pub(crate) struct PeerRaftFactory {
    pub(crate) links: Links,
    pub(crate) snapshots: SnapshotStore,
    pub(crate) simulated: bool,
}

/// Raft's client for one peer.
pub(crate) struct PeerRaft {
    /// Whether it carries heartbeats alone: then nothing stands before them, and nothing is dialed for them.
    heartbeats: bool,
    /// The append connection between two sessions. A mutex only because openraft wants this type `Sync`.
    kept: Arc<Mutex<Option<Pipe>>>,
    target: u64,
    fallback: String,
    factory: PeerRaftFactory,
}

type RaftRpcError = RPCError<TypeConfig>;
type AppendResults<'s> =
    openraft::base::BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RaftRpcError>>;

impl RaftNetworkFactory<TypeConfig> for PeerRaftFactory {
    type Network = PeerRaft;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> PeerRaft {
        PeerRaft {
            heartbeats: false,
            kept: Arc::default(),
            target,
            fallback: node.addr.clone(),
            factory: self.clone(),
        }
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &BasicNode) -> PeerRaft {
        PeerRaft {
            heartbeats: true,
            ..self.new_client(target, node).await
        }
    }
}

impl PeerRaft {
    fn address(&self) -> String {
        self.factory
            .links
            .directory
            .address(self.target)
            .unwrap_or_else(|| self.fallback.clone())
    }

    async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        kind: u8,
        question: &Q,
        option: &RPCOption,
    ) -> Result<A, RaftRpcError> {
        let links = &self.factory.links;
        let answer = links
            .network
            .call(
                self.target,
                &self.address(),
                Lane::Control,
                kind,
                to_bytes(question),
                // All the time there is: openraft gives up then, and a connection that answers nobody is the pool's to
                // notice.
                option.hard_ttl(),
            )
            .await
            .map_err(rpc_error)?;
        from_bytes(&answer).map_err(|message| rpc_error(PeerError::Remote { message }))
    }

    async fn open_pipe(&self) -> Result<Pipe, PeerError> {
        let network = &self.factory.links.network;
        let stream = network
            .open_stream(self.target, &self.address(), Lane::Append, stream::APPEND)
            .await?;
        let (sender, receiver) = stream.split();
        Ok(Pipe {
            sender,
            receiver,
            next_seq: 0,
            next_answer: 0,
        })
    }

    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, SnapshotFile>,
    ) -> Result<SnapshotResponse<TypeConfig>, PeerError> {
        let SnapshotFile { path, bytes } = snapshot.snapshot;
        let opened = self
            .factory
            .links
            .network
            .open_stream(
                self.target,
                &self.address(),
                Lane::Snapshot,
                stream::SNAPSHOT,
            )
            .await?;
        let (sender, mut receiver) = opened.split();
        sender
            .send(to_bytes(&SnapshotHeader {
                vote,
                meta: snapshot.meta,
                bytes,
            }))
            .await?;
        let mut offset = 0;
        while offset < bytes {
            let length = (bytes - offset).min(CHUNK_BYTES);
            let (store, file) = (self.factory.snapshots.clone(), path.clone());
            let read = move || store.read_at(&file, offset, length as usize);
            let chunk = blocking(self.factory.simulated, read)
                .await
                .map_err(|error| PeerError::Remote {
                    message: format!("snapshot file: {error}"),
                })?;
            sender.send(Bytes::from(chunk)).await?;
            offset += length;
        }
        sender.finish().await?;
        let answer = tokio::time::timeout(TRANSFER_STEP, receiver.recv())
            .await
            .map_err(|_| PeerError::Timeout)??;
        let answer = answer.ok_or(PeerError::Closed)?;
        from_bytes(&answer).map_err(|message| PeerError::Remote { message })
    }
}

impl RaftNetworkV2<TypeConfig> for PeerRaft {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RaftRpcError> {
        self.ask(control::HEARTBEAT, &rpc, &option).await
    }

    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        option: RPCOption,
    ) -> openraft::base::BoxFuture<'s, Result<AppendResults<'s>, RaftRpcError>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        if self.heartbeats {
            return stream_append_sequential(self, input, option);
        }
        Box::pin(async move {
            // openraft waits out its back-off inside the request stream: dialing before it is asked for the first
            // request would try an unreachable peer again and again without a pause.
            let Some(first) = input.next().await else {
                let nothing: AppendResults<'s> = Box::pin(futures_util::stream::empty());
                return Ok(nothing);
            };
            let kept = lock(&self.kept).take();
            let pipe = match kept {
                Some(pipe) => pipe,
                None => self.open_pipe().await.map_err(rpc_error)?,
            };
            let session = Session {
                first_seq: pipe.next_seq,
                pipe,
                input,
                next: Some(first),
                ended: false,
                due: Instant::now(),
                kept: self.kept.clone(),
            };
            let results = futures_util::stream::unfold(Some(session), |session| async move {
                let mut session = session?;
                match session.next().await {
                    Ok(Some(result)) => Some((Ok(result), Some(session))),
                    Ok(None) => {
                        session.keep();
                        None
                    }
                    Err(error) => Some((Err(rpc_error(error)), None)),
                }
            });
            let results: AppendResults<'s> = Box::pin(results);
            Ok(results)
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RaftRpcError> {
        self.ask(control::VOTE, &rpc, &option).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RaftRpcError> {
        self.ask(control::PRE_VOTE, &rpc, &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, SnapshotFile>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send_snapshot(vote, snapshot) => sent.map_err(|error| match error {
                PeerError::Unreachable { .. } | PeerError::Refused { .. } => {
                    StreamingError::Unreachable(Unreachable::new(&error))
                }
                other => StreamingError::Network(NetworkError::new(&other)),
            }),
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RaftRpcError> {
        self.ask(control::TRANSFER_LEADER, &req, &option).await
    }
}

/// One connection for appends, kept from one of openraft's sessions to the next: it begins a session whenever what it has
/// to send changes, and a new TLS connection each time would cost more than the appends.
struct Pipe {
    sender: FramedSender,
    receiver: FramedReceiver,
    /// Number of the next request; answers carry the number of theirs.
    next_seq: u64,
    /// Number of the next request to be answered.
    next_answer: u64,
}

impl Pipe {
    /// Whether a request has not been answered yet.
    fn owes(&self) -> bool {
        self.next_answer < self.next_seq
    }
}

/// One of openraft's append sessions: requests go out as they come, results come back in the same order.
struct Session<S> {
    pipe: Pipe,
    /// Answers below this number belong to an earlier session.
    first_seq: u64,
    input: S,
    next: Option<AppendEntriesRequest<TypeConfig>>,
    /// The input has no more requests.
    ended: bool,
    /// While answers are owed: when the next one must be there.
    due: Instant,
    kept: Arc<Mutex<Option<Pipe>>>,
}

impl<S> Session<S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
{
    /// The next result; `None` when the requests have ended and all are answered.
    async fn next(&mut self) -> Result<Option<StreamAppendResult<TypeConfig>>, PeerError> {
        loop {
            if let Some(request) = self.next.take() {
                if !self.pipe.owes() {
                    self.due = Instant::now() + ANSWER_PATIENCE;
                }
                // Numbered before it is sent: a session that is dropped meanwhile leaves at most an answer to skip, or a
                // number that is never answered; answers name theirs.
                let seq = self.pipe.next_seq;
                self.pipe.next_seq += 1;
                let frame = append_frame(seq, &request);
                self.pipe.sender.send(frame).await?;
            }
            if self.ended && !self.pipe.owes() {
                return Ok(None);
            }
            tokio::select! {
                request = self.input.next(), if !self.ended => {
                    self.ended = request.is_none();
                    self.next = request;
                }
                frame = self.pipe.receiver.recv() => {
                    self.due = Instant::now() + ANSWER_PATIENCE;
                    if let Some(result) = self.take(frame?)? {
                        return Ok(Some(result));
                    }
                }
                () = sleep_until(self.due), if self.pipe.owes() => return Err(PeerError::Timeout),
            }
        }
    }

    fn take(
        &mut self,
        frame: Option<Bytes>,
    ) -> Result<Option<StreamAppendResult<TypeConfig>>, PeerError> {
        let frame = frame.ok_or(PeerError::Closed)?;
        let (seq, result): (u64, StreamAppendResult<TypeConfig>) =
            from_bytes(&frame).map_err(|message| PeerError::Remote { message })?;
        self.pipe.next_answer = seq + 1;
        Ok((seq >= self.first_seq).then_some(result))
    }
}

impl<S> Session<S> {
    /// Leaves the connection to the next session.
    fn keep(self) {
        *lock(&self.kept) = Some(self.pipe);
    }
}

/// A request as it travels. Its entries may take a MiB: their memory is taken once.
fn append_frame(seq: u64, request: &AppendEntriesRequest<TypeConfig>) -> Bytes {
    let entries: usize = request.entries.iter().map(about_encoded_bytes).sum();
    Bytes::from(encode_sized(&(seq, request), entries + REQUEST_OVERHEAD))
}

/// Openraft backs off only from a peer it calls unreachable; a broken connection is tried again at once.
fn rpc_error(error: PeerError) -> RaftRpcError {
    match error {
        PeerError::Unreachable { .. } | PeerError::Refused { .. } => {
            RPCError::Unreachable(Unreachable::new(&error))
        }
        other => RPCError::Network(NetworkError::new(&other)),
    }
}

#[cfg(test)]
mod tests;
