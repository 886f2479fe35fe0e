//! Sealing: unseal at start and by passphrase, slots (X3).
//!
//! Whenever a node takes or loses its keys the trail has an event of that node (C3):
//!
//! ```text
//! key file at start, passphrase ─▶ keys ─▶ seal.open, tried until it is applied
//! seal ─▶ seal.close ─▶ no keys
//! ```

use std::sync::Arc;
use std::time::Duration;

use jarvis_cluster::{Node, ProposeError};
use jarvis_crypto::seal::key_file::KeyFile;
use jarvis_crypto::seal::{SlotKind, passphrase};
use jarvis_crypto::{RootKey, SecretBytes};
use jarvis_domain::command::{AdminView, Caller, Change, ClusterCommand, Command};
use jarvis_domain::outcome::{Outcome, Rejection};
use jarvis_wire::error::ErrorCode;
use jarvis_wire::seal::{AddSlot, SealSlot, SealStatus, SlotAdded, SlotRemoved};
use tokio::time::Instant;

use crate::config::Config;
use crate::service::vault::Vault;
use crate::service::{Service, ServiceError, secrets, unknown, unless_keyed};
use crate::setup::{shared_slot_context, slot_context};

/// One try to tell that this node is unsealed may take this long; an election is over by then.
const TELL_DEADLINE: Duration = Duration::from_secs(10);
/// Between two tries: there is no hurry, and a node that nobody listens to any more must not fill its log.
const TELL_PAUSE: Duration = Duration::from_secs(1);
/// The answer to an unsealing waits so long for its event. Usually that takes milliseconds, and then the event stands before
/// whatever the caller asks for next; without a leader the node opens all the same, for its stale reads.
const TELL_BEFORE_ANSWER: Duration = Duration::from_secs(1);

/// How a node gets at its key file: anew at each try, so that one that was mended is taken. The error is a sentence for
/// people.
pub type KeyFileSource = Arc<dyn Fn() -> Result<KeyFile, String> + Send + Sync>;

/// What the slot of a node's key file is called in the log.
fn key_file_slot(node: &Node) -> String {
    format!("node-{}", node.id())
}

/// Tries to unseal with this node's key file. `Ok(false)`: the log does not say how yet (a node that just joined).
///
/// # Errors
/// A sentence that says why the key file does not fit.
pub fn unseal_with_key_file(
    node: &Node,
    vault: &Vault,
    (config, key_file): (&Config, &KeyFileSource),
    own_slot: Option<&[u8]>,
) -> Result<bool, String> {
    let (cluster, slot) = node.with_view(|state| {
        let slot = state
            .slots
            .get(key_file_slot(node).as_str())
            .map(|slot| slot.blob.clone());
        (state.core.cluster.clone(), slot)
    });
    let (Some(cluster), Some(blob)) = (cluster, slot.or_else(|| own_slot.map(<[u8]>::to_vec)))
    else {
        return Ok(false);
    };
    let key = key_file()?;
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

/// Tells the trail that this node unsealed itself with its key file.
///
/// Not only a passphrase is worth an event: whoever stole a key file opens a node with it at a start, and what an auditor
/// looks for is a start at an hour when nobody should have started anything. With one event a start the trail also says at
/// each index which nodes could decrypt.
pub async fn tell_unsealed_with_key_file(node: &Node) {
    tell_unsealed(node, &key_file_slot(node)).await;
}

/// Tells the trail which slot opened this node (C3): after the fact, since a node must open without a leader too, and until
/// it is applied. A process that ends before that takes its keys along. Where an outcome stays unknown it is told once more:
/// twice is better than never.
async fn tell_unsealed(node: &Node, slot: &str) {
    loop {
        let slot = slot.to_owned();
        let command = Command::Cluster(Box::new(ClusterCommand::Unsealed { slot }));
        match node.propose(command, Instant::now() + TELL_DEADLINE).await {
            Ok(reply) => match reply.outcome {
                // The cluster is still beginning.
                Outcome::Rejected(Rejection::NotReady | Rejection::Repeat) => {}
                Outcome::Rejected(rejection) => {
                    tracing::error!(?rejection, "that this node is unsealed is not in the trail");
                    return;
                }
                _ => return,
            },
            Err(ProposeError::Shutdown) => return,
            Err(_) => {}
        }
        tokio::time::sleep(TELL_PAUSE).await;
    }
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
            let blobs: Vec<_> = slots
                .map(|(name, slot)| (name.clone(), slot.blob.clone()))
                .collect();
            (state.core.cluster.clone(), blobs)
        });
        let cluster = cluster.ok_or_else(|| {
            ServiceError::new(
                ErrorCode::NoLeader,
                "this node has not heard from its cluster yet; try again",
            )
        })?;
        let context = shared_slot_context(&cluster.cluster_id);
        let opened = off_runtime(&self.node, move || {
            // Held until the work is done, also when whoever asked has gone.
            let _turn = turn;
            blobs.into_iter().find_map(|(slot, blob)| {
                let root = passphrase::unwrap_root(&passphrase, &blob, &context).ok()?;
                Some((slot, root))
            })
        })
        .await?;
        let (slot, root): (String, RootKey) = opened.ok_or_else(|| {
            ServiceError::new(
                ErrorCode::Unauthenticated,
                "no seal slot opens with this passphrase; the node stays sealed",
            )
        })?;
        self.vault.unseal(cluster.vault_id, root);
        self.node.set_sealed(false);
        let node = self.node.clone();
        let telling = tokio::spawn(async move { tell_unsealed(&node, &slot).await });
        // It goes on behind the answer when it takes longer.
        let _ = tokio::time::timeout(TELL_BEFORE_ANSWER, telling).await;
        Ok(SealStatus {
            sealed: false,
            slots: None,
        })
    }

    /// Seals this node: it forgets its keys until it is unsealed or started again. The event comes first: it is the decision,
    /// too.
    ///
    /// # Errors
    /// A7's errors.
    pub async fn seal(&self, caller: Caller) -> Result<SealStatus, ServiceError> {
        self.admin_view(caller, AdminView::SealNode, "the seal")
            .await?;
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
        let blob = off_runtime(&self.node, move || {
            vault.with_keyring(|keyring| {
                passphrase::wrap_root(
                    &phrase,
                    keyring.root(),
                    &context,
                    passphrase::Argon2Parameters::default(),
                    vault.random(),
                )
            })
        })
        .await?;
        let blob = blob
            .map_err(|_| self.refuse_sealed().err().unwrap_or_else(unknown))?
            .map_err(|error| ServiceError::invalid(error.to_string()))?;
        let mut id = [0; 6];
        self.node.env().random.fill(&mut id);
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
}

/// Work that takes long (argon2, a look at every version): not on the runtime that sends heartbeats.
pub(super) async fn off_runtime<T: Send + 'static>(
    node: &Node,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ServiceError> {
    node.env().blocking(work).await.map_err(|_| {
        ServiceError::new(
            ErrorCode::Internal,
            "the work was interrupted; nothing was changed",
        )
    })
}
