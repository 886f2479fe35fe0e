//! What must hold after every crash, damage and repair (C3, C7, X4).

use serde_json::Value;

use crate::workload::{Acknowledged, Ledger};
use crate::{Cluster, Member, eventually, trail};

/// Chain heads as they were told at some time: a trail must keep them for ever.
#[derive(Debug, Clone, Default)]
pub struct Heads {
    /// Sequence number, and the head after that event, in hex.
    told: Vec<(u64, String)>,
}

/// All of it: values on every node, one history on all of them, and every head that was ever told.
///
/// # Panics
/// When something does not hold.
#[track_caller]
pub fn nothing_is_lost(cluster: &Cluster, ledger: &Ledger, heads: &mut Heads) {
    values_are_there(cluster, ledger);
    histories_agree(cluster, ledger, heads);
    ledger.assert_failures_are_honest();
}

/// C7: the newest acknowledged version of each name can be read through every node, with exactly its value.
///
/// # Panics
/// When one is lost.
#[track_caller]
pub fn values_are_there(cluster: &Cluster, ledger: &Ledger) {
    for write in ledger.newest() {
        for node in &cluster.nodes {
            value_is_there(node, &write);
        }
    }
}

#[track_caller]
fn value_is_there(node: &Member, write: &Acknowledged) {
    let name = write.name.replace('/', "%2F");
    let path = format!("/secret/{name}?version={}", write.version);
    let found = ask(node, &path);
    assert!(
        found["value"] == write.value.as_str() && found["version"] == write.version,
        "{} lost version {} of {}, which was acknowledged",
        node.name,
        write.version,
        write.name
    );
}

/// C3, X4: the trails are the same bytes on all nodes, verify, hold the event of every acknowledged write, and fit what
/// each node's state says of its trail.
///
/// # Panics
/// When they do not.
#[track_caller]
pub fn histories_agree(cluster: &Cluster, ledger: &Ledger, heads: &mut Heads) {
    let mut known_hashes: Vec<(u64, String)> = Vec::new();
    for node in &cluster.nodes {
        let told = ask(node, "/debug/state-hash");
        let head = (number(&told["audit_seq"]), text(&told["audit_head"]));
        heads.told.push(head);
        // Nodes that happen to be asked at the same index must have the same state.
        let (index, hash) = (number(&told["index"]), text(&told["hash"]));
        for (other_index, other_hash) in &known_hashes {
            assert!(
                *other_index != index || *other_hash == hash,
                "the states differ at index {index}"
            );
        }
        known_hashes.push((index, hash));
    }
    let acknowledged = ledger.all();
    let told = heads.told.iter().map(|(seq, _)| *seq);
    let events = acknowledged.iter().map(|write| write.audit_seq);
    let upto = told.chain(events).max().unwrap_or(0);

    let mut first: Option<(&Member, Vec<String>)> = None;
    for node in &cluster.nodes {
        let lines = trail_upto(node, upto);
        match &first {
            None => first = Some((node, lines)),
            Some((other, expected)) => assert!(
                *expected == lines,
                "the trails of {} and {} differ",
                other.name,
                node.name
            ),
        }
        let report = trail::verify(cluster.programs, &node.data_dir);
        assert!(
            number(&report["last_seq"]) >= upto,
            "{}: {report}",
            node.name
        );
    }
    let (_, lines) = first.expect("a cluster has nodes");
    for write in &acknowledged {
        event_is_there(&lines, write);
    }
    for (seq, head) in &heads.told {
        let line = event(&lines, *seq);
        assert_eq!(
            line["hash"],
            head.as_str(),
            "event {seq} is not the one of which a node told the head"
        );
    }
}

#[track_caller]
fn event_is_there(lines: &[String], write: &Acknowledged) {
    let line = event(lines, write.audit_seq);
    assert!(
        line["event"] == "secret.write"
            && line["outcome"] == "allow"
            && line["name"] == write.name.as_str()
            && line["version"] == write.version,
        "event {} is not that of version {} of {}: {line}",
        write.audit_seq,
        write.version,
        write.name
    );
}

/// The trail's lines up to that event, once the node has got so far.
#[must_use]
#[track_caller]
pub fn trail_upto(node: &Member, upto: u64) -> Vec<String> {
    let what = format!("the trail of {} reaches event {upto}", node.name);
    let count = usize::try_from(upto).unwrap();
    eventually(&what, || {
        let mut lines = trail::lines(&node.data_dir);
        lines.truncate(count);
        (lines.len() == count).then_some(lines)
    })
}

/// The lines begin with event 1.
fn event(lines: &[String], seq: u64) -> Value {
    let place = usize::try_from(seq - 1).unwrap();
    serde_json::from_str(&lines[place]).unwrap()
}

/// An answer of 200, sooner or later: after a start a leader may still be on its way. What comes instead is told, once as
/// long as it stays the same: a story that gets no further then says why.
#[track_caller]
fn ask(node: &Member, path: &str) -> Value {
    let what = format!("an answer of {} to {path}", node.name);
    let mut told = String::new();
    eventually(&what, || {
        assert!(
            !node.has_died(),
            "{} ended by itself:\n{}",
            node.name,
            node.said()
        );
        let instead = match node.admin.try_get(path) {
            Ok(answer) => match answer.status {
                200 => return Some(answer.json()),
                503 | 504 => format!("{} {}", answer.status, answer.error()),
                status => panic!("{path} was answered with {status}: {}", answer.text()),
            },
            Err(failure) => failure.to_string(),
        };
        if told != instead {
            println!("{}, asked for {path}: {instead}", node.name);
            told = instead;
        }
        None
    })
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("the answer has a number here")
}

fn text(value: &Value) -> String {
    let text = value.as_str().expect("the answer has a text here");
    text.to_owned()
}
