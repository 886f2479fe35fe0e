//! Which version of a key has which value, and who made the versions that nobody saw the value of.
//!
//! Each write that takes effect makes the next version. So every version up to the highest one seen has a maker; if no
//! acknowledged write and no value tells which, it must be one of the writes whose outcome is unknown. Of those, one
//! is as good as another if it began in time, so handing them out in order of time finds an assignment if there is one:
//! a write never has to be over, and later versions have later deadlines. Only a compare-and-set is particular: over
//! version n it makes version n + 1 and nothing else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Story;
use super::key_history::{Act, KeyHistory};

/// Versions without a maker that are looked at before the rest is taken as missing, too.
const MAX_MISSING: usize = 1_000;

/// What is known of a key's versions.
#[derive(Debug, Default)]
pub(crate) struct Evidence<'a> {
    /// Value → version.
    pub(crate) versions: BTreeMap<&'a str, u64>,
    /// Version → value.
    pub(crate) values: BTreeMap<u64, &'a str>,
    /// Value → the touch that writes it.
    pub(crate) makers: BTreeMap<&'a str, usize>,
    /// Values that somebody read.
    pub(crate) seen: BTreeSet<&'a str>,
    /// Version → a touch that told its value.
    witnesses: BTreeMap<u64, usize>,
}

/// What does not fit together before anything is ordered.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The promise is broken.
    Violation(Story),
    /// The workload was not such that it can be judged.
    Doubt(String),
}

/// A touch whose version is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sighting {
    /// Its place among the touches.
    pub(crate) touch: usize,
    /// After this.
    pub(crate) start_ns: u64,
    /// Before this, if it is certain.
    pub(crate) end_ns: Option<u64>,
    /// The version that was current right after it.
    pub(crate) version: u64,
    /// It made that version.
    pub(crate) is_write: bool,
    /// It asked for that version, which need not have been the current one.
    pub(crate) is_pinned: bool,
}

/// Who made the versions without a known value.
#[derive(Debug, Default)]
pub(crate) struct Assignment {
    /// Version → the touch that made it.
    pub(crate) makers: BTreeMap<u64, usize>,
    /// The first version that nobody can have made.
    pub(crate) missing: Option<u64>,
}

impl<'a> Evidence<'a> {
    pub(crate) fn of(key: &str, history: &KeyHistory<'a>) -> (Self, Vec<Problem>) {
        let mut evidence = Self::default();
        let mut problems = Vec::new();
        for (place, touch) in history.touches.iter().enumerate() {
            if let Some(value) = touch.act.written()
                && let Some(other) = evidence.makers.insert(value, place)
            {
                problems.push(written_by_two(key, value, history, (other, place)));
            }
        }
        for (place, touch) in history.touches.iter().enumerate() {
            let (value, version) = match touch.act {
                Act::Read { value, version } => {
                    evidence.seen.insert(value);
                    (Some(value), version)
                }
                Act::Pinned { value, version } => {
                    evidence.seen.extend(value);
                    (value, Some(version))
                }
                Act::Write { value, version } | Act::Swap { value, version, .. } => {
                    (Some(value), version)
                }
                Act::Absent
                | Act::ReadVersion { .. }
                | Act::Conflict { .. }
                | Act::Delete { .. } => (None, None),
            };
            if let (true, Some(value), Some(version)) = (touch.is_certain(), value, version) {
                problems.extend(evidence.bind(key, history, place, (version, value)));
            }
        }
        (evidence, problems)
    }

    fn bind(
        &mut self,
        key: &str,
        history: &KeyHistory<'a>,
        place: usize,
        (version, value): (u64, &'a str),
    ) -> Option<Problem> {
        let operation = |place: usize| history.touches[place].operation;
        let known_value = *self.values.entry(version).or_insert(value);
        let known_version = *self.versions.entry(value).or_insert(version);
        let witness = *self.witnesses.entry(version).or_insert(place);
        let story = if known_value != value {
            Story::new(format!("version {version} of {key} has two values"))
                .with([operation(witness), operation(place)])
        } else if known_version != version {
            let other = self.witnesses.get(&known_version).copied();
            Story::new(format!(
                "one value of {key} is version {known_version} and version {version}"
            ))
            .with(other.map(operation))
            .with([operation(place)])
        } else {
            return None;
        };
        Some(Problem::Violation(story))
    }

    /// Every touch that shows a version, or is shown by one.
    pub(crate) fn sightings(&self, history: &KeyHistory<'a>) -> Vec<Sighting> {
        let mut sightings = Vec::with_capacity(history.touches.len());
        for (place, touch) in history.touches.iter().enumerate() {
            let by_value = |value: &str| self.versions.get(value).copied();
            let version = match touch.act {
                Act::Write { value, version } | Act::Swap { value, version, .. } => {
                    version.or_else(|| by_value(value))
                }
                _ if !touch.is_certain() => None,
                Act::Absent => Some(0),
                Act::Read { value, version } => version.or_else(|| by_value(value)),
                Act::ReadVersion { version } | Act::Pinned { version, .. } => Some(version),
                Act::Conflict { actual, .. } => actual,
                Act::Delete { expected } => expected,
            };
            if let Some(version) = version {
                sightings.push(Sighting {
                    touch: place,
                    start_ns: touch.start_ns,
                    end_ns: touch.end_ns,
                    version,
                    is_write: touch.act.written().is_some(),
                    is_pinned: matches!(touch.act, Act::Pinned { .. }),
                });
            }
        }
        sightings
    }

    /// Finds makers for all versions without a known value, up to the highest one seen.
    pub(crate) fn assign(&self, history: &KeyHistory<'a>, sightings: &[Sighting]) -> Assignment {
        // Whoever made a version began before this or a later one was first seen for certain.
        let mut deadlines: BTreeMap<u64, u64> = BTreeMap::new();
        for sighting in sightings {
            let end_ns = sighting.end_ns.unwrap_or(u64::MAX);
            let deadline = deadlines.entry(sighting.version).or_insert(end_ns);
            *deadline = end_ns.min(*deadline);
        }
        let mut earliest = u64::MAX;
        for deadline in deadlines.values_mut().rev() {
            earliest = earliest.min(*deadline);
            *deadline = earliest;
        }
        let last = deadlines.keys().next_back().copied().unwrap_or(0);
        let mut spares = self.spares(history);
        let mut assignment = Assignment::default();
        let mut missing = 0;
        for version in 1..=last {
            if self.values.contains_key(&version) {
                continue;
            }
            let deadline = deadlines.range(version..).next();
            let deadline_ns = deadline.map_or(u64::MAX, |(_, deadline_ns)| *deadline_ns);
            if let Some(touch) = spares.take(version, deadline_ns) {
                assignment.makers.insert(version, touch);
                continue;
            }
            assignment.missing.get_or_insert(version);
            missing += 1;
            if missing == MAX_MISSING {
                break;
            }
        }
        assignment
    }

    /// Writes whose outcome is unknown, and whose value nobody saw.
    fn spares(&self, history: &KeyHistory<'a>) -> Spares {
        let mut spares = Spares::default();
        let mut unknown: Vec<(u64, usize)> = Vec::new();
        for (place, touch) in history.touches.iter().enumerate() {
            let Some(value) = touch.act.written() else {
                continue;
            };
            let is_seen = self.versions.contains_key(value) || self.seen.contains(value);
            if !touch.is_certain() && !is_seen {
                unknown.push((touch.start_ns, place));
            }
        }
        unknown.sort_unstable();
        for (start_ns, place) in unknown {
            match history.touches[place].act {
                // After a deletion, "must not exist" can make any version.
                Act::Swap { expected, .. } if expected > 0 || !history.has_deletes => {
                    let over = spares.over.entry(expected).or_default();
                    over.push_back((start_ns, place));
                }
                _ => spares.any.push_back((start_ns, place)),
            }
        }
        spares
    }
}

/// Unknown writes that are not assigned yet, the earliest first.
#[derive(Default)]
struct Spares {
    any: VecDeque<(u64, usize)>,
    over: BTreeMap<u64, VecDeque<(u64, usize)>>,
}

impl Spares {
    fn take(&mut self, version: u64, deadline_ns: u64) -> Option<usize> {
        let in_time =
            |spare: Option<&(u64, usize)>| spare.is_some_and(|(at, _)| *at <= deadline_ns);
        if let Some(over) = self.over.get_mut(&(version - 1))
            && in_time(over.front())
        {
            return over.pop_front().map(|(_, place)| place);
        }
        if in_time(self.any.front()) {
            return self.any.pop_front().map(|(_, place)| place);
        }
        None
    }
}

/// One request that happened twice, or a workload that writes one value twice.
fn written_by_two(
    key: &str,
    value: &str,
    history: &KeyHistory<'_>,
    (first, second): (usize, usize),
) -> Problem {
    let [first, second] = [first, second].map(|place| history.touches[place].operation);
    let is_one_request =
        first.idempotency_key.is_some() && first.idempotency_key == second.idempotency_key;
    if is_one_request {
        let what = format!("one request to write {key} was answered in two ways");
        return Problem::Violation(Story::new(what).with([first, second]));
    }
    Problem::Doubt(format!(
        "operations {} and {} both write {value:?} to {key}; values must be unique",
        first.id, second.id
    ))
}
