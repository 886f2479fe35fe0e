//! Idempotency keys (A11).

use jarvis_domain::command::{Change, Command};
use jarvis_domain::limits::{IDEMPOTENCY_PER_CLIENT, IDEMPOTENCY_TTL, MAX_IDEMPOTENCY_KEY_BYTES};
use jarvis_domain::outcome::{Outcome, Rejection};
use jarvis_domain::policy::VerbSet;

use crate::world::{
    FOUNDER, World, client, delete, keyed, mutation, name, policy_of, rule, set_policy, tick, word,
    words, write,
};

#[test]
fn a11_the_same_request_gets_the_first_outcome_and_no_second_event() {
    let mut world = World::begun();
    let first = world.reply(put("admin", "key-1", 1));
    let again = world.reply(put("admin", "key-1", 1));
    assert_eq!(format!("{again:?}"), format!("{first:?}"));
    assert!(world.events().is_empty());
    assert_eq!(world.versions("app/key"), [1]);
}

#[test]
fn a11_the_same_request_twice_in_one_batch_is_done_once() {
    let mut world = World::begun();
    let twice = vec![put("admin", "key-1", 1), put("admin", "key-1", 1)];
    let applied = world.propose(FOUNDER, twice);
    assert_eq!(words(&applied), ["written", "written"]);
    assert_eq!(applied.replies[0].audit_seq, applied.replies[1].audit_seq);
    assert_eq!(world.versions("app/key"), [1]);
    assert_eq!(world.events().len(), 1);
}

#[test]
fn a11_another_request_under_the_key_is_refused_with_an_event() {
    let mut world = World::begun();
    world.run(put("admin", "key-1", 1));
    let refused = world.refused(put("admin", "key-1", 2));
    assert_eq!(refused, Rejection::IdempotencyReused);
    assert_eq!(world.events().len(), 1);
    assert_eq!(world.events()[0]["reason"], "idempotency_key_reused");
    assert_eq!(world.versions("app/key"), [1]);
}

#[test]
fn a11_two_clients_may_use_the_same_key() {
    let mut world = World::begun();
    world.run(put("admin", "key-1", 1));
    assert_eq!(word(&world.run(put("backend", "key-1", 2))), "written");
    assert_eq!(world.versions("app/key"), [1, 2]);
}

#[test]
fn a11_a_definite_refusal_is_remembered_too() {
    let mut world = World::begun();
    world.put("app/key");
    world.run(delete("app/key"));
    let name = name("app/key");
    let change = Change::Delete { name, cas: None };
    let again = || keyed("admin", "key-1", 1, change.clone());
    let first = world.reply(again());
    assert_eq!(word(&first.outcome), "is_deleted");
    world.put("app/key");
    let second = world.reply(again());
    assert_eq!(format!("{second:?}"), format!("{first:?}"));
    assert_eq!(world.versions("app/key"), [2], "the repeat deleted nothing");
}

#[test]
fn a11_a_repeat_after_the_permission_is_gone_is_denied() {
    let mut world = World::begun();
    world.run(put("backend", "key-1", 1));
    let all = VerbSet::ALL;
    let narrowed = policy_of([("admin", vec![rule("*", all)], vec![])]);
    world.run(set_policy(narrowed, "narrowed", None));
    let refused = world.refused(put("backend", "key-1", 1));
    assert!(matches!(refused, Rejection::NotAuthorized { .. }), "P4");
}

#[test]
fn a11_a_key_is_kept_ten_minutes_of_cluster_time() {
    let mut world = World::begun();
    world.run(put("admin", "key-1", 1));
    world.advance(IDEMPOTENCY_TTL - 1);
    let refused = world.refused(put("admin", "key-1", 2));
    assert_eq!(refused, Rejection::IdempotencyReused);
    world.advance(1);
    assert_eq!(word(&world.run(put("admin", "key-1", 2))), "written");
    assert_eq!(world.versions("app/key"), [1, 2]);
    assert_eq!(world.state.idempotency.len(), 1);
}

#[test]
fn a11_a_client_holds_at_most_1000_keys_and_none_is_evicted_early() {
    let mut world = World::begun();
    let numbered = |number: u64| {
        let change = Change::TransferLeader { to: None };
        keyed("admin", &format!("key-{number}"), 1, change)
    };
    let all: Vec<Command> = (0..IDEMPOTENCY_PER_CLIENT).map(numbered).collect();
    world.propose(FOUNDER, all);
    let one_more = || numbered(IDEMPOTENCY_PER_CLIENT);
    assert_eq!(world.refused(one_more()), Rejection::IdempotencyFull);
    assert_eq!(world.events().len(), 1);
    assert_eq!(word(&world.run(numbered(0))), "done");
    assert!(world.events().is_empty(), "the first key is still known");
    let other = world.run(put("backend", "key-1", 1));
    assert_eq!(word(&other), "written", "another client has room");
    let without_key = mutation("admin", Change::TransferLeader { to: None });
    assert_eq!(word(&world.run(without_key)), "done");
    world.advance(IDEMPOTENCY_TTL);
    world.run(tick());
    assert_eq!(word(&world.run(one_more())), "done");
}

#[test]
fn a11_a_key_has_one_to_128_bytes() {
    let mut world = World::begun();
    for key in [String::new(), "k".repeat(MAX_IDEMPOTENCY_KEY_BYTES + 1)] {
        let refused = world.refused(put("admin", &key, 1));
        assert!(matches!(refused, Rejection::Invalid { .. }));
    }
    let longest = "k".repeat(MAX_IDEMPOTENCY_KEY_BYTES);
    assert_eq!(word(&world.run(put("admin", &longest, 1))), "written");
}

/// What a node proposes for a repetition has an id and a hash of its own: the first ones count, and nothing else is made.
#[test]
fn a11_a_repeated_credential_is_the_first_one() {
    let mut world = World::begun();
    let first = world.reply(token(5));
    let again = world.reply(token(6));
    assert!(matches!(first.outcome, Outcome::Created { id, .. } if id == [5; 16]));
    assert_eq!(format!("{again:?}"), format!("{first:?}"));
    assert!(world.events().is_empty());
    assert_eq!(world.state.tokens.len(), 1);
    assert!(world.state.tokens.contains(&[5_u8; 16]));

    let first = world.reply(join_token(7));
    let again = world.reply(join_token(8));
    assert!(matches!(first.outcome, Outcome::Created { id, .. } if id == [7; 16]));
    assert_eq!(format!("{again:?}"), format!("{first:?}"));
    assert!(world.events().is_empty());
    assert_eq!(world.state.join_tokens.len(), 1);
    assert!(world.state.join_tokens.contains(&[7_u8; 32]));

    let first = world.reply(slot("passphrase-1"));
    let again = world.reply(slot("passphrase-2"));
    assert!(matches!(&first.outcome, Outcome::SlotAdded { slot } if slot == "passphrase-1"));
    assert_eq!(format!("{again:?}"), format!("{first:?}"));
    assert!(world.events().is_empty());
    assert!(!world.state.slots.contains("passphrase-2"));
}

#[test]
fn a11_another_request_under_the_key_of_a_credential_makes_none() {
    let mut world = World::begun();
    for (made, other) in [
        (token(5), Change::RevokeToken { id: [5; 16] }),
        (join_token(7), create_token(8)),
        (slot("passphrase-1"), create_token(9)),
    ] {
        let key = match &made {
            Command::Mutate(mutation) => mutation.idempotency.clone(),
            _ => None,
        };
        let key = key.expect("it carries a key").key;
        world.run(made);
        let refused = world.refused(keyed("admin", &key, 9, other));
        assert_eq!(refused, Rejection::IdempotencyReused);
        assert_eq!(world.events().len(), 1);
    }
    assert_eq!(world.state.tokens.len(), 1);
    assert_eq!(world.state.join_tokens.len(), 1);
}

/// As with every other write: the repetition tells what happened the first time, whatever came afterwards.
#[test]
fn a11_a_repeated_credential_stays_revoked_and_its_key_makes_another_one_later() {
    let mut world = World::begun();
    let first = world.reply(token(5));
    world.run(mutation("admin", Change::RevokeToken { id: [5; 16] }));
    let again = world.reply(token(6));
    assert_eq!(format!("{again:?}"), format!("{first:?}"));
    assert!(world.state.tokens.is_empty());

    world.advance(IDEMPOTENCY_TTL);
    let later = world.run(token(7));
    assert!(matches!(later, Outcome::Created { id, .. } if id == [7; 16]));
    assert_eq!(world.state.tokens.len(), 1);
}

fn token(tag: u8) -> Command {
    keyed("admin", "token-key", 1, create_token(tag))
}

fn create_token(tag: u8) -> Change {
    Change::CreateToken {
        id: [tag; 16],
        secret_hash: [tag; 32],
        client: client("backend"),
        ttl_ms: None,
    }
}

fn join_token(tag: u8) -> Command {
    let create = Change::CreateJoinToken {
        id: [tag; 16],
        hash: [tag; 32],
        uses: 1,
        ttl_ms: 3_600_000,
    };
    keyed("admin", "join-key", 1, create)
}

fn slot(name: &str) -> Command {
    let add = Change::AddSlot {
        slot: name.to_owned(),
        kind: "passphrase".to_owned(),
        blob: b"example-wrapped".to_vec(),
    };
    keyed("admin", "slot-key", 1, add)
}

fn put(id: &str, key: &str, mac: u8) -> Command {
    keyed(id, key, mac, Change::Write(vec![write("app/key", None)]))
}
