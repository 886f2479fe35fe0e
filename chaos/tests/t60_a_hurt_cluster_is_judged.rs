//! One short run of real nodes under faults that need no root, from outside: the program, its exit code, what it leaves.

#![allow(
    clippy::unwrap_used,
    reason = "a test program; its helpers are not marked as tests"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// What Cargo built.
const CHAOS: &str = env!("CARGO_BIN_EXE_jarvis-chaos");
/// One of each lane, so that they overlap.
const FAULTS: &str = "kill_leader,isolate_one,latency";
/// Twenty-four seconds: each of these happens at least once.
const MINUTES: &str = "0.4";

fn chaos(arguments: &[&str]) -> Output {
    Command::new(CHAOS).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}\n{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

#[test]
#[ignore = "runs three nodes for half a minute: run by .ci/run, after a build of the workspace"]
fn t60_a_hurt_cluster_is_judged_and_its_record_and_report_are_left() {
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path().join("work");
    let results = folder.path().join("results.jsonl");
    let output = chaos(&[
        "run",
        "--minutes",
        MINUTES,
        "--seed",
        "7",
        "--faults",
        FAULTS,
        "--json",
        "--work",
        work.to_str().unwrap(),
        "--results",
        results.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));

    let outcome: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(outcome["verdict"], "held");
    assert!(outcome["operations"].as_u64().unwrap() > 500, "{outcome}");
    for fault in FAULTS.split(',') {
        assert!(outcome["faults"][fault]["installed"].as_u64().unwrap() > 0);
    }
    let line = fs::read_to_string(&results).unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["what"], "run");
    assert_eq!(line["verdict"], "held");

    let page = fs::read_to_string(work.join("report.html")).unwrap();
    assert!(page.contains("kill_leader") && page.ends_with("</html>\n"));
    // What held leaves its record and its report, and nothing with a key in it.
    assert_eq!(fs::read_dir(&work).unwrap().count(), 2);

    let history = work.join("history.jsonl");
    let judge = |path: &Path| chaos(&["check", "--history", path.to_str().unwrap()]);
    let again = judge(&history);
    assert_eq!(again.status.code(), Some(0), "{}", said(&again));
    let corrupted = folder.path().join("corrupted.jsonl");
    fs::write(&corrupted, corrupt(&fs::read_to_string(&history).unwrap())).unwrap();
    let again = judge(&corrupted);
    assert_eq!(again.status.code(), Some(1), "{}", said(&again));
}

/// The history with one read that shows what nobody wrote.
fn corrupt(history: &str) -> String {
    let mut is_done = false;
    let lines = history.lines().map(|line| {
        let mut record: Value = serde_json::from_str(line).unwrap();
        let is_read = record["kind"] == "read" && record["answer"]["value"].is_string();
        if is_read && !is_done {
            is_done = true;
            record["answer"]["value"] = "from nowhere".into();
        }
        format!("{record}\n")
    });
    let text: String = lines.collect();
    assert!(text.contains("from nowhere"), "there was no read at all");
    text
}

const HELD: &str = r#"{"type":"header","format":1,"seed":7,"nodes":[1],"command":"","commit":"","request_prefix":"t-"}
{"type":"op","id":1,"process":1,"node":1,"kind":"write","key":"a","value":"v1","start_ns":1,"end_ns":2,"outcome":"ok","answer":{"version":1}}
{"type":"op","id":2,"process":1,"node":1,"kind":"read","key":"a","start_ns":3,"end_ns":4,"outcome":"ok","answer":{"value":"v1","version":1}}
"#;

#[test]
fn t60_exit_codes_tell_held_from_violated_from_nothing_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.jsonl");
    let judge = |text: &str| {
        fs::write(&path, text).unwrap();
        chaos(&["check", "--json", "--history", path.to_str().unwrap()])
    };
    let held = judge(HELD);
    assert_eq!(held.status.code(), Some(0), "{}", said(&held));
    let outcome: Value = serde_json::from_slice(&held.stdout).unwrap();
    assert_eq!(outcome["verdict"], "held");
    assert_eq!(outcome["operations"], 2);

    let violated = judge(&corrupt(HELD));
    assert_eq!(violated.status.code(), Some(1), "{}", said(&violated));

    let header: String = HELD
        .lines()
        .take(1)
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(judge(&header).status.code(), Some(2), "nothing was judged");
    let cut = judge(HELD.trim_end());
    assert_eq!(cut.status.code(), Some(2));
    assert!(said(&cut).contains("line 3"), "{}", said(&cut));
}

#[test]
fn t60_what_can_not_be_run_says_so_and_is_not_held() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().to_str().unwrap();
    let missing = chaos(&["run", "--bin-dir", empty]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(said(&missing).contains("cargo build"), "{}", said(&missing));
    let misspelt = chaos(&["run", "--faults", "kill_everything"]);
    assert_eq!(misspelt.status.code(), Some(2));
    assert!(said(&misspelt).contains("kill_all"), "{}", said(&misspelt));
    let nothing = Command::new(CHAOS)
        .arg("check")
        .env_clear()
        .output()
        .unwrap();
    assert_eq!(nothing.status.code(), Some(2));
    assert!(said(&nothing).contains("--history"), "{}", said(&nothing));
}
