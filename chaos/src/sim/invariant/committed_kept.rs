//! Nothing committed is lost (Raft §5.4; C7: no acknowledged write is lost): a node that starts again knows every entry
//! that it had on disk and that is committed; and when all is healed every node's log has all that was ever committed, or a
//! snapshot of it.

use super::Invariant;
use crate::sim::scene::{Scene, Sight};

pub(super) struct CommittedKept;

impl Invariant for CommittedKept {
    fn name(&self) -> &'static str {
        "committed_kept"
    }

    fn see(&mut self, sight: &Sight<'_>, scene: &Scene) -> Result<(), String> {
        match sight {
            Sight::Started { host, log_end, .. } => {
                let Some(known) = scene.hosts.get(*host) else {
                    return Ok(());
                };
                let marks = scene.replica.marks().values();
                let had = marks.rev().find(|mark| known.ledger.holds(mark.id));
                match had {
                    Some(mark) if mark.id.index >= *log_end => Err(format!(
                        "{} had the committed entry {} on disk, and starts with a log that ends before index {log_end}",
                        known.name, mark.id
                    )),
                    _ => Ok(()),
                }
            }
            Sight::Settled => {
                let last = scene.replica.next();
                for host in &scene.hosts {
                    let reached = host.standing.map_or(0, |standing| standing.id.index + 1);
                    if reached < last {
                        return Err(format!(
                            "{} settles before index {reached}, and {last} entries are committed",
                            host.name
                        ));
                    }
                    let mut marks = scene.replica.marks().values();
                    if let Some(lost) = marks.find(|mark| !host.ledger.holds(mark.id)) {
                        let (name, id) = (host.name, lost.id);
                        return Err(format!("{name} has lost the committed entry {id}"));
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use jarvis_cluster::raft::TypeConfig;
    use jarvis_domain::codec::encode;
    use openraft::testing::blank_ent;

    use super::*;
    use crate::sim::ledger::tests::{id, logged};
    use crate::sim::ledger::{Ledger, Logged};
    use crate::sim::scene::tests::scene;

    fn committed(logs: [&[u64]; 3]) -> Scene {
        let holding = |log: &[u64]| {
            let entries: Vec<_> = log.iter().map(|index| id(1, 1, *index)).collect();
            Ledger::holding(&entries, None)
        };
        let mut scene = scene(logs.map(holding));
        for index in 0..2 {
            let entry = Logged {
                bytes: Bytes::from(encode(&blank_ent::<TypeConfig>(1, 1, index))),
                ..logged(id(1, 1, index), None, 0)
            };
            scene.replica.take(&entry).unwrap();
        }
        let last = scene.replica.mark(1).copied();
        for host in &mut scene.hosts {
            host.standing = last;
        }
        scene
    }

    #[test]
    fn a_committed_entry_that_is_gone_in_the_end_is_noticed() {
        let settle = |scene: &Scene| CommittedKept.see(&Sight::Settled, scene);
        assert!(settle(&committed([&[0, 1], &[0, 1], &[0, 1]])).is_ok());
        assert!(settle(&committed([&[0, 1], &[0], &[0, 1]])).is_err());
        let mut behind = committed([&[0, 1], &[0, 1], &[0, 1]]);
        behind.hosts[2].standing = behind.replica.mark(0).copied();
        assert!(settle(&behind).is_err());
    }

    #[test]
    fn a_start_that_forgets_what_was_durable_is_noticed() {
        let scene = committed([&[0, 1], &[0, 1], &[0]]);
        let start = |host, log_end| {
            let sight = Sight::Started {
                host,
                node: 1,
                incarnation: 2,
                log_end,
            };
            CommittedKept.see(&sight, &scene)
        };
        assert!(start(0, 2).is_ok() && start(0, 9).is_ok() && start(2, 1).is_ok());
        assert!(start(0, 1).is_err() && start(2, 0).is_err());
    }
}
