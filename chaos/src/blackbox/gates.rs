//! A run that exercised nothing is a failure, not a pass: what has to have happened before "held" means anything.
//!
//! A gate that fails for lack of events makes a run vacuous; one that saw a broken promise makes it violated.

use std::collections::BTreeMap;

use serde::Serialize;

use super::faults::FaultKind;
use super::ground::Ground;
use crate::history::{Fault, FaultResult, History, Kind, Operation};
use crate::verdict::ExitVerdict;

/// Of all operations so many have to be answered as they were meant to be, in a hundred.
const SERVED_PERCENT: u64 = 80;
/// A fault that is over at once is given this long to show whether operations go on.
const SHORTEST_WINDOW_NS: u64 = 4_000_000_000;
/// After a majority came back, it needs a leader again.
const RECOVERY_NS: u64 = 3_000_000_000;

/// One thing that has to be true of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Gate {
    pub(crate) name: &'static str,
    pub(crate) verdict: ExitVerdict,
    pub(crate) note: String,
}

impl Gate {
    /// Without it the run says nothing.
    pub(crate) fn needs(name: &'static str, is_met: bool, note: impl Into<String>) -> Self {
        let verdict = if is_met {
            ExitVerdict::Held
        } else {
            ExitVerdict::Vacuous
        };
        Self {
            name,
            verdict,
            note: note.into(),
        }
    }

    /// A promise that the checkers do not look at; `broken` says what happened instead.
    pub(crate) fn promises(name: &'static str, broken: &[String]) -> Self {
        Self {
            name,
            verdict: if broken.is_empty() {
                ExitVerdict::Held
            } else {
                ExitVerdict::Violated
            },
            note: broken.join("; "),
        }
    }
}

/// How often each class of faults happened, and why not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct FaultCount {
    pub(crate) installed: u64,
    pub(crate) skipped: u64,
    pub(crate) indeterminate: u64,
    /// Of those that did not happen.
    pub(crate) reasons: Vec<String>,
}

/// Faults by class.
pub(crate) fn count_faults(history: &History) -> BTreeMap<String, FaultCount> {
    let mut counts: BTreeMap<String, FaultCount> = BTreeMap::new();
    for fault in &history.faults {
        let count = counts.entry(fault.kind.clone()).or_default();
        match fault.result {
            FaultResult::Installed => count.installed += 1,
            FaultResult::Skipped => count.skipped += 1,
            FaultResult::Indeterminate => count.indeterminate += 1,
        }
        if fault.result != FaultResult::Installed {
            let reason = fault.note.clone().unwrap_or_default();
            if !count.reasons.contains(&reason) {
                count.reasons.push(reason);
            }
        }
    }
    counts
}

/// Every class that was planned, and every one that was asked for by name, has happened.
pub(crate) fn faults_fired(
    history: &History,
    planned: &[FaultKind],
    impossible: &BTreeMap<FaultKind, String>,
) -> Gate {
    let counts = count_faults(history);
    let mut missing: Vec<String> = Vec::new();
    for kind in planned {
        let count = counts.get(kind.name()).cloned().unwrap_or_default();
        if count.installed == 0 {
            missing.push(format!("{kind}: {}", count.reasons.join(", ")));
        }
    }
    for (kind, reason) in impossible {
        missing.push(format!("{kind}: {reason}"));
    }
    let note = if missing.is_empty() {
        format!("{} classes", planned.len())
    } else {
        format!("did not happen: {}", missing.join("; "))
    };
    Gate::needs("every requested fault fired", missing.is_empty(), note)
}

/// Enough of the operations were answered as they were meant to be.
pub(crate) fn mostly_served(history: &History) -> Gate {
    let all = history.operations.len() as u64;
    let served = history
        .operations
        .iter()
        .filter(|operation| is_served(operation));
    let served = served.count() as u64;
    let is_met = all > 0 && served * 100 >= all * SERVED_PERCENT;
    let note = format!("{served} of {all}");
    Gate::needs("at least 80 % of operations succeeded", is_met, note)
}

/// Done, or refused for the reason for which it had to be.
pub(crate) fn is_served(operation: &Operation) -> bool {
    let is_refusal = match operation.error.as_deref() {
        Some("conflict" | "not_found" | "not_authorized") => true,
        Some("unauthenticated") => operation.credential.is_some(),
        _ => false,
    };
    operation.is_ok() || is_refusal
}

/// During every fault that leaves a majority, something was done. Not asked while another fault leaves none.
pub(crate) fn served_during_faults(history: &History, ground: &Ground) -> Gate {
    let end_ns = history.end_ns();
    let lost = ground.lost(end_ns);
    let done = history.operations.iter();
    let done: Vec<(u64, u64)> = done
        .filter(|operation| operation.is_ok())
        .map(|operation| (operation.start_ns, operation.over_ns()))
        .collect();
    let (mut asked, mut silent) = (0, Vec::new());
    for fault in &history.faults {
        let Some((from_ns, to_ns)) = window(fault, &lost, end_ns) else {
            continue;
        };
        asked += 1;
        let is_within =
            |(start_ns, over_ns): &(u64, u64)| *start_ns >= from_ns && *over_ns <= to_ns;
        if !done.iter().any(is_within) {
            let at = crate::blackbox::nemesis::seconds(fault.start_ns);
            silent.push(format!("{} at {at:.1} s", fault.kind));
        }
    }
    let note = if silent.is_empty() {
        format!("{asked} faults")
    } else {
        format!("nothing was done during {}", silent.join(", "))
    };
    Gate::needs(
        "operations succeeded during every fault that leaves a majority",
        silent.is_empty(),
        note,
    )
}

/// The stretch in which something has to be done; `None` where nothing can be asked of it.
fn window(fault: &Fault, lost: &[(u64, u64)], end_ns: u64) -> Option<(u64, u64)> {
    if fault.result != FaultResult::Installed || !fault.leaves_quorum {
        return None;
    }
    let from_ns = fault.start_ns;
    let to_ns = fault.end_ns?.max(from_ns + SHORTEST_WINDOW_NS).min(end_ns);
    let is_touched = |(lost_ns, back_ns): &(u64, u64)| {
        *lost_ns <= to_ns && back_ns.saturating_add(RECOVERY_NS) >= from_ns
    };
    let is_long_enough = to_ns.saturating_sub(from_ns) >= SHORTEST_WINDOW_NS;
    (is_long_enough && !lost.iter().any(is_touched)).then_some((from_ns, to_ns))
}

/// Somebody else came to lead, where faults were meant to bring that about.
pub(crate) fn leaders_changed(history: &History) -> Gate {
    let mut faults = history.faults.iter();
    let is_planned = faults.any(|fault| {
        let kind = FaultKind::parse(&fault.kind);
        fault.result == FaultResult::Installed && kind.is_some_and(FaultKind::moves_leadership)
    });
    let leaders = history.leaders.len();
    let needed = if is_planned { 2 } else { 1 };
    let note = format!("{leaders} terms with a leader were seen");
    Gate::needs("leaders changed when planned", leaders >= needed, note)
}

/// Counts of operations for a table: kind → outcome → how many.
pub(crate) fn count_operations(history: &History) -> BTreeMap<String, BTreeMap<String, u64>> {
    let mut counts: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for operation in &history.operations {
        let kind = kind_name(operation.kind).to_owned();
        let outcome = match operation.error.as_deref() {
            _ if operation.was_stale() => "ok, stale",
            None => "ok",
            Some(error) => error,
        };
        let row = counts.entry(kind).or_default();
        *row.entry(outcome.to_owned()).or_insert(0) += 1;
    }
    counts
}

const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Read => "read",
        Kind::List => "list",
        Kind::Write => "write",
        Kind::Cas => "cas",
        Kind::Append => "append",
        Kind::Delete => "delete",
        Kind::Undelete => "undelete",
        Kind::Destroy => "destroy",
        Kind::Batch => "batch",
        Kind::Use => "use",
        Kind::Grant => "grant",
        Kind::Revoke => "revoke",
        Kind::Other => "other",
    }
}

#[cfg(test)]
mod tests;
