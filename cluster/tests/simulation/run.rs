//! One run: form a cluster, work under faults, heal, converge, judge.
//!
//! ```text
//!   form ─▶ clients ∥ faults of the network ∥ faults of power ─▶ heal ─▶ converge ─▶ write and read every key
//!        ─▶ equal hashes and heads ∧ linearizable ∧ the trail tells it ∧ something happened at all
//! ```
//!
//! The loop outside of the simulation plays the clients and the faults, one step of virtual time after the other.
//! Everything follows from the seed: faults, workload, the network's delays, election timeouts (from the node's own random
//! source), and tokio's order of tasks, for which tokio must be built with `--cfg tokio_unstable` (.cargo/config.toml).

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once};
use std::time::Duration;

use jarvis_cluster::Node;
use jarvis_domain::state::State;
use tokio::sync::oneshot;
use turmoil::{Builder, Sim};

use crate::checker::{self, Retained, Violation};
use crate::dice::Dice;
use crate::faults::{Fault, Track};
use crate::history::{Ask, KEYS, key_name};
use crate::machine::{Cluster, HOSTS, Snapshots};
use crate::software::{self, Request, value_of};
use crate::trail::{self, TrailFault};
use crate::workload::Client;

/// A step of virtual time: a tenth of a heartbeat, so that timers keep their order.
const TICK: Duration = Duration::from_millis(5);
/// Longest delay of a message; most take a fifth of it.
const MAX_LATENCY: Duration = Duration::from_millis(20);
/// Segments a connection holds, and connections that wait to be accepted: far more than three nodes need.
const TCP_CAPACITY: usize = 1_024;
/// Clients at work.
const CLIENTS: usize = 4;
/// Three machines become three voters within this time.
const FORMING: Duration = Duration::from_secs(30);
/// Everything agrees again this long after the last fault (VERIFICATION).
const CONVERGENCE: Duration = Duration::from_secs(30);
/// Every operation is answered within its deadline of 5 s, and some room.
const ANSWERING: Duration = Duration::from_secs(8);
/// Who leads is noted this often, in steps.
const LOOK_EVERY: u64 = 20;
/// A run with fewer operations has shown nothing.
const MIN_OPERATIONS: usize = 100;
/// Percent of operations that must be acknowledged.
const MIN_ACKNOWLEDGED: usize = 60;

/// What a run was worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Virtual time.
    pub(crate) lasted: Duration,
    /// Whether the log was purged behind snapshots.
    pub(crate) snapshots: Snapshots,
    /// Operations begun.
    pub(crate) operations: usize,
    /// Operations acknowledged.
    pub(crate) acknowledged: usize,
    /// Operations acknowledged while a fault was in force.
    pub(crate) under_faults: usize,
    /// Terms in which somebody led.
    pub(crate) terms: usize,
    /// Faults that were installed.
    pub(crate) faults: Vec<Fault>,
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A node did not start, or its software ended.
    #[error("the software of a machine ended: {0}")]
    Ended(String),
    /// Something that must not happen.
    #[error("{0}")]
    Trouble(String),
    /// A task panicked; its message was printed.
    #[error("{0} tasks panicked")]
    Panicked(u32),
    /// It did not happen in time.
    #[error("not within {} s: {what}\n{nodes}", .at_most.as_secs())]
    Late {
        what: &'static str,
        at_most: Duration,
        nodes: String,
    },
    /// Two nodes that applied the same log differ.
    #[error("{one} and {other} stand at the same index and differ in their {what}")]
    Diverged {
        one: &'static str,
        other: &'static str,
        what: &'static str,
    },
    /// Something acknowledged is lost, stale or invented.
    #[error(transparent)]
    NotLinearizable(#[from] Violation),
    /// The trail does not tell what happened.
    #[error("{host}: {fault}")]
    Trail {
        host: &'static str,
        fault: TrailFault,
    },
    /// The run proved nothing.
    #[error("the run proves nothing: {reason}: {summary:?}")]
    Vacuous {
        reason: &'static str,
        summary: Box<Summary>,
    },
}

/// One whole run.
pub(crate) fn run(seed: u64) -> Result<Summary, Failure> {
    Run::new(seed).run_to_end()
}

/// One whole run, and all that happened in it.
pub(crate) fn traced(seed: u64) -> (Result<Summary, Failure>, Vec<String>) {
    let mut run = Run::new(seed);
    let cluster = Arc::clone(&run.cluster);
    let trace = &cluster.wires.trace;
    trace.begin();
    let outcome = run.run_to_end();
    for operation in cluster.history.operations() {
        trace.note(|| format!("{operation:?}"));
    }
    for (host, machine) in HOSTS.into_iter().zip(&cluster.machines) {
        trace.holds(host, machine.disk());
    }
    (outcome, trace.take())
}

struct Run {
    sim: Sim<'static>,
    cluster: Arc<Cluster>,
    dice: Dice,
    snapshots: Snapshots,
    steps: u64,
    terms: BTreeSet<(u64, usize)>,
    faults: Vec<Fault>,
    under_faults: usize,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let snapshots = if seed.is_multiple_of(2) {
            Snapshots::Often
        } else {
            Snapshots::Never
        };
        let cluster = Cluster::new(&mut dice, snapshots);
        let mut sim = Builder::new()
            .rng_seed(dice.roll())
            .tick_duration(TICK)
            .max_message_latency(MAX_LATENCY)
            .tcp_capacity(TCP_CAPACITY)
            .build();
        for (place, host) in HOSTS.into_iter().enumerate() {
            let cluster = Arc::clone(&cluster);
            sim.host(host, move || software::run(Arc::clone(&cluster), place));
        }
        Self {
            sim,
            cluster,
            dice,
            snapshots,
            steps: 0,
            terms: BTreeSet::new(),
            faults: Vec::new(),
            under_faults: 0,
        }
    }

    fn run_to_end(&mut self) -> Result<Summary, Failure> {
        count_panics();
        let outcome = self.whole();
        for machine in &self.cluster.machines {
            machine.let_go();
        }
        outcome
    }

    fn whole(&mut self) -> Result<Summary, Failure> {
        self.until(FORMING, "three voters", |run| {
            let nodes = run.cluster.nodes();
            let all_vote =
                |node: &Node| node.with_view(|state| state.core.voters.len() == HOSTS.len());
            nodes.len() == HOSTS.len() && nodes.iter().all(all_vote)
        })?;
        self.work_under_faults()?;
        self.until(CONVERGENCE, "nodes agree after healing", Self::converged)?;
        self.use_every_key()?;
        self.until(CONVERGENCE, "nodes agree at the end", Self::converged)?;
        self.judge()
    }

    /// One step of virtual time, and a look at what happened in it.
    fn step(&mut self) -> Result<(), Failure> {
        // A task that panics takes its machine's runtime along, and the step with it.
        let stepped = catch_unwind(AssertUnwindSafe(|| self.sim.step()));
        if let Some(trouble) = self.cluster.troubles.first() {
            return Err(Failure::Trouble(trouble));
        }
        let panics = PANICS.get();
        let stepped = stepped.map_err(|_| Failure::Panicked(panics.max(1)))?;
        if panics > 0 {
            return Err(Failure::Panicked(panics));
        }
        stepped.map_err(|error| Failure::Ended(error.to_string()))?;
        self.steps += 1;
        if self.steps.is_multiple_of(LOOK_EVERY) {
            self.terms.extend(self.cluster.leader());
        }
        Ok(())
    }

    fn until(
        &mut self,
        at_most: Duration,
        what: &'static str,
        mut is_done: impl FnMut(&Self) -> bool,
    ) -> Result<(), Failure> {
        let end = self.sim.elapsed() + at_most;
        while !is_done(&*self) {
            if self.sim.elapsed() > end {
                return Err(Failure::Late {
                    what,
                    at_most,
                    nodes: self.cluster.describe(),
                });
            }
            self.step()?;
        }
        Ok(())
    }

    /// Clients ask until every fault came and went, and hear the last answers.
    fn work_under_faults(&mut self) -> Result<(), Failure> {
        let mut clients: Vec<Client> = (0..CLIENTS)
            .map(|_| Client::new(self.dice.fork()))
            .collect();
        let now = self.sim.elapsed();
        let mut tracks = [
            Track::of_network(&mut self.dice, now),
            Track::of_power(&mut self.dice, now),
        ];
        while !tracks.iter().all(Track::is_over) {
            let now = self.sim.elapsed();
            for client in &mut clients {
                client.listen(now);
                client.ask(now, &self.cluster);
            }
            for track in &mut tracks {
                let fault = track.poll(&mut self.sim, &self.cluster, &mut self.dice);
                self.faults.extend(fault);
            }
            let before = self.cluster.history.acknowledged();
            self.step()?;
            if tracks.iter().any(Track::is_active) {
                self.under_faults += self.cluster.history.acknowledged() - before;
            }
        }
        self.until(ANSWERING, "answers to the last operations", move |run| {
            let now = run.sim.elapsed();
            clients.iter_mut().for_each(|client| client.listen(now));
            !clients.iter().any(Client::is_waiting)
        })
    }

    /// All nodes run, know one leader, and applied the same.
    fn converged(&self) -> bool {
        let places = self.cluster.machines.iter().map(|machine| {
            let node = machine.node()?;
            let applied = node.with_view(|state| state.core.applied);
            Some((node.leader()?, applied))
        });
        let places: Option<BTreeSet<_>> = places.collect();
        places.is_some_and(|places| places.len() == 1)
    }

    /// Through every machine: a write and a read of every key, each of which must succeed.
    fn use_every_key(&mut self) -> Result<(), Failure> {
        let first = self.cluster.history.operations().len();
        for ask in [Ask::Put { cas: None }, Ask::Get] {
            let mut waiting = Vec::new();
            for key in 0..KEYS {
                for machine in &self.cluster.machines {
                    let (done, answer) = oneshot::channel();
                    if machine.send(Request { key, ask, done }) {
                        waiting.push(answer);
                    }
                }
            }
            self.until(ANSWERING, "answers after healing", move |_| {
                waiting.retain_mut(|answer| {
                    matches!(answer.try_recv(), Err(oneshot::error::TryRecvError::Empty))
                });
                waiting.is_empty()
            })?;
        }
        let operations = self.cluster.history.operations();
        let last = &operations[first..];
        let served = last.len() == 2 * KEYS * HOSTS.len()
            && last.iter().all(|last| last.outcome.is_acknowledged());
        if served {
            return Ok(());
        }
        let nodes = self.cluster.describe();
        Err(Failure::Trouble(format!(
            "healed and agreed, and yet not every operation succeeded: {last:?}\n{nodes}"
        )))
    }

    fn judge(&self) -> Result<Summary, Failure> {
        let states: Vec<State> = self.cluster.nodes().iter().map(Node::view).collect();
        check_equal(&states)?;
        let operations = self.cluster.history.operations();
        checker::check(&operations, &retained(&states[0]))?;
        let end = states[0].core.trail;
        for (host, machine) in HOSTS.into_iter().zip(&self.cluster.machines) {
            trail::check(machine.disk(), &operations, (end.seq, end.head))
                .map_err(|fault| Failure::Trail { host, fault })?;
        }
        let summary = Summary {
            lasted: self.sim.elapsed(),
            snapshots: self.snapshots,
            operations: operations.len(),
            acknowledged: self.cluster.history.acknowledged(),
            under_faults: self.under_faults,
            terms: self.terms.len(),
            faults: self.faults.clone(),
        };
        match summary.emptiness() {
            None => Ok(summary),
            Some(reason) => Err(Failure::Vacuous {
                reason,
                summary: Box::new(summary),
            }),
        }
    }
}

impl Summary {
    /// Why this run proves nothing, if so.
    fn emptiness(&self) -> Option<&'static str> {
        let fired: BTreeSet<Fault> = self.faults.iter().copied().collect();
        if fired.len() != Fault::COUNT {
            return Some("not every fault fired");
        }
        if self.terms < 2 {
            return Some("the leader never changed");
        }
        if self.operations < MIN_OPERATIONS {
            return Some("too few operations");
        }
        if self.acknowledged * 100 < self.operations * MIN_ACKNOWLEDGED {
            return Some("too few operations were acknowledged");
        }
        if self.under_faults == 0 {
            return Some("nothing was acknowledged under faults");
        }
        None
    }
}

/// Equal index, equal state, equal trail.
fn check_equal(states: &[State]) -> Result<(), Failure> {
    for (place, state) in states.iter().enumerate().skip(1) {
        let what = if state.core.applied != states[0].core.applied {
            "last entry"
        } else if state.core.trail != states[0].core.trail {
            "trail"
        } else if state.hash() != states[0].hash() {
            "state hash"
        } else {
            continue;
        };
        return Err(Failure::Diverged {
            one: HOSTS[0],
            other: HOSTS[place],
            what,
        });
    }
    Ok(())
}

/// What the checker wants to know of the final state.
fn retained(state: &State) -> Retained {
    let keys: BTreeMap<String, usize> = (0..KEYS).map(|key| (key_name(key), key)).collect();
    let versions = state.versions.iter();
    versions
        .filter_map(|((name, number), version)| {
            let key = *keys.get(name.as_str())?;
            Some(((key, *number), value_of(&version.value)))
        })
        .collect()
}

thread_local! {
    /// Panics on this thread, on which a whole simulation runs. A task that panics ends alone and unnoticed otherwise.
    static PANICS: Cell<u32> = const { Cell::new(0) };
}

fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // A thread that is ending has no count any more, and no simulation.
            let _ = PANICS.try_with(|panics| panics.set(panics.get() + 1));
            print(panic);
        }));
    });
    PANICS.set(0);
}
