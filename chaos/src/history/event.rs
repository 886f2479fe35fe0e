//! What happened beside the operations: the run itself, faults, leaders, rotations.

use serde::{Deserialize, Serialize};

/// The first line: what the run was, and how to have it again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`FORMAT`](super::FORMAT).
    pub format: u64,
    /// From which faults, workload and delays were drawn.
    pub seed: u64,
    /// The nodes' ids as they were when the run began.
    pub nodes: Vec<u64>,
    /// The command that began the run.
    pub command: String,
    /// The commit that was tested.
    pub commit: String,
    /// An operation's `X-Request-Id` is this, and then its id.
    pub request_prefix: String,
    /// When the run began, RFC 3339; for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
}

/// Something that was done to the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Its class: `kill_leader`, `isolate_one`, `disk_full` …
    pub kind: String,
    /// The nodes it was meant for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<u64>,
    /// When it began.
    pub start_ns: u64,
    /// When it was over; missing if it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_ns: Option<u64>,
    /// Whether it happened.
    pub result: FaultResult,
    /// Whether a majority could go on meanwhile.
    #[serde(default)]
    pub leaves_quorum: bool,
    /// Anything else worth a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Whether a fault happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultResult {
    /// It did.
    Installed,
    /// It did not: there was nothing to do it to.
    Skipped,
    /// Nobody knows.
    #[default]
    Indeterminate,
}

/// A node was seen leading.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leader {
    /// When it was seen.
    pub at_ns: u64,
    /// The node.
    pub node: u64,
    /// Its term.
    pub term: u64,
}

/// A rotation that has to happen exactly once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Due {
    /// Of which secret.
    pub secret: String,
    /// Which time: the due moment as the server writes it, or a number.
    pub slot: String,
    /// When it became due.
    pub at_ns: u64,
}

/// A rotation that happened, from the trail or from the target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// Of which secret.
    pub secret: String,
    /// Which due slot it answers.
    pub slot: String,
    /// The version that it replaced.
    pub from_version: u64,
    /// The version that it made.
    pub version: u64,
    /// The node that rotated.
    pub node: u64,
    /// The term in which that node led.
    pub term: u64,
    /// Its place in the trail.
    pub seq: u64,
    /// When the new version became the current one, or, if that is not known, when it was first seen to be.
    pub at_ns: u64,
}
