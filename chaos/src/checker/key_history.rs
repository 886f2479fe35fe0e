//! What happened to one key: each operation as what it did to, or saw of, that key.
//!
//! A batch touches each of its keys, a list each name in it. Attempts under one idempotency key are one touch: it
//! happens at most once, some time between the beginning of the first attempt and the first answer.

use std::collections::BTreeMap;

use crate::history::{History, Kind, Operation, Outcome};

/// All that happened to one key.
#[derive(Debug, Default)]
pub(crate) struct KeyHistory<'a> {
    /// What was done and seen.
    pub(crate) touches: Vec<Touch<'a>>,
    /// Values whose write certainly did not happen (unless another attempt of it did).
    pub(crate) refused: Vec<(&'a str, &'a Operation)>,
    /// It was deleted, or may have been.
    pub(crate) has_deletes: bool,
    /// Something happened to it that a register does not know: an undeletion, a destruction.
    pub(crate) foreign: Option<&'a Operation>,
}

/// One operation's part in the story of a key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Touch<'a> {
    /// For the story; of several attempts, the one that was answered.
    pub(crate) operation: &'a Operation,
    /// It happened after this.
    pub(crate) start_ns: u64,
    /// It happened before this; `None`: perhaps, now or later.
    pub(crate) end_ns: Option<u64>,
    /// What it was.
    pub(crate) act: Act<'a>,
}

/// What an operation did or saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act<'a> {
    /// There was nothing.
    Absent,
    /// This was the value, and this its version.
    Read {
        value: &'a str,
        version: Option<u64>,
    },
    /// This was the version.
    ReadVersion { version: u64 },
    /// That version, asked for by its number, had this value.
    Pinned {
        value: Option<&'a str>,
        version: u64,
    },
    /// A compare-and-set found another version.
    Conflict { expected: u64, actual: Option<u64> },
    /// It wrote, and became this version if it was told.
    Write {
        value: &'a str,
        version: Option<u64>,
    },
    /// It wrote over the version it expected.
    Swap {
        expected: u64,
        value: &'a str,
        version: Option<u64>,
    },
    /// It deleted; at the version it expected, if it named one.
    Delete { expected: Option<u64> },
}

impl<'a> Act<'a> {
    /// What it writes, if it writes.
    pub(crate) const fn written(&self) -> Option<&'a str> {
        match *self {
            Self::Write { value, .. } | Self::Swap { value, .. } => Some(value),
            _ => None,
        }
    }
}

impl Touch<'_> {
    pub(crate) const fn is_certain(&self) -> bool {
        self.end_ns.is_some()
    }
}

/// The histories of all keys, and what was left out of them.
#[derive(Debug, Default)]
pub(crate) struct KeyHistories<'a> {
    /// By name.
    pub(crate) keys: BTreeMap<&'a str, KeyHistory<'a>>,
    /// Answers given without a majority: they may be old.
    pub(crate) stale_reads: u64,
    /// Where each idempotency key's touch is.
    attempts: BTreeMap<(&'a str, &'a str), usize>,
}

impl<'a> KeyHistories<'a> {
    pub(crate) fn of(history: &'a History) -> Self {
        let mut all = Self::default();
        for operation in &history.operations {
            all.take(operation);
        }
        all
    }

    fn take(&mut self, operation: &'a Operation) {
        match operation.kind {
            Kind::Read => self.read(operation),
            Kind::List => self.list(operation),
            Kind::Write | Kind::Cas | Kind::Append => self.write(operation),
            Kind::Delete => self.delete(operation),
            Kind::Batch => self.batch(operation),
            Kind::Undelete | Kind::Destroy => {
                if operation.may_have_happened() {
                    self.key(&operation.key).foreign = Some(operation);
                }
            }
            Kind::Use | Kind::Grant | Kind::Revoke | Kind::Other => {}
        }
    }

    fn read(&mut self, operation: &'a Operation) {
        let answer = &operation.answer;
        if operation.was_stale() {
            self.stale_reads += 1;
            return;
        }
        if operation.failed_with("not_found") {
            // The refusal of a stale read does not say that it was one, and a version may be gone.
            if operation.max_age_ms.is_some() {
                self.stale_reads += 1;
            } else if operation.asked_version.is_none() {
                self.touch(&operation.key, operation, Act::Absent);
            }
            return;
        }
        if !operation.is_ok() {
            return;
        }
        let value = answer.value.as_deref();
        let act = match (operation.asked_version, value, answer.version) {
            (Some(version), value, _) => Act::Pinned { value, version },
            (None, Some(value), version) => Act::Read { value, version },
            (None, None, Some(version)) => Act::ReadVersion { version },
            (None, None, None) => return,
        };
        self.touch(&operation.key, operation, act);
    }

    fn list(&mut self, operation: &'a Operation) {
        if !operation.is_ok() {
            return;
        }
        for name in operation.answer.listed.iter().flatten() {
            if let Some(version) = name.version {
                self.touch(&name.key, operation, Act::ReadVersion { version });
            }
        }
    }

    fn write(&mut self, operation: &'a Operation) {
        let Some(value) = operation.value.as_deref() else {
            return;
        };
        let version = operation.answer.version;
        let act = match operation.expected {
            Some(expected) => Act::Swap {
                expected,
                value,
                version,
            },
            None => Act::Write { value, version },
        };
        self.mutate(&operation.key, operation, act);
    }

    fn delete(&mut self, operation: &'a Operation) {
        if operation.failed_with("not_found") {
            self.touch(&operation.key, operation, Act::Absent);
            return;
        }
        if operation.may_have_happened() {
            self.key(&operation.key).has_deletes = true;
        }
        let expected = operation.expected.or(operation.answer.version);
        self.mutate(&operation.key, operation, Act::Delete { expected });
    }

    fn batch(&mut self, operation: &'a Operation) {
        for item in &operation.writes {
            let mut told = operation.answer.items.iter();
            let version = told
                .find(|told| told.key == item.key)
                .map(|told| told.version);
            let value = item.value.as_str();
            let act = match item.expected {
                Some(expected) => Act::Swap {
                    expected,
                    value,
                    version,
                },
                None => Act::Write { value, version },
            };
            if operation.outcome == Outcome::Fail {
                // Which of its names was in another version is not said.
                self.key(&item.key).refused.push((value, operation));
            } else {
                self.touch(&item.key, operation, act);
            }
        }
    }

    fn mutate(&mut self, key: &'a str, operation: &'a Operation, act: Act<'a>) {
        if operation.outcome != Outcome::Fail {
            return self.touch(key, operation, act);
        }
        if let (true, Some(expected)) = (operation.failed_with("conflict"), operation.expected) {
            let actual = operation.answer.actual_version;
            self.touch(key, operation, Act::Conflict { expected, actual });
        }
        if let Some(value) = act.written() {
            self.key(key).refused.push((value, operation));
        }
    }

    fn touch(&mut self, key: &'a str, operation: &'a Operation, act: Act<'a>) {
        let touch = Touch {
            operation,
            start_ns: operation.start_ns,
            end_ns: match operation.outcome {
                Outcome::Info => None,
                Outcome::Ok | Outcome::Fail => operation.end_ns,
            },
            act,
        };
        let touches = &mut self.keys.entry(key).or_default().touches;
        if let Some(idempotency_key) = operation.idempotency_key.as_deref() {
            let place = *self
                .attempts
                .entry((key, idempotency_key))
                .or_insert(touches.len());
            if let Some(known) = touches.get_mut(place)
                && let Some(both) = merge(known, &touch)
            {
                *known = both;
                return;
            }
        }
        touches.push(touch);
    }

    fn key(&mut self, key: &'a str) -> &mut KeyHistory<'a> {
        self.keys.entry(key).or_default()
    }
}

/// Two attempts of one request as one; `None` if they were told different things.
fn merge<'a>(known: &Touch<'a>, other: &Touch<'a>) -> Option<Touch<'a>> {
    let start_ns = known.start_ns.min(other.start_ns);
    let (told, end_ns) = match (known.end_ns, other.end_ns) {
        (Some(first), Some(second)) if known.act == other.act => (known, Some(first.min(second))),
        (Some(_), Some(_)) => return None,
        (None, Some(end)) => (other, Some(end)),
        (end, None) => (known, end),
    };
    Some(Touch {
        operation: told.operation,
        start_ns,
        end_ns,
        act: told.act,
    })
}
