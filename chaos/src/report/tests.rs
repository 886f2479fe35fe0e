//! A report is whole, points nowhere, and says what it was given.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;
use crate::blackbox::percentiles;
use crate::history::{Fault, FaultResult, Header, Kind, Leader, Operation, Outcome as Done};

fn history() -> History {
    let operation = |id: u64| Operation {
        id,
        node: 1 + id % 3,
        kind: Kind::Write,
        key: "a<script>alert(1)</script>".to_owned(),
        value: Some(format!("v{id}")),
        start_ns: id * 10_000_000,
        end_ns: Some(id * 10_000_000 + 5_000_000),
        outcome: [Done::Ok, Done::Fail, Done::Info][usize::try_from(id % 3).unwrap()],
        error: (id % 3 == 1).then(|| "conflict".to_owned()),
        ..Operation::default()
    };
    History {
        header: Header {
            nodes: vec![1, 2, 3],
            ..Header::default()
        },
        operations: (1..=3_000).map(operation).collect(),
        faults: vec![
            Fault {
                kind: "kill_leader".to_owned(),
                nodes: vec![2],
                start_ns: 1_000_000_000,
                end_ns: Some(9_000_000_000),
                result: FaultResult::Installed,
                leaves_quorum: true,
                note: Some("a \"note\" & more".to_owned()),
            },
            Fault {
                kind: "bridge".to_owned(),
                result: FaultResult::Skipped,
                ..Fault::default()
            },
        ],
        leaders: vec![
            Leader {
                at_ns: 0,
                node: 2,
                term: 1,
            },
            Leader {
                at_ns: 3_000_000_000,
                node: 3,
                term: 2,
            },
        ],
        ..History::default()
    }
}

fn outcome(history: &History) -> Outcome {
    let reports = vec![crate::checker::versioned::check(history)];
    let gates = vec![Gate::needs("some gate", false, "because of <this>")];
    Outcome {
        verdict: Outcome::judge(&reports, &gates),
        seed: 42,
        nodes: vec![1, 2, 3],
        seconds: 30.0,
        command: "jarvis-chaos run --seed 42".to_owned(),
        commit: "0123abc".to_owned(),
        operations: 3_000,
        served: 2_000,
        operations_by_kind: crate::blackbox::count_operations(history),
        latency: percentiles(history),
        faults: BTreeMap::new(),
        left_out: BTreeMap::from([("ring".to_owned(), "it needs five nodes".to_owned())]),
        leaders: 2,
        without_quorum_s: 1.5,
        peer_bytes: 4_096,
        snapshots: BTreeMap::new(),
        keys_at_the_end: 7,
        agreed: None,
        deaths: Vec::new(),
        reports,
        gates,
        history: PathBuf::from("history.jsonl"),
        report: PathBuf::from("report.html"),
        kept: None,
    }
}

/// Every tag that is opened is closed, in order.
fn unbalanced(page: &str) -> Option<String> {
    let mut open: Vec<&str> = Vec::new();
    for piece in page.split('<').skip(1) {
        let (tag, _) = piece.split_once('>')?;
        let name = tag.split([' ', '/']).find(|word| !word.is_empty())?;
        if tag.starts_with('!') || tag.ends_with('/') || name == "meta" {
            continue;
        }
        if tag.starts_with('/') {
            if open.pop() != Some(name) {
                return Some(tag.to_owned());
            }
        } else {
            open.push(name);
        }
    }
    open.pop().map(str::to_owned)
}

#[test]
fn the_page_is_whole_and_points_nowhere() {
    let history = history();
    let outcome = outcome(&history);
    let page = page(&history, &outcome, &[(2_000_000_000, 3_000_000_000)]);
    assert_eq!(unbalanced(&page), None);
    for reference in [
        "http:", "https:", "src=", "href=", "url(", "@import", "<script",
    ] {
        assert!(!page.contains(reference), "{reference}");
    }
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
}

#[test]
fn it_says_what_happened() {
    let history = history();
    let page = page(
        &history,
        &outcome(&history),
        &[(2_000_000_000, 3_000_000_000)],
    );
    for part in [
        "seed 42",
        "kill_leader, nodes [2], 1.0 to 9.0 s, a &quot;note&quot; &amp; more",
        "bridge, skipped",
        "node 2 leads in term 1, 0.0 to 3.0 s",
        "no majority, 2.0 to 3.0 s",
        "because of &lt;this&gt;",
        "it needs five nodes",
        "versioned",
        "M",
    ] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn a_long_run_does_not_make_an_endless_page() {
    let mut history = history();
    let mut operations = Vec::new();
    for minute in 0..60 {
        operations.extend(history.operations.iter().cloned().map(|mut operation| {
            operation.start_ns += minute * 60_000_000_000;
            operation.end_ns = Some(operation.start_ns + 1);
            operation
        }));
    }
    history.operations = operations;
    let page = page(&history, &outcome(&history), &[]);
    assert!(page.len() < 4_000_000, "{}", page.len());
}

#[test]
fn the_check_of_tags_can_fail() {
    assert_eq!(unbalanced("<a><b></a></b>").as_deref(), Some("/a"));
    assert_eq!(unbalanced("<a>").as_deref(), Some("a"));
    assert_eq!(unbalanced("<a><rect x=\"1\"/></a>"), None);
}
