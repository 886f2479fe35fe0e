//! What the server can do: one verb per thing a user may ask, one paragraph per verb: authenticate, decide, encrypt,
//! propose. Nothing of HTTP, nothing of Raft.
//!
//! No side doors: whatever answers from vault state takes the access path, so that the decision, the data and the audit
//! event have one index (DESIGN 2).

use std::sync::Arc;
use std::time::Duration;

use jarvis_cluster::{Node, ProposeError};
use jarvis_domain::command::{
    Access, AdminView, Caller, Change, Command, Idempotency, Mutation, Target,
};
use jarvis_domain::outcome::{Outcome, Rejection, Reply};
use jarvis_domain::policy::Verb;
use jarvis_domain::state::State;
use jarvis_domain::time::rfc3339;
use jarvis_domain::token::Credential;
use jarvis_wire::error::ErrorCode;
use tokio::time::Instant;

use crate::config::Config;
use crate::limits::{Limits, Reason};
use crate::metrics::Metrics;

mod certificates;
mod cluster;
mod credential;
mod desk;
mod due;
mod epochs;
mod identity;
#[cfg(jarvis_mutants)]
mod mutants;
mod policies;
mod seal;
mod secrets;
mod stale;
mod tokens;
mod trail;
mod vault;

/// Bytes that wipe themselves and never print.
pub use jarvis_crypto::SecretBytes;

pub use desk::Desk;
pub use identity::{ClientCertificate, Presented};
pub use seal::{KeyFileSource, tell_unsealed_with_key_file, unseal_with_key_file};
pub use secrets::{GotSecret, NewSecret};
pub use vault::Vault;

/// What a client with too many idempotency keys is told to wait, seconds: each is remembered for ten minutes, so that some
/// go every minute where requests come evenly, and a repetition each second would be in vain.
const IDEMPOTENCY_FULL_RETRY_SECS: u64 = 60;
/// How much of a request's deadline is kept for the way back, so that the answer comes within it.
const ANSWER_RESERVE: Duration = Duration::from_millis(200);

/// Why a request was not done (A7). The message is for people; it never holds a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ServiceError {
    /// What kind of refusal.
    pub code: ErrorCode,
    /// What happened, what is safe, what to do next.
    pub message: String,
    /// The version found by a failed compare-and-set.
    pub actual_version: Option<u64>,
    /// The client this is about, once it is known: floods of refusals are counted per client (I3).
    pub client: Option<String>,
    /// Set where it is settled already why nothing reached the log, and no bucket is to be asked again: what metrics and
    /// the trail's aggregates call it (I3).
    pub refused: Option<Reason>,
    /// Seconds after which a repetition makes sense, where that is not the code's usual time.
    pub retry_after_secs: Option<u64>,
}

impl ServiceError {
    /// An error of this code.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            actual_version: None,
            client: None,
            refused: None,
            retry_after_secs: None,
        }
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }
}

/// The service of one node.
pub struct Service {
    node: Node,
    vault: Arc<Vault>,
    config: Arc<Config>,
    metrics: Arc<Metrics>,
    limits: Arc<Limits>,
    journal: stale::Journal,
    due: due::Due,
    /// argon2 costs 64 MiB and a quarter of a second: one guess at a time.
    unsealing: Arc<tokio::sync::Semaphore>,
}

impl Service {
    /// The service over a node.
    ///
    /// # Errors
    /// When the journal of stale reads can not be opened.
    pub fn new(
        node: Node,
        vault: Arc<Vault>,
        config: Arc<Config>,
        metrics: Arc<Metrics>,
        limits: Arc<Limits>,
    ) -> std::io::Result<Arc<Self>> {
        let journal = stale::Journal::open(&node, &config.paths.data_dir)?;
        let unsealing = Arc::new(tokio::sync::Semaphore::new(1));
        Ok(Arc::new(Self {
            node,
            vault,
            config,
            metrics,
            limits,
            journal,
            due: due::Due::default(),
            unsealing,
        }))
    }

    /// The node below.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The configuration it was started with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether values can be decrypted here.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.vault.is_sealed()
    }

    /// Secrets that can be read, as far as this node has applied the log.
    #[must_use]
    pub fn secrets_count(&self) -> u64 {
        self.node.with_view(State::live_secrets)
    }

    fn deadline(&self) -> Instant {
        let limit = self.config.limits.request_deadline;
        Instant::now() + limit.saturating_sub(ANSWER_RESERVE).max(limit / 2)
    }

    fn refuse_sealed(&self) -> Result<(), ServiceError> {
        if self.vault.is_sealed() {
            return Err(ServiceError::new(
                ErrorCode::Sealed,
                "this node is sealed: it replicates but can not decrypt. Ask another node, or unseal this one with `jarvis-secrets unseal`",
            ));
        }
        Ok(())
    }

    /// X4: with no room for its event, nothing happens.
    fn refuse_unaudited(&self) -> Result<(), ServiceError> {
        if self.node.audit_is_full() {
            return Err(ServiceError::new(
                ErrorCode::AuditFull,
                "the disk of the audit trail is nearly full on this node, and nothing is done unaudited; nothing was changed. Ask another node; make room, or lower keep_bytes in [audit]",
            ));
        }
        Ok(())
    }

    /// The access path: the decision, the event, and a view at the same index.
    async fn view_as(
        &self,
        caller: Caller,
        target: Target,
        what: &str,
    ) -> Result<(State, Reply), ServiceError> {
        let client = caller.client.to_string();
        let reply = self.access(caller, target).await?;
        match reply.outcome {
            Outcome::View(ref state) => Ok(((**state).clone(), reply.clone())),
            Outcome::Rejected(rejection) => Err(refused(rejection, &client, what)),
            _ => Err(unknown()),
        }
    }

    async fn access(&self, caller: Caller, target: Target) -> Result<Reply, ServiceError> {
        self.refuse_unaudited()?;
        if let Target::Value { name, .. } | Target::Versions { name } = &target {
            self.foresee(&caller, Verb::Read, std::iter::once(name.as_str()))?;
        } else if target == Target::List {
            self.foresee(&caller, Verb::List, std::iter::empty())?;
        } else {
            self.foresee(&caller, Verb::Admin, std::iter::empty())?;
        }
        let asked = self.node.monotonic();
        let reply = self
            .node
            .access(Access { caller, target }, self.deadline())
            .await
            .map_err(not_proposed)?;
        self.metrics
            .committed(self.node.monotonic().saturating_sub(asked));
        self.count(&reply.outcome);
        Ok(reply)
    }

    async fn admin_view(
        &self,
        caller: Caller,
        view: AdminView,
        what: &str,
    ) -> Result<State, ServiceError> {
        Ok(self.view_as(caller, Target::Admin(view), what).await?.0)
    }

    /// The write path: one mutation, one entry's decision.
    async fn mutate(
        &self,
        caller: Caller,
        idempotency: Option<Idempotency>,
        change: Change,
        what: &str,
    ) -> Result<Reply, ServiceError> {
        self.refuse_unaudited()?;
        let client = caller.client.to_string();
        match &change {
            Change::Delete { name, .. }
            | Change::Undelete { name }
            | Change::Destroy { name, .. } => {
                self.foresee(&caller, Verb::Delete, std::iter::once(name.as_str()))?;
            }
            _ => self.foresee(&caller, Verb::Admin, std::iter::empty())?,
        }
        let mutation = Mutation {
            caller,
            idempotency,
            change,
        };
        let reply = self.propose(mutation).await?;
        match reply.outcome {
            Outcome::Rejected(rejection) => Err(refused(rejection, &client, what)),
            _ => Ok(reply),
        }
    }

    /// Proposes a mutation, and counts and times what came of it.
    async fn propose(&self, mutation: Mutation) -> Result<Reply, ServiceError> {
        let asked = self.node.monotonic();
        let reply = self
            .node
            .propose(Command::Mutate(mutation), self.deadline())
            .await
            .map_err(not_proposed)?;
        self.metrics
            .committed(self.node.monotonic().saturating_sub(asked));
        self.count(&reply.outcome);
        Ok(reply)
    }

    /// I3: a client that keeps asking for what this node knows to be denied is slowed before it reaches the log. The
    /// decision itself is apply's: a lagging node lets a request pass. A request counts once, however many names it has.
    fn foresee<'a>(
        &self,
        caller: &Caller,
        verb: Verb,
        mut names: impl Iterator<Item = &'a str>,
    ) -> Result<(), ServiceError> {
        let denied = self.node.with_view(|state| {
            state.policy_record().is_some_and(|record| match verb {
                Verb::Admin => !record.policy.decide_admin(&caller.client).is_allow(),
                Verb::List => !record.policy.clients.contains_key(caller.client.as_str()),
                verb => names.any(|name| record.policy.permit(&caller.client, verb, name).is_err()),
            })
        });
        if denied && caller.credential != Credential::System {
            self.limits
                .forbidden(caller.client.as_str())
                .map_err(limited)?;
        }
        Ok(())
    }

    fn count(&self, outcome: &Outcome) {
        match outcome {
            // The policy was not asked.
            Outcome::Rejected(Rejection::Unauthenticated) => {}
            Outcome::Rejected(Rejection::NotAuthorized { .. }) => self.metrics.rbac(false),
            _ => self.metrics.rbac(true),
        }
    }
}

/// A refusal by the limits, in words.
pub(crate) fn limited(reason: Reason) -> ServiceError {
    ServiceError {
        refused: Some(reason),
        ..ServiceError::new(ErrorCode::RateLimited, reason.message())
    }
}

/// `<term>-<node>-<index>`.
fn log_id(reply: &Reply) -> String {
    format!("{}-{}-{}", reply.log.term, reply.log.node, reply.log.index)
}

fn not_proposed(error: ProposeError) -> ServiceError {
    match error {
        ProposeError::NoLeader => ServiceError::new(
            ErrorCode::NoLeader,
            "no leader could be reached in time; this attempt changed nothing. Try again: a new leader usually takes about a second",
        ),
        ProposeError::UnknownOutcome => unknown(),
        ProposeError::Busy => ServiceError {
            refused: Some(Reason::Overloaded),
            ..ServiceError::new(
                ErrorCode::RateLimited,
                "too much is in flight on this node; this attempt changed nothing. Try again in a moment, or ask another node",
            )
        },
        ProposeError::TooLarge => ServiceError::new(
            ErrorCode::TooLarge,
            "together these writes are longer than one entry of the log may be (12 MiB); nothing was changed. Write them in smaller batches",
        ),
        ProposeError::Shutdown => ServiceError::new(
            ErrorCode::NoLeader,
            "this node is shutting down; ask another one",
        ),
    }
}

fn unknown() -> ServiceError {
    ServiceError::new(
        ErrorCode::UnknownOutcome,
        "the cluster did not confirm in time: it may or may not have happened. Repeat the same request with the same Idempotency-Key; that never does it twice",
    )
}

/// For what makes something new each time: without a key nothing ties a repetition to the request that it repeats.
fn unless_keyed(is_keyed: bool, error: ServiceError) -> ServiceError {
    match error.code {
        ErrorCode::UnknownOutcome if !is_keyed => ServiceError {
            message: "the cluster did not confirm in time: it may or may not have happened, and without an Idempotency-Key a repetition makes another one. List and remove what you do not know (a join token ends by itself), then ask again with a key".to_owned(),
            ..error
        },
        _ => error,
    }
}

/// A refusal by apply, in words (A7). Sealed, leaderless or forbidden is never 404.
fn refused(rejection: Rejection, client: &str, what: &str) -> ServiceError {
    let new = |code, message: &str| ServiceError::new(code, message);
    let mut error = match rejection {
        Rejection::Unauthenticated => new(
            ErrorCode::Unauthenticated,
            "the credential is unknown, expired or revoked",
        ),
        Rejection::NotAuthorized { target, .. } => {
            let target = if target.is_empty() {
                what.to_owned()
            } else {
                target
            };
            new(
                ErrorCode::NotAuthorized,
                &format!("client {client} not allowed to access {target}"),
            )
        }
        Rejection::NotFound => new(ErrorCode::NotFound, &format!("{what} does not exist")),
        Rejection::Deleted(deleted) => new(
            ErrorCode::NotFound,
            &format!(
                "{what} was deleted at {}; it can be undeleted until {}",
                rfc3339(deleted.at),
                rfc3339(deleted.until)
            ),
        ),
        Rejection::Conflict { actual_version } => ServiceError {
            actual_version: Some(actual_version),
            ..new(
                ErrorCode::Conflict,
                &format!(
                    "{what} is at version {actual_version}, not at the one this request expects; nothing was changed. Read it again and decide anew"
                ),
            )
        },
        Rejection::IdempotencyReused => new(
            ErrorCode::IdempotencyKeyReused,
            "this Idempotency-Key was used for another request within the last 10 minutes; nothing was changed. Use a new key for a new request",
        ),
        Rejection::IdempotencyFull => ServiceError {
            retry_after_secs: Some(IDEMPOTENCY_FULL_RETRY_SECS),
            ..new(
                ErrorCode::RateLimited,
                "too many idempotency keys are remembered for this client (1,000) or in all (100,000); nothing was changed. Try again in a few minutes",
            )
        },
        Rejection::StaleEpoch { current } => new(
            ErrorCode::Internal,
            &format!(
                "the key epoch changed to {current} while the value was written; nothing was changed. Try again"
            ),
        ),
        Rejection::Quota { limit } => new(
            ErrorCode::QuotaExceeded,
            &format!(
                "the vault is full ({limit} bytes); nothing was changed. Destroy what is not needed, or raise the limit"
            ),
        ),
        Rejection::Invalid { reason } => new(ErrorCode::InvalidRequest, &reason),
        Rejection::Repeat | Rejection::NotReady => new(
            ErrorCode::NoLeader,
            "the cluster is still beginning; try again in a moment",
        ),
    };
    error.client = Some(client.to_owned());
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a11_a_full_table_of_idempotency_keys_is_not_asked_again_each_second() {
        let full = refused(Rejection::IdempotencyFull, "backend", "a");
        assert_eq!(full.code, ErrorCode::RateLimited);
        assert_eq!(full.retry_after_secs, Some(IDEMPOTENCY_FULL_RETRY_SECS));
        assert_eq!(
            refused(Rejection::NotFound, "backend", "a").retry_after_secs,
            None
        );
    }
}
