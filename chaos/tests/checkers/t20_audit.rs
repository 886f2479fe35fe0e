//! The trail against what clients were told.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use jarvis_chaos::checker::audit::{self, Sources};
use jarvis_chaos::checker::{Report, Verdict};
use jarvis_chaos::history::{Answer, Kind, Operation};

use crate::tale::{
    Told as _, assert_held, assert_unknown, assert_violated, batch, cas, history, list, of, read,
    write,
};
use crate::trails::{Disks, Told, bodies, chained, plain};

const WRITE_A: &str = r#","name":"a","version":1,"kid":"a-1","batch":1"#;
const READ_A: &str = r#","name":"a","version":1"#;

/// One trail, and what was told.
fn check(operations: impl IntoIterator<Item = Operation>, events: &[Told<'_>]) -> Report {
    let disks = Disks::new();
    let folder = disks.open_only(1, &chained(&bodies(events)));
    audit::check(&history(operations), &from(&[folder]))
}

fn from(folders: &[PathBuf]) -> Sources {
    Sources {
        folders: (1..).zip(folders.iter().cloned()).collect(),
        lost_disks: BTreeSet::new(),
    }
}

/// A write, and what its answer said of the trail.
fn wrote_a(seq: u64) -> Operation {
    let mut operation = write("a", "x").at(0, 1).wrote(1);
    operation.answer.audit_seq = Some(seq);
    operation.answer.log_id = Some(format!("3-1-{}", seq + 100));
    operation
}

fn read_a(seq: u64) -> Operation {
    let mut operation = read("a").at(2, 3).saw("x", 1);
    operation.answer.index = Some(seq + 100);
    operation
}

#[test]
fn every_answer_has_its_event() {
    let stale = {
        let mut stale = read("a").at(30, 31).saw("x", 1);
        stale.max_age_ms = Some(500);
        stale.answer.stale_age_ms = Some(80);
        stale.answer.index = Some(7);
        stale
    };
    let operations = [
        wrote_a(2),
        read_a(3),
        cas("a", 7, "y").at(4, 5).conflict(1),
        read("b").at(6, 7).absent(),
        read("c").at(8, 9).failed("not_authorized"),
        read("c").at(8, 9).failed("unauthenticated"),
        write("a", "z").at(10, 11).failed("no_leader"),
        write("a", "lost").at(12, 13).unknown(),
        write("a", "made").at(12, 13).unknown(),
        batch(&[("d", "1", 0, 0), ("e", "2", 0, 0)])
            .at(14, 15)
            .became(&[("d", 1), ("e", 1)]),
        list("").at(16, 17).listed(&[("a", 2)]),
        stale,
        of(Kind::Use, "a").at(40, 41).failed("denied"),
        of(Kind::Other, "").at(42, 43).ok(Answer::default()),
    ];
    let events = [
        ("cluster.init", "ok", "", ""),
        ("secret.write", "allow", "t-1", WRITE_A),
        ("secret.read", "allow", "t-2", READ_A),
        (
            "secret.write",
            "refused",
            "t-3",
            r#","name":"a","reason":"conflict""#,
        ),
        ("secret.read", "not_found", "t-4", r#","name":"b""#),
        (
            "secret.read",
            "deny",
            "t-5",
            r#","name":"c","reason":"rule""#,
        ),
        ("secret.write", "allow", "t-9", r#","name":"a","version":2"#),
        (
            "secret.write",
            "allow",
            "t-10",
            r#","name":"d","version":1,"batch":2"#,
        ),
        (
            "secret.write",
            "allow",
            "t-10",
            r#","name":"e","version":1,"batch":2"#,
        ),
        ("secret.list", "allow", "t-11", ""),
        ("secret.read", "allow", "somebody-else", READ_A),
        ("policy.read", "allow", "t-14", ""),
        (
            "secret.read.stale",
            "allow",
            "t-12",
            r#","name":"a","version":1,"served_index":7,"age_ms":80"#,
        ),
    ];
    let lines = chained(&bodies(&events));
    let disks = Disks::new();
    let folders = [
        disks.open_only(1, &lines),
        disks.in_segments(2, &lines),
        disks.open_only(3, &lines[..10]),
    ];
    let report = audit::check(&history(operations), &from(&folders));
    assert_held(&report);
    assert_eq!(report.count("trails"), 3);
    assert_eq!(report.count("events"), 13);
    assert_eq!(report.count("shortest trail"), 10);
    assert_eq!(report.count("events compared"), 13 + 10);
    assert_eq!(report.count("matched events"), 11);
    assert_eq!(report.count("other events"), 2);
    assert_eq!(report.count("operations"), 13);
}

#[test]
fn an_event_is_missing() {
    let event = ("secret.write", "allow", "t-1", WRITE_A);
    let report = check([wrote_a(1), read_a(2)], &[event]);
    assert_violated(&report, "0 events instead of 1", &[2]);
    let denied = read("a").at(4, 5).failed("not_authorized");
    let report = check([wrote_a(1), denied], &[event]);
    assert_violated(&report, "0 events instead of 1", &[2]);
}

#[test]
fn an_event_is_there_twice() {
    let event = ("secret.write", "allow", "t-1", WRITE_A);
    let mut operation = wrote_a(1);
    operation.answer.audit_seq = None;
    operation.answer.log_id = None;
    let report = check([operation], &[event, event]);
    assert_violated(&report, "2 events instead of 1", &[1]);
    let unknown = write("a", "x").at(0, 1).unknown();
    let report = check([unknown], &[event, event]);
    assert_violated(&report, "2 events instead of 0 or 1", &[1]);
}

#[test]
fn what_certainly_did_not_happen_has_an_event() {
    let event = ("secret.write", "allow", "t-1", WRITE_A);
    let report = check([write("a", "x").at(0, 1).failed("no_leader")], &[event]);
    assert_violated(&report, "1 events instead of 0", &[1]);
}

#[test]
fn the_event_says_something_else_than_the_answer() {
    let cases: [(Operation, Told<'_>, &str); 9] = [
        (
            wrote_a(1),
            ("secret.write", "allow", "t-1", r#","name":"a","version":2"#),
            "the answer said version 1, the event says 2",
        ),
        (
            wrote_a(1),
            ("secret.write", "allow", "t-1", r#","name":"b","version":1"#),
            "the operation was on a",
        ),
        (
            wrote_a(7),
            ("secret.write", "allow", "t-1", WRITE_A),
            "the answer said event 7, the event says 1",
        ),
        (
            read_a(7),
            ("secret.read", "allow", "t-1", READ_A),
            "the answer said index 107, the event says 101",
        ),
        (
            read_a(1),
            ("secret.delete", "allow", "t-1", READ_A),
            "an event of another kind",
        ),
        (
            read_a(1),
            ("secret.read", "deny", "t-1", READ_A),
            "was done, and its event says deny",
        ),
        (
            read_a(1),
            ("secret.read.stale", "allow", "t-1", READ_A),
            "whether the read was stale",
        ),
        (
            read("a").at(0, 1).failed("not_authorized"),
            ("secret.read", "allow", "t-1", READ_A),
            "says allow instead of deny",
        ),
        (
            cas("a", 1, "x").at(0, 1).conflict(2),
            ("secret.write", "allow", "t-1", WRITE_A),
            "says allow instead of refused",
        ),
    ];
    for (operation, event, what) in cases {
        assert_violated(&check([operation], &[event]), what, &[1]);
    }
}

#[test]
fn a_batch_is_there_in_part() {
    let asked = || batch(&[("d", "1", 0, 0), ("e", "2", 0, 0)]).at(0, 1);
    let half = ("secret.write", "allow", "t-1", r#","name":"d","version":1"#);
    let report = check([asked().became(&[("d", 1), ("e", 1)])], &[half]);
    assert_violated(&report, "1 events instead of 2", &[1]);
    let report = check([asked().unknown()], &[half]);
    assert_violated(&report, "1 events instead of 0 or 2", &[1]);
}

#[test]
fn a_repeated_request_has_one_event() {
    let first = wrote_a(1).keyed("k").unknown();
    let again = || Operation {
        start_ns: 10,
        end_ns: Some(11),
        ..wrote_a(1).keyed("k")
    };
    let event = ("secret.write", "allow", "t-1", WRITE_A);
    let second = ("secret.write", "allow", "t-2", WRITE_A);
    assert_held(&check([first.clone(), again(), again()], &[event]));
    let report = check([first.clone(), again()], &[event, second]);
    assert_violated(&report, "the answer said event 1, the event says 2", &[2]);
    let report = check([first.clone(), again()], &[("x", "ok", "", "")]);
    assert_violated(&report, "0 events instead of 1", &[1, 2]);
    let mut other = again();
    other.answer.version = Some(9);
    let report = check([first, other], &[event]);
    assert_violated(&report, "the answer said version 9", &[1, 2]);
}

#[test]
fn the_trail_tells_it_the_wrong_way_round() {
    let operations = [
        write("a", "x").at(0, 1).wrote(1),
        write("b", "y").at(2, 3).wrote(1),
    ];
    let events = [
        ("secret.write", "allow", "t-2", r#","name":"b","version":1"#),
        ("secret.write", "allow", "t-1", WRITE_A),
    ];
    assert_violated(&check(operations, &events), "wrong way round", &[1, 2]);
}

#[test]
fn an_event_of_a_request_that_nobody_made() {
    let event = ("secret.read", "allow", "t-99", READ_A);
    let report = check([write("a", "x").at(0, 1).unknown()], &[event]);
    assert_violated(&report, "nobody made", &[]);
    assert!(report.stories[0].notes[0].contains("t-99"), "{report}");
}

#[test]
fn two_nodes_tell_different_stories() {
    let events = [
        ("a", "ok", "", ""),
        ("b", "ok", "", ""),
        ("c", "ok", "", ""),
    ];
    let mut other = events;
    other[1].0 = "forged";
    let disks = Disks::new();
    let folders = [
        disks.open_only(1, &chained(&bodies(&events))),
        disks.open_only(2, &chained(&bodies(&other))),
        disks.open_only(3, &chained(&bodies(&events))),
    ];
    let report = audit::check(&history([]), &from(&folders));
    assert_violated(&report, "the trails of nodes 1 and 2 part at event 2", &[]);
    assert_eq!(report.stories.len(), 1, "{report}");
    assert!(report.stories[0].notes[1].contains("forged"), "{report}");
}

/// What a trail on a disk says after this was done to its files.
fn damaged(damage: impl FnOnce(&[String]) -> Vec<(String, String)>) -> Report {
    let events = [
        ("a", "ok", "", ""),
        ("b", "ok", "", ""),
        ("c", "ok", "", ""),
    ];
    let lines = chained(&bodies(&events));
    let disks = Disks::new();
    let folder = disks.folder(1);
    for (name, content) in damage(&lines) {
        fs::write(folder.join(name), content).unwrap();
    }
    audit::check(&history([]), &from(&[folder]))
}

fn in_the_open(content: String) -> Vec<(String, String)> {
    vec![("audit.jsonl".to_owned(), content)]
}

#[track_caller]
fn assert_fault(report: &Report, what: &str) {
    assert_violated(report, "the trail of node 1 does not hold", &[]);
    let note = &report.stories[0].notes[0];
    assert!(note.contains(what), "{note} does not say {what}");
}

#[test]
fn a_changed_line_breaks_the_chain() {
    let report =
        damaged(|lines| in_the_open(lines.concat().replace("\"event\":\"b\"", "\"event\":\"x\"")));
    assert_fault(&report, "audit.jsonl, line 2: the hash of event 2");
}

#[test]
fn a_removed_line_is_a_gap() {
    let report = damaged(|lines| in_the_open(lines[0].clone() + &lines[2]));
    assert_fault(&report, "line 2: event 3 stands where event 2 should");
    let report = damaged(|lines| in_the_open(lines[1..].concat()));
    assert_fault(&report, "line 1: event 2 stands where event 1 should");
}

#[test]
fn a_line_that_is_none() {
    let report = damaged(|lines| in_the_open(lines[0].clone() + "{}\n"));
    assert_fault(&report, "line 2: the line does not end with a hash");
    let report = damaged(|lines| in_the_open(lines[0].to_uppercase()));
    assert_fault(&report, "line 1");
}

#[test]
fn an_index_that_goes_back() {
    let mut told = bodies(&[("a", "ok", "", ""), ("b", "ok", "", "")]);
    told[1] = told[1].replace("\"index\":102", "\"index\":7");
    let report = damaged(|_| in_the_open(chained(&told).concat()));
    assert_fault(&report, "the index goes back from 101 to 7");
}

#[test]
fn a_half_written_last_line_is_no_fault() {
    let report = damaged(|lines| in_the_open(lines.concat() + &lines[0][..20]));
    assert_unknown(&report, "nothing was checked");
    assert_eq!(report.count("events"), 3);
}

#[test]
fn a_closed_segment_is_what_its_name_says() {
    let events = [
        ("a", "ok", "", ""),
        ("b", "ok", "", ""),
        ("c", "ok", "", ""),
    ];
    let lines = chained(&bodies(&events));
    // Cut off at its end.
    let disks = Disks::new();
    let folder = disks.folder(1);
    plain(&folder, 1, &lines);
    let name = fs::read_dir(&folder)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    fs::write(&name, lines[..2].concat()).unwrap();
    let report = audit::check(&history([]), &from(&[folder.clone()]));
    assert_fault(&report, "it does not end with the head in its name");
    // Half a line at its end.
    fs::write(&name, lines.concat().trim_end()).unwrap();
    let report = audit::check(&history([]), &from(&[folder]));
    assert_fault(&report, "the line does not end");
    // The one before it is gone.
    let disks = Disks::new();
    let folder = disks.folder(1);
    plain(&folder, 2, &lines[1..]);
    let report = audit::check(&history([]), &from(&[folder]));
    assert_fault(&report, "event 1 is in no file");
}

#[test]
fn without_trails_it_is_unknown() {
    let nowhere = Sources {
        folders: BTreeMap::from([(1, PathBuf::from("/nonexistent/audit"))]),
        lost_disks: BTreeSet::new(),
    };
    let report = audit::check(&history([]), &nowhere);
    assert_unknown(&report, "the trail of node 1 can not be read");
    assert_eq!(
        audit::check(&history([]), &Sources::default()).verdict,
        Verdict::Unknown
    );
}

#[test]
fn a_stale_read_may_lose_its_event_with_its_disk_only() {
    let mut stale = read("a").at(0, 1).saw("x", 1).on_node(3);
    stale.max_age_ms = Some(500);
    stale.answer.stale_age_ms = Some(80);
    let event = ("secret.write", "allow", "t-2", WRITE_A);
    let told = || [stale.clone(), write("a", "x").at(0, 1).wrote(1)];
    assert_violated(&check(told(), &[event]), "0 events instead of 1", &[1]);
    let disks = Disks::new();
    let folder = disks.open_only(1, &chained(&bodies(&[event])));
    let mut sources = from(&[folder]);
    sources.lost_disks.insert(3);
    assert_held(&audit::check(&history(told()), &sources));
}
