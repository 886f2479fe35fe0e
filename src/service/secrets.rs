//! Secrets: write, read, list, versions, delete, undelete, destroy (A2–A4, A9, A15).

use std::sync::Arc;

use jarvis_crypto::SecretBytes;
use jarvis_domain::command::{Caller, Change, Idempotency, Mutation, Target, Write};
use jarvis_domain::limits::MAX_BATCH_WRITES;
use jarvis_domain::name::{ClientId, SecretName};
use jarvis_domain::outcome::{Outcome, Rejection, Reply, Written};
use jarvis_domain::policy::Verb;
use jarvis_domain::secret::{About, Deleted, SealedValue, Secret, Version};
use jarvis_domain::state::State;
use jarvis_domain::time::rfc3339;
use jarvis_wire::error::ErrorCode;
use jarvis_wire::secrets::{
    DeletedSecret, DestroyedSecret, ListQuery, SecretList, SecretSummary, UndeletedSecret,
    VersionList, VersionState, VersionSummary, WrittenSecret,
};

use crate::service::vault::VaultError;
use crate::service::{Service, ServiceError, log_id, refused, unknown};

/// Names in one page of a list, unless the caller asks for fewer.
const MAX_PAGE: u32 = 10_000;
/// How often a write is encrypted anew because the key epoch changed under it.
const EPOCH_TRIES: usize = 4;

/// One value to write, parsed.
pub struct NewSecret {
    /// Which secret.
    pub name: SecretName,
    /// The plaintext.
    pub value: SecretBytes,
    /// Whether it came as base64.
    pub binary: bool,
    /// Only if this is the current version; 0 = must not exist.
    pub cas: Option<u64>,
    /// What people say about it.
    pub about: About,
}

/// One value that may be shown.
pub struct GotSecret {
    /// Which secret.
    pub name: SecretName,
    /// The plaintext.
    pub value: SecretBytes,
    /// Its version record.
    pub version: Arc<Version>,
    /// The log index the decision was made at.
    pub index: u64,
    /// For a stale read: how old it may be, ms.
    pub stale_age_ms: Option<u64>,
}

impl Service {
    /// Reads a value: decision, event and version at one index.
    ///
    /// # Errors
    /// A7's errors.
    pub async fn get(
        &self,
        caller: Caller,
        name: SecretName,
        version: Option<u64>,
    ) -> Result<GotSecret, ServiceError> {
        self.refuse_sealed()?;
        #[cfg(jarvis_mutants)]
        if let Some(got) = self.get_wrongly(&caller, &name, version).await {
            return got;
        }
        let client = caller.client.to_string();
        let target = Target::Value {
            name: name.clone(),
            version,
        };
        let reply = self.access(caller, target).await?;
        match reply.outcome {
            Outcome::Value { version, .. } => self.open(name, version, reply.log.index, None),
            Outcome::Rejected(rejection) => {
                Err(refused(rejection, &client, &describe(&name, version)))
            }
            _ => Err(unknown()),
        }
    }

    pub(super) fn open(
        &self,
        name: SecretName,
        version: Arc<Version>,
        index: u64,
        stale_age_ms: Option<u64>,
    ) -> Result<GotSecret, ServiceError> {
        let opened = self
            .node
            .with_view(|state| self.vault.decrypt(state, name.as_str(), &version));
        match opened {
            Ok(value) => {
                self.metrics.decrypted(true);
                self.metrics.secret_retrieved();
                Ok(GotSecret {
                    name,
                    value,
                    version,
                    index,
                    stale_age_ms,
                })
            }
            Err(VaultError::Sealed) => Err(self.refuse_sealed().err().unwrap_or_else(unknown)),
            Err(error) => {
                self.metrics.decrypted(false);
                tracing::error!(name = %name, version = version.number, %error, "a stored value can not be decrypted");
                Err(ServiceError::new(
                    ErrorCode::Internal,
                    "the stored value can not be decrypted on this node; other versions and nodes may be well: see the node's log",
                ))
            }
        }
    }

    /// Writes one to 64 values, all or none.
    ///
    /// # Errors
    /// A7's errors.
    pub async fn write(
        &self,
        caller: Caller,
        secrets: Vec<NewSecret>,
        key: Option<(String, [u8; 32])>,
    ) -> Result<Vec<WrittenSecret>, ServiceError> {
        self.refuse_sealed()?;
        self.refuse_unaudited()?;
        if secrets.is_empty() || secrets.len() > MAX_BATCH_WRITES {
            return Err(ServiceError::invalid(format!(
                "a batch holds 1 to {MAX_BATCH_WRITES} writes"
            )));
        }
        let limit = self.config.limits.max_value_bytes;
        if let Some(long) = secrets
            .iter()
            .find(|secret| secret.value.len() as u64 > limit)
        {
            return Err(ServiceError::new(
                ErrorCode::TooLarge,
                format!(
                    "the value of {} has {} bytes; the limit is {limit}",
                    long.name,
                    long.value.len()
                ),
            ));
        }
        self.foresee(
            &caller,
            Verb::Write,
            secrets.iter().map(|secret| secret.name.as_str()),
        )?;
        let what = match &secrets[..] {
            [one] => one.name.to_string(),
            many => format!("one of {} secrets", many.len()),
        };
        let client = caller.client.to_string();
        let idempotency = key.map(|(key, mac)| Idempotency { key, mac });
        for _ in 0..EPOCH_TRIES {
            let change = Change::Write(self.encrypt(&secrets)?);
            let mutation = Mutation {
                caller: caller.clone(),
                idempotency: idempotency.clone(),
                change,
            };
            let reply = self.propose(mutation).await?;
            match &reply.outcome {
                Outcome::Written(written) => {
                    self.metrics.secrets_created(written.len() as u64);
                    return Ok(written
                        .iter()
                        .map(|written| rendered(&reply, written))
                        .collect());
                }
                Outcome::Rejected(Rejection::StaleEpoch { .. }) => {
                    // The new epoch is in the log: once this node has applied it, encryption uses it.
                    self.node.barrier(self.deadline()).await;
                }
                Outcome::Rejected(rejection) => {
                    return Err(refused(rejection.clone(), &client, &what));
                }
                _ => return Err(unknown()),
            }
        }
        Err(refused(
            Rejection::StaleEpoch { current: 0 },
            &client,
            &what,
        ))
    }

    fn encrypt(&self, secrets: &[NewSecret]) -> Result<Vec<Write>, ServiceError> {
        let seal = |secret: &NewSecret| {
            let sealed = self.node.with_view(|state| {
                self.vault
                    .encrypt(state, secret.name.as_str(), secret.value.expose())
            })?;
            self.metrics.encrypted();
            let value = SealedValue {
                version_id: sealed.version_id,
                epoch: sealed.epoch,
                ciphertext: sealed.ciphertext,
                binary: secret.binary,
            };
            let (name, cas, about) = (secret.name.clone(), secret.cas, secret.about.clone());
            Ok(Write {
                name,
                value,
                cas,
                about,
            })
        };
        secrets
            .iter()
            .map(seal)
            .collect::<Result<_, VaultError>>()
            .map_err(|error| match error {
                VaultError::Sealed => self.refuse_sealed().err().unwrap_or_else(unknown),
                error => {
                    tracing::error!(%error, "a value can not be encrypted");
                    ServiceError::new(
                        ErrorCode::Internal,
                        "the value can not be encrypted on this node: see its log",
                    )
                }
            })
    }

    /// The keyed MAC of a request as received, for its idempotency key.
    ///
    /// # Errors
    /// `sealed` on a sealed node.
    pub fn request_mac(&self, parts: &[&[u8]]) -> Result<[u8; 32], ServiceError> {
        self.vault
            .request_mac(parts)
            .map_err(|_| self.refuse_sealed().err().unwrap_or_else(unknown))
    }

    /// Lists the names this caller may see, in order (A4).
    ///
    /// # Errors
    /// A7's errors.
    pub async fn list(
        &self,
        caller: Caller,
        query: &ListQuery,
    ) -> Result<SecretList, ServiceError> {
        let client = caller.client.clone();
        let (state, _) = self
            .view_as(caller, Target::List, "the list of secrets")
            .await?;
        let (query, now) = (query.clone(), self.node.now_ms());
        // A large vault takes longer than a heartbeat may wait.
        self.node
            .env()
            .blocking(move || page(&state, &client, &query, now))
            .await
            .map_err(|_| {
                ServiceError::new(
                    ErrorCode::Internal,
                    "listing was interrupted; nothing was changed",
                )
            })
    }

    /// The versions of one secret, newest first, without values (A9).
    ///
    /// # Errors
    /// A7's errors.
    pub async fn versions(
        &self,
        caller: Caller,
        name: SecretName,
    ) -> Result<VersionList, ServiceError> {
        let target = Target::Versions { name: name.clone() };
        let (state, _) = self.view_as(caller, target, name.as_str()).await?;
        let Some(secret) = state.secrets.get(&name) else {
            return Err(unknown());
        };
        let current = secret.versions.last().copied();
        let describe = |number: &u64| {
            let version = state.versions.get(&(name.clone(), *number))?;
            let is_current = Some(*number) == current;
            Some(VersionSummary {
                version: *number,
                kid: version.kid.clone(),
                created_at: rfc3339(version.created),
                expires_at: rfc3339(version.expires),
                state: if is_current {
                    VersionState::Current
                } else {
                    VersionState::Previous
                },
            })
        };
        Ok(VersionList {
            name: name.to_string(),
            versions: secret.versions.iter().rev().filter_map(describe).collect(),
            deleted_at: secret.deleted.map(|deleted| rfc3339(deleted.at)),
            undelete_until: secret.deleted.map(|deleted| rfc3339(deleted.until)),
        })
    }

    /// Deletes softly (A9).
    ///
    /// # Errors
    /// A7's errors.
    pub async fn delete(
        &self,
        caller: Caller,
        name: SecretName,
        cas: Option<u64>,
        key: Option<(String, [u8; 32])>,
    ) -> Result<DeletedSecret, ServiceError> {
        let change = Change::Delete {
            name: name.clone(),
            cas,
        };
        let reply = self
            .mutate(caller, idempotency(key), change, name.as_str())
            .await?;
        match reply.outcome {
            Outcome::Deleted(Deleted { at, until }) => Ok(DeletedSecret {
                name: name.to_string(),
                deleted_at: rfc3339(at),
                undelete_until: rfc3339(until),
                log_id: log_id(&reply),
                audit_seq: reply.audit_seq,
            }),
            _ => Err(unknown()),
        }
    }

    /// Brings a deleted secret back (A9).
    ///
    /// # Errors
    /// A7's errors.
    pub async fn undelete(
        &self,
        caller: Caller,
        name: SecretName,
        key: Option<(String, [u8; 32])>,
    ) -> Result<UndeletedSecret, ServiceError> {
        let change = Change::Undelete { name: name.clone() };
        let reply = self
            .mutate(caller, idempotency(key), change, name.as_str())
            .await
            .map_err(|error| match error.code {
                // No version was expected here: this is what the conflict is about.
                ErrorCode::Conflict => ServiceError {
                    message: format!("{name} is not deleted; nothing was changed"),
                    ..error
                },
                _ => error,
            })?;
        match reply.outcome {
            Outcome::Undeleted { version, .. } => Ok(UndeletedSecret {
                name: name.to_string(),
                version,
                log_id: log_id(&reply),
                audit_seq: reply.audit_seq,
            }),
            _ => Err(unknown()),
        }
    }

    /// Destroys versions for good (A9).
    ///
    /// # Errors
    /// A7's errors.
    pub async fn destroy(
        &self,
        caller: Caller,
        name: SecretName,
        versions: Option<Vec<u64>>,
        key: Option<(String, [u8; 32])>,
    ) -> Result<DestroyedSecret, ServiceError> {
        let what = match versions.as_deref() {
            Some([]) => {
                return Err(ServiceError::invalid(
                    "versions: name at least one, or leave it out to destroy all",
                ));
            }
            Some([one]) => describe(&name, Some(*one)),
            Some(several) => format!("one of these {} versions of {name}", several.len()),
            None => name.to_string(),
        };
        let change = Change::Destroy {
            name: name.clone(),
            versions,
        };
        let reply = self.mutate(caller, idempotency(key), change, &what).await?;
        match &reply.outcome {
            Outcome::Destroyed(destroyed) => Ok(DestroyedSecret {
                name: name.to_string(),
                destroyed: destroyed.clone(),
                log_id: log_id(&reply),
                audit_seq: reply.audit_seq,
            }),
            _ => Err(unknown()),
        }
    }
}

pub(super) fn idempotency(key: Option<(String, [u8; 32])>) -> Option<Idempotency> {
    key.map(|(key, mac)| Idempotency { key, mac })
}

pub(super) fn describe(name: &SecretName, version: Option<u64>) -> String {
    match version {
        Some(version) => format!("version {version} of {name}"),
        None => name.to_string(),
    }
}

fn rendered(reply: &Reply, written: &Written) -> WrittenSecret {
    WrittenSecret {
        name: written.name.to_string(),
        kid: written.kid.clone(),
        version: written.version,
        expires_at: rfc3339(written.expires),
        log_id: log_id(reply),
        audit_seq: written.audit_seq,
    }
}

/// One page of the names a client may see.
fn page(state: &State, client: &ClientId, query: &ListQuery, now: u64) -> SecretList {
    let (mut secrets, mut next) = (Vec::new(), None);
    let Some(policy) = state.policy_record().map(|record| &record.policy) else {
        return SecretList { secrets, next };
    };
    let admin = policy.decide_admin(client).is_allow();
    let limit = query.limit.unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE) as usize;
    let prefix = query.prefix.as_deref().unwrap_or("");
    let after = query.after.as_deref().unwrap_or("");
    for (name, secret) in state.secrets.range_from(prefix.max(after)) {
        let text = name.as_str();
        if !text.starts_with(prefix) {
            if text > prefix {
                break;
            }
            continue;
        }
        let shown = !secret.versions.is_empty()
            && (secret.deleted.is_none() || query.deleted == Some(true));
        if text <= after && !after.is_empty() || !shown || !(admin || policy.may_see(client, text))
        {
            continue;
        }
        if secrets.len() == limit {
            next = secrets.last().map(|last: &SecretSummary| last.name.clone());
            break;
        }
        secrets.extend(summary(state, name, secret, now));
    }
    SecretList { secrets, next }
}

fn summary(state: &State, name: &SecretName, secret: &Secret, now: u64) -> Option<SecretSummary> {
    let number = *secret.versions.last()?;
    let version = state.versions.get(&(name.clone(), number))?;
    Some(SecretSummary {
        name: name.to_string(),
        kid: version.kid.clone(),
        version: number,
        created_at: rfc3339(version.created),
        expires_at: rfc3339(version.expires),
        is_expired: version.expires <= now,
        deleted_at: secret.deleted.map(|deleted| rfc3339(deleted.at)),
        undelete_until: secret.deleted.map(|deleted| rfc3339(deleted.until)),
        description: secret.about.description.clone(),
        owner: secret.about.owner.clone(),
        secret_type: secret.about.kind.clone(),
    })
}
