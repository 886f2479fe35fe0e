//! Revocations.

use jarvis_chaos::checker::{Report, revocation};
use jarvis_chaos::history::{Answer, Kind, Operation};

use crate::tale::{Told, assert_held, assert_unknown, assert_violated, history, with_credential};

fn check(operations: impl IntoIterator<Item = Operation>) -> Report {
    revocation::check(&history(operations))
}

fn using() -> Operation {
    with_credential(Kind::Read, "token-1")
}

fn revoked(start_ns: u64, end_ns: u64) -> Operation {
    with_credential(Kind::Revoke, "token-1")
        .at(start_ns, end_ns)
        .ok(Answer::default())
}

#[test]
fn nothing_works_after_the_revocation() {
    let report = check([
        using().at(0, 1).saw("x", 1),
        revoked(10, 20),
        using().at(15, 30).saw("x", 1),
        using().at(20, 30).saw("x", 1),
        using().at(21, 30).failed("unauthenticated"),
        using().at(21, 30).unknown(),
        with_credential(Kind::Read, "token-2")
            .at(21, 30)
            .saw("x", 1),
    ]);
    assert_held(&report);
    assert_eq!(report.count("revocations"), 1);
    assert_eq!(report.count("uses after a revocation"), 2);
}

#[test]
fn a_use_works_after_the_revocation() {
    let report = check([revoked(10, 20), using().at(21, 30).on_node(3).saw("x", 1)]);
    assert_violated(&report, "token-1 worked after", &[1, 2]);
}

#[test]
fn an_unknown_revocation_promises_nothing() {
    let report = check([revoked(10, 20).unknown(), using().at(21, 30).saw("x", 1)]);
    assert_unknown(&report, "nothing was checked");
}

#[test]
fn a_new_grant_makes_it_work_again() {
    let grant = with_credential(Kind::Grant, "token-1").at(25, 26);
    let again = using().at(30, 31).saw("x", 1);
    let granted = grant.clone().ok(Answer::default());
    let refused = using().at(21, 22).failed("not_authorized");
    let ops = [revoked(10, 20), refused.clone(), granted, again.clone()];
    assert_held(&check(ops));
    // Perhaps it was granted.
    assert_held(&check([
        revoked(10, 20),
        refused.clone(),
        grant.clone().unknown(),
        again.clone(),
    ]));
    let not_granted = grant.failed("no_leader");
    let report = check([revoked(10, 20), refused, not_granted, again.clone()]);
    assert_violated(&report, "token-1 worked after", &[1, 4]);
    // An older grant does not count.
    let older = with_credential(Kind::Grant, "token-1")
        .at(0, 1)
        .ok(Answer::default());
    let report = check([older, revoked(10, 20), again]);
    assert_violated(&report, "token-1 worked after", &[2, 3]);
}

#[test]
fn an_answer_without_a_majority_is_as_old_as_it_says() {
    let stale = |age_ms| {
        let mut stale = using().at(6_000_000, 7_000_000).saw("x", 1);
        stale.answer.stale_age_ms = Some(age_ms);
        stale
    };
    let revoked = || revoked(1_000_000, 2_000_000);
    let refused = using().at(6_000_000, 7_000_000).failed("not_authorized");
    assert_held(&check([revoked(), refused, stale(4)]));
    assert_violated(
        &check([revoked(), stale(3)]),
        "token-1 worked after",
        &[1, 2],
    );
}
