//! Batches: all or none, and a constant sum.

use jarvis_chaos::checker::{Report, batch as checker};
use jarvis_chaos::history::Operation;

use crate::tale::{
    Told, assert_held, assert_unknown, assert_violated, batch, history, list, read, write,
};

fn check(operations: impl IntoIterator<Item = Operation>) -> Report {
    checker::check(&history(operations), Some(100))
}

/// 60 and 40, over nothing.
fn beginning() -> Operation {
    batch(&[("b/1", "x1", 60, 0), ("b/2", "x2", 40, 0)])
        .at(0, 1)
        .became(&[("b/1", 1), ("b/2", 1)])
}

/// Moves 10 from the first to the second.
fn transfer() -> Operation {
    batch(&[("b/1", "y1", 50, 1), ("b/2", "y2", 50, 1)]).at(10, 19)
}

#[test]
fn every_observer_sees_all_or_none() {
    let report = check([
        list("b/").at(0, 1).listed(&[]),
        beginning(),
        list("b/").at(2, 3).listed(&[("b/1", 1), ("b/2", 1)]),
        transfer().became(&[("b/1", 2), ("b/2", 2)]),
        list("b/").at(12, 13).listed(&[("b/1", 1), ("b/2", 1)]),
        list("b/").at(14, 15).listed(&[("b/1", 2), ("b/2", 2)]),
    ]);
    assert_held(&report);
    assert_eq!(report.count("lists summed"), 3);
    assert_eq!(report.count("batches that happened"), 2);
    assert!(report.count("comparisons") > 0);
}

#[test]
fn an_observer_sees_a_part() {
    let report = check([
        beginning(),
        transfer().became(&[("b/1", 2), ("b/2", 2)]),
        list("b/").at(12, 13).listed(&[("b/1", 2), ("b/2", 1)]),
    ]);
    assert_violated(&report, "a list shows a part of a batch", &[2, 3]);
}

#[test]
fn a_part_of_an_unknown_batch_is_seen() {
    let report = check([
        beginning(),
        transfer().unknown(),
        list("b/").at(30, 31).listed(&[("b/1", 2), ("b/2", 1)]),
        read("b/1").at(32, 33).saw("y1", 2),
    ]);
    assert_violated(&report, "a list shows a part of a batch", &[2, 3]);
}

#[test]
fn an_older_batch_counts_under_a_newer_version() {
    let report = check([
        beginning(),
        transfer().became(&[("b/1", 2), ("b/2", 2)]),
        write("b/1", "z").at(20, 21).wrote(3),
        list("b/").at(30, 31).listed(&[("b/1", 3), ("b/2", 1)]),
    ]);
    assert_violated(&report, "a list shows a part of a batch", &[2, 4]);
}

#[test]
fn the_sum_is_wrong() {
    let report = check([
        beginning(),
        batch(&[("b/1", "y1", 55, 1), ("b/2", "y2", 50, 1)])
            .at(10, 19)
            .became(&[("b/1", 2), ("b/2", 2)]),
        list("b/").at(20, 21).listed(&[("b/1", 2), ("b/2", 2)]),
    ]);
    assert_violated(&report, "add up to 105 instead of 100", &[3]);
    // Without a total the first list sets it.
    let history = history([
        beginning(),
        list("b/").at(2, 3).listed(&[("b/1", 1), ("b/2", 1)]),
        batch(&[("b/1", "y1", 55, 1), ("b/2", "y2", 50, 1)])
            .at(10, 19)
            .became(&[("b/1", 2), ("b/2", 2)]),
        list("b/").at(20, 21).listed(&[("b/1", 2), ("b/2", 2)]),
    ]);
    let report = checker::check(&history, None);
    assert_violated(&report, "add up to 105 instead of 100", &[2, 4]);
}

#[test]
fn an_answer_forgets_a_name() {
    let report = check([
        beginning(),
        transfer().became(&[("b/1", 2)]),
        list("b/").at(20, 21).listed(&[("b/1", 2), ("b/2", 2)]),
    ]);
    assert_violated(&report, "without a version of b/2", &[2]);
}

#[test]
fn a_value_of_a_refused_batch_is_seen() {
    let report = check([
        beginning(),
        transfer().failed("conflict"),
        read("b/1").at(20, 21).saw("y1", 2),
        list("b/").at(30, 31).listed(&[("b/1", 2), ("b/2", 2)]),
    ]);
    assert_violated(&report, "certainly did not happen", &[2]);
}

#[test]
fn a_refused_attempt_says_nothing_of_the_next_one() {
    let report = check([
        beginning(),
        transfer().keyed("k").failed("no_leader"),
        transfer().keyed("k").became(&[("b/1", 2), ("b/2", 2)]),
        read("b/1").at(20, 21).saw("y1", 2),
        list("b/").at(30, 31).listed(&[("b/1", 2), ("b/2", 2)]),
    ]);
    assert_held(&report);
}

#[test]
fn amounts_that_nobody_knows_are_not_summed() {
    let report = check([
        beginning(),
        transfer().unknown(),
        list("b/").at(30, 31).listed(&[("b/1", 2), ("b/2", 2)]),
    ]);
    assert_held(&report);
    assert_eq!(report.count("lists not summed"), 1);
    assert_eq!(report.count("lists summed"), 0);
}

#[test]
fn without_lists_it_is_unknown() {
    assert_unknown(&check([beginning()]), "nothing was checked");
}
