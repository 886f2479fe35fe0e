//! The history of a run while it is made: what clients asked and were told, in virtual time.
//!
//! All clients are tasks of one host, so that the order in which they ask and hear is the real order; no two moments of a
//! history are equal.

use std::sync::{Arc, Mutex};

use super::clock_of_run::RunClock;
use super::lock;
use super::plan::Plan;
use super::trace::{Topic, Trace};
use crate::history::{Answer, FORMAT, Fault, Header, History, Kind, Leader, Operation, Outcome};

/// What came of an operation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) outcome: Outcome,
    pub(super) error: Option<String>,
    pub(super) answer: Answer,
}

/// Writes down what happens.
pub(super) struct Recorder {
    inner: Mutex<Inner>,
    clock: Arc<RunClock>,
    trace: Arc<Trace>,
}

#[derive(Default)]
struct Inner {
    /// An operation's id is its place.
    operations: Vec<Operation>,
    /// Ended since the last look.
    news: Vec<u64>,
    under_way: u64,
    faults: Vec<Fault>,
    leaders: Vec<Leader>,
    last_ns: u64,
}

impl Inner {
    fn moment(&mut self, now_ns: u64) -> u64 {
        self.last_ns = now_ns.max(self.last_ns + 1);
        self.last_ns
    }
}

impl Recorder {
    /// An empty history.
    pub(super) fn new(clock: Arc<RunClock>, trace: Arc<Trace>) -> Self {
        Self {
            inner: Mutex::default(),
            clock,
            trace,
        }
    }

    /// An operation begins: what exactly it is follows from its id, so that no two write one value. Whatever else is made
    /// of the id comes back with it.
    pub(super) fn begin<T>(&self, make: impl FnOnce(u64) -> (Operation, T)) -> (Operation, T) {
        let mut inner = lock(&self.inner);
        let id = inner.operations.len() as u64;
        let start_ns = inner.moment(self.clock.now_ns());
        let (made, rest) = make(id);
        let operation = Operation {
            id,
            start_ns,
            end_ns: None,
            outcome: Outcome::Info,
            ..made
        };
        inner.operations.push(operation.clone());
        inner.under_way += 1;
        (operation, rest)
    }

    /// It ends.
    pub(super) fn end(&self, id: u64, told: Told) {
        let mut inner = lock(&self.inner);
        let end_ns = inner.moment(self.clock.now_ns());
        inner.under_way = inner.under_way.saturating_sub(1);
        let place = usize::try_from(id).unwrap_or(usize::MAX);
        let Some(operation) = inner.operations.get_mut(place) else {
            return;
        };
        operation.end_ns = Some(end_ns);
        operation.outcome = told.outcome;
        operation.error = told.error;
        operation.answer = told.answer;
        let text = operation.to_string();
        inner.news.push(id);
        drop(inner);
        self.trace.tell(self.clock.now(), Topic::Request, text);
    }

    /// Operations that were begun and have not ended.
    pub(super) fn under_way(&self) -> u64 {
        lock(&self.inner).under_way
    }

    /// What ended since the last call.
    pub(super) fn take_news(&self) -> Vec<Operation> {
        let mut inner = lock(&self.inner);
        let news = std::mem::take(&mut inner.news);
        let place = |id: &u64| usize::try_from(*id).ok();
        let operations = news.iter().filter_map(place);
        let operations = operations.filter_map(|place| inner.operations.get(place));
        operations.cloned().collect()
    }

    /// A fault begins, or was not installed: its number.
    pub(super) fn fault(&self, fault: Fault) -> usize {
        let mut inner = lock(&self.inner);
        inner.faults.push(fault);
        inner.faults.len() - 1
    }

    /// The fault with this number is over.
    pub(super) fn fault_is_over(&self, number: usize, fault: Fault) {
        if let Some(known) = lock(&self.inner).faults.get_mut(number) {
            *known = fault;
        }
    }

    /// A node was seen leading.
    pub(super) fn leader(&self, node: u64, term: u64) {
        let mut inner = lock(&self.inner);
        let at_ns = inner.moment(self.clock.now_ns());
        inner.leaders.push(Leader { at_ns, node, term });
    }

    /// The whole history.
    pub(super) fn history(&self, plan: &Plan, nodes: Vec<u64>) -> History {
        let inner = lock(&self.inner);
        History {
            header: Header {
                format: FORMAT,
                seed: plan.seed,
                nodes,
                command: format!("jarvis-chaos replay {}", plan.seed),
                commit: String::new(),
                request_prefix: request_prefix(plan.seed),
                started_at: None,
            },
            operations: inner.operations.clone(),
            faults: inner.faults.clone(),
            leaders: inner.leaders.clone(),
            due: Vec::new(),
            rotations: Vec::new(),
        }
    }

    /// Operations of these kinds that succeeded on keys with this prefix.
    pub(super) fn succeeded(&self, kinds: &[Kind], prefix: &str) -> u64 {
        let inner = lock(&self.inner);
        let matching = inner.operations.iter().filter(|operation| {
            operation.is_ok()
                && kinds.contains(&operation.kind)
                && operation.key.starts_with(prefix)
        });
        matching.count() as u64
    }
}

/// How the requests of a run are named in the trail.
pub(super) fn request_prefix(seed: u64) -> String {
    format!("s{seed}-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_all_different_and_ends_come_after_beginnings() {
        let trace = Arc::new(Trace::new(true));
        let recorder = Recorder::new(Arc::default(), Arc::clone(&trace));
        let write = |id: u64| {
            let operation = Operation {
                kind: Kind::Write,
                key: "reg/0".to_owned(),
                value: Some(format!("v{id}")),
                ..Operation::default()
            };
            (operation, ())
        };
        let ((first, ()), (second, ())) = (recorder.begin(write), recorder.begin(write));
        assert_eq!((first.id, second.id, recorder.under_way()), (0, 1, 2));
        assert_ne!(first.value, second.value);
        let told = Told {
            outcome: Outcome::Ok,
            ..Told::default()
        };
        recorder.end(second.id, told);
        let news = recorder.take_news();
        assert_eq!(news.len(), 1);
        assert!(news[0].end_ns > Some(second.start_ns) && second.start_ns > first.start_ns);
        assert!(recorder.take_news().is_empty());
        assert_eq!(recorder.under_way(), 1);
        assert_eq!(recorder.succeeded(&[Kind::Write], "reg/"), 1);
        assert_eq!(recorder.succeeded(&[Kind::Read], "reg/"), 0);
        assert_eq!(trace.lines().len(), 1);
    }
}
