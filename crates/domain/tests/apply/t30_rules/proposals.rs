//! Exactly once inside the cluster (rule 8).

use jarvis_domain::NodeId;
use jarvis_domain::apply::Applied;
use jarvis_domain::command::{Batch, Change};
use jarvis_domain::window::Envelope;

use crate::world::{FOUNDER, START, World, mutation, words, write};

#[test]
fn rule_8_a_repeated_envelope_has_no_effect_and_leaves_no_event() {
    let mut world = World::begun();
    assert_eq!(words(&put(&mut world, FOUNDER, 1, 2)), ["written"]);
    let versions = world.state.versions.len();
    let repeated = put(&mut world, FOUNDER, 1, 2);
    assert!(repeated.skipped && repeated.replies.is_empty());
    assert!(world.events().is_empty());
    assert_eq!(world.state.versions.len(), versions);
    assert_eq!(world.state.core.applied.index, world.index);
}

#[test]
fn rule_8_proposals_may_arrive_out_of_order() {
    let mut world = World::begun();
    for seq in [4, 2, 3] {
        assert!(!put(&mut world, FOUNDER, 1, seq).skipped);
    }
    for seq in [2, 3, 4] {
        assert!(put(&mut world, FOUNDER, 1, seq).skipped);
    }
    assert_eq!(world.versions("app/key"), [1, 2, 3]);
}

#[test]
fn rule_8_a_replaced_process_is_not_heard_any_more() {
    let mut world = World::begun();
    assert!(
        !put(&mut world, FOUNDER, 2, 1).skipped,
        "a restart begins again at 1"
    );
    assert!(put(&mut world, FOUNDER, 1, 50).skipped);
    assert!(world.events().is_empty());
    assert!(!put(&mut world, FOUNDER, 2, 2).skipped);
    assert_eq!(world.versions("app/key"), [1, 2]);
}

#[test]
fn rule_8_who_is_no_member_is_not_heard_and_not_remembered() {
    let mut world = World::begun();
    assert!(put(&mut world, 77, 1, 1).skipped);
    assert!(world.events().is_empty());
    assert!(!world.state.core.windows.contains_key(&77));
}

#[test]
fn rule_8_time_passes_also_in_a_repeated_entry() {
    let mut world = World::begun();
    put(&mut world, FOUNDER, 1, 2);
    world.advance(9_000);
    assert!(put(&mut world, FOUNDER, 1, 2).skipped);
    assert_eq!(world.state.core.time, START + 9_000);
}

fn put(world: &mut World, node: NodeId, incarnation: u64, seq: u64) -> Applied {
    let envelope = Envelope {
        node,
        incarnation,
        seq,
    };
    let commands = vec![mutation(
        "admin",
        Change::Write(vec![write("app/key", None)]),
    )];
    world.entry(world.now, false, &Batch { envelope, commands })
}
