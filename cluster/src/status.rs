//! What this node says about itself, and what it asks others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jarvis_domain::{FEATURE_LEVEL, NodeId};
use openraft::ServerState;

use crate::leader::Leadership;
use crate::network::Lane;
use crate::protocol::{Probe, control, from_bytes};
use crate::raft::metrics;

/// A probe's deadline: far above a round trip, below the leader's round of half a second.
const PROBE_DEADLINE: Duration = Duration::from_millis(400);

/// Makes probes.
#[derive(Clone)]
pub(crate) struct Reporter {
    pub(crate) leadership: Leadership,
    pub(crate) sealed: Arc<AtomicBool>,
    pub(crate) version: Arc<str>,
}

impl Reporter {
    /// This node, now.
    pub(crate) fn probe(&self) -> Probe {
        let metrics = metrics(&self.leadership.raft);
        let role = match metrics.state {
            ServerState::Leader => "leader",
            ServerState::Follower => "follower",
            ServerState::Learner => "learner",
            ServerState::Candidate => "candidate",
            ServerState::Shutdown => "shutdown",
        };
        Probe {
            node: metrics.id,
            wall_ms: self.leadership.shared.clock.wall_ms(),
            role: role.to_owned(),
            term: metrics.current_term,
            last_log: metrics.last_log_index.unwrap_or(0),
            applied: metrics.last_applied.map_or(0, |id| id.index()),
            sealed: self.sealed.load(Ordering::Relaxed),
            version: self.version.to_string(),
            level: FEATURE_LEVEL,
        }
    }

    /// Asks another node; `None` when it does not answer in time. With the time the question took.
    pub(crate) async fn ask(&self, node: NodeId) -> Option<(Probe, Duration)> {
        let links = &self.leadership.links;
        let address = links.directory.address(node)?;
        let clock = &self.leadership.shared.clock;
        let before = clock.monotonic();
        let answer = links
            .network
            .call(
                node,
                &address,
                Lane::Control,
                control::PROBE,
                Bytes::new(),
                PROBE_DEADLINE,
            )
            .await
            .ok()?;
        let probe: Probe = from_bytes(&answer).ok()?;
        Some((probe, clock.monotonic().saturating_sub(before)))
    }
}
