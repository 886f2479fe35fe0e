//! How the nodes of a cluster are at the moment when a test fails: what a person would look at first.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::http::{Caller, Request};
use crate::process::last_lines;

/// A node that does not answer is shown as one; the test has failed anyhow.
const PATIENCE: Duration = Duration::from_secs(1);
/// Readiness check by check; Raft's own view; the gauges, which need no credential and no leader.
const QUESTIONS: [&str; 4] = [
    "/readyz?verbose",
    "/cluster/status",
    "/debug/raft",
    "/metrics",
];
/// Of the metrics, those: what Raft does, and how long its disk takes.
const SHOWN_METRICS: [&str; 2] = ["jarvis_raft_", "jarvis_fsync_"];

/// One node.
pub(crate) struct Patient {
    pub(crate) name: String,
    /// Of its process.
    pub(crate) state: String,
    pub(crate) admin: Caller,
    pub(crate) log: PathBuf,
}

/// Prints what there is to know. Never panics: it runs while a panic unwinds.
pub(crate) fn show(patients: &[Patient]) {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("--- load average: {}", load.trim_end());
    for patient in patients {
        println!("--- {}: {}", patient.name, patient.state);
        for question in QUESTIONS {
            println!("{question}: {}", answer(&patient.admin, question));
        }
        println!("{}:\n{}", patient.log.display(), last_lines(&patient.log));
    }
}

fn answer(admin: &Caller, question: &str) -> String {
    let request = Request::get(question).patience(PATIENCE);
    match admin.try_send(request) {
        Ok(answer) if question == "/metrics" => {
            let text = answer.text();
            let is_shown = |line: &&str| SHOWN_METRICS.iter().any(|start| line.starts_with(start));
            let shown = text.lines().filter(is_shown);
            shown.collect::<Vec<_>>().join("; ")
        }
        Ok(answer) => format!("{} {}", answer.status, answer.text()),
        Err(failure) => failure.to_string(),
    }
}
