//! Does what the schedule says, and says what became of it: installed, skipped (with the reason), or indeterminate.
//!
//! ```text
//! Schedule ─┬─ process: kill, pause, transfer, restart, disks    owns the Cluster, and sees who dies by itself
//!           ├─ cuts:    who can hear whom                        Network, Ground
//!           └─ weather: latency, resets, slow syncs, clocks      Network, Control
//! ```
//! "Installed" needs evidence, not good intentions: a cut held something back, a sync did take longer, a process is gone.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::cluster::Cluster;
use super::faults::FaultKind;
use super::ground::Ground;
use super::network::Network;
use super::schedule::{Schedule, Step};
use super::shim::Control;
use super::watch::Watch;
use crate::dice::Dice;
use crate::history::{Fault, FaultResult};
use crate::workload::World;

mod cuts;
mod disks;
mod process;
mod weather;

pub(crate) use process::start_all;

const NS_PER_MS: u64 = 1_000_000;
/// After a leader is lost another one is there long before.
const LEADER_LIMIT: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What all lanes need.
pub(crate) struct Rig {
    pub(crate) world: Arc<World>,
    pub(crate) watch: Arc<Watch>,
    pub(crate) network: Network,
    pub(crate) ground: Ground,
    /// By place.
    pub(crate) controls: Vec<Option<Arc<Control>>>,
    /// When no fault may go on any more, ns.
    pub(crate) end_ns: u64,
    /// Broken promises that no checker sees: a node that went on without its disk, one that does not come back.
    problems: Mutex<Vec<String>>,
}

/// What became of a fault.
pub(crate) struct Done {
    places: Vec<usize>,
    result: FaultResult,
    note: Option<String>,
}

impl Done {
    fn installed(places: Vec<usize>) -> Self {
        Self {
            places,
            result: FaultResult::Installed,
            note: None,
        }
    }

    fn skipped(reason: impl Into<String>) -> Self {
        Self {
            places: Vec::new(),
            result: FaultResult::Skipped,
            note: Some(reason.into()),
        }
    }

    /// Installed if there is evidence.
    fn if_seen(places: Vec<usize>, is_seen: bool, otherwise: &str) -> Self {
        Self {
            places,
            result: if is_seen {
                FaultResult::Installed
            } else {
                FaultResult::Indeterminate
            },
            note: (!is_seen).then(|| otherwise.to_owned()),
        }
    }

    fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }
}

impl Rig {
    pub(crate) fn new(
        world: &Arc<World>,
        watch: Arc<Watch>,
        network: Network,
        controls: Vec<Option<Arc<Control>>>,
        end_ns: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            world: Arc::clone(world),
            watch,
            network,
            ground: Ground::new(world.api.count()),
            controls,
            end_ns,
            problems: Mutex::default(),
        })
    }

    pub(crate) fn now_ns(&self) -> u64 {
        self.world.journal.now_ns()
    }

    /// A broken promise that no checker sees.
    pub(crate) fn problem(&self, what: String) {
        eprintln!("!!! {what}");
        let problems = self.problems.lock();
        problems.unwrap_or_else(PoisonError::into_inner).push(what);
    }

    /// All of them.
    pub(crate) fn problems(&self) -> Vec<String> {
        let problems = self.problems.lock();
        problems.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Undoes whatever a lane left.
    pub(crate) fn heal(&self) {
        self.network.heal();
        for control in self.controls.iter().flatten() {
            if let Err(error) = control.heal() {
                self.problem(format!("a node's library can not be told to stop: {error}"));
            }
        }
    }

    fn nodes(&self) -> usize {
        self.world.api.count()
    }

    /// Any node that runs; any node if none does.
    fn any(&self, dice: &mut Dice) -> usize {
        let up = self.ground.up();
        match up.get(dice.place(up.len())) {
            Some(place) => *place,
            None => dice.place(self.nodes()),
        }
    }

    /// So many different nodes.
    fn several(&self, dice: &mut Dice, count: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..self.nodes()).collect();
        dice.shuffle(&mut all);
        all.truncate(count);
        all
    }

    /// Who leads and runs; waits a while for somebody who does.
    async fn leader(&self) -> Option<usize> {
        let began = Instant::now();
        loop {
            let leader = self.watch.leader();
            let leader = leader.filter(|leader| self.ground.up().contains(leader));
            if leader.is_some() || began.elapsed() > LEADER_LIMIT {
                return leader;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    fn down(&self, places: &[usize]) {
        self.ground.set_up(self.now_ns(), places, false);
    }

    fn up(&self, places: &[usize]) {
        self.ground.set_up(self.now_ns(), places, true);
    }

    /// Waits until the step is due; why it can not be done any more.
    async fn wait_for(&self, step: &Step) -> Result<(), &'static str> {
        let due = self.world.journal.instant(step.at_ms * NS_PER_MS);
        tokio::time::sleep_until(due).await;
        self.still_fits(step)
    }

    fn still_fits(&self, step: &Step) -> Result<(), &'static str> {
        let over_ns = self.now_ns() + step.hold_ms * NS_PER_MS;
        if over_ns > self.end_ns {
            return Err("there was no time left: faults before it took longer than planned");
        }
        Ok(())
    }

    /// Records what became of a fault.
    fn record(&self, kind: FaultKind, start_ns: u64, done: Done) {
        let end_ns = self.now_ns();
        let nodes: Vec<u64> = done
            .places
            .iter()
            .map(|place| self.world.api.id(*place))
            .collect();
        let word = match done.result {
            FaultResult::Installed => "",
            FaultResult::Skipped => ": skipped",
            FaultResult::Indeterminate => ": indeterminate",
        };
        let note = done.note.as_deref().map(|note| format!(" ({note})"));
        eprintln!(
            "{:>8.1} s  {kind} {nodes:?} for {:.1} s{word}{}",
            seconds(start_ns),
            seconds(end_ns - start_ns),
            note.unwrap_or_default()
        );
        self.world.journal.fault(Fault {
            kind: kind.name().to_owned(),
            nodes,
            start_ns,
            end_ns: Some(end_ns),
            result: done.result,
            leaves_quorum: self.ground.held_throughout(start_ns, end_ns),
            note: done.note,
        });
    }
}

/// Seconds, for people.
pub(crate) fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// Runs all lanes to the end of the run.
///
/// # Errors
/// When a lane panicked.
pub(crate) async fn run(
    rig: &Arc<Rig>,
    cluster: Cluster,
    schedule: Schedule,
) -> anyhow::Result<Cluster> {
    let mut others = JoinSet::new();
    others.spawn(cuts::run(Arc::clone(rig), schedule.cuts));
    others.spawn(weather::run(Arc::clone(rig), schedule.weather));
    let processes = tokio::spawn(process::run(Arc::clone(rig), cluster, schedule.process));
    let cluster = processes.await?;
    while let Some(ended) = others.join_next().await {
        ended?;
    }
    Ok(cluster)
}
