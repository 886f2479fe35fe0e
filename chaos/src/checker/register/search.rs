//! Is there an order? The search of Wing and Gong, with Lowe's memory, for one register.
//!
//! It goes through time and decides which step comes next, among those whose call is before every return that has no
//! place yet; where it gets no further it goes back to the last choice. Four rules keep the choices few (the proofs
//! are exchanges of neighbours in an order that exists):
//!
//! 1. A step that changes nothing and fits the present state comes at once: it can only stand earlier than elsewhere.
//! 2. No step may leave a state that never comes again while a certain step still needs it. Values are unique, so
//!    every state but "absent" has one maker.
//! 3. A certain write of which nobody saw anything, and over a state that nobody needs any more, comes at once.
//! 4. An uncertain step whose state nobody needs is left out: where it happened, nothing would differ. That is wrong
//!    as soon as a step says only which state there was *not*, as a blind refusal of a compare-and-set does, or an
//!    unconditional delete. Then nothing is left out, and rule 3 rests.
//!
//! Where several steps could come next, the pair of (steps that have a place, state) is remembered and never entered
//! twice. Of the set a 128-bit mark is kept, the exclusive or of its steps' marks. Two sets with one mark would make a
//! branch look done that is not; with ten million states the chance is below 10^-24.

use std::collections::HashSet;

use super::line::{HEAD, Line};
use crate::checker::Budget;

/// A value of the register, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State(pub u32);

impl State {
    /// Nothing is there: so it is in the beginning.
    pub const ABSENT: Self = Self(0);

    const fn place(self) -> usize {
        self.0 as usize
    }
}

/// What a step does, and when it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Sees this state.
    Observe(State),
    /// Sees some other state than this one.
    Differ(State),
    /// Makes this state.
    Write(State),
    /// Makes a state out of another one.
    Swap {
        /// The one there must be.
        from: State,
        /// The one there is then.
        to: State,
    },
    /// Makes "absent" out of any other state.
    Clear,
}

/// One step, and when it can have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Not before this.
    pub start_ns: u64,
    /// Not after this; `None`: perhaps never.
    pub end_ns: Option<u64>,
    /// What it does.
    pub effect: Effect,
}

/// What a search came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// There is an order.
    Order,
    /// There is none.
    NoOrder,
    /// The budget was spent before it was known.
    GaveUp,
}

/// A search, and what it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Searched {
    /// What it came to.
    pub answer: Answer,
    /// Choices that were tried.
    pub states: u64,
}

/// Looks for an order in which every certain step happens once, in time, and every uncertain one at most once.
#[must_use]
pub fn search(steps: &[Step], budget: Budget<'_>) -> Searched {
    let kept = Kept::of(steps);
    Search::new(&kept).run(budget)
}

impl Effect {
    /// The state it makes, if it changes something.
    #[must_use]
    pub const fn makes(self) -> Option<State> {
        match self {
            Self::Write(to) | Self::Swap { to, .. } => Some(to),
            Self::Clear => Some(State::ABSENT),
            Self::Observe(_) | Self::Differ(_) => None,
        }
    }

    /// The one state in which it can happen, if there is only one.
    #[must_use]
    pub const fn needs(self) -> Option<State> {
        match self {
            Self::Observe(state) | Self::Swap { from: state, .. } => Some(state),
            Self::Differ(_) | Self::Write(_) | Self::Clear => None,
        }
    }

    /// The state after it; `None` if it can not happen.
    #[must_use]
    pub fn apply(self, state: State) -> Option<State> {
        let (can_happen, after) = match self {
            Self::Observe(seen) => (state == seen, state),
            Self::Differ(other) => (state != other, state),
            Self::Write(to) => (true, to),
            Self::Swap { from, to } => (state == from, to),
            Self::Clear => (state != State::ABSENT, State::ABSENT),
        };
        can_happen.then_some(after)
    }

    /// It says which state there was not.
    const fn is_blind(self) -> bool {
        matches!(self, Self::Differ(_) | Self::Clear)
    }

    /// The highest number of a state in it.
    fn highest(self) -> State {
        match self {
            Self::Observe(state) | Self::Differ(state) | Self::Write(state) => state,
            Self::Swap { from, to } => from.max(to),
            Self::Clear => State::ABSENT,
        }
    }
}

/// The steps that count.
struct Kept {
    steps: Vec<Step>,
    /// Numbers of states are below this.
    states: usize,
    is_blind: bool,
}

impl Kept {
    fn of(steps: &[Step]) -> Self {
        let candidates: Vec<Step> = steps.iter().filter_map(soften).collect();
        let highest = candidates.iter().map(|step| step.effect.highest()).max();
        let states = highest.unwrap_or(State::ABSENT).place() + 1;
        let is_blind = candidates.iter().any(|step| step.effect.is_blind());
        let steps = if is_blind {
            candidates
        } else {
            without_unobserved(candidates, states)
        };
        Self {
            steps,
            states,
            is_blind,
        }
    }
}

/// What is uncertain saw nothing; and an uncertain delete of what was absent already changes nothing either.
fn soften(step: &Step) -> Option<Step> {
    if step.end_ns.is_some() {
        return Some(*step);
    }
    let effect = match step.effect {
        Effect::Observe(_) | Effect::Differ(_) => return None,
        Effect::Clear => Effect::Write(State::ABSENT),
        effect => effect,
    };
    Some(Step { effect, ..*step })
}

/// Rule 4.
fn without_unobserved(steps: Vec<Step>, states: usize) -> Vec<Step> {
    let mut makers: Vec<Vec<usize>> = vec![Vec::new(); states];
    let mut is_kept = vec![false; steps.len()];
    let mut is_needed = vec![false; states];
    let mut pending = Vec::new();
    for (place, step) in steps.iter().enumerate() {
        if step.end_ns.is_some() {
            is_kept[place] = true;
            pending.extend(step.effect.needs());
        } else if let Some(made) = step.effect.makes() {
            makers[made.place()].push(place);
        }
    }
    while let Some(state) = pending.pop() {
        if is_needed[state.place()] {
            continue;
        }
        is_needed[state.place()] = true;
        for place in &makers[state.place()] {
            is_kept[*place] = true;
            pending.extend(steps[*place].effect.needs());
        }
    }
    let kept = steps.into_iter().zip(is_kept);
    kept.filter_map(|(step, is_kept)| is_kept.then_some(step))
        .collect()
}

/// A step that has its place, and how to take it back.
struct Frame {
    step: usize,
    before: State,
    /// There was nothing to choose.
    is_forced: bool,
}

struct Search<'a> {
    steps: &'a [Step],
    is_blind: bool,
    line: Line,
    state: State,
    /// Certain steps without a place.
    left: usize,
    /// State → certain steps without a place that need it.
    pending: Vec<u32>,
    /// State → uncertain steps without a place that need it.
    wanting: Vec<u32>,
    /// State → it comes once at most.
    is_unique: Vec<bool>,
    frames: Vec<Frame>,
    entered: HashSet<u128>,
    mark: u128,
}

impl<'a> Search<'a> {
    fn new(kept: &'a Kept) -> Self {
        let mut makers = vec![0_u32; kept.states];
        makers[State::ABSENT.place()] = 1;
        let mut search = Self {
            steps: &kept.steps,
            is_blind: kept.is_blind,
            line: Line::new(&kept.steps),
            state: State::ABSENT,
            left: 0,
            pending: vec![0; kept.states],
            wanting: vec![0; kept.states],
            is_unique: Vec::new(),
            frames: Vec::new(),
            entered: HashSet::new(),
            mark: 0,
        };
        for step in &kept.steps {
            search.left += usize::from(step.end_ns.is_some());
            if let Some(state) = step.effect.needs() {
                *search.needing(step, state) += 1;
            }
            if let Some(state) = step.effect.makes() {
                makers[state.place()] += 1;
            }
        }
        search.is_unique = makers.into_iter().map(|makers| makers <= 1).collect();
        search
    }

    fn run(mut self, budget: Budget<'_>) -> Searched {
        let mut states = 0;
        let searched = |answer, states| Searched { answer, states };
        let mut from = HEAD;
        self.settle();
        loop {
            if self.left == 0 {
                return searched(Answer::Order, states);
            }
            if let Some(step) = self.choose(from) {
                states += 1;
                if budget.is_spent(states) {
                    return searched(Answer::GaveUp, states);
                }
                self.place(step, false);
                self.settle();
                from = HEAD;
            } else if let Some(choice) = self.retreat() {
                from = choice;
            } else {
                return searched(Answer::NoOrder, states);
            }
        }
    }

    /// Everything that needs no choice.
    fn settle(&mut self) {
        while self.observe() || self.write_unseen() {}
    }

    /// Rule 1.
    fn observe(&mut self) -> bool {
        let mut has_moved = false;
        let mut place = self.line.next(HEAD);
        while let Some(step) = self.line.call_at(place) {
            let effect = self.steps[step].effect;
            if effect.makes().is_none() && effect.apply(self.state).is_some() {
                self.place(step, true);
                has_moved = true;
            }
            place = self.line.next(place);
        }
        has_moved
    }

    /// Rule 3.
    fn write_unseen(&mut self) -> bool {
        if self.is_blind || self.is_needed(self.state) {
            return false;
        }
        let mut place = self.line.next(HEAD);
        while let Some(step) = self.line.call_at(place) {
            let Step { end_ns, effect, .. } = self.steps[step];
            if let (Some(_), Effect::Write(to)) = (end_ns, effect)
                && !self.is_needed(to)
            {
                self.place(step, true);
                return true;
            }
            place = self.line.next(place);
        }
        false
    }

    /// The next change after that place that is allowed and leads to something new.
    fn choose(&mut self, from: usize) -> Option<usize> {
        let mut place = self.line.next(from);
        while let Some(step) = self.line.call_at(place) {
            if let Some(to) = self.change(step) {
                let mark = self.mark ^ step_mark(step) ^ state_mark(to);
                if self.entered.insert(mark) {
                    return Some(step);
                }
            }
            place = self.line.next(place);
        }
        None
    }

    /// The state that a change leads to, if it may come now (rule 2).
    fn change(&self, step: usize) -> Option<State> {
        let Step { end_ns, effect, .. } = self.steps[step];
        effect.makes()?;
        let to = effect.apply(self.state)?;
        let is_its_own_need = end_ns.is_some() && effect.needs() == Some(self.state);
        let left_behind = self.pending[self.state.place()] - u32::from(is_its_own_need);
        let may_leave = left_behind == 0 || !self.is_unique[self.state.place()];
        may_leave.then_some(to)
    }

    fn place(&mut self, step: usize, is_forced: bool) {
        let taken = self.steps[step];
        self.frames.push(Frame {
            step,
            before: self.state,
            is_forced,
        });
        self.line.take(step);
        self.left -= usize::from(taken.end_ns.is_some());
        if let Some(state) = taken.effect.needs() {
            *self.needing(&taken, state) -= 1;
        }
        if let Some(state) = taken.effect.makes() {
            self.state = state;
        }
        self.mark ^= step_mark(step);
    }

    /// Takes back the last choice, and all that followed from it. The place after which another one may be found.
    fn retreat(&mut self) -> Option<usize> {
        while let Some(frame) = self.frames.pop() {
            let taken = self.steps[frame.step];
            self.line.put_back(frame.step);
            self.left += usize::from(taken.end_ns.is_some());
            if let Some(state) = taken.effect.needs() {
                *self.needing(&taken, state) += 1;
            }
            self.state = frame.before;
            self.mark ^= step_mark(frame.step);
            if !frame.is_forced {
                return Some(self.line.place_of(frame.step));
            }
        }
        None
    }

    fn is_needed(&self, state: State) -> bool {
        self.pending[state.place()] > 0 || self.wanting[state.place()] > 0
    }

    fn needing(&mut self, step: &Step, state: State) -> &mut u32 {
        if step.end_ns.is_some() {
            &mut self.pending[state.place()]
        } else {
            &mut self.wanting[state.place()]
        }
    }
}

fn step_mark(step: usize) -> u128 {
    wide(2 * step as u64)
}

fn state_mark(state: State) -> u128 {
    wide(2 * u64::from(state.0) + 1)
}

/// 128 bits that look random (splitmix64, twice).
fn wide(number: u64) -> u128 {
    let mix = |salt: u64| {
        let mut mixed = number
            .wrapping_mul(2)
            .wrapping_add(salt)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    (u128::from(mix(1)) << 64) | u128::from(mix(2))
}
