//! One client: asks one thing after the other, and records each request once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::api::{Ask, Silence, Told, escaped, secret_path};
use super::{ASK_ANYWAY_PERCENT, World};
use crate::dice::Dice;
use crate::history::{Answer, Item, Kind, Listed, Operation, Outcome, WrittenItem};

const NS_PER_MS: u64 = 1_000_000;
/// A node that refuses connections is back in seconds at the earliest.
const AVOID_AFTER_REFUSAL_MS: u64 = 1_000;
/// A request that a node does not answer costs its client seconds.
const AVOID_AFTER_SILENCE_MS: u64 = 2_000;
/// What stands between the elements of a sequence.
const BETWEEN_ELEMENTS: char = ',';

/// One client.
pub(super) struct Client {
    pub(super) world: Arc<World>,
    pub(super) dice: Dice,
    process: u64,
}

/// How a secret is read.
#[derive(Debug, Clone, Default)]
pub(super) struct Reading<'a> {
    /// Whose token; the administrator's if missing.
    pub(super) token: Option<&'a str>,
    /// The token's name in the history, if it is about the token.
    pub(super) credential: Option<&'a str>,
    /// A stale read: the rule's bound, and what the request asks for.
    pub(super) stale: Option<(u64, Option<u64>)>,
    /// The value is a sequence.
    pub(super) is_sequence: bool,
}

/// What a write asks for beside key and value.
#[derive(Debug, Clone, Default)]
pub(super) struct Writing<'a> {
    /// The version that must be current.
    pub(super) expected: Option<u64>,
    /// The `Idempotency-Key`.
    pub(super) idempotency_key: Option<&'a str>,
    /// Whose token; the administrator's if missing.
    pub(super) token: Option<&'a str>,
}

impl Client {
    pub(super) fn new(world: &Arc<World>) -> Self {
        let process = world.processes.fetch_add(1, Ordering::Relaxed);
        Self {
            world: Arc::clone(world),
            dice: Dice::stream(world.seed, &format!("client {process}")),
            process,
        }
    }

    /// Waits for about that long; whether to go on.
    pub(super) async fn rest(&mut self, period: Duration) -> bool {
        let percent = u32::try_from(self.dice.between(50, 150)).unwrap_or(100);
        let pause = period * percent / 100;
        tokio::select! {
            () = tokio::time::sleep(pause) => !self.world.is_stopping(),
            () = stopped(self.world.stop.subscribe()) => false,
        }
    }

    /// Any node; seldom one that just did not answer.
    pub(super) fn choose(&mut self) -> usize {
        let count = self.world.api.count();
        let now_ns = self.world.journal.now_ns();
        let first = self.dice.place(count);
        for step in 0..count {
            let place = (first + step) % count;
            let is_avoided = self.world.health.is_avoided(place, now_ns);
            if !is_avoided || self.dice.chance(ASK_ANYWAY_PERCENT) {
                return place;
            }
        }
        first
    }

    /// A value that nobody else writes.
    pub(super) fn value(&self) -> String {
        format!("v{}", self.world.journal.number())
    }

    pub(super) async fn read(&self, place: usize, key: &str, reading: &Reading<'_>) -> Operation {
        let mut operation = self.begin(place, Kind::Read, key);
        operation.credential = reading.credential.map(str::to_owned);
        let mut path = secret_path(key);
        if let Some((rule_ms, asked_ms)) = reading.stale {
            operation.max_age_ms = Some(asked_ms.map_or(rule_ms, |asked| asked.min(rule_ms)));
            path.push_str("?consistency=stale");
            if let Some(asked) = asked_ms {
                path.push_str(&format!("&max_age_ms={asked}"));
            }
        }
        let ask = self.signed(Ask::get(path), reading.token);
        self.perform(place, operation, ask, |operation, told| {
            let answer = &mut operation.answer;
            let value = told.body["value"].as_str()?;
            answer.version = Some(told.number_of("version")?);
            answer.index = told.index;
            answer.stale_age_ms = told.body["stale"]["age_ms"].as_u64();
            if reading.is_sequence {
                answer.sequence = Some(elements(value));
            } else {
                answer.value = Some(value.to_owned());
            }
            Some(())
        })
        .await
    }

    pub(super) async fn write(
        &self,
        place: usize,
        key: &str,
        value: &str,
        writing: &Writing<'_>,
    ) -> Operation {
        let kind = match writing.expected {
            Some(_) => Kind::Cas,
            None => Kind::Write,
        };
        let mut operation = self.begin(place, kind, key);
        operation.value = Some(value.to_owned());
        operation.expected = writing.expected;
        operation.idempotency_key = writing.idempotency_key.map(str::to_owned);
        let mut body = json!({"name": key, "value": value});
        if let Some(expected) = writing.expected {
            body["cas"] = expected.into();
        }
        let mut ask = self.signed(Ask::post("/secret", body), writing.token);
        ask.idempotency_key = writing.idempotency_key.map(str::to_owned);
        self.perform(place, operation, ask, written).await
    }

    /// Writes the sequence that was read and one element more.
    pub(super) async fn append(
        &self,
        place: usize,
        key: &str,
        known: &[String],
        element: &str,
        expected: u64,
    ) -> Operation {
        let mut operation = self.begin(place, Kind::Append, key);
        operation.value = Some(element.to_owned());
        operation.expected = Some(expected);
        let mut text = known.join(&BETWEEN_ELEMENTS.to_string());
        if !text.is_empty() {
            text.push(BETWEEN_ELEMENTS);
        }
        text.push_str(element);
        let body = json!({"name": key, "value": text, "cas": expected});
        let ask = self.signed(Ask::post("/secret", body), None);
        self.perform(place, operation, ask, written).await
    }

    pub(super) async fn delete(&self, place: usize, key: &str, expected: u64) -> Operation {
        let mut operation = self.begin(place, Kind::Delete, key);
        operation.expected = Some(expected);
        let path = format!("{}?cas={expected}", secret_path(key));
        let ask = self.signed(Ask::delete(path), None);
        let fill = |operation: &mut Operation, told: &Told| {
            operation.answer.log_id = Some(told.text_of("log_id").to_owned());
            operation.answer.audit_seq = told.number_of("audit_seq");
            Some(())
        };
        self.perform(place, operation, ask, fill).await
    }

    pub(super) async fn batch(&self, place: usize, writes: Vec<Item>) -> Operation {
        let mut operation = self.begin(place, Kind::Batch, "");
        let bodies: Vec<Value> = writes
            .iter()
            .map(|item| {
                let mut body = json!({"name": item.key, "value": item.value});
                if let Some(expected) = item.expected {
                    body["cas"] = expected.into();
                }
                body
            })
            .collect();
        operation.writes = writes;
        let ask = Ask::post("/secrets/batch", json!({"writes": bodies}));
        let ask = self.signed(ask, None);
        let fill = |operation: &mut Operation, told: &Told| {
            let results = told.body["results"].as_array()?;
            for result in results {
                operation.answer.items.push(WrittenItem {
                    key: result["name"].as_str()?.to_owned(),
                    version: result["version"].as_u64()?,
                    audit_seq: result["audit_seq"].as_u64(),
                });
            }
            let log_id = results.first()?["log_id"].as_str()?;
            operation.answer.log_id = Some(log_id.to_owned());
            Some(())
        };
        self.perform(place, operation, ask, fill).await
    }

    /// Lists the names that begin with `prefix`; they fit on one page.
    pub(super) async fn list(&self, place: usize, prefix: &str, token: Option<&str>) -> Operation {
        let operation = self.begin(place, Kind::List, prefix);
        let path = format!("/secrets?prefix={}", escaped(prefix));
        let ask = self.signed(Ask::get(path), token);
        let fill = |operation: &mut Operation, told: &Told| {
            let mut listed = Vec::new();
            for secret in told.body["secrets"].as_array()? {
                listed.push(Listed {
                    key: secret["name"].as_str()?.to_owned(),
                    version: secret["version"].as_u64(),
                });
            }
            operation.answer.listed = Some(listed);
            operation.answer.index = told.index;
            told.body["next"].is_null().then_some(())
        };
        self.perform(place, operation, ask, fill).await
    }

    /// Makes a token, which the history calls `label`; its id and its text.
    pub(super) async fn grant(
        &self,
        place: usize,
        label: &str,
    ) -> (Operation, Option<(String, String)>) {
        let mut operation = self.begin(place, Kind::Grant, "");
        operation.credential = Some(label.to_owned());
        let client = &self.world.credentials.client;
        let body = json!({"client": client, "ttl_secs": 3_600});
        let ask = self.signed(Ask::post("/tokens", body), None);
        let mut made = None;
        let operation = self
            .perform(place, operation, ask, |_, told| {
                let id = told.body["id"].as_str()?;
                let token = told.body["token"].as_str()?;
                made = Some((id.to_owned(), token.to_owned()));
                Some(())
            })
            .await;
        (operation, made)
    }

    pub(super) async fn revoke(&self, place: usize, label: &str, id: &str) -> Operation {
        let mut operation = self.begin(place, Kind::Revoke, "");
        operation.credential = Some(label.to_owned());
        let ask = self.signed(Ask::delete(format!("/tokens/{id}")), None);
        self.perform(place, operation, ask, |_, _| Some(())).await
    }

    /// Puts a policy in force that grants, or takes away, what the history calls `label`.
    pub(super) async fn set_policy(
        &self,
        place: usize,
        kind: Kind,
        label: &str,
        policy: &str,
    ) -> Operation {
        let mut operation = self.begin(place, kind, "");
        operation.credential = Some(label.to_owned());
        let ask = self.signed(Ask::put("/policy", json!({"policy": policy})), None);
        self.perform(place, operation, ask, |_, _| Some(())).await
    }

    fn begin(&self, place: usize, kind: Kind, key: &str) -> Operation {
        let world = &self.world;
        let node = world.api.id(place);
        world.journal.begin_operation(self.process, node, kind, key)
    }

    fn signed(&self, ask: Ask, token: Option<&str>) -> Ask {
        ask.token(token.unwrap_or(&self.world.credentials.admin))
    }

    /// Sends the request once. `fill` takes what the answer carried; `None`: it is not the answer of the contract.
    async fn perform(
        &self,
        place: usize,
        mut operation: Operation,
        mut ask: Ask,
        fill: impl FnOnce(&mut Operation, &Told) -> Option<()>,
    ) -> Operation {
        let journal = &self.world.journal;
        ask.request_id = Some(journal.request_id(&operation));
        operation.start_ns = journal.now_ns();
        let told = self.world.api.send(place, &ask).await;
        let now_ns = journal.now_ns();
        operation.end_ns = Some(now_ns);
        match told {
            Ok(told) if told.is_done() => {
                operation.outcome = Outcome::Ok;
                if fill(&mut operation, &told).is_none() {
                    operation.outcome = Outcome::Info;
                    operation.error = Some("garbled".to_owned());
                    operation.answer = Answer::default();
                }
            }
            Ok(told) => refused(&mut operation, &told),
            Err(silence) => {
                operation.error = Some(silence.word().to_owned());
                operation.outcome = match silence {
                    Silence::Connect => Outcome::Fail,
                    Silence::Timeout | Silence::Reset => Outcome::Info,
                };
            }
        }
        let avoid_ms = match operation.error.as_deref() {
            Some("connect" | "no_leader" | "sealed") => AVOID_AFTER_REFUSAL_MS,
            Some("timeout") => AVOID_AFTER_SILENCE_MS,
            _ => 0,
        };
        if avoid_ms > 0 {
            let until_ns = now_ns + avoid_ms * NS_PER_MS;
            self.world.health.avoid(place, until_ns);
        }
        journal.operation(operation.clone());
        operation
    }
}

/// What a written secret's answer carries.
fn written(operation: &mut Operation, told: &Told) -> Option<()> {
    operation.answer.version = Some(told.number_of("version")?);
    operation.answer.log_id = Some(told.body["log_id"].as_str()?.to_owned());
    operation.answer.audit_seq = Some(told.number_of("audit_seq")?);
    Some(())
}

/// An error's answer: `unknown_outcome` and `internal` leave open what happened, all others speak of this attempt.
fn refused(operation: &mut Operation, told: &Told) {
    let code = told.code();
    operation.outcome = match code {
        "" | "unknown_outcome" | "internal" => Outcome::Info,
        _ => Outcome::Fail,
    };
    operation.error = Some(match code {
        "" => format!("http_{}", told.status),
        code => code.to_owned(),
    });
    operation.answer.actual_version = told.number_of("actual_version");
}

/// A sequence as it is stored.
fn elements(value: &str) -> Vec<String> {
    let elements = value.split(BETWEEN_ELEMENTS);
    let elements = elements.filter(|element| !element.is_empty());
    elements.map(str::to_owned).collect()
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // The world holds the sender, and whoever waits holds the world.
    let _stopped = stop.wait_for(|stop| *stop).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, body: Value) -> Told {
        Told {
            status,
            body,
            ..Told::default()
        }
    }

    #[test]
    fn errors_say_whether_something_may_have_happened() {
        let outcome = |told: &Told| {
            let mut operation = Operation::default();
            refused(&mut operation, told);
            (operation.outcome, operation.error.unwrap())
        };
        let conflict = told(409, json!({"error": "conflict", "actual_version": 3}));
        assert_eq!(outcome(&conflict), (Outcome::Fail, "conflict".to_owned()));
        for code in ["unknown_outcome", "internal"] {
            let (outcome, _) = outcome(&told(504, json!({"error": code})));
            assert_eq!(outcome, Outcome::Info);
        }
        let page = told(502, Value::Null);
        assert_eq!(outcome(&page), (Outcome::Info, "http_502".to_owned()));
        let mut operation = Operation::default();
        refused(&mut operation, &conflict);
        assert_eq!(operation.answer.actual_version, Some(3));
    }

    #[test]
    fn a_sequence_reads_back_and_a_part_of_an_answer_is_none() {
        assert_eq!(elements("a,b,c"), ["a", "b", "c"]);
        assert!(elements("").is_empty());
        let mut operation = Operation::default();
        let part = told(200, json!({"version": 1, "log_id": "1-1-1"}));
        assert!(written(&mut operation, &part).is_none());
    }
}
