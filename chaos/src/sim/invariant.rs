//! What must hold at every moment of a simulated run, one rule per file, each with its source.
//!
//! | invariant | what must hold | source |
//! |---|---|---|
//! | `leader_order` | leaders are ordered, and a log never goes back to an earlier one | Raft §5.2, §5.4.2 |
//! | `log_matching` | one identity, one entry, and one entry before it | Raft §5.3 |
//! | `leader_completeness` | a leader has every entry that was committed before it | Raft §5.4 |
//! | `state_machine_safety` | equal index, equal state, on every node, across restarts and snapshots | Raft §5.4.3, rule 1 |
//! | `durable_votes` | a leader's majority has its vote on disk, and no vote goes back | Raft figure 2 |
//! | `disk_before_word` | what a client was told is on the disks of a majority | rule 6 |
//! | `committed_kept` | a restart knows what was durable and committed; in the end every node has all of it | Raft §5.4, C7 |
//! | `purge_last` | nothing goes before what stands for it is durable | rule 7 |
//! | `agreed_time` | time never runs back, and a lone clock moves nothing | rule 5 |
//! | `trail_as_told` | an answer's place in the log and in the trail is what the log says | C3, X4 |
//! | `envelopes` | a proposal takes effect once | rule 8 |
//! | `identities` | an id is the index of its join, and is never given twice; starts are counted | rule 11 |
//! | `epochs` | nothing is written under an epoch that is not current | X2 |
//!
//! Each is proved on a sight that must fail.

use super::scene::{Scene, Sight};

mod agreed_time;
mod committed_kept;
mod disk_before_word;
mod durable_votes;
mod envelopes;
mod epochs;
mod identities;
mod leader_completeness;
mod leader_order;
mod log_matching;
mod purge_last;
mod state_machine_safety;
mod trail_as_told;

/// One rule.
pub(super) trait Invariant {
    /// Its file's name; stable.
    fn name(&self) -> &'static str;

    /// Looks at one thing that happened. The words say what is wrong.
    fn see(&mut self, sight: &Sight<'_>, scene: &Scene) -> Result<(), String>;
}

/// All rules, each with nothing seen yet.
pub(super) fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(leader_order::LeaderOrder),
        Box::<log_matching::LogMatching>::default(),
        Box::<leader_completeness::LeaderCompleteness>::default(),
        Box::<state_machine_safety::StateMachineSafety>::default(),
        Box::<durable_votes::DurableVotes>::default(),
        Box::new(disk_before_word::DiskBeforeWord),
        Box::new(committed_kept::CommittedKept),
        Box::new(purge_last::PurgeLast),
        Box::new(agreed_time::AgreedTime),
        Box::new(trail_as_told::TrailAsTold),
        Box::<envelopes::Envelopes>::default(),
        Box::<identities::Identities>::default(),
        Box::new(epochs::Epochs),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_rule_has_a_name_of_its_own() {
        let names: BTreeSet<&str> = all().iter().map(|rule| rule.name()).collect();
        assert_eq!(names.len(), all().len());
    }
}
