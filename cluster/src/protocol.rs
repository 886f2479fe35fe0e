//! What nodes say to each other: message kinds and bodies. The order of variants and fields is the wire format.

use bytes::Bytes;
use jarvis_domain::NodeId;
use jarvis_domain::codec::{decode, encode};
use jarvis_domain::window::Envelope;
use serde::{Deserialize, Serialize};

use crate::raft::{SnapshotMeta, Vote};

/// Calls on the control lane.
pub(crate) mod control {
    pub(crate) const VOTE: u8 = 1;
    pub(crate) const PRE_VOTE: u8 = 2;
    pub(crate) const HEARTBEAT: u8 = 3;
    pub(crate) const TRANSFER_LEADER: u8 = 4;
    pub(crate) const PROBE: u8 = 5;
}

/// Calls on the forward lane.
pub(crate) mod forward {
    pub(crate) const PROPOSE: u8 = 10;
    pub(crate) const READ_INDEX: u8 = 11;
    pub(crate) const FETCH_REPLIES: u8 = 12;
    pub(crate) const HAND_OVER: u8 = 13;
}

/// Streams.
pub(crate) mod stream {
    pub(crate) const APPEND: u8 = 20;
    pub(crate) const SNAPSHOT: u8 = 30;
    pub(crate) const SEGMENT: u8 = 31;
}

/// A proposal on its way to the leader.
#[derive(Serialize, Deserialize)]
pub(crate) struct Propose {
    pub(crate) envelope: Envelope,
    pub(crate) commands: Bytes,
}

/// What the leader makes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Proposed {
    /// Committed and applied on the leader at this index.
    Applied { index: u64 },
    /// This node does not lead; nothing was appended.
    NotLeader { leader: Option<NodeId> },
    /// It was appended and may or may not be committed.
    Unknown,
    /// Refused for good: the envelope is not the caller's.
    Refused { reason: String },
}

/// The answer to a question for a read index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ReadIndex {
    /// Apply up to here, then read.
    At { index: u64 },
    /// This node does not lead, or could not confirm that it does.
    NotLeader,
}

/// What a node says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Its id.
    pub node: NodeId,
    /// Its wall clock, ms since the Unix epoch.
    pub wall_ms: u64,
    /// `leader`, `follower`, `learner`, `candidate` or `shutdown`.
    pub role: String,
    /// Its current term.
    pub term: u64,
    /// Last index in its log.
    pub last_log: u64,
    /// Last applied index.
    pub applied: u64,
    /// Whether it can decrypt.
    pub sealed: bool,
    /// Its program's version.
    pub version: String,
    /// The highest feature level it knows.
    pub level: u32,
}

/// The first frame of a snapshot transfer.
#[derive(Serialize, Deserialize)]
pub(crate) struct SnapshotHeader {
    pub(crate) vote: Vote,
    pub(crate) meta: SnapshotMeta,
    pub(crate) bytes: u64,
}

pub(crate) fn to_bytes<T: Serialize>(value: &T) -> Bytes {
    Bytes::from(encode(value))
}

pub(crate) fn from_bytes<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    decode(bytes).map_err(|error| format!("malformed message: {error}"))
}
