//! Is each key a linearizable register? A search for an order, by values, that knows nothing of how versions are given.
//!
//! A read sees the value, a refused compare-and-set the version that is there instead, a compare-and-set expects a
//! version. A version stands for the value it has; where nobody saw that value, for the unknown write that made it
//! (`evidence`). So the search needs no blind steps, unless something was deleted without saying at which version.

use std::collections::BTreeMap;

use super::evidence::{Assignment, Evidence, Problem};
use super::key_history::{Act, KeyHistories, KeyHistory, Touch};
use super::{Budget, Inquiry, Report, Story};
use crate::history::History;

mod line;
pub mod search;
mod shrink;

use search::{Answer, Effect, State, Step, search};

/// Looks for an order of the operations of each key.
///
/// The history must have the whole life of its keys: one that exists before is a value from nowhere. Values are unique.
#[must_use]
pub fn check(history: &History, budget: Budget<'_>) -> Report {
    let mut inquiry = Inquiry::new("register");
    let histories = KeyHistories::of(history);
    inquiry.count("stale reads left out", histories.stale_reads);
    for (key, key_history) in &histories.keys {
        check_key(&mut inquiry, key, key_history, budget);
    }
    inquiry.end("operations")
}

fn check_key(inquiry: &mut Inquiry, key: &str, history: &KeyHistory<'_>, budget: Budget<'_>) {
    inquiry.count("keys", 1);
    if let Some(foreign) = history.foreign {
        let (id, kind) = (foreign.id, foreign.kind);
        inquiry.doubt(format!(
            "operation {id} on {key} is a {kind:?}, which a register does not have"
        ));
        return;
    }
    let (evidence, problems) = Evidence::of(key, history);
    for problem in problems {
        match problem {
            Problem::Doubt(reason) => {
                inquiry.doubt(reason);
                return;
            }
            // Contradictory versions are the other check's business; here values count.
            Problem::Violation(_) => {}
        }
    }
    let (steps, places) = Translation::of(history, &evidence).steps();
    let certain = history.touches.iter().filter(|touch| touch.is_certain());
    let certain = certain.count() as u64;
    inquiry.count("operations", certain);
    inquiry.count("unknown writes", history.touches.len() as u64 - certain);
    let searched = search(&steps, budget);
    inquiry.count("choices", searched.states);
    match searched.answer {
        Answer::Order => {}
        Answer::GaveUp => inquiry.doubt(format!(
            "the search for an order of the {} operations on {key} was given up after {} choices",
            steps.len(),
            searched.states
        )),
        Answer::NoOrder => {
            let involved = with_makers(&steps, shrink::shrink(&steps, budget));
            let operations = involved
                .iter()
                .map(|step| history.touches[places[*step]].operation);
            let what = format!("no order of these operations on {key} explains what was seen");
            inquiry.violated(Story::new(what).with(operations));
        }
    }
}

/// The steps, and who made what they saw: whoever reads the story asks for them.
fn with_makers(steps: &[Step], involved: Vec<usize>) -> Vec<usize> {
    let mut makers: BTreeMap<State, usize> = BTreeMap::new();
    for (place, step) in steps.iter().enumerate() {
        if let Some(made) = step.effect.makes().filter(|made| *made != State::ABSENT) {
            makers.insert(made, place);
        }
    }
    let mut all = involved;
    let needed = all.iter().filter_map(|step| steps[*step].effect.needs());
    let needed: Vec<usize> = needed
        .filter_map(|state| makers.get(&state).copied())
        .collect();
    all.extend(needed);
    all
}

/// From what was said to what the search knows.
struct Translation<'a, 'h> {
    history: &'h KeyHistory<'a>,
    evidence: &'h Evidence<'a>,
    assignment: Assignment,
    /// The touch that made it → a version whose value nobody saw.
    made: BTreeMap<usize, u64>,
    values: BTreeMap<&'a str, State>,
    versions: BTreeMap<u64, State>,
    last: State,
}

impl<'a, 'h> Translation<'a, 'h> {
    fn of(history: &'h KeyHistory<'a>, evidence: &'h Evidence<'a>) -> Self {
        let assignment = evidence.assign(history, &evidence.sightings(history));
        let makers = assignment.makers.iter();
        let made = makers.map(|(version, touch)| (*touch, *version)).collect();
        Self {
            history,
            evidence,
            assignment,
            made,
            values: BTreeMap::new(),
            versions: BTreeMap::new(),
            last: State::ABSENT,
        }
    }

    /// The steps, and the touch behind each.
    fn steps(mut self) -> (Vec<Step>, Vec<usize>) {
        let (mut steps, mut places) = (Vec::new(), Vec::new());
        let history = self.history;
        for (place, touch) in history.touches.iter().enumerate() {
            if let Some(effect) = self.effect(place, touch) {
                steps.push(Step {
                    start_ns: touch.start_ns,
                    end_ns: touch.end_ns,
                    effect,
                });
                places.push(place);
            }
        }
        (steps, places)
    }

    fn effect(&mut self, place: usize, touch: &Touch<'a>) -> Option<Effect> {
        Some(match touch.act {
            Act::Absent => Effect::Observe(State::ABSENT),
            Act::Read { value, .. } => Effect::Observe(self.value(value)),
            Act::ReadVersion { version } => Effect::Observe(self.version(version)),
            Act::Pinned { .. } => return None,
            Act::Conflict {
                actual: Some(actual),
                ..
            } => Effect::Observe(self.version(actual)),
            Act::Conflict { expected, .. } => Effect::Differ(self.version(expected)),
            Act::Write { value, .. } => Effect::Write(self.written(place, value)),
            Act::Swap {
                expected, value, ..
            } => {
                let to = self.written(place, value);
                self.over(place, touch, expected, to)
            }
            Act::Delete {
                expected: Some(expected),
            } => self.over(place, touch, expected, State::ABSENT),
            Act::Delete { expected: None } => Effect::Clear,
        })
    }

    /// An uncertain step over a version of which nothing is known can not be told from one over anything. Nor can one
    /// that was taken as the maker of a version while deletions may have come between.
    fn over(&mut self, place: usize, touch: &Touch<'a>, expected: u64, to: State) -> Effect {
        let is_known = expected == 0
            || self.evidence.values.contains_key(&expected)
            || self.assignment.makers.contains_key(&expected);
        let is_stand_in = self.history.has_deletes && self.made.contains_key(&place);
        if !touch.is_certain() && (!is_known || is_stand_in) {
            return Effect::Write(to);
        }
        let from = self.version(expected);
        Effect::Swap { from, to }
    }

    fn written(&mut self, place: usize, value: &'a str) -> State {
        match self.made.get(&place).copied() {
            Some(version) => self.version(version),
            None => self.value(value),
        }
    }

    fn version(&mut self, version: u64) -> State {
        if version == 0 {
            return State::ABSENT;
        }
        if let Some(value) = self.evidence.values.get(&version).copied() {
            return self.value(value);
        }
        let last = &mut self.last;
        *self.versions.entry(version).or_insert_with(|| next(last))
    }

    fn value(&mut self, value: &'a str) -> State {
        let last = &mut self.last;
        *self.values.entry(value).or_insert_with(|| next(last))
    }
}

fn next(last: &mut State) -> State {
    last.0 += 1;
    *last
}
