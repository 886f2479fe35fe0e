//! Sealing: unseal at start and by passphrase, slots, key epochs (X2, X3).

use std::sync::Arc;

use jarvis_cluster::Node;
use jarvis_crypto::seal::{SlotKind, key_file, passphrase};
use jarvis_crypto::{RootKey, SecretBytes};
use jarvis_domain::command::{AdminView, Caller, Change};
use jarvis_domain::outcome::Outcome;
use jarvis_domain::secret::SealedValue;
use jarvis_wire::error::ErrorCode;
use jarvis_wire::seal::{AddSlot, EpochRotated, SealSlot, SealStatus, SlotAdded, SlotRemoved};

use crate::config::Config;
use crate::service::vault::{Vault, VaultError};
use crate::service::{Service, ServiceError, secrets, unknown, unless_keyed};
use crate::setup::{shared_slot_context, slot_context};

/// Tries to unseal with this node's key file. `Ok(false)`: the log does not say how yet (a node that just joined).
///
/// # Errors
/// A sentence that says why the key file does not fit.
pub fn unseal_with_key_file(
    node: &Node,
    vault: &Vault,
    config: &Config,
    own_slot: Option<&[u8]>,
) -> Result<bool, String> {
    let (cluster, slot) = node.with_view(|state| {
        let slot = state
            .slots
            .get(format!("node-{}", node.id()).as_str())
            .map(|slot| slot.blob.clone());
        (state.core.cluster.clone(), slot)
    });
    let (Some(cluster), Some(blob)) = (cluster, slot.or_else(|| own_slot.map(<[u8]>::to_vec)))
    else {
        return Ok(false);
    };
    let key = key_file::load(&config.paths.master_key_path).map_err(|error| error.to_string())?;
    let context = slot_context(&cluster.cluster_id, node.id());
    let root = key.unwrap_root(&blob, &context).map_err(|error| {
        format!(
            "{} does not fit this node's seal slot: {error}",
            config.paths.master_key_path.display()
        )
    })?;
    vault.unseal(cluster.vault_id, root);
    node.set_sealed(false);
    Ok(true)
}

impl Service {
    /// Whether this node is sealed; with an administrator's credential also the slots.
    ///
    /// # Errors
    /// A7's errors.
    pub async fn seal_status(&self, caller: Option<Caller>) -> Result<SealStatus, ServiceError> {
        let sealed = self.vault.is_sealed();
        let Some(caller) = caller else {
            return Ok(SealStatus {
                sealed,
                slots: None,
            });
        };
        let state = self
            .admin_view(caller, AdminView::Seal, "the seal's slots")
            .await?;
        let slots = state.slots.iter().map(|(slot, record)| SealSlot {
            slot: slot.clone(),
            kind: record.kind.clone(),
            node: record.node,
        });
        Ok(SealStatus {
            sealed,
            slots: Some(slots.collect()),
        })
    }

    /// Unseals this node with a passphrase. Needs no other credential: the passphrase is one.
    ///
    /// # Errors
    /// `unauthenticated` when no slot opens with it.
    pub async fn unseal(&self, passphrase: SecretBytes) -> Result<SealStatus, ServiceError> {
        if !self.vault.is_sealed() {
            return Ok(SealStatus {
                sealed: false,
                slots: None,
            });
        }
        let Ok(turn) = self.unsealing.clone().try_acquire_owned() else {
            return Err(ServiceError::new(
                ErrorCode::RateLimited,
                "another passphrase is being tried; one at a time",
            ));
        };
        let (cluster, blobs) = self.node.with_view(|state| {
            let kind = SlotKind::Passphrase.name();
            let slots = state.slots.iter().filter(|(_, slot)| slot.kind == kind);
            let blobs: Vec<_> = slots.map(|(_, slot)| slot.blob.clone()).collect();
            (state.core.cluster.clone(), blobs)
        });
        let cluster = cluster.ok_or_else(|| {
            ServiceError::new(
                ErrorCode::NoLeader,
                "this node has not heard from its cluster yet; try again",
            )
        })?;
        let context = shared_slot_context(&cluster.cluster_id);
        let root = off_runtime(move || {
            // Held until the work is done, also when whoever asked has gone.
            let _turn = turn;
            blobs
                .iter()
                .find_map(|blob| passphrase::unwrap_root(&passphrase, blob, &context).ok())
        })
        .await?;
        let root: RootKey = root.ok_or_else(|| {
            ServiceError::new(
                ErrorCode::Unauthenticated,
                "no seal slot opens with this passphrase; the node stays sealed",
            )
        })?;
        self.vault.unseal(cluster.vault_id, root);
        self.node.set_sealed(false);
        Ok(SealStatus {
            sealed: false,
            slots: None,
        })
    }

    /// Seals this node: it forgets its keys until it is unsealed or started again.
    ///
    /// # Errors
    /// A7's errors.
    pub async fn seal(&self, caller: Caller) -> Result<SealStatus, ServiceError> {
        self.admin_view(caller, AdminView::Seal, "the seal").await?;
        self.vault.seal();
        self.node.set_sealed(true);
        Ok(SealStatus {
            sealed: true,
            slots: None,
        })
    }

    /// Adds a passphrase slot; it opens the vault on every node. Repeated under its key, the request adds no second one;
    /// the passphrase is part of the request that the key stands for.
    ///
    /// # Errors
    /// A7's errors.
    pub async fn add_slot(
        &self,
        caller: Caller,
        request: &AddSlot,
        key: Option<(String, [u8; 32])>,
    ) -> Result<SlotAdded, ServiceError> {
        self.refuse_sealed()?;
        if request.kind != SlotKind::Passphrase.name() {
            return Err(ServiceError::invalid(
                "kind: only \"passphrase\" can be added here; key files come with their nodes",
            ));
        }
        // Before the work: argon2 costs a quarter of a second and 64 MiB. Whom this node knows to be an administrator
        // leaves the one event of the change; the decision is apply's. Anyone else takes the access path.
        let is_admin = self.node.with_view(|state| {
            state
                .policy_record()
                .is_some_and(|record| record.policy.decide_admin(&caller.client).is_allow())
        });
        if !is_admin {
            self.admin_view(caller.clone(), AdminView::Seal, "the seal's slots")
                .await?;
        }
        let cluster = self
            .node
            .with_view(|state| state.core.cluster.clone())
            .ok_or_else(unknown)?;
        let context = shared_slot_context(&cluster.cluster_id);
        let phrase = SecretBytes::new(request.passphrase.expose().as_bytes().to_vec());
        let vault: Arc<Vault> = self.vault.clone();
        let blob = off_runtime(move || {
            vault.with_keyring(|keyring| {
                passphrase::wrap_root(
                    &phrase,
                    keyring.root(),
                    &context,
                    passphrase::Argon2Parameters::default(),
                )
            })
        })
        .await?;
        let blob = blob
            .map_err(|_| self.refuse_sealed().err().unwrap_or_else(unknown))?
            .map_err(|error| ServiceError::invalid(error.to_string()))?;
        let mut id = [0; 6];
        getrandom::fill(&mut id)
            .map_err(|error| ServiceError::new(ErrorCode::Internal, error.to_string()))?;
        let change = Change::AddSlot {
            slot: format!("passphrase-{}", hex::encode(id)),
            kind: request.kind.clone(),
            blob,
        };
        let is_keyed = key.is_some();
        let reply = self
            .mutate(
                caller,
                secrets::idempotency(key),
                change,
                "the seal's slots",
            )
            .await
            .map_err(|error| unless_keyed(is_keyed, error))?;
        match reply.outcome {
            Outcome::SlotAdded { slot } => Ok(SlotAdded { slot }),
            _ => Err(unknown()),
        }
    }

    /// Removes a slot; never the last one.
    ///
    /// # Errors
    /// A7's errors.
    pub async fn remove_slot(
        &self,
        caller: Caller,
        slot: &str,
        key: Option<(String, [u8; 32])>,
    ) -> Result<SlotRemoved, ServiceError> {
        let change = Change::RemoveSlot {
            slot: slot.to_owned(),
        };
        self.mutate(
            caller,
            secrets::idempotency(key),
            change,
            &format!("slot {slot}"),
        )
        .await?;
        Ok(SlotRemoved {
            slot: slot.to_owned(),
            removed: true,
        })
    }

    /// Starts a new key epoch and re-wraps every version to it, online (X2).
    ///
    /// # Errors
    /// A7's errors. When re-wrapping stops half-way the new epoch stands, old versions stay readable, and a repetition
    /// goes on.
    pub async fn rotate_epoch(
        &self,
        caller: Caller,
        key: Option<(String, [u8; 32])>,
    ) -> Result<EpochRotated, ServiceError> {
        self.refuse_sealed()?;
        let (current, left_behind) = self.node.with_view(|state| {
            let current = state.core.epoch;
            let left = state
                .epochs
                .iter()
                .any(|(number, epoch)| *number != current && epoch.versions > 0);
            (current, left)
        });
        if left_behind {
            // An earlier rotation stopped half-way: go on with it.
            self.admin_view(caller.clone(), AdminView::Seal, "key epochs")
                .await?;
            self.rewrap_all(&caller).await?;
            self.retire_unused(&caller).await;
            return Ok(EpochRotated {
                epoch: u64::from(current),
            });
        }
        let number = current + 1;
        let wrapped = self
            .vault
            .with_keyring(|keyring| keyring.generate_epoch(number))
            .map_err(|_| self.refuse_sealed().err().unwrap_or_else(unknown))?
            .map_err(|error| ServiceError::new(ErrorCode::Internal, error.to_string()))?;
        let change = Change::AddEpoch { number, wrapped };
        let idempotency = secrets::idempotency(key);
        self.mutate(caller.clone(), idempotency, change, "key epochs")
            .await?;
        // The epoch is in the log; what follows needs it here. For a repetition it is the first time's, not `number`.
        if !self.node.barrier(self.deadline()).await {
            return Err(unknown());
        }
        let epoch = self.node.with_view(|state| state.core.epoch);
        self.rewrap_all(&caller).await?;
        self.retire_unused(&caller).await;
        Ok(EpochRotated {
            epoch: u64::from(epoch),
        })
    }

    async fn rewrap_all(&self, caller: &Caller) -> Result<(), ServiceError> {
        let state = self.node.view();
        let current = state.core.epoch;
        for ((name, number), version) in state.versions.iter() {
            if version.value.epoch == current {
                continue;
            }
            let failed = |error: VaultError| {
                ServiceError::new(
                    ErrorCode::Internal,
                    format!("version {number} of {name}: {error}"),
                )
            };
            let value = self
                .vault
                .decrypt(&state, name.as_str(), version)
                .map_err(failed)?;
            let sealed = self
                .vault
                .encrypt(&state, name.as_str(), value.expose())
                .map_err(failed)?;
            let change = Change::Rewrap {
                name: name.clone(),
                version: *number,
                from_epoch: version.value.epoch,
                value: SealedValue {
                    version_id: sealed.version_id,
                    epoch: sealed.epoch,
                    ciphertext: sealed.ciphertext,
                    binary: version.value.binary,
                },
            };
            match self
                .mutate(caller.clone(), None, change, name.as_str())
                .await
            {
                // Gone or re-wrapped meanwhile: nothing is left to do for it.
                Err(error) if matches!(error.code, ErrorCode::NotFound | ErrorCode::Conflict) => {}
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        Ok(())
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

/// argon2 takes long: not on the runtime that sends heartbeats.
async fn off_runtime<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ServiceError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| {
        ServiceError::new(
            ErrorCode::Internal,
            "the work was interrupted; nothing was changed",
        )
    })
}
