//! Three whole nodes in one process: real sockets, real TLS, real time, and logs that can be slowed down.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use jarvis_cluster::env::Env;
use jarvis_cluster::network::Security;
use jarvis_cluster::raft::RaftTiming;
use jarvis_cluster::tls::{ClusterCa, PeerTls, Validity, new_key_and_csr, spki_sha256};
use jarvis_cluster::wal::DEFAULT_SEGMENT_BYTES;
use jarvis_cluster::{Node, NodeConfig};
use jarvis_domain::command::{Caller, Change, ClusterCommand, Command, Init, Mutation};
use jarvis_domain::limits::VaultLimits;
use jarvis_domain::member::{Cluster as ClusterFacts, Member, SealSlot};
use jarvis_domain::name::ClientId;
use jarvis_domain::outcome::Outcome;
use jarvis_domain::policy::{ClientRules, Glob, Policy, Rule, VerbSet};
use jarvis_domain::token::Credential;
use jarvis_domain::{FEATURE_LEVEL, NodeId};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use crate::disk::{Stall, StallingDisk};
use crate::{DEADLINE, LIMIT, LOOK_AGAIN, until};

const CLUSTER_ID: [u8; 16] = [0x51; 16];
/// The founding node (rule 11).
const FOUNDER: NodeId = 1;
const CLIENT: &str = "admin";
/// Far longer than the story.
const CERTIFIED_FOR: Duration = Duration::from_secs(86_400);
/// A join must be alone in its batch (rule 11); housekeeping may be in the way a few times.
const JOIN_TRIES: usize = 10;

/// Three voters.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    stalls: Vec<Stall>,
    troubles: Troubles,
    /// Holds the images; everything else of the nodes is in memory.
    _folder: TempDir,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let troubles = Troubles::default();
        let authority = Authority::new();
        let machines: Vec<Machine> = (1..=3)
            .map(|number| Machine::new(number, folder.path(), &authority, troubles.clone()))
            .collect();
        let mut nodes = vec![Box::pin(machines[0].start(FOUNDER, &authority)).await];
        Box::pin(found(&nodes[0], &machines[0])).await;
        for machine in &machines[1..] {
            let id = Box::pin(admit(&nodes[0], machine)).await;
            nodes.push(Box::pin(machine.start(id, &authority)).await);
        }
        until("all three vote", || {
            nodes
                .iter()
                .all(|node| node.with_view(|state| state.core.voters.len()) == 3)
        })
        .await;
        let stalls = machines.into_iter().map(|machine| machine.stall).collect();
        Self {
            nodes,
            stalls,
            troubles,
            _folder: folder,
        }
    }

    /// From now on each sync of a log takes so long, on the node of that position and on the others.
    pub(crate) fn stall(&self, position: usize, there: Duration, elsewhere: Duration) {
        for (at, stall) in self.stalls.iter().enumerate() {
            stall.set(if at == position { there } else { elsewhere });
        }
    }

    /// The disks are quick again.
    pub(crate) fn release(&self) {
        for stall in &self.stalls {
            stall.set(Duration::ZERO);
        }
    }

    /// The position of the node that all three take for the leader, as soon as they agree.
    pub(crate) async fn leader(&self) -> usize {
        let patience = Instant::now() + LIMIT;
        loop {
            let named = self.nodes[0].leader();
            let agreed = self.nodes.iter().all(|node| node.leader() == named);
            let leads = |node: &Node| Some(node.id()) == named && node.leads();
            if agreed && let Some(position) = self.nodes.iter().position(leads) {
                return position;
            }
            assert!(Instant::now() < patience, "the nodes agree on no leader");
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Ends the nodes; what must not have happened to them, and did.
    pub(crate) async fn stop(self) -> Vec<String> {
        self.release();
        for node in &self.nodes {
            Box::pin(node.shut_down()).await;
        }
        self.troubles.all()
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

/// A change that the client of these tests asks for.
pub(crate) fn mutation(request_id: String, change: Change) -> Command {
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

/// The cluster's CA.
struct Authority {
    ca: ClusterCa,
    validity: Validity,
}

impl Authority {
    fn new() -> Self {
        let now_unix_s = i64::try_from(Env::production().clock.wall_ms() / 1_000).unwrap();
        Self {
            ca: ClusterCa::create(CLUSTER_ID, now_unix_s).unwrap(),
            validity: Validity::starting(now_unix_s, CERTIFIED_FOR),
        }
    }

    fn certificate(&self, node_id: NodeId, request: &[u8]) -> Vec<u8> {
        self.ca
            .issue_peer(CLUSTER_ID, node_id, request, self.validity)
            .unwrap()
    }
}

/// A place for one node: folder, address, key, and how slow its disk is.
struct Machine {
    number: u8,
    dir: PathBuf,
    address: String,
    key: Zeroizing<Vec<u8>>,
    request: Vec<u8>,
    peer_key: [u8; 32],
    stall: Stall,
    troubles: Troubles,
}

impl Machine {
    fn new(number: u8, folder: &Path, authority: &Authority, troubles: Troubles) -> Self {
        let dir = folder.join(format!("n{number}"));
        std::fs::create_dir_all(&dir).unwrap();
        let (key, request) = new_key_and_csr().unwrap();
        // Any certificate tells the hash of the key, and the node's own needs its id.
        let peer_key = spki_sha256(&authority.certificate(FOUNDER, &request)).unwrap();
        Self {
            number,
            dir,
            address: format!("127.0.0.1:{}", free_port(number)),
            key,
            request,
            peer_key,
            stall: Stall::default(),
            troubles,
        }
    }

    fn name(&self) -> String {
        format!("n{}", self.number)
    }

    /// How its node describes itself.
    fn member(&self) -> Member {
        Member {
            name: self.name(),
            peer_address: self.address.clone(),
            api_address: format!("http://{}", self.name()),
            peer_key: self.peer_key,
            audit_key: self.audit_key().verifying_key().to_bytes(),
            level: FEATURE_LEVEL,
            joined: 0,
        }
    }

    async fn start(&self, id: NodeId, authority: &Authority) -> Node {
        let env = Env {
            disk: StallingDisk::handle(self.stall.clone()),
            ..Env::production()
        };
        let tls = PeerTls::new(
            env.clock.clone(),
            &authority.ca.cert_der,
            &authority.certificate(id, &self.request),
            &self.key,
        )
        .unwrap();
        let security = Security::MutualTls(Arc::new(tls));
        match Box::pin(Node::start(self.config(id), env, security)).await {
            Ok(node) => {
                node.set_sealed(false);
                node
            }
            Err(error) => panic!("{} does not start: {error}", self.name()),
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
            audit_dir: self.dir.join("audit"),
            peer_bind: self.address.clone(),
            peer_address: member.peer_address,
            api_address: member.api_address,
            // What this is about: the product's own timing against slow disks.
            timing: RaftTiming::default(),
            snapshot_wal_bytes: u64::MAX,
            wal_segment_bytes: DEFAULT_SEGMENT_BYTES,
            checkpoint_events: 1_000,
            checkpoint_interval: Duration::from_secs(10),
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

/// A free port below those that the system hands out by itself, so that no outgoing connection takes it meanwhile.
fn free_port(number: u8) -> u16 {
    let own = u16::try_from(std::process::id() % 500).unwrap();
    let first = 14_000 + own * 10 + u16::from(number) * 3;
    (first..first + 3)
        .chain(32_000..32_768)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("one of some hundred ports is free")
}
