//! C8: `bench failover` stops the leader's process as if its machine had lost power. Another node leads, in a later term;
//! the silent one is killed and comes back; and no node stays behind stopped, whatever ends the bench.
//!
//! ```text
//! n1, n2, n3 ── leader ‖, twice ── a hand-over ── leader ‖ ── bench ✗ ── all ready
//! ```

use std::fs;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use jarvis_harness::{DevCluster, DevOptions, Programs, eventually, phase, programs};

/// What Cargo built.
const JARVIS: Programs = programs!();

#[test]
fn a_silent_leader_is_replaced_and_no_node_stays_behind_stopped() {
    let cluster = JARVIS.dev(&DevOptions::default());

    phase("two leaders fall silent, one after the other");
    let report = report_of(&cluster, &["--trials", "2"]);
    assert_eq!(report["kind"], "pause", "{report}");
    assert_eq!(report["leader_changed"], 2, "{report}");
    assert_eq!(report["term_rose"], 2, "{report}");
    let leaders = report["leaders"].as_array().expect("one for each trial");
    assert_eq!(leaders.len(), 2, "{report}");
    for one in leaders {
        assert_ne!(one["old_leader"], one["new_leader"], "{report}");
        let (old, new) = (one["old_term"].as_u64(), one["new_term"].as_u64());
        assert!(old.is_some() && old < new, "{report}");
    }

    phase("a leader hands over");
    let report = report_of(&cluster, &["--trials", "1", "--how", "transfer"]);
    assert_eq!(report["kind"], "transfer", "{report}");
    assert_eq!(report["leader_changed"], 1, "{report}");

    phase("a target that nobody meets is a failure where it is required");
    let missed = ["--trials", "1", "--limit-p99", "1ms"];
    let output = failover(&cluster, &missed).output();
    let output = output.expect("the command line starts");
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).expect("the report is JSON");
    assert_eq!(report["holds"], false, "{report}");

    phase("the bench ends while a leader is stopped");
    let mut bench = failover(&cluster, &["--trials", "100"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the command line starts");
    eventually("a leader is stopped", || {
        let mut nodes = cluster.all();
        nodes
            .any(|index| is_stopped(cluster.pid(index)))
            .then_some(())
    });
    let pid = i32::try_from(bench.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a process id"), Signal::TERM).expect("the bench takes a signal");
    let status = bench.wait().expect("the bench ends");
    assert_eq!(status.code(), Some(1), "{status}");
    eventually("all nodes are back", || {
        let is_back = |index| !is_stopped(cluster.pid(index)) && cluster.is_well(index, "/readyz");
        cluster.all().all(is_back).then_some(())
    });
}

/// The report of a bench that did what it should.
fn report_of(cluster: &DevCluster, flags: &[&str]) -> Value {
    let output = failover(cluster, flags).output();
    let output = output.expect("the command line starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).expect("the report is JSON")
}

/// This is no measurement: a try may take longer than in one, on a busy machine and in a debug build.
fn failover(cluster: &DevCluster, flags: &[&str]) -> Command {
    let dir = cluster.dir().display().to_string();
    let always = ["bench", "failover", "--json", "--dev", dir.as_str()];
    let patient = ["--settle", "200ms", "--try-timeout", "500ms"];
    cluster
        .cli()
        .command(&[&always[..], &patient, flags].concat())
}

/// Whether a signal has stopped the process.
fn is_stopped(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // `pid (name) state …`; the name may hold anything.
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
    state.is_some_and(|state| state.starts_with('T'))
}
