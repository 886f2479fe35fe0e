//! What a run came to: all checkers, all gates, one verdict.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::convergence::Disagreement;
use super::faults::FaultKind;
use super::gates::{self, Gate};
use super::nemesis::seconds;
use super::outcome::{Outcome, Snapshots, percentiles};
use super::round::{HISTORY, Lived, REPORT, Setup};
use crate::checker::audit::Sources;
use crate::checker::secrecy::{self, Canary, Search};
use crate::checker::{Report, Verdict};
use crate::history::History;
use crate::verdict::ExitVerdict;
use crate::workload::judge::{Scope, judge};

/// What stands in a node's log when it panicked.
const PANIC: &str = "panic in thread";
/// Threads that exist to contain one say so.
const CONTAINED: &str = "; the thread ends";

/// All checkers and gates.
pub(super) fn judged(setup: &Setup, lived: &Lived, history: &History) -> Outcome {
    let members = &lived.cluster.members;
    let folders = members
        .iter()
        .map(|member| (member.id, member.data_dir.join("audit")));
    let sources = Sources {
        folders: folders.collect(),
        ..Sources::default()
    };
    let mut reports = judge(history, Some(&sources), Scope::Everything);
    reports.extend(lived.secrecy.iter().cloned());
    let places = [setup.work.join("cluster"), setup.work.join("logs")];
    reports.push(search(&lived.canaries, &places));
    let snapshots: BTreeMap<u64, Snapshots> = members
        .iter()
        .map(|member| (member.id, snapshots(&member.data_dir)))
        .collect();
    let gates = gates(lived, history, &snapshots);
    let verdict = Outcome::judge(&reports, &gates);
    let served = history.operations.iter();
    let served = served
        .filter(|operation| gates::is_served(operation))
        .count() as u64;
    let lost = lived.rig.ground.lost(history.end_ns());
    let without_ns: u64 = lost.iter().map(|(from, to)| to - from).sum();
    let is_kept = setup.keep || verdict != ExitVerdict::Held;
    Outcome {
        verdict,
        seed: setup.seed,
        nodes: history.header.nodes.clone(),
        seconds: setup.run_ms as f64 / 1e3,
        command: setup.command.clone(),
        commit: setup.commit.clone(),
        operations: history.operations.len() as u64,
        served,
        operations_by_kind: gates::count_operations(history),
        latency: percentiles(history),
        faults: gates::count_faults(history),
        left_out: named(&lived.planned.left_out),
        leaders: history.leaders.len() as u64,
        without_quorum_s: seconds(without_ns),
        peer_bytes: lived.rig.network.bytes(),
        snapshots,
        keys_at_the_end: lived.finale.keys,
        agreed: lived.agreed.as_ref().ok().cloned(),
        deaths: lived.cluster.deaths.clone(),
        reports,
        gates,
        history: setup.work.join(HISTORY),
        report: setup.work.join(REPORT),
        kept: is_kept.then(|| setup.work.clone()),
    }
}

fn named(kinds: &BTreeMap<FaultKind, String>) -> BTreeMap<String, String> {
    let named = kinds.iter();
    named
        .map(|(kind, reason)| (kind.to_string(), reason.clone()))
        .collect()
}

fn gates(lived: &Lived, history: &History, snapshots: &BTreeMap<u64, Snapshots>) -> Vec<Gate> {
    let planned = lived.planned.schedule.kinds();
    let without: Vec<String> = snapshots
        .iter()
        .filter(|(_, snapshots)| snapshots.files == 0)
        .map(|(node, _)| node.to_string())
        .collect();
    let no_snapshots = if without.is_empty() {
        String::new()
    } else {
        format!("none on nodes {}", without.join(", "))
    };
    let disagreement: Vec<String> = match &lived.agreed {
        Ok(_) => Vec::new(),
        Err(
            Disagreement::Different(what)
            | Disagreement::NotInTime(what)
            | Disagreement::NotTold(what),
        ) => vec![what.clone()],
    };
    let deaths = lived.cluster.deaths.iter();
    let deaths: Vec<String> = deaths
        .map(|death| format!("node {} ended with {}", death.node, death.how))
        .collect();
    let logs = lived
        .cluster
        .members
        .iter()
        .map(|member| member.log.as_path());
    let panics: Vec<String> = logs.flat_map(panics).collect();
    let mut others = lived.rig.problems();
    others.extend(lived.bad_ends.iter().cloned());
    vec![
        gates::faults_fired(history, &planned, &lived.planned.impossible),
        gates::mostly_served(history),
        gates::served_during_faults(history, &lived.rig.ground),
        gates::leaders_changed(history),
        Gate::needs(
            "every node made snapshots",
            without.is_empty(),
            no_snapshots,
        ),
        Gate::promises("all nodes agree within 30 s after healing", &disagreement),
        Gate::promises(
            "every key can be written and read after healing",
            &lived.finale.failures,
        ),
        Gate::promises("no process panicked", &panics),
        Gate::promises("no process ended by itself", &deaths),
        Gate::promises("nodes stop, start and refuse as they should", &others),
    ]
}

/// Lines of a log that tell of a panic which ended the process.
fn panics(log: &Path) -> Vec<String> {
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines();
    let panics = lines.filter(|line| line.contains(PANIC) && !line.contains(CONTAINED));
    panics.map(str::to_owned).collect()
}

fn snapshots(data: &Path) -> Snapshots {
    let names = |folder: &str, ending: &str| {
        let entries = fs::read_dir(data.join(folder))
            .into_iter()
            .flatten()
            .flatten();
        let paths = entries.map(|entry| entry.path());
        let mut paths: Vec<PathBuf> = paths
            .filter(|path| path.extension().is_some_and(|found| found == ending))
            .collect();
        paths.sort();
        paths
    };
    let segments = names("wal", "wal");
    let first = segments.first().and_then(|path| path.file_stem());
    let first = first.and_then(|stem| stem.to_str());
    let first = first.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    Snapshots {
        files: names("snapshots", "snap").len() as u64,
        log_is_purged: first.is_some_and(|first| first > 1),
    }
}

/// Searches files for values that must not be there.
pub(super) fn search(canaries: &[Canary], places: &[PathBuf]) -> Report {
    match Search::new(canaries) {
        Ok(search) => secrecy::check(&search, places, &[]),
        Err(too_short) => Report {
            checker: "secrecy",
            verdict: Verdict::Unknown,
            counts: BTreeMap::new(),
            stories: Vec::new(),
            more_stories: 0,
            doubts: vec![too_short.to_string()],
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_that_ended_a_process_is_found_and_a_contained_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("n1.log");
        fs::write(
            &log,
            "INFO ready\npanic in thread image-1 at a.rs:1: x; the thread ends\n\
             panic in thread main at b.rs:2: y; the process ends\n",
        )
        .unwrap();
        assert_eq!(
            panics(&log),
            ["panic in thread main at b.rs:2: y; the process ends"]
        );
    }
}
