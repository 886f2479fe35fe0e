//! A refused command leaves one event, unless it is housekeeping that repeats itself (C3, rule 8).

use jarvis_domain::command::{Batch, Change, ClusterCommand};
use jarvis_domain::limits::VaultLimits;
use jarvis_domain::member::{MAX_BLOB_BYTES, Member};

use crate::world::{FOUNDER, World, client, cluster, init, member, mutation, words};

#[test]
fn c3_what_a_node_is_refused_leaves_one_event_and_nothing_else() {
    let nowhere = Member {
        peer_address: "nowhere".to_owned(),
        ..member(2)
    };
    let join = |member: &Member| ClusterCommand::Join {
        token_hash: [9; 32],
        member: member.clone(),
    };
    for (command, event, reason) in [
        (init(VaultLimits::default()), "cluster.init", "invalid"),
        (join(&member(2)), "node.join", "join_token"),
        (join(&nowhere), "node.join", "invalid"),
        (
            ClusterCommand::UpdateMember {
                member: nowhere.clone(),
            },
            "node.update",
            "invalid",
        ),
        (
            ClusterCommand::AddNodeSlot { blob: vec![] },
            "seal.slot.add",
            "invalid",
        ),
        (
            ClusterCommand::AddNodeSlot {
                blob: vec![1; MAX_BLOB_BYTES + 1],
            },
            "seal.slot.add",
            "invalid",
        ),
        (
            ClusterCommand::Unsealed {
                slot: String::new(),
            },
            "seal.open",
            "invalid",
        ),
        (
            ClusterCommand::Unsealed {
                slot: "x".repeat(129),
            },
            "seal.open",
            "invalid",
        ),
        (
            ClusterCommand::RaiseLevel { level: 9 },
            "level.raise",
            "invalid",
        ),
        (
            ClusterCommand::Aggregate {
                kind: "x".repeat(65),
                client: Some(client("backend")),
                count: 7,
            },
            "requests.refused",
            "invalid",
        ),
    ] {
        let mut world = World::begun();
        let before: Vec<_> = world.state.records().collect();
        world.refused(cluster(command));
        assert_eq!(world.events().len(), 1, "{event}");
        let told = &world.events()[0];
        assert_eq!(told["event"], event);
        assert_eq!(told["outcome"], "refused", "{event}");
        assert_eq!(told["reason"], reason, "{event}");
        let after: Vec<_> = world.state.records().collect();
        assert!(before == after, "{event}: nothing changed but the trail");
        let core = &world.state.core;
        assert_eq!(core.content_seq, core.trail.seq, "X4: {event} is signed");
    }
}

/// Rule 10: the text of a newcomer that is refused is cut before it stands in the trail.
#[test]
fn c3_a_refused_newcomer_is_named_within_bounds() {
    let mut world = World::begun();
    let member = Member {
        name: "ä".repeat(10_000),
        ..member(2)
    };
    let token_hash = [9; 32];
    world.refused(cluster(ClusterCommand::Join { token_hash, member }));
    let told = &world.events()[0];
    assert_eq!(told["name"].as_str().map(str::len), Some(62));
    assert_eq!(told["peer_key"], "02".repeat(32));
    assert_eq!(told["via"], FOUNDER);
}

/// Rule 11: what a node asks for behind its own removal, in one batch, is refused, and told.
#[test]
fn c3_a_node_that_is_gone_is_refused_with_an_event() {
    let mut world = World::begun();
    let id = world.join(2);
    let blob = b"example-wrapped".to_vec();
    let commands = vec![
        mutation("admin", Change::RemoveMember { node: id }),
        cluster(ClusterCommand::AddNodeSlot { blob }),
        cluster(ClusterCommand::UpdateMember { member: member(3) }),
    ];
    let applied = world.propose(id, commands);
    assert_eq!(words(&applied), ["done", "not_found", "not_found"]);
    let told: Vec<_> = world.events().iter().map(|event| &event["event"]).collect();
    assert_eq!(told, ["node.remove", "seal.slot.add", "node.update"]);
    assert_eq!(world.events()[1]["reason"], "not_found");
}

#[test]
fn rule_8_a_repeated_refusal_leaves_no_second_event() {
    let mut world = World::begun();
    let batch = Batch {
        envelope: world.envelope(FOUNDER),
        commands: vec![cluster(ClusterCommand::RaiseLevel { level: 9 })],
    };
    world.entry(world.now, false, &batch);
    assert_eq!(world.events().len(), 1);
    let again = world.entry(world.now, false, &batch);
    assert!(again.skipped);
    assert!(world.events().is_empty());
}

/// Nodes repeat these by themselves and nobody asked for them: their refusals would be all that a quiet trail holds.
#[test]
fn x4_refused_housekeeping_of_the_trail_is_not_told() {
    let mut world = World::begun();
    let trail = world.state.core.trail;
    let checkpoint = ClusterCommand::Checkpoint {
        index: 1,
        seq: trail.seq + 1,
        head: [0; 32],
        signature: vec![1; 64],
    };
    for command in [checkpoint, ClusterCommand::RetireTrail { upto_seq: 7 }] {
        world.refused(cluster(command));
        assert!(world.events().is_empty());
    }
    assert_eq!(world.state.core.trail, trail);
}
