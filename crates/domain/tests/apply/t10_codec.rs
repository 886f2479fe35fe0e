//! What nodes tell each other and keep on disk is read back as it was written (C2, rule 3).

use std::sync::Arc;

use jarvis_domain::codec::{decode, encode, try_encode};
use jarvis_domain::command::Change;
use jarvis_domain::outcome::{LogRef, Outcome, Rejection, Reply, Written};
use jarvis_domain::secret::{Deleted, Version};
use jarvis_domain::state::State;

use crate::world::{START, World, client, keyed, name, reload, sealed, word, write};

#[test]
fn a_reply_of_every_kind_survives_the_codec() {
    for outcome in outcomes() {
        let reply = reply(outcome);
        let copy: Reply = decode(&encode(&reply)).expect("a reply that was encoded decodes");
        assert_eq!(format!("{copy:?}"), format!("{reply:?}"));
    }
}

#[test]
fn a_view_never_leaves_the_process() {
    let view = reply(Outcome::View(Box::new(State::empty())));
    assert!(try_encode(&view).is_err());
}

/// A11: the first outcome is still the answer after the state was stored and loaded.
#[test]
fn a11_a_remembered_outcome_survives_a_restart() {
    let mut world = World::begun();
    let command = keyed(
        "admin",
        "key-1",
        1,
        Change::Write(vec![write("app/key", None)]),
    );
    let first = world.reply(command.clone());
    world.state = reload(&world.state);
    let again = world.reply(command);
    assert_eq!(word(&first.outcome), "written");
    assert_eq!(format!("{again:?}"), format!("{first:?}"));
    assert!(world.events().is_empty());
}

fn reply(outcome: Outcome) -> Reply {
    Reply {
        log: LogRef {
            term: 3,
            node: 1,
            index: 300,
        },
        audit_seq: 70_000,
        time: START,
        outcome,
    }
}

/// One of each; the match in [`word`] fails to compile when a variant is new.
fn outcomes() -> Vec<Outcome> {
    let deleted = Deleted {
        at: START,
        until: START + 1,
    };
    let version = Version {
        number: 2,
        kid: "app/key-20261122-030000".to_owned(),
        value: sealed(1, 16, 1),
        created: START,
        expires: START + 9,
        created_by: client("backend"),
        index: 12,
    };
    let written = Written {
        name: name("app/key"),
        kid: version.kid.clone(),
        version: 2,
        expires: START + 9,
        audit_seq: 5,
    };
    let rejections = [
        Rejection::Unauthenticated,
        Rejection::NotAuthorized {
            target: "app/key".to_owned(),
            reason: "no_rule".to_owned(),
        },
        Rejection::NotFound,
        Rejection::Deleted(deleted),
        Rejection::Conflict { actual_version: 4 },
        Rejection::IdempotencyReused,
        Rejection::IdempotencyFull,
        Rejection::StaleEpoch { current: 2 },
        Rejection::Quota { limit: 1_000 },
        Rejection::Invalid {
            reason: "example".to_owned(),
        },
        Rejection::Repeat,
        Rejection::NotReady,
    ];
    let mut outcomes = vec![
        Outcome::Value {
            version: Arc::new(version),
            current: true,
        },
        Outcome::Written(vec![written]),
        Outcome::Deleted(deleted),
        Outcome::Undeleted {
            version: 2,
            kid: "app/key-20261122-030000".to_owned(),
        },
        Outcome::Destroyed(vec![1, 2]),
        Outcome::Policy {
            version: 2,
            changed: true,
        },
        Outcome::Created {
            id: [5; 16],
            expires: Some(START),
        },
        Outcome::Joined { node: 7 },
        Outcome::Done,
        Outcome::SlotAdded {
            slot: "passphrase-1".to_owned(),
        },
    ];
    outcomes.extend(rejections.into_iter().map(Outcome::Rejected));
    outcomes
}
