//! What only versions show: the values alone would have an order.

use jarvis_chaos::checker::{Budget, Report, register, versioned};
use jarvis_chaos::history::Operation;

use crate::tale::{
    Told, assert_held, assert_unknown, assert_violated, cas, delete, history, read, write,
};

/// The search is content; the versions are not.
#[track_caller]
fn by_versions_only<const N: usize>(operations: [Operation; N], what: &str, ids: &[u64]) {
    let history = history(operations);
    assert_held(&register::check(&history, Budget::default()));
    assert_violated(&versioned::check(&history), what, ids);
}

fn check(operations: impl IntoIterator<Item = Operation>) -> Report {
    versioned::check(&history(operations))
}

#[test]
fn a_write_that_took_a_version_twice() {
    by_versions_only(
        [
            write("a", "x").at(0, 1).wrote(1),
            write("a", "y").at(2, 3).wrote(1),
        ],
        "two values",
        &[1, 2],
    );
}

#[test]
fn a_write_that_happened_twice() {
    by_versions_only(
        [
            write("a", "x").at(0, 1).wrote(1),
            write("a", "y").at(0, 9).wrote(2),
            read("a").at(10, 11).saw("x", 3),
            read("a").at(10, 11).saw("x", 3),
        ]
        .map(|operation| {
            // Begun before the other write was over, so that the values have an order.
            let start_ns = operation.start_ns.min(1);
            Operation {
                start_ns,
                ..operation
            }
        }),
        "is version 1 and version 3",
        &[1, 3],
    );
}

#[test]
fn one_request_that_was_answered_in_two_ways() {
    let report = check([
        write("a", "x").keyed("k").at(0, 1).wrote(1),
        write("a", "x").keyed("k").at(2, 3).wrote(2),
    ]);
    assert_violated(&report, "answered in two ways", &[1, 2]);
}

#[test]
fn a_refusal_though_the_version_was_right() {
    by_versions_only(
        [
            write("a", "x").at(0, 1).wrote(1),
            cas("a", 1, "y").at(2, 3).conflict(1),
        ],
        "though it was current",
        &[2],
    );
}

#[test]
fn a_write_over_one_version_that_became_a_later_one() {
    by_versions_only(
        [
            write("a", "x").at(0, 1).wrote(1),
            cas("a", 1, "y").at(2, 9).wrote(3),
            write("a", "z").at(2, 9).wrote(2),
        ],
        "over version 1 became version 3",
        &[2],
    );
}

#[test]
fn a_version_that_nobody_can_have_made() {
    by_versions_only(
        [
            write("a", "x").at(0, 1).wrote(1),
            write("a", "y").at(2, 3).wrote(3),
        ],
        "version 2 of a",
        &[2],
    );
    // A compare-and-set over another version did not make it.
    by_versions_only(
        [
            write("a", "x").at(0, 1).wrote(1),
            cas("a", 7, "lost").at(2, 3).unknown(),
            write("a", "y").at(4, 5).wrote(3),
        ],
        "version 2 of a",
        &[3],
    );
    // Two versions are missing, and one write is unknown.
    by_versions_only(
        [
            write("a", "lost").at(0, 1).unknown(),
            write("a", "y").at(4, 5).wrote(3),
        ],
        "version 2 of a",
        &[2],
    );
}

#[test]
fn the_numbers_of_two_writes_stand_the_wrong_way_round() {
    by_versions_only(
        [
            write("a", "x").at(0, 1).wrote(2),
            write("a", "y").at(2, 3).wrote(1),
        ],
        "version 1, though version 2",
        &[1, 2],
    );
}

#[test]
fn a_version_that_is_far_too_high_takes_no_time() {
    let report = check([write("a", "x").at(0, 1).wrote(u64::MAX)]);
    assert_violated(&report, "version 1 of a", &[1]);
}

#[test]
fn keys_with_deletions_are_still_compared() {
    let report = check([
        write("a", "x").at(0, 1).wrote(1),
        delete("a").at(2, 3).unknown(),
        cas("a", 1, "y").at(2, 3).wrote(4),
    ]);
    assert_violated(&report, "over version 1 became version 4", &[3]);
}

#[test]
fn the_counts_say_what_was_looked_at() {
    let report = check([
        write("a", "x").at(0, 1).wrote(1),
        read("a").at(2, 3).saw("x", 1),
        write("b", "y").at(0, 1).unknown(),
    ]);
    assert_held(&report);
    assert_eq!(report.count("keys"), 2);
    assert_eq!(report.count("sightings"), 2);
    assert_unknown(
        &check([write("b", "y").at(0, 1).unknown()]),
        "nothing was checked",
    );
}
