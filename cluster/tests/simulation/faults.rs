//! What is done to the cluster: two tracks of faults, one of the network and one of power, that overlap as the dice say.
//!
//! Every track installs each of its faults once, in any order, with pauses between them.

use std::ops::Range;
use std::time::Duration;

use turmoil::Sim;

use crate::dice::Dice;
use crate::machine::{Cluster, HOSTS};

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The leader reaches nobody, and nobody it.
    IsolateLeader,
    /// A machine that does not lead is cut off.
    IsolateOther,
    /// The leader and one other do not reach each other; the third is a bridge.
    CutPair,
    /// A machine hears nobody, and is heard.
    Deafen,
    /// A machine is heard by nobody, and hears.
    Mute,
    /// Everything from and to a machine is held, and arrives when it is over.
    Hold,
    /// The leader loses power.
    CrashLeader,
    /// A machine that does not lead loses power.
    CrashOther,
    /// All machines lose power at once.
    CrashAll,
}

impl Fault {
    /// Faults of the network.
    const NETWORK: [Self; 6] = [
        Self::IsolateLeader,
        Self::IsolateOther,
        Self::CutPair,
        Self::Deafen,
        Self::Mute,
        Self::Hold,
    ];
    /// Faults of power.
    const POWER: [Self; 3] = [Self::CrashLeader, Self::CrashOther, Self::CrashAll];
    /// How many there are.
    pub(crate) const COUNT: usize = Self::NETWORK.len() + Self::POWER.len();
}

/// Two machines, by their places; for one-way faults from the first to the second.
type Pair = (usize, usize);

/// How a fault ends.
enum Remedy {
    Repair(Vec<Pair>),
    RepairOneWay(Vec<Pair>),
    Release(Vec<Pair>),
    PowerOn(Vec<usize>),
}

/// A sequence of faults.
pub(crate) struct Track {
    pending: Vec<Fault>,
    pause_ms: Range<u64>,
    length_ms: Range<u64>,
    next_change: Duration,
    remedy: Option<Remedy>,
}

impl Track {
    /// The network's faults: long enough for an election, too short for a client's patience.
    pub(crate) fn of_network(dice: &mut Dice, now: Duration) -> Self {
        Self::new(&Fault::NETWORK, (1_000..3_000, 1_000..4_000), dice, now)
    }

    /// Power cuts.
    pub(crate) fn of_power(dice: &mut Dice, now: Duration) -> Self {
        Self::new(&Fault::POWER, (2_000..5_000, 300..3_000), dice, now)
    }

    fn new(
        faults: &[Fault],
        (pause_ms, length_ms): (Range<u64>, Range<u64>),
        dice: &mut Dice,
        now: Duration,
    ) -> Self {
        let mut pending = faults.to_vec();
        dice.shuffle(&mut pending);
        let next_change = now + dice.millis(&pause_ms);
        Self {
            pending,
            pause_ms,
            length_ms,
            next_change,
            remedy: None,
        }
    }

    /// Whether a fault is in force.
    pub(crate) const fn is_active(&self) -> bool {
        self.remedy.is_some()
    }

    /// Whether all faults came and went.
    pub(crate) fn is_over(&self) -> bool {
        self.pending.is_empty() && self.remedy.is_none()
    }

    /// Ends or begins a fault when it is time; tells which one began.
    pub(crate) fn poll(
        &mut self,
        sim: &mut Sim<'static>,
        cluster: &Cluster,
        dice: &mut Dice,
    ) -> Option<Fault> {
        let now = sim.elapsed();
        if now < self.next_change {
            return None;
        }
        if let Some(remedy) = self.remedy.take() {
            heal(remedy, sim, cluster);
            self.next_change = now + dice.millis(&self.pause_ms);
            return None;
        }
        let fault = self.pending.pop()?;
        self.remedy = Some(install(fault, sim, cluster, dice));
        self.next_change = now + dice.millis(&self.length_ms);
        Some(fault)
    }
}

fn install(fault: Fault, sim: &mut Sim<'static>, cluster: &Cluster, dice: &mut Dice) -> Remedy {
    let leader = match cluster.leader() {
        Some((_, host)) => host,
        None => dice.below(HOSTS.len()),
    };
    let other = (leader + 1 + dice.below(HOSTS.len() - 1)) % HOSTS.len();
    let either = if dice.flip() { leader } else { other };
    match fault {
        Fault::IsolateLeader => partition(sim, from(leader)),
        Fault::IsolateOther => partition(sim, from(other)),
        Fault::CutPair => partition(sim, vec![(leader, other)]),
        Fault::Deafen => partition_one_way(sim, to(either)),
        Fault::Mute => partition_one_way(sim, from(either)),
        Fault::Hold => hold(sim, from(either)),
        Fault::CrashLeader => power_off(sim, cluster, dice, vec![leader]),
        Fault::CrashOther => power_off(sim, cluster, dice, vec![other]),
        Fault::CrashAll => power_off(sim, cluster, dice, (0..HOSTS.len()).collect()),
    }
}

fn heal(remedy: Remedy, sim: &mut Sim<'static>, cluster: &Cluster) {
    match remedy {
        Remedy::Repair(pairs) => {
            for (one, other) in pairs {
                sim.repair(HOSTS[one], HOSTS[other]);
                cluster.wires.reset(HOSTS[one], HOSTS[other]);
            }
        }
        Remedy::RepairOneWay(pairs) => {
            for (from, to) in pairs {
                sim.repair_oneway(HOSTS[from], HOSTS[to]);
                cluster.wires.reset(HOSTS[from], HOSTS[to]);
            }
        }
        // Nothing was lost: the connections go on.
        Remedy::Release(pairs) => {
            for (one, other) in pairs {
                sim.release(HOSTS[one], HOSTS[other]);
            }
        }
        Remedy::PowerOn(hosts) => {
            for host in hosts {
                sim.bounce(HOSTS[host]);
            }
        }
    }
}

fn partition(sim: &Sim<'static>, pairs: Vec<Pair>) -> Remedy {
    for (one, other) in &pairs {
        sim.partition(HOSTS[*one], HOSTS[*other]);
    }
    Remedy::Repair(pairs)
}

fn partition_one_way(sim: &Sim<'static>, pairs: Vec<Pair>) -> Remedy {
    for (from, to) in &pairs {
        sim.partition_oneway(HOSTS[*from], HOSTS[*to]);
    }
    Remedy::RepairOneWay(pairs)
}

fn hold(sim: &Sim<'static>, pairs: Vec<Pair>) -> Remedy {
    for (one, other) in &pairs {
        sim.hold(HOSTS[*one], HOSTS[*other]);
    }
    Remedy::Release(pairs)
}

fn power_off(
    sim: &mut Sim<'static>,
    cluster: &Cluster,
    dice: &mut Dice,
    hosts: Vec<usize>,
) -> Remedy {
    for host in &hosts {
        cluster.power_off(sim, *host, dice);
    }
    Remedy::PowerOn(hosts)
}

/// From a machine to each other one.
fn from(host: usize) -> Vec<Pair> {
    let others = (0..HOSTS.len()).filter(|other| *other != host);
    others.map(|other| (host, other)).collect()
}

/// From each other machine to this one.
fn to(host: usize) -> Vec<Pair> {
    from(host)
        .into_iter()
        .map(|(to, from)| (from, to))
        .collect()
}
