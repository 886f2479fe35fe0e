//! Histories told in a few words: `write("a", "x").at(10, 20).wrote(1)`.

use jarvis_chaos::checker::{Report, Verdict};
use jarvis_chaos::history::{
    Answer, FORMAT, Header, History, Item, Kind, Listed, Operation, Outcome, WrittenItem,
};

pub(crate) fn read(key: &str) -> Operation {
    of(Kind::Read, key)
}

pub(crate) fn list(prefix: &str) -> Operation {
    of(Kind::List, prefix)
}

pub(crate) fn write(key: &str, value: &str) -> Operation {
    Operation {
        value: Some(value.to_owned()),
        ..of(Kind::Write, key)
    }
}

pub(crate) fn cas(key: &str, expected: u64, value: &str) -> Operation {
    Operation {
        kind: Kind::Cas,
        expected: Some(expected),
        ..write(key, value)
    }
}

pub(crate) fn append(key: &str, element: &str) -> Operation {
    Operation {
        kind: Kind::Append,
        ..write(key, element)
    }
}

pub(crate) fn delete(key: &str) -> Operation {
    of(Kind::Delete, key)
}

/// Writes of (key, value, amount), each over the version it expects.
pub(crate) fn batch(writes: &[(&str, &str, i64, u64)]) -> Operation {
    let item = |(key, value, amount, expected): &(&str, &str, i64, u64)| Item {
        key: (*key).to_owned(),
        value: (*value).to_owned(),
        amount: Some(*amount),
        expected: Some(*expected),
    };
    Operation {
        writes: writes.iter().map(item).collect(),
        ..of(Kind::Batch, "")
    }
}

/// An operation about a credential, or with one.
pub(crate) fn with_credential(kind: Kind, credential: &str) -> Operation {
    Operation {
        credential: Some(credential.to_owned()),
        ..of(kind, "a")
    }
}

pub(crate) fn of(kind: Kind, key: &str) -> Operation {
    Operation {
        kind,
        key: key.to_owned(),
        node: 1,
        ..Operation::default()
    }
}

/// When it was, and what came of it.
pub(crate) trait Told: Sized {
    fn at(self, start_ns: u64, end_ns: u64) -> Self;
    fn on_node(self, node: u64) -> Self;
    fn keyed(self, idempotency_key: &str) -> Self;
    fn ok(self, answer: Answer) -> Self;
    fn failed(self, code: &str) -> Self;
    fn unknown(self) -> Self;

    fn wrote(self, version: u64) -> Self {
        self.ok(Answer {
            version: Some(version),
            ..Answer::default()
        })
    }

    fn saw(self, value: &str, version: u64) -> Self {
        self.ok(Answer {
            version: Some(version),
            value: Some(value.to_owned()),
            ..Answer::default()
        })
    }

    fn absent(self) -> Self {
        self.failed("not_found")
    }

    fn conflict(self, actual: u64) -> Self;

    fn listed(self, names: &[(&str, u64)]) -> Self {
        let listed = names.iter().map(|(key, version)| Listed {
            key: (*key).to_owned(),
            version: Some(*version),
        });
        self.ok(Answer {
            listed: Some(listed.collect()),
            ..Answer::default()
        })
    }

    fn sequence(self, elements: &[&str], version: u64) -> Self {
        let elements = elements.iter().map(|element| (*element).to_owned());
        self.ok(Answer {
            version: Some(version),
            sequence: Some(elements.collect()),
            ..Answer::default()
        })
    }

    fn became(self, versions: &[(&str, u64)]) -> Self {
        let items = versions.iter().map(|(key, version)| WrittenItem {
            key: (*key).to_owned(),
            version: *version,
            audit_seq: None,
        });
        self.ok(Answer {
            items: items.collect(),
            ..Answer::default()
        })
    }
}

impl Told for Operation {
    fn at(self, start_ns: u64, end_ns: u64) -> Self {
        Self {
            start_ns,
            end_ns: Some(end_ns),
            ..self
        }
    }

    fn on_node(self, node: u64) -> Self {
        Self { node, ..self }
    }

    fn keyed(self, idempotency_key: &str) -> Self {
        Self {
            idempotency_key: Some(idempotency_key.to_owned()),
            ..self
        }
    }

    fn ok(self, answer: Answer) -> Self {
        Self {
            outcome: Outcome::Ok,
            answer,
            ..self
        }
    }

    fn failed(self, code: &str) -> Self {
        Self {
            outcome: Outcome::Fail,
            error: Some(code.to_owned()),
            ..self
        }
    }

    fn unknown(self) -> Self {
        Self {
            outcome: Outcome::Info,
            error: Some("timeout".to_owned()),
            ..self
        }
    }

    fn conflict(self, actual: u64) -> Self {
        let mut refused = self.failed("conflict");
        refused.answer.actual_version = Some(actual);
        refused
    }
}

/// A history of these, numbered from 1 in this order; every operation is a client of its own.
pub(crate) fn history(operations: impl IntoIterator<Item = Operation>) -> History {
    let numbered = (1_u64..).zip(operations);
    let operations = numbered.map(|(id, operation)| Operation {
        id,
        process: id,
        ..operation
    });
    History {
        header: Header {
            format: FORMAT,
            nodes: vec![1, 2, 3],
            request_prefix: "t-".to_owned(),
            ..Header::default()
        },
        operations: operations.collect(),
        ..History::default()
    }
}

#[track_caller]
pub(crate) fn assert_held(report: &Report) {
    assert_eq!(report.verdict, Verdict::Held, "{report}");
}

#[track_caller]
pub(crate) fn assert_unknown(report: &Report, why: &str) {
    assert_eq!(report.verdict, Verdict::Unknown, "{report}");
    let is_said = report.doubts.iter().any(|doubt| doubt.contains(why));
    assert!(is_said, "nobody says {why:?}: {report}");
}

/// The first story says that, and involves exactly these operations.
#[track_caller]
pub(crate) fn assert_violated(report: &Report, what: &str, ids: &[u64]) {
    assert_eq!(report.verdict, Verdict::Violated, "{report}");
    let story = &report.stories[0];
    assert!(
        story.what.contains(what),
        "it does not say {what:?}: {report}"
    );
    let mut told: Vec<u64> = story
        .operations
        .iter()
        .map(|operation| operation.id)
        .collect();
    told.sort_unstable();
    assert_eq!(told, ids, "{report}");
}
