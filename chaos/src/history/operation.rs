//! One operation: what a client asked of one node, once, and what it was told.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Characters of a value that a story shows.
const SHOWN_BYTES: usize = 24;

/// What a client asked and was told. One request: nothing is repeated inside of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// Its number in the run, which also names it in the trail.
    pub id: u64,
    /// The client; it does one thing after the other.
    pub process: u64,
    /// The node that was asked.
    pub node: u64,
    /// What was asked.
    pub kind: Kind,
    /// The secret's name; for a list the prefix.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// What to write; no two operations write the same. For an append: the element. For a use: the value used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What the value counts in a sum that has to stay the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<i64>,
    /// The version that must be current; 0: there must be none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<u64>,
    /// For a read of one version by its number; for a use: the version used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_version: Option<u64>,
    /// A stale read was asked for: the greatest age that rule and request allow, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_ms: Option<u64>,
    /// The writes of a batch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub writes: Vec<Item>,
    /// The token, certificate or permission that a grant or revocation is about, or that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// The `Idempotency-Key`, if one was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// When the request was begun.
    pub start_ns: u64,
    /// When the answer was there, or the client gave up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_ns: Option<u64>,
    /// Whether it happened.
    pub outcome: Outcome,
    /// The error's code, or the client's own word for having no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What the answer carried.
    #[serde(default, skip_serializing_if = "Answer::is_empty")]
    pub answer: Answer,
}

/// What was asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Read a secret.
    #[default]
    Read,
    /// List the names that begin with `key`.
    List,
    /// Write whatever there is.
    Write,
    /// Write if `expected` is current.
    Cas,
    /// Write the sequence that was read, and one element more, if `expected` is current.
    Append,
    /// Delete.
    Delete,
    /// Undo a deletion.
    Undelete,
    /// Destroy versions.
    Destroy,
    /// Several writes, all or none.
    Batch,
    /// Use a value outside of the cluster, as a database login does.
    Use,
    /// Make a credential or allow something.
    Grant,
    /// Take it away.
    Revoke,
    /// Anything else that leaves an event.
    Other,
}

/// Whether it happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It did.
    Ok,
    /// It changed nothing, and never will.
    Fail,
    /// Nobody knows: it may have happened, or may happen yet.
    #[default]
    Info,
}

/// One write of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// The secret's name.
    pub key: String,
    /// What to write.
    pub value: String,
    /// What it counts in the sum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<i64>,
    /// The version that must be current.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<u64>,
}

/// What an answer carried; everything may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The version written, read or deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The value read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The elements read, where the value is a sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<Vec<String>>,
    /// The version that a refused compare-and-set found; 0: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual_version: Option<u64>,
    /// The names listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed: Option<Vec<Listed>>,
    /// What each write of a batch became.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<WrittenItem>,
    /// `<term>-<node>-<index>` of a write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_id: Option<String>,
    /// The event's number in the trail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_seq: Option<u64>,
    /// `X-Jarvis-Index`: the log index at which a read was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// The answer came without a majority, and is at most so old, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_age_ms: Option<u64>,
}

/// A name in a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// The name.
    pub key: String,
    /// Its current version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

/// What a write of a batch became.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenItem {
    /// The name.
    pub key: String,
    /// The new version.
    pub version: u64,
    /// The event's number in the trail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_seq: Option<u64>,
}

impl Operation {
    /// Whether it happened for certain.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.outcome == Outcome::Ok
    }

    /// Whether it happened, or may have.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        self.outcome != Outcome::Fail
    }

    /// When it certainly was over. One that nobody knows of never is: it may yet take effect.
    #[must_use]
    pub fn over_ns(&self) -> u64 {
        match self.outcome {
            Outcome::Info => u64::MAX,
            Outcome::Ok | Outcome::Fail => self.end_ns.unwrap_or(u64::MAX),
        }
    }

    /// Whether it was over before that moment. At the same moment it was not.
    #[must_use]
    pub fn is_over_before(&self, moment_ns: u64) -> bool {
        self.over_ns() < moment_ns
    }

    /// Whether it failed with that code.
    #[must_use]
    pub fn failed_with(&self, code: &str) -> bool {
        self.outcome == Outcome::Fail && self.error.as_deref() == Some(code)
    }

    /// Whether the answer came without a majority.
    #[must_use]
    pub fn was_stale(&self) -> bool {
        self.answer.stale_age_ms.is_some()
    }

    /// The index in the log at which it was decided, if the answer said.
    #[must_use]
    pub fn log_index(&self) -> Option<u64> {
        let log_id = self.answer.log_id.as_deref();
        let last = log_id.and_then(|log_id| log_id.rsplit('-').next());
        let index = last.and_then(|digits| digits.parse::<u64>().ok());
        index.or(self.answer.index)
    }

    /// What is wrong with it as a record, if something is.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        let has_key = !self.key.is_empty();
        let is_keyed = matches!(
            self.kind,
            Kind::Read
                | Kind::Write
                | Kind::Cas
                | Kind::Append
                | Kind::Delete
                | Kind::Undelete
                | Kind::Destroy
        );
        let writes = matches!(self.kind, Kind::Write | Kind::Cas | Kind::Append);
        let shows_nothing = self.answer.version.is_none()
            && self.answer.value.is_none()
            && self.answer.sequence.is_none();
        if self.end_ns.is_some_and(|end| end < self.start_ns) {
            Some("it ended before it began")
        } else if self.outcome != Outcome::Info && self.end_ns.is_none() {
            Some("its outcome is known, so it has an end: `end_ns` is missing")
        } else if is_keyed && !has_key {
            Some("`key` is missing")
        } else if writes && self.value.is_none() {
            Some("`value` is missing")
        } else if self.kind == Kind::Cas && self.expected.is_none() {
            Some("`expected` is missing")
        } else if self.kind == Kind::Batch && self.writes.is_empty() {
            Some("`writes` is missing")
        } else if matches!(self.kind, Kind::Grant | Kind::Revoke) && self.credential.is_none() {
            Some("`credential` is missing")
        } else if self.is_ok() && self.kind == Kind::List && self.answer.listed.is_none() {
            Some("`answer.listed` is missing")
        } else if self.is_ok() && self.kind == Kind::Read && shows_nothing {
            Some("the answer of a read shows something: `answer.value` is missing")
        } else {
            None
        }
    }

    fn asked(&self) -> String {
        let key = &self.key;
        let value = shown(self.value.as_deref().unwrap_or_default());
        let expected = self.expected.unwrap_or(0);
        match self.kind {
            Kind::Read => match (self.asked_version, self.max_age_ms) {
                (Some(version), _) => format!("read {key}, version {version}"),
                (None, Some(age)) => format!("read {key}, at most {age} ms old"),
                (None, None) => format!("read {key}"),
            },
            Kind::List => format!("list {key}*"),
            Kind::Write => format!("write {key} := {value}"),
            Kind::Cas => format!("write {key} := {value} over version {expected}"),
            Kind::Append => format!("append {value} to {key}"),
            Kind::Delete => match self.expected {
                Some(expected) => format!("delete {key} at version {expected}"),
                None => format!("delete {key}"),
            },
            Kind::Undelete => format!("undelete {key}"),
            Kind::Destroy => format!("destroy versions of {key}"),
            Kind::Batch => {
                let writes = self.writes.iter();
                let writes: Vec<String> = writes
                    .map(|write| format!("{} := {}", write.key, shown(&write.value)))
                    .collect();
                format!("batch {}", writes.join(", "))
            }
            Kind::Use => format!("use {value} of {key}"),
            Kind::Grant | Kind::Revoke => {
                let verb = if self.kind == Kind::Grant {
                    "grant"
                } else {
                    "revoke"
                };
                format!("{verb} {}", self.credential.as_deref().unwrap_or_default())
            }
            Kind::Other => format!("another request {key}"),
        }
    }

    fn told(&self) -> String {
        let mut parts = vec![match self.outcome {
            Outcome::Ok => "ok".to_owned(),
            Outcome::Fail => "failed".to_owned(),
            Outcome::Info => "unknown".to_owned(),
        }];
        parts.extend(self.error.clone());
        let Answer {
            version,
            value,
            sequence,
            actual_version,
            listed,
            items,
            audit_seq,
            stale_age_ms,
            ..
        } = &self.answer;
        parts.extend(value.as_deref().map(shown));
        parts.extend(
            sequence
                .as_ref()
                .map(|all| format!("{} elements", all.len())),
        );
        parts.extend(version.map(|version| format!("version {version}")));
        parts.extend(actual_version.map(|actual| format!("found version {actual}")));
        parts.extend(
            listed
                .as_ref()
                .map(|names| format!("{} names", names.len())),
        );
        for item in items {
            parts.push(format!("{} version {}", item.key, item.version));
        }
        parts.extend(audit_seq.map(|seq| format!("event {seq}")));
        parts.extend(stale_age_ms.map(|age| format!("at most {age} ms old")));
        parts.join(", ")
    }
}

/// One line of a story: when, who, where, what, and what came of it.
impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.end_ns.map_or_else(|| "…".to_owned(), seconds);
        write!(
            formatter,
            "{:>12} – {end:>12} s  client {} at node {}  #{}  {}: {}",
            seconds(self.start_ns),
            self.process,
            self.node,
            self.id,
            self.asked(),
            self.told()
        )
    }
}

impl Answer {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Seconds since the run began, to the microsecond.
pub(crate) fn seconds(ns: u64) -> String {
    let (whole, rest) = (ns / 1_000_000_000, ns % 1_000_000_000);
    format!("{whole}.{:06}", rest / 1_000)
}

fn shown(value: &str) -> String {
    let end = value.floor_char_boundary(SHOWN_BYTES);
    if end == value.len() {
        format!("\"{value}\"")
    } else {
        format!("\"{}…\"", &value[..end])
    }
}
