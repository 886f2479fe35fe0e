//! The cluster: status, transfer of leadership, join tokens (L2).

use jarvis_cluster::tls;
use jarvis_crypto::CredentialKind;
use jarvis_domain::command::{AdminView, Caller, Change};
use jarvis_domain::outcome::Outcome;
use jarvis_domain::time::rfc3339;
use jarvis_wire::cluster::{
    ClusterStatus, CreateJoinToken, CreatedJoinToken, LeaderTransferred, NodeRole, NodeStatus,
    TransferLeader,
};
use jarvis_wire::error::ErrorCode;
use jarvis_wire::health::StateHash;
use jarvis_wire::text::SecretText;

use crate::service::{Service, ServiceError, secrets, unknown, unless_keyed};
use crate::setup::JoinToken;

impl Service {
    /// Every node, asked now.
    ///
    /// # Errors
    /// A7's errors.
    pub async fn cluster_status(&self, caller: Caller) -> Result<ClusterStatus, ServiceError> {
        let state = self
            .admin_view(caller, AdminView::Cluster, "the cluster's status")
            .await?;
        let cluster = state.core.cluster.as_ref().ok_or_else(unknown)?;
        let members = self.node.members().await;
        let newest = members
            .iter()
            .filter_map(|member| member.probe.as_ref())
            .map(|probe| probe.last_log)
            .max();
        let newest = newest.unwrap_or(0);
        let nodes = members.into_iter().map(|member| {
            let probe = member.probe;
            NodeStatus {
                id: member.node,
                role: probe
                    .as_ref()
                    .map_or(NodeRole::Unreachable, |probe| role(&probe.role)),
                voter: member.voter,
                term: probe.as_ref().map(|probe| probe.term),
                last_log: probe.as_ref().map(|probe| probe.last_log),
                applied: probe.as_ref().map(|probe| probe.applied),
                lag: probe
                    .as_ref()
                    .map(|probe| newest.saturating_sub(probe.applied)),
                sealed: probe.as_ref().map(|probe| probe.sealed),
                version: probe.as_ref().map(|probe| probe.version.clone()),
                api: member.api_address,
                peer: member.peer_address,
                reachable: probe.is_some(),
            }
        });
        Ok(ClusterStatus {
            cluster_id: hex::encode(cluster.cluster_id),
            recovery_epoch: cluster.recovery_epoch,
            level: u64::from(state.core.level),
            leader: self.node.leader(),
            term: self.node.probe().term,
            nodes: nodes.collect(),
        })
    }

    /// Hands leadership over; audited before it happens. A repetition under the same key does not hand it on again.
    ///
    /// # Errors
    /// A7's errors; `invalid_request` when the target can not lead.
    pub async fn transfer_leader(
        &self,
        caller: Caller,
        request: &TransferLeader,
        key: Option<(String, [u8; 32])>,
    ) -> Result<LeaderTransferred, ServiceError> {
        let change = Change::TransferLeader { to: request.to };
        let reply = self
            .mutate(caller, secrets::idempotency(key), change, "leadership")
            .await?;
        // "To anyone" is done once the term of its entry has passed; "to that one" once that one leads.
        let has_moved = request.to.is_none() && self.node.probe().term > reply.log.term;
        if !has_moved {
            self.refuse_unfit(request.to)?;
            self.node.transfer_leader(request.to).await.map_err(|reason| {
                let message = format!(
                    "leadership may have moved or not: {reason}. `jarvis-secrets cluster status` shows who leads; repeating is safe"
                );
                ServiceError::new(ErrorCode::UnknownOutcome, message)
            })?;
        }
        let deadline = self.deadline();
        loop {
            match self.node.leader() {
                Some(leader) if request.to.is_none_or(|to| to == leader) => {
                    return Ok(LeaderTransferred { leader });
                }
                _ if tokio::time::Instant::now() >= deadline => {
                    return Err(ServiceError::new(
                        ErrorCode::UnknownOutcome,
                        "leadership was handed over, but this node has not heard of the new leader yet",
                    ));
                }
                _ => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
            }
        }
    }

    /// Only a voter can lead, and "another one" needs another one.
    fn refuse_unfit(&self, to: Option<u64>) -> Result<(), ServiceError> {
        let (is_voter, voters) = self.node.with_view(|state| {
            let voters = &state.core.voters;
            (to.is_none_or(|to| voters.contains(&to)), voters.len())
        });
        match to {
            Some(to) if !is_voter => Err(ServiceError::invalid(format!("node {to} is no voter"))),
            None if voters < 2 => Err(ServiceError::invalid("no other voter can take over")),
            _ => Ok(()),
        }
    }

    /// Makes a join token; only its hash is in the log. Repeated under its key, the request gets the same one.
    ///
    /// # Errors
    /// A7's errors; with a key also `sealed`: the secret is derived then.
    pub async fn create_join_token(
        &self,
        caller: Caller,
        request: &CreateJoinToken,
        key: Option<(String, [u8; 32])>,
    ) -> Result<CreatedJoinToken, ServiceError> {
        if request.ttl_secs == 0 {
            return Err(ServiceError::invalid("ttl_secs: at least 1"));
        }
        let is_keyed = key.is_some();
        let draft = self.draft(CredentialKind::JoinToken, &caller.client, key.as_ref())?;
        let ttl_ms = request.ttl_secs.saturating_mul(1_000);
        let change = Change::CreateJoinToken {
            id: draft.id,
            hash: draft.hash(),
            uses: request.uses,
            ttl_ms,
        };
        let reply = self
            .mutate(caller, secrets::idempotency(key), change, "join tokens")
            .await
            .map_err(|error| unless_keyed(is_keyed, error))?;
        let Outcome::Created { id, expires } = reply.outcome else {
            return Err(unknown());
        };
        let secret = self.secret_of(&id, draft)?;
        let (ca_fingerprint, addresses) = self.node.with_view(|state| {
            let ca = state
                .core
                .cluster
                .as_ref()
                .map(|cluster| tls::fingerprint(&cluster.ca_certificate));
            // From the first outcome, so that a repetition at another node reads the same: the members of that moment,
            // the one that led first.
            let mut members: Vec<_> = state
                .members
                .iter()
                .filter(|(_, member)| member.joined <= reply.time)
                .collect();
            members.sort_by_key(|(id, _)| **id != reply.log.node);
            let addresses = members
                .into_iter()
                .map(|(_, member)| member.peer_address.clone());
            (ca.unwrap_or_default(), addresses.collect())
        });
        let token = JoinToken {
            secret: *secret.expose(),
            ca_fingerprint,
            addresses,
        };
        Ok(CreatedJoinToken {
            join_token: SecretText::new(token.to_text()),
            expires_at: expires.map(rfc3339).unwrap_or_default(),
            uses: request.uses,
        })
    }

    /// The state's hash and the trail's head, equal on all nodes at equal index.
    ///
    /// # Errors
    /// A7's errors; `not_found` unless debugging endpoints are on.
    pub async fn state_hash(&self, caller: Caller) -> Result<StateHash, ServiceError> {
        self.refuse_debug()?;
        // No entry of its own: asking would move the index, and no two nodes could be compared at one. It shows no name
        // and no value; a refusal takes the access path and leaves its event.
        let state = self.node.view();
        let decision = state
            .policy_record()
            .map(|record| record.policy.decide_admin(&caller.client));
        if !decision.is_some_and(|decision| decision.is_allow()) {
            self.admin_view(caller, AdminView::Debug, "the state's hash")
                .await?;
        }
        Ok(StateHash {
            index: state.core.applied.index,
            hash: hex::encode(state.hash()),
            audit_seq: state.core.trail.seq,
            audit_head: hex::encode(state.core.trail.head),
        })
    }

    /// Raft's own metrics.
    ///
    /// # Errors
    /// As [`Service::state_hash`].
    pub async fn raft_metrics(&self, caller: Caller) -> Result<String, ServiceError> {
        self.refuse_debug()?;
        self.admin_view(caller, AdminView::Debug, "raft's metrics")
            .await?;
        Ok(self.node.raft_metrics())
    }

    fn refuse_debug(&self) -> Result<(), ServiceError> {
        if self.config.security.debug_endpoints {
            return Ok(());
        }
        Err(ServiceError::new(
            ErrorCode::NotFound,
            "debugging endpoints are off: set debug_endpoints = true in [security] to have them",
        ))
    }
}

fn role(text: &str) -> NodeRole {
    match text {
        "leader" => NodeRole::Leader,
        "follower" => NodeRole::Follower,
        "learner" => NodeRole::Learner,
        "candidate" => NodeRole::Candidate,
        _ => NodeRole::Unreachable,
    }
}
