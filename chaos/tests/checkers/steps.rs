//! Small random histories for the search, of every kind of step.

use jarvis_chaos::checker::register::search::{Effect, State, Step};

use crate::dice::Dice;

/// What a random history may hold.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) steps: std::ops::RangeInclusive<u64>,
    /// Steps that say which state there was not.
    pub(crate) has_blind: bool,
    /// States that come more than once.
    pub(crate) has_repeats: bool,
}

/// Steps at random; about a quarter of such histories has an order.
pub(crate) fn random(dice: &mut Dice, shape: &Shape) -> Vec<Step> {
    let span = shape.steps.end() - shape.steps.start() + 1;
    let count = shape.steps.start() + dice.below(span);
    let time = [6, 12, 30][dice.place(3)];
    let mut fresh = 0;
    (0..count)
        .map(|_| step(dice, shape, time, &mut fresh))
        .collect()
}

fn step(dice: &mut Dice, shape: &Shape, time: u64, fresh: &mut u32) -> Step {
    let start_ns = dice.below(time);
    let end_ns = start_ns + dice.below(time / 2 + 1);
    let kinds = if shape.has_blind { 10 } else { 8 };
    let kind = dice.below(kinds);
    let any = State(u32::try_from(dice.below(5)).unwrap());
    let mut made = || {
        if shape.has_repeats && dice.percent(30) {
            return State(u32::try_from(dice.below(u64::from(*fresh) + 1)).unwrap());
        }
        *fresh += 1;
        State(*fresh)
    };
    let effect = match kind {
        0..=2 => Effect::Observe(any),
        3..=5 => Effect::Write(made()),
        6 | 7 => Effect::Swap {
            from: any,
            to: made(),
        },
        8 => Effect::Differ(any),
        _ => Effect::Clear,
    };
    Step {
        start_ns,
        end_ns: (!dice.percent(25)).then_some(end_ns),
        effect,
    }
}
