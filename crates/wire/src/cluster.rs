//! The cluster over HTTP: status, transfer of leadership, join tokens (C1, C8, C9).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::text::SecretText;

/// Uses of a join token that names none: one machine, one token.
pub const DEFAULT_JOIN_TOKEN_USES: u32 = 1;
/// Seconds that a join token lives when it names none: long enough to install a machine, short enough to forget.
pub const DEFAULT_JOIN_TOKEN_TTL_SECS: u64 = 3_600;

/// Answer to `GET /cluster/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterStatus {
    /// The cluster's identity in hexadecimal.
    pub cluster_id: String,
    /// +1 per recovery from a lost majority.
    pub recovery_epoch: u64,
    /// The feature level that every member applies.
    pub level: u64,
    /// The leader's id; null while none is known.
    pub leader: Option<u64>,
    /// The highest term that the answering node has seen.
    pub term: u64,
    /// Every member, in the order of its id.
    pub nodes: Vec<NodeStatus>,
}

/// One member as the answering node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeStatus {
    /// The node's id: the index of its join entry.
    pub id: u64,
    /// What it is now.
    pub role: NodeRole,
    /// Whether it counts in a majority.
    pub voter: bool,
    /// Its term; null when it could not be asked.
    pub term: Option<u64>,
    /// Index of the last entry in its log; null when it could not be asked.
    pub last_log: Option<u64>,
    /// Index of the last entry that it applied; null when it could not be asked.
    pub applied: Option<u64>,
    /// Entries that it is behind the leader; null when unknown.
    pub lag: Option<u64>,
    /// Whether it has no keys; null when it could not be asked.
    pub sealed: Option<bool>,
    /// Its build; null when it could not be asked.
    pub version: Option<String>,
    /// Its API address.
    pub api: String,
    /// Its peer address.
    pub peer: String,
    /// Whether it answered within the request's deadline.
    pub reachable: bool,
}

/// What a node is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum NodeRole {
    /// Leads.
    Leader,
    /// Follows a leader.
    Follower,
    /// Receives the log without a vote.
    Learner,
    /// Asks for votes.
    Candidate,
    /// Did not answer.
    Unreachable,
}

impl NodeRole {
    /// The role as it stands in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Learner => "learner",
            Self::Candidate => "candidate",
            Self::Unreachable => "unreachable",
        }
    }
}

/// Body of `POST /cluster/transfer-leader`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TransferLeader {
    /// The node that shall lead; null = the voter that is furthest.
    #[serde(default)]
    pub to: Option<u64>,
}

/// Answer to `POST /cluster/transfer-leader`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeaderTransferred {
    /// The node that leads now.
    pub leader: u64,
}

/// Body of `POST /cluster/join-token`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateJoinToken {
    /// How many nodes may join with it.
    #[serde(default = "default_uses")]
    pub uses: u32,
    /// Seconds until it expires, at least 1.
    #[serde(default = "default_ttl_secs")]
    pub ttl_secs: u64,
}

impl Default for CreateJoinToken {
    fn default() -> Self {
        Self {
            uses: DEFAULT_JOIN_TOKEN_USES,
            ttl_secs: DEFAULT_JOIN_TOKEN_TTL_SECS,
        }
    }
}

/// Answer to `POST /cluster/join-token`, and to its repetition under the same `Idempotency-Key`: nothing else shows it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedJoinToken {
    /// What `jarvis-secrets cluster join --token` takes.
    #[schema(value_type = String)]
    pub join_token: SecretText,
    /// When it expires, RFC 3339.
    pub expires_at: String,
    /// How many nodes may join with it.
    pub uses: u32,
}

const fn default_uses() -> u32 {
    DEFAULT_JOIN_TOKEN_USES
}

const fn default_ttl_secs() -> u64 {
    DEFAULT_JOIN_TOKEN_TTL_SECS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c9_an_empty_body_asks_for_one_use_within_an_hour() {
        let asked: CreateJoinToken = serde_json::from_str("{}").unwrap();
        assert_eq!(asked, CreateJoinToken::default());
        assert_eq!((asked.uses, asked.ttl_secs), (1, 3_600));
    }

    #[test]
    fn l2_a_node_that_could_not_be_asked_has_nulls_and_not_zeros() {
        let json = r#"{"id":3,"role":"unreachable","voter":true,"term":null,"last_log":null,"applied":null,
            "lag":null,"sealed":null,"version":null,"api":"a","peer":"p","reachable":false}"#;
        let node: NodeStatus = serde_json::from_str(json).unwrap();
        assert_eq!(node.role, NodeRole::Unreachable);
        assert_eq!(node.applied, None);
    }
}
