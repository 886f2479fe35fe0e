//! Who is there? TLS, then one message each way; both sides make the same checks.
//!
//! Order of the checks, cheapest to explain first: certificate present, protocol, cluster, recovery
//! epoch, not this node itself, certificate names the id, directory. A refusal travels back as text,
//! so that whoever reads the other node's log learns the reason there.

use std::io;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use serde::{Deserialize, Serialize};
use tokio::io::BufReader;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::env::{BoxStream, Env};
use crate::network::codec::{MAX_HANDSHAKE_BYTES, decode, encode};
use crate::network::frame::Pipe;
use crate::network::{Lane, PeerError, PeerIdentity, Security, Shared, Verdict};
use crate::tls::{ALPN, PeerTls, peer_identity, peer_name, spki_sha256};

#[cfg(test)]
mod vectors;

/// Counts incompatible changes of the handshake or of the frames.
const PROTOCOL: u16 = 1;

/// TCP's own handshake.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);

/// TLS and both hellos.
pub(super) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(2);

/// Read from a socket at once below TLS, which by itself asks for 4 KiB at a time: a frame of a hundred writes would take
/// a dozen system calls.
const SOCKET_READ_BYTES: usize = 64 * 1024;

/// What stands for a key where there is no TLS.
const NO_KEY: [u8; 32] = [0; 32];

/// One side, as it presents itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    protocol: u16,
    cluster_id: [u8; 16],
    recovery_epoch: u64,
    node_id: u64,
    lane: Lane,
    level: u32,
    peer_address: String,
    api_address: String,
}

/// What the dialer wants the connection for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Purpose {
    /// Requests and answers.
    Calls,
    /// One stream of that kind.
    Stream {
        /// The handler's own number for it.
        kind: u8,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct Opening {
    hello: Hello,
    purpose: Purpose,
}

#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Welcome(Hello),
    Refused { reason: String },
}

/// A connection that passed the server's checks.
pub(super) enum Accepted {
    Peer {
        identity: PeerIdentity,
        lane: Lane,
        purpose: Purpose,
        pipe: Pipe,
    },
    /// Anyone: no check was made.
    Joiner(Pipe),
}

/// Connects to a peer and makes sure that it is the one.
pub(super) async fn dial(
    shared: &Shared,
    peer: u64,
    address: &str,
    lane: Lane,
    purpose: Purpose,
) -> Result<Pipe, PeerError> {
    tracing::debug!(peer, address, ?lane, "dialing a peer");
    let stream = connect(&shared.env, address).await?;
    let greeting = Box::pin(greet(shared, peer, address, lane, purpose, stream));
    timeout(HANDSHAKE_DEADLINE, greeting)
        .await
        .unwrap_or_else(|_| Err(silent(address)))
}

/// Connects for a join: the server is checked by `tls` alone, this side presents nothing.
pub(super) async fn dial_join(
    env: &Env,
    address: &str,
    tls: Option<TlsConnector>,
) -> Result<Pipe, PeerError> {
    let stream = connect(env, address).await?;
    let greeting = Box::pin(async move {
        let stream = match tls {
            Some(connector) => {
                let stand_in = ServerName::try_from("node.jarvis").map_err(|_| bad_name())?;
                tls_connect(&connector, stand_in, address, stream).await?.0
            }
            None => stream,
        };
        open(stream, Hello::nameless(), Purpose::Calls)
            .await
            .map(|(pipe, _)| pipe)
    });
    timeout(HANDSHAKE_DEADLINE, greeting)
        .await
        .unwrap_or_else(|_| Err(silent(address)))
}

/// Takes a connection in. The caller sets the deadline.
pub(super) async fn accept(shared: &Shared, stream: BoxStream) -> Result<Accepted, PeerError> {
    let (stream, certificate) = match &shared.security {
        Security::MutualTls(tls) => tls_accept(tls, stream).await?,
        Security::DangerPlain => (stream, None),
    };
    let mut pipe = Pipe::new(stream, MAX_HANDSHAKE_BYTES);
    let opening: Opening = decode(&pipe.receive().await?)?;
    let lane = opening.hello.lane;
    if lane == Lane::Join {
        pipe.send(&encode(&Answer::Welcome(Hello::nameless()))?)
            .await?;
        return Ok(Accepted::Joiner(pipe));
    }
    match judge(shared, &opening.hello, certificate.as_deref()) {
        Ok(identity) => {
            pipe.send(&encode(&Answer::Welcome(Hello::mine(shared, lane)))?)
                .await?;
            Ok(Accepted::Peer {
                identity,
                lane,
                purpose: opening.purpose,
                pipe,
            })
        }
        Err(reason) => {
            pipe.send(&encode(&Answer::Refused {
                reason: reason.clone(),
            })?)
            .await?;
            pipe.close().await;
            Err(PeerError::Refused { reason })
        }
    }
}

async fn connect(env: &Env, address: &str) -> Result<BoxStream, PeerError> {
    let unreachable = |reason: String| PeerError::Unreachable {
        address: address.to_owned(),
        reason,
    };
    match timeout(CONNECT_DEADLINE, env.net.dial(address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(unreachable(error.to_string())),
        Err(_) => Err(unreachable(String::from("no connection within 2 s"))),
    }
}

async fn greet(
    shared: &Shared,
    peer: u64,
    address: &str,
    lane: Lane,
    purpose: Purpose,
    stream: BoxStream,
) -> Result<Pipe, PeerError> {
    let (stream, certificate) = match &shared.security {
        Security::MutualTls(tls) => {
            let name = peer_name(&shared.me.cluster_id, peer);
            let name = ServerName::try_from(name).map_err(|_| bad_name())?;
            let connector = TlsConnector::from(tls.client_config());
            tls_connect(&connector, name, address, stream).await?
        }
        Security::DangerPlain => (stream, None),
    };
    let (pipe, hello) = open(stream, Hello::mine(shared, lane), purpose).await?;
    if hello.node_id != peer {
        let reason = format!(
            "node {} answered at the address of node {peer}",
            hello.node_id
        );
        return Err(PeerError::Refused { reason });
    }
    judge(shared, &hello, certificate.as_deref())
        .map_err(|reason| PeerError::Refused { reason })?;
    Ok(pipe)
}

/// Sends the opening and takes the answer.
async fn open(
    stream: BoxStream,
    hello: Hello,
    purpose: Purpose,
) -> Result<(Pipe, Hello), PeerError> {
    let mut pipe = Pipe::new(stream, MAX_HANDSHAKE_BYTES);
    pipe.send(&encode(&Opening { hello, purpose })?).await?;
    match decode(&pipe.receive().await?)? {
        Answer::Welcome(hello) => Ok((pipe, hello)),
        Answer::Refused { reason } => Err(PeerError::Refused { reason }),
    }
}

/// The checks that both sides make of each other. The error is the reason, for people.
fn judge(
    shared: &Shared,
    hello: &Hello,
    certificate: Option<&[u8]>,
) -> Result<PeerIdentity, String> {
    let me = &shared.me;
    let certificate = match &shared.security {
        Security::MutualTls(_) => Some(certificate.ok_or("a node certificate is required")?),
        Security::DangerPlain => None,
    };
    if hello.protocol != PROTOCOL {
        return Err(format!("peer protocol {} meets {PROTOCOL}", hello.protocol));
    }
    if hello.cluster_id != me.cluster_id {
        return Err(String::from("the two nodes belong to different clusters"));
    }
    if hello.recovery_epoch != me.recovery_epoch {
        return Err(format!(
            "recovery epoch {} meets {}: the older node missed a disaster recovery and must join anew",
            hello.recovery_epoch, me.recovery_epoch
        ));
    }
    if hello.node_id == me.node_id {
        return Err(format!(
            "both nodes have the id {}: was a data directory copied?",
            me.node_id
        ));
    }
    let spki_sha256 = match certificate {
        Some(certificate) => certified_key_of(hello, certificate)?,
        None => NO_KEY,
    };
    match shared.directory.verdict(hello.node_id, spki_sha256) {
        Verdict::Known | Verdict::Unknown => {}
        Verdict::Removed => {
            return Err(format!(
                "node {} was removed from the cluster",
                hello.node_id
            ));
        }
        Verdict::WrongKey if certificate.is_none() => {}
        Verdict::WrongKey => {
            return Err(format!(
                "node {} shows another key than the one in its member record",
                hello.node_id
            ));
        }
    }
    shared
        .directory
        .learned(hello.node_id, &hello.peer_address, &hello.api_address);
    Ok(PeerIdentity {
        node_id: hello.node_id,
        level: hello.level,
        spki_sha256,
    })
}

/// The hash of the key in a certificate that names the node of this hello.
fn certified_key_of(hello: &Hello, certificate: &[u8]) -> Result<[u8; 32], String> {
    let certified =
        peer_identity(certificate, &hello.cluster_id).map_err(|error| error.to_string())?;
    if certified != hello.node_id {
        return Err(format!(
            "the certificate of node {certified} can not speak for node {}",
            hello.node_id
        ));
    }
    spki_sha256(certificate).map_err(|error| error.to_string())
}

impl Hello {
    fn mine(shared: &Shared, lane: Lane) -> Self {
        let me = &shared.me;
        Self {
            protocol: PROTOCOL,
            cluster_id: me.cluster_id,
            recovery_epoch: me.recovery_epoch,
            node_id: me.node_id,
            lane,
            level: me.level,
            peer_address: me.peer_address.clone(),
            api_address: me.api_address.clone(),
        }
    }

    /// On the join lane neither side says who it is: the newcomer is nobody yet, and it may be anybody.
    fn nameless() -> Self {
        Self {
            protocol: PROTOCOL,
            cluster_id: [0; 16],
            recovery_epoch: 0,
            node_id: 0,
            lane: Lane::Join,
            level: 0,
            peer_address: String::new(),
            api_address: String::new(),
        }
    }
}

type Secured = (BoxStream, Option<Vec<u8>>);

async fn tls_accept(tls: &PeerTls, stream: BoxStream) -> Result<Secured, PeerError> {
    let stream = BufReader::with_capacity(SOCKET_READ_BYTES, stream);
    let accepting = TlsAcceptor::from(tls.server_config()).accept(stream);
    let stream = accepting
        .await
        .map_err(|error| tls_failure("an incoming connection", &error))?;
    let (_, session) = stream.get_ref();
    check_alpn(session.alpn_protocol())?;
    let certificate = leaf(session.peer_certificates());
    let stream: BoxStream = Box::new(stream);
    Ok((stream, certificate))
}

async fn tls_connect(
    connector: &TlsConnector,
    name: ServerName<'static>,
    address: &str,
    stream: BoxStream,
) -> Result<Secured, PeerError> {
    let stream = BufReader::with_capacity(SOCKET_READ_BYTES, stream);
    let connecting = connector.connect(name, stream);
    let stream = connecting
        .await
        .map_err(|error| tls_failure(address, &error))?;
    let (_, session) = stream.get_ref();
    check_alpn(session.alpn_protocol())?;
    let certificate = leaf(session.peer_certificates());
    let stream: BoxStream = Box::new(stream);
    Ok((stream, certificate))
}

fn leaf(chain: Option<&[CertificateDer<'static>]>) -> Option<Vec<u8>> {
    chain
        .and_then(<[_]>::first)
        .map(|certificate| certificate.to_vec())
}

fn check_alpn(agreed: Option<&[u8]>) -> Result<(), PeerError> {
    if agreed == Some(ALPN) {
        return Ok(());
    }
    Err(PeerError::Refused {
        reason: String::from("the other side speaks no peer protocol"),
    })
}

/// A TLS failure is a refusal with a reason; anything else means that the peer was not reached.
fn tls_failure(address: &str, error: &io::Error) -> PeerError {
    match error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    {
        Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(reason))) => {
            PeerError::Refused {
                reason: reason.to_string(),
            }
        }
        Some(tls) => PeerError::Refused {
            reason: format!("TLS: {tls}"),
        },
        None => PeerError::Unreachable {
            address: address.to_owned(),
            reason: error.to_string(),
        },
    }
}

fn silent(address: &str) -> PeerError {
    PeerError::Unreachable {
        address: address.to_owned(),
        reason: String::from("no handshake within 2 s"),
    }
}

fn bad_name() -> PeerError {
    PeerError::Refused {
        reason: String::from("the node's name is no host name"),
    }
}
