//! What may be asked of the replicated state. Commands hold ciphertext, hashes and ids, never a key or a value (C2).
//!
//! The order of variants and fields is the wire format of feature level 1 and is frozen (rule 3): new variants go to the
//! end and need a new level.

use serde::{Deserialize, Serialize};

use crate::NodeId;
use crate::audit::Head;
use crate::limits::VaultLimits;
use crate::member::{Cluster, Member, SealSlot};
use crate::name::{ClientId, SecretName};
use crate::policy::Policy;
use crate::secret::{About, SealedValue};
use crate::time::Millis;
use crate::token::{Credential, TokenId};
use crate::window::Envelope;

/// What one node proposes at once: one log entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Exactly-once identity of the whole batch (rule 8).
    pub envelope: Envelope,
    /// The commands, decided in this order.
    pub commands: Vec<Command>,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The client id that the credential proves.
    pub client: ClientId,
    /// How it was proved.
    pub credential: Credential,
    /// `X-Request-Id`, for tracing only (A11).
    pub request_id: String,
}

/// An idempotency key and the keyed MAC of the request it came with (A11).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// The client's key.
    pub key: String,
    /// HMAC of the request as received.
    pub mac: [u8; 32],
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Look at something; changes nothing but the trail.
    Access(Access),
    /// Create or change secrets, policy or credentials for a client.
    Mutate(Mutation),
    /// Membership, keys and housekeeping, proposed by nodes themselves.
    Cluster(Box<ClusterCommand>),
}

/// One access.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Who asks.
    pub caller: Caller,
    /// For what.
    pub target: Target,
}

/// What an access wants to see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// A value: the current version, or the numbered one.
    Value {
        /// Which secret.
        name: SecretName,
        /// Which version; the current one if `None`.
        version: Option<u64>,
    },
    /// The versions of one secret, without values.
    Versions {
        /// Which secret.
        name: SecretName,
    },
    /// The names this client may see.
    List,
    /// Something only administrators may see; the word stands in the trail.
    Admin(AdminView),
    /// Nothing: the node refused the request itself, and tells the trail so (C3).
    Refused {
        /// Why, one word.
        reason: String,
    },
}

/// What administrators look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdminView {
    /// The policy, or an explanation of a decision.
    Policy,
    /// The tokens' metadata.
    Tokens,
    /// Members and their state.
    Cluster,
    /// The audit trail.
    Trail,
    /// Seal slots and key epochs.
    Seal,
    /// Raft internals and the state hash.
    Debug,
    /// The cluster CA, to certify a client's key. Nothing that is replicated changes, so the event is all that the log
    /// has of it.
    IssueCertificate,
    /// The keys of the asked node, which it forgets. They are in its memory only, so the event is all that the log has of
    /// that, too.
    SealNode,
}

impl AdminView {
    /// The event's name in the trail.
    #[must_use]
    pub const fn event(self) -> &'static str {
        match self {
            Self::Policy => "policy.read",
            Self::Tokens => "token.list",
            Self::Cluster => "cluster.status",
            Self::Trail => "audit.read",
            Self::Seal => "seal.read",
            Self::Debug => "debug.read",
            Self::IssueCertificate => "certificate.issue",
            Self::SealNode => "seal.close",
        }
    }
}

/// A change asked for by a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mutation {
    /// Who asks.
    pub caller: Caller,
    /// Makes a repeat harmless.
    pub idempotency: Option<Idempotency>,
    /// What to change.
    pub change: Change,
}

/// What a mutation changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// One to 64 writes, all or none (A2, A15).
    Write(Vec<Write>),
    /// Soft delete (A9).
    Delete {
        /// Which secret.
        name: SecretName,
        /// Only if this is the current version.
        cas: Option<u64>,
    },
    /// Bring back a deleted secret (A9).
    Undelete {
        /// Which secret.
        name: SecretName,
    },
    /// Destroy versions for good (A9).
    Destroy {
        /// Which secret.
        name: SecretName,
        /// Which versions; all if `None`.
        versions: Option<Vec<u64>>,
    },
    /// Replace the policy (P2).
    SetPolicy {
        /// The policy.
        policy: Policy,
        /// The text it was parsed from, shown to administrators.
        source: String,
        /// Only if this is the policy's version.
        cas: Option<u64>,
    },
    /// Make a bearer token (I1).
    CreateToken {
        /// Its public id.
        id: TokenId,
        /// SHA-256 of its secret half.
        secret_hash: [u8; 32],
        /// Whom it stands for.
        client: ClientId,
        /// How long it works; for ever if `None`.
        ttl_ms: Option<Millis>,
    },
    /// Revoke a bearer token.
    RevokeToken {
        /// Its public id.
        id: TokenId,
    },
    /// Revoke a client certificate.
    RevokeCertificate {
        /// Lower-case hex of its serial number.
        serial: String,
        /// End of its validity: the record can go then.
        not_after: Millis,
    },
    /// Make a join token (L2).
    CreateJoinToken {
        /// Its public id: what its secret is derived from, so that a repeated request gets the same one (A11).
        id: TokenId,
        /// SHA-256 of the token.
        hash: [u8; 32],
        /// How many nodes may join with it.
        uses: u32,
        /// How long it works.
        ttl_ms: Millis,
    },
    /// Add a seal slot (X3).
    AddSlot {
        /// Its name.
        slot: String,
        /// Kind and wrapped root key.
        kind: String,
        /// The wrapped root key.
        #[serde(with = "serde_bytes")]
        blob: Vec<u8>,
    },
    /// Remove a seal slot.
    RemoveSlot {
        /// Its name.
        slot: String,
    },
    /// Start a new key epoch; new writes use it (X2).
    AddEpoch {
        /// The current epoch + 1.
        number: u32,
        /// Its key, wrapped by the root key.
        #[serde(with = "serde_bytes")]
        wrapped: Vec<u8>,
    },
    /// Forget an epoch no version uses any more (X2).
    RetireEpoch {
        /// Which.
        number: u32,
    },
    /// Put a version under the current epoch (X2).
    Rewrap {
        /// Which secret.
        name: SecretName,
        /// Which version.
        version: u64,
        /// The epoch it leaves; if it is no longer there, nothing happens.
        from_epoch: u32,
        /// The same plaintext, sealed anew.
        value: SealedValue,
    },
    /// Ask the leader to hand over (L2); only the event is replicated.
    TransferLeader {
        /// To whom; any voter if `None`.
        to: Option<NodeId>,
    },
    /// Take a node out for ever (C9).
    RemoveMember {
        /// Which.
        node: NodeId,
    },
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// Which secret.
    pub name: SecretName,
    /// The encrypted value.
    pub value: SealedValue,
    /// Only if this is the current version; 0 = must not exist (A9).
    pub cas: Option<u64>,
    /// What people say about it; `None` fields leave what is there.
    pub about: About,
}

/// What nodes propose on their own account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClusterCommand {
    /// The first command of every log.
    Init(Box<Init>),
    /// A new node; its id is the index of the entry, so it must be alone in its batch (rule 11).
    Join {
        /// SHA-256 of the join token.
        token_hash: [u8; 32],
        /// The node as it describes itself; `joined` is set by apply.
        member: Member,
    },
    /// What a node says about itself: addresses, level, signing key. Only about the envelope's own node.
    UpdateMember {
        /// The new description; `joined` and `peer_key` are kept.
        member: Member,
    },
    /// A key-file slot for the envelope's own node.
    AddNodeSlot {
        /// The wrapped root key.
        #[serde(with = "serde_bytes")]
        blob: Vec<u8>,
    },
    /// A node's signature under the trail.
    Checkpoint {
        /// Log index the signer had applied.
        index: u64,
        /// Sequence number of the event it signs.
        seq: u64,
        /// The chain's head there.
        head: Head,
        /// Ed25519 signature.
        #[serde(with = "serde_bytes")]
        signature: Vec<u8>,
    },
    /// Let go of closed segments up to this event.
    RetireTrail {
        /// The last event that may go; must end a closed segment.
        upto_seq: u64,
    },
    /// Stale reads a node served from its own journal, in order.
    ImportJournal {
        /// The journal (an incarnation of the envelope's node).
        journal: u64,
        /// The events.
        events: Vec<JournalEvent>,
    },
    /// Things too many for an event each (I3).
    Aggregate {
        /// `unauthenticated`, `sealed`, `no_leader`, `rate_limited`.
        kind: String,
        /// The client, where there is one.
        client: Option<ClientId>,
        /// How many.
        count: u64,
    },
    /// Raise the feature level (rule 3).
    RaiseLevel {
        /// The new level.
        level: u32,
    },
    /// Nothing but the passing of time: due destructions and expiries happen.
    Tick,
    /// The envelope's node has its keys, so that values can be had from it; only the event is replicated (C3).
    Unsealed {
        /// The seal slot that opened. It may be gone again, or, of a new node, not be there yet.
        slot: String,
    },
}

/// The cluster's beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Init {
    /// Identity and CA.
    pub cluster: Cluster,
    /// Agreed limits.
    pub limits: VaultLimits,
    /// The founding node.
    pub member: Member,
    /// Its key-file slot.
    pub slot: SealSlot,
    /// The first key epoch (number 1), wrapped.
    #[serde(with = "serde_bytes")]
    pub epoch: Vec<u8>,
    /// The seed policy (P2).
    pub policy: Policy,
    /// Its text.
    pub policy_source: String,
}

/// One stale read, as journalled by the node that served it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEvent {
    /// Number within the journal, from 1.
    pub seq: u64,
    /// The node's estimate of agreed time when it served.
    pub at: Millis,
    /// Who asked.
    pub client: ClientId,
    /// For what.
    pub name: SecretName,
    /// Which version it got; `None` when denied or not found.
    pub version: Option<u64>,
    /// `allow`, `deny` or `not_found`.
    pub allowed: bool,
    /// The index it was served at.
    pub served_index: u64,
    /// Age of that state at most, ms.
    pub age_ms: u64,
    /// For tracing.
    pub request_id: String,
}
