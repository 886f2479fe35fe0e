//! The order in which a node starts, serves and stops.
//!
//! ```text
//!  configuration, file modes ─▶ who am I ─▶ peers' TLS ─▶ the replicated node ─▶ first proposals, unseal
//!      ─▶ listeners ─▶ serve … signal ─▶ no new connections, hand over leadership, drain, stop
//! ```
//!
//! What a node consists of is put together in `wiring`, by [`start`].

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use jarvis_cluster::StartError;
use jarvis_cluster::env::Env;
use jarvis_cluster::network::Security;
use jarvis_cluster::tls::{self, PeerTls};
use jarvis_crypto::RandomSource;
use jarvis_crypto::seal::key_file;
use tokio::sync::watch;

use crate::config::{Config, file_modes};
use crate::metrics::Certificate;
use crate::setup::{self, Files, Identity, SetupError};

mod aggregates;
mod listen;
mod settle;
mod wiring;

pub use listen::{ListenError, serve_connection};
pub use wiring::{Parts, Running, start};

pub use crate::service::KeyFileSource;

/// Requests under way get this long to finish after a signal.
const DRAIN: Duration = Duration::from_secs(3);
/// Handing over leadership at the end may take this long.
const LEAVE_LEADERSHIP: Duration = Duration::from_secs(2);
/// At the end the last refusals get this long to reach the trail (I3): an entry takes a few milliseconds, or there is no
/// majority.
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
    let cluster = identity.cluster_id.clone();
    let master_key = config.paths.master_key_path.clone();
    let parts = Parts {
        config: config.clone(),
        identity,
        certificates: certificates(&config, &files),
        files,
        env,
        security,
        key_file: Arc::new(move || key_file::load(&master_key).map_err(|error| error.to_string())),
        random: RandomSource::operating_system(),
        on_fatal: Arc::new(end_the_process),
    };
    let Running {
        node,
        limits,
        router,
        ..
    } = Box::pin(start(parts)).await?;
    let (stop, stopping) = watch::channel(false);
    let serving = tokio::spawn(listeners.serve(router, stopping));
    tracing::info!(
        node = node.id(),
        cluster,
        api = setup::api_url(&config),
        peers = %node.peer_address(),
        "serving"
    );

    wait_for_end(exit_with_stdin).await;
    tracing::info!("stopping");
    stop.send_replace(true);
    let _ = tokio::time::timeout(LAST_AGGREGATES, aggregates::tell(&node, &limits)).await;
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

/// Rule 6: going on could acknowledge what is not on disk. The supervisor starts the process again.
fn end_the_process(reason: String) {
    tracing::error!(reason, "this node can not go on and stops");
    // The disk may be full, and the error output with it: that must not change how the process ends.
    let message = format!("jarvis-secretsd: this node can not go on and stops: {reason}\n");
    let _ = std::io::Write::write_all(&mut std::io::stderr(), message.as_bytes());
    std::process::exit(70);
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
