//! What the nodes of these tests know of each other, and how they answer.

use super::*;

#[derive(Default)]
pub(crate) struct TestDirectory {
    members: Mutex<Members>,
}

#[derive(Default)]
pub(crate) struct Members {
    removed: BTreeSet<u64>,
    pinned: BTreeMap<u64, [u8; 32]>,
    learned: Vec<(u64, String)>,
}

impl TestDirectory {
    pub(crate) fn remove(&self, node_id: u64) {
        self.members.lock().unwrap().removed.insert(node_id);
    }

    pub(crate) fn pin(&self, node_id: u64, key: [u8; 32]) {
        self.members.lock().unwrap().pinned.insert(node_id, key);
    }

    pub(crate) fn learned(&self) -> Vec<(u64, String)> {
        self.members.lock().unwrap().learned.clone()
    }

    pub(crate) fn hellos(&self, node_id: u64) -> usize {
        self.learned()
            .iter()
            .filter(|(peer, _)| *peer == node_id)
            .count()
    }
}

impl Directory for TestDirectory {
    fn verdict(&self, node_id: u64, spki_sha256: [u8; 32]) -> Verdict {
        let members = self.members.lock().unwrap();
        if members.removed.contains(&node_id) {
            return Verdict::Removed;
        }
        match members.pinned.get(&node_id) {
            Some(pinned) if *pinned == spki_sha256 => Verdict::Known,
            Some(_) => Verdict::WrongKey,
            None => Verdict::Unknown,
        }
    }

    fn learned(&self, node_id: u64, peer_address: &str, _api_address: &str) {
        self.members
            .lock()
            .unwrap()
            .learned
            .push((node_id, peer_address.to_owned()));
    }
}

pub(crate) struct TestHandler;

impl PeerHandler for TestHandler {
    fn call(
        &self,
        peer: PeerIdentity,
        lane: Lane,
        kind: u8,
        body: Bytes,
    ) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move {
            match kind {
                ECHO => Ok(body),
                FAIL => Err(String::from_utf8_lossy(&body).into_owned()),
                TOO_MUCH => Ok(Bytes::from(vec![0; lane.frame_limit()])),
                WHO => Ok(Bytes::from(format!("node {}", peer.node_id))),
                _ => std::future::pending().await,
            }
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
            let (sender, mut receiver) = stream.split();
            while let Ok(Some(frame)) = receiver.recv().await {
                if sender.send(frame).await.is_err() {
                    return;
                }
            }
            let _ = sender.finish().await;
        })
    }

    fn join(&self, body: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move {
            if body.as_ref() == b"example-token" {
                Ok(Bytes::from_static(b"welcome"))
            } else {
                Err(String::from("no such token"))
            }
        })
    }
}

pub(crate) struct PlainNode {
    pub(crate) network: PeerNetwork,
    pub(crate) address: String,
}

/// A node as a simulator would make it, only on real sockets.
pub(crate) async fn plain_node(node_id: u64, cluster_id: [u8; 16]) -> PlainNode {
    let mut env = Env::production();
    env.simulated = true;
    let listener = env.net.bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let directory = Arc::new(TestDirectory::default());
    let me = plain_me(node_id, cluster_id);
    let network = PeerNetwork::new(env, Security::DangerPlain, me, directory).unwrap();
    tokio::spawn(network.serve(listener, Arc::new(TestHandler)));
    PlainNode { network, address }
}

pub(crate) fn plain_me(node_id: u64, cluster_id: [u8; 16]) -> Me {
    Me {
        cluster_id,
        recovery_epoch: 0,
        node_id,
        level: 1,
        peer_address: String::new(),
        api_address: format!("http://node-{node_id}.example:8081"),
    }
}

/// The outcome is a refusal whose reason holds this text.
pub(crate) fn refused(outcome: Result<Bytes, PeerError>, text: &str) {
    match outcome {
        Err(PeerError::Refused { reason }) => assert!(reason.contains(text), "{reason}"),
        other => panic!("expected a refusal about {text:?}, got {other:?}"),
    }
}
