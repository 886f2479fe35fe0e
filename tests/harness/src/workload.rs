//! Writers, and the ledger of what was acknowledged to them.
//!
//! A name has one writer, which waits for each answer. So the newest acknowledged version of a name is known, and what
//! must be found after a crash: that version with exactly that value, and the event that the answer named.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::eventually;
use crate::http::{Caller, Request};

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
pub struct Acknowledged {
    /// Of the secret.
    pub name: String,
    /// What was written.
    pub value: String,
    /// The version that the answer named.
    pub version: u64,
    /// The event that the answer named.
    pub audit_seq: u64,
}

/// What was acknowledged, and what was answered instead.
#[derive(Debug, Default)]
pub struct Ledger {
    acknowledged: Mutex<Vec<Acknowledged>>,
    failures: Mutex<BTreeMap<String, u64>>,
    next: AtomicU64,
}

impl Ledger {
    /// Writes once and notes the answer; whether it was acknowledged.
    pub fn put(&self, admin: &Caller, name: &str) -> bool {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let value = format!("example-not-a-secret {number} {}", ".".repeat(VALUE_BYTES));
        let failure = match admin.try_send(Request::write(name, &value)) {
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
            Ok(answer) => format!("{} {}", answer.status, answer.error()),
            Err(failure) => format!("no answer: {}", failure.kind()),
        };
        *lock(&self.failures).entry(failure).or_default() += 1;
        false
    }

    /// Writes until it is acknowledged.
    #[track_caller]
    pub fn put_surely(&self, admin: &Caller, name: &str) {
        eventually("a write is acknowledged", || {
            self.put(admin, name).then_some(())
        });
    }

    /// How many writes were acknowledged.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.acknowledged).len()
    }

    /// Waits for so many more.
    #[track_caller]
    pub fn wait_for_more(&self, more: usize) {
        let wanted = self.count() + more;
        eventually("more writes are acknowledged", || {
            (self.count() >= wanted).then_some(())
        });
    }

    /// Everything acknowledged.
    #[must_use]
    pub fn all(&self) -> Vec<Acknowledged> {
        lock(&self.acknowledged).clone()
    }

    /// The newest acknowledged version of each name.
    #[must_use]
    pub fn newest(&self) -> Vec<Acknowledged> {
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
    ///
    /// # Panics
    /// When one was.
    #[track_caller]
    pub fn assert_failures_are_honest(&self) {
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
#[derive(Debug)]
pub struct Writers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Writers {
    /// Starts them; each asks all nodes in turn, and pauses that long after each answer.
    #[must_use]
    pub fn start(ledger: &Arc<Ledger>, admins: &[Caller], pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let writer = |writer: u64| {
            let (ledger, stop) = (Arc::clone(ledger), Arc::clone(&stop));
            let admins = admins.to_vec();
            thread::spawn(move || write(writer, &admins, pause, &ledger, &stop))
        };
        let threads = (0..WRITERS).map(writer).collect();
        Self { stop, threads }
    }

    /// Lets each end with an answer.
    pub fn stop(mut self) {
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

fn write(writer: u64, admins: &[Caller], pause: Duration, ledger: &Ledger, stop: &AtomicBool) {
    for (turn, admin) in (0..).zip(admins.iter().cycle()) {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let name = format!("load/{writer}/{}", turn % NAMES);
        let acknowledged = ledger.put(admin, &name);
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
