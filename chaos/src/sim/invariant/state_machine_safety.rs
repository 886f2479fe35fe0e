//! State machine safety (Raft §5.4.3) and purity (rule 1): every node that has applied up to an index has the state, the
//! agreed time and the head of the trail that one replica gets which applies each committed entry once and never restarts.
//! So nodes agree with each other, and with themselves across restarts and snapshots. And a process never goes back.

use std::collections::BTreeMap;

use super::Invariant;
use crate::sim::scene::{Scene, Sight};

#[derive(Default)]
pub(super) struct StateMachineSafety {
    /// Host → the last index that its present process has applied.
    reached: BTreeMap<usize, u64>,
}

impl Invariant for StateMachineSafety {
    fn name(&self) -> &'static str {
        "state_machine_safety"
    }

    fn see(&mut self, sight: &Sight<'_>, scene: &Scene) -> Result<(), String> {
        let (host, standing) = match sight {
            Sight::Started { host, .. } => {
                self.reached.remove(host);
                return Ok(());
            }
            Sight::Moved { host, standing } => (*host, *standing),
            _ => return Ok(()),
        };
        let (name, index) = (scene.name(host), standing.id.index);
        if let Some(before) = self.reached.insert(host, index)
            && before > index
        {
            return Err(format!("{name} goes back from index {before} to {index}"));
        }
        let Some(mark) = scene.replica.mark(index) else {
            return Ok(());
        };
        let differs = if mark.id != standing.id {
            format!("applied {} instead of {}", standing.id, mark.id)
        } else if mark.time != standing.time {
            let (time, right) = (standing.time, mark.time);
            format!("agreed time is {time} instead of {right} after {}", mark.id)
        } else if (mark.seq, mark.head) != (standing.seq, standing.head) {
            format!(
                "the trail ends at event {} instead of {}, or has another head, after {}",
                standing.seq, mark.seq, mark.id
            )
        } else if mark.hash != standing.hash {
            format!("the state has another hash after {}", mark.id)
        } else {
            return Ok(());
        };
        Err(format!("{name}: {differs}"))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use jarvis_cluster::raft::TypeConfig;
    use jarvis_domain::codec::encode;
    use openraft::testing::blank_ent;

    use super::*;
    use crate::sim::ledger::Logged;
    use crate::sim::ledger::tests::{id, logged};
    use crate::sim::replica::Standing;
    use crate::sim::scene::tests::empty;

    #[test]
    fn another_state_at_the_same_index_is_noticed() {
        let mut scene = empty();
        for index in 0..2 {
            let entry = Logged {
                bytes: Bytes::from(encode(&blank_ent::<TypeConfig>(1, 1, index))),
                ..logged(id(1, 1, index), None, 0)
            };
            scene.replica.take(&entry).unwrap();
        }
        let right = *scene.replica.mark(1).unwrap();
        let see = |standing: Standing| {
            let sight = Sight::Moved {
                host: 1,
                standing: &standing,
            };
            StateMachineSafety::default().see(&sight, &scene)
        };
        assert!(see(right).is_ok());
        for wrong in [
            Standing {
                id: id(1, 2, 1),
                ..right
            },
            Standing { time: 1, ..right },
            Standing { seq: 1, ..right },
            Standing {
                head: [1; 32],
                ..right
            },
            Standing {
                hash: [1; 32],
                ..right
            },
        ] {
            assert!(see(wrong).is_err());
        }
        let mut rule = StateMachineSafety::default();
        let earlier = *scene.replica.mark(0).unwrap();
        let moved = |standing| Sight::Moved { host: 1, standing };
        rule.see(&moved(&right), &scene).unwrap();
        assert!(rule.see(&moved(&earlier), &scene).is_err());
    }
}
