//! How a simulated cluster begins: what `cluster init` and `cluster join` leave on a disk, on simulated ones.

use std::time::Duration;

use anyhow::{Context, bail};
use jarvis_cluster::Node;
use jarvis_cluster::tls::{self, ClusterCa, Validity};
use jarvis_crypto::Keyring;
use jarvis_domain::command::{Caller, Change, ClusterCommand, Command, Mutation};
use jarvis_domain::name::ClientId;
use jarvis_domain::outcome::{Outcome, Rejection};
use jarvis_domain::token::Credential;
use jarvis_domain::{FOUNDER, NodeId};
use jarvis_secretsd::policy_file;
use jarvis_secretsd::setup::{First, Founding, Identity, slot_context};
use tokio::time::Instant;

use super::clock::WALL_START_MS;
use super::cluster::Cluster;
use super::machine::{Machine, PeerFiles, root_key};
use super::random::{secret, source};
use crate::dice::Dice;

/// The policy that a run begins with. `fickle` loses its rule and gets it back.
pub(super) const POLICY: &str = r#"default_deny: true
clients:
  admin:
    allow: ["*"]
  ha:
    allow:
      - { name: "reg/*", verbs: [read, list], stale_max_ms: 30000 }
  guest:
    allow: ["reg/*"]
  fickle:
    allow: ["reg/0"]
"#;
/// The same without `fickle`'s rule.
pub(super) const POLICY_WITHOUT: &str = r#"default_deny: true
clients:
  admin:
    allow: ["*"]
  ha:
    allow:
      - { name: "reg/*", verbs: [read, list], stale_max_ms: 30000 }
  guest:
    allow: ["reg/*"]
"#;

/// A join must be alone in its batch (rule 11); housekeeping may be in the way a few times.
const JOIN_TRIES: usize = 10;
/// One try may take this long.
const JOIN_DEADLINE: Duration = Duration::from_secs(5);
/// Certificates are valid from so long before the run on: clocks may be set back by a day.
const BACKDATED_S: i64 = 10 * 86_400;
/// And for so long.
const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(365 * 86_400);

/// What all machines of a cluster belong to.
pub(super) struct Founded {
    pub(super) cluster_id: [u8; 16],
    pub(super) vault_id: [u8; 16],
    /// The root key of the vault.
    pub(super) root: [u8; 32],
    /// The token of the client `admin`.
    pub(super) admin: String,
    /// Where peers talk TLS.
    ca: Option<ClusterCa>,
}

/// Puts the beginning of a cluster on the first machine's disk.
pub(super) fn found(machine: &Machine, has_tls: bool, dice: &mut Dice) -> anyhow::Result<Founded> {
    let root = secret(dice);
    let id = |dice: &mut Dice| {
        let mut id = [0; 16];
        id.copy_from_slice(&secret(dice)[..16]);
        id
    };
    let (cluster_id, vault_id) = (id(dice), id(dice));
    let ca = if has_tls {
        Some(ClusterCa::create(cluster_id, begin_s())?)
    } else {
        None
    };
    let files = machine.files();
    files.create_folder()?;
    files.write("audit.key", machine.audit_seed())?;
    let peer_key = certify(machine, (cluster_id, FOUNDER), ca.as_ref())?;
    let founding = Founding {
        cluster_id,
        ca_certificate: match &ca {
            Some(ca) => ca.cert_der.clone(),
            None => b"example-certificate".to_vec(),
        },
        ca_key_wrapped: b"example-not-a-secret".to_vec(),
        member: machine.member(peer_key),
        limits: machine.config().vault_limits(),
        policy: policy_file::parse(POLICY)?,
        policy_source: POLICY.to_owned(),
    };
    let random = source(Dice::new(dice.draw()));
    let keyring = Keyring::with_random(vault_id, root_key(&root)?, random.clone());
    let founded = founding.make(&keyring, &machine.key_file()?, &random)?;
    let identity = Identity {
        node_id: FOUNDER,
        cluster_id: hex::encode(cluster_id),
        recovery_epoch: 0,
    };
    files.begin_life(&identity, &founded.first)?;
    machine.set_id(FOUNDER);
    let admin = String::from_utf8_lossy(founded.root_token.expose()).into_owned();
    Ok(Founded {
        cluster_id,
        vault_id,
        root,
        admin,
        ca,
    })
}

/// Lets a machine into the cluster, through a node that is in it: a token for one node, and then the node.
pub(super) async fn admit(cluster: &Cluster, node: &Node, place: usize) -> anyhow::Result<()> {
    let number = u8::try_from(place).unwrap_or(u8::MAX);
    let token_hash = [number; 32];
    let token = Change::CreateJoinToken {
        id: [number; 16],
        hash: token_hash,
        uses: 1,
        ttl_ms: 3_600_000,
    };
    let caller = Caller {
        client: ClientId::parse("admin").context("the administrator's id")?,
        credential: Credential::System,
        request_id: format!("join-{place}"),
    };
    let mutation = Mutation {
        caller,
        idempotency: None,
        change: token,
    };
    let made = node
        .propose(Command::Mutate(mutation), deadline())
        .await
        .context("a join token")?;
    // The founder may have died after a try that went through.
    match made.outcome {
        Outcome::Created { .. } | Outcome::Rejected(Rejection::Conflict { .. }) => {}
        other => bail!(
            "no join token for {}: {other:?}",
            cluster.machines[place].host
        ),
    }
    let machine = &cluster.machines[place];
    let (key, request) = tls::new_key_and_csr()?;
    let peer_key = match &cluster.founded.ca {
        // Its identity is in its certificate, and its key in its member record.
        Some(ca) => {
            let draft = ca.issue_peer(cluster.founded.cluster_id, FOUNDER, &request, validity())?;
            Some(tls::spki_sha256(&draft)?)
        }
        None => None,
    };
    for _ in 0..JOIN_TRIES {
        let join = ClusterCommand::Join {
            token_hash,
            member: machine.member(peer_key),
        };
        let reply = node
            .propose(Command::Cluster(Box::new(join)), deadline())
            .await
            .context("a join")?;
        if let Outcome::Joined { node: id } = reply.outcome {
            if let Some(ca) = &cluster.founded.ca {
                let certificate =
                    ca.issue_peer(cluster.founded.cluster_id, id, &request, validity())?;
                machine.set_peer_files(PeerFiles {
                    ca: ca.cert_der.clone(),
                    certificate,
                    key: key.to_vec(),
                });
            }
            return settle(cluster, machine, id);
        }
    }
    bail!("{} was not let in", machine.host)
}

/// Puts a new node on its disk, which then may start.
fn settle(cluster: &Cluster, machine: &Machine, id: NodeId) -> anyhow::Result<()> {
    let Founded {
        cluster_id, root, ..
    } = &cluster.founded;
    let context = slot_context(cluster_id, id);
    let slot = machine.key_file()?.wrap_root(&root_key(root)?, &context)?;
    let files = machine.files();
    files.create_folder()?;
    files.write("audit.key", machine.audit_seed())?;
    let identity = Identity {
        node_id: id,
        cluster_id: hex::encode(cluster_id),
        recovery_epoch: 0,
    };
    files.begin_life(&identity, &First::Slot(slot))?;
    machine.set_id(id);
    Ok(())
}

/// A certificate for a machine's peers, where they want one; the hash of its key.
fn certify(
    machine: &Machine,
    (cluster_id, id): ([u8; 16], NodeId),
    ca: Option<&ClusterCa>,
) -> anyhow::Result<Option<[u8; 32]>> {
    let Some(ca) = ca else {
        return Ok(None);
    };
    let (key, request) = tls::new_key_and_csr()?;
    let certificate = ca.issue_peer(cluster_id, id, &request, validity())?;
    let hash = tls::spki_sha256(&certificate)?;
    machine.set_peer_files(PeerFiles {
        ca: ca.cert_der.clone(),
        certificate,
        key: key.to_vec(),
    });
    Ok(Some(hash))
}

fn begin_s() -> i64 {
    i64::try_from(WALL_START_MS / 1_000).unwrap_or(i64::MAX) - BACKDATED_S
}

fn validity() -> Validity {
    Validity::starting(begin_s(), CERTIFICATE_LIFETIME)
}

fn deadline() -> Instant {
    Instant::now() + JOIN_DEADLINE
}
