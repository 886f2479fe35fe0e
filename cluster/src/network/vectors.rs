//! What two nodes say once they know each other, frozen: a frame of each kind, as its bytes lie on the wire. The first
//! messages of a connection are in `handshake/vectors.rs`.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::network::calls::{CallConnection, answer};
use crate::network::frame::{Head, Pipe};
use crate::network::{Lane, PeerError};

/// Room for all that is said here.
const ROOM: usize = 4 * 1024;

const FIRST_REQUEST: &str = concat!(
    "00000015",         // length
    "0000000000000001", // number of the call on its connection
    "000000fa",         // how long the caller waits, ms
    "03",               // kind
    "7175657374696f6e", // question
);
const FIRST_ANSWER: &str = concat!(
    "0000000f",         // length
    "0000000000000001", // number of the call
    "00",               // a body follows
    "616e73776572",     // answer
);
const SECOND_REQUEST: &str = concat!(
    "00000015",
    "0000000000000002",
    "000000fa",
    "04",
    "7175657374696f6e",
);
const SECOND_ANSWER: &str = concat!(
    "0000000b",
    "0000000000000002",
    "01",   // an error's text follows
    "6e6f", // no
);

#[tokio::test]
async fn calls_and_answers_keep_their_bytes() {
    let (near, mut far) = ends();
    let connection = CallConnection::start(near, Lane::Control);
    let deadline = Duration::from_millis(250);
    let no = Err(PeerError::Remote {
        message: String::from("no"),
    });
    for (kind, request, reply, expected) in [
        (
            3,
            FIRST_REQUEST,
            FIRST_ANSWER,
            Ok(Bytes::from_static(b"answer")),
        ),
        (4, SECOND_REQUEST, SECOND_ANSWER, no),
    ] {
        let asking = connection.call(kind, Bytes::from_static(b"question"), deadline);
        let answering = async {
            expect(&mut far, request).await;
            far.write_all(&bytes(reply)).await.unwrap();
        };
        let (outcome, ()) = tokio::join!(asking, answering);
        assert_eq!(outcome, expected);
    }
}

#[test]
fn the_serving_side_writes_the_same_answers() {
    for (id, outcome, frozen) in [
        (1, Ok(Bytes::from_static(b"answer")), FIRST_ANSWER),
        (2, Err(String::from("no")), SECOND_ANSWER),
    ] {
        let (head, body) = answer(id, outcome);
        let written = hex::encode(head.as_slice()) + &hex::encode(body);
        // The length in front is the writer's.
        assert_eq!(Some(written.as_str()), frozen.get(8..));
    }
}

#[tokio::test]
async fn a_stream_is_frames_and_an_end() {
    let (near, mut far) = ends();
    let (_reader, sender, writer) = near.queued(Lane::Append);
    let writing = tokio::spawn(writer.run());
    let body = Bytes::from_static(b"hello");
    sender.send(Head::default(), body).await.unwrap();
    sender.send(Head::default(), Bytes::new()).await.unwrap();
    sender.finish().await.unwrap();
    expect(
        &mut far,
        concat!("0000000568656c6c6f", "00000000", "ffffffff"),
    )
    .await;
    writing.await.unwrap();
}

#[tokio::test]
async fn a_ping_is_a_length_that_no_frame_has() {
    let (near, mut far) = ends();
    let (mut reader, _sender, _writer) = near.queued(Lane::Append);
    let said = concat!(
        "fffffffe",
        "0000000568656c6c6f",
        "fffffffe",
        "00000000",
        "ffffffff"
    );
    far.write_all(&bytes(said)).await.unwrap();
    for expected in [Some(Bytes::from_static(b"hello")), Some(Bytes::new()), None] {
        assert_eq!(reader.next().await, Ok(expected));
    }
}

/// A connection of ours, and the bare other end of it.
fn ends() -> (Pipe, DuplexStream) {
    let (near, far) = tokio::io::duplex(ROOM);
    (Pipe::new(Box::new(near), ROOM), far)
}

async fn expect(far: &mut DuplexStream, frozen: &str) {
    let mut found = vec![0; frozen.len() / 2];
    far.read_exact(&mut found).await.unwrap();
    assert_eq!(hex::encode(found), frozen);
}

fn bytes(frozen: &str) -> Vec<u8> {
    hex::decode(frozen).unwrap()
}
