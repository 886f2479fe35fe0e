//! Leader completeness (Raft §5.4): an entry that is committed is in the logs of all later leaders. A leader begins with an
//! entry of its own; so nothing by an earlier leader is committed at that index or behind it, neither before nor afterwards.

use std::collections::BTreeMap;

use super::Invariant;
use crate::sim::ledger::{EntryId, LeaderId};
use crate::sim::scene::{Scene, Sight};

#[derive(Default)]
pub(super) struct LeaderCompleteness {
    /// Leader → the first entry of its own.
    begins: BTreeMap<LeaderId, u64>,
    /// The last committed entry of each leader.
    committed: BTreeMap<LeaderId, u64>,
}

impl LeaderCompleteness {
    fn check(&self, later: LeaderId, begins: u64, earlier: EntryId) -> Result<(), String> {
        if earlier.leader < later && earlier.index >= begins {
            return Err(format!(
                "the leader of {later} begins at index {begins}, and entry {earlier} of an earlier leader is committed"
            ));
        }
        Ok(())
    }
}

impl Invariant for LeaderCompleteness {
    fn name(&self) -> &'static str {
        "leader_completeness"
    }

    fn see(&mut self, sight: &Sight<'_>, _scene: &Scene) -> Result<(), String> {
        match sight {
            Sight::Durable { entry, .. } => {
                let EntryId { leader, index } = entry.id;
                let begins = self.begins.entry(leader).or_insert(index);
                if *begins < index {
                    return Ok(());
                }
                *begins = index;
                let earlier = self.committed.range(..leader);
                earlier
                    .map(|(leader, index)| EntryId {
                        leader: *leader,
                        index: *index,
                    })
                    .try_for_each(|earlier| self.check(leader, index, earlier))
            }
            Sight::Committed { entry } => {
                let id = entry.standing.id;
                self.committed.insert(id.leader, id.index);
                let later = self.begins.range(id.leader..);
                later
                    .map(|(leader, begins)| (*leader, *begins))
                    .try_for_each(|(leader, begins)| self.check(leader, begins, id))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::ledger::tests::{id, logged};
    use crate::sim::scene::tests::empty;

    fn begins(rule: &mut LeaderCompleteness, entry: EntryId) -> Result<(), String> {
        let entry = logged(entry, None, 0);
        let sight = Sight::Durable {
            host: 0,
            entry: &entry,
        };
        rule.see(&sight, &empty())
    }

    #[test]
    fn a_leader_without_a_committed_entry_is_noticed() {
        let mut rule = LeaderCompleteness::default();
        rule.committed.insert(LeaderId { term: 1, node: 1 }, 9);
        assert!(begins(&mut rule, id(2, 2, 10)).is_ok());
        assert!(begins(&mut rule, id(2, 3, 9)).is_err());
    }

    #[test]
    fn an_entry_that_is_committed_behind_a_later_leader_s_back_is_noticed() {
        let mut rule = LeaderCompleteness::default();
        begins(&mut rule, id(2, 2, 10)).unwrap();
        begins(&mut rule, id(2, 2, 11)).unwrap();
        let later = LeaderId { term: 2, node: 2 };
        assert!(rule.check(later, 10, id(1, 1, 9)).is_ok());
        assert!(rule.check(later, 10, id(1, 1, 10)).is_err());
        assert!(rule.check(later, 10, id(2, 2, 12)).is_ok());
    }
}
