//! Log matching (Raft §5.3): if two logs have an entry with the same index and leader, it is the same entry, and so are all
//! before it. By induction it is enough that the one before it is the same.

use std::collections::BTreeMap;

use super::Invariant;
use crate::sim::ledger::EntryId;
use crate::sim::scene::{Scene, Sight};

#[derive(Default)]
pub(super) struct LogMatching {
    /// What the first log that had it says.
    known: BTreeMap<EntryId, Known>,
}

struct Known {
    digest: u64,
    before: Option<EntryId>,
    host: &'static str,
}

impl Invariant for LogMatching {
    fn name(&self) -> &'static str {
        "log_matching"
    }

    fn see(&mut self, sight: &Sight<'_>, scene: &Scene) -> Result<(), String> {
        let Sight::Durable { host, entry } = sight else {
            return Ok(());
        };
        let (id, here) = (entry.id, scene.name(*host));
        let Some(known) = self.known.get_mut(&id) else {
            let known = Known {
                digest: entry.digest,
                before: entry.before,
                host: here,
            };
            self.known.insert(id, known);
            return Ok(());
        };
        if known.digest != entry.digest {
            return Err(format!(
                "entry {id} is not the same on {} and on {here}",
                known.host
            ));
        }
        match (known.before, entry.before) {
            (Some(there), Some(before)) if there != before => Err(format!(
                "before entry {id} stands {there} on {} and {before} on {here}",
                known.host
            )),
            (None, Some(_)) => {
                known.before = entry.before;
                Ok(())
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

    #[test]
    fn one_identity_with_two_contents_or_two_pasts_is_noticed() {
        let see = |rule: &mut LogMatching, host, before, digest| {
            let entry = logged(id(3, 1, 7), before, digest);
            let sight = Sight::Durable {
                host,
                entry: &entry,
            };
            rule.see(&sight, &empty())
        };
        let past = Some(id(3, 1, 6));
        let mut rule = LogMatching::default();
        assert!(see(&mut rule, 0, None, 42).is_ok());
        assert!(see(&mut rule, 1, past, 42).is_ok());
        assert!(see(&mut rule, 2, past, 42).is_ok());
        assert!(see(&mut rule, 2, past, 43).is_err());
        assert!(see(&mut rule, 2, Some(id(2, 2, 6)), 42).is_err());
    }
}
