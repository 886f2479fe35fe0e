//! Segments, retention, signatures and imports of the trail (X4, C5, I3).

use jarvis_domain::command::{ClusterCommand, Command, JournalEvent};
use jarvis_domain::limits::SEGMENT_EVENTS;
use jarvis_domain::outcome::Rejection;

use crate::world::{FOUNDER, START, World, client, cluster, name, read, reload, word, words};

#[test]
fn x4_a_segment_closes_at_its_last_event_and_can_be_retired() {
    let mut world = World::begun();
    fill(&mut world, SEGMENT_EVENTS - 1);
    assert!(world.state.segments.is_empty());
    world.run(read("reader", "app/none"));
    let bytes = world.trail.bytes;
    let segment = **world.state.segments.get(&1).expect("it is closed");
    assert_eq!((segment.first_seq, segment.last_seq), (1, SEGMENT_EVENTS));
    assert_eq!(segment.head, world.state.core.trail.head);
    assert_eq!(segment.bytes, bytes);
    assert_eq!(world.state.core.trail.open_bytes, 0);

    for upto_seq in [0, SEGMENT_EVENTS - 1, SEGMENT_EVENTS + 1, u64::MAX] {
        let refused = world.refused(retire(upto_seq));
        assert!(matches!(refused, Rejection::Invalid { .. }), "{upto_seq}");
    }
    assert_eq!(world.state.core.trail_first_seq, 1);
    assert_eq!(word(&world.run(retire(SEGMENT_EVENTS))), "done");
    let event = world.events().last().expect("retention leaves an event");
    assert_eq!(event["event"], "audit.retire");
    assert_eq!(
        event["head"],
        hex::encode(segment.head),
        "the head before the cut"
    );
    assert!(world.state.segments.is_empty());
    assert_eq!(world.state.core.trail_first_seq, SEGMENT_EVENTS + 1);
}

#[test]
fn x4_a_segment_may_close_in_the_middle_of_an_entry() {
    let mut world = World::begun();
    fill(&mut world, SEGMENT_EVENTS - 2);
    let applied = world.propose(FOUNDER, vec![read("reader", "app/none"); 5]);
    assert_eq!(applied.lines.closes.len(), 1);
    let (offset, closed) = applied.lines.closes[0];
    assert_eq!(closed.last_seq, SEGMENT_EVENTS);
    assert_eq!(applied.lines.bytes[offset - 1], b'\n');
    let behind = (applied.lines.bytes.len() - offset) as u64;
    assert_eq!(world.state.core.trail.open_bytes, behind);
    assert_eq!(world.state.segments.len(), 1);
    assert_eq!(reload(&world.state).segments.len(), 1);
}

#[test]
fn x4_a_checkpoint_signs_what_there_is() {
    let mut world = World::begun();
    let checkpoint = |seq, length| {
        cluster(ClusterCommand::Checkpoint {
            index: 1,
            seq,
            head: [0; 32],
            signature: vec![1; length],
        })
    };
    let applied = world.propose(
        FOUNDER,
        vec![checkpoint(1, 64), checkpoint(9, 64), checkpoint(1, 63)],
    );
    assert_eq!(words(&applied), ["done", "invalid", "invalid"]);
    let core = &world.state.core;
    assert_eq!(core.trail.seq, 2);
    assert_eq!(core.content_seq, 1, "a signature is nothing new to sign");
}

#[test]
fn c5_an_imported_journal_is_counted_once() {
    let mut world = World::begun();
    world.run(import(3, 1..=4));
    assert_eq!(world.events().len(), 4);
    world.run(import(3, 2..=6));
    let numbers: Vec<_> = world
        .events()
        .iter()
        .map(|event| &event["journal_seq"])
        .collect();
    assert_eq!(numbers, [5_u64, 6]);
    world.run(import(4, 1..=1));
    assert_eq!(world.events().len(), 1, "another journal counts by itself");
    let event = &world.events()[0];
    assert_eq!(event["event"], "secret.read.stale");
    assert_eq!(event["outcome"], "allow");
    assert_eq!(event["served_index"], 9_u64);
}

#[test]
fn i3_what_comes_too_often_is_one_event() {
    let mut world = World::begun();
    let aggregate = |kind: &str| {
        cluster(ClusterCommand::Aggregate {
            kind: kind.to_owned(),
            client: Some(client("backend")),
            count: 12_345,
        })
    };
    assert_eq!(word(&world.run(aggregate("rate_limited"))), "done");
    assert_eq!(world.events().len(), 1);
    assert_eq!(world.events()[0]["count"], 12_345_u64);
    let long = "x".repeat(65);
    let refused = world.refused(aggregate(&long));
    assert!(matches!(refused, Rejection::Invalid { .. }));
}

/// Reads what is not there until the trail has so many events.
fn fill(world: &mut World, events: u64) {
    while world.state.core.trail.seq < events {
        let left = (events - world.state.core.trail.seq).min(512);
        let reads: Vec<Command> = (0..left).map(|_| read("reader", "app/none")).collect();
        world.propose(FOUNDER, reads);
    }
}

fn retire(upto_seq: u64) -> Command {
    cluster(ClusterCommand::RetireTrail { upto_seq })
}

fn import(journal: u64, numbers: std::ops::RangeInclusive<u64>) -> Command {
    let event = |seq| JournalEvent {
        seq,
        at: START,
        client: client("reader"),
        name: name("app/key"),
        version: Some(1),
        allowed: true,
        served_index: 9,
        age_ms: 40,
        request_id: "stale-1".to_owned(),
    };
    let events = numbers.map(event).collect();
    cluster(ClusterCommand::ImportJournal { journal, events })
}
