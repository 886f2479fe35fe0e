//! Rotations.

use jarvis_chaos::checker::rotation::{self, Terms};
use jarvis_chaos::checker::{Report, Verdict};
use jarvis_chaos::history::{Answer, Due, History, Kind, Leader, Operation, Rotation};

use crate::tale::{Told, assert_held, assert_unknown, history, of, read};

const TERMS: Terms = Terms {
    allowance_ns: 100,
    grace_ns: 50,
};

fn due(slot: u64) -> Due {
    Due {
        secret: "s".to_owned(),
        slot: slot.to_string(),
        at_ns: slot * 1_000,
    }
}

/// The rotation for a slot: from that version to the next one, by node 1 in term 3.
fn rotated(slot: u64) -> Rotation {
    Rotation {
        secret: "s".to_owned(),
        slot: slot.to_string(),
        from_version: slot,
        version: slot + 1,
        node: 1,
        term: 3,
        seq: slot * 10,
        at_ns: slot * 1_000 + 20,
    }
}

/// Two slots that rotate, and a read at the end.
fn story() -> History {
    let mut history = history([
        read("s").at(0, 1).saw("v1", 1),
        read("s").at(9_000, 9_001).saw("v3", 3),
    ]);
    history.due = vec![due(1), due(2)];
    history.rotations = vec![rotated(1), rotated(2)];
    history.leaders.push(Leader {
        at_ns: 0,
        node: 1,
        term: 3,
    });
    history
}

#[track_caller]
fn assert_violated(report: &Report, what: &str) {
    assert_eq!(report.verdict, Verdict::Violated, "{report}");
    let said = &report.stories[0].what;
    assert!(said.contains(what), "{said} does not say {what}: {report}");
}

#[track_caller]
fn violated(what: &str, change: impl FnOnce(&mut History)) {
    let mut history = story();
    change(&mut history);
    assert_violated(&rotation::check(&history, TERMS), what);
}

/// A use of a version, and whether the target took it.
fn using(version: u64, at_ns: u64) -> Operation {
    Operation {
        id: 100 + at_ns,
        asked_version: Some(version),
        ..of(Kind::Use, "s")
            .at(at_ns, at_ns + 1)
            .ok(Answer::default())
    }
}

#[test]
fn each_due_slot_rotates_once() {
    let mut history = story();
    history.due.push(due(9));
    history.operations.extend([
        using(1, 1_060),
        using(2, 1_030),
        using(1, 2_000).failed("denied"),
        using(1, 1_010).failed("connect"),
    ]);
    let report = rotation::check(&history, TERMS);
    assert_held(&report);
    assert_eq!(report.count("due slots"), 2);
    assert_eq!(report.count("slots not due for long enough"), 1);
    assert_eq!(report.count("rotations"), 2);
    assert_eq!(report.count("uses"), 3);
    assert_eq!(report.count("uses not judged"), 1);
    assert_eq!(report.count("reads"), 1);
}

#[test]
fn a_slot_that_is_not_rotated() {
    violated("was due for 2", |history| {
        history.rotations.pop();
    });
}

#[test]
fn a_slot_that_is_rotated_twice() {
    violated("was rotated 2 times for 1", |history| {
        let again = Rotation {
            from_version: 3,
            version: 4,
            seq: 30,
            ..rotated(1)
        };
        history.rotations.push(again);
    });
}

#[test]
fn a_rotation_that_was_not_due() {
    violated("which was not due", |history| {
        history.rotations.push(rotated(3));
    });
    violated("before that was due", |history| {
        history.rotations[0].at_ns = 999;
    });
}

#[test]
fn two_rotations_of_one_version() {
    violated("started from one version", |history| {
        history.rotations[1].from_version = 1;
    });
    violated("made no later version", |history| {
        history.rotations[0].version = 1;
    });
    violated("the wrong way round", |history| {
        history.rotations[1].seq = 5;
    });
}

#[test]
fn a_deposed_leader_rotates() {
    violated("a deposed leader rotated", |history| {
        history.rotations[1].term = 2;
    });
    violated("in which node 1 led", |history| {
        history.rotations[1].node = 2;
    });
}

#[test]
fn a_reader_without_a_version() {
    violated("found no version", |history| {
        let read = Operation {
            id: 7,
            ..read("s").at(1_015, 1_025).absent()
        };
        history.operations.push(read);
    });
}

#[test]
fn a_valid_version_is_refused() {
    // Version 1 was replaced at 1,020 and is good until 1,070.
    violated("version 1 of s was refused", |history| {
        history.operations.push(using(1, 1_060).failed("denied"));
    });
    violated("version 3 of s was refused", |history| {
        history.operations.push(using(3, 5_000).failed("denied"));
    });
}

#[test]
fn without_due_slots_it_is_unknown() {
    assert_unknown(&rotation::check(&history([]), TERMS), "nothing was checked");
}
