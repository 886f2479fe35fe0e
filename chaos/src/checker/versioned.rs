//! Is each key a linearizable register, by its versions? In O(n log n), and a second opinion to the search.
//!
//! Versions order the writes of a key: the write of version n comes right before those who saw version n, and they come
//! before the write of version n + 1. A history is linearizable if and only if that order agrees with real time:
//!
//! - nothing shows a version below the highest one that was known before it began, and a write lies above it;
//! - every version has one value, every value one version, and somebody asked for it to be written;
//! - every version up to the highest has a maker: an acknowledged write, or an unknown one that began in time;
//! - a compare-and-set made the version after the one it expected, or found another one.
//!
//! A deletion is between two versions without saying between which. The order of keys with deletions is left to the
//! search; the rest is checked for them as well.

use super::evidence::{Evidence, Problem, Sighting};
use super::key_history::{Act, KeyHistories, KeyHistory};
use super::{Inquiry, Report, Story};
use crate::history::{History, Operation};

/// Checks every key by the versions that were told.
///
/// The history must have the whole life of its keys. Values are unique.
#[must_use]
pub fn check(history: &History) -> Report {
    let mut inquiry = Inquiry::new("versioned");
    let histories = KeyHistories::of(history);
    inquiry.count("stale reads left out", histories.stale_reads);
    inquiry.count("keys left to the search", 0);
    for (key, key_history) in &histories.keys {
        let check = Check { key, key_history };
        check.run(&mut inquiry);
    }
    inquiry.end("sightings")
}

struct Check<'a, 'h> {
    key: &'h str,
    key_history: &'h KeyHistory<'a>,
}

impl<'a> Check<'a, '_> {
    fn run(&self, inquiry: &mut Inquiry) {
        inquiry.count("keys", 1);
        let (evidence, problems) = Evidence::of(self.key, self.key_history);
        let is_clean = problems.is_empty();
        for problem in problems {
            match problem {
                Problem::Doubt(reason) => inquiry.doubt(reason),
                Problem::Violation(story) => inquiry.violated(story),
            }
        }
        self.strangers(inquiry, &evidence);
        // The numbers of undeleted and destroyed versions follow other rules.
        if self.key_history.foreign.is_some() {
            inquiry.count("keys left to the search", 1);
            return;
        }
        self.comparisons(inquiry, &evidence);
        if self.key_history.has_deletes {
            inquiry.count("keys left to the search", 1);
            return;
        }
        let sightings = evidence.sightings(self.key_history);
        inquiry.count("sightings", sightings.len() as u64);
        self.order(inquiry, &sightings);
        // With two values of one version, who made what is moot.
        if is_clean {
            self.makers(inquiry, &evidence, &sightings);
        }
    }

    fn operation(&self, touch: usize) -> &'a Operation {
        self.key_history.touches[touch].operation
    }

    /// Values that nobody wrote, or whose write did not happen.
    fn strangers(&self, inquiry: &mut Inquiry, evidence: &Evidence<'a>) {
        let key = self.key;
        for touch in &self.key_history.touches {
            let (Act::Read { value, .. }
            | Act::Pinned {
                value: Some(value), ..
            }) = touch.act
            else {
                continue;
            };
            if evidence.makers.contains_key(value) {
                continue;
            }
            let mut refused = self.key_history.refused.iter();
            let refused = refused.find(|(refused, _)| *refused == value);
            let story = match refused {
                Some((_, write)) => Story::new(format!(
                    "a value of {key} was read whose write certainly did not happen"
                ))
                .with([*write, touch.operation]),
                None => Story::new(format!("a value of {key} was read that nobody wrote"))
                    .with([touch.operation]),
            };
            inquiry.violated(story);
        }
    }

    /// What compare-and-sets said about versions.
    fn comparisons(&self, inquiry: &mut Inquiry, evidence: &Evidence<'a>) {
        let key = self.key;
        for touch in &self.key_history.touches {
            let what = match touch.act {
                Act::Conflict {
                    expected,
                    actual: Some(actual),
                } if expected == actual => {
                    format!(
                        "a write of {key} was refused over version {expected}, though it was current"
                    )
                }
                Act::Swap {
                    expected,
                    value,
                    version,
                } => {
                    let known = evidence.versions.get(value).copied();
                    let is_free = expected == 0 && self.key_history.has_deletes;
                    match version.or(known) {
                        Some(version) if !is_free && version != expected.saturating_add(1) => {
                            format!(
                                "a write of {key} over version {expected} became version {version}"
                            )
                        }
                        _ => continue,
                    }
                }
                _ => continue,
            };
            inquiry.violated(Story::new(what).with([touch.operation]));
        }
    }

    /// Sweeps through time: whatever begins lies at or above the highest version known until then.
    fn order(&self, inquiry: &mut Inquiry, sightings: &[Sighting]) {
        let key = self.key;
        let mut events: Vec<(u64, Event)> = Vec::with_capacity(2 * sightings.len());
        for (place, sighting) in sightings.iter().enumerate() {
            if !sighting.is_pinned {
                events.push((sighting.start_ns, Event::Begin(place)));
            }
            if let Some(end_ns) = sighting.end_ns {
                events.push((end_ns, Event::Know(place)));
            }
        }
        events.sort_unstable();
        let mut floor: Option<&Sighting> = None;
        for (_, event) in events {
            match event {
                Event::Know(place) => {
                    let known = &sightings[place];
                    if floor.is_none_or(|floor| known.version > floor.version) {
                        floor = Some(known);
                    }
                }
                Event::Begin(place) => {
                    let begun = &sightings[place];
                    let Some(floor) = floor else {
                        continue;
                    };
                    let (version, known) = (begun.version, floor.version);
                    let is_below = version < known || (begun.is_write && version == known);
                    if !is_below {
                        continue;
                    }
                    let what = if begun.is_write {
                        format!(
                            "a write of {key} became version {version}, though version {known} was known before it began"
                        )
                    } else {
                        format!(
                            "version {version} of {key} was seen, though version {known} was known before that began"
                        )
                    };
                    let operations = [floor.touch, begun.touch].map(|touch| self.operation(touch));
                    inquiry.violated(Story::new(what).with(operations));
                }
            }
        }
    }

    /// Every version has been made by somebody.
    fn makers(&self, inquiry: &mut Inquiry, evidence: &Evidence<'a>, sightings: &[Sighting]) {
        let assignment = evidence.assign(self.key_history, sightings);
        inquiry.count("versions by unknown writes", assignment.makers.len() as u64);
        let Some(missing) = assignment.missing else {
            return;
        };
        let later = sightings
            .iter()
            .filter(|sighting| sighting.version >= missing);
        let first = later.min_by_key(|sighting| sighting.end_ns.unwrap_or(u64::MAX));
        let what = format!(
            "no write can have made version {missing} of {}, which there was when this was over",
            self.key
        );
        let operations = first.map(|sighting| self.operation(sighting.touch));
        inquiry.violated(Story::new(what).with(operations));
    }
}

/// What happens at a moment. At one moment beginnings come first: what touches in time is concurrent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Begin(usize),
    Know(usize),
}
