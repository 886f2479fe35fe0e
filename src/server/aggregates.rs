//! Refusals too many for an event each: one event a minute (I3).

use std::sync::Arc;
use std::time::Duration;

use jarvis_cluster::{Node, ProposeError};
use jarvis_domain::command::{ClusterCommand, Command};
use jarvis_domain::name::ClientId;
use jarvis_domain::outcome::Outcome;
use tokio::time::Instant;

use crate::limits::Limits;

/// Aggregated refusals go into the log this often.
const PERIOD: Duration = Duration::from_secs(60);
/// One entry may take this long.
const DEADLINE: Duration = Duration::from_secs(10);

/// Tells them for as long as the node lives.
pub(super) async fn tell_each_minute(node: Node, limits: Arc<Limits>) {
    loop {
        tokio::time::sleep(PERIOD).await;
        tell(&node, &limits).await;
    }
}

/// What certainly is not in the trail is kept for the next time: an outage must not hide how many it turned away.
pub(super) async fn tell(node: &Node, limits: &Limits) {
    let mut waiting = limits.drain_aggregates().into_iter();
    while let Some(aggregate) = waiting.next() {
        let client = aggregate
            .client
            .as_deref()
            .and_then(|client| ClientId::parse(client).ok());
        let (kind, count) = (aggregate.kind, aggregate.count);
        let command = Command::Cluster(Box::new(ClusterCommand::Aggregate {
            kind: kind.to_owned(),
            client,
            count,
        }));
        match node.propose(command, Instant::now() + DEADLINE).await {
            Ok(reply) if !matches!(reply.outcome, Outcome::Rejected(_)) => {}
            Err(ProposeError::UnknownOutcome) => {
                tracing::warn!(kind, count, "refused requests may be missing in the trail");
            }
            Ok(_) | Err(_) => {
                tracing::warn!(
                    kind,
                    count,
                    "refused requests are not in the trail yet; it is tried again"
                );
                limits.put_back(&aggregate);
                waiting.for_each(|rest| limits.put_back(&rest));
                return;
            }
        }
    }
}
