//! What a seed means: the size of the cluster, its disks, who asks for what, and what is done to it when.
//!
//! Drawn before anything runs, so that what happens in a run does not move what is drawn for it.

use std::collections::BTreeSet;

use super::Nodes;
use super::fault::{FaultKind, Group};
use super::workload::Work;
use crate::dice::Dice;

/// Faults of a group in one run.
const FAULTS_PER_GROUP: (u64, u64) = (2, 4);
/// Before the first fault of a group, and between two of them, ms.
const PAUSE_MS: (u64, u64) = (300, 1_800);
/// How long a fault lasts, ms: from less than an election to more than a client's patience.
const FAULT_MS: (u64, u64) = (400, 3_500);
/// Clients at work.
const CLIENTS: (u64, u64) = (4, 6);

/// One whole run, as it is meant to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) nodes: usize,
    /// Peers talk TLS.
    pub(super) mtls: bool,
    /// A snapshot every hundred entries or so, and the log purged behind it.
    pub(super) has_snapshots: bool,
    /// How long syncs take when nothing is wrong.
    pub(super) pace: Pace,
    /// Longest delay of a message, ms; most take a fifth of it.
    pub(super) latency_ms: u64,
    pub(super) clients: usize,
    pub(super) works: BTreeSet<Work>,
    /// One list per group; the groups overlap.
    pub(super) faults: Vec<Vec<Planned>>,
}

/// How long syncs take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// No time: what is appended is durable before anything else happens.
    Instant,
    /// Up to so many ms.
    UpTo(u64),
}

/// One fault of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) kind: FaultKind,
    /// After the fault before it was over, ms.
    pub(super) pause_ms: u64,
    /// How long, ms.
    pub(super) lasts_ms: u64,
}

impl Plan {
    /// The plan of a seed.
    pub(super) fn draw(seed: u64, nodes: Nodes, mtls: bool) -> Self {
        let mut dice = Dice::stream(seed, "plan");
        let five = dice.chance(40);
        let nodes = match nodes {
            Nodes::Three => 3,
            Nodes::Five => 5,
            Nodes::Both if five => 5,
            Nodes::Both => 3,
        };
        let pace = match dice.below(4) {
            0 => Pace::Instant,
            1 => Pace::UpTo(15),
            _ => Pace::UpTo(4),
        };
        let works = Work::ALL.into_iter();
        let mut works: BTreeSet<Work> = works.filter(|work| dice.chance(work.percent())).collect();
        let faults: Vec<Vec<Planned>> = [Group::Network, Group::Power, Group::Rest]
            .into_iter()
            .map(|group| faults_of(group, nodes, &mut dice))
            .collect();
        // A follower that hears a deposed leader tells nothing unless somebody asks it.
        let mut kinds = faults.iter().flatten().map(|planned| planned.kind);
        if kinds.any(|kind| kind == FaultKind::DeposedPair) {
            works.insert(Work::Stale);
        }
        Self {
            seed,
            nodes,
            mtls,
            has_snapshots: dice.chance(50),
            pace,
            latency_ms: dice.between(6, 25),
            clients: usize::try_from(dice.between(CLIENTS.0, CLIENTS.1)).unwrap_or(1),
            works,
            faults,
        }
    }

    /// In one line.
    pub(super) fn in_words(&self) -> String {
        let kinds = self.faults.iter().flatten();
        let faults: Vec<&str> = kinds.map(|planned| planned.kind.name()).collect();
        let works: Vec<&str> = self.works.iter().map(|work| work.name()).collect();
        format!(
            "{} nodes{}, snapshots {}, syncs {:?}, delays up to {} ms, {} clients ({}), faults: {}",
            self.nodes,
            if self.mtls { " with TLS" } else { "" },
            if self.has_snapshots { "often" } else { "never" },
            self.pace,
            self.latency_ms,
            self.clients,
            works.join(", "),
            faults.join(", "),
        )
    }
}

fn faults_of(group: Group, nodes: usize, dice: &mut Dice) -> Vec<Planned> {
    let mut kinds: Vec<FaultKind> = FaultKind::ALL
        .into_iter()
        .filter(|kind| kind.group() == group && kind.fits(nodes))
        .collect();
    dice.shuffle(&mut kinds);
    let count = dice.between(FAULTS_PER_GROUP.0, FAULTS_PER_GROUP.1);
    kinds.truncate(usize::try_from(count).unwrap_or(kinds.len()));
    let planned = kinds.into_iter().map(|kind| Planned {
        kind,
        pause_ms: dice.between(PAUSE_MS.0, PAUSE_MS.1),
        lasts_ms: dice.between(FAULT_MS.0, FAULT_MS.1),
    });
    planned.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_a_function_of_its_seed_and_seeds_cover_every_class() {
        let plan = |seed| Plan::draw(seed, Nodes::Both, false);
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
        let plans: Vec<Plan> = (0..200).map(plan).collect();
        let faults = plans.iter().flat_map(|plan| plan.faults.iter().flatten());
        let kinds: BTreeSet<FaultKind> = faults.map(|planned| planned.kind).collect();
        assert_eq!(kinds, BTreeSet::from(FaultKind::ALL));
        let works: BTreeSet<Work> = plans.iter().flat_map(|plan| plan.works.clone()).collect();
        assert_eq!(works, BTreeSet::from(Work::ALL));
        assert!(
            plans.iter().any(|plan| plan.nodes == 3) && plans.iter().any(|plan| plan.nodes == 5)
        );
        assert!(
            plans
                .iter()
                .all(|plan| plan.works.contains(&Work::Register))
        );
        assert!(!plan(7).in_words().is_empty());
    }

    #[test]
    fn who_asks_for_three_nodes_gets_no_faults_of_five() {
        for seed in 0..100 {
            let plan = Plan::draw(seed, Nodes::Three, true);
            assert_eq!((plan.nodes, plan.mtls), (3, true));
            let mut kinds = plan.faults.iter().flatten().map(|planned| planned.kind);
            assert!(kinds.all(|kind| kind.fits(3)));
        }
    }
}
