//! Mistakes that were found by reading the rules against the design, each with the story that shows it.

use jarvis_domain::command::{Batch, Change, ClusterCommand, Command, JournalEvent, Target};
use jarvis_domain::limits::{MAX_REQUEST_ID_BYTES, MIN_VAULT_BYTES, SEGMENT_EVENTS, VaultLimits};
use jarvis_domain::member::Member;
use jarvis_domain::outcome::{Outcome, Rejection};
use jarvis_domain::time::{DAY, Millis};
use jarvis_domain::token::Credential;
use jarvis_domain::window::Envelope;

use crate::world::{
    FOUNDER, START, World, access_by, caller, caller_with, client, cluster, keyed, member,
    mutation, mutation_by, name, read, read_by, sealed, tick, word, words, write,
};

/// X4: a segment that closes with the event of a clock step is recorded although the entry's batch is a repeat.
#[test]
fn a_segment_that_closes_before_a_skipped_batch_is_recorded() {
    let mut world = before_a_segment_closes();
    let repeat = Batch {
        envelope: Envelope {
            node: FOUNDER,
            incarnation: 1,
            seq: 1,
        },
        commands: vec![tick()],
    };
    let applied = world.entry(world.now, true, &repeat);
    assert!(applied.skipped);
    assert_eq!(applied.lines.closes.len(), 1);
    assert_eq!(world.state.segments.len(), 1);
}

/// X4: a segment that is closed and retired within one entry does not come back with the entry's next command.
#[test]
fn a_segment_retired_in_the_entry_that_closed_it_stays_away() {
    let mut world = before_a_segment_closes();
    let upto_seq = SEGMENT_EVENTS;
    let commands = vec![
        read("reader", "app/none"),
        cluster(ClusterCommand::RetireTrail { upto_seq }),
        tick(),
    ];
    let applied = world.propose(FOUNDER, commands);
    assert_eq!(words(&applied), ["not_found", "done", "done"]);
    assert!(world.state.segments.is_empty());
    assert_eq!(world.state.core.trail_first_seq, SEGMENT_EVENTS + 1);
}

/// X4: what happens because time passed is content: nodes must sign it although no request follows.
#[test]
fn an_event_of_passing_time_is_something_new_to_sign() {
    let mut world = World::begun();
    let create = Change::CreateToken {
        id: [5; 16],
        secret_hash: [5; 32],
        client: client("backend"),
        ttl_ms: Some(1_000),
    };
    world.run(mutation("admin", create));
    world.advance(1_000);
    world.run(tick());
    assert_eq!(world.events().len(), 1);
    let core = &world.state.core;
    assert_eq!(core.content_seq, core.trail.seq);
}

/// X4: a command without an event must not make nodes sign each other's signatures.
#[test]
fn a_repeat_behind_a_signature_is_nothing_new_to_sign() {
    let mut world = World::begun();
    let put = || {
        keyed(
            "admin",
            "key-1",
            1,
            Change::Write(vec![write("app/key", None)]),
        )
    };
    world.run(put());
    let before = world.state.core.content_seq;
    let checkpoint = ClusterCommand::Checkpoint {
        index: world.index,
        seq: before,
        head: world.state.core.trail.head,
        signature: vec![1; 64],
    };
    world.run(cluster(checkpoint));
    world.run(put());
    assert!(world.events().is_empty());
    assert_eq!(world.state.core.content_seq, before);
}

/// X3: a node's key-file slot does not replace a slot that an administrator made under its name.
#[test]
fn a_node_slot_does_not_replace_another_slot() {
    let mut world = World::begun();
    let id = world.join(2);
    let slot = format!("node-{id}");
    let add = Change::AddSlot {
        slot: slot.clone(),
        kind: "passphrase".to_owned(),
        blob: b"example-wrapped".to_vec(),
    };
    let added = world.run(mutation("admin", add));
    let blob = b"example-wrapped-2".to_vec();
    world.propose(id, vec![cluster(ClusterCommand::AddNodeSlot { blob })]);
    if word(&added) == "slot_added" {
        let kept = world.state.slots.get(&slot).expect("it was added");
        assert_eq!(kept.kind, "passphrase");
    }
}

/// X3: nothing could unseal a vault without slots, so a member does not take the last one along.
#[test]
fn removing_a_member_leaves_a_seal_slot() {
    let mut world = World::begun();
    let id = world.join(2);
    let remove = mutation("admin", Change::RemoveMember { node: FOUNDER });
    world.propose(id, vec![remove]);
    assert!(!world.state.slots.is_empty());
}

/// Rule 11: what a node still asks for behind its own removal, in one batch, leaves nothing of it.
#[test]
fn a_node_that_is_gone_adds_no_slot() {
    let mut world = World::begun();
    let id = world.join(2);
    let blob = b"example-wrapped".to_vec();
    let commands = vec![
        mutation("admin", Change::RemoveMember { node: id }),
        cluster(ClusterCommand::AddNodeSlot { blob }),
    ];
    world.propose(id, commands);
    assert!(
        world
            .state
            .slots
            .iter()
            .all(|(_, slot)| slot.node != Some(id))
    );
}

/// I1: revoking a certificate again, with an earlier end, does not shorten its revocation.
#[test]
fn a_revocation_lasts_as_long_as_the_certificate() {
    let mut world = World::begun();
    world.put("app/key");
    for days in [10, 1] {
        world.run(revoke("0a", START + days * DAY));
    }
    world.advance(2 * DAY);
    let credential = Credential::Certificate {
        serial: "0a".to_owned(),
        not_after: START + 10 * DAY,
    };
    let use_it = read_by(caller_with("backend", credential), "app/key");
    assert_eq!(world.refused(use_it), Rejection::Unauthenticated);
}

/// Rule 10: no event keeps more of a request id than the agreed bound, whatever the outcome.
#[test]
fn a_request_id_in_the_trail_is_bounded() {
    let mut world = World::begun();
    let mut endless = caller("admin");
    endless.request_id = "r".repeat(100 * MAX_REQUEST_ID_BYTES);
    let name = name("app/none");
    let change = Change::Undelete { name: name.clone() };
    let target = Target::Versions { name };
    let mut served_stale = stale_read();
    served_stale.request_id.clone_from(&endless.request_id);
    let import = ClusterCommand::ImportJournal {
        journal: 1,
        events: vec![served_stale],
    };
    for command in [
        access_by(endless.clone(), target),
        mutation_by(endless, change),
        cluster(import),
    ] {
        world.run(command);
        let kept = world.events()[0]["request_id"].as_str().expect("a text");
        assert!(kept.len() <= MAX_REQUEST_ID_BYTES, "{} bytes", kept.len());
    }
}

/// Rule 11: a repeated join does not hand out an identity that was removed since.
#[test]
fn a_repeated_join_does_not_bring_back_a_removed_node() {
    let mut world = World::begun();
    let id = world.join(2);
    world.run(mutation("admin", Change::RemoveMember { node: id }));
    let join = ClusterCommand::Join {
        token_hash: [2; 32],
        member: member(2),
    };
    let outcome = world.run(cluster(join));
    assert!(!matches!(outcome, Outcome::Joined { node } if node == id));
}

/// Rule 3: a release that does not know the cluster's level can not take part in it.
#[test]
fn a_node_below_the_level_can_not_join() {
    let mut world = World::begun();
    let hash = [7; 32];
    let create = Change::CreateJoinToken {
        id: [7; 16],
        hash,
        uses: 1,
        ttl_ms: 60_000,
    };
    world.run(mutation("admin", create));
    let join = ClusterCommand::Join {
        token_hash: hash,
        member: Member {
            level: world.state.core.level - 1,
            ..member(2)
        },
    };
    assert_ne!(word(&world.run(cluster(join))), "joined");
    assert_eq!(world.state.members.len(), 1);
}

/// C5: a journal so old that its mark is gone is not imported a second time.
#[test]
fn an_old_journal_is_not_imported_twice() {
    let mut world = World::begun();
    for journal in 1..=12 {
        world.run(import(journal));
        assert_eq!(world.events().len(), 1);
    }
    for journal in 1..=12 {
        world.run(import(journal));
        assert!(world.events().is_empty(), "journal {journal}");
    }
}

/// X2: a re-wrap holds the same plaintext, so it can not carry a vault over its limit.
#[test]
fn a_rewrap_does_not_grow_the_vault() {
    let limit = MIN_VAULT_BYTES;
    let limits = VaultLimits {
        max_vault_bytes: limit,
        ..VaultLimits::default()
    };
    let mut world = World::with(limits);
    world.put("app/key");
    let wrapped = b"example-wrapped".to_vec();
    world.run(mutation("admin", Change::AddEpoch { number: 2, wrapped }));
    let rewrap = Change::Rewrap {
        name: name("app/key"),
        version: 1,
        from_epoch: 1,
        value: sealed(9, 5_000, 2),
    };
    world.run(mutation("admin", rewrap));
    assert!(world.state.core.vault_bytes <= limit);
}

/// A11: a key is forgotten after ten minutes, also when so many end at once that they are cleared over several entries.
#[test]
fn a_key_that_is_over_does_not_stand_in_the_way() {
    let mut world = World::begun();
    let numbered = |number: u64, mac| {
        let change = Change::TransferLeader { to: None };
        keyed("admin", &format!("key-{number:04}"), mac, change)
    };
    let all = (0..1_000).map(|number| numbered(number, 1)).collect();
    world.propose(FOUNDER, all);
    world.advance(600_000);
    let next = (1_000..1_200).map(|number| numbered(number, 1)).collect();
    let applied = world.propose(FOUNDER, next);
    assert!(
        applied
            .replies
            .iter()
            .all(|reply| word(&reply.outcome) == "done")
    );
    assert_eq!(word(&world.run(numbered(999, 2))), "done");
}

fn revoke(serial: &str, not_after: Millis) -> Command {
    let serial = serial.to_owned();
    mutation("admin", Change::RevokeCertificate { serial, not_after })
}

fn import(journal: u64) -> Command {
    let events = vec![stale_read()];
    cluster(ClusterCommand::ImportJournal { journal, events })
}

fn stale_read() -> JournalEvent {
    JournalEvent {
        seq: 1,
        at: START,
        client: client("reader"),
        name: name("app/key"),
        version: Some(1),
        allowed: true,
        served_index: 9,
        age_ms: 40,
        request_id: "stale-1".to_owned(),
    }
}

/// The next event closes the first segment.
fn before_a_segment_closes() -> World {
    let mut world = World::begun();
    while world.state.core.trail.seq < SEGMENT_EVENTS - 1 {
        let left = (SEGMENT_EVENTS - 1 - world.state.core.trail.seq).min(512);
        let reads: Vec<Command> = (0..left).map(|_| read("reader", "app/none")).collect();
        world.propose(FOUNDER, reads);
    }
    world
}
