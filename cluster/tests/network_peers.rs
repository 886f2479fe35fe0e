//! Two or three nodes over real loopback sockets, with real certificates: who is let in, who is not,
//! and what travels (X5, rules 10 and 11).

#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use jarvis_cluster::env::{BoxFuture, Env};
use jarvis_cluster::network::{
    Directory, FramedStream, JoinSecurity, Lane, Me, PeerError, PeerHandler, PeerIdentity,
    PeerNetwork, Security, Verdict,
};
use jarvis_cluster::tls::{
    ClusterCa, PeerTls, Validity, csr_for_key, fingerprint, new_key_and_csr, spki_sha256,
};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

#[path = "network_peers_support/late_answers.rs"]
mod late_answers;
#[path = "network_peers_support/peers.rs"]
mod peers;

use peers::{TestDirectory, TestHandler, plain_me, plain_node, refused};

const CLUSTER: [u8; 16] = [0xaa; 16];
const DAY: Duration = Duration::from_secs(86_400);

/// Far above what loopback needs, so that a slow machine fails no test.
const LONG: Duration = Duration::from_secs(20);

const ECHO: u8 = 1;
const HANG: u8 = 2;
const FAIL: u8 = 3;
const TOO_MUCH: u8 = 4;
const WHO: u8 = 5;

#[tokio::test]
async fn a_call_goes_there_and_back_on_every_lane() {
    let world = World::new();
    let (one, two) = (world.node(1).await, world.node(2).await);
    for lane in [Lane::Append, Lane::Control, Lane::Forward, Lane::Snapshot] {
        let answer = one.call(&two, lane, ECHO, "hello").await;
        assert_eq!(answer, Ok(Bytes::from_static(b"hello")), "{lane:?}");
    }
    assert_eq!(
        one.call(&two, Lane::Control, WHO, "").await,
        Ok(Bytes::from_static(b"node 1"))
    );
    let message = String::from("not today");
    let refusal = one.call(&two, Lane::Control, FAIL, "not today").await;
    assert_eq!(refusal, Err(PeerError::Remote { message }));
    assert!(two.directory.learned().contains(&(1, one.address.clone())));
    assert!(one.directory.learned().contains(&(2, two.address.clone())));
}

#[tokio::test]
async fn many_calls_share_one_connection_and_a_slow_one_holds_up_none() {
    let world = World::new();
    let (one, two) = (world.node(1).await, world.node(2).await);
    let slow = {
        let (network, address) = (one.network.clone(), two.address.clone());
        tokio::spawn(async move {
            let short = Duration::from_millis(500);
            network
                .call(2, &address, Lane::Forward, HANG, Bytes::new(), short)
                .await
        })
    };
    let calls: Vec<_> = (0..500_u32)
        .map(|number| {
            let (network, address) = (one.network.clone(), two.address.clone());
            tokio::spawn(async move {
                let body = Bytes::copy_from_slice(&number.to_be_bytes());
                let answer = network
                    .call(2, &address, Lane::Forward, ECHO, body.clone(), LONG)
                    .await;
                assert_eq!(answer, Ok(body));
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(slow.await.unwrap(), Err(PeerError::Timeout));
    assert_eq!(
        two.directory.hellos(1),
        1,
        "one connection carried all of it"
    );
}

#[tokio::test]
async fn a_stream_goes_there_and_back_and_ends_when_it_was_said() {
    let world = World::new();
    let (one, two) = (world.node(1).await, world.node(2).await);
    let stream = one
        .network
        .open_stream(2, &two.address, Lane::Snapshot, ECHO)
        .await
        .unwrap();
    let (sender, mut receiver) = stream.split();
    let chunks: Vec<Bytes> = (0..20_u8)
        .map(|number| Bytes::from(vec![number; 100_000]))
        .collect();
    let sent = chunks.clone();
    let sending = tokio::spawn(async move {
        for chunk in sent {
            sender.send(chunk).await.unwrap();
        }
        sender.finish().await.unwrap();
        sender
    });
    for chunk in chunks {
        assert_eq!(receiver.recv().await, Ok(Some(chunk)));
    }
    assert_eq!(receiver.recv().await, Ok(None));
    let sender = sending.await.unwrap();
    assert_eq!(
        sender.send(Bytes::from_static(b"late")).await,
        Err(PeerError::Closed)
    );
}

#[tokio::test]
async fn a_stream_cut_in_the_middle_is_no_whole_stream() {
    let world = World::new();
    let (one, two) = (world.node(1).await, world.node(2).await);
    let mut stream = one
        .network
        .open_stream(2, &two.address, Lane::Snapshot, ECHO)
        .await
        .unwrap();
    stream.send(Bytes::from_static(b"part")).await.unwrap();
    assert_eq!(stream.recv().await, Ok(Some(Bytes::from_static(b"part"))));
    two.network.shut_down();
    assert_eq!(stream.recv().await, Err(PeerError::Closed));
}

#[tokio::test]
async fn a_node_of_another_ca_is_refused() {
    let (world, other) = (World::new(), World::new());
    let (one, stranger) = (world.node(1).await, other.node(2).await);
    refused(one.call(&stranger, Lane::Control, ECHO, "x").await, "TLS");
    refused(
        stranger.call_as(1, &one, Lane::Control, ECHO, "x").await,
        "TLS",
    );
}

#[tokio::test]
async fn a_certificate_speaks_for_its_own_node_only() {
    let world = World::new();
    let two = world.node(2).await;
    // Node 3's certificate, a hello that says 1.
    let liar = world
        .node_with(1, world.certificate(3, &world.now_valid()))
        .await;
    refused(
        liar.call(&two, Lane::Control, ECHO, "x").await,
        "node 3 can not speak for node 1",
    );
    // Whoever dials node 1 there sees the wrong name in the certificate.
    refused(
        two.call(&liar, Lane::Control, ECHO, "x").await,
        "not valid for name",
    );
}

#[tokio::test]
async fn certificates_of_clients_and_of_the_api_open_no_peer_connection() {
    let world = World::new();
    let two = world.node(2).await;
    let (key, request) = new_key_and_csr().unwrap();
    let certificate = world
        .ca
        .issue_client("backend", &request, world.now_valid())
        .unwrap();
    let client = world.node_with(1, Identity { certificate, key }).await;
    refused(
        client.call(&two, Lane::Control, ECHO, "x").await,
        "does not name one node",
    );
}

#[tokio::test]
async fn a_removed_node_is_refused_by_both_sides_and_its_connections_end() {
    let world = World::new();
    let (one, two) = (world.node(1).await, world.node(2).await);
    one.call(&two, Lane::Control, ECHO, "x").await.unwrap();
    let mut stream = one
        .network
        .open_stream(2, &two.address, Lane::Append, ECHO)
        .await
        .unwrap();

    two.directory.remove(1);
    two.network.disconnect(1);
    assert_eq!(stream.recv().await, Err(PeerError::Closed));
    // The kept connection may have to notice first that it has ended.
    let again = one.call(&two, Lane::Control, ECHO, "x").await;
    let last = if again == Err(PeerError::Closed) {
        one.call(&two, Lane::Control, ECHO, "x").await
    } else {
        again
    };
    refused(last, "node 1 was removed");
    refused(
        two.call(&one, Lane::Control, ECHO, "x").await,
        "node 1 was removed",
    );
}

#[tokio::test]
async fn a_known_node_must_show_its_pinned_key() {
    let world = World::new();
    let (one, two) = (world.node(1).await, world.node(2).await);
    two.directory.pin(1, [7; 32]);
    refused(
        one.call(&two, Lane::Control, ECHO, "x").await,
        "another key",
    );
    refused(
        two.call(&one, Lane::Control, ECHO, "x").await,
        "another key",
    );
    two.directory
        .pin(1, spki_sha256(&one.identity.certificate).unwrap());
    assert!(one.call(&two, Lane::Control, ECHO, "x").await.is_ok());
}

#[tokio::test]
async fn another_cluster_or_recovery_epoch_is_refused_with_the_reason() {
    let world = World::new();
    let two = world.node(2).await;
    let mut me = world.me(1);
    me.recovery_epoch = 4;
    let old = world
        .start(me, world.certificate(1, &world.now_valid()), "127.0.0.1:0")
        .await;
    refused(
        old.call(&two, Lane::Control, ECHO, "x").await,
        "recovery epoch 4 meets 0",
    );

    // Without TLS, so that the hello alone is judged and not the name in a certificate.
    let (here, there) = (
        plain_node(1, CLUSTER).await,
        plain_node(2, [0xbb; 16]).await,
    );
    let answer = here
        .network
        .call(2, &there.address, Lane::Control, ECHO, Bytes::new(), LONG)
        .await;
    refused(answer, "different clusters");
}

#[tokio::test]
async fn without_tls_peers_talk_in_a_simulation_only() {
    let (one, two) = (plain_node(1, CLUSTER).await, plain_node(2, CLUSTER).await);
    let body = Bytes::from_static(b"plain");
    let answer = one
        .network
        .call(2, &two.address, Lane::Control, ECHO, body.clone(), LONG)
        .await;
    assert_eq!(answer, Ok(body));

    let real = Env::production();
    let me = plain_me(1, CLUSTER);
    let directory = Arc::new(TestDirectory::default());
    assert!(PeerNetwork::new(real.clone(), Security::DangerPlain, me, directory).is_err());
    let security = JoinSecurity::DangerPlain;
    let joining = PeerNetwork::join_call(&real, &two.address, security, Bytes::new(), LONG);
    refused(joining.await, "simulation only");
}

#[tokio::test]
async fn what_does_not_fit_a_lane_is_not_sent() {
    let world = World::new();
    let (one, two) = (world.node(1).await, world.node(2).await);
    let limit = Lane::Control.frame_limit();
    let body = Bytes::from(vec![0; limit]);
    let outcome = one
        .network
        .call(2, &two.address, Lane::Control, ECHO, body, LONG)
        .await;
    assert!(
        matches!(outcome, Err(PeerError::TooLarge { .. })),
        "{outcome:?}"
    );
    // An answer that does not fit becomes an error, and the connection lives on.
    let outcome = one.call(&two, Lane::Control, TOO_MUCH, "").await;
    assert!(
        matches!(outcome, Err(PeerError::Remote { .. })),
        "{outcome:?}"
    );
    assert!(one.call(&two, Lane::Control, ECHO, "x").await.is_ok());
    assert_eq!(two.directory.hellos(1), 1);
}

#[tokio::test]
async fn a_peer_that_never_answers_costs_the_deadline_and_no_more() {
    let world = World::new();
    let one = world.node(1).await;
    // Accepted by the kernel, read by nobody.
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = dead.local_addr().unwrap().to_string();
    let clock = Env::production().clock;
    let deadline = Duration::from_millis(300);
    let outcome = one
        .network
        .call(2, &address, Lane::Control, ECHO, Bytes::new(), deadline)
        .await;
    assert_eq!(outcome, Err(PeerError::Timeout));
    assert!(clock.monotonic() >= deadline && clock.monotonic() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_port_without_a_listener_is_unreachable_and_later_calls_dial_again() {
    let world = World::new();
    let one = world.node(1).await;
    let free = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let body = Bytes::from_static(b"x");
    let outcome = one
        .network
        .call(2, &free, Lane::Control, ECHO, body.clone(), LONG)
        .await;
    assert!(
        matches!(outcome, Err(PeerError::Unreachable { .. })),
        "{outcome:?}"
    );
    let identity = world.certificate(2, &world.now_valid());
    let _two = world.start(world.me(2), identity, &free).await;
    let outcome = one
        .network
        .call(2, &free, Lane::Control, ECHO, body.clone(), LONG)
        .await;
    assert_eq!(outcome, Ok(body));
}

#[tokio::test]
async fn calls_in_flight_learn_that_the_peer_is_gone() {
    let world = World::new();
    let (one, two) = (world.node(1).await, world.node(2).await);
    one.call(&two, Lane::Control, ECHO, "x").await.unwrap();
    let hanging = one.call(&two, Lane::Control, HANG, "");
    let stopping = async {
        tokio::task::yield_now().await;
        two.network.shut_down();
    };
    let (outcome, ()) = tokio::join!(hanging, stopping);
    assert_eq!(outcome, Err(PeerError::Closed));
}

#[tokio::test]
async fn a_dial_override_leads_elsewhere() {
    let world = World::new();
    let two = world.node(2).await;
    let map = BTreeMap::from([(String::from("node-two:9081"), two.address.clone())]);
    let env = Env::production().with_dial_overrides(map);
    let identity = world.certificate(1, &world.now_valid());
    let tls = world.tls(&identity);
    let directory = Arc::new(TestDirectory::default());
    let security = Security::MutualTls(Arc::new(tls));
    let one = PeerNetwork::new(env, security, world.me(1), directory).unwrap();
    let body = Bytes::from_static(b"x");
    let answer = one
        .call(2, "node-two:9081", Lane::Control, ECHO, body.clone(), LONG)
        .await;
    assert_eq!(answer, Ok(body));
}

#[tokio::test]
async fn a_newcomer_joins_with_the_right_fingerprint_only() {
    let world = World::new();
    let two = world.node(2).await;
    let env = Env::production();
    let join = |pinned: [u8; 32], body: &'static str| {
        let security = JoinSecurity::PinnedCa(pinned);
        PeerNetwork::join_call(&env, &two.address, security, Bytes::from(body), LONG)
    };
    let right = fingerprint(&world.ca.cert_der);
    assert_eq!(
        join(right, "example-token").await,
        Ok(Bytes::from_static(b"welcome"))
    );
    let message = String::from("no such token");
    assert_eq!(
        join(right, "guess").await,
        Err(PeerError::Remote { message })
    );
    refused(
        join([1; 32], "example-token").await,
        "its CA is another one",
    );
}

#[tokio::test]
async fn a_newcomer_gets_no_lane_but_the_join_lane() {
    let world = World::new();
    let (one, two) = (world.node(1).await, world.node(2).await);
    refused(one.call(&two, Lane::Join, ECHO, "x").await, "joins only");
    assert!(
        one.network
            .open_stream(2, &two.address, Lane::Join, ECHO)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_certificate_is_renewed_while_the_listener_stays() {
    let world = World::new();
    let one = world.node(1).await;
    let expired = Validity {
        not_before_unix_s: 1_000_000,
        not_after_unix_s: 2_000_000,
    };
    let two = world.node_with(2, world.certificate(2, &expired)).await;
    refused(one.call(&two, Lane::Control, ECHO, "x").await, "expired");

    let request = csr_for_key(&two.identity.key).unwrap();
    let renewed = world
        .ca
        .issue_peer(CLUSTER, 2, &request, world.now_valid())
        .unwrap();
    // The pinned key stays the same (DESIGN 6), so members need to learn nothing.
    assert_eq!(
        spki_sha256(&renewed),
        spki_sha256(&two.identity.certificate)
    );
    two.tls.renew(&renewed, &two.identity.key).unwrap();
    assert!(one.call(&two, Lane::Control, ECHO, "x").await.is_ok());
    // The connection that stands survives the next renewal.
    let again = world
        .ca
        .issue_peer(CLUSTER, 2, &request, world.now_valid())
        .unwrap();
    two.tls.renew(&again, &two.identity.key).unwrap();
    assert!(one.call(&two, Lane::Control, ECHO, "x").await.is_ok());
    assert_eq!(two.directory.hellos(1), 1);
    assert_eq!(two.tls.certificate(), again);
}

// What the stories stand on.

/// A cluster CA.
struct World {
    ca: ClusterCa,
    now_unix_s: i64,
}

/// A certificate and its key.
struct Identity {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

/// A node that serves.
struct Node {
    network: PeerNetwork,
    address: String,
    node_id: u64,
    directory: Arc<TestDirectory>,
    tls: Arc<PeerTls>,
    identity: Identity,
    serving: JoinHandle<()>,
}

impl World {
    fn new() -> Self {
        let now_unix_s = i64::try_from(Env::production().clock.wall_ms() / 1_000).unwrap();
        Self {
            ca: ClusterCa::create(CLUSTER, now_unix_s).unwrap(),
            now_unix_s,
        }
    }

    fn now_valid(&self) -> Validity {
        Validity::starting(self.now_unix_s, DAY)
    }

    fn certificate(&self, node_id: u64, validity: &Validity) -> Identity {
        let (key, request) = new_key_and_csr().unwrap();
        let certificate = self
            .ca
            .issue_peer(CLUSTER, node_id, &request, *validity)
            .unwrap();
        Identity { certificate, key }
    }

    fn tls(&self, identity: &Identity) -> PeerTls {
        let clock = Env::production().clock;
        PeerTls::new(
            clock,
            &self.ca.cert_der,
            &identity.certificate,
            &identity.key,
        )
        .unwrap()
    }

    fn me(&self, node_id: u64) -> Me {
        plain_me(node_id, CLUSTER)
    }

    async fn node(&self, node_id: u64) -> Node {
        self.node_with(node_id, self.certificate(node_id, &self.now_valid()))
            .await
    }

    async fn node_with(&self, node_id: u64, identity: Identity) -> Node {
        self.start(self.me(node_id), identity, "127.0.0.1:0").await
    }

    async fn start(&self, mut me: Me, identity: Identity, bind: &str) -> Node {
        let env = Env::production();
        let listener = env.net.bind(bind).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        me.peer_address.clone_from(&address);
        let node_id = me.node_id;
        let directory = Arc::new(TestDirectory::default());
        let tls = Arc::new(self.tls(&identity));
        let security = Security::MutualTls(Arc::clone(&tls));
        let members: Arc<dyn Directory> = directory.clone();
        let network = PeerNetwork::new(env, security, me, members).unwrap();
        let serving = tokio::spawn(network.serve(listener, Arc::new(TestHandler)));
        Node {
            network,
            address,
            node_id,
            directory,
            tls,
            identity,
            serving,
        }
    }
}

impl Node {
    async fn call(
        &self,
        peer: &Node,
        lane: Lane,
        kind: u8,
        body: &str,
    ) -> Result<Bytes, PeerError> {
        self.call_as(peer.node_id, peer, lane, kind, body).await
    }

    /// Calls `peer` in the belief that it is `node_id`.
    async fn call_as(
        &self,
        node_id: u64,
        peer: &Node,
        lane: Lane,
        kind: u8,
        body: &str,
    ) -> Result<Bytes, PeerError> {
        let body = Bytes::copy_from_slice(body.as_bytes());
        self.network
            .call(node_id, &peer.address, lane, kind, body, LONG)
            .await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.network.shut_down();
        self.serving.abort();
    }
}
