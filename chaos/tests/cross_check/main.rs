//! The search against porcupine-rs, which knows none of our rules, on a hundred thousand small histories.

#![allow(
    clippy::unwrap_used,
    reason = "a test program; its helpers are not marked as tests"
)]

#[path = "../checkers/dice.rs"]
mod dice;
#[path = "../checkers/steps.rs"]
mod steps;

use jarvis_chaos::checker::Budget;
use jarvis_chaos::checker::register::search::{Answer, Effect, State, Step, search};
use porcupine_rs::{Model, Operation, check_operations};

use dice::Dice;
use steps::{Shape, random};

/// The register as porcupine-rs wants to have it told.
#[derive(Debug, Clone)]
struct Register;

/// An effect, and whether it happened for certain.
#[derive(Debug, Clone)]
struct Asked {
    effect: Effect,
    is_certain: bool,
}

impl Model for Register {
    type State = State;
    type Op = Asked;
    type Metadata = ();

    fn init() -> State {
        State::ABSENT
    }

    /// What is uncertain has no end, so it can be put behind everything else; where it can not happen it changes nothing.
    fn step(state: &State, asked: &Asked) -> (bool, State) {
        match asked.effect.apply(*state) {
            Some(after) => (true, after),
            None => (!asked.is_certain, *state),
        }
    }
}

fn told(step: &Step) -> Operation<Register> {
    Operation {
        client_id: None,
        call_time: i64::try_from(step.start_ns).unwrap(),
        return_time: step
            .end_ns
            .map_or(i64::MAX, |end_ns| i64::try_from(end_ns).unwrap()),
        op: Asked {
            effect: step.effect,
            is_certain: step.end_ns.is_some(),
        },
        metadata: None,
    }
}

#[test]
fn on_a_hundred_thousand_histories() {
    let (mut with, mut without) = (0, 0);
    for seed in 0..4 {
        let shape = Shape {
            steps: 4..=8,
            has_blind: seed & 1 == 1,
            has_repeats: seed & 2 == 2,
        };
        let mut dice = Dice::new(1_000 + seed);
        for number in 0..25_000 {
            let steps = random(&mut dice, &shape);
            let operations: Vec<Operation<Register>> = steps.iter().map(told).collect();
            let expected = check_operations(&operations);
            let found = search(&steps, Budget::default()).answer == Answer::Order;
            assert_eq!(found, expected, "seed {seed}, history {number}: {steps:#?}");
            *(if expected { &mut with } else { &mut without }) += 1;
        }
    }
    assert!(
        with > 5_000 && without > 5_000,
        "{with} with an order, {without} without"
    );
}
