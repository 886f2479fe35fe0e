//! Members of the cluster, join tokens, seal slots and the keyring's wrapped form: what the log knows about nodes.

use serde::{Deserialize, Serialize};

use crate::NodeId;
use crate::time::Millis;

/// Most members ever recorded as live: five voters and as many learners.
pub const MAX_MEMBERS: usize = 16;
/// Most seal slots.
pub const MAX_SLOTS: usize = 64;
/// Most key epochs alive at once.
pub const MAX_EPOCHS: usize = 64;
/// Longest wrapped key or certificate in a record, bytes.
pub const MAX_BLOB_BYTES: usize = 64 * 1024;

/// The cluster's fixed facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Drawn at `cluster init`; every certificate and signature names it.
    pub cluster_id: [u8; 16],
    /// Drawn at `cluster init`; part of every value's associated data.
    pub vault_id: [u8; 16],
    /// Raised by a recovery or a restore, so that nodes from before can not come back.
    pub recovery_epoch: u64,
    /// The cluster CA's certificate, DER.
    #[serde(with = "serde_bytes")]
    pub ca_certificate: Vec<u8>,
    /// The CA's private key, wrapped by the root key.
    #[serde(with = "serde_bytes")]
    pub ca_key_wrapped: Vec<u8>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// A name for people.
    pub name: String,
    /// Where peers reach it.
    pub peer_address: String,
    /// Where clients reach it (a URL).
    pub api_address: String,
    /// SHA-256 of the public key of its peer certificate: a known id must show this key.
    pub peer_key: [u8; 32],
    /// Its Ed25519 public key for signing the trail.
    pub audit_key: [u8; 32],
    /// The highest feature level it understands.
    pub level: u32,
    /// When it joined.
    pub joined: Millis,
}

/// A join token: who holds it may add a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// Uses left.
    pub uses: u32,
    /// When it stops working.
    pub expires: Millis,
    /// Peer keys that consumed it, with the node id each got: repeating a join is harmless.
    pub consumed: Vec<([u8; 32], NodeId)>,
}

/// One way of unwrapping the root key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealSlot {
    /// `key_file` or `passphrase`.
    pub kind: String,
    /// The node a key-file slot belongs to; it goes when the node is removed.
    pub node: Option<NodeId>,
    /// The wrapped root key, opaque here.
    #[serde(with = "serde_bytes")]
    pub blob: Vec<u8>,
    /// When it was added.
    pub created: Millis,
}

/// One key epoch in its wrapped form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// The epoch key, wrapped by the root key.
    #[serde(with = "serde_bytes")]
    pub wrapped: Vec<u8>,
    /// When it was added.
    pub created: Millis,
    /// How many live versions use it; it can be retired at zero.
    pub versions: u64,
}
