//! The register, by both checks: what one must refuse the other must refuse, unless only versions show it.

use jarvis_chaos::checker::{Budget, Report, register, versioned};
use jarvis_chaos::history::{Answer, Fault, Kind, Leader, Operation};

use crate::tale::{
    Told, assert_held, assert_unknown, assert_violated, batch, cas, delete, history, list, of,
    read, write,
};

fn search(operations: impl IntoIterator<Item = Operation>) -> Report {
    register::check(&history(operations), Budget::default())
}

#[track_caller]
fn held<const N: usize>(operations: [Operation; N]) {
    assert_held(&search(operations.clone()));
    assert_held(&versioned::check(&history(operations)));
}

#[track_caller]
fn violated<const N: usize>(operations: [Operation; N], by_search: &[u64], by_versions: &[u64]) {
    assert_violated(&search(operations.clone()), "no order", by_search);
    assert_violated(&versioned::check(&history(operations)), "", by_versions);
}

#[test]
fn one_after_the_other() {
    held([
        read("a").at(0, 1).absent(),
        write("a", "x").at(2, 3).wrote(1),
        read("a").at(4, 5).saw("x", 1),
        cas("a", 1, "y").at(6, 7).wrote(2),
        cas("a", 1, "z").at(8, 9).conflict(2),
        read("a").at(10, 11).saw("y", 2),
    ]);
}

#[test]
fn a_read_beside_a_write_sees_either() {
    held([
        write("a", "x").at(0, 1).wrote(1),
        write("a", "y").at(2, 9).wrote(2),
        read("a").at(3, 4).saw("x", 1),
        read("a").at(5, 6).saw("y", 2),
    ]);
    held([
        write("a", "x").at(0, 9).wrote(1),
        read("a").at(3, 4).absent(),
        read("a").at(5, 6).saw("x", 1),
    ]);
}

#[test]
fn two_writes_beside_each_other_stand_in_the_order_in_which_they_are_seen() {
    held([
        write("a", "x").at(0, 10).wrote(2),
        write("a", "y").at(0, 10).wrote(1),
        read("a").at(2, 5).saw("y", 1),
        read("a").at(6, 9).saw("x", 2),
    ]);
}

#[test]
fn what_touches_in_time_is_concurrent() {
    held([
        write("a", "x").at(0, 5).wrote(1),
        read("a").at(5, 9).absent(),
    ]);
}

#[test]
fn an_unknown_write_may_be_seen_long_after() {
    held([
        write("a", "x").at(0, 1).wrote(1),
        write("a", "late").at(2, 3).unknown(),
        read("a").at(100, 101).saw("x", 1),
        read("a").at(200, 201).saw("late", 2),
    ]);
}

#[test]
fn an_unknown_write_may_come_between_unseen() {
    held([
        write("a", "lost").at(0, 1).unknown(),
        write("a", "x").at(2, 3).wrote(2),
        read("a").at(4, 5).saw("x", 2),
    ]);
}

#[test]
fn a_conflict_may_tell_of_an_unknown_write() {
    held([
        write("a", "x").at(0, 1).wrote(1),
        write("a", "lost").at(2, 3).unknown(),
        cas("a", 1, "y").at(4, 5).conflict(2),
        cas("a", 2, "z").at(6, 7).wrote(3),
        read("a").at(8, 9).saw("z", 3),
    ]);
}

#[test]
fn an_unknown_compare_and_set_may_have_made_the_version_that_a_conflict_tells() {
    held([
        write("a", "x").at(0, 1).wrote(1),
        cas("a", 1, "lost").at(2, 3).unknown(),
        cas("a", 1, "y").at(4, 5).conflict(2),
    ]);
}

#[test]
fn a_repeated_request_is_one_write() {
    let first = write("a", "x").keyed("k").at(0, 1).unknown();
    held([
        first.clone(),
        read("a").at(2, 3).saw("x", 1),
        write("a", "x").keyed("k").at(4, 5).wrote(1),
    ]);
    held([
        first,
        write("a", "x").keyed("k").at(4, 5).wrote(1),
        write("a", "x").keyed("k").at(6, 7).wrote(1),
        write("a", "y").at(8, 9).wrote(2),
    ]);
}

#[test]
fn stale_answers_and_old_versions_asked_for_are_not_judged_as_current() {
    let mut stale = read("a").at(6, 7).saw("x", 1);
    stale.answer.stale_age_ms = Some(3);
    let mut old = read("a").at(8, 9).saw("x", 1);
    old.asked_version = Some(1);
    held([
        write("a", "x").at(0, 1).wrote(1),
        write("a", "y").at(2, 3).wrote(2),
        stale,
        old,
    ]);
}

#[test]
fn a_batch_writes_each_of_its_names() {
    held([
        batch(&[("a", "x", 0, 0), ("b", "y", 0, 0)])
            .at(0, 1)
            .became(&[("a", 1), ("b", 1)]),
        read("b").at(2, 3).saw("y", 1),
        list("").at(4, 5).listed(&[("a", 1), ("b", 1)]),
        cas("a", 1, "z").at(6, 7).wrote(2),
    ]);
}

#[test]
fn a_stale_read() {
    violated(
        [
            write("a", "x").at(0, 1).wrote(1),
            write("a", "y").at(2, 3).wrote(2),
            read("a").at(4, 5).saw("x", 1),
        ],
        &[1, 2, 3],
        &[2, 3],
    );
}

#[test]
fn a_write_that_is_gone() {
    violated(
        [
            write("a", "x").at(0, 1).wrote(1),
            read("a").at(2, 3).absent(),
        ],
        &[1, 2],
        &[1, 2],
    );
}

#[test]
fn a_value_that_comes_back() {
    violated(
        [
            write("a", "x").at(0, 9).wrote(1),
            write("a", "y").at(0, 9).wrote(2),
            read("a").at(1, 2).saw("y", 2),
            read("a").at(3, 4).saw("x", 1),
            read("a").at(5, 6).saw("y", 2),
        ],
        &[1, 2, 3, 4, 5],
        &[3, 4],
    );
}

#[test]
fn a_value_that_nobody_wrote() {
    violated(
        [
            write("a", "x").at(0, 1).wrote(1),
            read("a").at(2, 3).saw("?", 2),
        ],
        &[2],
        &[2],
    );
}

#[test]
fn a_value_whose_write_was_refused() {
    violated(
        [
            write("a", "x").at(0, 1).wrote(1),
            cas("a", 7, "y").at(2, 3).conflict(1),
            read("a").at(4, 5).saw("y", 2),
        ],
        &[3],
        &[2, 3],
    );
    violated(
        [
            write("a", "y").at(2, 3).failed("no_leader"),
            read("a").at(4, 5).saw("y", 1),
        ],
        &[2],
        &[1, 2],
    );
}

#[test]
fn two_compare_and_sets_over_one_version() {
    violated(
        [
            write("a", "x").at(0, 1).wrote(1),
            cas("a", 1, "y").at(2, 9).wrote(2),
            cas("a", 1, "z").at(2, 9).wrote(2),
        ],
        &[1, 2, 3],
        &[2, 3],
    );
}

#[test]
fn a_read_of_what_is_not_written_yet() {
    violated(
        [
            read("a").at(0, 1).saw("x", 1),
            write("a", "x").at(2, 3).wrote(1),
        ],
        &[1, 2],
        &[1, 2],
    );
}

#[test]
fn two_readers_who_disagree() {
    violated(
        [
            write("a", "x").at(0, 99).wrote(1),
            write("a", "y").at(0, 99).wrote(2),
            read("a").at(1, 9).saw("x", 1),
            read("a").at(10, 19).saw("y", 2),
            read("a").at(2, 8).saw("y", 2),
            read("a").at(11, 18).saw("x", 1),
        ],
        &[1, 2, 3, 4, 5, 6],
        &[5, 6],
    );
}

#[test]
fn an_unknown_write_that_was_seen_and_is_gone() {
    violated(
        [
            write("a", "x").at(0, 1).wrote(1),
            write("a", "y").at(2, 3).unknown(),
            read("a").at(4, 5).saw("y", 2),
            read("a").at(6, 7).saw("x", 1),
        ],
        &[1, 2, 3, 4],
        &[3, 4],
    );
}

#[test]
fn a_conflict_over_a_version_that_nobody_made() {
    violated(
        [
            write("a", "x").at(0, 1).wrote(1),
            cas("a", 1, "y").at(2, 3).conflict(2),
        ],
        &[2],
        &[2],
    );
    // An unknown write that began later did not make it either.
    violated(
        [
            write("a", "x").at(0, 1).wrote(1),
            cas("a", 1, "y").at(2, 3).conflict(2),
            write("a", "late").at(4, 5).unknown(),
        ],
        &[2],
        &[2],
    );
}

#[test]
fn a_deleted_value_that_is_still_read() {
    let story = [
        write("a", "x").at(0, 1).wrote(1),
        delete("a").at(2, 3).ok(Answer::default()),
        read("a").at(4, 5).saw("x", 1),
    ];
    assert_violated(&search(story), "no order", &[1, 2, 3]);
    let over_a_version = Operation {
        expected: Some(1),
        ..delete("a").at(2, 3).ok(Answer::default())
    };
    let story = [
        write("a", "x").at(0, 1).wrote(1),
        over_a_version,
        read("a").at(4, 5).saw("x", 1),
    ];
    assert_violated(&search(story), "no order", &[1, 2, 3]);
}

#[test]
fn a_name_is_deleted_and_begins_anew() {
    let story = [
        write("a", "x").at(0, 1).wrote(1),
        delete("a").at(2, 9).ok(Answer::default()),
        read("a").at(3, 4).saw("x", 1),
        read("a").at(10, 11).absent(),
        delete("a").at(12, 13).absent(),
        delete("a").at(14, 15).unknown(),
        cas("a", 0, "y").at(16, 17).wrote(2),
        read("a").at(18, 19).saw("y", 2),
        read("a").at(20, 21).absent(),
    ];
    assert_held(&search(story.clone()));
    // The second check leaves the order of such a name to the first one, and then has seen nothing.
    let report = versioned::check(&history(story));
    assert_eq!(report.count("keys left to the search"), 1);
    assert_unknown(&report, "nothing was checked");
}

#[test]
fn keys_are_judged_alone() {
    let report = search([
        write("a", "x").at(0, 1).wrote(1),
        write("b", "x").at(0, 1).wrote(1),
        read("b").at(2, 3).saw("x", 1),
        read("a").at(2, 3).absent(),
    ]);
    assert_violated(&report, "on a ", &[1, 4]);
    assert_eq!(report.count("keys"), 2);
}

#[test]
fn what_can_not_be_judged_is_unknown() {
    assert_unknown(&search([]), "nothing was checked");
    let not_unique = [
        write("a", "x").at(0, 1).wrote(1),
        write("a", "x").at(2, 3).wrote(2),
    ];
    assert_unknown(&search(not_unique), "unique");
    let foreign = [
        write("a", "x").at(0, 1).wrote(1),
        of(Kind::Undelete, "a").at(2, 3).ok(Answer::default()),
    ];
    assert_unknown(&search(foreign), "Undelete");
    let choices = [
        write("a", "x").at(0, 9).wrote(1),
        write("a", "y").at(0, 9).wrote(2),
        read("a").at(0, 9).saw("x", 1),
        read("a").at(0, 9).saw("y", 2),
    ];
    let budget = Budget {
        states: 0,
        ..Budget::default()
    };
    assert_unknown(&register::check(&history(choices), budget), "given up");
}

#[test]
fn a_story_shows_what_happened_meanwhile() {
    let mut history = history([
        write("a", "x").at(0, 1_000).wrote(1),
        write("a", "y").at(2_000, 3_000).wrote(2),
        read("a").at(4_000, 5_000).saw("x", 1),
        read("a").at(9_000_000, 9_001_000).saw("y", 2),
    ]);
    history.faults.push(Fault {
        kind: "isolate_leader".to_owned(),
        nodes: vec![2],
        start_ns: 1_500,
        end_ns: Some(7_000),
        ..Fault::default()
    });
    history.leaders.push(Leader {
        at_ns: 3_500,
        node: 3,
        term: 5,
    });
    let report = register::check(&history, Budget::default());
    assert_violated(&report, "no order", &[1, 2, 3]);
    let text = report.stories[0].on_the_time_line(&history);
    let order = [
        "write a := \"x\"",
        "isolate_leader",
        "write a := \"y\"",
        "node 3 leads in term 5",
        "read a: ok, \"x\", version 1",
    ];
    let places = order.map(|part| {
        text.find(part)
            .unwrap_or_else(|| panic!("no {part} in {text}"))
    });
    assert!(places.is_sorted(), "{text}");
}
