//! From a history without an order to the few steps that already have none.
//!
//! First the time is found at which it goes wrong: what has an order has one up to every moment. Then values are taken
//! away, each with its writer and all who saw it; what expected it becomes a plain write, which asks for less. What has
//! an order keeps one under both, so what is left without one is still a contradiction. At last single observations go.

use std::collections::BTreeSet;

use super::search::{Answer, Effect, State, Step, search};
use crate::checker::Budget;

/// Choices for each try: this only makes a story shorter, and a try that is given up keeps what it tried to remove.
const STATES_PER_TRY: u64 = 200_000;
/// Single observations that are tried.
const MAX_SINGLES: usize = 300;

/// The places of the steps that have no order, in the order of `steps`. Those must have none.
pub(super) fn shrink(steps: &[Step], budget: Budget<'_>) -> Vec<usize> {
    let tries = Budget {
        states: STATES_PER_TRY,
        ..budget
    };
    let all: Vec<(usize, Step)> = steps.iter().copied().enumerate().collect();
    let mut rest = up_to_the_first_contradiction(all, tries);
    let is_blind = rest
        .iter()
        .any(|(_, step)| matches!(step.effect, Effect::Differ(_) | Effect::Clear));
    if !is_blind {
        rest = without_values(rest, tries);
    }
    rest = without_single_observations(rest, tries);
    rest.into_iter().map(|(place, _)| place).collect()
}

fn has_no_order(steps: &[(usize, Step)], budget: Budget<'_>) -> bool {
    let steps: Vec<Step> = steps.iter().map(|(_, step)| *step).collect();
    search(&steps, budget).answer == Answer::NoOrder
}

fn up_to_the_first_contradiction(
    all: Vec<(usize, Step)>,
    budget: Budget<'_>,
) -> Vec<(usize, Step)> {
    let ends: BTreeSet<u64> = all.iter().filter_map(|(_, step)| step.end_ns).collect();
    let ends: Vec<u64> = ends.into_iter().collect();
    // Up to `ends[low - 1]` there is an order; up to `ends[high]` there is none, as far as the budget shows.
    let (mut low, mut high) = (0, ends.len().saturating_sub(1));
    while low < high {
        let middle = low.midpoint(high);
        if has_no_order(&up_to(&all, ends[middle]), budget) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    match ends.get(high).map(|end_ns| up_to(&all, *end_ns)) {
        Some(beginning) if has_no_order(&beginning, budget) => beginning,
        _ => all,
    }
}

/// What was known at that moment: what began before; what was not over yet is uncertain.
fn up_to(all: &[(usize, Step)], moment_ns: u64) -> Vec<(usize, Step)> {
    let began = all.iter().filter(|(_, step)| step.start_ns <= moment_ns);
    began
        .map(|(place, step)| {
            let end_ns = step.end_ns.filter(|end_ns| *end_ns <= moment_ns);
            (*place, Step { end_ns, ..*step })
        })
        .collect()
}

fn without_values(mut rest: Vec<(usize, Step)>, budget: Budget<'_>) -> Vec<(usize, Step)> {
    let states: BTreeSet<State> = rest
        .iter()
        .flat_map(|(_, step)| [step.effect.makes(), step.effect.needs()])
        .flatten()
        .filter(|state| *state != State::ABSENT)
        .collect();
    let mut states: Vec<State> = states.into_iter().collect();
    let mut size = states.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < states.len() {
            let end = states.len().min(at + size);
            let removed: BTreeSet<State> = states[at..end].iter().copied().collect();
            let fewer = without(&rest, &removed);
            if has_no_order(&fewer, budget) {
                rest = fewer;
                states.drain(at..end);
            } else {
                at = end;
            }
        }
        size /= 2;
    }
    rest
}

fn without(steps: &[(usize, Step)], removed: &BTreeSet<State>) -> Vec<(usize, Step)> {
    let is_removed = |state: State| removed.contains(&state);
    let mut left = Vec::with_capacity(steps.len());
    for (place, step) in steps {
        let effect = match step.effect {
            Effect::Observe(state) | Effect::Write(state) if is_removed(state) => continue,
            Effect::Swap { to, .. } if is_removed(to) => continue,
            Effect::Swap { from, to } if is_removed(from) => Effect::Write(to),
            effect => effect,
        };
        left.push((*place, Step { effect, ..*step }));
    }
    left
}

fn without_single_observations(
    mut rest: Vec<(usize, Step)>,
    budget: Budget<'_>,
) -> Vec<(usize, Step)> {
    let mut tries = 0;
    let mut at = rest.len();
    while at > 0 && tries < MAX_SINGLES {
        at -= 1;
        let (_, step) = rest[at];
        if step.effect.makes().is_some() {
            continue;
        }
        tries += 1;
        let mut fewer = rest.clone();
        fewer.remove(at);
        if has_no_order(&fewer, budget) {
            rest = fewer;
        }
    }
    rest
}
