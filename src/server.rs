//! The order in which a node starts, serves and stops.
//!
//! ```text
//!  configuration, file modes ─▶ who am I ─▶ peers' TLS ─▶ the replicated node ─▶ first proposals, unseal
//!      ─▶ listeners ─▶ serve … signal ─▶ no new connections, hand over leadership, drain, stop
//! ```

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use jarvis_cluster::env::Env;
use jarvis_cluster::network::Security;
use jarvis_cluster::raft::RaftTiming;
use jarvis_cluster::tls::{self, PeerTls};
use jarvis_cluster::{Node, NodeConfig, ProposeError, StartError};
use jarvis_domain::command::{Caller, Change, ClusterCommand, Command, Mutation};
use jarvis_domain::name::ClientId;
use jarvis_domain::outcome::Outcome;
use jarvis_domain::token::Credential;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::api::{self, App, AppParts};
use crate::config::{Config, file_modes};
use crate::limits::Limits;
use crate::metrics::{Certificate, Metrics};
use crate::service::{Desk, Service, Vault};
use crate::setup::{self, Files, First, Identity, SetupError};

mod listen;

pub use listen::ListenError;

/// Requests under way get this long to finish after a signal.
const DRAIN: Duration = Duration::from_secs(3);
/// Handing over leadership at the end may take this long.
const LEAVE_LEADERSHIP: Duration = Duration::from_secs(2);
/// The first entries of a new cluster, or of a new node, may take this long per try.
const FIRST_DEADLINE: Duration = Duration::from_secs(10);
/// Between two tries.
const RETRY: Duration = Duration::from_millis(100);
/// Aggregated refusals go into the log this often (I3).
const AGGREGATE_PERIOD: Duration = Duration::from_secs(60);
/// At the end the last ones get this long: an entry takes a few milliseconds, or there is no majority.
const LAST_AGGREGATES: Duration = Duration::from_millis(500);

/// Why a server does not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The configuration or the identity.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// Files that others could read or write.
    #[error(transparent)]
    FileMode(#[from] file_modes::FileModeError),
    /// Nobody lives here, and the configuration is that of a cluster's node.
    #[error(
        "{path} is empty: this node belongs to no cluster yet. For the first node run `jarvis-secrets cluster init --config …`, for every other one `jarvis-secrets cluster join --config … --token …` (a token is made by `jarvis-secrets cluster join-token` on a running node). If this node lost its disk, join as a new node: an identity never comes back"
    )]
    Homeless {
        /// The data directory.
        path: String,
    },
    /// The peer certificate can not be used.
    #[error("the peer certificate in {path} can not be used: {reason}")]
    PeerTls {
        /// The data directory.
        path: String,
        /// Why.
        reason: String,
    },
    /// The node does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A listener can not be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Something else.
    #[error("{0}")]
    Other(String),
}

/// Runs one node until a signal (or, on request, the end of standard input).
pub async fn run(config: Config, exit_with_stdin: bool) -> ExitCode {
    let logs_json = config.logging.json;
    match serve(config, exit_with_stdin).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Once: as JSON for whoever collects that, otherwise in words for whoever started it.
            if logs_json {
                tracing::error!(%error, "the node does not run");
            } else {
                eprintln!("jarvis-secretsd: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: Config, exit_with_stdin: bool) -> Result<(), ServerError> {
    let config = Arc::new(config);
    let files = Files::of(&config);
    // Whatever can refuse the start does so before anything is written.
    file_modes::check(&config)?;
    let bound = listen::bind(&config).await?;
    let identity = identity_or_begin(&config, &files)?;
    file_modes::check(&config)?;
    let listeners = listen::Listeners::open(&config, bound)?;
    let _lock = lock_folder(&config.paths.data_dir)?;

    let env = Env::production().with_dial_overrides(config.cluster.dial_overrides.clone());
    let security = peer_security(&env, &config, &files)?;
    let node = Node::start(node_config(&config, &files, &identity)?, env, security).await?;
    let vault = Arc::new(Vault::default());
    let metrics = Arc::new(Metrics::new());
    let limits = Arc::new(Limits::new(&config.limits));
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

    let certificates = certificates(&config, &files);
    let first = files.first()?;
    tokio::spawn(settle(node.clone(), vault, config.clone(), files, first));
    let counted = limits.clone();
    tokio::spawn(tell_aggregates(node.clone(), limits.clone()));
    let started = node.monotonic();
    let router = api::router(App::new(AppParts {
        service,
        metrics,
        limits,
        certificates,
        started,
    }));
    let (stop, stopping) = watch::channel(false);
    let serving = tokio::spawn(listeners.serve(router, stopping));
    tracing::info!(
        node = node.id(),
        cluster = identity.cluster_id,
        api = setup::api_url(&config),
        peers = %node.peer_address(),
        "serving"
    );

    wait_for_end(exit_with_stdin).await;
    tracing::info!("stopping");
    stop.send_replace(true);
    let _ = tokio::time::timeout(LAST_AGGREGATES, tell(&node, &counted)).await;
    if node.leads() {
        let _ = tokio::time::timeout(LEAVE_LEADERSHIP, node.transfer_leader(None)).await;
    }
    let _ = tokio::time::timeout(DRAIN, serving).await;
    node.shut_down().await;
    Ok(())
}

/// Who this node is. An old daemon's configuration (no `[cluster]`) begins a cluster of one by itself (F7).
fn identity_or_begin(config: &Config, files: &Files) -> Result<Identity, ServerError> {
    if let Some(identity) = files.identity()? {
        return Ok(identity);
    }
    if config.cluster.configured {
        return Err(ServerError::Homeless {
            path: config.paths.data_dir.display().to_string(),
        });
    }
    let report = setup::begin(config)?;
    files.write("root-token", report.root_token.as_bytes())?;
    let path = config.paths.data_dir.join("root-token");
    tracing::warn!(
        path = %path.display(),
        "a new single-node cluster begins here; its first token (client admin) is in this file: use it to make others with `jarvis-secrets token create`, then delete the file"
    );
    eprintln!(
        "jarvis-secretsd: a new single-node cluster begins in {}.\nThe first token (client admin) is in {}.\nMake tokens for your clients:  JARVIS_SECRETS_TOKEN=$(cat {}) jarvis-secrets token create CLIENT\nthen delete that file.",
        config.paths.data_dir.display(),
        path.display(),
        path.display()
    );
    if let Some(warning) = report.warning {
        tracing::warn!("{warning}");
    }
    files
        .identity()?
        .ok_or_else(|| ServerError::Other("the new cluster's identity is not there".to_owned()))
}

fn peer_security(env: &Env, config: &Config, files: &Files) -> Result<Security, ServerError> {
    let key = jarvis_crypto::SecretBytes::new(files.read("peer.key.der")?);
    let (certificate, ca) = (files.read("peer.crt.der")?, files.read("ca.crt.der")?);
    let tls =
        PeerTls::new(env.clock.clone(), &ca, &certificate, key.expose()).map_err(|error| {
            ServerError::PeerTls {
                path: config.paths.data_dir.display().to_string(),
                reason: error.to_string(),
            }
        })?;
    Ok(Security::MutualTls(Arc::new(tls)))
}

fn node_config(
    config: &Config,
    files: &Files,
    identity: &Identity,
) -> Result<NodeConfig, ServerError> {
    let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Ok(NodeConfig {
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
        audit_key: files.audit_key()?,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        on_fatal: Arc::new(|reason| {
            // Rule 6: going on could acknowledge what is not on disk. The supervisor starts the process again.
            tracing::error!(reason, "this node can not go on and stops");
            // The disk may be full, and the error output with it: that must not change how the process ends.
            let message = format!("jarvis-secretsd: this node can not go on and stops: {reason}\n");
            let _ = std::io::Write::write_all(&mut std::io::stderr(), message.as_bytes());
            std::process::exit(70);
        }),
    })
}

/// When the certificates of this node end, for the metric that warns early.
fn certificates(config: &Config, files: &Files) -> Vec<(Certificate, i64)> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let ends = |der: &[u8]| tls::not_after(der).ok();
    let mut found = Vec::new();
    for (which, name) in [
        (Certificate::Peer, "peer.crt.der"),
        (Certificate::Ca, "ca.crt.der"),
    ] {
        let end = files.read(name).ok().and_then(|der| ends(&der));
        found.extend(end.map(|end| (which, end)));
    }
    let api = config
        .tls
        .api
        .as_ref()
        .and_then(|api| CertificateDer::from_pem_file(&api.cert_path).ok());
    found.extend(
        api.and_then(|der| ends(&der))
            .map(|end| (Certificate::Api, end)),
    );
    found
}

/// One process per data directory.
fn lock_folder(data: &Path) -> Result<std::fs::File, ServerError> {
    use rustix::fs::{FlockOperation, flock};
    let path = data.join("LOCK");
    let open = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let file = open.map_err(|source| SetupError::File { path, source })?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        ServerError::Start(StartError::InUse {
            path: data.to_owned(),
        })
    })?;
    Ok(file)
}

/// What the first start still has to propose, and unsealing; until both are done.
async fn settle(
    node: Node,
    vault: Arc<Vault>,
    config: Arc<Config>,
    files: Files,
    first: Option<First>,
) {
    let own_slot = match &first {
        Some(First::Slot(blob)) => Some(blob.clone()),
        _ => None,
    };
    let begun = matches!(first, Some(First::Begin { .. }));
    if let Some(First::Begin { init, token }) = first {
        begin(&node, *init, token).await;
    }
    let mut told = false;
    let mut by_key_file = false;
    // A passphrase may come first; that unsealing is told by whoever did it.
    while vault.is_sealed() {
        match crate::service::unseal_with_key_file(&node, &vault, &config, own_slot.as_deref()) {
            Ok(true) => {
                tracing::info!("unsealed with the key file");
                by_key_file = true;
                // At once: whoever seals the node from here on means it.
                break;
            }
            Ok(false) => {}
            Err(reason) if !told => {
                told = true;
                tracing::error!(
                    reason,
                    "this node stays sealed: unseal it with `jarvis-secrets unseal`, or mend the key file and start again"
                );
            }
            Err(_) => {}
        }
        tokio::time::sleep(RETRY).await;
    }
    let has_first = begun || own_slot.is_some();
    let add_slot = async {
        if let Some(blob) = own_slot {
            let command = Command::Cluster(Box::new(ClusterCommand::AddNodeSlot { blob }));
            while !done(&node, command.clone()).await {
                tokio::time::sleep(RETRY).await;
            }
        }
    };
    let tell = async {
        if by_key_file {
            crate::service::tell_unsealed_with_key_file(&node).await;
        }
    };
    // Together, so that a new node's slot and its unsealing share an entry.
    tokio::join!(add_slot, tell);
    if !has_first {
        return;
    }
    if let Err(error) = files.first_is_done() {
        // It is proposed again at the next start, which changes nothing.
        tracing::warn!(%error, "what the first start proposed can not be removed");
    }
}

async fn begin(
    node: &Node,
    init: jarvis_domain::command::Init,
    (id, secret_hash, client): (jarvis_domain::token::TokenId, [u8; 32], ClientId),
) {
    while node.with_view(|state| state.core.cluster.is_none()) {
        let begun = node
            .begin(init.clone(), Instant::now() + FIRST_DEADLINE)
            .await;
        if let Err(reason) = begun {
            tracing::warn!(reason, "the cluster has not begun yet; trying again");
            tokio::time::sleep(RETRY).await;
        }
    }
    let caller = Caller {
        client: client.clone(),
        credential: Credential::System,
        request_id: "cluster-init".to_owned(),
    };
    let change = Change::CreateToken {
        id,
        secret_hash,
        client,
        ttl_ms: None,
    };
    let command = Command::Mutate(Mutation {
        caller,
        idempotency: None,
        change,
    });
    while node.with_view(|state| !state.tokens.contains(&id)) {
        done(node, command.clone()).await;
        tokio::time::sleep(RETRY).await;
    }
}

async fn done(node: &Node, command: Command) -> bool {
    let reply = node.propose(command, Instant::now() + FIRST_DEADLINE).await;
    matches!(reply, Ok(reply) if !matches!(reply.outcome, Outcome::Rejected(_)))
}

/// Refusals too many for an event each: one event a minute (I3).
async fn tell_aggregates(node: Node, limits: Arc<Limits>) {
    loop {
        tokio::time::sleep(AGGREGATE_PERIOD).await;
        tell(&node, &limits).await;
    }
}

/// What certainly is not in the trail is kept for the next time: an outage must not hide how many it turned away.
async fn tell(node: &Node, limits: &Limits) {
    let mut waiting = limits.drain_aggregates().into_iter();
    while let Some(aggregate) = waiting.next() {
        let client = aggregate
            .client
            .as_deref()
            .and_then(|client| ClientId::parse(client).ok());
        let (kind, count) = (aggregate.kind, aggregate.count);
        let command = Command::Cluster(Box::new(ClusterCommand::Aggregate {
            kind: kind.to_owned(),
            client,
            count,
        }));
        match node.propose(command, Instant::now() + FIRST_DEADLINE).await {
            Ok(reply) if !matches!(reply.outcome, Outcome::Rejected(_)) => {}
            Err(ProposeError::UnknownOutcome) => {
                tracing::warn!(kind, count, "refused requests may be missing in the trail");
            }
            Ok(_) | Err(_) => {
                tracing::warn!(
                    kind,
                    count,
                    "refused requests are not in the trail yet; it is tried again"
                );
                limits.put_back(&aggregate);
                waiting.for_each(|rest| limits.put_back(&rest));
                return;
            }
        }
    }
}

/// SIGINT, SIGTERM, or the end of standard input if that was asked for.
async fn wait_for_end(exit_with_stdin: bool) {
    use tokio::signal::unix::{SignalKind, signal};
    let end_of_input = async {
        if exit_with_stdin {
            let mut input = tokio::io::stdin();
            let mut buffer = [0; 64];
            while matches!(
                tokio::io::AsyncReadExt::read(&mut input, &mut buffer).await,
                Ok(1..)
            ) {}
        } else {
            std::future::pending::<()>().await;
        }
    };
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => {
                terminate.recv().await;
            }
            Err(_) => std::future::pending::<()>().await,
        }
    };
    tokio::select! {
        () = end_of_input => {}
        () = terminated => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
