//! The handshake's bytes, frozen: a release that writes others can not talk to a node of this one, nor say why.
//! Whoever changes them on purpose raises [`PROTOCOL`].

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::network::{Directory, Me, PeerNetwork};

/// [`dialer`] as it travels.
const DIALER: &str = concat!(
    "01",                               // protocol
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", // cluster id
    "03",                               // recovery epoch
    "fb2c01",                           // node id 300: a number over 250 has its size before it
    "01",                               // control lane
    "01",                               // feature level
    "076e313a39303831",                 // n1:9081
    "0e687474703a2f2f6e313a38303831",   // http://n1:8081
);

/// [`server`] as it travels.
const SERVER: &str = concat!(
    "01",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "03",
    "02",
    "01",
    "01",
    "076e323a39303831",
    "0e687474703a2f2f6e323a38303831",
);

/// Who joins says nothing of itself, and neither does who answers.
const NAMELESS: &str = concat!(
    "01",
    "00000000000000000000000000000000",
    "00",
    "00",
    "04",
    "00",
    "00",
    "00",
);

#[test]
fn a_hello_keeps_its_bytes() {
    for (hello, frozen) in [
        (dialer(), DIALER),
        (server(), SERVER),
        (Hello::nameless(), NAMELESS),
    ] {
        assert_eq!(hex::encode(encode(&hello).unwrap()), frozen);
        assert_eq!(decode::<Hello>(&bytes(frozen)).unwrap(), hello);
    }
}

#[test]
fn an_opening_is_a_hello_and_its_purpose() {
    for (purpose, tail) in [
        (Purpose::Calls, "00"),
        (Purpose::Stream { kind: 20 }, "0114"),
    ] {
        let frozen = format!("{DIALER}{tail}");
        let hello = dialer();
        let opening = encode(&Opening { hello, purpose }).unwrap();
        assert_eq!(hex::encode(opening), frozen);
        let read: Opening = decode(&bytes(&frozen)).unwrap();
        assert_eq!((read.hello, read.purpose), (dialer(), purpose));
    }
}

#[test]
fn an_answer_is_a_hello_or_a_reason() {
    let welcome = Answer::Welcome(server());
    let frozen = format!("00{SERVER}");
    assert_eq!(hex::encode(encode(&welcome).unwrap()), frozen);
    let read: Answer = decode(&bytes(&frozen)).unwrap();
    assert!(matches!(read, Answer::Welcome(hello) if hello == server()));

    let reason = String::from("removed");
    let frozen = "010772656d6f766564";
    let refused = Answer::Refused { reason };
    assert_eq!(hex::encode(encode(&refused).unwrap()), frozen);
    let read: Answer = decode(&bytes(frozen)).unwrap();
    assert!(matches!(read, Answer::Refused { reason } if reason == "removed"));
}

#[test]
fn lanes_keep_their_numbers() {
    let lanes = [
        Lane::Append,
        Lane::Control,
        Lane::Forward,
        Lane::Snapshot,
        Lane::Join,
    ];
    for (number, lane) in (0_u8..).zip(lanes) {
        assert_eq!(encode(&lane).unwrap(), [number], "{lane:?}");
    }
}

#[tokio::test]
async fn on_the_wire_each_message_has_its_length_before_it() {
    // As the dialing side has it.
    let (near, mut far) = tokio::io::duplex(MAX_HANDSHAKE_BYTES);
    let answering = async {
        let mut opening = vec![0; 4 + 47];
        far.read_exact(&mut opening).await.unwrap();
        assert_eq!(hex::encode(opening), format!("0000002f{DIALER}00"));
        let welcome = bytes(&format!("0000002d00{SERVER}"));
        far.write_all(&welcome).await.unwrap();
    };
    let opening = open(Box::new(near), dialer(), Purpose::Calls);
    let (opened, ()) = tokio::join!(opening, answering);
    assert!(opened.is_ok_and(|(_, hello)| hello == server()));

    // As the serving side has it.
    let (near, mut far) = tokio::io::duplex(MAX_HANDSHAKE_BYTES);
    let asking = async {
        let opening = bytes(&format!("0000002f{DIALER}00"));
        far.write_all(&opening).await.unwrap();
        let mut welcome = vec![0; 4 + 45];
        far.read_exact(&mut welcome).await.unwrap();
        assert_eq!(hex::encode(welcome), format!("0000002d00{SERVER}"));
    };
    let network = network();
    let accepting = Box::pin(accept(&network.shared, Box::new(near)));
    let (accepted, ()) = tokio::join!(accepting, asking);
    let Ok(Accepted::Peer {
        identity,
        lane,
        purpose,
        ..
    }) = accepted
    else {
        panic!("this opening is welcome");
    };
    assert_eq!((identity.node_id, identity.level), (300, 1));
    assert_eq!((lane, purpose), (Lane::Control, Purpose::Calls));
}

fn dialer() -> Hello {
    Hello {
        protocol: 1,
        cluster_id: [0xaa; 16],
        recovery_epoch: 3,
        node_id: 300,
        lane: Lane::Control,
        level: 1,
        peer_address: String::from("n1:9081"),
        api_address: String::from("http://n1:8081"),
    }
}

fn server() -> Hello {
    Hello {
        node_id: 2,
        peer_address: String::from("n2:9081"),
        api_address: String::from("http://n2:8081"),
        ..dialer()
    }
}

/// The network of [`server`].
fn network() -> PeerNetwork {
    let Hello {
        cluster_id,
        recovery_epoch,
        node_id,
        level,
        peer_address,
        api_address,
        ..
    } = server();
    let me = Me {
        cluster_id,
        recovery_epoch,
        node_id,
        level,
        peer_address,
        api_address,
    };
    let env = Env {
        simulated: true,
        ..Env::production()
    };
    PeerNetwork::new(env, Security::DangerPlain, me, Arc::new(Anyone)).unwrap()
}

/// A directory that knows nobody yet.
struct Anyone;

impl Directory for Anyone {
    fn verdict(&self, _node_id: u64, _spki_sha256: [u8; 32]) -> Verdict {
        Verdict::Unknown
    }

    fn learned(&self, _node_id: u64, _peer_address: &str, _api_address: &str) {}
}

fn bytes(frozen: &str) -> Vec<u8> {
    hex::decode(frozen).unwrap()
}
