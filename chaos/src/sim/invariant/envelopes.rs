//! A proposal takes effect once (rule 8): a node's batch, proposed again because its answer was lost, is skipped; one that
//! is new, and neither too old nor of a process that was replaced, is not.

use std::collections::{BTreeMap, BTreeSet};

use jarvis_domain::window::SPAN;

use super::Invariant;
use crate::sim::scene::{Scene, Sight};

#[derive(Default)]
pub(super) struct Envelopes {
    /// Node → its newest process, and what of it took effect.
    origins: BTreeMap<u64, Origin>,
}

#[derive(Default)]
struct Origin {
    incarnation: u64,
    applied: BTreeSet<u64>,
    highest: u64,
}

impl Invariant for Envelopes {
    fn name(&self) -> &'static str {
        "envelopes"
    }

    fn see(&mut self, sight: &Sight<'_>, _scene: &Scene) -> Result<(), String> {
        let Sight::Committed { entry } = sight else {
            return Ok(());
        };
        let Some(envelope) = entry.envelope else {
            return Ok(());
        };
        let id = entry.standing.id;
        let origin = self.origins.entry(envelope.node).or_default();
        if envelope.incarnation > origin.incarnation && !entry.was_skipped {
            *origin = Origin {
                incarnation: envelope.incarnation,
                ..Origin::default()
            };
        }
        let is_current = envelope.incarnation == origin.incarnation;
        let is_repeat = is_current && origin.applied.contains(&envelope.seq);
        let is_too_old = !is_current || envelope.seq + SPAN <= origin.highest;
        if !entry.was_skipped && (is_repeat || !is_current) {
            return Err(format!(
                "{envelope:?} takes effect at entry {id}, although it did before or its process was replaced"
            ));
        }
        if entry.was_skipped && !is_repeat && !is_too_old {
            return Err(format!(
                "{envelope:?} is new and is passed over at entry {id}"
            ));
        }
        if !entry.was_skipped {
            origin.applied.insert(envelope.seq);
            origin.highest = origin.highest.max(envelope.seq);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use jarvis_domain::window::Envelope;

    use super::*;
    use crate::sim::replica::{Committed, standing};
    use crate::sim::scene::tests::empty;

    #[test]
    fn what_takes_effect_twice_or_never_is_noticed() {
        let scene = empty();
        let see = |rule: &mut Envelopes, incarnation, seq, was_skipped| {
            let entry = Committed {
                standing: standing(scene.replica.state()),
                time_before: 0,
                epoch_before: 0,
                envelope: Some(Envelope {
                    node: 1,
                    incarnation,
                    seq,
                }),
                commands: Vec::new(),
                replies: Vec::new(),
                was_skipped,
            };
            rule.see(&Sight::Committed { entry: &entry }, &scene)
        };
        let mut rule = Envelopes::default();
        assert!(see(&mut rule, 1, 1, false).is_ok());
        assert!(see(&mut rule, 1, 2, false).is_ok());
        assert!(see(&mut rule, 1, 1, true).is_ok());
        assert!(see(&mut rule, 1, 2, false).is_err());
        assert!(see(&mut rule, 1, 3, true).is_err());
        assert!(see(&mut rule, 2, 1, false).is_ok());
        assert!(see(&mut rule, 1, 9, true).is_ok());
        assert!(see(&mut rule, 1, 9, false).is_err());
    }
}
