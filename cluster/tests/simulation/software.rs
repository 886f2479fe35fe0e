//! What runs on a machine while it has power: a node from what is on the disk, and a desk that takes requests.
//!
//! Requests are answered by tasks on the node's own machine: every machine has a clock of its own, so a deadline means
//! something only there. When the power goes, so do the tasks, and whoever asked learns nothing more.

use std::sync::Arc;
use std::time::Duration;

use jarvis_cluster::network::Security;
use jarvis_cluster::{Node, ProposeError};
use jarvis_domain::NodeId;
use jarvis_domain::command::{
    Access, Caller, Change, ClusterCommand, Command, Init, Mutation, Target, Write,
};
use jarvis_domain::limits::VaultLimits;
use jarvis_domain::member::{Cluster as ClusterFacts, SealSlot};
use jarvis_domain::name::{ClientId, SecretName};
use jarvis_domain::outcome::{Outcome as Decided, Rejection, Reply};
use jarvis_domain::policy::{ClientRules, Glob, Policy, Rule, VerbSet};
use jarvis_domain::secret::{About, SealedValue};
use jarvis_domain::token::Credential;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use crate::history::{Action, Ask, Outcome, key_name, request_id};
use crate::machine::{CLUSTER_ID, Cluster, FOUNDER};

/// What a client waits for an answer (C4).
const OPERATION_DEADLINE: Duration = Duration::from_secs(5);
/// Requests waiting at a desk: far more than there are clients.
const DESK: usize = 64;
/// A machine without an id looks this often whether it has one.
const ID_POLL: Duration = Duration::from_millis(20);
/// A join must be alone in its batch (rule 11); housekeeping may be in the way a few times.
const JOIN_TRIES: usize = 10;
/// The one client.
const CLIENT: &str = "admin";

/// One request, and how its client learns the version it saw.
pub(crate) struct Request {
    /// On which key.
    pub(crate) key: usize,
    /// What.
    pub(crate) ask: Ask,
    /// Told when it is over; dropped when the machine lost power meanwhile.
    pub(crate) done: oneshot::Sender<Option<u64>>,
}

/// The software of one machine, from power on to power off.
pub(crate) async fn run(cluster: Arc<Cluster>, host: usize) -> turmoil::Result {
    let machine = &cluster.machines[host];
    let id = loop {
        match machine.id() {
            Some(id) => break id,
            None => sleep(ID_POLL).await,
        }
    };
    let (config, env) = (machine.config(id), machine.env(&cluster.wires));
    let node = Box::pin(Node::start(config, env, Security::DangerPlain)).await?;
    node.set_sealed(false);
    if id == FOUNDER && node.incarnation() == 1 {
        Box::pin(found(&cluster, &node)).await?;
    }
    let (requests, mut desk) = mpsc::channel(DESK);
    machine.runs(node.clone(), requests);
    while let Some(request) = desk.recv().await {
        tokio::spawn(answer(Arc::clone(&cluster), node.clone(), request));
    }
    std::future::pending::<turmoil::Result>().await
}

/// Begins the cluster and lets the other machines in.
async fn found(cluster: &Cluster, node: &Node) -> turmoil::Result {
    let init = Init {
        cluster: ClusterFacts {
            cluster_id: CLUSTER_ID,
            vault_id: [0x76; 16],
            recovery_epoch: 0,
            ca_certificate: b"example-certificate".to_vec(),
            ca_key_wrapped: b"example-not-a-secret".to_vec(),
        },
        limits: VaultLimits::default(),
        member: cluster.machines[0].member(),
        slot: SealSlot {
            kind: "key_file".to_owned(),
            node: None,
            blob: b"example-not-a-secret".to_vec(),
            created: 0,
        },
        epoch: b"example-not-a-secret".to_vec(),
        policy: policy()?,
        policy_source: "admin may do everything".to_owned(),
    };
    node.begin(init, deadline()).await?;
    for (host, machine) in cluster.machines.iter().enumerate().skip(1) {
        machine.set_id(admit(cluster, node, host).await?);
    }
    Ok(())
}

fn policy() -> turmoil::Result<Policy> {
    let everything = Rule {
        name: Glob::parse("*")?,
        verbs: VerbSet::ALL,
        stale_max_ms: 0,
    };
    let rules = ClientRules {
        allow: vec![everything],
        deny: Vec::new(),
    };
    Ok(Policy {
        default_deny: true,
        clients: [(CLIENT.to_owned(), rules)].into(),
    })
}

/// A token for one node, then the node.
async fn admit(cluster: &Cluster, node: &Node, host: usize) -> turmoil::Result<NodeId> {
    let token_hash = [host as u8; 32];
    let token = Change::CreateJoinToken {
        id: [host as u8; 16],
        hash: token_hash,
        uses: 1,
        ttl_ms: 3_600_000,
    };
    let made = node
        .propose(mutation(format!("setup-{host}"), token), deadline())
        .await?;
    if !matches!(made.outcome, Decided::Created { .. }) {
        return Err(format!("no join token: {:?}", made.outcome).into());
    }
    for _ in 0..JOIN_TRIES {
        let join = ClusterCommand::Join {
            token_hash,
            member: cluster.machines[host].member(),
        };
        let reply = node
            .propose(Command::Cluster(Box::new(join)), deadline())
            .await?;
        if let Decided::Joined { node } = reply.outcome {
            return Ok(node);
        }
    }
    Err(format!("machine {host} was not let in").into())
}

/// One request: noted, done, noted.
async fn answer(cluster: Arc<Cluster>, node: Node, request: Request) {
    let Request { key, ask, done } = request;
    let (number, action) = cluster.history.begin(key, ask);
    let reply = match action {
        Action::Put { value, cas } => {
            let write = Write {
                name: secret(key),
                value: sealed(value),
                cas,
                about: About::default(),
            };
            let command = mutation(request_id(number), Change::Write(vec![write]));
            node.propose(command, deadline()).await
        }
        Action::Get => {
            let access = Access {
                caller: caller(request_id(number)),
                target: Target::Value {
                    name: secret(key),
                    version: None,
                },
            };
            node.access(access, deadline()).await
        }
    };
    let outcome = match outcome_of(reply) {
        Ok(outcome) => outcome,
        Err(surprise) => {
            cluster
                .troubles
                .add(format!("operation {number} was answered with {surprise}"));
            Outcome::Unknown
        }
    };
    cluster.history.end(number, outcome);
    // The client waits as long as the run lasts.
    let _ = done.send(outcome.version());
}

fn outcome_of(reply: Result<Reply, ProposeError>) -> Result<Outcome, String> {
    match reply {
        Ok(reply) => match reply.outcome {
            Decided::Written(written) => match written.as_slice() {
                [written] => Ok(Outcome::Wrote {
                    version: written.version,
                }),
                other => Err(format!("{} writes instead of one", other.len())),
            },
            Decided::Value { version, .. } => Ok(Outcome::Read {
                version: version.number,
                value: value_of(&version.value),
            }),
            Decided::Rejected(Rejection::Conflict { actual_version }) => Ok(Outcome::Conflict {
                actual: actual_version,
            }),
            Decided::Rejected(Rejection::NotFound) => Ok(Outcome::Absent),
            other => Err(format!("{other:?}")),
        },
        Err(ProposeError::NoLeader | ProposeError::Busy | ProposeError::TooLarge) => {
            Ok(Outcome::Failed)
        }
        Err(ProposeError::UnknownOutcome | ProposeError::Shutdown) => Ok(Outcome::Unknown),
    }
}

fn deadline() -> Instant {
    Instant::now() + OPERATION_DEADLINE
}

fn mutation(request_id: String, change: Change) -> Command {
    Command::Mutate(Mutation {
        caller: caller(request_id),
        idempotency: None,
        change,
    })
}

fn caller(request_id: String) -> Caller {
    Caller {
        client: ClientId::parse(CLIENT).expect("the constant is a client id"),
        credential: Credential::System,
        request_id,
    }
}

fn secret(key: usize) -> SecretName {
    SecretName::parse(&key_name(key)).expect("the workload's names are names")
}

/// A value as the cluster sees it: bytes. No two values are equal, so neither are their version ids.
fn sealed(value: u64) -> SealedValue {
    let mut version_id = [0; 32];
    version_id[..8].copy_from_slice(&value.to_be_bytes());
    SealedValue {
        version_id,
        epoch: 1,
        ciphertext: value.to_be_bytes().to_vec(),
        binary: false,
    }
}

/// The value in those bytes; one that nobody writes if they were damaged.
pub(crate) fn value_of(sealed: &SealedValue) -> u64 {
    let bytes = <[u8; 8]>::try_from(sealed.ciphertext.as_slice());
    bytes.map_or(u64::MAX, u64::from_be_bytes)
}
