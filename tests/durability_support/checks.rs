//! What must hold after every crash, damage and repair (C3, C7, X4).

#![allow(
    dead_code,
    reason = "shared by several test programs, of which each uses its part"
)]

use jarvis_audit::reader::Trail;
use jarvis_audit::verify::{Trust, verify_with};
use serde_json::Value;

use crate::cluster::{Cluster, Node, eventually};
use crate::http::Endpoint;
use crate::workload::{Acknowledged, Ledger};

/// Chain heads as they were told at some time: a trail must keep them for ever.
pub(crate) type Heads = Vec<(u64, [u8; 32])>;

/// All of it: values on every node, one history on all of them, and every head that was ever told.
pub(crate) fn nothing_is_lost(cluster: &Cluster, ledger: &Ledger, heads: &mut Heads) {
    values_are_there(cluster, ledger);
    histories_agree(cluster, ledger, heads);
    ledger.assert_failures_are_honest();
}

/// C7: the newest acknowledged version of each name can be read through every node, with exactly its value.
pub(crate) fn values_are_there(cluster: &Cluster, ledger: &Ledger) {
    for write in ledger.newest() {
        for node in &cluster.nodes {
            value_is_there(node, &write);
        }
    }
}

fn value_is_there(node: &Node, write: &Acknowledged) {
    let name = write.name.replace('/', "%2F");
    let path = format!("/secret/{name}?version={}", write.version);
    let found = ask(&node.endpoint, &path);
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
pub(crate) fn histories_agree(cluster: &Cluster, ledger: &Ledger, heads: &mut Heads) {
    let mut known_hashes: Vec<(u64, String)> = Vec::new();
    for node in &cluster.nodes {
        let told = ask(&node.endpoint, "/debug/state-hash");
        let seq = number(&told["audit_seq"]);
        let mut head = [0; 32];
        hex::decode_to_slice(text(&told["audit_head"]), &mut head).unwrap();
        heads.push((seq, head));
        // Nodes that happen to be asked at the same index must have the same state.
        let index = number(&told["index"]);
        let hash = text(&told["hash"]).to_owned();
        for (other_index, other_hash) in &known_hashes {
            assert!(
                *other_index != index || *other_hash == hash,
                "the states differ at index {index}"
            );
        }
        known_hashes.push((index, hash));
    }
    let acknowledged = ledger.all();
    let told = heads.iter().map(|(seq, _)| *seq);
    let events = acknowledged.iter().map(|write| write.audit_seq);
    let upto = told.chain(events).max().unwrap_or(0);

    let mut first: Option<(&Node, Vec<String>)> = None;
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
        let trust = Trust {
            noted: heads.clone(),
            ..Trust::default()
        };
        let report = verify_with(&node.audit_dir(), &trust)
            .unwrap_or_else(|finding| panic!("the trail of {}: {finding}", node.name));
        assert!(report.last_seq >= upto, "{}: {report}", node.name);
    }
    let (_, lines) = first.expect("a cluster has nodes");
    for write in &acknowledged {
        event_is_there(&lines, write);
    }
}

fn event_is_there(lines: &[String], write: &Acknowledged) {
    let place = usize::try_from(write.audit_seq - 1).unwrap();
    let line: Value = serde_json::from_str(&lines[place]).unwrap();
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
pub(crate) fn trail_upto(node: &Node, upto: u64) -> Vec<String> {
    let what = format!("the trail of {} reaches event {upto}", node.name);
    let count = usize::try_from(upto).unwrap();
    eventually(&what, || {
        let mut lines = trail(node);
        lines.truncate(count);
        (lines.len() == count).then_some(lines)
    })
}

/// The trail's lines as they lie on the disk, from the first event on.
pub(crate) fn trail(node: &Node) -> Vec<String> {
    let lines = Trail::from_seq(&node.audit_dir(), 1).unwrap();
    let lines: Vec<_> = lines.map(Result::unwrap).collect();
    assert!(
        (1..).zip(&lines).all(|(seq, line)| line.seq == seq),
        "the trail of {} has a gap",
        node.name
    );
    lines.into_iter().map(|line| line.json).collect()
}

/// An answer of 200, sooner or later: after a start a leader may still be on its way.
fn ask(endpoint: &Endpoint, path: &str) -> Value {
    let what = format!("an answer to {path}");
    eventually(&what, || {
        let answer = endpoint.get(path).ok()?;
        match answer.status {
            200 => Some(answer.json()),
            503 | 504 => None,
            status => panic!("{path} was answered with {status}: {}", answer.json()),
        }
    })
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("the answer has a number here")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("the answer has a text here")
}
