//! Persistent state (Raft figure 2: currentTerm and votedFor are updated on stable storage before responding to RPCs): when
//! a leader has written anything, a majority has its vote, or a later one, on disk. And no durable vote ever goes back.

use std::collections::{BTreeMap, BTreeSet};

use super::Invariant;
use crate::sim::ledger::{Ballot, LeaderId};
use crate::sim::scene::{Scene, Sight};

#[derive(Default)]
pub(super) struct DurableVotes {
    /// Leaders that were looked at.
    seen: BTreeSet<LeaderId>,
    /// Host → its last vote.
    votes: BTreeMap<usize, Ballot>,
}

impl Invariant for DurableVotes {
    fn name(&self) -> &'static str {
        "durable_votes"
    }

    fn see(&mut self, sight: &Sight<'_>, scene: &Scene) -> Result<(), String> {
        match sight {
            Sight::Voted { host, ballot } => match self.votes.insert(*host, *ballot) {
                Some(before) if before.leader > ballot.leader => Err(format!(
                    "{} voted for {} and then for {}, which is earlier",
                    scene.name(*host),
                    before.leader,
                    ballot.leader
                )),
                _ => Ok(()),
            },
            // While machines join, another majority counts.
            Sight::Durable { entry, .. } if scene.has_formed => {
                let leader = entry.id.leader;
                if !self.seen.insert(leader) {
                    return Ok(());
                }
                let voters = scene.voted_for(leader);
                if voters.len() >= scene.majority() {
                    return Ok(());
                }
                Err(format!(
                    "the leader of {leader} writes, and only {voters:?} have a vote for it on disk"
                ))
            }
            Sight::Durable { entry, .. } => {
                self.seen.insert(entry.id.leader);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::ledger::Ledger;
    use crate::sim::ledger::tests::{id, logged};
    use crate::sim::scene::tests::scene;

    fn vote(term: u64) -> Ballot {
        Ballot {
            leader: LeaderId { term, node: 1 },
            is_committed: true,
        }
    }

    #[test]
    fn a_leader_whose_votes_are_not_on_disk_is_noticed() {
        let with = |terms: [u64; 3]| {
            let scene = scene(terms.map(|term| Ledger::holding(&[], Some(vote(term)))));
            let entry = logged(id(5, 1, 9), None, 0);
            let sight = Sight::Durable {
                host: 0,
                entry: &entry,
            };
            DurableVotes::default().see(&sight, &scene)
        };
        assert!(with([5, 5, 3]).is_ok());
        assert!(with([5, 3, 6]).is_ok());
        assert!(with([5, 3, 4]).is_err());
    }

    #[test]
    fn a_vote_that_goes_back_is_noticed() {
        let mut rule = DurableVotes::default();
        let scene = scene([Ledger::default(), Ledger::default(), Ledger::default()]);
        let voted = |term| Sight::Voted {
            host: 1,
            ballot: vote(term),
        };
        rule.see(&voted(4), &scene).unwrap();
        rule.see(&voted(5), &scene).unwrap();
        assert!(rule.see(&voted(4), &scene).is_err());
    }
}
