//! The join desk: admits a new node that shows a join token (DESIGN 6).
//!
//! The entry that consumes the token comes first; its index is the node's id. Only then a certificate is made, and the
//! root key is handed over once, inside the TLS connection whose server the newcomer has pinned.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jarvis_cluster::env::BoxFuture;
use jarvis_cluster::tls::{self, Validity};
use jarvis_cluster::{JoinDesk, Node};
use jarvis_domain::codec::{decode, encode};
use jarvis_domain::command::{ClusterCommand, Command};
use jarvis_domain::member::Member;
use jarvis_domain::outcome::{Outcome, Rejection};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::limits::{Limits, Reason};
use crate::service::certificates::cluster_ca;
use crate::service::vault::Vault;
use crate::setup::{JoinAnswer, JoinQuestion, PEER_CERTIFICATE_LIFETIME};

/// An admission takes one committed entry.
const ADMIT_DEADLINE: Duration = Duration::from_secs(8);

/// The desk of one node.
pub struct Desk {
    node: Node,
    vault: Arc<Vault>,
    limits: Arc<Limits>,
}

impl Desk {
    /// The desk of a node.
    #[must_use]
    pub const fn new(node: Node, vault: Arc<Vault>, limits: Arc<Limits>) -> Self {
        Self {
            node,
            vault,
            limits,
        }
    }

    async fn admit(&self, body: Bytes) -> Result<Bytes, String> {
        let question: JoinQuestion =
            decode(&body).map_err(|error| format!("the join request is malformed: {error}"))?;
        if self.vault.is_sealed() {
            return Err("this node is sealed and can admit nobody: ask another one".to_owned());
        }
        self.refuse_unknown_token(&question.secret).await?;
        let cluster = self.node.with_view(|state| state.core.cluster.clone());
        let cluster = cluster.ok_or("this node has not heard from its cluster yet")?;
        let ca = cluster_ca(&self.vault, &cluster).map_err(|error| error.to_string())?;
        let now_s = i64::try_from(self.node.now_ms() / 1_000).unwrap_or(i64::MAX);
        let validity = Validity::starting(now_s, PEER_CERTIFICATE_LIFETIME);
        // Not given out: it only shows which key the request is about.
        let probe = ca
            .issue_peer(cluster.cluster_id, 0, &question.request, validity)
            .map_err(|error| format!("the signing request can not be used: {error}"))?;
        let node_id = self
            .commit(
                &question,
                tls::spki_sha256(&probe).map_err(|error| error.to_string())?,
            )
            .await?;
        let certificate = ca
            .issue_peer(cluster.cluster_id, node_id, &question.request, validity)
            .map_err(|error| error.to_string())?;
        let api_certificate = match &question.api_request {
            Some((request, names)) => Some(
                ca.issue_server(names.clone(), request, validity)
                    .map_err(|error| format!("the API certificate can not be made: {error}"))?,
            ),
            None => None,
        };
        let root = self
            .vault
            .with_keyring(|keyring| keyring.root().to_secret())
            .map_err(|error| error.to_string())?;
        let root_key = root
            .expose()
            .try_into()
            .map_err(|_| "the root key has a strange length".to_owned())?;
        let answer = JoinAnswer {
            node_id,
            cluster_id: cluster.cluster_id,
            recovery_epoch: cluster.recovery_epoch,
            ca_certificate: cluster.ca_certificate,
            certificate,
            api_certificate,
            root_key,
        };
        tracing::info!(node = node_id, name = question.name, "admitted a new node");
        Ok(Bytes::from(encode(&answer)))
    }

    /// I3: strangers can not fill the log. A token this node does not know is looked up again after a barrier; only one
    /// that is known costs a signature and an entry.
    async fn refuse_unknown_token(&self, secret: &[u8; 32]) -> Result<(), String> {
        let hash: [u8; 32] = Sha256::digest(secret).into();
        let known = || {
            self.node
                .with_view(|state| state.join_tokens.contains(&hash))
        };
        if known() {
            return Ok(());
        }
        if let Err(flood) = self.limits.unauthenticated() {
            return Err(flood.message().to_owned());
        }
        self.limits.count(Reason::Unauthenticated, None);
        if self.node.barrier(Instant::now() + ADMIT_DEADLINE).await && known() {
            return Ok(());
        }
        Err("the join token is unknown, expired or used up: make a new one".to_owned())
    }

    async fn commit(&self, question: &JoinQuestion, peer_key: [u8; 32]) -> Result<u64, String> {
        let member = Member {
            name: question.name.clone(),
            peer_address: question.peer_address.clone(),
            api_address: question.api_address.clone(),
            peer_key,
            audit_key: question.audit_key,
            level: question.level,
            joined: 0,
        };
        let token_hash: [u8; 32] = Sha256::digest(question.secret).into();
        let command = Command::Cluster(Box::new(ClusterCommand::Join { token_hash, member }));
        let reply = self
            .node
            .propose(command, Instant::now() + ADMIT_DEADLINE)
            .await
            .map_err(|error| format!("{error}: repeat the join"))?;
        match reply.outcome {
            Outcome::Joined { node } => Ok(node),
            Outcome::Rejected(Rejection::Unauthenticated) => {
                Err("the join token is unknown, expired or used up: make a new one".to_owned())
            }
            Outcome::Rejected(Rejection::Invalid { reason }) => Err(reason),
            other => Err(format!("not admitted: {other:?}")),
        }
    }
}

impl JoinDesk for Desk {
    fn join(&self, body: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(self.admit(body))
    }
}
