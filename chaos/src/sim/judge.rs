//! The verdict on a whole run: the checkers on what clients were told and on the trails, and what the run was worth.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use serde::Serialize;

use super::cluster::Cluster;
use super::disk::AUDIT_DIR;
use super::fault::FaultKind;
use super::machine::{Machine, export};
use super::observer::Counts;
use super::workload::Work;
use crate::checker::{self, Budget, Report, Verdict, audit};
use crate::history::{FaultResult, History, Kind, Operation, Outcome};

/// Ages are told in whole ms, and hosts are up to a step apart.
const SLACK_NS: u64 = 25_000_000;
/// A run with fewer operations has shown nothing.
const MIN_OPERATIONS: u64 = 60;
/// Percent of operations that must have been decided.
const MIN_DECIDED: u64 = 40;

/// What a run was worth.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// Class of faults → how often it was in force.
    pub faults: BTreeMap<&'static str, u64>,
    /// Kind of work → how often it succeeded.
    pub works: BTreeMap<&'static str, u64>,
    /// Nodes of the cluster.
    pub nodes: u64,
    /// Operations begun.
    pub operations: u64,
    /// Operations that the cluster decided, one way or the other.
    pub decided: u64,
    /// Operations acknowledged while a fault was in force.
    pub under_faults: u64,
    /// Entries committed.
    pub committed: u64,
    /// Changes of leader that were seen.
    pub leaders: u64,
    /// Processes that started.
    pub starts: u64,
    /// Snapshots made or received.
    pub snapshots: u64,
    /// Segments of logs that were purged.
    pub purged: u64,
    /// Looks of the invariants.
    pub sights: u64,
    /// Virtual time, ms.
    pub virtual_ms: u64,
}

impl Coverage {
    /// Both together.
    pub(super) fn add(&mut self, other: &Self) {
        for (kind, count) in &other.faults {
            *self.faults.entry(kind).or_insert(0) += count;
        }
        for (work, count) in &other.works {
            *self.works.entry(work).or_insert(0) += count;
        }
        self.nodes += other.nodes;
        self.operations += other.operations;
        self.decided += other.decided;
        self.under_faults += other.under_faults;
        self.committed += other.committed;
        self.leaders += other.leaders;
        self.starts += other.starts;
        self.snapshots += other.snapshots;
        self.purged += other.purged;
        self.sights += other.sights;
        self.virtual_ms += other.virtual_ms;
    }

    /// What never happened.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        let happened = |map: &BTreeMap<&'static str, u64>, name: &str| {
            map.iter()
                .any(|(known, count)| *known == name && *count > 0)
        };
        let faults = FaultKind::ALL.iter().map(|kind| kind.name());
        let faults = faults.filter(|name| !happened(&self.faults, name));
        let works = Work::ALL.iter().map(|work| work.name());
        let works = works.filter(|name| !happened(&self.works, name));
        let mut missing: Vec<&'static str> = faults.chain(works).collect();
        let others = [
            (self.snapshots, "snapshots"),
            (self.purged, "purges"),
            (self.leaders, "leaders"),
            (self.under_faults, "operations under faults"),
        ];
        missing.extend(
            others
                .into_iter()
                .filter(|(count, _)| *count == 0)
                .map(|(_, name)| name),
        );
        missing
    }

    /// Why this run alone proves nothing, if so.
    pub(super) fn emptiness(&self) -> Option<&'static str> {
        if self.operations < MIN_OPERATIONS {
            Some("too few operations")
        } else if self.decided * 100 < self.operations * MIN_DECIDED {
            Some("too few operations were decided")
        } else if self.under_faults == 0 {
            Some("nothing was acknowledged under faults")
        } else if self.faults.values().all(|count| *count == 0) {
            Some("no fault was installed")
        } else {
            None
        }
    }
}

/// All reports on a run.
pub(super) fn reports(cluster: &Cluster, history: &History) -> anyhow::Result<Vec<Report>> {
    let works = &cluster.plan.works;
    let budget = Budget::default();
    let mut reports = vec![
        checker::register::check(history, budget),
        checker::versioned::check(history),
        checker::staleness::check(history, SLACK_NS),
    ];
    if works.contains(&Work::Set) {
        reports.push(checker::set::check(history));
    }
    if works.contains(&Work::Append) {
        reports.push(checker::append::check(history));
    }
    if works.contains(&Work::Batch) {
        reports.push(checker::batch::check(history, None));
    }
    if works.contains(&Work::Revocation) || works.contains(&Work::Policy) {
        reports.push(checker::revocation::check(history));
        reports.push(checker::admission::check(history));
    }
    reports.push(trails(cluster, history)?);
    Ok(reports)
}

/// The trails of all nodes against each other and against the history.
fn trails(cluster: &Cluster, history: &History) -> anyhow::Result<Report> {
    let folder = tempfile::tempdir().context("a folder for the trails")?;
    let mut sources = audit::Sources::default();
    for machine in &cluster.machines {
        let Some(id) = machine.id() else { continue };
        let to = folder.path().join(machine.host);
        export(&machine.disk, AUDIT_DIR, &to).context("the trails")?;
        sources.folders.insert(id, to);
    }
    Ok(audit::check(history, &sources))
}

/// The verdict of a report on a single run. A checker that found nothing to look at says nothing about the run: whether its
/// work was done at all is judged over many runs.
pub(super) fn verdict_of(report: &Report) -> Verdict {
    let had_nothing = |doubt: &String| doubt.starts_with("nothing was checked");
    if report.verdict == Verdict::Unknown && report.doubts.iter().all(had_nothing) {
        Verdict::Held
    } else {
        report.verdict
    }
}

/// What the run was worth.
pub(super) fn coverage(cluster: &Cluster, history: &History, counts: Counts) -> Coverage {
    let installed = |fault: &&crate::history::Fault| fault.result == FaultResult::Installed;
    let mut faults = BTreeMap::new();
    for kind in FaultKind::ALL {
        let of_kind = history.faults.iter().filter(installed);
        let count = of_kind.filter(|fault| fault.kind == kind.name()).count() as u64;
        let by_api = match kind {
            FaultKind::LeaderTransfer => Some("transfer-leader"),
            FaultKind::Seal => Some("seal"),
            _ => None,
        };
        // What is asked for by the API happened when the API said so.
        let done = by_api.map(|key| cluster.recorder.succeeded(&[Kind::Other], key));
        faults.insert(kind.name(), done.unwrap_or(count));
    }
    let machines = cluster.machines.iter();
    let compactions = machines.map(|machine: &Machine| machine.disk.compactions());
    let (snapshots, purged) = compactions.fold((0, 0), |(snapshots, purged), (more, gone)| {
        (snapshots + more, purged + gone)
    });
    let operations = &history.operations;
    let decided = operations.iter().filter(|operation| is_decided(operation));
    let under_faults = operations.iter().filter(|operation| {
        operation.is_ok()
            && history.faults.iter().filter(installed).any(|fault| {
                fault.start_ns <= operation.start_ns
                    && operation.over_ns() <= fault.end_ns.unwrap_or(u64::MAX)
            })
    });
    Coverage {
        faults,
        works: works(cluster, history),
        nodes: cluster.machines.len() as u64,
        operations: operations.len() as u64,
        decided: decided.count() as u64,
        under_faults: under_faults.count() as u64,
        committed: counts.committed,
        leaders: counts.leaders,
        starts: counts.starts,
        snapshots,
        purged,
        sights: counts.sights,
        virtual_ms: cluster.clock.now_ns() / 1_000_000,
    }
}

/// The cluster said yes or no for good, whatever it said.
fn is_decided(operation: &Operation) -> bool {
    match operation.outcome {
        Outcome::Ok => true,
        Outcome::Fail => {
            let undecided = ["no_leader", "connect", "sealed", "rate_limited"];
            let error = operation.error.as_deref().unwrap_or_default();
            !undecided.contains(&error)
        }
        Outcome::Info => false,
    }
}

fn works(cluster: &Cluster, history: &History) -> BTreeMap<&'static str, u64> {
    let recorder = &cluster.recorder;
    let operations = &history.operations;
    let count = |test: &dyn Fn(&Operation) -> bool| {
        let matching = operations.iter().filter(|operation| test(operation));
        matching.count() as u64
    };
    let taken: BTreeSet<&str> = operations
        .iter()
        .filter(|operation| operation.kind == Kind::Revoke && operation.is_ok())
        .filter_map(|operation| operation.credential.as_deref())
        .collect();
    let refused = |prefix: &'static str, code: &'static str| {
        count(&|operation| {
            let credential = operation.credential.as_deref().unwrap_or_default();
            credential.starts_with(prefix)
                && taken.contains(credential)
                && operation.failed_with(code)
        })
    };
    let of = |work: Work| match work {
        Work::Register => recorder.succeeded(&[Kind::Write, Kind::Cas], "reg/"),
        Work::Deletes => recorder.succeeded(&[Kind::Delete], "del/"),
        Work::Set => recorder.succeeded(&[Kind::Write], "set/"),
        Work::Append => recorder.succeeded(&[Kind::Append], "app/"),
        Work::Batch => recorder.succeeded(&[Kind::Batch], ""),
        Work::Denials => count(&|operation| {
            operation.credential.is_none() && operation.failed_with("not_authorized")
        }),
        Work::Revocation => refused("token-", "unauthenticated"),
        Work::Policy => refused("permission:", "not_authorized"),
        Work::Stale => count(&Operation::was_stale),
        Work::Repeats => recorder.succeeded(&[Kind::Write], "idem/"),
        Work::Epochs => cluster.epochs(),
    };
    let done = Work::ALL.into_iter().map(|work| {
        let is_there = cluster.plan.works.contains(&work);
        (work.name(), if is_there { of(work) } else { 0 })
    });
    done.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Coverage {
        Coverage {
            faults: FaultKind::ALL.iter().map(|kind| (kind.name(), 1)).collect(),
            works: Work::ALL.iter().map(|work| (work.name(), 1)).collect(),
            operations: 100,
            decided: 90,
            under_faults: 10,
            leaders: 2,
            snapshots: 1,
            purged: 1,
            ..Coverage::default()
        }
    }

    #[test]
    fn what_never_happened_is_missed() {
        assert!(full().missing().is_empty() && full().emptiness().is_none());
        assert!(Coverage::default().missing().len() > FaultKind::ALL.len());
        let mut one = full();
        one.faults.insert("ring", 0);
        assert_eq!(one.missing(), ["ring"]);
        one.add(&full());
        assert!(one.missing().is_empty());
        assert_eq!(one.operations, 200);
    }

    #[test]
    fn a_run_in_which_nothing_happened_proves_nothing() {
        assert!(Coverage::default().emptiness().is_some());
        for empty in [
            Coverage {
                operations: 10,
                ..full()
            },
            Coverage {
                decided: 10,
                ..full()
            },
            Coverage {
                under_faults: 0,
                ..full()
            },
            Coverage {
                faults: BTreeMap::new(),
                ..full()
            },
        ] {
            assert!(empty.emptiness().is_some());
        }
    }

    #[test]
    fn an_answer_that_decides_nothing_is_none() {
        let failed = |error: &str| Operation {
            outcome: Outcome::Fail,
            error: Some(error.to_owned()),
            ..Operation::default()
        };
        assert!(is_decided(&failed("conflict")) && is_decided(&failed("not_found")));
        assert!(!is_decided(&failed("no_leader")) && !is_decided(&failed("connect")));
        assert!(!is_decided(&Operation::default()));
    }
}
