//! The peer network (DESIGN 6): bytes between nodes, nothing of Raft or of the vault.
//!
//! ```text
//!   dialer                                   server
//!   TCP, TLS 1.3 (both sides certified)      certificate names a node of this cluster
//!   Opening{Hello, purpose}      ─────────►  same protocol, cluster, epoch; id = certificate's;
//!                                            directory: pinned key right? not removed?
//!   same checks of the server    ◄─────────  Welcome(Hello) | Refused{reason}
//!   frames …                     ◄────────►  frames …
//! ```
//!
//! Every [`Lane`] is a TCP connection of its own, so that a large transfer never delays a heartbeat.
//! A connection is opened either for calls (multiplexed by request id, kept and shared) or for one
//! stream (its own connection). The join lane alone takes callers without a certificate: one
//! question, one answer, and whatever it means is proved inside the body.
//!
//! Invariants:
//! - a frame's length is checked against its lane's limit before memory is taken for it;
//! - every queue, wait and write has a bound (rule 10); nothing relies on TCP to notice a dead peer:
//!   both sides ping when idle, and silence ends a connection;
//! - addresses are not identity: who a peer is comes from its certificate, and each authenticated
//!   hello reports the addresses to the [`Directory`];
//! - everything runs on tokio's timers and on any runtime flavor, so that a simulator can drive it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::env::{BoxFuture, Env, Listener};
use crate::tls::{PeerTls, TlsError};

mod calls;
mod codec;
mod frame;
mod handshake;
mod join;
mod pool;
mod serve;
mod stream;
#[cfg(test)]
mod vectors;

pub use stream::{FramedReceiver, FramedSender, FramedStream};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// What a connection is for. The limits are for one whole frame with its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Lane {
    /// Log entries to followers. 20 MiB: one entry of 16 MiB, the largest the log takes, fits.
    Append,
    /// Votes, heartbeats, probes. 1 MiB: all of them are small.
    Control,
    /// Proposals and questions for the leader. 20 MiB, as their entries.
    Forward,
    /// Snapshots and audit segments, in chunks. 2 MiB: a chunk of 1 MiB and its head.
    Snapshot,
    /// A node that has no certificate yet. 64 KiB: token, signing request, keys.
    Join,
}

impl Lane {
    /// The largest frame, in bytes.
    #[must_use]
    pub const fn frame_limit(self) -> usize {
        match self {
            Lane::Append | Lane::Forward => 20 * MIB,
            Lane::Control => MIB,
            Lane::Snapshot => 2 * MIB,
            Lane::Join => 64 * KIB,
        }
    }
}

/// Why a peer did not answer.
///
/// Definite: `Unreachable`, `Refused` and `TooLarge` mean that the request was not handled (or, for
/// `TooLarge`, never sent). After `Timeout` and `Closed` it may have been.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// No connection could be made.
    #[error("no connection to {address}: {reason}")]
    Unreachable {
        /// Where it was tried.
        address: String,
        /// What happened.
        reason: String,
    },
    /// The deadline passed.
    #[error("the peer did not answer in time")]
    Timeout,
    /// One side does not accept the other: certificate, cluster, epoch, removal, version.
    #[error("refused: {reason}")]
    Refused {
        /// Why, for people.
        reason: String,
    },
    /// The peer's handler answered with an error.
    #[error("the peer answered: {message}")]
    Remote {
        /// Its text.
        message: String,
    },
    /// A frame beyond its lane's limit.
    #[error("a frame of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The lane's limit.
        limit: usize,
    },
    /// The connection ended before the answer.
    #[error("the connection to the peer ended")]
    Closed,
}

/// How peers prove who they are.
#[derive(Clone)]
pub enum Security {
    /// TLS 1.3, both sides certified by the cluster CA.
    MutualTls(Arc<PeerTls>),
    /// No TLS: every peer is believed. Simulation only; [`PeerNetwork::new`] refuses it elsewhere.
    DangerPlain,
}

/// What a joining node trusts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JoinSecurity {
    /// The CA whose certificate has this SHA-256, from the join token.
    PinnedCa([u8; 32]),
    /// No TLS. Simulation only.
    DangerPlain,
}

/// [`Security::DangerPlain`] was asked for outside a simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("peers without TLS are possible in a simulation only")]
pub struct PlainOutsideSimulation;

/// This node, as it presents itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Me {
    /// The cluster.
    pub cluster_id: [u8; 16],
    /// Counts disaster recoveries: nodes from before one do not talk to those after it.
    pub recovery_epoch: u64,
    /// This node's id.
    pub node_id: u64,
    /// The highest feature level this program knows (rule 3).
    pub level: u32,
    /// Where peers reach this node.
    pub peer_address: String,
    /// Where clients reach this node.
    pub api_address: String,
}

/// The other end of an authenticated connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Its id, from its certificate.
    pub node_id: u64,
    /// The highest feature level it reported.
    pub level: u32,
    /// SHA-256 of its public key info; all zero without TLS.
    pub spki_sha256: [u8; 32],
}

/// What is known of a node id and the key it showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A member, with the key pinned in its record.
    Known,
    /// Not heard of yet: accepted on the CA's signature.
    Unknown,
    /// A former member: refused for ever (rule 11).
    Removed,
    /// A member with another key: refused. Ignored without TLS, where nobody shows a key.
    WrongKey,
}

/// The membership, as the network asks about it. Called on every handshake; must not block.
pub trait Directory: Send + Sync {
    /// Judges a node id and the SHA-256 of the public key info in its certificate.
    fn verdict(&self, node_id: u64, spki_sha256: [u8; 32]) -> Verdict;

    /// An authenticated peer said where it can be reached.
    fn learned(&self, node_id: u64, peer_address: &str, api_address: &str);
}

/// What a node does with what its peers send.
pub trait PeerHandler: Send + Sync {
    /// Answers one call. An error's text travels back as [`PeerError::Remote`]. Dropped when the
    /// caller's deadline passes or its connection ends. `body` may share a larger buffer: copy what
    /// is kept.
    fn call(
        &self,
        peer: PeerIdentity,
        lane: Lane,
        kind: u8,
        body: Bytes,
    ) -> BoxFuture<'_, Result<Bytes, String>>;

    /// Serves one stream; the connection ends with the future.
    fn stream(
        &self,
        peer: PeerIdentity,
        lane: Lane,
        kind: u8,
        stream: FramedStream,
    ) -> BoxFuture<'_, ()>;

    /// Answers a node that has no certificate. Nothing is known of it but what `body` proves.
    fn join(&self, body: Bytes) -> BoxFuture<'_, Result<Bytes, String>>;
}

/// The network of one node: dials, serves, and keeps its connections. Cloning is cheap.
#[derive(Clone)]
pub struct PeerNetwork {
    shared: Arc<Shared>,
}

/// What every part of the network uses.
pub(crate) struct Shared {
    pub(crate) env: Env,
    pub(crate) security: Security,
    pub(crate) me: Me,
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) pool: pool::Pool,
    pub(crate) served: serve::Served,
    /// True from shutdown on.
    pub(crate) closing: watch::Sender<bool>,
}

impl PeerNetwork {
    /// A network that has no connections yet.
    ///
    /// # Errors
    /// [`PlainOutsideSimulation`].
    pub fn new(
        env: Env,
        security: Security,
        me: Me,
        directory: Arc<dyn Directory>,
    ) -> Result<Self, PlainOutsideSimulation> {
        if matches!(security, Security::DangerPlain) && !env.simulated {
            return Err(PlainOutsideSimulation);
        }
        let shared = Shared {
            env,
            security,
            me,
            directory,
            pool: pool::Pool::default(),
            served: serve::Served::default(),
            closing: watch::Sender::new(false),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Sends one request and waits for its answer, over the kept connection to that peer and lane
    /// (dialed at `address` when there is none; an existing one is used whatever its address).
    ///
    /// # Errors
    /// [`PeerError`]; never later than `deadline`.
    pub async fn call(
        &self,
        peer: u64,
        address: &str,
        lane: Lane,
        kind: u8,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, PeerError> {
        refuse_join_lane(lane)?;
        pool::call(&self.shared, peer, address, lane, kind, body, deadline).await
    }

    /// Opens a connection for one stream.
    ///
    /// # Errors
    /// [`PeerError`], after at most 4 s.
    pub async fn open_stream(
        &self,
        peer: u64,
        address: &str,
        lane: Lane,
        kind: u8,
    ) -> Result<FramedStream, PeerError> {
        refuse_join_lane(lane)?;
        let purpose = handshake::Purpose::Stream { kind };
        let pipe = handshake::dial(&self.shared, peer, address, lane, purpose).await?;
        Ok(FramedStream::start(pipe, lane))
    }

    /// Accepts peers until [`PeerNetwork::shut_down`]. At most 256 connections at a time.
    pub fn serve(
        &self,
        listener: Box<dyn Listener>,
        handler: Arc<dyn PeerHandler>,
    ) -> impl Future<Output = ()> + Send + use<> {
        serve::serve(Arc::clone(&self.shared), listener, handler)
    }

    /// Ends every connection with one node, in both directions: it was removed, or its key changed.
    /// Reconnecting meets the directory's verdict.
    pub fn disconnect(&self, node_id: u64) {
        self.shared.pool.disconnect(node_id);
        self.shared.served.disconnect(node_id);
    }

    /// Stops serving and ends the kept connections. Further calls are `Closed`.
    pub fn shut_down(&self) {
        self.shared.closing.send_replace(true);
        self.shared.pool.close();
    }

    /// Asks a member to admit this node, which has no certificate yet.
    ///
    /// # Errors
    /// [`PeerError`]; `Refused` when the server does not belong to the pinned CA.
    pub async fn join_call(
        env: &Env,
        address: &str,
        security: JoinSecurity,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, PeerError> {
        join::call(env, address, security, body, deadline).await
    }
}

impl From<TlsError> for PeerError {
    fn from(error: TlsError) -> Self {
        PeerError::Refused {
            reason: error.to_string(),
        }
    }
}

/// Joining is one question without identity; calls and streams have one.
fn refuse_join_lane(lane: Lane) -> Result<(), PeerError> {
    if lane == Lane::Join {
        return Err(PeerError::Refused {
            reason: String::from("the join lane takes joins only"),
        });
    }
    Ok(())
}
