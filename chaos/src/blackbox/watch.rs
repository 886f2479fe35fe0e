//! Who leads: asked of every node all the time, without a credential, as a load balancer would.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::history::Leader;
use crate::workload::World;
use crate::workload::api::Ask;

/// An election takes longer.
const PERIOD: Duration = Duration::from_millis(200);
/// A node on this machine answers at once, or it is stopped.
const PATIENCE: Duration = Duration::from_millis(700);
/// A claim that is older says nothing.
const FRESH_NS: u64 = 1_200_000_000;

/// What nodes say of themselves.
pub(crate) struct Watch {
    world: Arc<World>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// By place: the term in which the node says it leads, and when it said so.
    claims: Vec<Option<(u64, u64)>>,
    /// Terms and their leaders that are recorded already.
    recorded: BTreeSet<(u64, u64)>,
}

impl Watch {
    /// Asks from now on, until the set is dropped.
    pub(crate) fn start(world: &Arc<World>, watchers: &mut JoinSet<()>) -> Arc<Self> {
        let count = world.api.count();
        let watch = Arc::new(Self {
            world: Arc::clone(world),
            seen: Mutex::new(Seen {
                claims: vec![None; count],
                recorded: BTreeSet::new(),
            }),
        });
        for place in 0..count {
            watchers.spawn(follow(Arc::clone(&watch), place));
        }
        watch
    }

    /// The node that leads in the highest term, if one said so just now.
    pub(crate) fn leader(&self) -> Option<usize> {
        let now_ns = self.world.journal.now_ns();
        let seen = self.seen();
        let claims = seen.claims.iter().enumerate();
        let fresh = claims.filter_map(|(place, claim)| {
            let (term, at_ns) = (*claim)?;
            (now_ns.saturating_sub(at_ns) < FRESH_NS).then_some((term, place))
        });
        fresh.max().map(|(_, place)| place)
    }

    fn note(&self, place: usize, term: Option<u64>) {
        let now_ns = self.world.journal.now_ns();
        let mut seen = self.seen();
        seen.claims[place] = term.map(|term| (term, now_ns));
        if let Some(term) = term
            && seen.recorded.insert((term, self.world.api.id(place)))
        {
            self.world.journal.leader(Leader {
                at_ns: now_ns,
                node: self.world.api.id(place),
                term,
            });
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn follow(watch: Arc<Watch>, place: usize) {
    let ask = Ask::get("/metrics").patience(PATIENCE);
    loop {
        let told = watch.world.api.send(place, &ask).await;
        watch.note(place, told.ok().and_then(|told| leads_in(&told.text)));
        tokio::time::sleep(PERIOD).await;
    }
}

/// The term in which the node says that it leads.
fn leads_in(metrics: &str) -> Option<u64> {
    let value = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse::<f64>().ok())
    };
    let leads = value("jarvis_raft_role{role=\"leader\"} ")? > 0.0;
    let term = value("jarvis_raft_term ")?;
    // Terms are small whole numbers; Prometheus writes all numbers alike.
    leads.then_some(term as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_is_who_says_so_and_its_term_is_told() {
        let metrics = "# HELP jarvis_raft_role x\njarvis_raft_role{role=\"follower\"} 0\n\
                       jarvis_raft_role{role=\"leader\"} 1\njarvis_raft_term 12\n";
        assert_eq!(leads_in(metrics), Some(12));
        assert_eq!(leads_in(&metrics.replace("\"} 1", "\"} 0")), None);
        assert_eq!(leads_in(""), None);
    }
}
