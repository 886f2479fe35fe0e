//! What small histories are, found by trying every order. Slow and plain, so that it can be believed.

use std::collections::HashSet;

use jarvis_chaos::checker::register::search::{Effect, State, Step};
use jarvis_chaos::history::{Kind, Operation, Outcome};

/// Whether some order of the steps has every certain one, in time.
pub(crate) fn has_order(steps: &[Step]) -> bool {
    let times = |step: &Step| (step.start_ns, step.end_ns);
    let apply = |step: &Step, state: &State| match (step.end_ns, step.effect) {
        // An uncertain delete of what is not there is a request that was refused, and that nobody heard of.
        (None, Effect::Clear) => Some(State::ABSENT),
        (None, Effect::Observe(_) | Effect::Differ(_)) => None,
        _ => step.effect.apply(*state),
    };
    exhaust(steps, times, apply, State::ABSENT)
}

/// What a server knows of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Secret {
    last_version: u64,
    current: Option<(u64, String)>,
}

/// Whether a server of one secret can have answered so. Reads, writes, compare-and-sets and deletes of one key.
pub(crate) fn is_linearizable(operations: &[Operation]) -> bool {
    let counts = |operation: &&Operation| match operation.outcome {
        Outcome::Ok => true,
        Outcome::Fail => operation.failed_with("not_found") || operation.failed_with("conflict"),
        Outcome::Info => operation.kind != Kind::Read,
    };
    let operations: Vec<&Operation> = operations.iter().filter(counts).collect();
    let times = |operation: &&Operation| {
        let is_certain = operation.outcome != Outcome::Info;
        let end_ns = operation.end_ns.filter(|_| is_certain);
        (operation.start_ns, end_ns)
    };
    let start = Secret {
        last_version: 0,
        current: None,
    };
    exhaust(
        &operations,
        times,
        |operation, secret| serve(operation, secret),
        start,
    )
}

/// The secret after the operation, if it can have come to what it came to.
fn serve(operation: &Operation, secret: &Secret) -> Option<Secret> {
    let current = secret.current.as_ref().map_or(0, |(version, _)| *version);
    let answer = &operation.answer;
    if operation.failed_with("not_found") {
        return (current == 0).then(|| secret.clone());
    }
    if operation.failed_with("conflict") {
        let is_right =
            answer.actual_version == Some(current) && operation.expected != Some(current);
        return is_right.then(|| secret.clone());
    }
    if operation
        .expected
        .is_some_and(|expected| expected != current)
    {
        return None;
    }
    let after = match operation.kind {
        Kind::Read => {
            let (version, value) = secret.current.as_ref()?;
            let is_right = answer.version == Some(*version)
                && answer.value.as_ref().is_none_or(|read| read == value);
            return is_right.then(|| secret.clone());
        }
        Kind::Write | Kind::Cas => {
            let version = secret.last_version + 1;
            Secret {
                last_version: version,
                current: Some((version, operation.value.clone()?)),
            }
        }
        Kind::Delete if current > 0 => Secret {
            last_version: secret.last_version,
            current: None,
        },
        _ => return None,
    };
    let is_told_so = operation.kind == Kind::Delete
        || operation.outcome == Outcome::Info
        || answer.version == Some(after.last_version);
    is_told_so.then_some(after)
}

/// Tries all orders; what has no end need not come at all.
fn exhaust<T, S: Clone + Eq + std::hash::Hash>(
    items: &[T],
    times: impl Fn(&T) -> (u64, Option<u64>),
    apply: impl Fn(&T, &S) -> Option<S>,
    start: S,
) -> bool {
    assert!(items.len() <= 20, "too many for this");
    let times: Vec<(u64, Option<u64>)> = items.iter().map(times).collect();
    let mut entered: HashSet<(u32, S)> = HashSet::new();
    let mut pending = vec![(0_u32, start)];
    while let Some((done, state)) = pending.pop() {
        if !entered.insert((done, state.clone())) {
            continue;
        }
        let left = || (0..items.len()).filter(move |item| done & (1_u32 << *item) == 0);
        let Some(first_end) = left().filter_map(|item| times[item].1).min() else {
            return true;
        };
        for item in left().filter(|item| times[*item].0 <= first_end) {
            if let Some(after) = apply(&items[item], &state) {
                pending.push((done | (1 << item), after));
            }
        }
    }
    false
}
