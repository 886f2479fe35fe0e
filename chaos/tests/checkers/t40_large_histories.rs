//! Twenty clients, five thousand operations each: the checks stay linear, whether there is an order or not.
//!
//! Counted in choices, which do not depend on the machine. A choice takes about a microsecond.

use jarvis_chaos::checker::{Budget, Verdict, register, versioned};
use jarvis_chaos::history::Operation;

use crate::dice::Dice;
use crate::mutations::Mutation;
use crate::tale::history;
use crate::world::World;

fn world(keys: usize, reads_percent: u64, cas_percent: u64) -> World {
    World {
        clients: 20,
        operations: 100_000,
        keys,
        reads_percent,
        cas_percent,
        deletes_percent: 0,
        lost_percent: 3,
        late_ns: 50_000,
    }
}

fn judge(operations: Vec<Operation>, expected: Verdict) -> u64 {
    let history = history(operations);
    let versions = versioned::check(&history);
    assert_eq!(versions.verdict, expected, "{versions}");
    let search = register::check(&history, Budget::default());
    assert_eq!(search.verdict, expected, "{search}");
    search.count("choices")
}

#[test]
fn a_hundred_thousand_operations_on_one_key_or_on_many() {
    for (seed, keys, reads_percent, cas_percent) in [
        (1, 1, 50, 25),
        (2, 10, 50, 25),
        (3, 1, 10, 10),
        (4, 1, 90, 5),
        (5, 3, 20, 70),
    ] {
        let operations = world(keys, reads_percent, cas_percent).run(&mut Dice::new(seed));
        assert_eq!(operations.len(), 100_000);
        let choices = judge(operations, Verdict::Held);
        // Twenty clients that mostly write leave the search the most to choose: about four for each operation.
        assert!(choices < 600_000, "seed {seed}: {choices} choices");
    }
}

#[test]
fn one_stale_read_among_a_hundred_thousand_operations() {
    let mut dice = Dice::new(7);
    let mut operations = world(1, 50, 25).run(&mut dice);
    // A version far from the current one: with a hundred thousand operations chance does not hit a near one.
    assert!(Mutation::StaleRead.apply(&mut dice, &mut operations));
    let choices = judge(operations, Verdict::Violated);
    assert!(choices < 300_000, "{choices} choices");
}

#[test]
fn many_lost_answers() {
    let world = World {
        lost_percent: 25,
        late_ns: 20_000,
        operations: 20_000,
        ..world(1, 50, 25)
    };
    let operations = world.run(&mut Dice::new(8));
    let choices = judge(operations, Verdict::Held);
    assert!(choices < 500_000, "{choices} choices");
}

#[test]
fn who_is_told_to_stop_stops() {
    let operations = world(1, 50, 25).run(&mut Dice::new(9));
    let asked = std::cell::Cell::new(0);
    let stop = || {
        asked.set(asked.get() + 1);
        true
    };
    let budget = Budget {
        stop: Some(&stop),
        ..Budget::default()
    };
    let report = register::check(&history(operations), budget);
    assert_eq!(report.verdict, Verdict::Unknown, "{report}");
    assert_eq!(asked.get(), 1);
    assert!(report.doubts[0].contains("given up"), "{report}");
}
