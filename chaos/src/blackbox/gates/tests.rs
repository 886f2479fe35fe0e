//! Vacuous runs are not green.

use super::*;
use crate::history::Outcome;

const S: u64 = 1_000_000_000;

fn operation(start_ns: u64, error: Option<&str>) -> Operation {
    Operation {
        start_ns,
        end_ns: Some(start_ns + S / 100),
        outcome: match error {
            Some(_) => Outcome::Fail,
            None => Outcome::Ok,
        },
        error: error.map(str::to_owned),
        ..Operation::default()
    }
}

fn fault(kind: FaultKind, from_s: u64, to_s: u64, result: FaultResult) -> Fault {
    Fault {
        kind: kind.name().to_owned(),
        start_ns: from_s * S,
        end_ns: Some(to_s * S),
        result,
        leaves_quorum: true,
        note: Some("a reason".to_owned()),
        ..Fault::default()
    }
}

fn history(operations: Vec<Operation>, faults: Vec<Fault>) -> History {
    History {
        operations,
        faults,
        ..History::default()
    }
}

#[test]
fn a_fault_that_was_asked_for_and_never_happened_makes_a_run_vacuous() {
    let planned = [FaultKind::KillOne];
    let none = BTreeMap::new();
    let fired = |result| {
        let history = history(vec![], vec![fault(FaultKind::KillOne, 1, 2, result)]);
        faults_fired(&history, &planned, &none)
    };
    assert_eq!(fired(FaultResult::Installed).verdict, ExitVerdict::Held);
    for result in [FaultResult::Skipped, FaultResult::Indeterminate] {
        let gate = fired(result);
        assert_eq!(gate.verdict, ExitVerdict::Vacuous);
        assert!(gate.note.contains("kill_one: a reason"), "{}", gate.note);
    }
    let impossible = BTreeMap::from([(FaultKind::SyncError, "no compiler".to_owned())]);
    let gate = faults_fired(&history(vec![], vec![]), &[], &impossible);
    assert_eq!(gate.verdict, ExitVerdict::Vacuous);
    assert!(gate.note.contains("no compiler"));
}

#[test]
fn a_run_in_which_little_was_served_is_vacuous() {
    let mut operations: Vec<Operation> = (0..79).map(|at| operation(at, None)).collect();
    operations.extend((0..20).map(|at| operation(at, Some("no_leader"))));
    let verdict =
        |operations: &[Operation]| mostly_served(&history(operations.to_vec(), vec![])).verdict;
    assert_eq!(verdict(&operations), ExitVerdict::Vacuous);
    // A refusal that had to be is served.
    operations.push(operation(0, Some("conflict")));
    assert_eq!(verdict(&operations), ExitVerdict::Held);
    assert_eq!(verdict(&[]), ExitVerdict::Vacuous);
    let mut used = operation(0, Some("unauthenticated"));
    assert!(!is_served(&used));
    used.credential = Some("token-1".to_owned());
    assert!(is_served(&used));
}

#[test]
fn silence_during_a_fault_that_leaves_a_majority_is_vacuous_unless_another_leaves_none() {
    let faults = vec![fault(FaultKind::IsolateOne, 10, 15, FaultResult::Installed)];
    let verdict = |operations: Vec<Operation>, ground: &Ground| {
        served_during_faults(&history(operations, faults.clone()), ground).verdict
    };
    let ground = Ground::new(3);
    let around = vec![operation(9 * S, None), operation(16 * S, None)];
    assert_eq!(verdict(around.clone(), &ground), ExitVerdict::Vacuous);
    let mut within = around.clone();
    within.push(operation(12 * S, None));
    assert_eq!(verdict(within, &ground), ExitVerdict::Held);
    ground.set_up(11 * S, &[0, 1], false);
    ground.set_up(12 * S, &[0, 1], true);
    assert_eq!(verdict(around, &ground), ExitVerdict::Held);
}

#[test]
fn a_leader_that_nobody_replaced_makes_a_run_vacuous() {
    let leader = |term| crate::history::Leader {
        at_ns: term,
        node: 1,
        term,
    };
    let faults = vec![fault(FaultKind::KillLeader, 1, 2, FaultResult::Installed)];
    let mut history = history(vec![], faults);
    history.leaders = vec![leader(1)];
    assert_eq!(leaders_changed(&history).verdict, ExitVerdict::Vacuous);
    history.leaders.push(leader(2));
    assert_eq!(leaders_changed(&history).verdict, ExitVerdict::Held);
    history.faults.clear();
    history.leaders.clear();
    assert_eq!(leaders_changed(&history).verdict, ExitVerdict::Vacuous);
}

#[test]
fn a_broken_promise_is_a_violation() {
    assert_eq!(Gate::promises("p", &[]).verdict, ExitVerdict::Held);
    let broken = ["node 1 went on".to_owned(), "node 2 too".to_owned()];
    let gate = Gate::promises("p", &broken);
    assert_eq!(gate.verdict, ExitVerdict::Violated);
    assert_eq!(gate.note, "node 1 went on; node 2 too");
}

#[test]
fn operations_are_counted_by_what_came_of_them() {
    let operations = vec![
        operation(0, None),
        operation(0, None),
        operation(0, Some("conflict")),
    ];
    let counts = count_operations(&history(operations, vec![]));
    assert_eq!(counts["read"]["ok"], 2);
    assert_eq!(counts["read"]["conflict"], 1);
}
