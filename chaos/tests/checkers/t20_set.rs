//! Names as a set.

use jarvis_chaos::checker::{Report, set};
use jarvis_chaos::history::{Answer, Operation};

use crate::tale::{
    Told, assert_held, assert_unknown, assert_violated, batch, delete, history, list, write,
};

fn check(operations: impl IntoIterator<Item = Operation>) -> Report {
    set::check(&history(operations))
}

#[test]
fn everything_acknowledged_is_listed() {
    let report = check([
        write("s/1", "a").at(0, 1).wrote(1),
        write("s/2", "b").at(0, 9).wrote(1),
        list("s/").at(2, 3).listed(&[("s/1", 1)]),
        batch(&[("s/3", "c", 0, 0), ("other", "d", 0, 0)])
            .at(4, 5)
            .became(&[("s/3", 1)]),
        write("s/4", "e").at(6, 7).unknown(),
        write("s/5", "f").at(6, 7).failed("no_leader"),
        list("s/")
            .at(10, 11)
            .listed(&[("s/1", 1), ("s/2", 1), ("s/3", 1)]),
        list("s/")
            .at(20, 21)
            .listed(&[("s/1", 1), ("s/2", 1), ("s/3", 1), ("s/4", 1)]),
    ]);
    assert_held(&report);
    assert_eq!(report.count("acknowledged elements"), 4);
    assert_eq!(report.count("lists"), 3);
}

#[test]
fn an_acknowledged_name_is_missing() {
    let report = check([
        write("s/1", "a").at(0, 1).wrote(1),
        list("s/").at(2, 3).listed(&[("s/1", 1)]),
        list("s/").at(4, 5).listed(&[]),
    ]);
    assert_violated(&report, "s/1 is missing", &[1, 3]);
}

#[test]
fn an_unknown_name_was_listed_and_is_gone() {
    let report = check([
        write("s/1", "a").at(0, 1).unknown(),
        list("s/").at(2, 3).listed(&[("s/1", 1)]),
        list("s/").at(4, 5).listed(&[]),
    ]);
    assert_violated(&report, "s/1 is missing", &[2, 3]);
}

#[test]
fn a_name_is_from_nowhere() {
    let report = check([
        write("s/1", "a").at(0, 1).failed("quota_exceeded"),
        list("s/").at(2, 3).listed(&[("s/1", 1)]),
    ]);
    assert_violated(&report, "certainly did not happen", &[1, 2]);
    let report = check([
        list("s/").at(0, 1).listed(&[("s/1", 1)]),
        write("s/1", "a").at(2, 3).wrote(1),
        list("s/").at(4, 5).listed(&[("s/1", 1)]),
    ]);
    assert_violated(&report, "began later", &[1, 2]);
}

#[test]
fn deleted_names_are_left_out() {
    let report = check([
        write("s/1", "a").at(0, 1).wrote(1),
        write("s/2", "b").at(0, 1).wrote(1),
        delete("s/1").at(2, 3).ok(Answer::default()),
        list("s/").at(4, 5).listed(&[("s/2", 1)]),
    ]);
    assert_held(&report);
    assert_eq!(report.count("elements left out"), 1);
}

#[test]
fn without_a_last_list_it_is_unknown() {
    let report = check([
        write("s/1", "a").at(0, 1).wrote(1),
        list("s/").at(2, 3).listed(&[("s/1", 1)]),
        write("s/2", "b").at(2, 5).wrote(1),
    ]);
    assert_unknown(&report, "nobody listed after s/2");
    assert_unknown(
        &check([write("s/1", "a").at(0, 1).wrote(1)]),
        "nothing was checked",
    );
}
