//! The state: everything the log says, in memory, in persistent maps. A clone is a cheap view of it: what was noted for the
//! disk image stays with the original.

use std::collections::{BTreeMap, BTreeSet};

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::audit::{ClosedSegment, TrailPosition};
use crate::codec::{CodecError, decode, encode};
use crate::limits::VaultLimits;
use crate::member::{Cluster, Epoch, JoinToken, Member, SealSlot};
use crate::name::{ClientId, SecretName};
use crate::outcome::{LogRef, Reply};
use crate::policy::Policy;
use crate::secret::{Secret, Version};
use crate::table::{RecordKey, Table, Tracker};
use crate::time::Millis;
use crate::token::{Token, TokenId};
use crate::window::Window;
use crate::{FEATURE_LEVEL, NodeId};

/// The policy and where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRecord {
    /// +1 per change.
    pub version: u64,
    /// What is decided by.
    pub policy: Policy,
    /// The text it was read from.
    pub source: String,
}

/// What an idempotency key stands for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IdempotencyRecord {
    /// MAC of the request.
    pub mac: [u8; 32],
    /// Its first outcome.
    pub reply: Reply,
    /// When the key is forgotten.
    pub expires: Millis,
}

/// Everything that is one value rather than a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Core {
    /// Feature level (rule 3).
    pub level: u32,
    /// The last applied entry.
    pub applied: LogRef,
    /// Agreed time: the latest stamp.
    pub time: Millis,
    /// Destruction waits until then (rule 5).
    pub hold_destruction_until: Millis,
    /// Identity; `None` before the first command.
    pub cluster: Option<Cluster>,
    /// Agreed limits.
    pub limits: VaultLimits,
    /// The trail's position.
    pub trail: TrailPosition,
    /// The last event that is more than a signature: nodes sign again only when there is something new to sign.
    pub content_seq: u64,
    /// First event that is still kept in segments.
    pub trail_first_seq: u64,
    /// Bytes counted against the quota: the sum over all versions and all remembered names.
    pub vault_bytes: u64,
    /// The epoch new values must be under.
    pub epoch: u32,
    /// Seen proposals per node (rule 8).
    pub windows: BTreeMap<NodeId, Window>,
    /// The voters of the latest membership entry.
    pub voters: BTreeSet<NodeId>,
    /// Ids that are refused for ever (rule 11).
    pub removed: BTreeSet<NodeId>,
    /// Highest imported event per (node, journal).
    pub journals: BTreeMap<(NodeId, u64), u64>,
    /// Journals of a node up to this one are imported, and their marks forgotten.
    pub journal_floors: BTreeMap<NodeId, u64>,
}

/// The replicated state.
#[derive(Debug, Clone)]
pub struct State {
    /// Scalars.
    pub core: Core,
    /// Secrets by name.
    pub secrets: Table<SecretName, Secret>,
    /// Versions by name and number.
    pub versions: Table<(SecretName, u64), Version>,
    /// The policy under key 0.
    pub policy: Table<u8, PolicyRecord>,
    /// Bearer tokens.
    pub tokens: Table<TokenId, Token>,
    /// Revoked client certificates: serial → end of validity.
    pub revoked: Table<String, Millis>,
    /// Idempotency keys.
    pub idempotency: Table<(ClientId, String), IdempotencyRecord>,
    /// Live members.
    pub members: Table<NodeId, Member>,
    /// Join tokens by hash.
    pub join_tokens: Table<[u8; 32], JoinToken>,
    /// Seal slots by name.
    pub slots: Table<String, SealSlot>,
    /// Key epochs.
    pub epochs: Table<u32, Epoch>,
    /// Closed audit segments by first event.
    pub segments: Table<u64, ClosedSegment>,
    pub(crate) tracker: Tracker,
    // Derived from the tables above; rebuilt when a state is loaded.
    pub(crate) deletions: OrdSet<(Millis, SecretName)>,
    pub(crate) expiries: OrdSet<(Millis, Expiring)>,
    pub(crate) keys_per_client: OrdMap<ClientId, u64>,
    live_secrets: u64,
}

/// What stops to exist at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Expiring {
    Idempotency(ClientId, String),
    Token(TokenId),
    JoinToken([u8; 32]),
    Certificate(String),
}

/// Calls a method of the table of a kind.
macro_rules! on_table {
    ($state:ident, $kind:expr, $method:ident($($argument:expr),*), else $other:expr) => {
        match $kind {
            1 => $state.secrets.$method($($argument),*),
            2 => $state.versions.$method($($argument),*),
            3 => $state.policy.$method($($argument),*),
            4 => $state.tokens.$method($($argument),*),
            5 => $state.revoked.$method($($argument),*),
            6 => $state.idempotency.$method($($argument),*),
            7 => $state.members.$method($($argument),*),
            8 => $state.join_tokens.$method($($argument),*),
            9 => $state.slots.$method($($argument),*),
            10 => $state.epochs.$method($($argument),*),
            11 => $state.segments.$method($($argument),*),
            _ => $other,
        }
    };
}

/// Why a stored state can not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// A record does not decode.
    #[error("a record of kind {kind} is damaged: {source}")]
    Record {
        /// The record's kind.
        kind: u8,
        /// What the codec said.
        source: CodecError,
    },
    /// The scalars do not decode.
    #[error("the state's head is damaged: {0}")]
    Core(CodecError),
    /// The state is of a level this build does not know.
    #[error(
        "the state is at feature level {found}, this build knows up to {FEATURE_LEVEL}: upgrade this node"
    )]
    Level {
        /// The level found.
        found: u32,
    },
}

impl Default for State {
    fn default() -> Self {
        Self::empty()
    }
}

impl State {
    /// The state before the first entry.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            core: Core {
                level: 1,
                applied: LogRef::default(),
                time: 0,
                hold_destruction_until: 0,
                cluster: None,
                limits: VaultLimits::default(),
                trail: TrailPosition::genesis(),
                content_seq: 0,
                trail_first_seq: 1,
                vault_bytes: 0,
                epoch: 0,
                windows: BTreeMap::new(),
                voters: BTreeSet::new(),
                removed: BTreeSet::new(),
                journals: BTreeMap::new(),
                journal_floors: BTreeMap::new(),
            },
            secrets: Table::new(1),
            versions: Table::new(2),
            policy: Table::new(3),
            tokens: Table::new(4),
            revoked: Table::new(5),
            idempotency: Table::new(6),
            members: Table::new(7),
            join_tokens: Table::new(8),
            slots: Table::new(9),
            epochs: Table::new(10),
            segments: Table::new(11),
            tracker: Tracker::default(),
            deletions: OrdSet::new(),
            expiries: OrdSet::new(),
            keys_per_client: OrdMap::new(),
            live_secrets: 0,
        }
    }

    /// The hash of everything replicated: equal on all nodes at equal index.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(b"jarvis/v1/state");
        hasher.update(encode(&self.core));
        hasher.update(self.tracker.sum.bytes());
        hasher.finalize().into()
    }

    /// The policy in force, if the cluster has begun.
    #[must_use]
    pub fn policy_record(&self) -> Option<&PolicyRecord> {
        self.policy.get(&0).map(|record| &**record)
    }

    /// The current version of a secret.
    #[must_use]
    pub fn current_version(&self, name: &SecretName) -> Option<&std::sync::Arc<Version>> {
        let number = self.secrets.get(name)?.current()?;
        self.versions.get(&(name.clone(), number))
    }

    /// How many secrets can be read.
    #[must_use]
    pub const fn live_secrets(&self) -> u64 {
        self.live_secrets
    }

    /// The only way a secret's record changes: what is counted of it changes with it. A record never goes again.
    pub(crate) fn put_secret(&mut self, name: SecretName, secret: Secret) {
        let before = self.secrets.get(&name);
        let was_live = before.is_some_and(|old| !old.is_absent());
        let cost_before = before.map_or(0, |old| old.cost(&name));
        self.live_secrets += u64::from(!secret.is_absent());
        self.live_secrets -= u64::from(was_live);
        let vault_bytes = &mut self.core.vault_bytes;
        *vault_bytes = (*vault_bytes + secret.cost(&name)).saturating_sub(cost_before);
        self.secrets.put(&mut self.tracker, name, secret);
    }

    /// Whether due destructions or expiries wait for an entry at this time.
    #[must_use]
    pub fn has_due(&self, now: Millis) -> bool {
        let deletion = self.deletions.get_min().is_some_and(|(at, _)| *at <= now);
        let expiry = self.expiries.get_min().is_some_and(|(at, _)| *at <= now);
        expiry || (deletion && now >= self.core.hold_destruction_until)
    }

    /// What changed since the last call; a clone begins with nothing.
    pub fn take_dirty(&mut self) -> BTreeSet<RecordKey> {
        self.tracker.take_dirty()
    }

    /// How many keys [`Self::take_dirty`] would tell.
    #[must_use]
    pub fn dirty_len(&self) -> usize {
        self.tracker.dirty_len()
    }

    /// The encoded scalars.
    #[must_use]
    pub fn core_bytes(&self) -> Vec<u8> {
        encode(&self.core)
    }

    /// The encoded record of a key, `None` if it does not exist (any more).
    #[must_use]
    pub fn record(&self, kind: u8, key: &[u8]) -> Option<Vec<u8>> {
        on_table!(self, kind, record(key), else None)
    }

    /// Every record, by kind and key.
    pub fn records(&self) -> impl Iterator<Item = (u8, Vec<u8>, Vec<u8>)> {
        self.secrets
            .records()
            .chain(self.versions.records())
            .chain(self.policy.records())
            .chain(self.tokens.records())
            .chain(self.revoked.records())
            .chain(self.idempotency.records())
            .chain(self.members.records())
            .chain(self.join_tokens.records())
            .chain(self.slots.records())
            .chain(self.epochs.records())
            .chain(self.segments.records())
    }

    /// Starts to load a stored state.
    ///
    /// # Errors
    /// [`LoadError`] when the head is damaged or of an unknown level.
    pub fn load_core(bytes: &[u8]) -> Result<Self, LoadError> {
        let core: Core = decode(bytes).map_err(LoadError::Core)?;
        if core.level > FEATURE_LEVEL {
            return Err(LoadError::Level { found: core.level });
        }
        Ok(Self {
            core,
            ..Self::empty()
        })
    }

    /// Adds one stored record.
    ///
    /// # Errors
    /// [`LoadError::Record`] when it is damaged.
    pub fn load_record(&mut self, kind: u8, key: &[u8], value: &[u8]) -> Result<(), LoadError> {
        let unknown = || {
            Err(CodecError::Malformed {
                reason: "unknown record kind".to_owned(),
            })
        };
        on_table!(self, kind, load(&mut self.tracker.sum, key, value), else unknown())
            .map_err(|source| LoadError::Record { kind, source })
    }

    /// Ends loading: rebuilds what is derived.
    #[must_use]
    pub fn loaded(mut self) -> Self {
        for (name, secret) in self.secrets.iter() {
            self.live_secrets += u64::from(!secret.is_absent());
            if let Some(deleted) = secret.deleted.filter(|_| !secret.versions.is_empty()) {
                self.deletions.insert((deleted.until, name.clone()));
            }
        }
        for ((client, key), record) in self.idempotency.iter() {
            *self.keys_per_client.entry(client.clone()).or_insert(0) += 1;
            self.expiries.insert((
                record.expires,
                Expiring::Idempotency(client.clone(), key.clone()),
            ));
        }
        for (id, token) in self.tokens.iter() {
            if let Some(expires) = token.expires {
                self.expiries.insert((expires, Expiring::Token(*id)));
            }
        }
        for (hash, token) in self.join_tokens.iter() {
            self.expiries
                .insert((token.expires, Expiring::JoinToken(*hash)));
        }
        for (serial, not_after) in self.revoked.iter() {
            self.expiries
                .insert((**not_after, Expiring::Certificate(serial.clone())));
        }
        self
    }
}
