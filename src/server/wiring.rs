//! The one place where a serving node is put together: the replicated node, the vault, what the server can do, the API.
//!
//! ```text
//!  Parts ─▶ Node ─▶ Service, Limits, Metrics ─▶ Desk ─▶ tasks: settle, aggregates ─▶ Running: router, handles
//! ```
//!
//! What a node takes from outside comes in [`Parts`]: the machine, its files, its keys. Listeners are the caller's: each
//! connection is handed to [`serve_connection`](super::serve_connection).

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use ed25519_dalek::SigningKey;
use jarvis_cluster::env::Env;
use jarvis_cluster::network::Security;
use jarvis_cluster::raft::RaftTiming;
use jarvis_cluster::{Node, NodeConfig};
use jarvis_crypto::RandomSource;

use super::{ServerError, aggregates, settle};
use crate::api::{self, App, AppParts};
use crate::config::Config;
use crate::limits::Limits;
use crate::metrics::{Certificate, Metrics};
use crate::service::{Desk, KeyFileSource, Service, Vault};
use crate::setup::{self, Files, Identity};

/// Everything that a serving node is made of.
pub struct Parts {
    /// Its settings.
    pub config: Arc<Config>,
    /// Who it is.
    pub identity: Identity,
    /// Its own files: the key that signs the trail, and what its first start proposes.
    pub files: Files,
    /// The machine.
    pub env: Env,
    /// How it and its peers prove who they are.
    pub security: Security,
    /// Its key file.
    pub key_file: KeyFileSource,
    /// Where version ids, salts, keys and credentials come from.
    pub random: RandomSource,
    /// When its certificates end, s since the Unix epoch.
    pub certificates: Vec<(Certificate, i64)>,
    /// Called once when the node can not go on: it must end the process (rule 6).
    pub on_fatal: Arc<dyn Fn(String) + Send + Sync>,
}

/// A node that serves whoever is connected to its router.
pub struct Running {
    /// The replicated node.
    pub node: Node,
    /// Its keys.
    pub vault: Arc<Vault>,
    /// What it can do.
    pub service: Arc<Service>,
    /// What it refuses.
    pub limits: Arc<Limits>,
    /// The API.
    pub router: Router,
}

/// Starts a node and everything above it. Its tasks run on the runtime of the caller, and end with it.
///
/// # Errors
/// [`ServerError`] says what is wrong and what to do.
pub async fn start(parts: Parts) -> Result<Running, ServerError> {
    let Parts {
        config,
        identity,
        files,
        env,
        security,
        key_file,
        random,
        certificates,
        on_fatal,
    } = parts;
    let clock = env.clock.clone();
    let node_config = node_config(&config, &identity, files.audit_key()?, on_fatal);
    let node = Node::start(node_config, env, security).await?;
    let vault = Arc::new(Vault::new(random));
    let metrics = Arc::new(Metrics::new());
    let limits = Arc::new(Limits::new(&config.limits, clock));
    let service = Service::new(
        node.clone(),
        vault.clone(),
        config.clone(),
        metrics.clone(),
        limits.clone(),
    )
    .map_err(|error| {
        ServerError::Other(format!(
            "the journal of stale reads can not be opened: {error}"
        ))
    })?;
    node.set_join_desk(Arc::new(Desk::new(
        node.clone(),
        vault.clone(),
        limits.clone(),
    )));

    let first = files.first()?;
    tokio::spawn(settle::settle(
        node.clone(),
        vault.clone(),
        (config, key_file),
        files,
        first,
    ));
    tokio::spawn(aggregates::tell_each_minute(node.clone(), limits.clone()));
    let started = node.monotonic();
    let router = api::router(App::new(AppParts {
        service: service.clone(),
        metrics,
        limits: limits.clone(),
        certificates,
        started,
    }));
    Ok(Running {
        node,
        vault,
        service,
        limits,
        router,
    })
}

fn node_config(
    config: &Config,
    identity: &Identity,
    audit_key: SigningKey,
    on_fatal: Arc<dyn Fn(String) + Send + Sync>,
) -> NodeConfig {
    let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    NodeConfig {
        node_id: identity.node_id,
        cluster_id: identity.cluster(),
        recovery_epoch: identity.recovery_epoch,
        name: config.cluster.node_name.clone(),
        data_dir: config.paths.data_dir.clone(),
        audit_dir: config.paths.audit_dir.clone(),
        peer_bind: config.cluster.peer_addr.to_string(),
        peer_address: config.cluster.advertised_peer(config.cluster.peer_addr),
        api_address: setup::api_url(config),
        timing: RaftTiming {
            heartbeat_ms: milliseconds(config.raft.heartbeat),
            election_min_ms: milliseconds(config.raft.election_min),
            election_max_ms: milliseconds(config.raft.election_max),
        },
        snapshot_wal_bytes: config.raft.snapshot_wal_bytes,
        wal_segment_bytes: config.raft.wal_segment_bytes,
        checkpoint_events: config.audit.checkpoint_events,
        checkpoint_interval: config.audit.checkpoint_interval,
        audit_keep_bytes: config.audit.keep_bytes,
        audit_keep: config.audit.keep,
        audit_require_export: config.audit.require_export,
        audit_min_free_bytes: config.audit.min_free_bytes,
        audit_key,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        on_fatal,
    }
}
