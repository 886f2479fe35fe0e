//! All checkers over one history: which of them have something to say, and what they say.

use std::time::Duration;

use tokio::time::Instant;

use super::batch;
use crate::checker::audit::Sources;
use crate::checker::{
    Budget, Report, admission, append, audit, batch as batches, register, revocation, rotation,
    set, staleness, versioned,
};
use crate::history::{History, Kind};

/// The search for an order may take this long in all; it takes seconds.
const SEARCH_LIMIT: Duration = Duration::from_secs(180);
/// Ages are cut to whole milliseconds by the server.
const STALE_SLACK_NS: u64 = 2_000_000;
/// Longer than the longest time without a leader, and what is between two looks for due rotations.
const ROTATION_ALLOWANCE_NS: u64 = 60_000_000_000;
/// What the product promises a replaced version (R2).
const ROTATION_GRACE_NS: u64 = 14 * 86_400 * 1_000_000_000;

/// Which checkers a history is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Every workload ran: a checker without anything to look at says "unknown".
    Everything,
    /// A history of unknown origin: a checker without anything to look at is left out.
    WhatIsThere,
}

/// Judges a history; the trails too, where there are any.
#[must_use]
pub fn judge(history: &History, sources: Option<&Sources>, scope: Scope) -> Vec<Report> {
    let began = Instant::now();
    let is_over = || began.elapsed() > SEARCH_LIMIT;
    let budget = Budget {
        stop: Some(&is_over),
        ..Budget::default()
    };
    let has = |kinds: &[Kind]| {
        let mut operations = history.operations.iter();
        let is_there = operations.any(|operation| kinds.contains(&operation.kind));
        is_there || scope == Scope::Everything
    };
    let mut reports = Vec::new();
    if has(&[Kind::Read, Kind::Write, Kind::Cas, Kind::Append]) {
        reports.push(register::check(history, budget));
        reports.push(versioned::check(history));
        reports.push(staleness::check(history, STALE_SLACK_NS));
    }
    if has(&[Kind::List]) {
        reports.push(set::check(history));
    }
    if has(&[Kind::Append]) {
        reports.push(append::check(history));
    }
    if has(&[Kind::Batch]) {
        reports.push(batches::check(history, total(history, scope)));
    }
    if has(&[Kind::Revoke]) {
        reports.push(revocation::check(history));
        reports.push(admission::check(history));
    }
    if !history.due.is_empty() || !history.rotations.is_empty() {
        let terms = rotation::Terms {
            allowance_ns: ROTATION_ALLOWANCE_NS,
            grace_ns: ROTATION_GRACE_NS,
        };
        reports.push(rotation::check(history, terms));
    }
    if let Some(sources) = sources {
        reports.push(audit::check(history, sources));
    }
    reports
}

/// What our own accounts hold together; of another history's the first list tells.
fn total(history: &History, scope: Scope) -> Option<i64> {
    let mut batches = history.operations.iter();
    let opened = batches.any(|operation| operation.kind == Kind::Batch);
    (opened && scope == Scope::Everything).then_some(batch::TOTAL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::Verdict;
    use crate::history::{Operation, Outcome};

    #[test]
    fn a_history_is_judged_by_those_who_have_something_to_look_at() {
        let mut write = Operation {
            id: 1,
            kind: Kind::Write,
            key: "a".to_owned(),
            value: Some("v1".to_owned()),
            start_ns: 1,
            end_ns: Some(2),
            outcome: Outcome::Ok,
            ..Operation::default()
        };
        write.answer.version = Some(1);
        let mut read = Operation {
            id: 2,
            kind: Kind::Read,
            key: "a".to_owned(),
            start_ns: 3,
            end_ns: Some(4),
            outcome: Outcome::Ok,
            ..Operation::default()
        };
        read.answer.version = Some(1);
        read.answer.value = Some("v1".to_owned());
        let mut history = History {
            operations: vec![write, read],
            ..History::default()
        };
        let reports = judge(&history, None, Scope::WhatIsThere);
        let names: Vec<&str> = reports.iter().map(|report| report.checker).collect();
        assert_eq!(names, ["register", "versioned", "staleness"]);
        assert_eq!(Verdict::of_all(&reports), Verdict::Held);
        assert_eq!(
            Verdict::of_all(&judge(&history, None, Scope::Everything)),
            Verdict::Unknown
        );
        history.operations[1].answer.value = Some("v2".to_owned());
        let reports = judge(&history, None, Scope::WhatIsThere);
        assert_eq!(Verdict::of_all(&reports), Verdict::Violated);
    }
}
