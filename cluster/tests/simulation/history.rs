//! What the clients did and what they were told, in the order in which it happened.

use std::sync::Mutex;

use crate::lock;

/// Keys of the workload: few, so that operations meet.
pub(crate) const KEYS: usize = 3;

/// The secret behind a key.
pub(crate) fn key_name(key: usize) -> String {
    format!("sim/key-{key}")
}

/// How an operation is named in the trail.
pub(crate) fn request_id(number: usize) -> String {
    format!("op-{number}")
}

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Write a new value, unconditionally or over a version.
    Put {
        /// Only if this is the current version.
        cas: Option<u64>,
    },
    /// Read the current version.
    Get,
}

/// What an operation was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// A write of a value that no other operation writes.
    Put {
        /// The value.
        value: u64,
        /// Only if this is the current version.
        cas: Option<u64>,
    },
    /// A read.
    Get,
}

/// What the client was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing, or that nobody knows: it may have happened, now or later.
    Unknown,
    /// It did not happen and will not.
    Failed,
    /// The write became this version.
    Wrote {
        /// The version.
        version: u64,
    },
    /// The write did not happen, since another version was current.
    Conflict {
        /// The version found; 0 if there was none.
        actual: u64,
    },
    /// The current version and its value.
    Read {
        /// The version.
        version: u64,
        /// The value.
        value: u64,
    },
    /// There is no version yet.
    Absent,
}

impl Outcome {
    /// Whether the cluster decided the operation and said so.
    pub(crate) const fn is_acknowledged(self) -> bool {
        !matches!(self, Self::Unknown | Self::Failed)
    }

    /// The version that was current right after the operation, if it says.
    pub(crate) const fn version(self) -> Option<u64> {
        match self {
            Self::Unknown | Self::Failed => None,
            Self::Wrote { version } | Self::Read { version, .. } => Some(version),
            Self::Conflict { actual } => Some(actual),
            Self::Absent => Some(0),
        }
    }
}

/// One operation. No two moments of a history are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Operation {
    /// On which key.
    pub(crate) key: usize,
    /// What was asked.
    pub(crate) action: Action,
    /// When it began.
    pub(crate) invoked: u64,
    /// When its outcome was known; `None` if it never was.
    pub(crate) returned: Option<u64>,
    /// What came of it.
    pub(crate) outcome: Outcome,
}

/// The operations so far. A number's operation is the one at that place.
#[derive(Default)]
pub(crate) struct History {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    moment: u64,
    acknowledged: usize,
    operations: Vec<Operation>,
}

impl Inner {
    fn now(&mut self) -> u64 {
        self.moment += 1;
        self.moment
    }
}

impl History {
    /// An operation begins: its number, and what exactly it does.
    pub(crate) fn begin(&self, key: usize, ask: Ask) -> (usize, Action) {
        let mut inner = lock(&self.inner);
        let number = inner.operations.len();
        let action = match ask {
            Ask::Put { cas } => Action::Put {
                value: number as u64 + 1,
                cas,
            },
            Ask::Get => Action::Get,
        };
        let invoked = inner.now();
        inner.operations.push(Operation {
            key,
            action,
            invoked,
            returned: None,
            outcome: Outcome::Unknown,
        });
        (number, action)
    }

    /// An operation ends.
    pub(crate) fn end(&self, number: usize, outcome: Outcome) {
        let mut inner = lock(&self.inner);
        let returned = inner.now();
        inner.acknowledged += usize::from(outcome.is_acknowledged());
        let operation = &mut inner.operations[number];
        operation.outcome = outcome;
        operation.returned = (outcome != Outcome::Unknown).then_some(returned);
    }

    /// How many operations have been acknowledged.
    pub(crate) fn acknowledged(&self) -> usize {
        lock(&self.inner).acknowledged
    }

    /// All operations so far.
    pub(crate) fn operations(&self) -> Vec<Operation> {
        lock(&self.inner).operations.clone()
    }
}
