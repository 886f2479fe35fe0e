//! Joining, leaving, and identities that are never used again (C9, L2, rules 3 and 11).

use jarvis_domain::NodeId;
use jarvis_domain::command::{Batch, Change, ClusterCommand, Command};
use jarvis_domain::limits::VaultLimits;
use jarvis_domain::member::Member;
use jarvis_domain::outcome::{Outcome, Rejection};
use jarvis_domain::window::Envelope;

use crate::world::{
    FOUNDER, START, World, cluster, init, member, mutation, read, tick, word, words,
};

#[test]
fn nothing_is_decided_before_the_cluster_has_begun() {
    let mut world = World::empty();
    assert_eq!(world.refused(read("admin", "app/key")), Rejection::NotReady);
    assert_eq!(world.refused(tick()), Rejection::NotReady);
    assert!(world.events().is_empty());
    let begin = || cluster(init(VaultLimits::default()));
    assert_eq!(word(&world.run(begin())), "joined");
    assert!(matches!(world.refused(begin()), Rejection::Invalid { .. }));
}

#[test]
fn rule_11_a_node_id_is_the_index_of_its_join() {
    let mut world = World::begun();
    world.put("app/key");
    world.run(join_token(7, 2, 60_000));
    for tag in [2, 3] {
        assert_eq!(joined(&mut world, 7, tag), world.index);
        let id = world.index;
        assert_eq!(world.events().len(), 1);
        assert_eq!(world.events()[0]["node"], id);
        let member = world.state.members.get(&id).expect("it is a member");
        assert_eq!((member.peer_key, member.joined), ([tag; 32], START));
    }
}

#[test]
fn l2_a_repeated_join_gets_the_first_id_and_leaves_no_event() {
    let mut world = World::begun();
    world.run(join_token(7, 1, 60_000));
    let id = joined(&mut world, 7, 2);
    assert_eq!(joined(&mut world, 7, 2), id);
    assert!(world.events().is_empty());
    assert_eq!(world.state.members.len(), 2);
}

#[test]
fn l2_a_join_token_admits_as_many_nodes_as_it_says() {
    let mut world = World::begun();
    world.run(join_token(7, 1, 60_000));
    joined(&mut world, 7, 2);
    assert_eq!(world.refused(join(7, 3)), Rejection::Unauthenticated);
    assert_eq!(world.events()[0]["reason"], "join_token_used_up");
    assert_eq!(world.refused(join(8, 3)), Rejection::Unauthenticated);
    assert_eq!(world.events()[0]["reason"], "join_token");
    for uses in [0, 101] {
        let refused = world.refused(join_token(9, uses, 60_000));
        assert!(matches!(refused, Rejection::Invalid { .. }));
    }
}

#[test]
fn l2_a_join_token_works_until_its_time_is_up() {
    let mut world = World::begun();
    world.run(join_token(7, 2, 1_000));
    world.advance(999);
    joined(&mut world, 7, 2);
    world.advance(1);
    assert_eq!(world.refused(join(7, 3)), Rejection::Unauthenticated);
    assert!(world.state.join_tokens.is_empty());
}

#[test]
fn rule_11_a_key_names_one_member_whatever_the_token() {
    let mut world = World::begun();
    world.run(join_token(7, 2, 60_000));
    world.run(join_token(8, 2, 60_000));
    let id = joined(&mut world, 7, 2);
    // The founder's key, and the newcomer's.
    for tag in [1, 2] {
        let refused = world.refused(join(8, tag));
        assert!(matches!(refused, Rejection::Invalid { .. }));
        assert_eq!(world.events().len(), 1, "C3");
        assert_eq!(world.events()[0]["reason"], "peer_key");
    }
    assert_eq!(world.state.members.len(), 2);
    let token = world.state.join_tokens.get(&[8_u8; 32]);
    assert_eq!(token.map(|token| token.uses), Some(2), "it is not used up");
    assert_eq!(joined(&mut world, 7, 2), id, "a repeat stays harmless");
    assert!(world.events().is_empty());
    world.run(remove(id));
    assert_eq!(joined(&mut world, 8, 2), world.index, "a new identity");
}

#[test]
fn rule_11_a_join_is_alone_in_its_entry() {
    let mut world = World::begun();
    world.run(join_token(7, 2, 60_000));
    let applied = world.propose(FOUNDER, vec![join(7, 2), join(7, 3)]);
    assert_eq!(words(&applied), ["unauthenticated", "unauthenticated"]);
    let reasons: Vec<_> = world
        .events()
        .iter()
        .map(|event| &event["reason"])
        .collect();
    assert_eq!(reasons, ["not_alone", "not_alone"]);
    assert_eq!(world.state.members.len(), 1);
}

#[test]
fn rule_11_a_removed_node_is_refused_for_ever() {
    let mut world = World::begun();
    let id = world.join(2);
    let applied = world.propose(id, vec![read("admin", "app/none")]);
    assert_eq!(words(&applied), ["not_found"]);
    world.run(remove(id));
    assert_eq!(world.refused(remove(id)), Rejection::NotFound);
    for (incarnation, seq) in [(1, 9), (2, 1), (u64::MAX, u64::MAX)] {
        let batch = Batch {
            envelope: Envelope {
                node: id,
                incarnation,
                seq,
            },
            commands: vec![read("admin", "app/none")],
        };
        let applied = world.entry(world.now, false, &batch);
        assert!(applied.skipped && applied.replies.is_empty());
        assert!(world.events().is_empty());
    }
    assert!(!world.state.core.windows.contains_key(&id));
    assert!(world.state.core.removed.contains(&id));
}

#[test]
fn c9_a_node_takes_its_seal_slot_along() {
    let mut world = World::begun();
    let id = world.join(2);
    let blob = b"example-wrapped".to_vec();
    world.propose(id, vec![cluster(ClusterCommand::AddNodeSlot { blob })]);
    assert_eq!(world.state.slots.len(), 2);
    world.run(remove(id));
    let slots: Vec<_> = world
        .state
        .slots
        .iter()
        .map(|(slot, _)| slot.as_str())
        .collect();
    assert_eq!(slots, ["node-1"]);
}

#[test]
fn c9_a_voter_leaves_the_voters_before_it_is_removed() {
    let mut world = World::begun();
    let id = world.join(2);
    world.voters(&[FOUNDER, id]);
    assert_eq!(world.events().len(), 1);
    world.voters(&[FOUNDER, id]);
    assert!(world.events().is_empty(), "the same voters are no event");
    assert!(matches!(
        world.refused(remove(id)),
        Rejection::Invalid { .. }
    ));
    world.voters(&[FOUNDER]);
    assert_eq!(word(&world.run(remove(id))), "done");
}

#[test]
fn a_node_speaks_only_about_itself_and_keeps_its_key() {
    let mut world = World::begun();
    let id = world.join(2);
    let moved = Member {
        peer_address: "127.0.0.9:9081".to_owned(),
        joined: 5,
        ..member(9)
    };
    let update = || {
        cluster(ClusterCommand::UpdateMember {
            member: moved.clone(),
        })
    };
    world.propose(id, vec![update()]);
    assert_eq!(world.events().len(), 1);
    let record = world.state.members.get(&id).expect("it is a member");
    assert_eq!(record.peer_address, "127.0.0.9:9081");
    assert_eq!((record.peer_key, record.joined), ([2; 32], START));
    let founder = world.state.members.get(&FOUNDER).expect("it is a member");
    assert_eq!(founder.peer_key, [1; 32]);
    world.propose(id, vec![update()]);
    assert!(world.events().is_empty(), "nothing new, no event");
}

/// Rule 3. The only level so far is 1: this cluster comes from before it.
#[test]
fn rule_3_the_level_is_not_raised_while_a_member_is_below() {
    let mut world = World::begun();
    world.state.core.level = 0;
    let id = world.join(2);
    let reports = |level| {
        let member = Member { level, ..member(2) };
        vec![cluster(ClusterCommand::UpdateMember { member })]
    };
    let raise = |level| cluster(ClusterCommand::RaiseLevel { level });
    world.propose(id, reports(0));
    assert!(matches!(world.refused(raise(1)), Rejection::Invalid { .. }));
    assert_eq!(world.state.core.level, 0);
    world.propose(id, reports(1));
    assert_eq!(word(&world.run(raise(1))), "done");
    assert_eq!(world.state.core.level, 1);
    for level in [0, 1, 2, u32::MAX] {
        let refused = world.refused(raise(level));
        assert!(matches!(refused, Rejection::Invalid { .. }), "{level}");
    }
    assert_eq!(world.state.core.level, 1);
}

fn join_token(token: u8, uses: u32, ttl_ms: u64) -> Command {
    let create = Change::CreateJoinToken {
        id: [token; 16],
        hash: [token; 32],
        uses,
        ttl_ms,
    };
    mutation("admin", create)
}

fn join(token: u8, tag: u8) -> Command {
    cluster(ClusterCommand::Join {
        token_hash: [token; 32],
        member: member(tag),
    })
}

fn joined(world: &mut World, token: u8, tag: u8) -> NodeId {
    match world.run(join(token, tag)) {
        Outcome::Joined { node } => node,
        other => panic!("expected an id, got {}", word(&other)),
    }
}

fn remove(node: NodeId) -> Command {
    mutation("admin", Change::RemoveMember { node })
}
