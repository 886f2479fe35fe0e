//! Which machines reach which: cuts and holds of several faults at once, brought down to what turmoil knows.
//!
//! Each fault cuts or holds directions of its own, and mends the same ones; a direction works when nobody cuts it. A cut
//! wins over a hold.

use std::collections::BTreeMap;
use std::time::Duration;

use turmoil::Sim;

use super::cluster::{CLIENTS, Cluster};

/// Two hosts by their places, for the direction from the first to the second. The clients' place comes after all machines.
pub(super) type Way = (usize, usize);

/// The state of all links.
pub(super) struct Links {
    hosts: Vec<&'static str>,
    cuts: BTreeMap<Way, u32>,
    holds: BTreeMap<Way, u32>,
    /// Pairs (lower place first) that turmoil holds at the moment.
    held: BTreeMap<Way, bool>,
    usual: Duration,
}

impl Links {
    /// Everybody reaches everybody.
    pub(super) fn new(cluster: &Cluster) -> Self {
        let machines = cluster.machines.iter().map(|machine| machine.host);
        Self {
            hosts: machines.chain([CLIENTS]).collect(),
            cuts: BTreeMap::new(),
            holds: BTreeMap::new(),
            held: BTreeMap::new(),
            usual: Duration::from_millis(cluster.plan.latency_ms),
        }
    }

    /// The place of the host that all clients are on.
    pub(super) fn clients(&self) -> usize {
        self.hosts.len() - 1
    }

    /// Nothing goes these ways any more.
    pub(super) fn cut(&mut self, sim: &Sim<'_>, ways: &[Way]) {
        for way in ways {
            *self.cuts.entry(*way).or_insert(0) += 1;
            self.apply(sim, *way);
        }
    }

    /// It does again. What was lost meanwhile is not sent again, so connections that lived through it end.
    pub(super) fn mend(&mut self, sim: &Sim<'_>, cluster: &Cluster, ways: &[Way]) {
        for way in ways {
            lower(&mut self.cuts, *way);
            self.apply(sim, *way);
        }
        for (from, to) in ways {
            if !self.is_cut((*from, *to)) && !self.is_cut((*to, *from)) {
                cluster.wires.reset(self.hosts[*from], self.hosts[*to]);
            }
        }
    }

    /// What goes these ways stands still.
    pub(super) fn hold(&mut self, sim: &Sim<'_>, ways: &[Way]) {
        for way in ways {
            *self.holds.entry(*way).or_insert(0) += 1;
            self.apply(sim, *way);
        }
    }

    /// It goes on, nothing is lost.
    pub(super) fn release(&mut self, sim: &Sim<'_>, ways: &[Way]) {
        for way in ways {
            lower(&mut self.holds, *way);
            self.apply(sim, *way);
        }
    }

    /// Messages of these pairs take up to so long; `None`: as long as usual.
    pub(super) fn slow(&self, sim: &Sim<'_>, ways: &[Way], at_most: Option<Duration>) {
        for (from, to) in ways {
            let at_most = at_most.unwrap_or(self.usual);
            sim.set_link_max_message_latency(self.hosts[*from], self.hosts[*to], at_most);
        }
    }

    /// Everything works again.
    pub(super) fn heal(&mut self, sim: &Sim<'_>, cluster: &Cluster) {
        let cut: Vec<Way> = self.cuts.keys().copied().collect();
        let ways: Vec<Way> = self.holds.keys().chain(&cut).copied().collect();
        self.cuts.clear();
        self.holds.clear();
        for way in ways {
            self.apply(sim, way);
        }
        for (from, to) in cut {
            cluster.wires.reset(self.hosts[from], self.hosts[to]);
        }
    }

    /// Both directions between one host and each of the others but the clients.
    pub(super) fn around(&self, place: usize) -> Vec<Way> {
        let peers = (0..self.clients()).filter(|other| *other != place);
        both_ways(peers.map(|other| (place, other)))
    }

    fn is_cut(&self, way: Way) -> bool {
        self.cuts.contains_key(&way)
    }

    /// Tells turmoil what the pair's state is now.
    fn apply(&mut self, sim: &Sim<'_>, (one, other): Way) {
        let pair = (one.min(other), one.max(other));
        let (a, b) = (self.hosts[pair.0], self.hosts[pair.1]);
        let is_held = self.held.remove(&pair).unwrap_or(false);
        if is_held {
            sim.release(a, b);
        } else {
            sim.repair(a, b);
        }
        let (there, back) = (self.is_cut(pair), self.is_cut((pair.1, pair.0)));
        if there && back {
            sim.partition(a, b);
        } else if there {
            sim.partition_oneway(a, b);
        } else if back {
            sim.partition_oneway(b, a);
        } else if self.holds.contains_key(&pair) || self.holds.contains_key(&(pair.1, pair.0)) {
            sim.hold(a, b);
            self.held.insert(pair, true);
        }
    }
}

/// These ways, and back.
pub(super) fn both_ways(ways: impl IntoIterator<Item = Way>) -> Vec<Way> {
    let ways = ways.into_iter();
    ways.flat_map(|(from, to)| [(from, to), (to, from)])
        .collect()
}

fn lower(counts: &mut BTreeMap<Way, u32>, way: Way) {
    if let Some(count) = counts.get_mut(&way) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&way);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direction_works_again_when_the_last_one_who_cut_it_mends_it() {
        let mut counts = BTreeMap::from([((0, 1), 2)]);
        lower(&mut counts, (0, 1));
        assert_eq!(counts.get(&(0, 1)), Some(&1));
        lower(&mut counts, (0, 1));
        lower(&mut counts, (0, 1));
        assert!(counts.is_empty());
        assert_eq!(
            both_ways([(0, 2), (3, 1)]),
            [(0, 2), (2, 0), (3, 1), (1, 3)]
        );
    }
}
