//! Machines: a name, a disk that outlives processes, clocks, an identity, and at most one running node.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context, anyhow};
use ed25519_dalek::SigningKey;
use jarvis_cluster::Node;
use jarvis_cluster::env::Env;
use jarvis_cluster::network::Security;
use jarvis_cluster::tls::PeerTls;
use jarvis_crypto::seal::key_file::KeyFile;
use jarvis_crypto::{RandomSource, RootKey, SecretBytes};
use jarvis_disk::Disk;
use jarvis_domain::NodeId;
use jarvis_domain::member::Member;
use jarvis_secretsd::config::{Config, Environment};
use jarvis_secretsd::server::Parts;
use jarvis_secretsd::service::{KeyFileSource, Vault};
use jarvis_secretsd::setup::{self, Files};
use tokio::sync::watch;

use super::clock::{MachineClock, WALL_SPREAD_MS};
use super::disk::{AUDIT_DIR, DATA_DIR, MachineDisk};
use super::lock;
use super::network::{SimNet, Wires};
use super::plan::Plan;
use super::random::{SeededRandom, fork, secret, source};
use crate::dice::Dice;

/// The machines' names in the simulated network.
pub(super) const HOSTS: [&str; 5] = ["node-a", "node-b", "node-c", "node-d", "node-e"];
/// Where peers meet, on every machine.
const PEER_PORT: u16 = 7_000;
/// Where clients ask, on every machine.
pub(super) const API_PORT: u16 = 8_081;
/// Log bytes that make a snapshot due in runs with snapshots: a hundred entries or so.
const SMALL_SNAPSHOT_BYTES: u64 = 48 * 1024;
/// In runs without snapshots: more than a run writes.
const LARGE_BYTES: u64 = 1 << 30;
/// Segments of the log: small, so that a purge removes some, and looking at one is cheap.
const SEGMENT_BYTES: u64 = 16 * 1024;
/// A signature under the trail every so many events.
const CHECKPOINT_EVENTS: u64 = 400;

/// One machine.
pub(super) struct Machine {
    pub(super) host: &'static str,
    pub(super) disk: Arc<MachineDisk>,
    pub(super) clock: Arc<MachineClock>,
    config: Arc<Config>,
    /// 32 bytes that open this node's seal slot.
    key_file: [u8; 32],
    audit_key: [u8; 32],
    /// Names it where nobody shows a key (rule 11).
    peer_key: [u8; 32],
    dice: Mutex<Dice>,
    life: Mutex<Life>,
}

/// What becomes of a machine.
#[derive(Default)]
struct Life {
    /// Once the cluster gave it one.
    id: Option<NodeId>,
    /// Certificate and key for its peers, and the CA's certificate, where they talk TLS.
    tls: Option<PeerFiles>,
    /// Of the running node.
    process: Option<Process>,
    /// It was told to start, and has neither started nor refused yet.
    is_starting: bool,
    /// Its last start was refused.
    refusal: Option<Refusal>,
    /// It said that it can not go on.
    fatal: Option<String>,
    /// Counts processes; what an earlier one says does not count any more.
    processes: u64,
    /// Syncs that had failed when the process began.
    failed_syncs: u64,
    /// A fault took its log away.
    is_log_away: bool,
}

/// What a machine with TLS shows its peers.
#[derive(Clone)]
pub(super) struct PeerFiles {
    pub(super) ca: Vec<u8>,
    pub(super) certificate: Vec<u8>,
    pub(super) key: Vec<u8>,
}

/// A started node.
#[derive(Clone)]
pub(super) struct Process {
    pub(super) node: Node,
    pub(super) vault: Arc<Vault>,
    /// Dropped with the process: connections then end.
    pub(super) _stop: Arc<watch::Sender<bool>>,
}

/// Why a node did not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Its log was gone (rule 11).
    pub(super) is_lost_log: bool,
    /// In words.
    pub(super) reason: String,
}

impl Machine {
    /// A machine without power.
    pub(super) fn new(place: usize, plan: &Plan, dice: &mut Dice) -> anyhow::Result<Self> {
        let host = HOSTS[place];
        let number = u8::try_from(place).unwrap_or(u8::MAX);
        Ok(Self {
            host,
            disk: Arc::new(MachineDisk::new(plan.pace, fork(dice))),
            clock: Arc::new(MachineClock::new(dice.below(WALL_SPREAD_MS))),
            config: Arc::new(config_of(host, plan)?),
            key_file: secret(dice),
            audit_key: secret(dice),
            peer_key: [number + 1; 32],
            dice: Mutex::new(fork(dice)),
            life: Mutex::default(),
        })
    }

    /// The files of its node.
    pub(super) fn files(&self) -> Files {
        Files::on(self.disk.clone(), PathBuf::from(DATA_DIR))
    }

    /// How its node is configured.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// What a start may use of it.
    pub(super) fn env(&self, wires: &Arc<Wires>) -> Env {
        let net = SimNet {
            host: self.host,
            wires: Arc::clone(wires),
        };
        Env {
            net: Arc::new(net),
            clock: self.clock.clone(),
            random: Arc::new(SeededRandom::new(self.fork_dice())),
            disk: self.disk.clone(),
            simulated: true,
        }
    }

    /// Everything that its next start needs.
    pub(super) fn parts(&self, wires: &Arc<Wires>) -> anyhow::Result<Parts> {
        let identity = self.files().identity()?;
        let identity = identity.ok_or_else(|| anyhow!("nobody lives on {}", self.host))?;
        let (env, random) = (self.env(wires), source(self.fork_dice()));
        let tls = lock(&self.life).tls.clone();
        let security = match tls {
            Some(PeerFiles {
                ca,
                certificate,
                key,
            }) => Security::MutualTls(Arc::new(PeerTls::new(
                env.clock.clone(),
                &ca,
                &certificate,
                &key,
            )?)),
            None => Security::DangerPlain,
        };
        let (key, key_random) = (self.key_file, random.clone());
        let key_file: KeyFileSource = Arc::new(move || {
            key_file_of(&key, key_random.clone()).map_err(|error| error.to_string())
        });
        Ok(Parts {
            config: Arc::clone(&self.config),
            identity,
            files: self.files(),
            env,
            security,
            key_file,
            random,
            certificates: Vec::new(),
            on_fatal: Arc::new(|_| {}),
        })
    }

    /// The key file that opens its seal slot.
    pub(super) fn key_file(&self) -> anyhow::Result<KeyFile> {
        key_file_of(&self.key_file, source(self.fork_dice()))
    }

    /// The seed of the key that signs its trail.
    pub(super) const fn audit_seed(&self) -> &[u8; 32] {
        &self.audit_key
    }

    /// How its node describes itself; `peer_key` where it shows one.
    pub(super) fn member(&self, peer_key: Option<[u8; 32]>) -> Member {
        let audit_key = SigningKey::from_bytes(&self.audit_key);
        setup::member(
            &self.config,
            peer_key.unwrap_or(self.peer_key),
            audit_key.verifying_key().to_bytes(),
        )
    }

    /// What it shows its peers from now on.
    pub(super) fn set_peer_files(&self, files: PeerFiles) {
        lock(&self.life).tls = Some(files);
    }

    /// The id of its node, once it lives.
    pub(super) fn id(&self) -> Option<NodeId> {
        lock(&self.life).id
    }

    /// From here on a node lives on it.
    pub(super) fn set_id(&self, id: NodeId) {
        lock(&self.life).id = Some(id);
    }

    /// The running node.
    pub(super) fn node(&self) -> Option<Node> {
        lock(&self.life)
            .process
            .as_ref()
            .map(|process| process.node.clone())
    }

    /// The running process.
    pub(super) fn process(&self) -> Option<Process> {
        lock(&self.life).process.clone()
    }

    /// Whether a process runs, or is about to.
    pub(super) fn is_on(&self) -> bool {
        let life = lock(&self.life);
        life.process.is_some() || life.is_starting
    }

    /// A process begins: its number.
    pub(super) fn begins(&self) -> u64 {
        let mut life = lock(&self.life);
        life.is_starting = true;
        life.refusal = None;
        life.fatal = None;
        life.failed_syncs = self.disk.failed_syncs();
        life.processes += 1;
        life.processes
    }

    /// Whether a sync failed since its process began: then the process must end, and may say so.
    pub(super) fn has_failed_sync(&self) -> bool {
        self.disk.failed_syncs() > lock(&self.life).failed_syncs
    }

    /// A fault takes its log away, or puts it back.
    pub(super) fn set_log_away(&self, is_away: bool) {
        lock(&self.life).is_log_away = is_away;
    }

    /// Whether its log is away.
    pub(super) fn is_log_away(&self) -> bool {
        lock(&self.life).is_log_away
    }

    /// It has started, and serves.
    pub(super) fn runs(&self, process: Process) {
        let mut life = lock(&self.life);
        life.is_starting = false;
        life.process = Some(process);
    }

    /// It refuses to start.
    pub(super) fn refuses(&self, refusal: Refusal) {
        let mut life = lock(&self.life);
        life.is_starting = false;
        life.refusal = Some(refusal);
    }

    /// The process with this number says that it can not go on.
    pub(super) fn fails(&self, process: u64, reason: String) {
        let mut life = lock(&self.life);
        if life.processes == process {
            life.fatal.get_or_insert(reason);
        }
    }

    /// The process is over; whoever holds what is returned keeps its memory.
    pub(super) fn ends(&self) -> Option<Process> {
        let mut life = lock(&self.life);
        life.is_starting = false;
        life.refusal = None;
        life.fatal = None;
        // What it still says in its last moments is nobody's business.
        life.processes += 1;
        life.process.take()
    }

    /// Why its last start was refused.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        lock(&self.life).refusal.clone()
    }

    /// Why its process can not go on.
    pub(super) fn take_fatal(&self) -> Option<String> {
        lock(&self.life).fatal.take()
    }

    fn fork_dice(&self) -> Dice {
        fork(&mut lock(&self.dice))
    }
}

/// The operator opens a sealed node again: argon2 of the passphrase would cost more than the whole run.
pub(super) fn unseal(process: &Process, vault_id: [u8; 16], root: &[u8; 32]) -> anyhow::Result<()> {
    process.vault.unseal(vault_id, root_key(root)?);
    process.node.set_sealed(false);
    Ok(())
}

/// The root key behind these bytes.
pub(super) fn root_key(root: &[u8; 32]) -> anyhow::Result<RootKey> {
    Ok(RootKey::from_secret(SecretBytes::new(root.to_vec()))?)
}

fn key_file_of(secret: &[u8; 32], random: RandomSource) -> anyhow::Result<KeyFile> {
    Ok(KeyFile::from_secret(
        SecretBytes::new(secret.to_vec()),
        random,
    )?)
}

fn config_of(host: &str, plan: &Plan) -> anyhow::Result<Config> {
    let text = format!(
        r#"
[server]
bind_addr = "0.0.0.0:{API_PORT}"
danger_plain_http = true
[cluster]
node_name = "{host}"
peer_addr = "0.0.0.0:{PEER_PORT}"
advertise_peer_addr = "{host}:{PEER_PORT}"
advertise_api_addr = "{host}:{API_PORT}"
[paths]
vault_path = "{DATA_DIR}"
audit_path = "{AUDIT_DIR}"
[limits]
request_deadline_ms = 2000
forbidden_per_second = 1000
unauthenticated_per_second = 1000
max_versions = 100
[audit]
checkpoint_events = {CHECKPOINT_EVENTS}
checkpoint_secs = 5
min_free_bytes = 0
"#
    );
    let parsed = Config::parse(Path::new("sim.toml"), &text, &Environment::default());
    let mut config = parsed.context("the simulated nodes' configuration")?.config;
    config.raft.snapshot_wal_bytes = if plan.has_snapshots {
        SMALL_SNAPSHOT_BYTES
    } else {
        LARGE_BYTES
    };
    config.raft.wal_segment_bytes = SEGMENT_BYTES;
    Ok(config)
}

/// Copies a folder of the disk to the real one.
pub(super) fn export(disk: &MachineDisk, from: &str, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    let disk = disk.platter();
    for path in disk.list(Path::new(from))? {
        if let Some(name) = path.file_name() {
            std::fs::write(to.join(name), disk.read(&path)?)?;
        }
    }
    Ok(())
}
