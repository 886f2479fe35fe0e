//! Writers, and the ledger of what was acknowledged to them.
//!
//! A name has one writer, which waits for each answer. So the newest acknowledged version of a name is known, and what
//! must be found after a crash: that version with exactly that value, and the event that the answer named.

#![allow(
    dead_code,
    reason = "shared by several test programs, of which each uses its part"
)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::json;

use crate::cluster::eventually;
use crate::http::Endpoint;

/// Enough for several proposals in one batch.
const WRITERS: u64 = 8;
/// Names of each writer: few, so that all of them can be read back on every node.
const NAMES: u64 = 2;
/// Bytes of a value: a few hundred writes then make a snapshot due and purge the log.
const VALUE_BYTES: usize = 1_024;
/// After a failure: a cluster that is down is not asked thousands of times.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(20);

/// One acknowledged write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) version: u64,
    /// The event that the answer named.
    pub(crate) audit_seq: u64,
}

/// What was acknowledged, and what was answered instead.
#[derive(Default)]
pub(crate) struct Ledger {
    acknowledged: Mutex<Vec<Acknowledged>>,
    failures: Mutex<BTreeMap<String, u64>>,
    next: AtomicU64,
}

impl Ledger {
    /// Writes once and notes the answer; whether it was acknowledged.
    pub(crate) fn put(&self, endpoint: &Endpoint, name: &str) -> bool {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let value = format!("example-not-a-secret {number} {}", ".".repeat(VALUE_BYTES));
        let body = json!({ "name": name, "value": value });
        let failure = match endpoint.post("/secret", &body) {
            Ok(answer) if answer.status == 200 => {
                let answer = answer.json();
                let number = |field: &str| {
                    answer[field]
                        .as_u64()
                        .expect("an acknowledgement names version and event")
                };
                lock(&self.acknowledged).push(Acknowledged {
                    name: name.to_owned(),
                    value,
                    version: number("version"),
                    audit_seq: number("audit_seq"),
                });
                return true;
            }
            Ok(answer) => format!("{} {}", answer.status, answer.json()["error"]),
            Err(error) => format!("no answer: {}", error.kind()),
        };
        *lock(&self.failures).entry(failure).or_default() += 1;
        false
    }

    /// Writes until it is acknowledged.
    pub(crate) fn put_surely(&self, endpoint: &Endpoint, name: &str) {
        eventually("a write is acknowledged", || {
            self.put(endpoint, name).then_some(())
        });
    }

    /// How many writes were acknowledged.
    pub(crate) fn count(&self) -> usize {
        lock(&self.acknowledged).len()
    }

    /// Waits for so many more.
    pub(crate) fn wait_for_more(&self, more: usize) {
        let wanted = self.count() + more;
        eventually("more writes are acknowledged", || {
            (self.count() >= wanted).then_some(())
        });
    }

    /// Everything acknowledged.
    pub(crate) fn all(&self) -> Vec<Acknowledged> {
        lock(&self.acknowledged).clone()
    }

    /// The newest acknowledged version of each name.
    pub(crate) fn newest(&self) -> Vec<Acknowledged> {
        let mut newest: BTreeMap<String, Acknowledged> = BTreeMap::new();
        for write in self.all() {
            let known = newest.get(&write.name).map_or(0, |known| known.version);
            if write.version > known {
                newest.insert(write.name.clone(), write);
            }
        }
        newest.into_values().collect()
    }

    /// C7, A7: a cluster that can not write says so (503), or that it does not know (504), or is not there; a write is
    /// never refused for a reason that is not true.
    pub(crate) fn assert_failures_are_honest(&self) {
        let failures = lock(&self.failures);
        for failure in failures.keys() {
            let honest = ["no answer", "503", "504"];
            assert!(
                honest.iter().any(|start| failure.starts_with(start)),
                "a write was answered with {failure}; all failures: {failures:?}"
            );
        }
    }
}

/// Running writers.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Writers {
    /// Starts them; each asks all nodes in turn, and pauses that long after each answer.
    pub(crate) fn start(ledger: &Arc<Ledger>, endpoints: &[Endpoint], pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let writer = |writer: u64| {
            let (ledger, stop) = (Arc::clone(ledger), Arc::clone(&stop));
            let endpoints = endpoints.to_vec();
            thread::spawn(move || write(writer, &endpoints, pause, &ledger, &stop))
        };
        let threads = (0..WRITERS).map(writer).collect();
        Self { stop, threads }
    }

    /// Lets each end with an answer.
    pub(crate) fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in std::mem::take(&mut self.threads) {
            thread.join().expect("a writer does not panic");
        }
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn write(writer: u64, endpoints: &[Endpoint], pause: Duration, ledger: &Ledger, stop: &AtomicBool) {
    for (turn, endpoint) in (0..).zip(endpoints.iter().cycle()) {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let name = format!("load/{writer}/{}", turn % NAMES);
        let acknowledged = ledger.put(endpoint, &name);
        thread::sleep(if acknowledged {
            pause
        } else {
            PAUSE_AFTER_FAILURE
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
