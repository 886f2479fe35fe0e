//! Histories of a correct register are accepted; the same with an answer changed are refused exactly when an exhaustive
//! search says that no register can have answered so.

use std::collections::BTreeMap;

use jarvis_chaos::checker::{Budget, Report, Verdict, register, versioned};
use jarvis_chaos::history::Operation;

use crate::dice::Dice;
use crate::mutations::Mutation;
use crate::oracle::is_linearizable;
use crate::tale::history;
use crate::world::World;

const HISTORIES: u64 = 20_000;

fn judge(operations: &[Operation]) -> (Report, Report) {
    let history = history(operations.iter().cloned());
    (
        register::check(&history, Budget::default()),
        versioned::check(&history),
    )
}

fn is_refused(report: &Report) -> bool {
    report.verdict == Verdict::Violated
}

#[test]
fn small_histories_are_accepted_and_refused_as_they_deserve() {
    let mut refused: BTreeMap<Mutation, [u64; 2]> = BTreeMap::new();
    let (mut by_search, mut by_versions) = (0, 0);
    for seed in 0..HISTORIES {
        let mut dice = Dice::new(seed);
        let mut operations = World::small().run(&mut dice);
        let (search, versions) = judge(&operations);
        assert!(
            is_linearizable(&operations),
            "seed {seed}: the world is wrong"
        );
        assert!(!is_refused(&search), "seed {seed}: {search}");
        assert!(!is_refused(&versions), "seed {seed}: {versions}");

        let mutation = Mutation::ALL[dice.place(Mutation::ALL.len())];
        if !mutation.apply(&mut dice, &mut operations) {
            continue;
        }
        let is_right = is_linearizable(&operations);
        let (search, versions) = judge(&operations);
        // By versions it is exact. By values it never accuses wrongly, and sees most of it.
        let told = || format!("seed {seed}, {mutation:?}: {operations:#?}\n{search}\n{versions}");
        assert_eq!(is_refused(&versions), !is_right, "{}", told());
        assert!(!(is_right && is_refused(&search)), "{}", told());
        by_search += u64::from(is_refused(&search));
        by_versions += u64::from(!is_right);
        refused.entry(mutation).or_default()[usize::from(is_right)] += 1;
    }
    for mutation in Mutation::ALL {
        let [wrong, harmless] = refused.get(&mutation).copied().unwrap_or_default();
        assert!(
            wrong > 50,
            "{mutation:?} made {wrong} histories wrong, {harmless} not: {refused:?}"
        );
    }
    assert!(
        by_search * 100 > by_versions * 60,
        "the search refused {by_search} of {by_versions}"
    );
}

#[test]
fn small_histories_with_deletions_too() {
    let world = World {
        deletes_percent: 20,
        reads_percent: 35,
        ..World::small()
    };
    let (mut wrong, mut by_search) = (0, 0);
    for seed in 0..HISTORIES {
        let mut dice = Dice::new(seed);
        let mut operations = world.run(&mut dice);
        let (search, versions) = judge(&operations);
        assert!(
            is_linearizable(&operations),
            "seed {seed}: the world is wrong"
        );
        assert!(!is_refused(&search), "seed {seed}: {search}");
        assert!(!is_refused(&versions), "seed {seed}: {versions}");

        let mutation = Mutation::ALL[dice.place(Mutation::ALL.len())];
        if !mutation.apply(&mut dice, &mut operations) {
            continue;
        }
        let is_right = is_linearizable(&operations);
        let (search, versions) = judge(&operations);
        let told = || format!("seed {seed}, {mutation:?}: {operations:#?}\n{search}\n{versions}");
        assert!(!(is_right && is_refused(&search)), "{}", told());
        assert!(!(is_right && is_refused(&versions)), "{}", told());
        wrong += u64::from(!is_right);
        by_search += u64::from(is_refused(&search));
    }
    assert!(wrong > 1_000, "only {wrong} histories were made wrong");
    assert!(
        by_search * 100 > wrong * 50,
        "the search refused {by_search} of {wrong}"
    );
}

#[test]
fn a_story_of_the_search_is_a_contradiction_by_itself_and_short() {
    let (mut stories, mut told, mut length) = (0, 0, 0);
    for seed in 0..2_000 {
        let mut dice = Dice::new(seed);
        let world = World {
            operations: 60,
            lost_percent: 5,
            ..World::small()
        };
        let mut operations = world.run(&mut dice);
        Mutation::StaleRead.apply(&mut dice, &mut operations);
        let (search, _) = judge(&operations);
        for story in &search.stories {
            stories += 1;
            length += story.operations.len();
            let (again, versions) = judge(&story.operations);
            told += usize::from(is_refused(&again) || is_refused(&versions));
        }
    }
    assert!(stories > 500, "{stories} stories");
    // Told alone, what is left of the versions may be filled up by other unknown writes.
    assert!(told * 20 >= stories * 19, "{told} of {stories}");
    assert!(
        length < 8 * stories,
        "{length} operations in {stories} stories"
    );
}
