//! One client: asks a node, and has it written down.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::operation;
use crate::dice::Dice;
use crate::history::{Answer, Kind, Listed, Operation, Outcome, WrittenItem};
use crate::sim::cluster::{CLIENTS, Cluster};
use crate::sim::http::{self, Lost, Request, Response};
use crate::sim::network::SimNet;
use crate::sim::recorder::{Told, request_prefix};

/// A client gives up after this time; a node answers within its own deadline of 2 s.
const PATIENCE: Duration = Duration::from_millis(2_600);

/// A client with its dice.
pub(super) struct Asker {
    pub(super) cluster: Arc<Cluster>,
    pub(super) process: u64,
    pub(super) dice: Dice,
    net: SimNet,
    /// Numbers requests that are not part of the history.
    aside: u64,
}

/// Whose token a request carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Whose {
    Admin,
    Ha,
    Mallory,
    Fickle,
    /// This one.
    Text(String),
}

/// What is asked, and how it stands in the history.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) operation: Operation,
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) body: Option<Value>,
    pub(super) whose: Whose,
}

/// What came of it.
#[derive(Debug, Clone)]
pub(super) struct Answered {
    pub(super) operation: Operation,
    pub(super) told: Told,
    /// The answer's body, for what no history holds.
    pub(super) body: Value,
}

impl Answered {
    pub(super) fn is_ok(&self) -> bool {
        self.told.outcome == Outcome::Ok
    }

    pub(super) fn failed_with(&self, code: &str) -> bool {
        self.told.outcome == Outcome::Fail && self.told.error.as_deref() == Some(code)
    }
}

impl Question {
    /// A request of the administrator that is none of the workload's own.
    pub(super) fn post(key: &str, path: &str, body: Value) -> Self {
        Self {
            operation: operation(Kind::Other, key),
            method: "POST",
            path: path.to_owned(),
            body: Some(body),
            whose: Whose::Admin,
        }
    }

    /// A read of the current version.
    pub(super) fn read(key: &str) -> Self {
        Self {
            operation: operation(Kind::Read, key),
            method: "GET",
            path: path_of(key),
            body: None,
            whose: Whose::Admin,
        }
    }

    /// A read that may be answered without a majority.
    pub(super) fn read_stale(key: &str, max_age_ms: u64) -> Self {
        let path = format!("{}?consistency=stale&max_age_ms={max_age_ms}", path_of(key));
        let operation = Operation {
            max_age_ms: Some(max_age_ms),
            ..operation(Kind::Read, key)
        };
        Self {
            operation,
            path,
            whose: Whose::Ha,
            ..Self::read(key)
        }
    }

    /// A list of the names with that prefix.
    pub(super) fn list(prefix: &str) -> Self {
        Self {
            operation: operation(Kind::List, prefix),
            path: format!("/secrets?prefix={prefix}"),
            ..Self::read(prefix)
        }
    }

    /// A write of this value; over this version, if one is expected.
    pub(super) fn write(key: &str, value: String, expected: Option<u64>) -> Self {
        let kind = if expected.is_some() {
            Kind::Cas
        } else {
            Kind::Write
        };
        let mut body = json!({"name": key, "value": value});
        if let Some(expected) = expected {
            body["cas"] = json!(expected);
        }
        Self {
            operation: Operation {
                value: Some(value),
                expected,
                ..operation(kind, key)
            },
            method: "POST",
            path: "/secret".to_owned(),
            body: Some(body),
            whose: Whose::Admin,
        }
    }

    /// The same in somebody else's name.
    pub(super) fn by(mut self, whose: Whose) -> Self {
        self.whose = whose;
        self
    }

    /// The same with what it says about a credential.
    pub(super) fn with(mut self, credential: &str) -> Self {
        self.operation.credential = Some(credential.to_owned());
        self
    }
}

impl Asker {
    pub(super) fn new(cluster: Arc<Cluster>, process: u64, dice: Dice) -> Self {
        let net = SimNet {
            host: CLIENTS,
            wires: Arc::clone(&cluster.wires),
        };
        Self {
            cluster,
            process,
            dice,
            net,
            aside: 0,
        }
    }

    /// Any machine.
    pub(super) fn any_place(&mut self) -> usize {
        self.dice.place(self.cluster.machines.len())
    }

    /// Any other machine.
    pub(super) fn other_place(&mut self, place: usize) -> usize {
        let machines = self.cluster.machines.len();
        let further = 1 + self.dice.place(machines.saturating_sub(1));
        (place + further) % machines.max(1)
    }

    /// Asks a machine's node.
    pub(super) async fn ask(&self, place: usize, question: Question) -> Answered {
        self.ask_as(place, |_| question).await
    }

    /// The same, where the question depends on the operation's number.
    pub(super) async fn ask_as(
        &self,
        place: usize,
        question: impl FnOnce(u64) -> Question,
    ) -> Answered {
        let cluster = Arc::clone(&self.cluster);
        let machine = &cluster.machines[place];
        let (process, node) = (self.process, machine.id().unwrap_or(0));
        let (operation, question) = cluster.recorder.begin(|id| {
            let question = question(id);
            let operation = Operation {
                process,
                node,
                ..question.operation.clone()
            };
            (operation, question)
        });
        let request = Request {
            method: question.method,
            path: question.path,
            token: self.token(&question.whose),
            request_id: format!("{}{}", request_prefix(cluster.plan.seed), operation.id),
            idempotency_key: operation.idempotency_key.clone(),
            body: question.body,
        };
        let answered = http::ask(&self.net, machine.host, &request, PATIENCE).await;
        let (told, body) = interpret(&operation, answered);
        cluster.recorder.end(operation.id, told.clone());
        Answered {
            operation,
            told,
            body,
        }
    }

    /// Asks for something that is not part of the history; the answer's body if it was done.
    pub(super) async fn ask_aside(
        &mut self,
        place: usize,
        (method, path): (&'static str, &str),
        body: Option<Value>,
    ) -> Option<Value> {
        self.aside += 1;
        let request = Request {
            method,
            path: path.to_owned(),
            token: self.token(&Whose::Admin),
            request_id: format!("aside-{}-{}", self.process, self.aside),
            idempotency_key: None,
            body,
        };
        let host = self.cluster.machines[place].host;
        let response = http::ask(&self.net, host, &request, PATIENCE).await.ok()?;
        (response.status == 200).then_some(response.body)
    }

    /// A token for that client.
    pub(super) async fn make_token(&mut self, place: usize, client: &str) -> Option<String> {
        let body = json!({"client": client});
        let answer = self
            .ask_aside(place, ("POST", "/tokens"), Some(body))
            .await?;
        Some(answer.get("token")?.as_str()?.to_owned())
    }

    fn token(&self, whose: &Whose) -> String {
        let tokens = self.cluster.tokens().unwrap_or_default();
        match whose {
            Whose::Admin => self.cluster.founded.admin.clone(),
            Whose::Ha => tokens.ha,
            Whose::Mallory => tokens.mallory,
            Whose::Fickle => tokens.fickle,
            Whose::Text(text) => text.clone(),
        }
    }
}

/// The path of a secret; a `/` in its name travels escaped.
pub(super) fn path_of(key: &str) -> String {
    format!("/secret/{}", key.replace('/', "%2F"))
}

/// What an answer, or none, means for the operation.
fn interpret(operation: &Operation, answered: Result<Response, Lost>) -> (Told, Value) {
    let response = match answered {
        Ok(response) => response,
        Err(lost) => {
            let outcome = if lost == Lost::Connect {
                Outcome::Fail
            } else {
                Outcome::Info
            };
            let told = Told {
                outcome,
                error: Some(lost.word().to_owned()),
                answer: Answer::default(),
            };
            return (told, Value::Null);
        }
    };
    let told = if response.status == 200 {
        success(operation, &response)
    } else {
        refusal(&response)
    };
    (told, response.body)
}

fn refusal(response: &Response) -> Told {
    let body = &response.body;
    let code = body
        .get("error")
        .and_then(Value::as_str)
        .unwrap_or_default();
    // A fault of the server says nothing about what it did before.
    let is_definite = !matches!(code, "unknown_outcome" | "internal" | "");
    Told {
        outcome: if is_definite {
            Outcome::Fail
        } else {
            Outcome::Info
        },
        error: Some(if code.is_empty() {
            format!("status {}", response.status)
        } else {
            code.to_owned()
        }),
        answer: Answer {
            actual_version: body.get("actual_version").and_then(Value::as_u64),
            ..Answer::default()
        },
    }
}

fn success(operation: &Operation, response: &Response) -> Told {
    let body = &response.body;
    let number = |name: &str| body.get(name).and_then(Value::as_u64);
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    let mut answer = Answer {
        version: number("version"),
        log_id: text("log_id"),
        audit_seq: number("audit_seq"),
        index: response.index,
        ..Answer::default()
    };
    let is_whole = match operation.kind {
        Kind::Read => {
            let value = text("value");
            let stale = body.get("stale").and_then(|stale| stale.get("age_ms"));
            answer.stale_age_ms = stale.and_then(Value::as_u64);
            if is_sequence(&operation.key) {
                let all = value.as_deref().map(serde_json::from_str::<Vec<String>>);
                answer.sequence = all.and_then(Result::ok);
                answer.sequence.is_some()
            } else {
                answer.value = value;
                answer.value.is_some()
            }
        }
        Kind::List => {
            answer.listed = listed(operation, body);
            answer.listed.is_some()
        }
        Kind::Batch => {
            answer.items = items(body);
            // One entry holds all of them.
            answer.log_id = body
                .pointer("/results/0/log_id")
                .and_then(Value::as_str)
                .map(str::to_owned);
            answer.items.len() == operation.writes.len()
        }
        Kind::Write | Kind::Cas | Kind::Append => answer.version.is_some(),
        _ => {
            answer.version = None;
            true
        }
    };
    if is_whole {
        Told {
            outcome: Outcome::Ok,
            error: None,
            answer,
        }
    } else {
        Told {
            outcome: Outcome::Info,
            error: Some("incomplete".to_owned()),
            answer: Answer::default(),
        }
    }
}

/// Values of such keys are lists of elements.
fn is_sequence(key: &str) -> bool {
    key.starts_with("app/")
}

fn listed(operation: &Operation, body: &Value) -> Option<Vec<Listed>> {
    let names = body.get("secrets")?.as_array()?;
    // A list of new names is about the names; a list of accounts is a picture of their versions.
    let has_versions = operation.key != "set/";
    let names = names.iter().map(|name| {
        Some(Listed {
            key: name.get("name")?.as_str()?.to_owned(),
            version: name.get("version")?.as_u64().filter(|_| has_versions),
        })
    });
    names.collect()
}

fn items(body: &Value) -> Vec<WrittenItem> {
    let results = body.get("results").and_then(Value::as_array);
    let items = results.into_iter().flatten().filter_map(|result| {
        Some(WrittenItem {
            key: result.get("name")?.as_str()?.to_owned(),
            version: result.get("version")?.as_u64()?,
            audit_seq: result.get("audit_seq").and_then(Value::as_u64),
        })
    });
    items.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: Kind, key: &str, status: u16, body: Value) -> Told {
        let response = Response {
            status,
            index: Some(9),
            body,
        };
        interpret(&operation(kind, key), Ok(response)).0
    }

    #[test]
    fn answers_say_what_happened_and_what_was_seen() {
        let read = told(
            Kind::Read,
            "reg/0",
            200,
            json!({"value": "v1", "version": 3}),
        );
        assert_eq!(read.outcome, Outcome::Ok);
        assert_eq!((read.answer.version, read.answer.index), (Some(3), Some(9)));
        assert_eq!(read.answer.value.as_deref(), Some("v1"));
        let body = json!({"value": "[\"e1\",\"e2\"]", "version": 2, "stale": {"age_ms": 7}});
        let sequence = told(Kind::Read, "app/log", 200, body);
        assert_eq!(sequence.answer.sequence.map(|all| all.len()), Some(2));
        assert_eq!(sequence.answer.stale_age_ms, Some(7));
        let conflict = json!({"error": "conflict", "actual_version": 5});
        let conflict = told(Kind::Cas, "reg/0", 409, conflict);
        assert_eq!(conflict.outcome, Outcome::Fail);
        assert_eq!(conflict.answer.actual_version, Some(5));
    }

    #[test]
    fn what_is_not_definite_is_unknown() {
        let unknown = told(
            Kind::Write,
            "reg/0",
            504,
            json!({"error": "unknown_outcome"}),
        );
        assert_eq!(unknown.outcome, Outcome::Info);
        assert_eq!(
            told(Kind::Write, "reg/0", 500, Value::Null).outcome,
            Outcome::Info
        );
        let half = told(Kind::Write, "reg/0", 200, json!({}));
        assert_eq!(
            (half.outcome, half.answer),
            (Outcome::Info, Answer::default())
        );
        for (lost, outcome) in [
            (Lost::Connect, Outcome::Fail),
            (Lost::Broken, Outcome::Info),
            (Lost::Timeout, Outcome::Info),
        ] {
            let (told, _) = interpret(&operation(Kind::Write, "a"), Err(lost));
            assert_eq!(told.outcome, outcome);
        }
    }
}
