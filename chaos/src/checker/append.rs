//! A sequence under one key, appended to by compare-and-set: order kept, nothing lost, nothing twice.
//!
//! An append carries its element; a read shows the sequence. Since nothing is ever taken away, every sequence read is a
//! beginning of every longer one.

use std::collections::BTreeMap;

use super::{Inquiry, Report, Story};
use crate::history::{History, Kind, Operation, Outcome};

/// Checks every key that is appended to.
///
/// The end of a run reads once more: an acknowledged element that nobody looked for afterwards makes it "unknown".
#[must_use]
pub fn check(history: &History) -> Report {
    let mut inquiry = Inquiry::new("append");
    let mut keys: BTreeMap<&str, Sequence<'_>> = BTreeMap::new();
    for operation in &history.operations {
        let key = operation.key.as_str();
        match operation.kind {
            Kind::Append => keys.entry(key).or_default().append(operation),
            Kind::Read if !operation.was_stale() => {
                if let Some(elements) = &operation.answer.sequence {
                    let read = Read {
                        operation,
                        elements,
                    };
                    keys.entry(key).or_default().reads.push(read);
                }
            }
            _ => {}
        }
    }
    for (key, sequence) in &keys {
        sequence.check(&mut inquiry, key);
    }
    inquiry.end("reads")
}

#[derive(Default)]
struct Sequence<'a> {
    appends: Vec<Append<'a>>,
    reads: Vec<Read<'a>>,
    /// Idempotency key → the place of its append.
    attempts: BTreeMap<&'a str, usize>,
}

/// One request; under an idempotency key it may have had several attempts.
#[derive(Clone, Copy)]
struct Append<'a> {
    /// The attempt that says most: acknowledged, then unknown, then refused.
    operation: &'a Operation,
    element: &'a str,
    /// The first attempt that may have happened began then.
    start_ns: u64,
}

#[derive(Clone, Copy)]
struct Read<'a> {
    operation: &'a Operation,
    elements: &'a [String],
}

impl<'a> Sequence<'a> {
    fn append(&mut self, operation: &'a Operation) {
        let append = Append {
            operation,
            element: operation.value.as_deref().unwrap_or_default(),
            start_ns: operation.start_ns,
        };
        let place = operation.idempotency_key.as_deref().map(|key| {
            let next = self.appends.len();
            *self.attempts.entry(key).or_insert(next)
        });
        match place.and_then(|place| self.appends.get_mut(place)) {
            Some(known) => known.merge(append),
            None => self.appends.push(append),
        }
    }

    fn check(&self, inquiry: &mut Inquiry, key: &str) {
        inquiry.count("keys", 1);
        inquiry.count("reads", self.reads.len() as u64);
        let acknowledged = self.appends.iter();
        let acknowledged = acknowledged.filter(|append| append.operation.is_ok());
        inquiry.count("acknowledged appends", acknowledged.count() as u64);
        let Some(longest) = self.reads.iter().max_by_key(|read| read.elements.len()) else {
            inquiry.doubt(format!("nobody read {key}"));
            return;
        };
        inquiry.count("elements read", longest.elements.len() as u64);
        let places = places(inquiry, key, longest);
        let appends = self.by_element(inquiry, key);
        from_nowhere(inquiry, key, longest, &appends);
        for read in &self.reads {
            if !longest.elements.starts_with(read.elements) {
                let what =
                    format!("two sequences of {key} part: neither is a beginning of the other");
                let story = Story::new(what).with([read.operation, longest.operation]);
                inquiry.violated(story);
            }
        }
        self.lost(inquiry, key, &places);
        self.shorter(inquiry, key);
        self.order(inquiry, key, &places);
        self.stranger_in(inquiry, key, &appends);
    }

    /// The append of each element; one element has one append.
    fn by_element(&self, inquiry: &mut Inquiry, key: &str) -> BTreeMap<&'a str, Append<'a>> {
        let mut appends: BTreeMap<&'a str, Append<'a>> = BTreeMap::new();
        for append in &self.appends {
            if let Some(other) = appends.insert(append.element, *append) {
                let (first, second) = (other.operation.id, append.operation.id);
                inquiry.doubt(format!(
                    "operations {first} and {second} append one element to {key}; elements must be unique"
                ));
            }
        }
        appends
    }

    /// Acknowledged elements that a later read does not have. A read that is shorter than the element's place lost it.
    fn lost(&self, inquiry: &mut Inquiry, key: &str, places: &BTreeMap<&str, usize>) {
        let last_read_ns = self.reads.iter().map(|read| read.operation.start_ns).max();
        let mut forgotten = 0;
        for append in &self.appends {
            let operation = append.operation;
            if !operation.is_ok() {
                continue;
            }
            let is_later = |read: &&Read<'a>| operation.is_over_before(read.operation.start_ns);
            let mut reads = self.reads.iter();
            if let Some(place) = places.get(append.element).copied() {
                let lacks = |read: &&Read<'a>| read.elements.len() <= place && is_later(read);
                if let Some(read) = reads.find(lacks) {
                    let what =
                        format!("a read of {key} lacks an element acknowledged before it began");
                    inquiry.violated(Story::new(what).with([operation, read.operation]));
                }
            } else if last_read_ns.is_some_and(|start_ns| operation.is_over_before(start_ns)) {
                let what = format!("an acknowledged element is lost from {key}");
                let read = reads.find(is_later).map(|read| read.operation);
                inquiry.violated(Story::new(what).with([operation]).with(read));
            } else {
                forgotten += 1;
            }
        }
        if forgotten > 0 {
            inquiry.doubt(format!(
                "nobody read {key} after {forgotten} elements were acknowledged"
            ));
        }
    }

    /// A read that shows less than one that was over before it began.
    fn shorter(&self, inquiry: &mut Inquiry, key: &str) {
        let mut begun: Vec<&Read<'a>> = self.reads.iter().collect();
        begun.sort_by_key(|read| read.operation.start_ns);
        let mut over: Vec<&Read<'a>> = self.reads.iter().collect();
        over.sort_by_key(|read| read.operation.over_ns());
        let mut over = over.into_iter().peekable();
        let mut fullest: Option<&Read<'a>> = None;
        for read in begun {
            let start_ns = read.operation.start_ns;
            while let Some(before) =
                over.next_if(|before| before.operation.is_over_before(start_ns))
            {
                if fullest.is_none_or(|fullest| before.elements.len() > fullest.elements.len()) {
                    fullest = Some(before);
                }
            }
            if let Some(fullest) = fullest
                && read.elements.len() < fullest.elements.len()
            {
                let what =
                    format!("a read of {key} shows less than one that was over before it began");
                inquiry.violated(Story::new(what).with([fullest.operation, read.operation]));
            }
        }
    }

    /// What was acknowledged before another append began stands before it.
    fn order(&self, inquiry: &mut Inquiry, key: &str, places: &BTreeMap<&str, usize>) {
        let mut begun: Vec<(usize, &Append<'a>)> = Vec::new();
        for append in &self.appends {
            if let Some(place) = places.get(append.element) {
                begun.push((*place, append));
            }
        }
        let mut over = begun.clone();
        begun.sort_by_key(|(_, append)| append.start_ns);
        over.sort_by_key(|(_, append)| append.operation.over_ns());
        let mut over = over.into_iter().peekable();
        let mut furthest: Option<(usize, &Append<'a>)> = None;
        for (place, append) in begun {
            let start_ns = append.start_ns;
            while let Some(before) =
                over.next_if(|(_, before)| before.operation.is_over_before(start_ns))
            {
                if furthest.is_none_or(|furthest| before.0 > furthest.0) {
                    furthest = Some(before);
                }
            }
            if let Some((before, earlier)) = furthest
                && before > place
            {
                let what = format!(
                    "the elements {} and {} of {key} stand the wrong way round",
                    place + 1,
                    before + 1
                );
                inquiry.violated(Story::new(what).with([earlier.operation, append.operation]));
            }
        }
    }

    /// Elements that were read before their append began.
    fn stranger_in(&self, inquiry: &mut Inquiry, key: &str, appends: &BTreeMap<&str, Append<'a>>) {
        for read in &self.reads {
            let elements = read.elements.iter();
            let mut appended = elements.filter_map(|element| appends.get(element.as_str()));
            let later = appended.find(|append| read.operation.is_over_before(append.start_ns));
            if let Some(append) = later {
                let what = format!("a read of {key} shows an element whose append began later");
                inquiry.violated(Story::new(what).with([read.operation, append.operation]));
            }
        }
    }
}

impl Append<'_> {
    fn merge(&mut self, other: Self) {
        let weight = |append: &Self| match append.operation.outcome {
            Outcome::Ok => 2,
            Outcome::Info => 1,
            Outcome::Fail => 0,
        };
        let may_both = weight(self) > 0 && weight(&other) > 0;
        let start_ns = if may_both {
            self.start_ns.min(other.start_ns)
        } else if weight(&other) > weight(self) {
            other.start_ns
        } else {
            self.start_ns
        };
        // Of two acknowledgements the first one counts.
        let is_told_more = weight(&other) > weight(self);
        let is_told_first =
            weight(&other) == weight(self) && other.operation.over_ns() < self.operation.over_ns();
        if is_told_more || is_told_first {
            self.operation = other.operation;
        }
        self.start_ns = start_ns;
    }
}

/// Where each element stands in the longest sequence.
fn places<'a>(inquiry: &mut Inquiry, key: &str, longest: &Read<'a>) -> BTreeMap<&'a str, usize> {
    let mut places = BTreeMap::new();
    for (place, element) in longest.elements.iter().enumerate() {
        if let Some(first) = places.insert(element.as_str(), place) {
            let what = format!(
                "one element stands twice in {key}, as number {} and as number {}",
                first + 1,
                place + 1
            );
            inquiry.violated(Story::new(what).with([longest.operation]));
        }
    }
    places
}

fn from_nowhere(
    inquiry: &mut Inquiry,
    key: &str,
    longest: &Read<'_>,
    appends: &BTreeMap<&str, Append<'_>>,
) {
    for element in longest.elements {
        let append = appends.get(element.as_str()).map(|append| append.operation);
        let what = match append {
            None => format!("an element of {key} was appended by nobody"),
            Some(append) if append.may_have_happened() => continue,
            Some(_) => {
                format!("an element of {key} is there whose append certainly did not happen")
            }
        };
        inquiry.violated(Story::new(what).with(append).with([longest.operation]));
    }
}
