//! Looks at everything after each step, and shows it to the invariants.
//!
//! ```text
//!   disks (durable halves) ─▶ ledgers ─┐
//!   nodes (states) ────────▶ standings ┼─▶ replica: what is committed ─▶ sights ─▶ invariants
//!   clients (answers) ─────────────────┘
//! ```
//!
//! In this order, within a step: what became durable, who started, what is committed, where states stand, what clients were
//! told. So whatever a client was told has been seen on disks before, if it is there.

use std::collections::VecDeque;
use std::time::Duration;

use super::cluster::Cluster;
use super::invariant::{self, Invariant};
use super::ledger::News;
use super::machine::Machine;
use super::replica::{Standing, standing};
use super::scene::{Scene, Sight};
use super::trace::Topic;

/// Terms and leaders are looked at every so many steps: it costs more than the rest.
const LOOK_EVERY: u64 = 4;

/// What broke, by the name of the rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) by: &'static str,
    pub(super) what: String,
}

/// The simulator's eyes.
pub(super) struct Observer {
    scene: Scene,
    invariants: Vec<Box<dyn Invariant>>,
    /// Host → the start of its node that was seen last.
    starts: Vec<u64>,
    /// Standings whose right is not known yet.
    waiting: VecDeque<(usize, Standing)>,
    steps: u64,
    leader: Option<(u64, usize)>,
    counts: Counts,
}

/// What was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) committed: u64,
    pub(super) starts: u64,
    pub(super) leaders: u64,
    pub(super) sights: u64,
}

impl Observer {
    pub(super) fn new(cluster: &Cluster) -> Self {
        let names: Vec<&'static str> = cluster
            .machines
            .iter()
            .map(|machine| machine.host)
            .collect();
        Self {
            starts: vec![0; names.len()],
            scene: Scene::new(names),
            invariants: invariant::all(),
            waiting: VecDeque::new(),
            steps: 0,
            leader: None,
            counts: Counts::default(),
        }
    }

    /// Machines are voters from here on.
    pub(super) const fn has_formed(&mut self) {
        self.scene.has_formed = true;
    }

    /// What was seen so far.
    pub(super) const fn counts(&self) -> Counts {
        self.counts
    }

    /// After a step.
    pub(super) fn look(&mut self, cluster: &Cluster) -> Result<(), Broken> {
        let now = cluster.clock.now();
        self.scene.now_ms = millis(now);
        self.steps += 1;
        for (host, machine) in cluster.machines.iter().enumerate() {
            self.look_at_disk(host, machine)?;
        }
        for (host, machine) in cluster.machines.iter().enumerate() {
            self.look_at_node(cluster, host, machine)?;
        }
        self.commit()?;
        self.compare(cluster)?;
        for operation in cluster.recorder.take_news() {
            self.show(&Sight::Told {
                operation: &operation,
            })?;
        }
        if self.steps.is_multiple_of(LOOK_EVERY) {
            self.look_for_leader(cluster);
        }
        Ok(())
    }

    /// When everything is healed.
    pub(super) fn settle(&mut self) -> Result<(), Broken> {
        if let Some((host, standing)) = self.waiting.front() {
            return Err(Broken {
                by: "disk_before_word",
                what: format!(
                    "{} applied entry {}, which no durable log has",
                    self.scene.name(*host),
                    standing.id
                ),
            });
        }
        self.show(&Sight::Settled)
    }

    fn look_at_disk(&mut self, host: usize, machine: &Machine) -> Result<(), Broken> {
        for what in machine.disk.take_breaches() {
            self.show(&Sight::Unsafe { host, what: &what })?;
        }
        if machine.is_log_away() {
            return Ok(());
        }
        let news = self.scene.hosts[host].ledger.look(machine.disk.platter());
        let news = news.map_err(|error| Broken {
            by: "log_matching",
            what: format!("{}: {error}", machine.host),
        })?;
        for news in news {
            match news {
                News::Entry(entry) => self.show(&Sight::Durable {
                    host,
                    entry: &entry,
                })?,
                News::Vote(ballot) => self.show(&Sight::Voted { host, ballot })?,
            }
        }
        Ok(())
    }

    fn look_at_node(
        &mut self,
        cluster: &Cluster,
        host: usize,
        machine: &Machine,
    ) -> Result<(), Broken> {
        let Some(node) = machine.node() else {
            self.scene.hosts[host].standing = None;
            return Ok(());
        };
        if self.starts[host] != node.incarnation() {
            self.starts[host] = node.incarnation();
            self.counts.starts += 1;
            self.scene.hosts[host].standing = None;
            self.show(&Sight::Started {
                host,
                node: node.id(),
                incarnation: node.incarnation(),
                // The log counts from one above Raft's index.
                log_end: node.wal().last_index(),
            })?;
        }
        let before = self.scene.hosts[host]
            .standing
            .map(|standing| standing.id.index);
        let moved = node.with_view(|state| {
            let applied = state.core.applied.index;
            let is_empty = state.core.applied == jarvis_domain::outcome::LogRef::default();
            (before != Some(applied) && !is_empty).then(|| standing(state))
        });
        if let Some(standing) = moved {
            self.scene.hosts[host].standing = Some(standing);
            self.waiting.push_back((host, standing));
            let text = if cluster.plan.mtls {
                format!("{} applies {}", machine.host, standing.id)
            } else {
                let hash = hex::encode(&standing.hash[..8]);
                format!("{} applies {}, state {hash}", machine.host, standing.id)
            };
            cluster.trace.tell(cluster.clock.now(), Topic::State, text);
        }
        Ok(())
    }

    /// Whatever a node has applied is committed, and lies on the disks of a majority.
    fn commit(&mut self) -> Result<(), Broken> {
        while let Some(target) = self.next_target() {
            let next = self.scene.replica.next();
            let hosts = self.scene.hosts.iter();
            let source = hosts.map(|host| &host.ledger).find(|ledger| {
                ledger
                    .entry(target.index)
                    .is_some_and(|entry| entry.id == target)
                    && ledger.entry(next).is_some()
            });
            let Some(entry) = source.and_then(|ledger| ledger.entry(next)).cloned() else {
                return Ok(());
            };
            let committed = self.scene.replica.take(&entry).map_err(|what| Broken {
                by: "state_machine_safety",
                what,
            })?;
            self.counts.committed += 1;
            self.show(&Sight::Committed { entry: &committed })?;
        }
        Ok(())
    }

    /// The furthest entry that somebody has applied and the replica has not.
    fn next_target(&self) -> Option<super::ledger::EntryId> {
        let next = self.scene.replica.next();
        let waiting = self.waiting.iter().map(|(_, standing)| standing.id);
        waiting
            .filter(|id| id.index >= next)
            .max_by_key(|id| id.index)
    }

    /// The standings whose right is known by now.
    fn compare(&mut self, cluster: &Cluster) -> Result<(), Broken> {
        let known = self.scene.replica.next();
        for _ in 0..self.waiting.len() {
            let Some((host, standing)) = self.waiting.pop_front() else {
                break;
            };
            if standing.id.index < known {
                self.show(&Sight::Moved {
                    host,
                    standing: &standing,
                })?;
            } else {
                self.waiting.push_back((host, standing));
            }
        }
        // Without durable logs nothing is ever known; that is another rule's business, and no reason to remember it all.
        if self.waiting.len() > cluster.machines.len() * 1_000 {
            self.waiting.pop_front();
        }
        Ok(())
    }

    fn look_for_leader(&mut self, cluster: &Cluster) {
        let leader = cluster.leader();
        if leader.is_none() || leader == self.leader {
            return;
        }
        self.leader = leader;
        if let Some((term, place)) = leader {
            let machine = &cluster.machines[place];
            self.counts.leaders += 1;
            cluster.recorder.leader(machine.id().unwrap_or(0), term);
            cluster.tell(format!("{} leads in term {term}", machine.host));
        }
    }

    fn show(&mut self, sight: &Sight<'_>) -> Result<(), Broken> {
        self.counts.sights += 1;
        for invariant in &mut self.invariants {
            if let Err(what) = invariant.see(sight, &self.scene) {
                return Err(Broken {
                    by: invariant.name(),
                    what,
                });
            }
        }
        Ok(())
    }
}

fn millis(at: Duration) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or(u64::MAX)
}
