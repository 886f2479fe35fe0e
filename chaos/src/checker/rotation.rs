//! Rotations (C6, R2): each due slot of each secret rotates exactly once, across fail-overs, pauses and skewed clocks;
//! none by a deposed leader; no reader is ever without a valid version.
//!
//! What was due and what was rotated are lines of the history, taken from the trail and from the target. A reader is
//! without a valid version when a read finds nothing after the secret was known to exist, or when a use of a version is
//! refused (`denied`) before that version's grace is over.

use std::collections::{BTreeMap, BTreeSet};

use super::{Inquiry, Report, Story};
use crate::history::{History, Kind, Operation, Rotation, seconds};

/// What was agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// A rotation happens within this time after it became due; longer than the longest time without a leader, ns.
    pub allowance_ns: u64,
    /// A replaced version stays valid for this long, ns.
    pub grace_ns: u64,
}

/// Checks all rotations of a history.
#[must_use]
pub fn check(history: &History, terms: Terms) -> Report {
    let mut inquiry = Inquiry::new("rotation");
    inquiry.count("rotations", history.rotations.len() as u64);
    once_each(&mut inquiry, history, terms);
    in_sequence(&mut inquiry, history);
    by_leaders(&mut inquiry, history);
    reads_find_something(&mut inquiry, history);
    uses_are_accepted(&mut inquiry, history, terms);
    inquiry.end("due slots")
}

fn in_words(rotation: &Rotation) -> String {
    let Rotation {
        secret,
        slot,
        from_version,
        version,
        node,
        term,
        seq,
        at_ns,
    } = rotation;
    let at = seconds(*at_ns);
    format!(
        "{at:>12} s  node {node} in term {term} rotated {secret} from version {from_version} to {version} for {slot}, event {seq}"
    )
}

fn once_each(inquiry: &mut Inquiry, history: &History, terms: Terms) {
    let mut answers: BTreeMap<(&str, &str), Vec<&Rotation>> = BTreeMap::new();
    for rotation in &history.rotations {
        let slot = (rotation.secret.as_str(), rotation.slot.as_str());
        answers.entry(slot).or_default().push(rotation);
    }
    inquiry.count("slots not due for long enough", 0);
    for due in &history.due {
        let slot = (due.secret.as_str(), due.slot.as_str());
        let rotations = answers.remove(&slot).unwrap_or_default();
        let is_overdue = due.at_ns.saturating_add(terms.allowance_ns) < history.end_ns();
        if rotations.is_empty() && !is_overdue {
            inquiry.count("slots not due for long enough", 1);
            continue;
        }
        inquiry.count("due slots", 1);
        let what = match rotations.as_slice() {
            [] => format!(
                "{} was due for {} at {} s and was not rotated",
                due.secret,
                due.slot,
                seconds(due.at_ns)
            ),
            [rotation] if rotation.at_ns < due.at_ns => {
                format!(
                    "{} was rotated for {} before that was due",
                    due.secret, due.slot
                )
            }
            [_] => continue,
            several => format!(
                "{} was rotated {} times for {}",
                due.secret,
                several.len(),
                due.slot
            ),
        };
        inquiry.violated(with_notes(Story::new(what), &rotations));
    }
    for ((secret, slot), rotations) in answers {
        let what = format!("{secret} was rotated for {slot}, which was not due");
        inquiry.violated(with_notes(Story::new(what), &rotations));
    }
}

fn with_notes(story: Story, rotations: &[&Rotation]) -> Story {
    let notes = rotations.iter().map(|rotation| in_words(rotation));
    notes.fold(story, Story::note)
}

/// A rotation starts from a version that there is, and each version is made by one.
fn in_sequence(inquiry: &mut Inquiry, history: &History) {
    let mut secrets: BTreeMap<&str, Vec<&Rotation>> = BTreeMap::new();
    for rotation in &history.rotations {
        let secret = secrets.entry(rotation.secret.as_str()).or_default();
        secret.push(rotation);
    }
    for (secret, mut rotations) in secrets {
        rotations.sort_by_key(|rotation| (rotation.version, rotation.seq));
        for rotation in &rotations {
            if rotation.from_version >= rotation.version {
                let what = format!("a rotation of {secret} made no later version");
                inquiry.violated(with_notes(Story::new(what), &[*rotation]));
            }
        }
        for pair in rotations.windows(2) {
            let (before, after) = (pair[0], pair[1]);
            if after.from_version < before.version {
                let what = format!(
                    "two rotations of {secret} started from one version, or one started from a replaced one"
                );
                inquiry.violated(with_notes(Story::new(what), pair));
            } else if after.seq <= before.seq {
                let what = format!("the trail tells two rotations of {secret} the wrong way round");
                inquiry.violated(with_notes(Story::new(what), pair));
            }
        }
    }
}

/// In the order of the log terms do not fall, and who rotated led in that term.
fn by_leaders(inquiry: &mut Inquiry, history: &History) {
    let mut in_order: Vec<&Rotation> = history.rotations.iter().collect();
    in_order.sort_by_key(|rotation| rotation.seq);
    for pair in in_order.windows(2) {
        if pair[1].term < pair[0].term {
            let what = "a deposed leader rotated: its term is lower than that of a rotation before";
            inquiry.violated(with_notes(Story::new(what), pair));
        }
    }
    for rotation in in_order {
        let mut leaders = history.leaders.iter();
        let other =
            leaders.find(|leader| leader.term == rotation.term && leader.node != rotation.node);
        let mut leaders = history.leaders.iter();
        let own =
            leaders.find(|leader| leader.term == rotation.term && leader.node == rotation.node);
        if let (Some(other), None) = (other, own) {
            let what = format!(
                "node {} rotated in term {}, in which node {} led",
                rotation.node, rotation.term, other.node
            );
            inquiry.violated(with_notes(Story::new(what), &[rotation]));
        }
    }
}

/// The secrets that rotate.
fn secrets(history: &History) -> BTreeSet<&str> {
    let due = history.due.iter().map(|due| due.secret.as_str());
    let rotations = history.rotations.iter();
    let rotated = rotations.map(|rotation| rotation.secret.as_str());
    due.chain(rotated).collect()
}

/// A rotated secret that was known to exist is found by every later read.
fn reads_find_something(inquiry: &mut Inquiry, history: &History) {
    inquiry.count("reads", 0);
    let on_key = |operation: &&Operation| {
        matches!(operation.kind, Kind::Read | Kind::Write | Kind::Cas)
            && operation.asked_version.is_none()
    };
    let mut known: BTreeMap<&str, &Operation> = BTreeMap::new();
    for operation in history.operations.iter().filter(on_key) {
        if operation.is_ok() {
            let first = known.entry(operation.key.as_str()).or_insert(operation);
            if operation.over_ns() < first.over_ns() {
                *first = operation;
            }
        }
    }
    let secrets = secrets(history);
    known.retain(|key, _| secrets.contains(key));
    for read in history.operations.iter().filter(on_key) {
        let Some(known) = known.get(read.key.as_str()) else {
            continue;
        };
        if read.kind != Kind::Read || !known.is_over_before(read.start_ns) {
            continue;
        }
        inquiry.count("reads", u64::from(read.is_ok()));
        if read.failed_with("not_found") {
            let what = format!("a reader of {} found no version", read.key);
            inquiry.violated(Story::new(what).with([*known, read]));
        }
    }
}

/// A version is accepted by the target until its grace is over.
fn uses_are_accepted(inquiry: &mut Inquiry, history: &History, terms: Terms) {
    inquiry.count("uses", 0);
    inquiry.count("uses not judged", 0);
    let mut replaced: BTreeMap<(&str, u64), &Rotation> = BTreeMap::new();
    for rotation in &history.rotations {
        let version = (rotation.secret.as_str(), rotation.from_version);
        let first = replaced.entry(version).or_insert(rotation);
        if rotation.at_ns < first.at_ns {
            *first = rotation;
        }
    }
    let secrets = secrets(history);
    let uses = history.operations.iter();
    for used in uses.filter(|operation| operation.kind == Kind::Use) {
        let rotates = secrets.contains(used.key.as_str());
        let Some(version) = used.asked_version.filter(|_| rotates) else {
            continue;
        };
        let was_denied = used.failed_with("denied");
        if !used.is_ok() && !was_denied {
            inquiry.count("uses not judged", 1);
            continue;
        }
        inquiry.count("uses", 1);
        let by = replaced.get(&(used.key.as_str(), version)).copied();
        // A later rotation from a version in between may have ended this one's grace too; it can only be later.
        let valid_until_ns = by.map(|rotation| rotation.at_ns.saturating_add(terms.grace_ns));
        let is_valid = valid_until_ns.is_none_or(|until_ns| used.over_ns() <= until_ns);
        if was_denied && is_valid {
            let what = format!(
                "version {version} of {} was refused while it was valid",
                used.key
            );
            let notes: Vec<&Rotation> = by.into_iter().collect();
            inquiry.violated(with_notes(Story::new(what).with([used]), &notes));
        }
    }
}
