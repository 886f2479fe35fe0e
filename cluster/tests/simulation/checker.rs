//! Was it linearizable? A versioned check, key by key, in O(n log n).
//!
//! Versions order the writes of a key: the write of version n comes right before the reads of version n, and those
//! before the write of version n + 1. A history is linearizable if and only if that order agrees with real time:
//!
//! - nothing shows a version below the highest one acknowledged before it began, and a write lies above it;
//! - every version has one value, every value one version, and somebody asked for it to be written;
//! - every version nobody saw can be the work of a write whose outcome is unknown, begun in time.
//!
//! A write that failed for certain, or met a conflict, must never be seen.

use std::collections::BTreeMap;

use crate::history::{Action, Operation, Outcome};

/// What is wrong with a history. Operations are named by their number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    /// Lost or stale: something acknowledged before is missing.
    #[error(
        "operation {operation} on key {key} saw version {version}, though {floor} was acknowledged before it began"
    )]
    Stale {
        key: usize,
        operation: usize,
        version: u64,
        floor: u64,
    },
    /// A write took a version that was acknowledged before.
    #[error(
        "operation {operation} wrote version {version} of key {key}, though {floor} was acknowledged before it began"
    )]
    OutOfOrder {
        key: usize,
        operation: usize,
        version: u64,
        floor: u64,
    },
    /// An acknowledged version is not in the final state.
    #[error(
        "version {version} of key {key} was acknowledged and is gone; the state ends at {last}"
    )]
    Lost { key: usize, version: u64, last: u64 },
    /// A value that nobody wrote to this key.
    #[error("version {version} of key {key} has the value {value}, which nobody wrote")]
    FromNowhere {
        key: usize,
        version: u64,
        value: u64,
    },
    /// A value whose write did not happen.
    #[error("version {version} of key {key} has the value {value}, whose write was refused")]
    RefusedButVisible {
        key: usize,
        version: u64,
        value: u64,
    },
    /// Two values of one version.
    #[error("version {version} of key {key} has the values {first} and {second}")]
    TwoValues {
        key: usize,
        version: u64,
        first: u64,
        second: u64,
    },
    /// One write happened twice.
    #[error("the value {value} of key {key} was written twice, as versions {first} and {second}")]
    WrittenTwice {
        key: usize,
        value: u64,
        first: u64,
        second: u64,
    },
    /// A version that no write can have made.
    #[error("no write accounts for version {version} of key {key}")]
    Unaccounted { key: usize, version: u64 },
    /// A compare-and-set succeeded over another version, or failed over the right one.
    #[error(
        "operation {operation} on key {key} expected version {expected} and came to {outcome:?}"
    )]
    Compare {
        key: usize,
        operation: usize,
        expected: u64,
        outcome: Outcome,
    },
}

/// What the final state still holds: (key, version) → value. The newest versions of each key, without gaps.
pub(crate) type Retained = BTreeMap<(usize, u64), u64>;

/// Checks a whole history against the final state.
pub(crate) fn check(operations: &[Operation], retained: &Retained) -> Result<(), Violation> {
    let mut keys: BTreeMap<usize, KeyHistory> = BTreeMap::new();
    for (number, operation) in operations.iter().enumerate() {
        let history = keys.entry(operation.key).or_default();
        history.operations.push((number, *operation));
    }
    for ((key, version), value) in retained {
        let history = keys.entry(*key).or_default();
        history.retained.insert(*version, *value);
    }
    keys.iter()
        .try_for_each(|(key, history)| history.check(*key))
}

#[derive(Default)]
struct KeyHistory {
    operations: Vec<(usize, Operation)>,
    retained: BTreeMap<u64, u64>,
}

/// An operation whose place among the versions is known.
struct Sighting {
    operation: usize,
    invoked: u64,
    returned: Option<u64>,
    version: u64,
    is_write: bool,
}

/// Which version has which value, and back.
#[derive(Default)]
struct Bindings {
    values: BTreeMap<u64, u64>,
    versions: BTreeMap<u64, u64>,
}

impl KeyHistory {
    fn check(&self, key: usize) -> Result<(), Violation> {
        let bindings = self.bind(key)?;
        self.check_retained(key)?;
        self.check_comparisons(key, &bindings)?;
        let sightings = self.sightings(&bindings);
        check_order(key, &sightings)?;
        self.check_accounts(key, &bindings, &sightings)
    }

    fn bind(&self, key: usize) -> Result<Bindings, Violation> {
        let mut writes = BTreeMap::new();
        for (_, operation) in &self.operations {
            if let Action::Put { value, .. } = operation.action {
                writes.insert(value, operation.outcome);
            }
        }
        let mut seen: Vec<(u64, u64)> = Vec::new();
        for (_, operation) in &self.operations {
            match (operation.action, operation.outcome) {
                (Action::Put { value, .. }, Outcome::Wrote { version })
                | (Action::Get, Outcome::Read { version, value }) => seen.push((version, value)),
                _ => {}
            }
        }
        let retained = self.retained.iter();
        seen.extend(retained.map(|(version, value)| (*version, *value)));
        let mut bindings = Bindings::default();
        for (version, value) in seen {
            match writes.get(&value) {
                None => {
                    return Err(Violation::FromNowhere {
                        key,
                        version,
                        value,
                    });
                }
                Some(Outcome::Failed | Outcome::Conflict { .. }) => {
                    return Err(Violation::RefusedButVisible {
                        key,
                        version,
                        value,
                    });
                }
                Some(_) => bindings.add(key, version, value)?,
            }
        }
        Ok(bindings)
    }

    /// The state keeps the newest versions: every acknowledged one is among them, or below them.
    fn check_retained(&self, key: usize) -> Result<(), Violation> {
        let last = self.retained.keys().next_back().copied().unwrap_or(0);
        let first = self.retained.keys().next().copied().unwrap_or(1);
        for (_, operation) in &self.operations {
            let Outcome::Wrote { version } = operation.outcome else {
                continue;
            };
            if version >= first && !self.retained.contains_key(&version) {
                return Err(Violation::Lost { key, version, last });
            }
        }
        Ok(())
    }

    fn check_comparisons(&self, key: usize, bindings: &Bindings) -> Result<(), Violation> {
        for (number, operation) in &self.operations {
            let Action::Put {
                value,
                cas: Some(expected),
            } = operation.action
            else {
                continue;
            };
            let written = bindings.versions.get(&value).copied();
            let wrong = match operation.outcome {
                Outcome::Conflict { actual } => actual == expected,
                _ => written.is_some_and(|version| version != expected + 1),
            };
            if wrong {
                return Err(Violation::Compare {
                    key,
                    operation: *number,
                    expected,
                    outcome: operation.outcome,
                });
            }
        }
        Ok(())
    }

    fn sightings(&self, bindings: &Bindings) -> Vec<Sighting> {
        let mut sightings = Vec::new();
        for (number, operation) in &self.operations {
            let (version, is_write) = match (operation.action, operation.outcome) {
                (Action::Put { value, .. }, Outcome::Unknown) => {
                    match bindings.versions.get(&value) {
                        Some(version) => (*version, true),
                        None => continue,
                    }
                }
                (_, outcome) => match outcome.version() {
                    Some(version) => (version, matches!(outcome, Outcome::Wrote { .. })),
                    None => continue,
                },
            };
            sightings.push(Sighting {
                operation: *number,
                invoked: operation.invoked,
                returned: operation.returned,
                version,
                is_write,
            });
        }
        sightings
    }

    /// Versions without a known write must be the work of unknown ones: the i-th such version of the i-th such write,
    /// which must have begun before anything from there on was seen. Later versions allow later writes, so pairing
    /// them in order finds a pairing if there is one.
    fn check_accounts(
        &self,
        key: usize,
        bindings: &Bindings,
        sightings: &[Sighting],
    ) -> Result<(), Violation> {
        let mut earliest_seen: BTreeMap<u64, u64> = BTreeMap::new();
        for sighting in sightings {
            let returned = sighting.returned.unwrap_or(u64::MAX);
            let earliest = earliest_seen.entry(sighting.version).or_insert(returned);
            *earliest = returned.min(*earliest);
        }
        for version in self.retained.keys() {
            earliest_seen.entry(*version).or_insert(u64::MAX);
        }
        let mut earliest_after = u64::MAX;
        for earliest in earliest_seen.values_mut().rev() {
            earliest_after = earliest_after.min(*earliest);
            *earliest = earliest_after;
        }
        let last = earliest_seen.keys().next_back().copied().unwrap_or(0);
        let mut spare: Vec<u64> = self
            .operations
            .iter()
            .filter(|(_, operation)| operation.outcome == Outcome::Unknown)
            .filter_map(|(_, operation)| match operation.action {
                Action::Put { value, .. } if !bindings.versions.contains_key(&value) => {
                    Some(operation.invoked)
                }
                _ => None,
            })
            .collect();
        spare.sort_unstable();
        let mut spare = spare.into_iter();
        for version in (1..=last).filter(|version| !bindings.values.contains_key(version)) {
            let seen = earliest_seen
                .range(version..)
                .next()
                .map_or(u64::MAX, |(_, earliest)| *earliest);
            if spare.next().is_none_or(|invoked| invoked >= seen) {
                return Err(Violation::Unaccounted { key, version });
            }
        }
        Ok(())
    }
}

impl Bindings {
    fn add(&mut self, key: usize, version: u64, value: u64) -> Result<(), Violation> {
        if let Some(first) = self
            .values
            .insert(version, value)
            .filter(|old| *old != value)
        {
            return Err(Violation::TwoValues {
                key,
                version,
                first,
                second: value,
            });
        }
        if let Some(first) = self
            .versions
            .insert(value, version)
            .filter(|old| *old != version)
        {
            return Err(Violation::WrittenTwice {
                key,
                value,
                first,
                second: version,
            });
        }
        Ok(())
    }
}

/// Sweeps through time: whatever begins lies at or above the highest version that was acknowledged until then.
fn check_order(key: usize, sightings: &[Sighting]) -> Result<(), Violation> {
    /// What happens at a moment; moments differ, so their order alone counts.
    #[derive(PartialEq, Eq, PartialOrd, Ord)]
    enum Event {
        Begin(usize),
        Acknowledge(u64),
    }
    let mut events: Vec<(u64, Event)> = Vec::with_capacity(2 * sightings.len());
    for (place, sighting) in sightings.iter().enumerate() {
        events.push((sighting.invoked, Event::Begin(place)));
        if let Some(returned) = sighting.returned {
            events.push((returned, Event::Acknowledge(sighting.version)));
        }
    }
    events.sort_unstable();
    // Version 0, "there is none", was true before anything began; the first write lies above it.
    let mut floor = 0;
    for (_, event) in events {
        match event {
            Event::Acknowledge(version) => floor = floor.max(version),
            Event::Begin(place) => {
                let Sighting {
                    operation,
                    version,
                    is_write,
                    ..
                } = sightings[place];
                if is_write && version <= floor {
                    return Err(Violation::OutOfOrder {
                        key,
                        operation,
                        version,
                        floor,
                    });
                }
                if version < floor {
                    return Err(Violation::Stale {
                        key,
                        operation,
                        version,
                        floor,
                    });
                }
            }
        }
    }
    Ok(())
}
