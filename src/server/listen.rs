//! Listeners of the API: TCP, with TLS or without, and a unix socket (A13, F6, X5).

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use jarvis_cluster::tls;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::api::{Connection, Listener};
use crate::config::{ApiTls, Config};
use crate::service::ClientCertificate;

/// A TLS handshake must be done within this time.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// A request's head must arrive within this time, also the first one of a connection.
const HEAD: Duration = Duration::from_secs(30);
/// Longest request head, bytes.
const HEAD_BYTES: usize = 64 * 1024;
/// After a failed accept (no file descriptors left): others may finish meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why a listener can not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is taken, or not this machine's.
    #[error(
        "can not listen on {address}: {source}. Nothing was changed; choose another address ([server] bind_addr, [cluster] peer_addr) or stop what uses it"
    )]
    Address {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// What lies at the unix socket's path is no socket.
    #[error(
        "{path} is not a socket, and it is left alone. Nothing was changed; move it away, or choose another path ([server] allow_unix_socket)"
    )]
    NotASocket {
        /// What the configuration names.
        path: PathBuf,
    },
    /// A certificate or key can not be used.
    #[error("{path}: {reason}")]
    Tls {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Takes the API's port, and makes sure that the peers' port and the unix socket's path are free too.
pub(super) async fn bind(config: &Config) -> Result<TcpListener, ListenError> {
    if let Some(path) = &config.server.unix_socket {
        is_left_behind(path)?;
    }
    let taken = |address: std::net::SocketAddr| {
        move |source| ListenError::Address {
            address: address.to_string(),
            source,
        }
    };
    let peers = config.cluster.peer_addr;
    drop(TcpListener::bind(peers).await.map_err(taken(peers))?);
    let address = config.server.bind_addr;
    TcpListener::bind(address).await.map_err(taken(address))
}

/// Opened listeners, before they serve.
pub(super) struct Listeners {
    tcp: TcpListener,
    place: Listener,
    tls: Option<TlsAcceptor>,
    unix: Option<UnixListener>,
    connections: Arc<Semaphore>,
}

impl Listeners {
    /// Takes the bound port, loads certificates, opens the unix socket.
    pub(super) fn open(config: &Config, tcp: TcpListener) -> Result<Self, ListenError> {
        let cluster_ca = config.paths.data_dir.join("ca.crt.der");
        let tls = config.tls.api.as_ref();
        let tls = tls.map(|api| acceptor(api, &cluster_ca)).transpose()?;
        let unix = match &config.server.unix_socket {
            Some(path) => Some(bind_unix(path)?),
            None => None,
        };
        let place = if config.server.bind_addr.ip().is_loopback() {
            Listener::Loopback
        } else {
            Listener::Network
        };
        let connections = Arc::new(Semaphore::new(config.limits.max_connections));
        Ok(Self {
            tcp,
            place,
            tls,
            unix,
            connections,
        })
    }

    /// Serves until told to stop; connections under way finish their request.
    pub(super) async fn serve(self, router: Router, stopping: watch::Receiver<bool>) {
        let Self {
            tcp,
            place,
            tls,
            unix,
            connections,
        } = self;
        let tcp_loop = {
            let (router, stopping, connections) =
                (router.clone(), stopping.clone(), connections.clone());
            tokio::spawn(async move {
                serve_tcp(tcp, (place, tls), router, stopping, connections).await
            })
        };
        if let Some(unix) = unix {
            serve_unix(unix, router, stopping, connections.clone()).await;
        }
        let _ = tcp_loop.await;
    }
}

async fn serve_tcp(
    tcp: TcpListener,
    (place, tls): (Listener, Option<TlsAcceptor>),
    router: Router,
    mut stopping: watch::Receiver<bool>,
    connections: Arc<Semaphore>,
) {
    let mut open = tokio::task::JoinSet::new();
    loop {
        while open.try_join_next().is_some() {}
        let Ok(room) = connections.clone().acquire_owned().await else {
            break;
        };
        let accepted = tokio::select! {
            accepted = tcp.accept() => accepted,
            () = told(&mut stopping) => break,
        };
        let Ok((stream, remote)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (router, tls, stopping) = (router.clone(), tls.clone(), stopping.clone());
        open.spawn(async move {
            let connection = Connection {
                listener: place,
                remote: Some(remote),
                certificate: None,
            };
            match tls {
                None => serve_connection(stream, router, connection, stopping).await,
                Some(tls) => serve_tls(stream, tls, router, connection, stopping).await,
            }
            drop(room);
        });
    }
    drop(tcp);
    while open.join_next().await.is_some() {}
}

async fn serve_unix(
    unix: UnixListener,
    router: Router,
    mut stopping: watch::Receiver<bool>,
    connections: Arc<Semaphore>,
) {
    let mut open = tokio::task::JoinSet::new();
    loop {
        while open.try_join_next().is_some() {}
        let Ok(room) = connections.clone().acquire_owned().await else {
            break;
        };
        let accepted = tokio::select! {
            accepted = unix.accept() => accepted,
            () = told(&mut stopping) => break,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (router, stopping) = (router.clone(), stopping.clone());
        open.spawn(async move {
            let connection = Connection {
                listener: Listener::Unix,
                remote: None,
                certificate: None,
            };
            serve_connection(stream, router, connection, stopping).await;
            drop(room);
        });
    }
    drop(unix);
    while open.join_next().await.is_some() {}
}

async fn serve_tls(
    stream: tokio::net::TcpStream,
    tls: TlsAcceptor,
    router: Router,
    connection: Connection,
    stopping: watch::Receiver<bool>,
) {
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await else {
        return;
    };
    let certificate = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first());
    let certificate = certificate.and_then(|certificate| client_certificate(certificate));
    serve_connection(
        stream,
        router,
        Connection {
            certificate,
            ..connection
        },
        stopping,
    )
    .await;
}

/// Serves one connection: HTTP/1.1 over these bytes, until it ends, or until told to stop and the request under way is
/// answered.
pub async fn serve_connection<S>(
    stream: S,
    router: Router,
    connection: Connection,
    mut stopping: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(connection.clone());
        request.map(Body::new)
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        // How a connection ends is its client's business.
        _ = serving.as_mut() => {}
        () = told(&mut stopping) => {
            serving.as_mut().graceful_shutdown();
            let _ = serving.await;
        }
    }
}

/// Waits until the server is told to stop, or is gone.
async fn told(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await.map(|_| ());
}

fn bind_unix(path: &Path) -> Result<UnixListener, ListenError> {
    if is_left_behind(path)? {
        std::fs::remove_file(path).map_err(|source| at(path, source))?;
    }
    UnixListener::bind(path).map_err(|source| at(path, source))
}

/// Whether a dead process left its socket there: such a one refuses connections, and one that answers belongs to a live
/// process. Anything but a socket is somebody's file, and is never removed.
fn is_left_behind(path: &Path) -> Result<bool, ListenError> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(at(path, error)),
        Ok(found) if !found.file_type().is_socket() => Err(ListenError::NotASocket {
            path: path.to_owned(),
        }),
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            Err(at(path, io::ErrorKind::AddrInUse.into()))
        }
        Ok(_) => Ok(true),
    }
}

fn at(path: &Path, source: io::Error) -> ListenError {
    ListenError::Address {
        address: path.display().to_string(),
        source,
    }
}

/// Certificates of clients are asked for, not demanded: a token is the other credential (I1).
fn acceptor(api: &ApiTls, cluster_ca: &Path) -> Result<TlsAcceptor, ListenError> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(&api.cert_path)
        .and_then(Iterator::collect)
        .map_err(|error| {
            bad(
                &api.cert_path,
                format!("no certificate chain in PEM: {error}"),
            )
        })?;
    let key = PrivateKeyDer::from_pem_file(&api.key_path)
        .map_err(|error| bad(&api.key_path, format!("no private key in PEM: {error}")))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| bad(&api.cert_path, error.to_string()))?;
    let (path, authorities) = client_authorities(api, cluster_ca)?;
    let mut roots = rustls::RootCertStore::empty();
    for authority in authorities {
        roots
            .add(authority)
            .map_err(|error| bad(path, error.to_string()))?;
    }
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .allow_unauthenticated()
            .build()
            .map_err(|error| bad(path, error.to_string()))?;
    let mut config = builder
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| bad(&api.cert_path, error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Whose client certificates count, and the file that says so: the configured CA's, or else the cluster CA's own, so that
/// what `certificate create` makes works at once. The peers' copy is read, since no node runs without it.
fn client_authorities<'a>(
    api: &'a ApiTls,
    cluster_ca: &'a Path,
) -> Result<(&'a Path, Vec<CertificateDer<'static>>), ListenError> {
    let Some(path) = &api.client_ca_path else {
        let der = std::fs::read(cluster_ca).map_err(|error| bad(cluster_ca, error.to_string()))?;
        return Ok((cluster_ca, vec![CertificateDer::from(der)]));
    };
    let authorities: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| bad(path, format!("no CA certificate in PEM: {error}")))?;
    Ok((path.as_path(), authorities))
}

fn bad(path: &Path, reason: String) -> ListenError {
    ListenError::Tls {
        path: path.to_owned(),
        reason,
    }
}

/// Who a verified client certificate names: our own CA's `jarvis-client:` URI, or a DNS name (I1).
fn client_certificate(certificate: &CertificateDer<'_>) -> Option<ClientCertificate> {
    let client = tls::client_identity(certificate)
        .ok()
        .or_else(|| dns_name(certificate))?;
    let not_after = u64::try_from(tls::not_after(certificate).ok()?)
        .ok()?
        .saturating_mul(1_000);
    Some(ClientCertificate {
        client,
        serial: tls::serial(certificate).ok()?,
        not_after,
    })
}

fn dns_name(certificate: &CertificateDer<'_>) -> Option<String> {
    use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    let mut names = names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        });
    let first = names.next()?;
    // With several names it is not clear who this is; peers' certificates are for peers.
    (names.next().is_none() && !first.ends_with(".jarvis")).then_some(first)
}
