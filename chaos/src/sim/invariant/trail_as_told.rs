//! An answer tells the truth about its place (C3, X4): the entry that it names is the one at that index, and the event that
//! it names is one of that entry's. So a head that was told is never retracted: what is committed at an index stays.

use super::Invariant;
use crate::history::Operation;
use crate::sim::scene::{Scene, Sight};

pub(super) struct TrailAsTold;

impl Invariant for TrailAsTold {
    fn name(&self) -> &'static str {
        "trail_as_told"
    }

    fn see(&mut self, sight: &Sight<'_>, scene: &Scene) -> Result<(), String> {
        let Sight::Told { operation } = sight else {
            return Ok(());
        };
        if !operation.is_ok() || operation.was_stale() {
            return Ok(());
        }
        let Some(index) = operation.log_index() else {
            return Ok(());
        };
        // Another rule looks for entries that are not there.
        let Some(mark) = scene.replica.mark(index) else {
            return Ok(());
        };
        let number = operation.id;
        let log_id = operation.answer.log_id.as_deref();
        if let Some(told) = log_id.filter(|told| *told != mark.id.to_string()) {
            let right = mark.id;
            return Err(format!(
                "operation {number} was told that its entry is {told}; at that index stands {right}"
            ));
        }
        let before = index.checked_sub(1);
        let before = before.and_then(|index| scene.replica.mark(index));
        let before = before.map_or(0, |mark| mark.seq);
        for seq in events(operation) {
            if seq <= before || seq > mark.seq {
                return Err(format!(
                    "operation {number} was told of event {seq}; its entry {} has the events after {before} up to {}",
                    mark.id, mark.seq
                ));
            }
        }
        Ok(())
    }
}

fn events(operation: &Operation) -> impl Iterator<Item = u64> {
    let items = operation.answer.items.iter();
    let items = items.filter_map(|item| item.audit_seq);
    operation.answer.audit_seq.into_iter().chain(items)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use jarvis_cluster::raft::TypeConfig;
    use jarvis_domain::codec::encode;
    use openraft::testing::blank_ent;

    use super::*;
    use crate::history::{Answer, Outcome};
    use crate::sim::ledger::Logged;
    use crate::sim::ledger::tests::{id, logged};
    use crate::sim::scene::tests::empty;

    #[test]
    fn another_entry_or_another_s_event_is_noticed() {
        let mut scene = empty();
        for index in 0..2 {
            let entry = Logged {
                bytes: Bytes::from(encode(&blank_ent::<TypeConfig>(3, 1, index))),
                ..logged(id(3, 1, index), None, 0)
            };
            scene.replica.take(&entry).unwrap();
        }
        let see = |log_id: &str, audit_seq| {
            let operation = Operation {
                outcome: Outcome::Ok,
                answer: Answer {
                    log_id: Some(log_id.to_owned()),
                    audit_seq,
                    ..Answer::default()
                },
                ..Operation::default()
            };
            let sight = Sight::Told {
                operation: &operation,
            };
            TrailAsTold.see(&sight, &scene)
        };
        assert!(see("3-1-1", None).is_ok());
        assert!(see("2-1-1", None).is_err());
        // An entry without content has no events.
        assert!(see("3-1-1", Some(1)).is_err());
    }
}
