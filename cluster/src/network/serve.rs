//! The listening side: a task per connection, all of them bounded.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::env::{BoxStream, Listener};
use crate::network::calls::{MAX_CALLS, Request, answer};
use crate::network::frame::{FrameReader, FrameSender, Pipe};
use crate::network::handshake::{Accepted, HANDSHAKE_DEADLINE, Purpose, accept};
use crate::network::stream::FramedStream;
use crate::network::{Lane, PeerError, PeerHandler, PeerIdentity, Shared, join};

/// Authenticated connections. Five nodes keep four lanes and a few streams each; the rest is room for
/// connections that are dead and not yet known to be.
const MAX_CONNECTIONS: usize = 256;

/// Connections that are still shaking hands. A bound of its own, so that strangers never take the room
/// of peers.
const MAX_HANDSHAKES: usize = 64;

/// Newcomers being answered. Anyone may be one, so few.
const MAX_JOINS: usize = 16;

/// After a failed accept (usually: no file descriptors left) things need a moment to get better.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until the network closes; then all of them end.
pub(super) async fn serve(
    shared: Arc<Shared>,
    mut listener: Box<dyn Listener>,
    handler: Arc<dyn PeerHandler>,
) {
    let room = Arc::new(Room::new());
    let mut closing = shared.closing.subscribe();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = becomes_true(&mut closing) => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, remote)) => {
                let Ok(permit) = Arc::clone(&room.handshakes).try_acquire_owned() else {
                    tracing::warn!(%remote, "too many handshakes at once: connection dropped");
                    continue;
                };
                let connection = Connection {
                    shared: Arc::clone(&shared),
                    handler: Arc::clone(&handler),
                    room: Arc::clone(&room),
                    remote,
                };
                connections.spawn(connection.run(stream, permit));
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a peer failed");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    connections.shutdown().await;
}

/// How many connections there may be of each sort.
struct Room {
    handshakes: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    joins: Arc<Semaphore>,
}

impl Room {
    fn new() -> Self {
        Self {
            handshakes: Arc::new(Semaphore::new(MAX_HANDSHAKES)),
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            joins: Arc::new(Semaphore::new(MAX_JOINS)),
        }
    }
}

/// One connection that came in.
struct Connection {
    shared: Arc<Shared>,
    handler: Arc<dyn PeerHandler>,
    room: Arc<Room>,
    remote: SocketAddr,
}

impl Connection {
    async fn run(self, stream: BoxStream, handshake: OwnedSemaphorePermit) {
        let remote = self.remote;
        let shaking = Box::pin(accept(&self.shared, stream));
        let accepted = match timeout(HANDSHAKE_DEADLINE, shaking).await {
            Ok(Ok(accepted)) => accepted,
            Ok(Err(error @ PeerError::Refused { .. })) => {
                tracing::warn!(%remote, %error, "a peer connection was refused");
                return;
            }
            Ok(Err(error)) => {
                tracing::debug!(%remote, %error, "a peer connection ended in its handshake");
                return;
            }
            Err(_) => {
                tracing::debug!(%remote, "a peer connection did not finish its handshake");
                return;
            }
        };
        drop(handshake);
        match accepted {
            Accepted::Joiner(pipe) => self.serve_joiner(pipe).await,
            Accepted::Peer {
                identity,
                lane,
                purpose,
                pipe,
            } => {
                self.serve_peer(identity, lane, purpose, pipe).await;
            }
        }
    }

    async fn serve_joiner(&self, pipe: Pipe) {
        let Ok(_permit) = Arc::clone(&self.room.joins).try_acquire_owned() else {
            tracing::warn!(remote = %self.remote, "too many joins at once: connection dropped");
            return;
        };
        join::serve(pipe, self.handler.as_ref()).await;
    }

    async fn serve_peer(&self, identity: PeerIdentity, lane: Lane, purpose: Purpose, pipe: Pipe) {
        let Ok(_permit) = Arc::clone(&self.room.connections).try_acquire_owned() else {
            let peer = identity.node_id;
            tracing::warn!(peer, "too many peer connections: connection dropped");
            return;
        };
        let mut membership = self.shared.served.enter(identity.node_id);
        let serving = async {
            match purpose {
                Purpose::Calls => self.serve_calls(identity, lane, pipe).await,
                Purpose::Stream { kind } => {
                    let stream = FramedStream::start(pipe, lane);
                    self.handler.stream(identity, lane, kind, stream).await;
                }
            }
        };
        tokio::select! {
            biased;
            () = membership.cut() => {}
            () = serving => {}
        }
    }

    async fn serve_calls(&self, identity: PeerIdentity, lane: Lane, pipe: Pipe) {
        let (reader, answers, writer) = pipe.queued(lane);
        tokio::select! {
            biased;
            () = writer.run() => {}
            () = self.read_requests(identity, lane, reader, answers) => {}
        }
    }

    /// Hands each request to a task of its own. They end with the connection: nobody would get their
    /// answers.
    async fn read_requests(
        &self,
        identity: PeerIdentity,
        lane: Lane,
        mut reader: FrameReader,
        answers: FrameSender,
    ) {
        let running = Arc::new(Semaphore::new(MAX_CALLS));
        let mut tasks = JoinSet::new();
        loop {
            let frame = match reader.next().await {
                Ok(Some(frame)) => frame,
                Ok(None) | Err(PeerError::Closed) => return,
                Err(error) => {
                    tracing::warn!(peer = identity.node_id, %error, "a peer broke the protocol");
                    return;
                }
            };
            let Some(request) = Request::read(frame) else {
                tracing::warn!(
                    peer = identity.node_id,
                    "a peer sent a request without a head"
                );
                return;
            };
            let Ok(permit) = Arc::clone(&running).acquire_owned().await else {
                return;
            };
            while tasks.try_join_next().is_some() {}
            let handler = Arc::clone(&self.handler);
            let answers = answers.clone();
            tasks.spawn(async move {
                answer_one(handler.as_ref(), identity, lane, request, &answers).await;
                drop(permit);
            });
        }
    }
}

async fn answer_one(
    handler: &dyn PeerHandler,
    identity: PeerIdentity,
    lane: Lane,
    request: Request,
    answers: &FrameSender,
) {
    let Request {
        id,
        deadline,
        kind,
        body,
    } = request;
    // Past its deadline nobody waits for the answer, so there is none.
    let Ok(outcome) = timeout(deadline, handler.call(identity, lane, kind, body)).await else {
        return;
    };
    let (head, body) = answer(id, outcome);
    if let Err(error @ PeerError::TooLarge { .. }) = answers.send(head, body).await {
        let excuse: Result<Bytes, String> = Err(format!("the answer does not fit: {error}"));
        let (head, body) = answer(id, excuse);
        // The connection may have ended; then nobody waits.
        let _ = answers.send(head, body).await;
    }
}

/// The connections being served, so that those of a removed node can be cut.
#[derive(Default)]
pub(crate) struct Served {
    inner: Mutex<Connections>,
}

#[derive(Default)]
struct Connections {
    next: u64,
    /// Number of the connection → node at its other end, and how to end it.
    open: BTreeMap<u64, (u64, watch::Sender<bool>)>,
}

impl Served {
    fn enter(&self, node_id: u64) -> Membership<'_> {
        let (end, ended) = watch::channel(false);
        let mut connections = self.connections();
        let number = connections.next;
        connections.next += 1;
        connections.open.insert(number, (node_id, end));
        Membership {
            served: self,
            number,
            ended,
        }
    }

    /// Ends every connection with that node.
    pub(super) fn disconnect(&self, node_id: u64) {
        for (peer, end) in self.connections().open.values() {
            if *peer == node_id {
                end.send_replace(true);
            }
        }
    }

    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One entry in [`Served`], for as long as its connection is served.
struct Membership<'a> {
    served: &'a Served,
    number: u64,
    ended: watch::Receiver<bool>,
}

impl Membership<'_> {
    async fn cut(&mut self) {
        becomes_true(&mut self.ended).await;
    }
}

impl Drop for Membership<'_> {
    fn drop(&mut self) {
        self.served.connections().open.remove(&self.number);
    }
}

/// Also when the sender is gone: nobody could say it any more.
async fn becomes_true(flag: &mut watch::Receiver<bool>) {
    let _ = flag.wait_for(|flag| *flag).await;
}
