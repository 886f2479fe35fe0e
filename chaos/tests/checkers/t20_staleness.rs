//! Freshness of reads.

use jarvis_chaos::checker::{Report, staleness};
use jarvis_chaos::history::{Answer, Operation};

use crate::tale::{
    Told, assert_held, assert_unknown, assert_violated, batch, delete, history, read, write,
};

const MS: u64 = 1_000_000;

fn check(operations: impl IntoIterator<Item = Operation>) -> Report {
    staleness::check(&history(operations), 0)
}

/// A read that asked for an answer of at most 10 ms, and was told this age.
fn stale(version: u64, at_ms: u64, age_ms: u64) -> Operation {
    let mut stale = read("a").at(at_ms * MS, at_ms * MS + 1).saw("x", version);
    stale.max_age_ms = Some(10);
    stale.answer.stale_age_ms = Some(age_ms);
    stale
}

fn writes() -> [Operation; 2] {
    [
        write("a", "x").at(0, MS).wrote(1),
        write("a", "y").at(20 * MS, 30 * MS).wrote(2),
    ]
}

#[test]
fn reads_are_as_fresh_as_they_say() {
    let [first, second] = writes();
    let mut plain = stale(2, 40, 0);
    plain.answer.stale_age_ms = None;
    let report = check([
        read("a").at(0, 2).absent(),
        first,
        read("a").at(2 * MS, 3 * MS).saw("x", 1),
        second,
        read("a").at(25 * MS, 40 * MS).saw("x", 1),
        read("a").at(31 * MS, 32 * MS).saw("y", 2),
        stale(1, 35, 5),
        stale(1, 40, 10),
        stale(2, 40, 1),
        plain,
    ]);
    assert_held(&report);
    assert_eq!(report.count("default reads"), 5);
    assert_eq!(report.count("stale reads"), 3);
    assert_eq!(report.count("acknowledged writes"), 2);
}

#[test]
fn a_default_read_is_stale() {
    let [first, second] = writes();
    let report = check([first, second, read("a").at(31 * MS, 32 * MS).saw("x", 1)]);
    assert_violated(&report, "saw version 1, though version 2", &[2, 3]);
    let [first, _] = writes();
    let report = check([first, read("a").at(2 * MS, 3 * MS).absent()]);
    assert_violated(&report, "saw version 0, though version 1", &[1, 2]);
}

#[test]
fn the_highest_version_counts_though_another_was_acknowledged_later() {
    let report = check([
        write("a", "x").at(0, 5).wrote(2),
        write("a", "y").at(0, 9).wrote(1),
        read("a").at(10, 11).saw("y", 1),
    ]);
    assert_violated(&report, "saw version 1, though version 2", &[1, 3]);
}

#[test]
fn a_batch_counts_for_each_of_its_names() {
    let report = check([
        batch(&[("a", "x", 0, 0), ("b", "y", 0, 0)])
            .at(0, 1)
            .became(&[("a", 1), ("b", 1)]),
        read("b").at(2, 3).absent(),
    ]);
    assert_violated(&report, "saw version 0, though version 1", &[1, 2]);
}

#[test]
fn a_stale_read_is_older_than_it_says() {
    let [first, second] = writes();
    let report = check([first, second, stale(1, 40, 9)]);
    assert_violated(&report, "older than the 9 ms it says", &[2, 3]);
    let [first, second] = writes();
    let with_slack = history([first, second, stale(1, 40, 9)]);
    assert_held(&staleness::check(&with_slack, 2 * MS));
}

#[test]
fn a_stale_read_is_older_than_allowed() {
    let [first, _] = writes();
    let report = check([first, stale(1, 15, 11)]);
    assert_violated(&report, "11 ms old; 10 ms are allowed", &[2]);
}

#[test]
fn a_stale_answer_that_nobody_asked_for() {
    let [first, _] = writes();
    let mut unasked = stale(1, 15, 1);
    unasked.max_age_ms = None;
    assert_violated(&check([first, unasked]), "nobody had asked for that", &[2]);
}

#[test]
fn deleted_names_are_left_out() {
    let [first, _] = writes();
    let report = check([
        first,
        delete("a").at(2 * MS, 3 * MS).ok(Answer::default()),
        read("a").at(4 * MS, 5 * MS).absent(),
    ]);
    assert_unknown(&report, "nothing was checked");
}
