//! Makes a new cluster: the first node founds it, each further one joins with a token, as any node
//! of a real cluster would.
//!
//! Can be repeated: what an interrupted start left is used again.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jarvis_disk::{RealDisk, write_atomic};
use jarvis_wire::SecretText;
use jarvis_wire::cluster::{ClusterStatus, CreateJoinToken, CreatedJoinToken};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::cli::client::{Call, Client};
use crate::config::{Config, Environment};
use crate::setup::{self, Files, SetupError};

use super::plan::{Plan, PlannedNode};
use super::supervisor::{READY_LIMIT, Supervisor};
use super::{DevError, client_of, node_config};

/// The shipped example: seeds the policy where the directory has none.
const POLICY: &str = include_str!("../../policy.yaml.example");

/// How long a join token lives: it is used at once.
const JOIN_TOKEN_TTL_SECS: u64 = 600;

/// Between two looks at the membership.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Makes the cluster and starts its nodes; returns when all of them serve and vote.
///
/// # Errors
/// [`DevError`]; the same command can be repeated.
pub(super) async fn establish(
    plan: &Plan,
    supervisor: &mut Supervisor<'_>,
) -> Result<(), DevError> {
    let policy = plan.dir.join("policy.yaml");
    if !policy.exists() {
        write(&policy, POLICY.as_bytes())?;
    }
    let mut ids = Vec::new();
    for node in &plan.nodes {
        ids.push(prepare(node, &policy, plan.tls)?);
    }
    let root_token = found(plan, &mut ids)?;
    let ca_cert = copy_ca(plan)?;
    let client = client_of(plan.urls(), root_token.expose(), ca_cert.clone())?;

    let (known, new): (Vec<usize>, Vec<usize>) =
        (0..ids.len()).partition(|index| ids[*index].is_some());
    for index in &known {
        supervisor.start(*index)?;
    }
    supervisor
        .wait_until_ready(&client, &known, READY_LIMIT)
        .await?;
    for index in new {
        let node = &plan.nodes[index];
        ids[index] = Some(join(node, &client).await?);
        supervisor.start(index)?;
        supervisor
            .wait_until_ready(&client, &[index], READY_LIMIT)
            .await?;
        wait_until_voting(supervisor, &client, index).await?;
    }
    let ids: Vec<u64> = ids.into_iter().flatten().collect();
    supervisor.adopt(root_token, ca_cert, &ids);
    Ok(())
}

/// Writes a node's configuration; answers its id if an earlier start has made it a node already.
fn prepare(node: &PlannedNode, policy: &Path, tls: bool) -> Result<Option<u64>, DevError> {
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&node.data_dir);
    made.map_err(|source| DevError::File {
        path: node.data_dir.clone(),
        source,
    })?;
    write(
        &node.config,
        node_config::text(node, policy, tls)?.as_bytes(),
    )?;
    let loaded = Config::load(Some(&node.config), &Environment::of_process());
    let loaded = loaded.map_err(|error| DevError::Config {
        node: node.name.clone(),
        source: Box::new(error),
    })?;
    let identity = Files::of(&loaded.config).identity();
    let identity = identity.map_err(|error| setup_failed(node, error))?;
    Ok(identity.map(|identity| identity.node_id))
}

/// Founds the cluster unless that is done; answers the root token.
fn found(plan: &Plan, ids: &mut [Option<u64>]) -> Result<SecretText, DevError> {
    let unfinished = || DevError::Unfinished {
        path: plan.dir.clone(),
    };
    let path = plan.dir.join("root-token");
    let is_anybody_there = ids.iter().any(Option::is_some);
    let (Some(founder), Some(id)) = (plan.nodes.first(), ids.first_mut()) else {
        return Err(unfinished());
    };
    if id.is_some() {
        let text = std::fs::read_to_string(&path).map_err(|_| unfinished())?;
        return Ok(SecretText::new(Zeroizing::new(text).trim()));
    }
    if is_anybody_there {
        return Err(unfinished());
    }
    let report = setup::init(&founder.config).map_err(|error| setup_failed(founder, error))?;
    *id = Some(report.node_id);
    let root_token = SecretText::new(report.root_token.as_str());
    let line = Zeroizing::new(format!("{}\n", root_token.expose()));
    write(&path, line.as_bytes())?;
    Ok(root_token)
}

/// Puts the CA's certificate where clients look for it.
fn copy_ca(plan: &Plan) -> Result<PathBuf, DevError> {
    let path = plan.dir.join("ca.pem");
    if let Some(founder) = plan.nodes.first() {
        let source = founder.data_dir.join("ca.pem");
        let pem = std::fs::read(&source).map_err(|error| DevError::File {
            path: source,
            source: error,
        })?;
        write(&path, &pem)?;
    }
    Ok(path)
}

async fn join(node: &PlannedNode, client: &Client) -> Result<u64, DevError> {
    forget_key(node)?;
    let body = CreateJoinToken {
        uses: 1,
        ttl_secs: JOIN_TOKEN_TTL_SECS,
    };
    let call = Call::post(["cluster", "join-token"]).json(&body)?;
    let created: CreatedJoinToken = client.call(&call).await?.decode()?;
    let report = setup::join(&node.config, created.join_token.expose())
        .await
        .map_err(|error| setup_failed(node, error))?;
    Ok(report.node_id)
}

/// A start that was interrupted while it joined may have left a key that names a member already. A key names one member
/// (rule 11) and each start has a token of its own, so that this join needs another key.
fn forget_key(node: &PlannedNode) -> Result<(), DevError> {
    let path = node.data_dir.join("peer.key.der");
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(DevError::File { path, source })
        }
        _ => Ok(()),
    }
}

/// Waits until all nodes up to this one vote: with fewer the cluster would not survive a death.
async fn wait_until_voting(
    supervisor: &mut Supervisor<'_>,
    client: &Client,
    index: usize,
) -> Result<(), DevError> {
    let patience = Instant::now() + READY_LIMIT;
    loop {
        supervisor.tick()?;
        let answer = client.call(&Call::get(["cluster", "status"])).await?;
        let status: ClusterStatus = answer.decode()?;
        let voters = status.nodes.iter().filter(|node| node.voter).count();
        if voters > index && status.leader.is_some() {
            return Ok(());
        }
        if Instant::now() >= patience {
            return Err(supervisor.not_ready(&[index], READY_LIMIT));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn setup_failed(node: &PlannedNode, error: SetupError) -> DevError {
    DevError::Setup {
        node: node.name.clone(),
        source: Box::new(error),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), DevError> {
    write_atomic(&RealDisk, path, bytes).map_err(|source| DevError::File {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p1_the_shipped_policy_can_seed_a_cluster_and_knows_the_administrator() {
        let policy = crate::policy_file::parse(POLICY).unwrap();
        let shown = format!("{policy:?}");
        assert!(shown.contains(super::super::ADMIN), "{shown}");
    }
}
