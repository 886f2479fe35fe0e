//! A compare-and-set register per secret: reads on any node, writes, compare-and-sets, deletions.

use std::collections::BTreeMap;
use std::time::Duration;

use super::client::{Client, Reading, Writing};
use super::stretch;
use crate::history::{Kind, Operation, Outcome};

/// After so many seconds the clients go on to new keys: some hundred operations are a key's life.
const STRETCH_S: u64 = 20;
/// Few, so that clients meet on them.
const KEYS: u64 = 4;
/// This one is deleted now and then; an order of deletions is searched for more slowly.
const KEY_WITH_DELETIONS: u64 = 3;
/// Writes that are sent twice under one idempotency key. The server keeps a thousand keys of a client for ten minutes,
/// so this has to stay below one a second.
const REPEATED_PERCENT: u64 = 2;

/// What a key's version was when this client heard of it last.
type Versions = BTreeMap<String, u64>;

pub(super) async fn run(mut client: Client, period: Duration) {
    let mut versions = Versions::new();
    while client.rest(period).await {
        turn(&mut client, &mut versions).await;
    }
}

async fn turn(client: &mut Client, versions: &mut Versions) {
    let stretch = stretch(client.world.journal.now_ns(), STRETCH_S);
    let number = client.dice.below(KEYS);
    let key = format!("{}/register/{stretch}-{number}", client.world.root);
    let known = versions.get(&key).copied();
    let place = client.choose();
    let operation = match (client.dice.below(100), known) {
        (0..45, _) => client.read(place, &key, &Reading::default()).await,
        (45..65, _) => write(client, place, &key, None).await,
        (95.., Some(version)) if number == KEY_WITH_DELETIONS && version > 0 => {
            client.delete(place, &key, version).await
        }
        // Nothing is known of a key that was not heard of: perhaps it is not there.
        (_, known) => write(client, place, &key, Some(known.unwrap_or(0))).await,
    };
    if let Some(version) = seen(&operation) {
        versions.insert(key, version);
    }
}

async fn write(client: &mut Client, place: usize, key: &str, expected: Option<u64>) -> Operation {
    let value = client.value();
    if !client.dice.chance(REPEATED_PERCENT) {
        let writing = Writing {
            expected,
            ..Writing::default()
        };
        return client.write(place, key, &value, &writing).await;
    }
    let idempotency_key = format!("{}-{value}", client.world.root);
    let writing = Writing {
        expected,
        idempotency_key: Some(&idempotency_key),
        ..Writing::default()
    };
    let first = client.write(place, key, &value, &writing).await;
    let elsewhere = client.choose();
    let second = client.write(elsewhere, key, &value, &writing).await;
    if first.outcome == Outcome::Info {
        second
    } else {
        first
    }
}

/// The version that was current when this was decided; 0: there was nothing.
fn seen(operation: &Operation) -> Option<u64> {
    if operation.failed_with("not_found") || (operation.kind == Kind::Delete && operation.is_ok()) {
        return Some(0);
    }
    operation.answer.version.or(operation.answer.actual_version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_knows_what_it_was_told_last() {
        let mut operation = Operation {
            kind: Kind::Cas,
            outcome: Outcome::Fail,
            error: Some("conflict".to_owned()),
            ..Operation::default()
        };
        operation.answer.actual_version = Some(4);
        assert_eq!(seen(&operation), Some(4));
        operation.error = Some("not_found".to_owned());
        assert_eq!(seen(&operation), Some(0));
        let unknown = Operation::default();
        assert_eq!(seen(&unknown), None);
    }
}
