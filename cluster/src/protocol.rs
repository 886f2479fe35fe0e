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

#[cfg(test)]
mod tests {
    use super::*;

    /// The handshake tells nothing of these: a node of another release would take one call for another.
    #[test]
    fn kinds_keep_their_numbers() {
        let calls = [
            control::VOTE,
            control::PRE_VOTE,
            control::HEARTBEAT,
            control::TRANSFER_LEADER,
            control::PROBE,
            forward::PROPOSE,
            forward::READ_INDEX,
            forward::FETCH_REPLIES,
            forward::HAND_OVER,
        ];
        assert_eq!(calls, [1, 2, 3, 4, 5, 10, 11, 12, 13]);
        let streams = [stream::APPEND, stream::SNAPSHOT, stream::SEGMENT];
        assert_eq!(streams, [20, 30, 31]);
    }

    #[test]
    fn bodies_keep_their_bytes() {
        let frozen = |body: Bytes| hex::encode(body);
        let envelope = Envelope {
            node: 1,
            incarnation: 2,
            seq: 300,
        };
        let commands = Bytes::from_static(b"cc");
        let propose = to_bytes(&Propose { envelope, commands });
        assert_eq!(frozen(propose), "010102fb2c01026363");

        let reason = String::from("no");
        for (proposed, bytes) in [
            (Proposed::Applied { index: 7 }, "010007"),
            (Proposed::NotLeader { leader: Some(2) }, "01010102"),
            (Proposed::NotLeader { leader: None }, "010100"),
            (Proposed::Unknown, "0102"),
            (Proposed::Refused { reason }, "0103026e6f"),
        ] {
            assert_eq!(frozen(to_bytes(&proposed)), bytes, "{proposed:?}");
        }
        for (answer, bytes) in [
            (ReadIndex::At { index: 7 }, "010007"),
            (ReadIndex::NotLeader, "0101"),
        ] {
            assert_eq!(frozen(to_bytes(&answer)), bytes, "{answer:?}");
        }
        let probe = Probe {
            node: 2,
            wall_ms: 1_700_000_000_000,
            role: "leader".to_owned(),
            term: 3,
            last_log: 300,
            applied: 299,
            sealed: true,
            version: "0.1.0".to_owned(),
            level: 1,
        };
        let bytes = concat!(
            "01",                 // format
            "02",                 // node
            "fd0068e5cf8b010000", // wall_ms
            "066c6561646572",     // role
            "03",                 // term
            "fb2c01",             // last_log
            "fb2b01",             // applied
            "01",                 // sealed
            "05302e312e30",       // version
            "01",                 // level
        );
        assert_eq!(frozen(to_bytes(&probe)), bytes);
    }
}
