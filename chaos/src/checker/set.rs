//! Names as a set: what was acknowledged, or seen once, is in every later list; and nothing is from nowhere.
//!
//! An element is a name; writing it adds it, a list shows all with a prefix. A name that was deleted, or may have been,
//! is left out. A list of several pages counts as one that took from the first page's request to the last one's answer.

use std::collections::{BTreeMap, BTreeSet};

use super::{Inquiry, Report, Story};
use crate::history::{History, Kind, Operation};

/// Checks all lists against all writes.
///
/// The end of a run lists once more: an acknowledged element that nobody looked for afterwards makes it "unknown".
#[must_use]
pub fn check(history: &History) -> Report {
    let mut inquiry = Inquiry::new("set");
    let lists: Vec<List<'_>> = history.operations.iter().filter_map(List::of).collect();
    let mut elements = added(history);
    let all = elements.len();
    elements.retain(|_, element| !element.was_removed);
    inquiry.count("elements left out", (all - elements.len()) as u64);
    let acknowledged = elements
        .values()
        .filter(|element| element.acknowledged.is_some());
    inquiry.count("acknowledged elements", acknowledged.count() as u64);
    inquiry.count("lists", lists.len() as u64);
    let names = lists.iter().map(|list| list.names.len() as u64);
    inquiry.count("names listed", names.sum());
    for list in &lists {
        nothing_from_nowhere(&mut inquiry, list, &mut elements);
    }
    for list in &lists {
        nothing_missing(&mut inquiry, list, &elements);
    }
    everything_was_looked_for(&mut inquiry, &lists, &elements);
    inquiry.end("lists")
}

struct List<'a> {
    operation: &'a Operation,
    names: BTreeSet<&'a str>,
}

impl<'a> List<'a> {
    fn of(operation: &'a Operation) -> Option<Self> {
        let listed = operation.answer.listed.as_ref()?;
        if operation.kind != Kind::List || !operation.is_ok() {
            return None;
        }
        let names = listed.iter().map(|name| name.key.as_str()).collect();
        Some(Self { operation, names })
    }

    fn covers(&self, name: &str) -> bool {
        name.starts_with(self.operation.key.as_str())
    }
}

#[derive(Default)]
struct Element<'a> {
    /// The first write that was acknowledged.
    acknowledged: Option<&'a Operation>,
    /// The list that showed it first, by its end.
    seen: Option<&'a Operation>,
    /// When the first write that may have happened began.
    begun_ns: Option<u64>,
    /// Some write of it, for the story.
    write: Option<&'a Operation>,
    was_removed: bool,
}

impl<'a> Element<'a> {
    fn write(&mut self, operation: &'a Operation) {
        if self.write.is_none() || operation.may_have_happened() {
            self.write = Some(operation);
        }
        if operation.may_have_happened() {
            let begun_ns = self.begun_ns.unwrap_or(u64::MAX);
            self.begun_ns = Some(begun_ns.min(operation.start_ns));
        }
        if operation.is_ok() {
            self.acknowledged = Some(earlier(self.acknowledged, operation));
        }
    }

    /// By whom it was known first.
    fn known(&self) -> Option<&'a Operation> {
        match (self.acknowledged, self.seen) {
            (Some(acknowledged), seen) => Some(earlier(seen, acknowledged)),
            (None, seen) => seen,
        }
    }
}

fn earlier<'a>(known: Option<&'a Operation>, other: &'a Operation) -> &'a Operation {
    known
        .filter(|known| known.over_ns() <= other.over_ns())
        .unwrap_or(other)
}

fn added(history: &History) -> BTreeMap<&str, Element<'_>> {
    let mut elements: BTreeMap<&str, Element<'_>> = BTreeMap::new();
    for operation in &history.operations {
        match operation.kind {
            Kind::Write | Kind::Cas | Kind::Append => {
                let element = elements.entry(operation.key.as_str()).or_default();
                element.write(operation);
            }
            Kind::Batch => {
                for item in &operation.writes {
                    let element = elements.entry(item.key.as_str()).or_default();
                    element.write(operation);
                }
            }
            Kind::Delete | Kind::Undelete | Kind::Destroy if operation.may_have_happened() => {
                let element = elements.entry(operation.key.as_str()).or_default();
                element.was_removed = true;
            }
            _ => {}
        }
    }
    elements
}

/// Also notes where each element was seen first.
fn nothing_from_nowhere<'a>(
    inquiry: &mut Inquiry,
    list: &List<'a>,
    elements: &mut BTreeMap<&'a str, Element<'a>>,
) {
    let operation = list.operation;
    for name in &list.names {
        let Some(element) = elements.get_mut(name) else {
            // Left out, or somebody else's.
            continue;
        };
        element.seen = Some(earlier(element.seen, operation));
        let what = match element.begun_ns {
            None => format!("{name} is listed, though its write certainly did not happen"),
            Some(begun_ns) if operation.is_over_before(begun_ns) => {
                format!("{name} is listed, though its first write began later")
            }
            Some(_) => continue,
        };
        inquiry.violated(Story::new(what).with(element.write).with([operation]));
    }
}

fn nothing_missing(inquiry: &mut Inquiry, list: &List<'_>, elements: &BTreeMap<&str, Element<'_>>) {
    for (name, element) in elements {
        let Some(known) = element.known() else {
            continue;
        };
        let is_expected = list.covers(name) && known.is_over_before(list.operation.start_ns);
        if is_expected && !list.names.contains(name) {
            let what = format!("{name} is missing in a list that began after it was known");
            inquiry.violated(Story::new(what).with([known, list.operation]));
        }
    }
}

fn everything_was_looked_for(
    inquiry: &mut Inquiry,
    lists: &[List<'_>],
    elements: &BTreeMap<&str, Element<'_>>,
) {
    // For each prefix the list that began last; prefixes are few.
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for list in lists {
        let start_ns = last.entry(list.operation.key.as_str()).or_insert(0);
        *start_ns = list.operation.start_ns.max(*start_ns);
    }
    let covered = |name: &str| last.keys().any(|prefix| name.starts_with(*prefix));
    let looked_for = |name: &str, moment_ns: u64| {
        let mut covering = last.iter().filter(|(prefix, _)| name.starts_with(**prefix));
        covering.any(|(_, start_ns)| moment_ns < *start_ns)
    };
    let mut forgotten = elements.iter().filter(|(name, element)| {
        let acknowledged = element.acknowledged.map(Operation::over_ns);
        acknowledged.is_some_and(|over_ns| covered(name) && !looked_for(name, over_ns))
    });
    if let Some((name, _)) = forgotten.next() {
        let more = forgotten.count();
        inquiry.doubt(format!(
            "nobody listed after {name} and {more} more were acknowledged"
        ));
    }
}
