//! A node that was away while the others closed audit segments, made snapshots and purged their logs comes back: the
//! snapshot is streamed to it while writes go on, it fetches the closed segments by itself, and then its state hash and
//! its trail are those of the others (C7, X4; DESIGN 4, rule 7).
//!
//! Three nodes in one process, over real sockets and real files. Without TLS, which only a simulated environment allows;
//! nothing else is simulated.

#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use jarvis_audit::reader::Trail;
use jarvis_audit::verify::verify;
use jarvis_cluster::env::Env;
use jarvis_cluster::network::Security;
use jarvis_cluster::raft::RaftTiming;
use jarvis_cluster::{Node, NodeConfig, StartError};
use jarvis_domain::command::{Caller, Change, ClusterCommand, Command, Init, Mutation, Write};
use jarvis_domain::limits::VaultLimits;
use jarvis_domain::member::{Cluster as ClusterFacts, Member, SealSlot};
use jarvis_domain::name::{ClientId, SecretName};
use jarvis_domain::outcome::Outcome;
use jarvis_domain::policy::{ClientRules, Glob, Policy, Rule, VerbSet};
use jarvis_domain::secret::{About, SealedValue};
use jarvis_domain::state::State;
use jarvis_domain::token::Credential;
use jarvis_domain::{FEATURE_LEVEL, NodeId};
use tokio::time::{Instant, sleep};

const CLUSTER_ID: [u8; 16] = [0x45; 16];
/// The founding node (rule 11).
const FOUNDER: NodeId = 1;
const CLIENT: &str = "admin";

/// Log bytes that make a snapshot due: as often as the snapshots' own size allows.
const SNAPSHOT_BYTES: u64 = 64 * 1024;
const SEGMENT_BYTES: u64 = 64 * 1024;
/// Writes in one batch, each with an event of its own (A15).
const BATCH: u64 = 64;
/// Bytes of a value.
const VALUE_BYTES: usize = 1_024;
/// Closed audit segments that the returning node lacks.
const CLOSED_SEGMENTS: usize = 2;
/// Writes acknowledged after the return, before the writer stops.
const WRITES_AFTER_RETURN: u64 = 20;

/// Far above what an idle machine needs.
const LIMIT: Duration = Duration::from_secs(120);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// What a request waits for its answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// A join must be alone in its batch (rule 11); housekeeping may be in the way a few times.
const JOIN_TRIES: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn t45_a_lagging_node_gets_a_snapshot_while_writes_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let troubles = Troubles::default();
    let machines: Vec<Machine> = (1..=3)
        .map(|number| Machine::new(number, folder.path(), troubles.clone()))
        .collect();

    phase("three nodes");
    let mut ids = vec![FOUNDER];
    let mut nodes = vec![Box::pin(machines[0].start(FOUNDER)).await];
    Box::pin(found(&nodes[0], &machines[0])).await;
    for machine in &machines[1..] {
        let id = Box::pin(admit(&nodes[0], machine)).await;
        ids.push(id);
        nodes.push(Box::pin(machine.start(id)).await);
    }
    until("all three vote", || {
        nodes
            .iter()
            .all(|node| node.with_view(|state| state.core.voters.len()) == 3)
    })
    .await;
    let numbers = Arc::new(AtomicU64::new(0));
    write(&nodes[0], &numbers, BATCH).await;

    phase("one that does not lead goes away");
    let away = if nodes[2].leads() { 1 } else { 2 };
    let gone = nodes.remove(away);
    let its_last = gone.probe().last_log;
    Box::pin(gone.shut_down()).await;
    drop(gone);

    phase("the others close audit segments, make snapshots, and purge what it would need");
    let patience = Instant::now() + LIMIT;
    while !nodes.iter().all(|node| has_moved_on(node, its_last)) {
        assert!(Instant::now() < patience, "the logs are not purged");
        write(&nodes[0], &numbers, BATCH).await;
    }

    phase("it comes back while writes go on");
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write_on(nodes[0].clone(), numbers.clone(), stop.clone()));
    let before_return = numbers.load(Ordering::Relaxed);
    let others_applied = nodes[0].probe().applied;
    let back = Box::pin(machines[away].start(ids[away])).await;
    until("it has got past what it missed", || {
        back.probe().applied >= others_applied
    })
    .await;
    until("writes went on meanwhile", || {
        numbers.load(Ordering::Relaxed) >= before_return + WRITES_AFTER_RETURN
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();

    phase("it came by a snapshot, not by the log");
    assert!(
        machines[away]
            .snapshot_indexes()
            .iter()
            .any(|index| *index > its_last),
        "no snapshot arrived"
    );
    assert!(
        first_raft_index(&back) > its_last + 1,
        "its log goes on without a gap from where it was"
    );

    phase("its state is that of the others");
    nodes.insert(away, back);
    let views = views_of_one_index(&nodes).await;
    for view in &views[1..] {
        assert!(
            view.hash() == views[0].hash(),
            "the state hashes differ at index {}",
            view.core.applied.index
        );
    }

    phase("so is its trail, with the segments that were closed while it was away");
    let upto = views[0].core.trail.seq;
    until("its trail is whole", || {
        verify(&machines[away].audit_dir()).is_ok_and(|report| {
            report.first_seq == 1 && report.last_seq >= upto && report.events >= upto
        })
    })
    .await;
    let expected = trail(&machines[0], upto);
    assert_eq!(u64::try_from(expected.len()).unwrap(), upto);
    for machine in &machines[1..] {
        assert!(
            trail(machine, upto) == expected,
            "the trails of {} and {} differ",
            machine.name(),
            machines[0].name()
        );
    }

    for node in &nodes {
        Box::pin(node.shut_down()).await;
    }
    assert_eq!(troubles.all(), Vec::<String>::new());
}

/// The nodes' states as soon as all of them are of one index.
async fn views_of_one_index(nodes: &[Node]) -> Vec<State> {
    let patience = Instant::now() + LIMIT;
    loop {
        let views: Vec<State> = nodes.iter().map(Node::view).collect();
        let first = views[0].core.applied;
        if views.iter().all(|view| view.core.applied == first) {
            return views;
        }
        assert!(Instant::now() < patience, "the nodes never agree");
        sleep(LOOK_AGAIN).await;
    }
}

/// Whether a node can not serve the one that left from its log any more, and closed enough segments.
fn has_moved_on(node: &Node, its_last: u64) -> bool {
    let closed = node.with_view(|state| state.segments.iter().count());
    closed >= CLOSED_SEGMENTS && first_raft_index(node) > its_last + 1
}

/// The first entry that is still in a node's log. (The log counts from one above Raft's index.)
fn first_raft_index(node: &Node) -> u64 {
    node.wal().first_index().saturating_sub(1)
}

/// Writes small batches until it is told to stop.
async fn write_on(node: Node, numbers: Arc<AtomicU64>, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        write(&node, &numbers, 1).await;
    }
}

/// Writes so many values in one batch, which must be acknowledged; `numbers` counts acknowledged values.
async fn write(node: &Node, numbers: &AtomicU64, count: u64) {
    let first = numbers.load(Ordering::Relaxed);
    let writes = (first..first + count).map(|number| Write {
        name: SecretName::parse(&format!("load/{}", number % BATCH)).unwrap(),
        value: sealed(number),
        cas: None,
        about: About::default(),
    });
    let command = mutation(format!("write-{first}"), Change::Write(writes.collect()));
    let reply = node
        .propose(command, Instant::now() + DEADLINE)
        .await
        .unwrap();
    assert!(
        matches!(&reply.outcome, Outcome::Written(written) if written.len() as u64 == count),
        "{:?}",
        reply.outcome
    );
    numbers.store(first + count, Ordering::Relaxed);
}

/// A value as the cluster sees it: bytes. No two version ids are equal.
fn sealed(number: u64) -> SealedValue {
    let mut version_id = [0; 32];
    version_id[..8].copy_from_slice(&number.to_be_bytes());
    SealedValue {
        version_id,
        epoch: 1,
        ciphertext: vec![number.to_be_bytes()[7]; VALUE_BYTES],
        binary: false,
    }
}

/// Begins the cluster.
async fn found(node: &Node, machine: &Machine) {
    let everything = Rule {
        name: Glob::parse("*").unwrap(),
        verbs: VerbSet::ALL,
        stale_max_ms: 0,
    };
    let rules = ClientRules {
        allow: vec![everything],
        deny: Vec::new(),
    };
    let init = Init {
        cluster: ClusterFacts {
            cluster_id: CLUSTER_ID,
            vault_id: [0x76; 16],
            recovery_epoch: 0,
            ca_certificate: b"example-certificate".to_vec(),
            ca_key_wrapped: b"example-not-a-secret".to_vec(),
        },
        limits: VaultLimits::default(),
        member: machine.member(),
        slot: SealSlot {
            kind: "key_file".to_owned(),
            node: None,
            blob: b"example-not-a-secret".to_vec(),
            created: 0,
        },
        epoch: b"example-not-a-secret".to_vec(),
        policy: Policy {
            default_deny: true,
            clients: [(CLIENT.to_owned(), rules)].into(),
        },
        policy_source: "admin may do everything".to_owned(),
    };
    node.begin(init, Instant::now() + DEADLINE).await.unwrap();
}

/// A token for one node, then the node.
async fn admit(node: &Node, machine: &Machine) -> NodeId {
    let token_hash = [machine.number; 32];
    let token = Change::CreateJoinToken {
        id: [machine.number; 16],
        hash: token_hash,
        uses: 1,
        ttl_ms: 3_600_000,
    };
    let command = mutation(format!("setup-{}", machine.number), token);
    let made = node
        .propose(command, Instant::now() + DEADLINE)
        .await
        .unwrap();
    assert!(
        matches!(made.outcome, Outcome::Created { .. }),
        "{:?}",
        made.outcome
    );
    for _ in 0..JOIN_TRIES {
        let join = ClusterCommand::Join {
            token_hash,
            member: machine.member(),
        };
        let command = Command::Cluster(Box::new(join));
        let reply = node
            .propose(command, Instant::now() + DEADLINE)
            .await
            .unwrap();
        if let Outcome::Joined { node } = reply.outcome {
            return node;
        }
    }
    panic!("{} was not let in", machine.name());
}

fn mutation(request_id: String, change: Change) -> Command {
    Command::Mutate(Mutation {
        caller: Caller {
            client: ClientId::parse(CLIENT).unwrap(),
            credential: Credential::System,
            request_id,
        },
        idempotency: None,
        change,
    })
}

/// A place for one node: folder and address.
struct Machine {
    number: u8,
    dir: PathBuf,
    address: String,
    troubles: Troubles,
}

impl Machine {
    fn new(number: u8, folder: &Path, troubles: Troubles) -> Self {
        Self {
            number,
            dir: folder.join(format!("n{number}")),
            address: format!("127.0.0.1:{}", free_port(number)),
            troubles,
        }
    }

    fn name(&self) -> String {
        format!("n{}", self.number)
    }

    fn audit_dir(&self) -> PathBuf {
        self.dir.join("audit")
    }

    /// How its node describes itself. Without TLS nobody shows a key.
    fn member(&self) -> Member {
        Member {
            name: self.name(),
            peer_address: self.address.clone(),
            api_address: format!("http://{}", self.name()),
            peer_key: [self.number; 32],
            audit_key: self.audit_key().verifying_key().to_bytes(),
            level: FEATURE_LEVEL,
            joined: 0,
        }
    }

    /// Starts its node; the address of an earlier one may need a moment to be free again.
    async fn start(&self, id: NodeId) -> Node {
        let patience = Instant::now() + LIMIT;
        loop {
            let env = Env {
                simulated: true,
                ..Env::production()
            };
            let starting = Node::start(self.config(id), env, Security::DangerPlain);
            match Box::pin(starting).await {
                Ok(node) => {
                    node.set_sealed(false);
                    return node;
                }
                Err(StartError::Bind { .. }) if Instant::now() < patience => {
                    sleep(LOOK_AGAIN).await;
                }
                Err(error) => panic!("{} does not start: {error}", self.name()),
            }
        }
    }

    fn config(&self, node_id: NodeId) -> NodeConfig {
        let member = self.member();
        let (name, troubles) = (self.name(), self.troubles.clone());
        NodeConfig {
            node_id,
            cluster_id: CLUSTER_ID,
            recovery_epoch: 0,
            name: member.name,
            data_dir: self.dir.clone(),
            audit_dir: self.audit_dir(),
            peer_bind: self.address.clone(),
            peer_address: member.peer_address,
            api_address: member.api_address,
            // Everything runs in one process, unoptimised: patient enough for a snapshot in between.
            timing: RaftTiming {
                heartbeat_ms: 100,
                election_min_ms: 1_000,
                election_max_ms: 2_000,
            },
            snapshot_wal_bytes: SNAPSHOT_BYTES,
            wal_segment_bytes: SEGMENT_BYTES,
            checkpoint_events: 1_000,
            // By number only: a cluster without writes is quiet, so that its nodes can be compared.
            checkpoint_interval: Duration::from_secs(86_400),
            audit_keep_bytes: u64::MAX,
            audit_keep: None,
            audit_require_export: false,
            audit_min_free_bytes: 0,
            audit_key: self.audit_key(),
            version: "tested".to_owned(),
            on_fatal: Arc::new(move |reason: String| {
                troubles.add(format!("{name} can not go on: {reason}"));
            }),
        }
    }

    fn audit_key(&self) -> SigningKey {
        SigningKey::from_bytes(&[self.number; 32])
    }

    /// Indexes of its snapshot files.
    fn snapshot_indexes(&self) -> Vec<u64> {
        std::fs::read_dir(self.dir.join("snapshots"))
            .unwrap()
            .filter_map(|entry| {
                let name = entry.ok()?.file_name().into_string().ok()?;
                name.strip_suffix(".snap")?.parse().ok()
            })
            .collect()
    }
}

/// What must not happen and did.
#[derive(Clone, Default)]
struct Troubles(Arc<Mutex<Vec<String>>>);

impl Troubles {
    fn add(&self, trouble: String) {
        let mut troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.push(trouble);
    }

    fn all(&self) -> Vec<String> {
        let troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.clone()
    }
}

/// The first lines of a trail as they lie on the disk.
fn trail(machine: &Machine, upto: u64) -> Vec<String> {
    Trail::from_seq(&machine.audit_dir(), 1)
        .unwrap()
        .map(|line| line.unwrap().json)
        .take(usize::try_from(upto).unwrap())
        .collect()
}

/// A free port below those that the system hands out by itself, so that a node that was away finds its own again.
fn free_port(number: u8) -> u16 {
    let own = u16::try_from(std::process::id() % 500).unwrap();
    let first = 26_000 + own * 10 + u16::from(number) * 3;
    (first..first + 3)
        .chain(32_000..32_768)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("one of some hundred ports is free")
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let patience = Instant::now() + LIMIT;
    while !holds() {
        assert!(
            Instant::now() < patience,
            "not within {} s: {what}",
            LIMIT.as_secs()
        );
        sleep(LOOK_AGAIN).await;
    }
}

fn phase(what: &str) {
    eprintln!("--- {what}");
}
