//! A replica of the simulator's own: applies every committed entry from the first one on, once, and says what every node
//! must have at every index.
//!
//! It never restarts, gets no snapshot, and has no clock: whatever makes a node differ from it is the node's fault.

use std::collections::BTreeMap;

use jarvis_cluster::raft::{Payload, TypeConfig};
use jarvis_domain::apply::{EntryContext, apply, apply_blank, apply_voters};
use jarvis_domain::audit::Head;
use jarvis_domain::codec::decode;
use jarvis_domain::command::{Batch, Command};
use jarvis_domain::outcome::{LogRef, Reply};
use jarvis_domain::state::State;
use jarvis_domain::window::Envelope;
use openraft::EntryPayload;
use openraft::type_config::alias::EntryOf;

use super::ledger::{EntryId, LeaderId, Logged};

/// Where a state stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// The last entry applied.
    pub(super) id: EntryId,
    /// Agreed time, ms.
    pub(super) time: u64,
    /// Of everything replicated.
    pub(super) hash: [u8; 32],
    /// The trail: its last event, and the chain's head after it.
    pub(super) seq: u64,
    pub(super) head: Head,
}

/// What one committed entry did.
#[derive(Debug, Clone)]
pub(super) struct Committed {
    /// Afterwards.
    pub(super) standing: Standing,
    /// Before: agreed time, and the key epoch.
    pub(super) time_before: u64,
    pub(super) epoch_before: u32,
    /// What it carried.
    pub(super) envelope: Option<Envelope>,
    pub(super) commands: Vec<Command>,
    pub(super) replies: Vec<Reply>,
    /// It was a repeat.
    pub(super) was_skipped: bool,
}

/// The simulator's own state.
pub(super) struct Replica {
    state: State,
    marks: BTreeMap<u64, Standing>,
}

impl Replica {
    /// Before the first entry.
    pub(super) fn new() -> Self {
        Self {
            state: State::empty(),
            marks: BTreeMap::new(),
        }
    }

    /// The index of the next entry.
    pub(super) fn next(&self) -> u64 {
        let last = self.marks.keys().next_back();
        last.map_or(0, |last| last + 1)
    }

    /// Where a state stands after the entry at this index.
    pub(super) fn mark(&self, index: u64) -> Option<&Standing> {
        self.marks.get(&index)
    }

    /// All of them.
    pub(super) const fn marks(&self) -> &BTreeMap<u64, Standing> {
        &self.marks
    }

    /// Everything that is replicated, as of the last entry.
    pub(super) const fn state(&self) -> &State {
        &self.state
    }

    /// Applies the next entry.
    pub(super) fn take(&mut self, logged: &Logged) -> Result<Committed, String> {
        let entry: EntryOf<TypeConfig> =
            decode(&logged.bytes).map_err(|error| format!("entry {}: {error}", logged.id))?;
        let core = &self.state.core;
        let mut committed = Committed {
            standing: standing(&self.state),
            time_before: core.time,
            epoch_before: core.epoch,
            envelope: None,
            commands: Vec::new(),
            replies: Vec::new(),
            was_skipped: false,
        };
        let log = log_ref(logged.id);
        match entry.payload {
            EntryPayload::Blank => apply_blank(&mut self.state, log),
            EntryPayload::Membership(membership) => {
                let voters: Vec<u64> = membership.voter_ids().collect();
                apply_voters(&mut self.state, log, voters);
            }
            EntryPayload::Normal(payload) => self.take_payload(log, payload, &mut committed)?,
        }
        // Nobody writes an image of it.
        drop(self.state.take_dirty());
        committed.standing = standing(&self.state);
        self.marks.insert(logged.id.index, committed.standing);
        Ok(committed)
    }

    fn take_payload(
        &mut self,
        log: LogRef,
        payload: Payload,
        committed: &mut Committed,
    ) -> Result<(), String> {
        let Some(envelope) = payload.envelope else {
            apply_blank(&mut self.state, log);
            return Ok(());
        };
        let commands: Vec<Command> = decode(&payload.commands)
            .map_err(|error| format!("the commands at {}: {error}", log.index))?;
        let context = EntryContext {
            log,
            stamp: payload.stamp,
            stepped: payload.stepped,
        };
        let batch = Batch { envelope, commands };
        let applied = apply(&mut self.state, context, &batch);
        committed.envelope = Some(envelope);
        committed.commands = batch.commands;
        committed.replies = applied.replies;
        committed.was_skipped = applied.skipped;
        Ok(())
    }
}

/// Where this state stands.
pub(super) fn standing(state: &State) -> Standing {
    let core = &state.core;
    let LogRef { term, node, index } = core.applied;
    Standing {
        id: EntryId {
            leader: LeaderId { term, node },
            index,
        },
        time: core.time,
        hash: state.hash(),
        seq: core.trail.seq,
        head: core.trail.head,
    }
}

const fn log_ref(id: EntryId) -> LogRef {
    LogRef {
        term: id.leader.term,
        node: id.leader.node,
        index: id.index,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use jarvis_domain::codec::encode;
    use openraft::testing::blank_ent;

    use super::*;
    use crate::sim::ledger::tests::{id, logged};

    #[test]
    fn entries_are_applied_one_after_the_other_and_marked() {
        let mut replica = Replica::new();
        for index in 0..3 {
            assert_eq!(replica.next(), index);
            let entry = blank_ent::<TypeConfig>(1, 1, index);
            let logged = Logged {
                bytes: Bytes::from(encode(&entry)),
                ..logged(id(1, 1, index), None, 0)
            };
            let committed = replica.take(&logged).unwrap();
            assert_eq!(committed.standing.id, id(1, 1, index));
        }
        assert_eq!(replica.marks().len(), 3);
        assert_ne!(replica.mark(0).unwrap().hash, replica.mark(1).unwrap().hash);
        assert_eq!(standing(replica.state()), *replica.mark(2).unwrap());
        assert!(replica.take(&logged(id(1, 1, 3), None, 0)).is_err());
    }
}
