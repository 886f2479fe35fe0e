//! Everything that the parts of a run share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use jarvis_cluster::Node;
use jarvis_domain::NodeId;

use super::clock_of_run::RunClock;
use super::founding::{Founded, found};
use super::lock;
use super::machine::{Machine, unseal};
use super::network::Wires;
use super::plan::Plan;
use super::recorder::Recorder;
use super::trace::{Topic, Trace};
use crate::dice::Dice;

/// The host that all clients are on.
pub(super) const CLIENTS: &str = "clients";

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Stage {
    /// Machines become voters.
    Forming,
    /// Clients get their tokens.
    Preparing,
    /// Clients ask, faults come and go.
    Working,
    /// No more faults, no more requests: everything must agree again.
    Healing,
    /// Every key is read and written through every node.
    Finale,
    /// Nothing is asked any more.
    Over,
}

/// What an operator is to do, by the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Hand leadership over, asking this machine.
    Transfer(usize),
    /// Seal this machine's node.
    Seal(usize),
}

/// The tokens of the clients that are not the administrator.
#[derive(Debug, Clone, Default)]
pub(super) struct Tokens {
    /// May read what is stale.
    pub(super) ha: String,
    /// May nothing.
    pub(super) mallory: String,
    /// Loses its right and gets it back.
    pub(super) fickle: String,
}

/// A cluster, its clients' history, and the record of the run.
pub(super) struct Cluster {
    pub(super) plan: Plan,
    pub(super) machines: Vec<Machine>,
    pub(super) founded: Founded,
    pub(super) wires: Arc<Wires>,
    pub(super) clock: Arc<RunClock>,
    pub(super) trace: Arc<Trace>,
    pub(super) recorder: Recorder,
    stage: AtomicU8,
    orders: Mutex<VecDeque<Order>>,
    tokens: Mutex<Option<Tokens>>,
    finale: Mutex<Option<Result<(), String>>>,
    /// Key epochs that were begun.
    epochs: Mutex<u64>,
    /// A leader and a follower that are cut off together.
    deposed: Mutex<Option<(usize, usize)>>,
}

impl Cluster {
    /// Machines without power; the first one has the beginning of a cluster on its disk.
    pub(super) fn new(plan: Plan, keeps_lines: bool) -> anyhow::Result<Arc<Self>> {
        let mut dice = Dice::stream(plan.seed, "machines");
        let places = 0..plan.nodes;
        let machines: Vec<Machine> = places
            .map(|place| Machine::new(place, &plan, &mut dice))
            .collect::<Result<_, _>>()?;
        let trace = Arc::new(Trace::new(keeps_lines));
        let clock = Arc::new(RunClock::default());
        let founded = found(&machines[0], plan.mtls, &mut dice)?;
        Ok(Arc::new(Self {
            machines,
            founded,
            wires: Arc::new(Wires::new(Arc::clone(&trace), !plan.mtls)),
            recorder: Recorder::new(Arc::clone(&clock), Arc::clone(&trace)),
            clock,
            trace,
            stage: AtomicU8::new(Stage::Forming as u8),
            orders: Mutex::default(),
            tokens: Mutex::default(),
            finale: Mutex::default(),
            epochs: Mutex::default(),
            deposed: Mutex::default(),
            plan,
        }))
    }

    /// How far the run is.
    pub(super) fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Relaxed) {
            0 => Stage::Forming,
            1 => Stage::Preparing,
            2 => Stage::Working,
            3 => Stage::Healing,
            4 => Stage::Finale,
            _ => Stage::Over,
        }
    }

    /// The next stage begins.
    pub(super) fn enter(&self, stage: Stage) {
        self.tell(format!("-- {stage:?}"));
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    /// A line of the story.
    pub(super) fn tell(&self, text: String) {
        self.trace.tell(self.clock.now(), Topic::Story, text);
    }

    /// The running nodes, with the places of their machines.
    pub(super) fn nodes(&self) -> Vec<(usize, Node)> {
        let machines = self.machines.iter().enumerate();
        machines
            .filter_map(|(place, machine)| Some((place, machine.node()?)))
            .collect()
    }

    /// The ids of all nodes that have one.
    pub(super) fn node_ids(&self) -> Vec<NodeId> {
        self.machines.iter().filter_map(Machine::id).collect()
    }

    /// The machine that leads, in the newest term in which one says so: (term, place).
    pub(super) fn leader(&self) -> Option<(u64, usize)> {
        let probes = self.nodes().into_iter().filter_map(|(place, node)| {
            let probe = node.probe();
            (probe.role == "leader").then_some((probe.term, place))
        });
        probes.max()
    }

    /// What is to be done by the API.
    pub(super) fn order(&self, order: Order) {
        lock(&self.orders).push_back(order);
    }

    /// The next of it.
    pub(super) fn next_order(&self) -> Option<Order> {
        lock(&self.orders).pop_front()
    }

    /// The clients' tokens, once they have them.
    pub(super) fn tokens(&self) -> Option<Tokens> {
        lock(&self.tokens).clone()
    }

    /// The clients have their tokens.
    pub(super) fn set_tokens(&self, tokens: Tokens) {
        *lock(&self.tokens) = Some(tokens);
    }

    /// What came of the finale, once it is over.
    pub(super) fn finale(&self) -> Option<Result<(), String>> {
        lock(&self.finale).clone()
    }

    /// The finale is over.
    pub(super) fn set_finale(&self, outcome: Result<(), String>) {
        *lock(&self.finale) = Some(outcome);
    }

    /// A key epoch was begun.
    pub(super) fn count_epoch(&self) {
        *lock(&self.epochs) += 1;
    }

    /// How many were.
    pub(super) fn epochs(&self) -> u64 {
        *lock(&self.epochs)
    }

    /// A leader and a follower that are cut off together, if there are such.
    pub(super) fn deposed(&self) -> Option<(usize, usize)> {
        *lock(&self.deposed)
    }

    /// They are cut off, or not any more.
    pub(super) fn set_deposed(&self, pair: Option<(usize, usize)>) {
        *lock(&self.deposed) = pair;
    }

    /// Opens a node that was sealed.
    pub(super) fn unseal(&self, place: usize) {
        let Some(process) = self.machines[place].process() else {
            return;
        };
        if process.vault.is_sealed() {
            let opened = unseal(&process, self.founded.vault_id, &self.founded.root);
            let host = self.machines[place].host;
            self.tell(match opened {
                Ok(()) => format!("{host} is unsealed"),
                Err(error) => format!("{host} is not unsealed: {error:#}"),
            });
        }
    }

    /// Every node, one line each.
    pub(super) fn describe(&self) -> String {
        let lines = self.machines.iter().map(|machine| match machine.process() {
            Some(process) => {
                let (applied, voters) = process
                    .node
                    .with_view(|state| (state.core.applied, state.core.voters.clone()));
                format!(
                    "{}: node {}, leader {:?}, {:?}, applied {applied:?}, voters {voters:?}, sealed {}",
                    machine.host,
                    process.node.id(),
                    process.node.leader(),
                    process.node.probe(),
                    process.vault.is_sealed()
                )
            }
            None => format!("{}: not running", machine.host),
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}
