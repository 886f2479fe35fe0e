//! The search with its rules against trying every order, on many small histories of every kind of step.

use jarvis_chaos::checker::Budget;
use jarvis_chaos::checker::register::search::{Answer, search};

use crate::dice::Dice;
use crate::oracle::has_order;
use crate::steps::{Shape, random};

#[test]
fn on_forty_thousand_histories_of_each_shape() {
    for (seed, has_blind, has_repeats) in [
        (1, false, false),
        (2, true, false),
        (3, false, true),
        (4, true, true),
    ] {
        let shape = Shape {
            steps: 2..=8,
            has_blind,
            has_repeats,
        };
        let mut dice = Dice::new(seed);
        let (mut with, mut without) = (0, 0);
        for number in 0..40_000 {
            let steps = random(&mut dice, &shape);
            let expected = has_order(&steps);
            let searched = search(&steps, Budget::default());
            let found = searched.answer == Answer::Order;
            assert_eq!(found, expected, "seed {seed}, history {number}: {steps:#?}");
            *(if expected { &mut with } else { &mut without }) += 1;
        }
        // Otherwise it compares nothing.
        assert!(
            with > 4_000 && without > 4_000,
            "{with} with an order, {without} without"
        );
    }
}
