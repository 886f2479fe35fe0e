//! The trail tells what happened (C3, X4): one event for each acknowledged operation and each refusal, as the answer
//! said; at most one for what nobody knows; none for what did not happen.
//!
//! Every node's trail is verified from genesis and compared with the others', event by event, in one pass. Events are
//! matched to operations by the request id. Which answers leave an event:
//!
//! | answer | events |
//! |---|---|
//! | ok | 1; a batch: 1 per write; an answer without a majority: 1, unless the node's disk was lost |
//! | `conflict`, `not_found`, `not_authorized`, `idempotency_key_reused`, `quota_exceeded` | 1 |
//! | `no_leader`, `audit_full`, `connect` (no request was sent) | 0; if a stale read was asked for: 0 or 1 |
//! | any other refusal: it may have come before the log or from it | 0 or 1 |
//! | unknown | 0 or 1; a batch: 0 or 1 per write, all or none |
//!
//! Attempts under one idempotency key leave one event between them, once they are past the policy.
//! The order of events agrees with real time: what was over before another began has the lower number.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use super::{Inquiry, Report, Story};
use crate::history::{History, Kind, Operation, Outcome};

mod expected;
pub mod trail;

use expected::{Range, expected, is_shared, mismatch};
use trail::{Event, Trail};

/// Where the trails are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// Node → its folder with `audit.jsonl`.
    pub folders: BTreeMap<u64, PathBuf>,
    /// Nodes whose disk was lost: the events of their stale reads may be lost with it.
    pub lost_disks: BTreeSet<u64>,
}

/// Checks the trails against each other and against the history.
///
/// The nodes have converged and do not write meanwhile.
#[must_use]
pub fn check(history: &History, sources: &Sources) -> Report {
    let mut inquiry = Inquiry::new("audit");
    let mut ledger = Ledger::of(history);
    let mut trails = Trails::open(&mut inquiry, sources);
    while let Some(event) = trails.next(&mut inquiry) {
        ledger.take(&mut inquiry, &event);
    }
    trails.end(&mut inquiry);
    ledger.end(&mut inquiry, &sources.lost_disks);
    inquiry.end("matched events")
}

/// All trails, read in step.
struct Trails {
    readers: Vec<(u64, Trail)>,
    /// Node → its last event.
    reached: BTreeMap<u64, u64>,
}

impl Trails {
    fn open(inquiry: &mut Inquiry, sources: &Sources) -> Self {
        inquiry.count("trails", sources.folders.len() as u64);
        let mut readers = Vec::new();
        for (node, folder) in &sources.folders {
            match Trail::open(folder) {
                Ok(trail) => readers.push((*node, trail)),
                Err(fault) => {
                    inquiry.doubt(format!("the trail of node {node} can not be read: {fault}"));
                }
            }
        }
        Self {
            readers,
            reached: BTreeMap::new(),
        }
    }

    /// The next event, on which all trails that are that long agree. One that differs is read no further.
    fn next(&mut self, inquiry: &mut Inquiry) -> Option<Event> {
        let mut first: Option<(u64, Event)> = None;
        let mut going_on = Vec::with_capacity(self.readers.len());
        for (node, mut trail) in std::mem::take(&mut self.readers) {
            let event = match trail.next() {
                None => continue,
                Some(Ok(event)) => event,
                Some(Err(fault)) => {
                    let what = format!("the trail of node {node} does not hold");
                    inquiry.violated(Story::new(what).note(fault.to_string()));
                    continue;
                }
            };
            self.reached.insert(node, event.seq);
            let Some((other, expected)) = &first else {
                first = Some((node, event));
                going_on.push((node, trail));
                continue;
            };
            if expected.head != event.head {
                let what = format!(
                    "the trails of nodes {other} and {node} part at event {}",
                    event.seq
                );
                let one = format!("node {other}: {}", in_words(expected));
                let another = format!("node {node}: {}", in_words(&event));
                inquiry.violated(Story::new(what).note(one).note(another));
                continue;
            }
            inquiry.count("events compared", 1);
            going_on.push((node, trail));
        }
        self.readers = going_on;
        first.map(|(_, event)| event)
    }

    fn end(&self, inquiry: &mut Inquiry) {
        let reached = self.reached.values();
        inquiry.count("events", reached.clone().max().copied().unwrap_or(0));
        inquiry.count("shortest trail", reached.min().copied().unwrap_or(0));
    }
}

/// What the history expects of the trail, and what it has had.
struct Ledger<'a> {
    history: &'a History,
    /// Operation's id → its place in the history.
    places: HashMap<u64, usize>,
    /// Place → events so far.
    counts: Vec<u32>,
    /// Idempotency key → the places of its attempts.
    attempts: BTreeMap<&'a str, Vec<usize>>,
    /// Of all operations that have an event so far, the one that began last.
    latest: Option<usize>,
}

impl<'a> Ledger<'a> {
    fn of(history: &'a History) -> Self {
        let mut places = HashMap::with_capacity(history.operations.len());
        let mut attempts: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (place, operation) in history.operations.iter().enumerate() {
            places.insert(operation.id, place);
            if let Some(key) = operation.idempotency_key.as_deref() {
                attempts.entry(key).or_default().push(place);
            }
        }
        Self {
            history,
            counts: vec![0; history.operations.len()],
            places,
            attempts,
            latest: None,
        }
    }

    fn take(&mut self, inquiry: &mut Inquiry, event: &Event) {
        let prefix = self.history.header.request_prefix.as_str();
        let request_id = event.request_id.as_deref();
        let Some(digits) = request_id.and_then(|id| id.strip_prefix(prefix)) else {
            inquiry.count("other events", 1);
            return;
        };
        let id = digits.parse::<u64>().ok();
        let Some(place) = id.and_then(|id| self.places.get(&id).copied()) else {
            let what = "there is an event of a request that nobody made";
            inquiry.violated(Story::new(what).note(in_words(event)));
            return;
        };
        inquiry.count("matched events", 1);
        self.counts[place] += 1;
        self.compare(inquiry, place, event);
        self.order(inquiry, place, event);
    }

    /// The event against every answer that it is the event of.
    fn compare(&self, inquiry: &mut Inquiry, place: usize, event: &Event) {
        let operation = &self.history.operations[place];
        let attempts = operation.idempotency_key.as_deref();
        let attempts = attempts.and_then(|key| self.attempts.get(key));
        let others = attempts.into_iter().flatten().copied();
        let others = others.filter(|other| *other != place);
        let others = others.map(|other| &self.history.operations[other]);
        let others = others.filter(|other| other.is_ok() && event.outcome == "allow");
        for answered in std::iter::once(operation).chain(others) {
            if let Some(what) = mismatch(answered, event) {
                let story = Story::new(what).with([operation, answered]);
                inquiry.violated(story.note(in_words(event)));
            }
        }
    }

    /// Events come in the order of their numbers: none may be of something that was over before an earlier one began.
    fn order(&mut self, inquiry: &mut Inquiry, place: usize, event: &Event) {
        let history = self.history;
        let operations = &history.operations;
        let operation = &operations[place];
        // A repeat is answered with the first event; a stale read's event comes when there is a majority again.
        let is_late = operation.idempotency_key.is_some() || event.event == "secret.read.stale";
        if is_late || !operation.is_ok() {
            return;
        }
        let latest = self.latest.map(|latest| &operations[latest]);
        if let Some(latest) = latest
            && operation.is_over_before(latest.start_ns)
        {
            let what = "the trail tells two operations the wrong way round";
            let story = Story::new(what).with([operation, latest]);
            inquiry.violated(story.note(in_words(event)));
        }
        if latest.is_none_or(|latest| operation.start_ns > latest.start_ns) {
            self.latest = Some(place);
        }
    }

    fn end(&self, inquiry: &mut Inquiry, lost_disks: &BTreeSet<u64>) {
        for (place, operation) in self.history.operations.iter().enumerate() {
            if is_shared(operation) {
                continue;
            }
            let count = self.counts[place];
            let range = expected(operation, lost_disks);
            if operation.kind != Kind::Use {
                inquiry.count("operations", 1);
            }
            if !range.contains(count) {
                let what = format!("an operation has {count} events instead of {range}");
                inquiry.violated(Story::new(what).with([operation]));
            }
        }
        for places in self.attempts.values() {
            self.end_of_attempts(inquiry, places);
        }
    }

    /// Attempts that got past the policy have one outcome between them, and so one event (a batch: one per write).
    fn end_of_attempts(&self, inquiry: &mut Inquiry, places: &[usize]) {
        let operations = places.iter().map(|place| &self.history.operations[*place]);
        let attempts: Vec<&Operation> = operations.filter(|attempt| is_shared(attempt)).collect();
        let Some(first) = attempts.first() else {
            return;
        };
        inquiry.count("operations", attempts.len() as u64);
        let shared = places.iter().copied();
        let shared = shared.filter(|place| is_shared(&self.history.operations[*place]));
        let count: u32 = shared.map(|place| self.counts[place]).sum();
        let writes = u32::try_from(first.writes.len().max(1)).unwrap_or(u32::MAX);
        let is_refused = attempts
            .iter()
            .any(|attempt| attempt.outcome == Outcome::Fail);
        let is_answered = attempts
            .iter()
            .any(|attempt| attempt.outcome != Outcome::Info);
        let range = Range {
            weight: if is_refused { 1 } else { writes },
            may_be_none: !is_answered,
        };
        if !range.contains(count) {
            let what =
                format!("the attempts of one request have {count} events instead of {range}");
            inquiry.violated(Story::new(what).with(attempts.iter().copied()));
        }
    }
}

fn in_words(event: &Event) -> String {
    let Event {
        seq,
        index,
        event,
        outcome,
        request_id,
        name,
        version,
        ..
    } = event;
    let mut text = format!("event {seq} at index {index}: {event}, {outcome}");
    for part in [request_id, name].into_iter().flatten() {
        text.push_str(", ");
        text.push_str(part);
    }
    if let Some(version) = version {
        text.push_str(&format!(", version {version}"));
    }
    text
}
