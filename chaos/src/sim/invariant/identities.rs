//! Identities are never reused (rule 11): a node's id is the index of its join entry, stands for one key for ever, and a
//! removed one never comes back. Starts are counted, durably: a process never takes the number of an earlier one (rule 8).

use std::collections::BTreeMap;

use jarvis_domain::FOUNDER;

use super::Invariant;
use crate::sim::scene::{Scene, Sight};

#[derive(Default)]
pub(super) struct Identities {
    /// Id → the key that it stands for.
    keys: BTreeMap<u64, [u8; 32]>,
    /// Node → its last start.
    starts: BTreeMap<u64, u64>,
}

impl Identities {
    fn members(&mut self, index: u64, scene: &Scene) -> Result<(), String> {
        let state = scene.replica.state();
        for (id, member) in state.members.iter() {
            if state.core.removed.contains(id) {
                return Err(format!("node {id} was removed, and is a member"));
            }
            match self.keys.get(id) {
                Some(key) if *key != member.peer_key => {
                    return Err(format!("node {id} has another key at index {index}"));
                }
                Some(_) => {}
                None if *id == index || *id == FOUNDER => {
                    self.keys.insert(*id, member.peer_key);
                }
                None => {
                    return Err(format!("node {id} joins at index {index}"));
                }
            }
        }
        Ok(())
    }
}

impl Invariant for Identities {
    fn name(&self) -> &'static str {
        "identities"
    }

    fn see(&mut self, sight: &Sight<'_>, scene: &Scene) -> Result<(), String> {
        match sight {
            Sight::Committed { entry } => self.members(entry.standing.id.index, scene),
            Sight::Started {
                node, incarnation, ..
            } => match self.starts.insert(*node, *incarnation) {
                Some(before) if before >= *incarnation => Err(format!(
                    "node {node} starts as number {incarnation} after number {before}"
                )),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::scene::tests::empty;

    #[test]
    fn a_start_with_the_number_of_an_earlier_one_is_noticed() {
        let mut rule = Identities::default();
        let started = |node, incarnation| Sight::Started {
            host: 0,
            node,
            incarnation,
            log_end: 0,
        };
        assert!(rule.see(&started(1, 1), &empty()).is_ok());
        assert!(rule.see(&started(7, 1), &empty()).is_ok());
        assert!(rule.see(&started(1, 2), &empty()).is_ok());
        assert!(rule.see(&started(1, 2), &empty()).is_err());
    }

    #[test]
    fn nobody_is_a_member_before_the_first_entry() {
        let mut rule = Identities::default();
        assert!(rule.members(0, &empty()).is_ok() && rule.keys.is_empty());
    }
}
