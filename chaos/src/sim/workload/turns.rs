//! The turns: what belongs together, done by one client.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::asker::{Answered, Asker, Question, Whose, path_of};
use super::{Memory, Work, operation};
use crate::history::{Item, Kind, Operation};
use crate::sim::founding::{POLICY, POLICY_WITHOUT};

/// Keys of the registers: few, so that clients meet.
pub(super) const REGISTERS: [&str; 3] = ["reg/0", "reg/1", "reg/2"];
/// Keys that are deleted now and then.
pub(super) const DELETED: [&str; 2] = ["del/0", "del/1"];
/// The sequence.
pub(super) const SEQUENCE: &str = "app/log";
/// Accounts whose sum stays.
pub(super) const ACCOUNTS: [&str; 3] = ["acc/0", "acc/1", "acc/2"];
/// What each account begins with.
const OPENING: i64 = 100;
/// Keys that are written twice by one request.
pub(super) const REPEATED: [&str; 2] = ["idem/0", "idem/1"];
/// The names of the set begin like this.
pub(super) const SET: &str = "set/";
/// What `fickle` has, and has not, and on which key.
const FICKLE: &str = "permission:fickle:reg/0";
const FICKLE_KEY: &str = "reg/0";
/// Longest age that a stale read allows, ms; the rule allows the greatest of them.
const AGES_MS: [u64; 3] = [600, 5_000, 30_000];
/// Most key epochs of a run.
const MAX_EPOCHS: u64 = 5;
/// A repeated request follows within so many ms.
const REPEAT_WITHIN_MS: u64 = 60;

/// One turn.
pub(super) async fn turn(work: Work, asker: &mut Asker, memory: &mut Memory) {
    match work {
        Work::Register => register(asker, memory).await,
        Work::Deletes => deletes(asker, memory).await,
        Work::Set => set(asker).await,
        Work::Append => append(asker).await,
        Work::Batch => batch(asker).await,
        Work::Denials => denials(asker).await,
        Work::Revocation => revocation(asker).await,
        Work::Policy => policy(asker, memory).await,
        Work::Stale => stale(asker).await,
        Work::Repeats => repeats(asker).await,
        Work::Epochs => epochs(asker, memory).await,
    }
}

fn pick<T: Copy>(asker: &mut Asker, items: &[T]) -> T {
    items[asker.dice.place(items.len())]
}

/// The version after an operation, if it said.
fn note(memory: &mut Memory, answered: &Answered) {
    let answer = &answered.told.answer;
    let version = answer.version.or(answer.actual_version);
    if let Some(version) = version {
        memory.seen.insert(answered.operation.key.clone(), version);
    } else if answered.failed_with("not_found") {
        memory.seen.insert(answered.operation.key.clone(), 0);
    }
}

async fn register(asker: &mut Asker, memory: &mut Memory) {
    let key = pick(asker, &REGISTERS);
    let place = asker.any_place();
    let roll = asker.dice.below(10);
    if roll < 4 {
        let read = asker.ask(place, Question::read(key)).await;
        return note(memory, &read);
    }
    let expected = (roll >= 6).then(|| memory.seen.get(key).copied().unwrap_or(0));
    let written = asker
        .ask_as(place, |id| Question::write(key, format!("v{id}"), expected))
        .await;
    note(memory, &written);
    // Somebody else sees it at once.
    if written.is_ok() && asker.dice.chance(50) {
        let other = asker.other_place(place);
        let read = asker.ask(other, Question::read(key)).await;
        note(memory, &read);
    }
}

async fn deletes(asker: &mut Asker, memory: &mut Memory) {
    let key = pick(asker, &DELETED);
    let place = asker.any_place();
    let seen = memory.seen.get(key).copied().unwrap_or(0);
    let answered = match asker.dice.below(4) {
        0 => asker.ask(place, Question::read(key)).await,
        1 if seen > 0 => {
            let question = Question {
                operation: Operation {
                    expected: Some(seen),
                    ..operation(Kind::Delete, key)
                },
                method: "DELETE",
                path: format!("{}?cas={seen}", path_of(key)),
                ..Question::read(key)
            };
            let deleted = asker.ask(place, question).await;
            if deleted.is_ok() {
                memory.seen.remove(key);
            }
            deleted
        }
        _ => {
            let expected = asker.dice.chance(50).then_some(seen);
            asker
                .ask_as(place, |id| Question::write(key, format!("v{id}"), expected))
                .await
        }
    };
    note(memory, &answered);
}

async fn set(asker: &mut Asker) {
    let place = asker.any_place();
    if asker.dice.chance(25) {
        asker.ask(place, Question::list(SET)).await;
        return;
    }
    asker
        .ask_as(place, |id| {
            Question::write(&format!("{SET}{id}"), format!("v{id}"), None)
        })
        .await;
}

async fn append(asker: &mut Asker) {
    let place = asker.any_place();
    let read = asker.ask(place, Question::read(SEQUENCE)).await;
    let (mut all, expected) = if read.failed_with("not_found") {
        (Vec::new(), 0)
    } else if let (Some(all), Some(version)) = (read.told.answer.sequence, read.told.answer.version)
    {
        (all, version)
    } else {
        return;
    };
    let place = asker.any_place();
    asker
        .ask_as(place, |id| {
            let element = format!("e{id}");
            all.push(element.clone());
            let value = json!(all).to_string();
            let question = Question::write(SEQUENCE, value, Some(expected));
            Question {
                operation: Operation {
                    value: Some(element),
                    expected: Some(expected),
                    ..operation(Kind::Append, SEQUENCE)
                },
                ..question
            }
        })
        .await;
}

async fn batch(asker: &mut Asker) {
    let place = asker.any_place();
    if asker.dice.chance(30) {
        asker.ask(place, Question::list("acc/")).await;
        return;
    }
    let from = asker.dice.place(ACCOUNTS.len());
    let to = (from + 1 + asker.dice.place(ACCOUNTS.len() - 1)) % ACCOUNTS.len();
    let mut balances = Vec::new();
    for account in [from, to] {
        let key = ACCOUNTS[account];
        let read = asker.ask(place, Question::read(key)).await;
        if read.failed_with("not_found") {
            return open_accounts(asker).await;
        }
        let answer = &read.told.answer;
        let amount = answer.value.as_deref().and_then(amount_of);
        let (Some(amount), Some(version)) = (amount, answer.version) else {
            return;
        };
        balances.push((key, amount, version));
    }
    let [(from, has, from_version), (to, gets, to_version)] = balances[..] else {
        return;
    };
    let moved = i64::try_from(asker.dice.between(1, 20)).unwrap_or(1);
    let place = asker.any_place();
    let writes = [
        (from, has - moved, Some(from_version)),
        (to, gets + moved, Some(to_version)),
    ];
    asker.ask_as(place, |id| transfer(id, &writes)).await;
}

/// All accounts at once, unless somebody was quicker.
async fn open_accounts(asker: &mut Asker) {
    let place = asker.any_place();
    let writes = ACCOUNTS.map(|account| (account, OPENING, Some(0)));
    asker.ask_as(place, |id| transfer(id, &writes)).await;
}

fn transfer(id: u64, writes: &[(&str, i64, Option<u64>)]) -> Question {
    let items = writes.iter().enumerate();
    let items: Vec<Item> = items
        .map(|(number, (key, amount, expected))| Item {
            key: (*key).to_owned(),
            value: format!("{amount}:{id}:{number}"),
            amount: Some(*amount),
            expected: *expected,
        })
        .collect();
    let bodies: Vec<Value> = items
        .iter()
        .map(|item| json!({"name": item.key, "value": item.value, "cas": item.expected}))
        .collect();
    Question {
        operation: Operation {
            writes: items,
            ..operation(Kind::Batch, String::new())
        },
        ..Question::post("", "/secrets/batch", json!({ "writes": bodies }))
    }
}

fn amount_of(value: &str) -> Option<i64> {
    value.split(':').next()?.parse().ok()
}

async fn denials(asker: &mut Asker) {
    let place = asker.any_place();
    let key = pick(asker, &REGISTERS);
    let does_read = asker.dice.chance(60);
    asker
        .ask_as(place, |id| {
            let question = if does_read {
                Question::read(key)
            } else {
                Question::write(key, format!("v{id}"), None)
            };
            question.by(Whose::Mallory)
        })
        .await;
}

async fn revocation(asker: &mut Asker) {
    let place = asker.any_place();
    let granted = asker
        .ask_as(place, |id| Question {
            operation: Operation {
                credential: Some(format!("token-{id}")),
                ..operation(Kind::Grant, "tokens")
            },
            ..Question::post("", "/tokens", json!({"client": "guest"}))
        })
        .await;
    let text = |name: &str| granted.body.get(name).and_then(Value::as_str);
    let (true, Some(token), Some(id)) = (granted.is_ok(), text("token"), text("id")) else {
        return;
    };
    let credential = granted.operation.credential.clone().unwrap_or_default();
    let whose = Whose::Text(token.to_owned());
    // At once, elsewhere: a node that lags must look it up before it says no.
    for _ in 0..2 {
        use_it(asker, place, &whose, (credential.as_str(), REGISTERS[0])).await;
    }
    let place = asker.any_place();
    let question = Question {
        operation: Operation {
            credential: Some(credential.clone()),
            ..operation(Kind::Revoke, "tokens")
        },
        method: "DELETE",
        path: format!("/tokens/{id}"),
        ..Question::read("tokens")
    };
    asker.ask(place, question).await;
    for key in REGISTERS {
        use_it(asker, place, &whose, (credential.as_str(), key)).await;
    }
}

/// Reads a key by this credential, at another node than that one.
async fn use_it(asker: &mut Asker, place: usize, whose: &Whose, (credential, key): (&str, &str)) {
    let other = asker.other_place(place);
    let question = Question::read(key).by(whose.clone()).with(credential);
    asker.ask(other, question).await;
}

async fn policy(asker: &mut Asker, memory: &mut Memory) {
    let place = asker.any_place();
    let (kind, text) = if memory.has_taken_rule {
        (Kind::Grant, POLICY)
    } else {
        (Kind::Revoke, POLICY_WITHOUT)
    };
    let used = (FICKLE, FICKLE_KEY);
    use_it(asker, place, &Whose::Fickle, used).await;
    let question = Question {
        operation: Operation {
            credential: Some(FICKLE.to_owned()),
            ..operation(kind, "policy")
        },
        method: "PUT",
        ..Question::post("", "/policy", json!({ "policy": text }))
    };
    let changed = asker.ask(place, question).await;
    // What is not known to have failed may have happened: the other way is the next thing to do.
    if changed.told.outcome != crate::history::Outcome::Fail {
        memory.has_taken_rule = !memory.has_taken_rule;
    }
    for _ in 0..3 {
        use_it(asker, place, &Whose::Fickle, used).await;
    }
}

async fn stale(asker: &mut Asker) {
    let key = pick(asker, &REGISTERS);
    let place = asker.any_place();
    let max_age_ms = pick(asker, &AGES_MS);
    asker
        .ask(place, Question::read_stale(key, max_age_ms))
        .await;
}

/// Somebody writes where there is a majority, and looks at the follower that hears a deposed leader.
pub(super) async fn watch(asker: &mut Asker, follower: usize, leader: usize) {
    let key = pick(asker, &REGISTERS);
    let mut place = asker.any_place();
    while place == follower || place == leader {
        place = asker.any_place();
    }
    asker
        .ask_as(place, |id| Question::write(key, format!("v{id}"), None))
        .await;
    let [.., oldest] = AGES_MS;
    asker.ask(follower, Question::read_stale(key, oldest)).await;
}

async fn repeats(asker: &mut Asker) {
    let key = pick(asker, &REPEATED);
    let mut place = asker.any_place();
    let mut first: Option<(String, String)> = None;
    for _ in 0..asker.dice.between(2, 3) {
        let known = first.clone();
        let answered = asker
            .ask_as(place, |id| {
                let (value, idempotency_key) =
                    known.unwrap_or_else(|| (format!("v{id}"), format!("i{id}")));
                let mut question = Question::write(key, value, None);
                question.operation.idempotency_key = Some(idempotency_key);
                question
            })
            .await;
        let Operation {
            value,
            idempotency_key,
            ..
        } = answered.operation;
        first = value.zip(idempotency_key);
        place = asker.other_place(place);
        let pause = asker.dice.below(REPEAT_WITHIN_MS);
        sleep(Duration::from_millis(pause)).await;
    }
}

/// Rounds of re-encryption leave many events of one request: they are no part of the history.
async fn epochs(asker: &mut Asker, memory: &mut Memory) {
    if memory.epochs >= MAX_EPOCHS {
        return;
    }
    let place = asker.any_place();
    let rotated = asker
        .ask_aside(place, ("POST", "/sys/epochs/rotate"), None)
        .await;
    if rotated.is_some() {
        memory.epochs += 1;
        asker.cluster.count_epoch();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_keeps_the_sum_and_says_what_it_expects() {
        let writes = [("acc/0", 90, Some(4)), ("acc/1", 110, Some(7))];
        let question = transfer(12, &writes);
        let items = &question.operation.writes;
        assert_eq!(
            items.iter().filter_map(|item| item.amount).sum::<i64>(),
            200
        );
        assert_eq!(items[1].value, "110:12:1");
        assert_eq!(amount_of(&items[1].value), Some(110));
        let body = question.body.unwrap();
        assert_eq!(body["writes"][0]["cas"], 4);
        assert_eq!(body["writes"][1]["name"], "acc/1");
    }

    #[test]
    fn the_two_policies_differ_in_one_client_only() {
        let lines = |text: &'static str| text.lines().collect::<Vec<_>>();
        let (with, without) = (lines(POLICY), lines(POLICY_WITHOUT));
        let gone: Vec<&&str> = with.iter().filter(|line| !without.contains(line)).collect();
        assert_eq!(gone, [&"  fickle:"]);
    }
}
