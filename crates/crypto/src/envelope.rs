//! Sealing and opening one version of one secret (X1, X2, C2).
//!
//! ```text
//! key   = HKDF-SHA256(epoch key, salt = version id, info = "jarvis/v1/value")
//! nonce = 12 zero bytes
//! AAD   = "jarvis/v1" ‖ vault id ‖ len(name) u32 BE ‖ name ‖ version id ‖ epoch u32 BE
//! ```
//!
//! The version id is 32 bytes drawn inside [`seal`], from the keyring's source, and never passed
//! in: one key encrypts one message. A ciphertext opens only in the vault, under the name, with the version id and at the
//! epoch it was sealed for, so that ciphertexts can not be swapped. That a record on disk is the
//! newest one is not proved here; the state hash does that.

use std::fmt;

use crate::keyring::{EpochKey, Keyring};
use crate::message_key::{KEY_BYTES, MessageKey, TAG_BYTES};
use crate::random::RandomError;
use crate::secret_bytes::SecretBytes;

/// The length of a version id in bytes.
pub const VERSION_ID_BYTES: usize = KEY_BYTES;

/// The longest value in bytes, whatever the configuration allows below it (A14).
pub const MAX_PLAINTEXT_BYTES: usize = 1 << 20;

/// The longest name in bytes: twice the 512 of A14, so that the rule for names stays in one place
/// and this is only a backstop.
pub const MAX_NAME_BYTES: usize = 1_024;

/// How much longer a ciphertext is than its value, in bytes.
pub const OVERHEAD_BYTES: usize = TAG_BYTES;

const DOMAIN: &str = "jarvis/v1";
const VALUE_INFO: &str = "jarvis/v1/value";

/// An encrypted value, and what its record must keep to open it again.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Drawn by [`seal`]; the salt of the key, and the version's identity.
    pub version_id: [u8; VERSION_ID_BYTES],
    /// The epoch whose key it is sealed under.
    pub epoch: u32,
    /// [`OVERHEAD_BYTES`] longer than the value.
    pub ciphertext: Vec<u8>,
}

/// A value was not sealed; nothing was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The keyring does not hold this epoch.
    #[error("the key of epoch {epoch} is not loaded: unseal this node, or try again in a moment")]
    UnknownEpoch {
        /// The epoch asked for.
        epoch: u32,
    },
    /// Longer than [`MAX_PLAINTEXT_BYTES`].
    #[error("a value of {length} bytes is too long: the limit is {MAX_PLAINTEXT_BYTES}")]
    TooLarge {
        /// The length of the value in bytes.
        length: usize,
    },
    /// Longer than [`MAX_NAME_BYTES`].
    #[error("a name of {length} bytes is too long: the limit is {MAX_NAME_BYTES}")]
    NameTooLong {
        /// The length of the name in bytes.
        length: usize,
    },
}

/// A ciphertext did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The keyring does not hold this epoch.
    #[error("the key of epoch {epoch} is not loaded: unseal this node, or try again in a moment")]
    UnknownEpoch {
        /// The epoch of the record.
        epoch: u32,
    },
    /// Too short to hold a tag.
    #[error(
        "the ciphertext has {length} bytes and needs at least {OVERHEAD_BYTES}: the record is \
         damaged; compare the nodes' state hashes and restore this node from a healthy one"
    )]
    Truncated {
        /// The length of the ciphertext in bytes.
        length: usize,
    },
    /// Longer than anything that [`seal`] makes.
    #[error(
        "the ciphertext has {length} bytes, more than was ever written: the record is damaged; \
         compare the nodes' state hashes and restore this node from a healthy one"
    )]
    TooLarge {
        /// The length of the ciphertext in bytes.
        length: usize,
    },
    /// Key, vault, name, version id, epoch or bytes are not those of the sealing.
    #[error(
        "the ciphertext does not belong to this record: it was damaged or moved; compare the \
         nodes' state hashes and restore this node from a healthy one"
    )]
    Authentication,
}

/// Encrypts a value under a key that is used for nothing else. An empty value is legal (A2).
///
/// # Errors
/// [`SealError`].
pub fn seal(
    keyring: &Keyring,
    epoch: u32,
    name: &str,
    plaintext: &[u8],
) -> Result<Sealed, SealError> {
    if plaintext.len() > MAX_PLAINTEXT_BYTES {
        return Err(SealError::TooLarge {
            length: plaintext.len(),
        });
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(SealError::NameTooLong { length: name.len() });
    }
    let epoch_key = keyring
        .epoch_key(epoch)
        .ok_or(SealError::UnknownEpoch { epoch })?;
    let version_id = keyring.random().array::<VERSION_ID_BYTES>()?;
    let associated_data = associated_data(keyring, name, &version_id, epoch);
    let ciphertext = value_key(epoch_key, &version_id).encrypt(&associated_data, plaintext);
    Ok(Sealed {
        version_id,
        epoch,
        ciphertext,
    })
}

/// Decrypts the value of one version, if it is that of exactly this record.
///
/// # Errors
/// [`OpenError`].
pub fn open(
    keyring: &Keyring,
    name: &str,
    version_id: &[u8; VERSION_ID_BYTES],
    epoch: u32,
    ciphertext: &[u8],
) -> Result<SecretBytes, OpenError> {
    let length = ciphertext.len();
    if length < OVERHEAD_BYTES {
        return Err(OpenError::Truncated { length });
    }
    if length > OVERHEAD_BYTES + MAX_PLAINTEXT_BYTES {
        return Err(OpenError::TooLarge { length });
    }
    let epoch_key = keyring
        .epoch_key(epoch)
        .ok_or(OpenError::UnknownEpoch { epoch })?;
    let associated_data = associated_data(keyring, name, version_id, epoch);
    value_key(epoch_key, version_id)
        .decrypt(&associated_data, ciphertext)
        .ok_or(OpenError::Authentication)
}

fn value_key(epoch_key: &EpochKey, version_id: &[u8; VERSION_ID_BYTES]) -> MessageKey {
    MessageKey::derive(epoch_key.expose(), version_id, &[VALUE_INFO.as_bytes()])
}

/// The length in front of the name keeps `name ‖ version id` from being cut in another place.
fn associated_data(
    keyring: &Keyring,
    name: &str,
    version_id: &[u8; VERSION_ID_BYTES],
    epoch: u32,
) -> Vec<u8> {
    // A longer name can only come from outside seal(), and then matches nothing that was sealed.
    let name_length = u32::try_from(name.len()).unwrap_or(u32::MAX);
    [
        DOMAIN.as_bytes(),
        keyring.vault_id().as_slice(),
        &name_length.to_be_bytes(),
        name.as_bytes(),
        version_id.as_slice(),
        &epoch.to_be_bytes(),
    ]
    .concat()
}

/// Neither name nor bytes: lengths and the epoch are all that a log needs.
impl fmt::Debug for Sealed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Sealed")
            .field("epoch", &self.epoch)
            .field("ciphertext_length", &self.ciphertext.len())
            .finish_non_exhaustive()
    }
}
