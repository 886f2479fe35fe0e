//! Election safety (Raft §5.2), in openraft's form: a leader is a term and a node, leaders are totally ordered, and several
//! of them may share a term. So "at most one leader per term" becomes: along a log leaders never go back (Raft §5.4.2:
//! terms in a log never decrease), and what is committed is committed by leaders in that order.

use super::Invariant;
use crate::sim::scene::{Scene, Sight};

pub(super) struct LeaderOrder;

impl Invariant for LeaderOrder {
    fn name(&self) -> &'static str {
        "leader_order"
    }

    fn see(&mut self, sight: &Sight<'_>, scene: &Scene) -> Result<(), String> {
        let (id, before, place) = match sight {
            Sight::Durable { host, entry } => (entry.id, entry.before, scene.name(*host)),
            Sight::Committed { entry } => {
                let id = entry.standing.id;
                let before = id.index.checked_sub(1);
                let before = before.and_then(|index| scene.replica.mark(index));
                (id, before.map(|mark| mark.id), "what is committed")
            }
            _ => return Ok(()),
        };
        match before {
            Some(before) if before.leader > id.leader => Err(format!(
                "{place}: entry {id} of {} follows entry {before} of {}",
                id.leader, before.leader
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::ledger::tests::{id, logged};
    use crate::sim::scene::tests::empty;

    #[test]
    fn a_log_that_goes_back_to_an_earlier_leader_is_noticed() {
        let see = |entry, before| {
            let entry = logged(entry, Some(before), 1);
            let sight = Sight::Durable {
                host: 0,
                entry: &entry,
            };
            LeaderOrder.see(&sight, &empty())
        };
        assert!(see(id(2, 1, 5), id(1, 3, 4)).is_ok());
        assert!(see(id(2, 3, 5), id(2, 1, 4)).is_ok());
        assert!(see(id(1, 3, 5), id(2, 1, 4)).is_err());
        assert!(see(id(2, 1, 5), id(2, 3, 4)).is_err());
    }
}
