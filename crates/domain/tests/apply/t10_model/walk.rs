//! Random logs, and the comparison of both sides after each entry.

use std::collections::BTreeSet;

use jarvis_domain::command::{Batch, Change, Command, Idempotency, Mutation, Target, Write};
use jarvis_domain::limits::VaultLimits;
use jarvis_domain::outcome::{Outcome, Rejection, Reply};
use jarvis_domain::policy::{Policy, Verb, VerbSet};
use jarvis_domain::secret::About;
use jarvis_domain::time::DAY;
use jarvis_domain::token::Credential;
use proptest::prelude::*;

use super::model::{
    Answer, Expected, MAX_CIPHERTEXT_BYTES, MAX_VAULT_BYTES, MAX_VERSIONS, Model, Operation, Put,
    UNDELETE_MS, What,
};
use crate::world::{
    FOUNDER, START, World, access_by, caller_with, client, name, policy, policy_of, rule, sealed,
    verbs, word,
};

const NAMES: [&str; 4] = ["app/a", "app/b", "app/root", "db/x"];
const CLIENTS: [&str; 4] = ["admin", "backend", "reader", "stranger"];

/// One entry.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// The stamp, against agreed time; a leader's stamp may also lie behind it.
    advance_ms: i64,
    stepped: bool,
    operations: Vec<Operation>,
    /// The origin proposes the same envelope once more.
    again: bool,
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..40)
}

fn step() -> impl Strategy<Value = Step> {
    let advance_ms = prop_oneof![
        12 => -5_000_i64..3_000,
        4 => 10_000_i64..90_000,
        1 => 500_000_i64..700_000,
        1 => Just(3_600_000_i64),
    ];
    (
        advance_ms,
        prop::bool::weighted(0.03),
        prop::collection::vec(operation(), 1..5),
        prop::bool::weighted(0.15),
    )
        .prop_map(|(advance_ms, stepped, operations, again)| Step {
            advance_ms,
            stepped,
            operations,
            again,
        })
}

fn operation() -> impl Strategy<Value = Operation> {
    let client = prop_oneof![
        5 => Just("admin"),
        3 => Just("backend"),
        2 => Just("reader"),
        1 => Just("stranger"),
    ];
    (
        client,
        prop::option::weighted(0.15, 0_u8..3),
        prop::option::weighted(0.3, (0_u8..4, 0_u8..2)),
        what(),
    )
        .prop_map(|(client, token, key, what)| Operation {
            client,
            token,
            key,
            what,
        })
}

fn what() -> impl Strategy<Value = What> {
    let cas = prop::option::weighted(0.3, 0_u64..5);
    let destroyed = prop::option::of(prop::collection::vec(1_u64..7, 1..3));
    let ttl_ms = prop::option::weighted(0.8, 0_u64..90_000);
    prop_oneof![
        9 => prop::collection::vec(put(), 1..4).prop_map(What::Write),
        3 => (a_name(), cas).prop_map(|(name, cas)| What::Delete { name, cas }),
        2 => a_name().prop_map(|name| What::Undelete { name }),
        2 => (a_name(), destroyed)
            .prop_map(|(name, versions)| What::Destroy { name, versions }),
        6 => (a_name(), prop::option::weighted(0.3, 1_u64..7))
            .prop_map(|(name, version)| What::Read { name, version }),
        1 => a_name().prop_map(|name| What::Versions { name }),
        1 => Just(What::List),
        2 => (0_u8..3, prop::sample::select(CLIENTS.to_vec()), ttl_ms)
            .prop_map(|(token, of, ttl_ms)| What::CreateToken { token, of, ttl_ms }),
        1 => (0_u8..3).prop_map(|token| What::RevokeToken { token }),
        1 => (0_u8..3).prop_map(|which| What::SetPolicy { which }),
    ]
}

fn put() -> impl Strategy<Value = Put> {
    let bytes =
        prop_oneof![19 => 0_u64..=MAX_CIPHERTEXT_BYTES, 1 => Just(MAX_CIPHERTEXT_BYTES + 1)];
    (
        a_name(),
        bytes,
        prop::option::weighted(0.25, 0_u64..5),
        prop::option::weighted(0.3, 0_u64..60),
        prop::bool::weighted(0.05),
    )
        .prop_map(|(name, bytes, cas, text, stale)| Put {
            name,
            bytes,
            cas,
            text,
            stale,
        })
}

fn a_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(NAMES.to_vec())
}

/// Applies the steps to both sides and compares; returns the answers that were reached.
pub(super) fn walk(steps: &[Step]) -> BTreeSet<&'static str> {
    let mut world = World::with(limits());
    let mut model = Model::new(START, 1);
    let (mut reached, mut kids) = (BTreeSet::new(), BTreeSet::new());
    for step in steps {
        let stamp = model.now.saturating_add_signed(step.advance_ms);
        let before = model.seq;
        model.pass_time(stamp, step.stepped);
        let batch = Batch {
            envelope: world.envelope(FOUNDER),
            commands: step.operations.iter().map(command).collect(),
        };
        let applied = world.entry(stamp, step.stepped, &batch);
        assert!(!applied.skipped);
        assert_eq!(applied.replies.len(), step.operations.len());
        for (operation, reply) in step.operations.iter().zip(&applied.replies) {
            let expected = model.perform(operation, world.index);
            let found = found(reply, expected.repeated);
            assert_eq!(found, expected, "{operation:?}");
            if !expected.repeated {
                assert_eq!(reply.time, model.now, "A10: the entry's agreed time");
                check_kids(reply, &mut kids);
            }
            reached.insert(word(&reply.outcome));
        }
        assert_eq!(world.events().len() as u64, model.seq - before, "C3");
        compare(&world, &model);
        if step.again {
            let before = model.seq;
            model.pass_time(stamp, false);
            let repeated = world.entry(stamp, false, &batch);
            assert!(repeated.skipped && repeated.replies.is_empty(), "rule 8");
            assert_eq!(world.events().len() as u64, model.seq - before);
            compare(&world, &model);
        }
    }
    reached.extend(model.happened);
    reached
}

fn compare(world: &World, model: &Model) {
    let state = &world.state;
    assert_eq!(state.core.time, model.now);
    assert_eq!(state.core.trail.seq, model.seq);
    assert_eq!(state.core.vault_bytes, model.bytes());
    let mut live = 0;
    let mut records = 0;
    for text in NAMES {
        let secret = state.secrets.get(&name(text));
        let current = secret.and_then(|secret| secret.current());
        assert_eq!(current, model.current(text), "{text}");
        let description = secret.and_then(|secret| secret.about.description.as_ref());
        let length = description.map_or(0, |description| description.len() as u64);
        let expected = model.secrets.get(text).map_or(0, |secret| secret.text);
        assert_eq!(length, expected, "{text}");
        live += u64::from(current.is_some());
        let versions = model.secrets.get(text).map(|secret| &secret.versions[..]);
        for (number, bytes) in versions.unwrap_or_default() {
            let record = state.versions.get(&(name(text), *number));
            let length = record.map(|version| version.value.ciphertext.len() as u64);
            assert_eq!(length, Some(*bytes), "{text} {number}");
            records += 1;
        }
    }
    assert_eq!(state.versions.len(), records);
    assert_eq!(state.live_secrets(), live);
    let tokens: Vec<u8> = state.tokens.iter().map(|(id, _)| id[0]).collect();
    assert_eq!(tokens, model.tokens.keys().copied().collect::<Vec<_>>());
    let version = state.policy_record().map(|record| record.version);
    assert_eq!(version, Some(model.policy_version));
}

/// A kid begins with the name and is never used twice (A10).
fn check_kids(reply: &Reply, kids: &mut BTreeSet<String>) {
    if let Outcome::Written(written) = &reply.outcome {
        for version in written {
            assert!(version.kid.starts_with(&format!("{}-", version.name)));
            assert!(kids.insert(version.kid.clone()), "{}", version.kid);
        }
    }
}

fn found(reply: &Reply, repeated: bool) -> Expected {
    Expected {
        answer: answer(&reply.outcome),
        index: reply.log.index,
        seq: reply.audit_seq,
        repeated,
    }
}

fn answer(outcome: &Outcome) -> Answer {
    match outcome {
        Outcome::Value { version, current } => Answer::Value {
            version: version.number,
            current: *current,
        },
        Outcome::View(_) => Answer::View,
        Outcome::Written(written) => {
            Answer::Written(written.iter().map(|version| version.version).collect())
        }
        Outcome::Deleted(deleted) => Answer::Deleted {
            until: deleted.until,
        },
        Outcome::Undeleted { version, .. } => Answer::Undeleted(*version),
        Outcome::Destroyed(numbers) => Answer::Destroyed(numbers.clone()),
        Outcome::Policy { version, changed } => Answer::Policy {
            version: *version,
            changed: *changed,
        },
        Outcome::Created { expires, .. } => Answer::Created(*expires),
        Outcome::Done => Answer::Done,
        Outcome::Rejected(Rejection::Unauthenticated) => Answer::Unauthenticated,
        Outcome::Rejected(Rejection::NotAuthorized { .. }) => Answer::NotAuthorized,
        Outcome::Rejected(Rejection::NotFound) => Answer::NotFound,
        Outcome::Rejected(Rejection::Deleted(_)) => Answer::IsDeleted,
        Outcome::Rejected(Rejection::Conflict { actual_version }) => {
            Answer::Conflict(*actual_version)
        }
        Outcome::Rejected(Rejection::IdempotencyReused) => Answer::KeyReused,
        Outcome::Rejected(Rejection::StaleEpoch { .. }) => Answer::StaleEpoch,
        Outcome::Rejected(Rejection::Quota { .. }) => Answer::Quota,
        Outcome::Rejected(Rejection::Invalid { .. }) => Answer::Invalid,
        other => panic!("no client of this walk gets {}", word(other)),
    }
}

fn command(operation: &Operation) -> Command {
    let credential = operation
        .token
        .map_or(Credential::Header, |token| Credential::Token([token; 16]));
    let caller = caller_with(operation.client, credential);
    let change = match &operation.what {
        What::Read {
            name: text,
            version,
        } => {
            let (name, version) = (name(text), *version);
            return access_by(caller, Target::Value { name, version });
        }
        What::Versions { name: text } => {
            return access_by(caller, Target::Versions { name: name(text) });
        }
        What::List => return access_by(caller, Target::List),
        What::Write(puts) => Change::Write(puts.iter().map(write).collect()),
        What::Delete { name: text, cas } => Change::Delete {
            name: name(text),
            cas: *cas,
        },
        What::Undelete { name: text } => Change::Undelete { name: name(text) },
        What::Destroy {
            name: text,
            versions,
        } => Change::Destroy {
            name: name(text),
            versions: versions.clone(),
        },
        What::CreateToken { token, of, ttl_ms } => Change::CreateToken {
            id: [*token; 16],
            secret_hash: [*token; 32],
            client: client(of),
            ttl_ms: *ttl_ms,
        },
        What::RevokeToken { token } => Change::RevokeToken { id: [*token; 16] },
        What::SetPolicy { which } => Change::SetPolicy {
            policy: policy_number(*which),
            source: source_of(*which),
            cas: None,
        },
    };
    let idempotency = operation.key.map(|(key, mac)| Idempotency {
        key: format!("key-{key}"),
        mac: [mac; 32],
    });
    Command::Mutate(Mutation {
        caller,
        idempotency,
        change,
    })
}

fn write(put: &Put) -> Write {
    let length = |bytes: u64| usize::try_from(bytes).expect("a few hundred bytes");
    let bytes = length(put.bytes);
    Write {
        name: name(put.name),
        value: sealed(1, bytes, if put.stale { 0 } else { 1 }),
        cas: put.cas,
        about: About {
            description: put.text.map(|bytes| "d".repeat(length(bytes))),
            ..About::default()
        },
    }
}

/// What the model's `allows`, `names` and `administers` say, as rules.
fn policy_number(which: u8) -> Policy {
    match which {
        0 => policy(),
        1 => policy_of([
            ("admin", vec![rule("*", VerbSet::ALL)], vec![]),
            ("backend", vec![rule("app/?", VerbSet::READ)], vec![]),
        ]),
        _ => policy_of([
            (
                "admin",
                vec![rule("*", VerbSet::ALL)],
                vec![rule("db/*", verbs(&[Verb::Write]))],
            ),
            ("backend", vec![rule("*", VerbSet::ALL)], vec![]),
            (
                "reader",
                vec![rule("db/x", VerbSet::ALL)],
                vec![rule("*", verbs(&[Verb::Delete]))],
            ),
        ]),
    }
}

/// The text of `cluster init`'s policy is "example".
fn source_of(which: u8) -> String {
    if which == 0 {
        "example".to_owned()
    } else {
        format!("policy {which}")
    }
}

fn limits() -> VaultLimits {
    VaultLimits {
        max_vault_bytes: MAX_VAULT_BYTES,
        max_ciphertext_bytes: MAX_CIPHERTEXT_BYTES,
        max_versions: MAX_VERSIONS,
        undelete_ms: UNDELETE_MS,
        rotation_ms: DAY,
    }
}
