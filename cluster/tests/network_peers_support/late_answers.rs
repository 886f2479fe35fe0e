//! A late answer does not cost its connection, and one that answers nobody is not kept.

use super::*;

#[tokio::test]
async fn calls_that_time_out_leave_their_connection_to_the_next_one() {
    let world = World::new();
    let (one, two) = (world.node(1).await, world.node(2).await);
    one.call(&two, Lane::Control, ECHO, "x").await.unwrap();
    for _ in 0..2 {
        let outcome = hang(&one, &two, Duration::from_millis(50)).await;
        assert_eq!(outcome, Err(PeerError::Timeout));
    }
    one.call(&two, Lane::Control, ECHO, "x").await.unwrap();
    assert_eq!(two.directory.hellos(1), 1, "a handshake costs more");
}

#[tokio::test]
async fn a_connection_that_answers_nobody_is_dialed_anew() {
    let world = World::new();
    let (one, two) = (world.node(1).await, world.node(2).await);
    let outcome = hang(&one, &two, Duration::from_millis(1_500)).await;
    assert_eq!(outcome, Err(PeerError::Timeout));
    one.call(&two, Lane::Control, ECHO, "x").await.unwrap();
    assert_eq!(two.directory.hellos(1), 2);
}

/// A call that is never answered.
async fn hang(one: &Node, two: &Node, deadline: Duration) -> Result<Bytes, PeerError> {
    let body = Bytes::new();
    one.network
        .call(2, &two.address, Lane::Control, HANG, body, deadline)
        .await
}
