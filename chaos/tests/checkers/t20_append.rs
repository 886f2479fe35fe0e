//! A sequence that is appended to.

use jarvis_chaos::checker::{Report, append as checker};
use jarvis_chaos::history::Operation;

use crate::tale::{Told, append, assert_held, assert_unknown, assert_violated, history, read};

fn check(operations: impl IntoIterator<Item = Operation>) -> Report {
    checker::check(&history(operations))
}

#[test]
fn what_was_appended_stays_in_its_order() {
    let report = check([
        append("q", "1").at(0, 1).wrote(1),
        append("q", "2").at(2, 9).wrote(2),
        append("q", "3").at(2, 9).wrote(3),
        append("q", "4").at(2, 9).conflict(1),
        read("q").at(4, 5).sequence(&["1"], 1),
        append("q", "5").at(10, 11).unknown(),
        append("q", "6").at(10, 11).unknown(),
        read("q").at(20, 21).sequence(&["1", "3", "2"], 3),
        read("q").at(30, 31).sequence(&["1", "3", "2", "6"], 4),
    ]);
    assert_held(&report);
    assert_eq!(report.count("acknowledged appends"), 3);
    assert_eq!(report.count("reads"), 3);
}

#[test]
fn an_acknowledged_element_is_lost() {
    let report = check([
        append("q", "1").at(0, 1).wrote(1),
        append("q", "2").at(2, 3).wrote(2),
        read("q").at(4, 5).sequence(&["2"], 2),
    ]);
    assert_violated(&report, "an acknowledged element is lost", &[1, 3]);
}

#[test]
fn a_later_read_lacks_an_element() {
    let report = check([
        append("q", "1").at(0, 1).wrote(1),
        append("q", "2").at(2, 3).wrote(2),
        read("q").at(4, 5).sequence(&["1"], 1),
        read("q").at(6, 7).sequence(&["1", "2"], 2),
    ]);
    assert_violated(&report, "lacks an element", &[2, 3]);
}

#[test]
fn an_element_stands_there_twice() {
    let report = check([
        append("q", "1").at(0, 1).wrote(1),
        read("q").at(2, 3).sequence(&["1", "1"], 2),
    ]);
    assert_violated(&report, "stands twice", &[2]);
}

#[test]
fn two_sequences_part() {
    let report = check([
        append("q", "1").at(0, 9).wrote(1),
        append("q", "2").at(0, 9).wrote(2),
        read("q").at(1, 2).sequence(&["2"], 1),
        read("q").at(10, 11).sequence(&["1", "2"], 2),
    ]);
    assert_violated(&report, "two sequences of q part", &[3, 4]);
}

#[test]
fn a_read_goes_back() {
    let report = check([
        append("q", "1").at(0, 99).wrote(1),
        read("q").at(1, 2).sequence(&["1"], 1),
        read("q").at(3, 4).sequence(&[], 0),
        read("q").at(100, 101).sequence(&["1"], 1),
    ]);
    assert_violated(&report, "shows less", &[2, 3]);
}

#[test]
fn two_elements_stand_the_wrong_way_round() {
    let report = check([
        append("q", "1").at(0, 1).wrote(1),
        append("q", "2").at(2, 3).wrote(2),
        read("q").at(4, 5).sequence(&["2", "1"], 2),
    ]);
    assert_violated(&report, "the elements 1 and 2 of q", &[1, 2]);
}

#[test]
fn an_element_is_from_nowhere() {
    let report = check([
        append("q", "1").at(0, 1).conflict(3),
        read("q").at(2, 3).sequence(&["1"], 1),
    ]);
    assert_violated(&report, "certainly did not happen", &[1, 2]);
    let report = check([
        append("q", "1").at(0, 1).wrote(1),
        read("q").at(2, 3).sequence(&["1", "?"], 1),
    ]);
    assert_violated(&report, "by nobody", &[2]);
    let report = check([
        read("q").at(0, 1).sequence(&["1"], 1),
        append("q", "1").at(2, 3).wrote(1),
        read("q").at(4, 5).sequence(&["1"], 1),
    ]);
    assert_violated(&report, "began later", &[1, 2]);
}

#[test]
fn attempts_of_one_request_are_one_append() {
    let report = check([
        append("q", "1").keyed("k").at(0, 1).unknown(),
        append("q", "1").keyed("k").at(0, 1).failed("no_leader"),
        append("q", "2").at(2, 3).wrote(2),
        // What happened long ago is acknowledged now.
        append("q", "1").keyed("k").at(4, 5).wrote(1),
        read("q").at(6, 7).sequence(&["1", "2"], 2),
    ]);
    assert_held(&report);
    assert_eq!(report.count("acknowledged appends"), 2);
    let report = check([
        append("q", "1").keyed("k").at(0, 1).failed("no_leader"),
        append("q", "2").at(2, 3).wrote(2),
        append("q", "1").keyed("k").at(4, 5).wrote(1),
        read("q").at(6, 7).sequence(&["1", "2"], 2),
    ]);
    assert_violated(&report, "the elements 1 and 2 of q", &[2, 3]);
}

#[test]
fn without_a_last_read_it_is_unknown() {
    let report = check([
        append("q", "1").at(0, 1).wrote(1),
        read("q").at(2, 3).sequence(&["1"], 1),
        append("q", "2").at(2, 5).wrote(2),
    ]);
    assert_unknown(&report, "nobody read q after 1 elements");
    assert_unknown(
        &check([append("q", "1").at(0, 1).wrote(1)]),
        "nobody read q",
    );
}
