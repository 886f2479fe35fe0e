//! What an answer says about the trail: how many events there are, and what stands in them.

use std::collections::BTreeSet;
use std::fmt;

use super::trail::Event;
use crate::history::{Kind, Operation, Outcome};

/// How many events: none, if there may be none, or this many; nothing between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) weight: u32,
    pub(super) may_be_none: bool,
}

impl Range {
    const NONE: Self = Self::exactly(0);
    const AT_MOST_ONE: Self = Self {
        weight: 1,
        may_be_none: true,
    };

    const fn exactly(weight: u32) -> Self {
        Self {
            weight,
            may_be_none: false,
        }
    }

    pub(super) const fn contains(self, count: u32) -> bool {
        count == self.weight || (count == 0 && self.may_be_none)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.may_be_none {
            write!(formatter, "0 or {}", self.weight)
        } else {
            write!(formatter, "{}", self.weight)
        }
    }
}

/// The events of one operation. The module's table says why.
pub(super) fn expected(operation: &Operation, lost_disks: &BTreeSet<u64>) -> Range {
    if operation.kind == Kind::Use {
        return Range::NONE;
    }
    let writes = u32::try_from(operation.writes.len().max(1)).unwrap_or(u32::MAX);
    let asked_stale = operation.max_age_ms.is_some();
    match operation.outcome {
        Outcome::Ok => Range {
            weight: writes,
            may_be_none: operation.was_stale() && lost_disks.contains(&operation.node),
        },
        Outcome::Info => Range {
            weight: writes,
            may_be_none: true,
        },
        Outcome::Fail => match operation.error.as_deref().unwrap_or_default() {
            _ if asked_stale => Range::AT_MOST_ONE,
            "no_leader" | "audit_full" | "connect" => Range::NONE,
            "conflict"
            | "not_found"
            | "not_authorized"
            | "idempotency_key_reused"
            | "quota_exceeded"
                if operation.kind != Kind::Other =>
            {
                Range::exactly(1)
            }
            _ => Range::AT_MOST_ONE,
        },
    }
}

/// Whether its outcome is that of its idempotency key, and not of this attempt alone.
pub(super) fn is_shared(operation: &Operation) -> bool {
    let is_remembered = operation.outcome != Outcome::Fail
        || operation.failed_with("conflict")
        || operation.failed_with("not_found");
    operation.idempotency_key.is_some() && is_remembered
}

/// What the event says otherwise than the answer did.
pub(super) fn mismatch(operation: &Operation, event: &Event) -> Option<String> {
    let right = names(operation);
    if !right.is_empty() && !right.contains(&event.event.as_str()) {
        return Some(format!(
            "an operation has an event of another kind: {}",
            event.event
        ));
    }
    match operation.outcome {
        Outcome::Info => None,
        Outcome::Fail => refusal(operation, event),
        Outcome::Ok => success(operation, event),
    }
}

/// The names of the events that a kind of operation leaves; none: any.
fn names(operation: &Operation) -> &'static [&'static str] {
    match operation.kind {
        Kind::Read => &["secret.read", "secret.read.stale", "request.refused"],
        Kind::List => &["secret.list", "request.refused"],
        Kind::Write | Kind::Cas | Kind::Append | Kind::Batch => {
            &["secret.write", "request.refused"]
        }
        Kind::Delete => &["secret.delete", "request.refused"],
        Kind::Undelete => &["secret.undelete", "request.refused"],
        Kind::Destroy => &["secret.destroy", "request.refused"],
        Kind::Use | Kind::Grant | Kind::Revoke | Kind::Other => &[],
    }
}

fn refusal(operation: &Operation, event: &Event) -> Option<String> {
    let right = match operation.error.as_deref().unwrap_or_default() {
        "not_authorized" => "deny",
        "not_found" if operation.kind == Kind::Read => "not_found",
        "not_found" | "conflict" | "idempotency_key_reused" | "quota_exceeded" => "refused",
        _ => return None,
    };
    (event.outcome != right && operation.kind != Kind::Other).then(|| {
        format!(
            "an operation was refused, and its event says {} instead of {right}",
            event.outcome
        )
    })
}

fn success(operation: &Operation, event: &Event) -> Option<String> {
    if !matches!(event.outcome.as_str(), "allow" | "ok") {
        return Some(format!(
            "an operation was done, and its event says {}",
            event.outcome
        ));
    }
    if operation.was_stale() != (event.event == "secret.read.stale") {
        return Some("the event and the answer differ on whether the read was stale".to_owned());
    }
    let answer = &operation.answer;
    let (key, version, audit_seq) = if operation.kind == Kind::Batch {
        let mut items = answer.items.iter();
        let item = items.find(|item| event.name.as_deref() == Some(item.key.as_str()));
        let Some(item) = item else {
            return Some("a batch has an event of a name that its answer does not have".to_owned());
        };
        (Some(item.key.as_str()), Some(item.version), item.audit_seq)
    } else {
        let has_name = event.name.is_some() && operation.kind != Kind::List;
        let key = (has_name && !operation.key.is_empty()).then_some(operation.key.as_str());
        (key, answer.version, answer.audit_seq)
    };
    let differs = |what: &str, told: u64, found: u64| {
        (told != found).then(|| format!("the answer said {what} {told}, the event says {found}"))
    };
    // The index of a stale read is that of the state, not that of its event.
    let index = operation.log_index().filter(|_| !operation.was_stale());
    let name = event.name.as_deref();
    key.filter(|key| name != Some(*key))
        .map(|key| format!("the operation was on {key}, its event is about {name:?}"))
        .or_else(|| differs("version", version?, event.version?))
        .or_else(|| differs("event", audit_seq?, event.seq))
        .or_else(|| differs("index", index?, event.index))
}
