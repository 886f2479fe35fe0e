//! The unwrapped keys of this node, while it is unsealed.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use jarvis_crypto::credential::CREDENTIAL_ID_BYTES;
use jarvis_crypto::envelope::{self, OpenError, SealError, Sealed};
use jarvis_crypto::{
    CredentialKey, CredentialKind, CredentialSecret, Keyring, RandomSource, RequestMac, RootKey,
    SecretBytes,
};
use jarvis_domain::secret::{SealedValue, Version};
use jarvis_domain::state::State;

/// Why a value could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VaultError {
    /// No keys in memory.
    #[error("this node is sealed")]
    Sealed,
    /// An epoch key could not be unwrapped.
    #[error("key epoch {epoch} can not be unwrapped: {reason}")]
    Epoch {
        /// Which.
        epoch: u32,
        /// Why.
        reason: String,
    },
    /// Encryption failed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Decryption failed: damage, or a ciphertext that belongs elsewhere.
    #[error(transparent)]
    Open(#[from] OpenError),
}

struct Unsealed {
    keyring: Keyring,
    mac: RequestMac,
    credentials: CredentialKey,
}

/// The keys. Sealed until [`Vault::unseal`].
pub struct Vault {
    unsealed: RwLock<Option<Unsealed>>,
    /// Where version ids, salts, new keys and credentials come from.
    random: RandomSource,
}

impl Vault {
    /// A sealed vault that draws from this source.
    #[must_use]
    pub fn new(random: RandomSource) -> Self {
        Self {
            unsealed: RwLock::default(),
            random,
        }
    }

    /// Where what is made for this vault is drawn from.
    pub(super) const fn random(&self) -> &RandomSource {
        &self.random
    }

    /// Whether there are no keys in memory.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.read().is_none()
    }

    /// Takes the root key of the vault.
    pub fn unseal(&self, vault_id: [u8; 16], root: RootKey) {
        let mac = RequestMac::new(&root);
        let credentials = CredentialKey::new(&root);
        *self.write() = Some(Unsealed {
            keyring: Keyring::with_random(vault_id, root, self.random.clone()),
            mac,
            credentials,
        });
    }

    /// Forgets every key.
    pub fn seal(&self) {
        *self.write() = None;
    }

    /// Encrypts a value under the state's current epoch.
    pub(super) fn encrypt(
        &self,
        state: &State,
        name: &str,
        value: &[u8],
    ) -> Result<Sealed, VaultError> {
        let epoch = state.core.epoch;
        self.with_epoch(state, epoch, |keyring| {
            Ok(envelope::seal(keyring, epoch, name, value)?)
        })
    }

    /// Decrypts a version.
    pub(super) fn decrypt(
        &self,
        state: &State,
        name: &str,
        version: &Version,
    ) -> Result<SecretBytes, VaultError> {
        let SealedValue {
            version_id,
            epoch,
            ciphertext,
            ..
        } = &version.value;
        self.with_epoch(state, *epoch, |keyring| {
            Ok(envelope::open(
                keyring, name, version_id, *epoch, ciphertext,
            )?)
        })
    }

    /// The keyed MAC of a request, for its idempotency key (A11).
    pub(super) fn request_mac(&self, parts: &[&[u8]]) -> Result<[u8; 32], VaultError> {
        self.read()
            .as_ref()
            .map(|unsealed| unsealed.mac.mac(parts))
            .ok_or(VaultError::Sealed)
    }

    /// The secret of a credential that was asked for under an idempotency key (A11).
    pub(super) fn credential_secret(
        &self,
        kind: CredentialKind,
        id: &[u8; CREDENTIAL_ID_BYTES],
        client: &str,
        key: &str,
    ) -> Result<CredentialSecret, VaultError> {
        self.read()
            .as_ref()
            .map(|unsealed| unsealed.credentials.secret(kind, id, client, key))
            .ok_or(VaultError::Sealed)
    }

    /// Looks at the keyring.
    pub(super) fn with_keyring<T>(
        &self,
        look: impl FnOnce(&Keyring) -> T,
    ) -> Result<T, VaultError> {
        self.read()
            .as_ref()
            .map(|unsealed| look(&unsealed.keyring))
            .ok_or(VaultError::Sealed)
    }

    /// Looks at the keyring with an epoch's key in it; unwraps it the first time.
    fn with_epoch<T>(
        &self,
        state: &State,
        epoch: u32,
        work: impl FnOnce(&Keyring) -> Result<T, VaultError>,
    ) -> Result<T, VaultError> {
        if let Some(unsealed) = &*self.read()
            && unsealed.keyring.has_epoch(epoch)
        {
            return work(&unsealed.keyring);
        }
        let mut guard = self.write();
        let unsealed = guard.as_mut().ok_or(VaultError::Sealed)?;
        let wrapped = state.epochs.get(&epoch).ok_or_else(|| VaultError::Epoch {
            epoch,
            reason: "the log does not know it".to_owned(),
        })?;
        unsealed
            .keyring
            .load_epoch(epoch, &wrapped.wrapped)
            .map_err(|error| VaultError::Epoch {
                epoch,
                reason: error.to_string(),
            })?;
        work(&unsealed.keyring)
    }

    fn read(&self) -> RwLockReadGuard<'_, Option<Unsealed>> {
        self.unsealed.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Option<Unsealed>> {
        self.unsealed
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
