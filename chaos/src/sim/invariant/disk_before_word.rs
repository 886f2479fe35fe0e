//! Disk before word (rule 6): what a client was told rests on the disks of a majority. Looked at when the client hears it,
//! on the durable halves: a loss of all power at that very moment would take nothing of it.

use super::Invariant;
use crate::sim::scene::{Scene, Sight};

pub(super) struct DiskBeforeWord;

impl Invariant for DiskBeforeWord {
    fn name(&self) -> &'static str {
        "disk_before_word"
    }

    fn see(&mut self, sight: &Sight<'_>, scene: &Scene) -> Result<(), String> {
        let Sight::Told { operation } = sight else {
            return Ok(());
        };
        // An answer without a majority rests on the journal of its node alone, and says so.
        let (true, false, Some(index)) = (
            operation.is_ok(),
            operation.was_stale(),
            operation.log_index(),
        ) else {
            return Ok(());
        };
        let number = operation.id;
        let Some(mark) = scene.replica.mark(index) else {
            return Err(format!(
                "operation {number} was decided at index {index}, which no durable log has"
            ));
        };
        let durable = scene.durable_on(mark.id);
        if durable.len() >= scene.majority() {
            return Ok(());
        }
        Err(format!(
            "operation {number} was acknowledged, and its entry {} is on the disks of {durable:?} only",
            mark.id
        ))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use jarvis_cluster::raft::TypeConfig;
    use jarvis_domain::codec::encode;
    use openraft::testing::blank_ent;

    use super::*;
    use crate::history::{Answer, Operation, Outcome};
    use crate::sim::ledger::tests::{id, logged};
    use crate::sim::ledger::{Ledger, Logged};
    use crate::sim::scene::tests::scene;

    #[test]
    fn a_word_that_a_majority_s_disks_lack_is_noticed() {
        let see = |on: usize, index: u64| {
            let holding = |host| {
                let entries = if host < on { vec![id(1, 1, 0)] } else { vec![] };
                Ledger::holding(&entries, None)
            };
            let mut scene = scene([holding(0), holding(1), holding(2)]);
            let entry = Logged {
                bytes: Bytes::from(encode(&blank_ent::<TypeConfig>(1, 1, 0))),
                ..logged(id(1, 1, 0), None, 0)
            };
            scene.replica.take(&entry).unwrap();
            let operation = Operation {
                outcome: Outcome::Ok,
                answer: Answer {
                    index: Some(index),
                    ..Answer::default()
                },
                ..Operation::default()
            };
            let sight = Sight::Told {
                operation: &operation,
            };
            DiskBeforeWord.see(&sight, &scene)
        };
        assert!(see(3, 0).is_ok() && see(2, 0).is_ok());
        assert!(see(1, 0).is_err());
        assert!(see(3, 1).is_err());
    }
}
