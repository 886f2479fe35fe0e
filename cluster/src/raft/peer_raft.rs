//! openraft's network over the peer network: one connection per lane, appends pipelined in one stream.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::SnapshotOf;
use openraft::{BasicNode, OptionalSend};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::directory::Links;
use crate::network::{FramedStream, Lane, PeerError};
use crate::protocol::{SnapshotHeader, control, from_bytes, stream, to_bytes};
use crate::raft::snapshot::{SnapshotFile, SnapshotStore};
use crate::raft::{TypeConfig, Vote, machine::blocking};

/// Piece of a snapshot per frame: half the lane's frame limit.
const CHUNK_BYTES: u64 = 1024 * 1024;
/// A receiver must accept a chunk, or answer at the end, within this time (rule 10).
const TRANSFER_STEP: Duration = Duration::from_secs(60);

/// Makes clients for peers.
#[derive(Clone)]
pub(crate) struct PeerRaftFactory {
    pub(crate) links: Links,
    pub(crate) snapshots: SnapshotStore,
    pub(crate) simulated: bool,
}

/// Raft's client for one peer.
pub(crate) struct PeerRaft {
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
            target,
            fallback: node.addr.clone(),
            factory: self.clone(),
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
                option.soft_ttl(),
            )
            .await
            .map_err(rpc_error)?;
        from_bytes(&answer).map_err(|message| rpc_error(PeerError::Remote { message }))
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
        _option: RPCOption,
    ) -> openraft::base::BoxFuture<'s, Result<AppendResults<'s>, RaftRpcError>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            // openraft waits out its back-off inside the request stream: dialing before it is asked for the first
            // request would try an unreachable peer again and again without a pause.
            let Some(first) = input.next().await else {
                let nothing: AppendResults<'s> = Box::pin(futures_util::stream::empty());
                return Ok(nothing);
            };
            let links = &self.factory.links;
            let address = self.address();
            let opened =
                links
                    .network
                    .open_stream(self.target, &address, Lane::Append, stream::APPEND);
            let pipeline = Pipeline::start(opened.await.map_err(rpc_error)?, first, input);
            let results = futures_util::stream::unfold(Some(pipeline), |pipeline| async move {
                let mut pipeline = pipeline?;
                match pipeline.next().await {
                    None => None,
                    Some(Ok(result)) => Some((Ok(result), Some(pipeline))),
                    Some(Err(error)) => Some((Err(rpc_error(error)), None)),
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

/// Requests go out as they come, results come back in the same order.
struct Pipeline {
    receiver: crate::network::FramedReceiver,
    sending: tokio::task::JoinHandle<()>,
}

impl Pipeline {
    fn start<S>(stream: FramedStream, first: AppendEntriesRequest<TypeConfig>, mut input: S) -> Self
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let (sender, receiver) = stream.split();
        let sending = tokio::spawn(async move {
            let mut next = Some(first);
            while let Some(request) = next {
                if sender.send(to_bytes(&request)).await.is_err() {
                    return;
                }
                next = input.next().await;
            }
            // The receiving half reports what went wrong, if anything did.
            let _ = sender.finish().await;
        });
        Self { receiver, sending }
    }

    async fn next(&mut self) -> Option<Result<StreamAppendResult<TypeConfig>, PeerError>> {
        match self.receiver.recv().await {
            Ok(Some(frame)) => {
                Some(from_bytes(&frame).map_err(|message| PeerError::Remote { message }))
            }
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.sending.abort();
    }
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
