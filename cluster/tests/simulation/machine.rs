//! Machines: a name, a disk that outlives processes, clocks, and at most one running node.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use jarvis_cluster::env::{Clock, Env};
use jarvis_cluster::raft::RaftTiming;
use jarvis_cluster::{Node, NodeConfig};
use jarvis_disk::SimDisk;
use jarvis_domain::member::Member;
use jarvis_domain::{FEATURE_LEVEL, NodeId};
use tokio::sync::mpsc;
use turmoil::Sim;

use crate::dice::{Dice, SimRandom};
use crate::history::History;
use crate::lock;
use crate::network::{SimNet, Wires};
use crate::software::Request;

/// The machines' names in the simulated network.
pub(crate) const HOSTS: [&str; 3] = ["node-a", "node-b", "node-c"];
/// The founding node (rule 11).
pub(crate) const FOUNDER: NodeId = 1;
/// The cluster's identity.
pub(crate) const CLUSTER_ID: [u8; 16] = [0x51; 16];
/// Where peers meet, on every machine.
const PEER_PORT: u16 = 7_000;
/// Where wall clocks begin, ms since the Unix epoch.
const WALL_START_MS: u64 = 1_795_316_400_000;
/// How far wall clocks are apart: less than a step of agreed time (rule 5), so that it is steered.
const WALL_SPREAD_MS: usize = 20_000;
/// Log bytes that make a snapshot due in runs with snapshots: a few of them in a run.
const SMALL_SNAPSHOT_BYTES: u64 = 48 * 1024;
/// Segments of the write-ahead log in such runs: small enough that a purge removes some.
const SMALL_SEGMENT_BYTES: u64 = 16 * 1024;
/// In runs without snapshots: more than a run writes.
const LARGE_BYTES: u64 = 64 * 1024 * 1024;

/// A run draws whether it takes snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Snapshots {
    /// Every few seconds; the log is purged behind them.
    Often,
    /// The log keeps everything.
    Never,
}

/// Everything that the parts of a run share.
pub(crate) struct Cluster {
    /// One per name in [`HOSTS`].
    pub(crate) machines: Vec<Machine>,
    /// The connections between them.
    pub(crate) wires: Arc<Wires>,
    /// What clients did.
    pub(crate) history: Arc<History>,
    /// What must not happen and did: a node that can not go on, a refusal without reason.
    pub(crate) troubles: Arc<Troubles>,
}

impl Cluster {
    /// Three machines without power.
    pub(crate) fn new(dice: &mut Dice, snapshots: Snapshots) -> Arc<Self> {
        let troubles = Arc::new(Troubles::default());
        let machines = (0..HOSTS.len())
            .map(|host| Machine::new(host, dice, snapshots, Arc::clone(&troubles)))
            .collect();
        Arc::new(Self {
            machines,
            wires: Arc::default(),
            history: Arc::default(),
            troubles,
        })
    }

    /// The running nodes.
    pub(crate) fn nodes(&self) -> Vec<Node> {
        self.machines.iter().filter_map(Machine::node).collect()
    }

    /// The machine that leads, in the newest term in which one says so, and that term.
    pub(crate) fn leader(&self) -> Option<(u64, usize)> {
        let probes = self
            .machines
            .iter()
            .enumerate()
            .filter_map(|(host, machine)| {
                let probe = machine.node()?.probe();
                (probe.role == "leader").then_some((probe.term, host))
            });
        probes.max()
    }

    /// Cuts a machine's power: whatever was not synced is gone, except that a half-written tail may have got through.
    pub(crate) fn power_off(&self, sim: &mut Sim<'static>, host: usize, dice: &mut Dice) {
        let machine = &self.machines[host];
        machine.life.fetch_add(1, Ordering::SeqCst);
        let process = lock(&machine.running).take();
        // The disk first: what the dying process still tries to write must not reach it.
        if dice.flip() {
            machine.disk.crash();
        } else {
            machine
                .disk
                .crash_torn(|_, unsynced| dice.below(unsynced + 1));
        }
        self.wires.unplug(HOSTS[host]);
        sim.crash(HOSTS[host]);
        drop(process);
    }

    /// Every node, one line each.
    pub(crate) fn describe(&self) -> String {
        let lines = self.machines.iter().map(|machine| match machine.node() {
            Some(node) => format!(
                "{}: leader {:?}, {:?}, voters {:?}",
                machine.host,
                node.leader(),
                node.probe(),
                node.with_view(|state| state.core.voters.clone()),
            ),
            None => format!("{}: not running", machine.host),
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// What must not happen and did, in words.
#[derive(Default)]
pub(crate) struct Troubles(Mutex<Vec<String>>);

impl Troubles {
    /// Notes one.
    pub(crate) fn add(&self, trouble: String) {
        lock(&self.0).push(trouble);
    }

    /// The first one.
    pub(crate) fn first(&self) -> Option<String> {
        lock(&self.0).first().cloned()
    }
}

/// One machine.
pub(crate) struct Machine {
    host: &'static str,
    number: u8,
    disk: Arc<SimDisk>,
    clock: Arc<SimClock>,
    random: Mutex<Dice>,
    snapshots: Snapshots,
    troubles: Arc<Troubles>,
    /// Counts power cuts: what a process from before one says does not count.
    life: Arc<AtomicU64>,
    id: Mutex<Option<NodeId>>,
    running: Mutex<Option<Running>>,
}

/// A started node.
struct Running {
    node: Node,
    requests: mpsc::Sender<Request>,
}

impl Machine {
    fn new(place: usize, dice: &mut Dice, snapshots: Snapshots, troubles: Arc<Troubles>) -> Self {
        let clock = SimClock {
            offset_ms: dice.below(WALL_SPREAD_MS) as u64,
            last_micros: AtomicU64::new(0),
        };
        Self {
            host: HOSTS[place],
            number: place as u8,
            disk: SimDisk::new(),
            clock: Arc::new(clock),
            random: Mutex::new(dice.fork()),
            snapshots,
            troubles,
            life: Arc::default(),
            id: Mutex::new((place == 0).then_some(FOUNDER)),
            running: Mutex::default(),
        }
    }

    /// The disk, to look at the files.
    pub(crate) fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// The id of its node, once the cluster gave it one.
    pub(crate) fn id(&self) -> Option<NodeId> {
        *lock(&self.id)
    }

    /// The cluster gave its node an id.
    pub(crate) fn set_id(&self, id: NodeId) {
        *lock(&self.id) = Some(id);
    }

    /// The running node.
    pub(crate) fn node(&self) -> Option<Node> {
        lock(&self.running)
            .as_ref()
            .map(|running| running.node.clone())
    }

    /// A node has started and takes requests.
    pub(crate) fn runs(&self, node: Node, requests: mpsc::Sender<Request>) {
        *lock(&self.running) = Some(Running { node, requests });
    }

    /// Forgets the process, at the end of a run.
    pub(crate) fn let_go(&self) {
        *lock(&self.running) = None;
    }

    /// Hands a request to the node; `false` if there is none, or it takes none.
    pub(crate) fn send(&self, request: Request) -> bool {
        lock(&self.running)
            .as_ref()
            .is_some_and(|running| running.requests.try_send(request).is_ok())
    }

    /// How its node describes itself. Without TLS nobody shows the key, but it names the machine (rule 11).
    pub(crate) fn member(&self) -> Member {
        Member {
            name: self.host.to_owned(),
            peer_address: format!("{}:{PEER_PORT}", self.host),
            api_address: format!("http://{}", self.host),
            peer_key: [self.number + 1; 32],
            audit_key: self.audit_key().verifying_key().to_bytes(),
            level: FEATURE_LEVEL,
            joined: 0,
        }
    }

    /// What a node started on this machine may use of it.
    pub(crate) fn env(&self, wires: &Arc<Wires>) -> Env {
        let net = SimNet {
            host: self.host,
            wires: Arc::clone(wires),
        };
        Env {
            net: Arc::new(net),
            clock: self.clock.clone(),
            random: Arc::new(SimRandom::new(lock(&self.random).fork())),
            disk: self.disk.clone(),
            simulated: true,
        }
    }

    /// How a node is started on this machine.
    pub(crate) fn config(&self, node_id: NodeId) -> NodeConfig {
        let member = self.member();
        let (snapshot_wal_bytes, wal_segment_bytes) = match self.snapshots {
            Snapshots::Often => (SMALL_SNAPSHOT_BYTES, SMALL_SEGMENT_BYTES),
            Snapshots::Never => (LARGE_BYTES, LARGE_BYTES),
        };
        let (host, troubles, life) = (
            self.host,
            Arc::clone(&self.troubles),
            Arc::clone(&self.life),
        );
        let born = life.load(Ordering::SeqCst);
        NodeConfig {
            node_id,
            cluster_id: CLUSTER_ID,
            recovery_epoch: 0,
            name: member.name,
            data_dir: Path::new("/data").to_path_buf(),
            audit_dir: audit_dir().to_path_buf(),
            peer_bind: format!("0.0.0.0:{PEER_PORT}"),
            peer_address: member.peer_address,
            api_address: member.api_address,
            timing: RaftTiming::default(),
            snapshot_wal_bytes,
            wal_segment_bytes,
            checkpoint_events: 200,
            checkpoint_interval: Duration::from_secs(5),
            audit_keep_bytes: u64::MAX,
            audit_keep: None,
            audit_require_export: false,
            audit_min_free_bytes: 0,
            audit_key: self.audit_key(),
            version: "simulated".to_owned(),
            on_fatal: Arc::new(move |reason: String| {
                if life.load(Ordering::SeqCst) == born {
                    troubles.add(format!("{host} can not go on: {reason}"));
                }
            }),
        }
    }

    fn audit_key(&self) -> SigningKey {
        SigningKey::from_bytes(&[self.number + 1; 32])
    }
}

/// Where every machine keeps its trail.
pub(crate) fn audit_dir() -> &'static Path {
    Path::new("/data/audit")
}

/// Virtual time, and a wall clock that is wrong by a constant.
struct SimClock {
    offset_ms: u64,
    /// The last answer: outside of the simulation's steps there is no other.
    last_micros: AtomicU64,
}

impl Clock for SimClock {
    fn wall_ms(&self) -> u64 {
        let elapsed_ms = u64::try_from(self.monotonic().as_millis()).unwrap_or(u64::MAX);
        (WALL_START_MS + self.offset_ms).saturating_add(elapsed_ms)
    }

    fn monotonic(&self) -> Duration {
        let elapsed = turmoil::sim_elapsed().unwrap_or_default();
        let now = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        let last = self.last_micros.fetch_max(now, Ordering::Relaxed);
        Duration::from_micros(last.max(now))
    }
}
