//! Giving leadership away in good order: when this leader is unfit for it, and when somebody asks for it.
//!
//! ```text
//!   flush under way   0 ──────────────── 1 s          unfit from here: someone fitter takes over
//!   looks          ┴──────────┴──────────┴            every half second, and when a flush has taken a second
//! ```
//!
//! Invariants:
//! - a flush of more than a second is seen while it is under way, however soon it ends afterwards: only then can be told
//!   whether others made durable meanwhile what this node could not;
//! - a hand-over is known to have worked as soon as the new leader says so. This node's own Raft may learn it much later:
//!   it saves the new leader's vote first, and waits for that on the disk that made it unfit.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jarvis_domain::NodeId;
use tokio::time::sleep;

use crate::leader::Leadership;
use crate::node::Inner;
use crate::protocol::Probe;
use crate::raft::{metrics, server_metrics};
use crate::status::Reporter;

/// Between two looks at whether this leader is fit.
const ROUND: Duration = Duration::from_millis(500);
/// A flush that takes longer than this makes the leader hand over (DESIGN 7).
const SLOW_FLUSH: Duration = Duration::from_secs(1);
/// A voter this close to the leader's log has the rest before leadership is there.
const CAUGHT_UP_ENTRIES: u64 = 200;
/// How long a transfer of leadership may take until nobody waits for it any more.
const DEADLINE: Duration = Duration::from_secs(3);
/// Between two looks at whom this node takes for the leader.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Between two questions to the others: above what a transfer takes while all disks work, so that nobody is asked then.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Hands over whenever this node leads and is unfit for it. A task of its own: what else a leader does waits for proposals,
/// and so for disks.
pub(crate) async fn while_unfit(node: Arc<Inner>) {
    loop {
        sleep(next_look(node.wal.pending_flush())).await;
        if node.leadership.leads() {
            hand_over_if_unfit(&node).await;
        }
    }
}

/// How long to wait: at most until the flush under way, if there is one, has taken too long.
fn next_look(flushing_for: Option<Duration>) -> Duration {
    let left = flushing_for.and_then(|taken| SLOW_FLUSH.checked_sub(taken));
    // One that has taken too long already was looked at just now.
    left.filter(|left| !left.is_zero())
        .map_or(ROUND, |left| left.min(ROUND))
}

/// A sealed leader can not serve, a leader with a slow disk slows everyone: hand over if someone fitter has caught up.
async fn hand_over_if_unfit(node: &Inner) {
    let sealed = node.sealed.load(Ordering::Relaxed);
    let flushing_for = node.wal.pending_flush();
    let slow = node.wal.is_over_bound() || flushing_for.is_some_and(|taken| taken >= SLOW_FLUSH);
    if !sealed && !slow {
        return;
    }
    // As of now: the flush may end while the others are asked.
    let metrics = metrics(&node.raft);
    let own_last = metrics.last_log_index.unwrap_or(0);
    let replication = metrics.replication.unwrap_or_default();
    let durable = |id: NodeId| {
        let matched = replication.get(&id)?.as_ref();
        matched.map(|matched| matched.index())
    };
    let probes = other_voters(&node.reporter).await;
    if let Some(new) = leader_after(metrics.current_term, &probes) {
        tracing::debug!(
            leader = new,
            "another node leads already; this one learns it from its own disk"
        );
        return;
    }
    let fit = probes
        .into_iter()
        .filter(|probe| !probe.sealed && probe.last_log + CAUGHT_UP_ENTRIES >= own_last)
        // Where all disks are slow at once (one disk below all of them, a storm), nobody has made durable what this node
        // could not: then an election, which waits for disks too, would only add to it.
        .filter(|probe| !slow || durable(probe.node) > durable(node.shared.node_id));
    if let Some(best) = fit.max_by_key(|probe| probe.last_log) {
        tracing::info!(
            to = best.node,
            sealed,
            slow,
            "this leader is unfit and hands over"
        );
        if let Err(reason) = hand_over(&node.reporter, Some(best.node)).await {
            tracing::warn!(
                reason,
                "handing over is not confirmed; it is tried again while this node leads"
            );
        }
    }
}

/// Transfers leadership from this node, to the furthest voter if to nobody in particular, and waits until another node
/// leads: this one knows, or that one says so.
///
/// # Errors
/// A sentence for people. Leadership may move all the same once a transfer was asked for.
pub(crate) async fn hand_over(reporter: &Reporter, to: Option<NodeId>) -> Result<(), String> {
    let leadership = &reporter.leadership;
    let metrics = metrics(&leadership.raft);
    if metrics.current_leader != Some(metrics.id) {
        return Err("this node does not lead".to_owned());
    }
    let voters: BTreeSet<NodeId> = metrics.membership_config.voter_ids().collect();
    let target = match to {
        Some(target) if target == metrics.id => return Ok(()),
        Some(target) if voters.contains(&target) => target,
        Some(target) => return Err(format!("node {target} is no voter")),
        None => {
            let replication = metrics.replication.clone().unwrap_or_default();
            let candidates = replication
                .into_iter()
                .filter(|(id, _)| voters.contains(id) && *id != metrics.id);
            let best = candidates
                .max_by_key(|(_, matched)| *matched)
                .map(|(id, _)| id);
            best.ok_or("no other voter can take over")?
        }
    };
    leadership
        .raft
        .trigger()
        .transfer_leader(target)
        .await
        .map_err(|error| error.to_string())?;
    tokio::select! {
        biased;
        () = knows_another(leadership) => Ok(()),
        () = another_says_so(reporter, metrics.current_term) => Ok(()),
        () = sleep(DEADLINE) => Err(format!(
            "node {target} was asked to take over, and within {} s no node said that it did",
            DEADLINE.as_secs()
        )),
    }
}

/// Waits until this node takes another one for the leader.
async fn knows_another(leadership: &Leadership) {
    let own = leadership.shared.node_id;
    while leadership.leader().is_none_or(|leader| leader == own) {
        leadership.changed(LOOK_AGAIN).await;
    }
}

/// Waits until another voter says that it leads, in a later term than that.
async fn another_says_so(reporter: &Reporter, term: u64) {
    loop {
        sleep(ASK_AGAIN).await;
        let probes = other_voters(reporter).await;
        if let Some(leader) = leader_after(term, &probes) {
            tracing::info!(
                leader,
                "another node says that it leads; this one's Raft still waits for its disk"
            );
            return;
        }
    }
}

/// What the other voters say about themselves, as far as they answer.
async fn other_voters(reporter: &Reporter) -> Vec<Probe> {
    let metrics = server_metrics(&reporter.leadership.raft);
    let others: Vec<NodeId> = metrics
        .membership_config
        .voter_ids()
        .filter(|voter| *voter != metrics.id)
        .collect();
    let asked = others.into_iter().map(|voter| reporter.ask(voter));
    let answers = futures_util::future::join_all(asked).await;
    answers
        .into_iter()
        .flatten()
        .map(|(probe, _)| probe)
        .collect()
}

/// Who of them leads in a later term than that.
fn leader_after(term: u64, probes: &[Probe]) -> Option<NodeId> {
    let mut later = probes.iter().filter(|probe| probe.term > term);
    later
        .find(|probe| probe.role == "leader")
        .map(|probe| probe.node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_is_looked_at_when_it_has_taken_a_second() {
        let ms = Duration::from_millis;
        assert_eq!(next_look(None), ROUND);
        assert_eq!(next_look(Some(ms(700))), ms(300));
        assert_eq!(next_look(Some(SLOW_FLUSH)), ROUND);
        assert_eq!(next_look(Some(ms(60_000))), ROUND);
        for begun in (0..1_000).map(ms) {
            let taken = |at: Duration| at.checked_sub(begun);
            let mut at = Duration::ZERO;
            while taken(at).is_none_or(|taken| taken < SLOW_FLUSH) {
                at += next_look(taken(at));
            }
            assert_eq!(taken(at), Some(SLOW_FLUSH), "begun at {begun:?}");
        }
    }

    #[test]
    fn only_a_later_term_makes_another_leader() {
        let said = |node, role: &str, term| Probe {
            node,
            wall_ms: 0,
            role: role.to_owned(),
            term,
            last_log: 0,
            applied: 0,
            sealed: false,
            version: String::new(),
            level: 1,
        };
        let before = [said(2, "follower", 7), said(3, "leader", 7)];
        assert_eq!(leader_after(7, &before), None);
        let candidate = [said(2, "candidate", 8), said(3, "follower", 7)];
        assert_eq!(leader_after(7, &candidate), None);
        let after = [said(2, "follower", 8), said(3, "leader", 8)];
        assert_eq!(leader_after(7, &after), Some(3));
    }
}
