//! Key epochs: begin a new one, put every version under it, let go of the old ones (X2).
//!
//! ```text
//! epoch.add ─▶ round of re-wrapping ─▶ how many are left? ─▶ round … ─▶ none ─▶ epoch.retire
//!              one request each
//! ```
//! New versions are under the new epoch at once; the older ones follow in rounds, since a large vault takes longer than a
//! request may. Nothing is lost between two rounds, nor when nobody asks for the next one: a version stays readable under
//! the epoch it is under, and an epoch stands as long as a version is under it.

use std::sync::Arc;
use std::time::Duration;

use jarvis_domain::command::{AdminView, Caller, Change, Mutation};
use jarvis_domain::name::SecretName;
use jarvis_domain::outcome::{Outcome, Rejection};
use jarvis_domain::secret::SealedValue;
use jarvis_domain::state::State;
use jarvis_wire::error::ErrorCode;
use jarvis_wire::seal::EpochRotated;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::service::seal::off_runtime;
use crate::service::vault::VaultError;
use crate::service::{Service, ServiceError, refused, secrets, unknown};

/// Versions on their way at once: they share entries and their flushes. Eight of the largest (1 MiB) are half of what may be
/// in flight on a node, so that the other half is left to its clients.
const REWRAPS_AT_ONCE: usize = 8;
/// Most versions of one round: about what a round has time for, so that the list of a large vault is not made anew for few.
const ROUND_VERSIONS: usize = 4_096;
/// A round begins nothing later than this: its answer comes long before a client gives up, and shows progress.
const ROUND: Duration = Duration::from_secs(2);

impl Service {
    /// Starts a new key epoch, unless versions are left under older ones, and re-wraps for one round, online (X2). The
    /// answer tells how many are left; a repetition goes on with them.
    ///
    /// # Errors
    /// A7's errors. When re-wrapping stops half-way the new epoch stands, old versions stay readable, and a repetition
    /// goes on.
    pub async fn rotate_epoch(
        self: &Arc<Self>,
        caller: Caller,
        key: Option<(String, [u8; 32])>,
    ) -> Result<EpochRotated, ServiceError> {
        self.refuse_sealed()?;
        let end = self.deadline();
        if self.node.with_view(left_behind) > 0 {
            self.admin_view(caller.clone(), AdminView::Seal, "key epochs")
                .await?;
        } else {
            self.begin_epoch(caller.clone(), key, end).await?;
        }
        self.rewrap_round(&caller, end).await?;
        let (epoch, left) = self
            .node
            .with_view(|state| (state.core.epoch, left_behind(state)));
        if left == 0 {
            self.retire_unused(&caller).await;
        }
        Ok(EpochRotated {
            epoch: u64::from(epoch),
            left,
        })
    }

    async fn begin_epoch(
        &self,
        caller: Caller,
        key: Option<(String, [u8; 32])>,
        end: Instant,
    ) -> Result<(), ServiceError> {
        let number = self.node.with_view(|state| state.core.epoch) + 1;
        let wrapped = self
            .vault
            .with_keyring(|keyring| keyring.generate_epoch(number))
            .map_err(|_| self.refuse_sealed().err().unwrap_or_else(unknown))?
            .map_err(|error| ServiceError::new(ErrorCode::Internal, error.to_string()))?;
        let change = Change::AddEpoch { number, wrapped };
        let idempotency = secrets::idempotency(key);
        self.mutate(caller, idempotency, change, "key epochs")
            .await?;
        // The epoch is in the log; what follows needs it here. For a repetition it is the first time's, not `number`.
        if self.node.barrier(end).await {
            Ok(())
        } else {
            Err(unknown())
        }
    }

    /// One round. What may pass by itself ends it, and is told only when it got nowhere: otherwise the number of those that
    /// are left says more, and the next round meets it again.
    async fn rewrap_round(
        self: &Arc<Self>,
        caller: &Caller,
        end: Instant,
    ) -> Result<(), ServiceError> {
        let begun = Instant::now();
        let until = begun + ROUND.min(end.saturating_duration_since(begun) / 2);
        let state = self.node.view();
        let mut waiting = off_runtime(&self.node, move || under_older_epochs(&state))
            .await?
            .into_iter();
        let mut running = JoinSet::new();
        let mut got_somewhere = false;
        let mut trouble = None;
        loop {
            while trouble.is_none() && running.len() < REWRAPS_AT_ONCE && Instant::now() < until {
                let Some((name, number)) = waiting.next() else {
                    break;
                };
                let (service, caller) = (Arc::clone(self), caller.clone());
                running.spawn(async move { service.rewrap(caller, name, number).await });
            }
            let Ok(ended) = timeout_at(end, running.join_next()).await else {
                // Those on their way may happen or not: the next round sees it.
                trouble = trouble.or_else(|| Some(unknown()));
                break;
            };
            match ended {
                None => break,
                Some(Ok(Ok(()))) => got_somewhere = true,
                Some(Ok(Err(error))) if may_pass(&error) => trouble = Some(error),
                Some(Ok(Err(error))) => return Err(error),
                Some(Err(_)) => {
                    return Err(ServiceError::new(
                        ErrorCode::Internal,
                        "re-wrapping was interrupted; every version stays readable, and a repetition goes on",
                    ));
                }
            }
        }
        match trouble {
            Some(error) if !got_somewhere => Err(error),
            _ => Ok(()),
        }
    }

    /// Puts one version under the current epoch.
    async fn rewrap(
        &self,
        caller: Caller,
        name: SecretName,
        number: u64,
    ) -> Result<(), ServiceError> {
        self.refuse_unaudited()?;
        let Some(change) = self.sealed_anew(&name, number)? else {
            return Ok(());
        };
        let client = caller.client.to_string();
        let mutation = Mutation {
            caller,
            idempotency: None,
            change,
        };
        match self.propose(mutation).await?.outcome {
            // Gone or re-wrapped meanwhile, or the next epoch has begun: what is left is counted anew.
            Outcome::Rejected(
                Rejection::NotFound | Rejection::Conflict { .. } | Rejection::StaleEpoch { .. },
            ) => Ok(()),
            Outcome::Rejected(rejection) => Err(refused(rejection, &client, name.as_str())),
            _ => Ok(()),
        }
    }

    /// `None`: it is gone, or under the current epoch already, as when two administrators rotate at once.
    fn sealed_anew(&self, name: &SecretName, number: u64) -> Result<Option<Change>, ServiceError> {
        let state = self.node.view();
        let current = state.core.epoch;
        let version = state.versions.get(&(name.clone(), number));
        let Some(version) = version.filter(|version| version.value.epoch != current) else {
            return Ok(None);
        };
        let failed = |error: VaultError| match error {
            VaultError::Sealed => self.refuse_sealed().err().unwrap_or_else(unknown),
            error => ServiceError::new(
                ErrorCode::Internal,
                format!("version {number} of {name}: {error}"),
            ),
        };
        let value = self
            .vault
            .decrypt(&state, name.as_str(), version)
            .map_err(failed)?;
        let sealed = self
            .vault
            .encrypt(&state, name.as_str(), value.expose())
            .map_err(failed)?;
        Ok(Some(Change::Rewrap {
            name: name.clone(),
            version: number,
            from_epoch: version.value.epoch,
            value: SealedValue {
                version_id: sealed.version_id,
                epoch: sealed.epoch,
                ciphertext: sealed.ciphertext,
                binary: version.value.binary,
            },
        }))
    }

    async fn retire_unused(&self, caller: &Caller) {
        let state = self.node.view();
        let unused = state
            .epochs
            .iter()
            .filter(|(number, epoch)| **number != state.core.epoch && epoch.versions == 0);
        for (number, _) in unused {
            let change = Change::RetireEpoch { number: *number };
            if let Err(error) = self
                .mutate(caller.clone(), None, change, "key epochs")
                .await
            {
                // Something was written under it meanwhile: the next rotation retires it.
                tracing::info!(epoch = number, %error, "an old key epoch is still in use");
            }
        }
    }
}

/// How many versions are under other epochs than the current one.
fn left_behind(state: &State) -> u64 {
    let older = state
        .epochs
        .iter()
        .filter(|(number, _)| **number != state.core.epoch);
    older.map(|(_, epoch)| epoch.versions).sum()
}

/// The first of them, in order.
fn under_older_epochs(state: &State) -> Vec<(SecretName, u64)> {
    let current = state.core.epoch;
    let older = state
        .versions
        .iter()
        .filter(|(_, version)| version.value.epoch != current);
    older
        .map(|(place, _)| place.clone())
        .take(ROUND_VERSIONS)
        .collect()
}

/// Nothing is wrong with the version or the caller.
fn may_pass(error: &ServiceError) -> bool {
    matches!(
        error.code,
        ErrorCode::NoLeader | ErrorCode::UnknownOutcome | ErrorCode::RateLimited
    )
}
