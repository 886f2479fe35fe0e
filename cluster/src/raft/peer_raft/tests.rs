//! A leader's clients meet a follower that is hard to reach, or that does not answer.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use jarvis_domain::state::State;
use tokio::time::{sleep, timeout};

use super::*;
use crate::clock::AgreedClock;
use crate::directory::PeerDirectory;
use crate::env::{BoxFuture, BoxStream, Env, Listener, Net};
use crate::network::{FramedStream, Me, PeerHandler, PeerIdentity, PeerNetwork, Security};
use crate::raft::StoredMembership;
use crate::shared::{Live, Shared};

const LEADER: u64 = 1;
const FOLLOWER: u64 = 2;
/// Between two heartbeats, and so the end of each.
const HEARTBEAT: Duration = Duration::from_millis(50);
/// What a handshake takes here: no heartbeat lives to see the end of it.
const DIAL: Duration = Duration::from_millis(200);
/// Far above what an idle machine needs.
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn heartbeats_arrive_although_a_handshake_takes_longer_than_one() {
    let rig = Rig::build().await;
    let mut client = rig
        .factory
        .clone()
        .new_heartbeat_client(FOLLOWER, &rig.follower)
        .await;
    let patience = Instant::now() + LIMIT;
    while !heartbeat(&mut client).await {
        assert!(Instant::now() < patience, "no heartbeat was answered");
    }
    assert_eq!(rig.seen.sessions.load(Ordering::Relaxed), 0);
    assert!(rig.seen.heartbeats.load(Ordering::Relaxed) > 0);
}

#[tokio::test]
async fn a_session_ends_when_a_follower_owes_answers_for_too_long() {
    let rig = Rig::build().await;
    let mut client = rig
        .factory
        .clone()
        .new_client(FOLLOWER, &rig.follower)
        .await;
    let more = futures_util::stream::pending();
    let input = futures_util::stream::once(async { request() }).chain(more);
    let mut results = client
        .stream_append(Box::pin(input), RPCOption::new(HEARTBEAT))
        .await
        .unwrap();
    let outcome = timeout(LIMIT, results.next()).await.unwrap();
    assert!(
        matches!(outcome, Some(Err(RPCError::Network(_)))),
        "{outcome:?}"
    );
    assert_eq!(rig.seen.sessions.load(Ordering::Relaxed), 1);
}

/// One heartbeat as openraft sends it: a session that is dropped at the end of the interval. Whether it was answered.
async fn heartbeat(client: &mut PeerRaft) -> bool {
    let input = Box::pin(futures_util::stream::once(async { request() }));
    let session = async {
        let mut results = client
            .stream_append(input, RPCOption::new(HEARTBEAT))
            .await?;
        results.next().await.transpose()
    };
    matches!(timeout(HEARTBEAT, session).await, Ok(Ok(Some(Ok(_)))))
}

fn request() -> AppendEntriesRequest<TypeConfig> {
    AppendEntriesRequest {
        vote: Vote::new_committed(1, LEADER),
        prev_log_id: None,
        entries: Vec::new(),
        leader_commit: None,
    }
}

/// A leader's end of the network, and a follower.
struct Rig {
    factory: PeerRaftFactory,
    follower: BasicNode,
    seen: Arc<Follower>,
    _folder: tempfile::TempDir,
}

impl Rig {
    async fn build() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let seen = Arc::new(Follower::default());
        let far = links(FOLLOWER).network;
        let listener = Env::production().net.bind("127.0.0.1:0").await.unwrap();
        let follower = BasicNode::new(listener.local_addr().unwrap().to_string());
        tokio::spawn(far.serve(listener, seen.clone()));
        let snapshots =
            SnapshotStore::open(Env::production().disk, folder.path().join("snapshots"));
        let factory = PeerRaftFactory {
            links: links(LEADER),
            snapshots: snapshots.unwrap(),
            simulated: true,
        };
        Self {
            factory,
            follower,
            seen,
            _folder: folder,
        }
    }
}

/// A node's network, on real sockets and without TLS, and with slow dials.
fn links(node_id: u64) -> Links {
    let mut env = Env::production();
    env.simulated = true;
    env.net = Arc::new(SlowDials(env.net));
    let clock = AgreedClock::new(env.clock.clone(), 0);
    let live = Live {
        state: State::empty(),
        last_applied: None,
        membership: StoredMembership::default(),
    };
    let shared = Arc::new(Shared::new(node_id, 1, clock, live));
    let directory = PeerDirectory::new(shared);
    let me = Me {
        cluster_id: [0x50; 16],
        recovery_epoch: 0,
        node_id,
        level: 1,
        peer_address: String::new(),
        api_address: String::new(),
    };
    let network = PeerNetwork::new(env, Security::DangerPlain, me, directory.clone()).unwrap();
    Links { network, directory }
}

struct SlowDials(Arc<dyn Net>);

impl Net for SlowDials {
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxStream>> {
        Box::pin(async move {
            sleep(DIAL).await;
            self.0.dial(address).await
        })
    }

    fn bind<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        self.0.bind(address)
    }
}

/// Takes every heartbeat, never answers a session, and counts both.
#[derive(Default)]
struct Follower {
    heartbeats: AtomicUsize,
    sessions: AtomicUsize,
}

impl PeerHandler for Follower {
    fn call(
        &self,
        _peer: PeerIdentity,
        lane: Lane,
        kind: u8,
        body: Bytes,
    ) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move {
            assert_eq!((lane, kind), (Lane::Control, control::HEARTBEAT));
            let sent: AppendEntriesRequest<TypeConfig> = from_bytes(&body)?;
            assert!(sent.entries.is_empty());
            self.heartbeats.fetch_add(1, Ordering::Relaxed);
            Ok(to_bytes(&AppendEntriesResponse::<TypeConfig>::Success))
        })
    }

    fn stream(
        &self,
        _peer: PeerIdentity,
        _lane: Lane,
        _kind: u8,
        stream: FramedStream,
    ) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.sessions.fetch_add(1, Ordering::Relaxed);
            // Held open: it is no end of the connection that the leader sees.
            let _stream = stream;
            std::future::pending().await
        })
    }

    fn join(&self, _body: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async { Err("nobody joins here".to_owned()) })
    }
}
