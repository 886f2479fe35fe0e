//! What the simulator sees of a cluster: more than any node knows, and nothing that a node could be asked.

use super::ledger::{Ballot, EntryId, LeaderId, Ledger, Logged};
use super::replica::{Committed, Replica, Standing};
use crate::history::Operation;

/// The facts, as of the last step.
pub(super) struct Scene {
    /// One per machine.
    pub(super) hosts: Vec<Host>,
    /// What is committed.
    pub(super) replica: Replica,
    /// All machines vote: from here on majorities are majorities of them.
    pub(super) has_formed: bool,
    /// Virtual time, ms.
    pub(super) now_ms: u64,
}

/// One machine.
pub(super) struct Host {
    pub(super) name: &'static str,
    /// What its disk would still have without power.
    pub(super) ledger: Ledger,
    /// Where the state of its running node stands.
    pub(super) standing: Option<Standing>,
}

/// Something that was seen in a step.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sight<'a> {
    /// A node started: its log reaches to before this index.
    Started {
        host: usize,
        node: u64,
        incarnation: u64,
        log_end: u64,
    },
    /// An entry became durable.
    Durable { host: usize, entry: &'a Logged },
    /// A vote became durable.
    Voted { host: usize, ballot: Ballot },
    /// The log is committed up to this entry.
    Committed { entry: &'a Committed },
    /// A node's state moved on; what it must be is known.
    Moved { host: usize, standing: &'a Standing },
    /// A client was told.
    Told { operation: &'a Operation },
    /// A file went before what must outlive it was durable (rule 7).
    Unsafe { host: usize, what: &'a str },
    /// Everything is healed, and the nodes say that they agree.
    Settled,
}

impl Scene {
    /// Nothing has happened yet.
    pub(super) fn new(names: impl IntoIterator<Item = &'static str>) -> Self {
        let hosts = names.into_iter().map(|name| Host {
            name,
            ledger: Ledger::default(),
            standing: None,
        });
        Self {
            hosts: hosts.collect(),
            replica: Replica::new(),
            has_formed: false,
            now_ms: 0,
        }
    }

    /// How many machines are a majority.
    pub(super) fn majority(&self) -> usize {
        self.hosts.len() / 2 + 1
    }

    /// The machines on whose disks this entry would survive.
    pub(super) fn durable_on(&self, id: EntryId) -> Vec<&'static str> {
        let hosts = self.hosts.iter();
        let hosts = hosts.filter(|host| host.ledger.holds(id));
        hosts.map(|host| host.name).collect()
    }

    /// The machines whose durable vote is for this leader, or for a later one.
    pub(super) fn voted_for(&self, leader: LeaderId) -> Vec<&'static str> {
        let hosts = self.hosts.iter().filter(|host| {
            let vote = host.ledger.vote();
            vote.is_some_and(|ballot| ballot.leader >= leader)
        });
        hosts.map(|host| host.name).collect()
    }

    /// A machine's name.
    pub(super) fn name(&self, host: usize) -> &'static str {
        self.hosts.get(host).map_or("?", |host| host.name)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Three machines, all of them voters, with these logs.
    pub(in crate::sim) fn scene(ledgers: [Ledger; 3]) -> Scene {
        let mut scene = Scene::new(["node-a", "node-b", "node-c"]);
        for (host, ledger) in scene.hosts.iter_mut().zip(ledgers) {
            host.ledger = ledger;
        }
        scene.has_formed = true;
        scene
    }

    /// Three machines with empty logs.
    pub(in crate::sim) fn empty() -> Scene {
        scene([Ledger::default(), Ledger::default(), Ledger::default()])
    }
}
