//! The unwrapped keys of one vault (X2): a root key, and the epoch keys that it wraps.
//!
//! Wrapped forms live in the replicated state; unwrapped ones only here. Values are encrypted
//! under keys derived from an epoch key, never under the epoch key or the root key themselves.

use std::collections::BTreeMap;
use std::fmt;

mod epoch_key;
mod root_key;

pub use epoch_key::EpochKey;
pub use root_key::{
    KeyLengthError, MAX_PURPOSE_BYTES, MAX_WRAPPED_BYTES, RootKey, UnwrapError, WrapError,
};

use crate::message_key::KeyBytes;
use crate::random::RandomSource;

/// The length of a vault's id in bytes.
pub const VAULT_ID_BYTES: usize = 16;

/// How many epoch keys a keyring holds at most. One epoch a day, never retired, reaches it after
/// eleven years; without a bound a damaged state could fill memory.
pub const MAX_EPOCHS: usize = 4_096;

const EPOCH_KEY_PURPOSE: &str = "epoch-key";

/// The keys of one unsealed vault.
pub struct Keyring {
    vault_id: [u8; VAULT_ID_BYTES],
    root: RootKey,
    epochs: BTreeMap<u32, EpochKey>,
    /// For version ids, salts and new keys.
    random: RandomSource,
}

/// Why an epoch key could not be loaded. The keyring is as it was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// The wrapped key does not open.
    #[error("the key of epoch {epoch} can not be loaded")]
    Unwrap {
        /// The epoch asked for.
        epoch: u32,
        /// What is wrong with the wrapped key.
        source: UnwrapError,
    },
    /// It opens, but holds something else than a key.
    #[error("the key of epoch {epoch} can not be loaded")]
    Length {
        /// The epoch asked for.
        epoch: u32,
        /// The length that was found.
        source: KeyLengthError,
    },
    /// The keyring already holds another key for this epoch.
    #[error(
        "epoch {epoch} already has another key: an epoch's key never changes, so the state that \
         this wrapped key comes from is damaged or belongs to another history; compare the nodes' \
         state hashes and restore this node from a healthy one"
    )]
    Conflict {
        /// The epoch asked for.
        epoch: u32,
    },
    /// [`MAX_EPOCHS`] reached.
    #[error(
        "the keyring holds {MAX_EPOCHS} epochs, its limit: re-encrypt the oldest versions and \
         retire their epochs"
    )]
    Full,
}

impl Keyring {
    /// A keyring without epochs.
    #[must_use]
    pub fn new(vault_id: [u8; VAULT_ID_BYTES], root: RootKey) -> Self {
        Self::with_random(vault_id, root, RandomSource::operating_system())
    }

    /// A keyring without epochs that draws from this source.
    #[must_use]
    pub fn with_random(
        vault_id: [u8; VAULT_ID_BYTES],
        root: RootKey,
        random: RandomSource,
    ) -> Self {
        Self {
            vault_id,
            root,
            epochs: BTreeMap::new(),
            random,
        }
    }

    /// Makes a key for `epoch` and answers its wrapped form. The keyring does not hold it until
    /// [`Self::load_epoch`], which is called when the wrapped form has been agreed on.
    ///
    /// # Errors
    /// [`WrapError::Random`].
    pub fn generate_epoch(&self, epoch: u32) -> Result<Vec<u8>, WrapError> {
        let key = KeyBytes::generate(&self.random)?;
        self.wrap_epoch_key(&self.root, epoch, &key)
    }

    /// Unwraps the key of `epoch` and keeps it. Loading the same key again changes nothing.
    ///
    /// # Errors
    /// [`KeyringError`]; the keyring is then unchanged.
    pub fn load_epoch(&mut self, epoch: u32, wrapped: &[u8]) -> Result<(), KeyringError> {
        let secret = self
            .root
            .unwrap(EPOCH_KEY_PURPOSE, &self.epoch_context(epoch), wrapped)
            .map_err(|source| KeyringError::Unwrap { epoch, source })?;
        let key = EpochKey::from_secret(&secret)
            .map_err(|source| KeyringError::Length { epoch, source })?;
        if let Some(held) = self.epochs.get(&epoch) {
            return if *held == key {
                Ok(())
            } else {
                Err(KeyringError::Conflict { epoch })
            };
        }
        if self.epochs.len() >= MAX_EPOCHS {
            return Err(KeyringError::Full);
        }
        self.epochs.insert(epoch, key);
        Ok(())
    }

    /// Wraps a held epoch key under another root key, for the change of a root key; `None` if the
    /// epoch is not held.
    ///
    /// # Errors
    /// [`WrapError::Random`].
    pub fn rewrap_epoch(
        &self,
        epoch: u32,
        new_root: &RootKey,
    ) -> Result<Option<Vec<u8>>, WrapError> {
        self.epochs
            .get(&epoch)
            .map(|key| self.wrap_epoch_key(new_root, epoch, key.bytes()))
            .transpose()
    }

    /// Whether values of `epoch` can be sealed and opened.
    #[must_use]
    pub fn has_epoch(&self, epoch: u32) -> bool {
        self.epochs.contains_key(&epoch)
    }

    /// Forgets and wipes the key of a retired epoch; whether it was held.
    pub fn drop_epoch(&mut self, epoch: u32) -> bool {
        self.epochs.remove(&epoch).is_some()
    }

    /// The epochs held, in ascending order.
    #[must_use]
    pub fn epochs(&self) -> Vec<u32> {
        self.epochs.keys().copied().collect()
    }

    /// The root key.
    #[must_use]
    pub fn root(&self) -> &RootKey {
        &self.root
    }

    /// The vault that these keys belong to; part of what every value is bound to.
    #[must_use]
    pub fn vault_id(&self) -> &[u8; VAULT_ID_BYTES] {
        &self.vault_id
    }

    pub(crate) fn random(&self) -> &RandomSource {
        &self.random
    }

    pub(crate) fn epoch_key(&self, epoch: u32) -> Option<&EpochKey> {
        self.epochs.get(&epoch)
    }

    fn wrap_epoch_key(
        &self,
        root: &RootKey,
        epoch: u32,
        key: &KeyBytes,
    ) -> Result<Vec<u8>, WrapError> {
        root.wrap_with(
            &self.random,
            EPOCH_KEY_PURPOSE,
            &self.epoch_context(epoch),
            key.expose().as_slice(),
        )
    }

    /// A wrapped epoch key is bound to its vault and its number: vault id ‖ epoch (u32, BE).
    fn epoch_context(&self, epoch: u32) -> Vec<u8> {
        [self.vault_id.as_slice(), &epoch.to_be_bytes()].concat()
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Keyring")
    }
}
