//! What apply answers: one [`Outcome`] per command, on every node the same.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::NodeId;
use crate::name::SecretName;
use crate::secret::{Deleted, Version};
use crate::state::State;
use crate::time::Millis;
use crate::token::TokenId;

/// A log position: term and node of the leader, and the index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogRef {
    /// The leader's term.
    pub term: u64,
    /// The leader.
    pub node: NodeId,
    /// The index.
    pub index: u64,
}

/// One command's answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reply {
    /// The entry that decided it (of the first time, for an idempotent repeat).
    pub log: LogRef,
    /// Its (last) event in the trail.
    pub audit_seq: u64,
    /// Agreed time of the entry.
    pub time: Millis,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a command.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Outcome {
    /// A version that may be shown.
    Value {
        /// The version record, immutable.
        version: Arc<Version>,
        /// Whether it is the current one.
        current: bool,
    },
    /// Versions written, in the order asked.
    Written(Vec<Written>),
    /// A secret was deleted.
    Deleted(Deleted),
    /// A secret is back.
    Undeleted {
        /// Its current version.
        version: u64,
        /// Its kid.
        kid: String,
    },
    /// Versions are gone for good.
    Destroyed(Vec<u64>),
    /// The policy now has this version.
    Policy {
        /// The version.
        version: u64,
        /// Whether it differs from the one before.
        changed: bool,
    },
    /// A credential or join token was made. A repeated request gets the first one's id, and with it a node that has the
    /// keys makes the first one's secret again; nothing secret is kept here (A11).
    Created {
        /// Its public id.
        id: TokenId,
        /// When it stops working.
        expires: Option<Millis>,
    },
    /// A node has an identity.
    Joined {
        /// The id.
        node: NodeId,
    },
    /// Done; nothing more to say.
    Done,
    /// Refused; nothing changed but the trail.
    Rejected(Rejection),
    /// A seal slot was added.
    SlotAdded {
        /// Its name.
        slot: String,
    },
    /// The state as of this command, for lists and administrators' views. Never leaves the process.
    ///
    /// Must stay last: serde numbers the variants it reads without the skipped one, and those it writes with it.
    #[serde(skip)]
    View(Box<State>),
}

/// One written version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Which secret.
    pub name: SecretName,
    /// The kid.
    pub kid: String,
    /// The number.
    pub version: u64,
    /// When it counts as expired.
    pub expires: Millis,
    /// Its event.
    pub audit_seq: u64,
}

/// Why a command was refused (A7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rejection {
    /// The credential is unknown, revoked or expired at this index.
    Unauthenticated,
    /// The policy denies it.
    NotAuthorized {
        /// Name or thing that was asked for.
        target: String,
        /// `unknown_client`, `deny_rule`, `no_rule`.
        reason: String,
    },
    /// There is no such thing.
    NotFound,
    /// The secret is deleted.
    Deleted(Deleted),
    /// A compare-and-set failed, or something exists already.
    Conflict {
        /// The version found; 0 if there is none.
        actual_version: u64,
    },
    /// The idempotency key was used for another request.
    IdempotencyReused,
    /// No room for another idempotency key.
    IdempotencyFull,
    /// Encrypted under an epoch that is not current: encrypt again and repeat.
    StaleEpoch {
        /// The current epoch.
        current: u32,
    },
    /// The vault is full.
    Quota {
        /// The limit in bytes.
        limit: u64,
    },
    /// The command breaks a bound or a rule.
    Invalid {
        /// Which.
        reason: String,
    },
    /// The batch was applied before, or comes from a replaced process; no answer is known here.
    Repeat,
    /// The state is at a level this command does not exist in, or the cluster has not begun.
    NotReady,
}
