//! The key at the top: it wraps epoch keys and the other long-lived secrets of a cluster (X2).
//!
//! A wrapped secret is `version byte ‖ salt ‖ ciphertext`. Its key is
//! `HKDF-SHA256(root key, salt, "jarvis/v1/wrap/" ‖ purpose)` with a salt of 32 fresh random
//! bytes, so one key encrypts one message; the associated data is `purpose ‖ context`. Two
//! purposes never share a key, so that concatenation is unambiguous.

use std::fmt;

use crate::message_key::{KEY_BYTES, KeyBytes, MessageKey, TAG_BYTES};
use crate::random::{RandomError, RandomSource};
use crate::secret_bytes::SecretBytes;

/// The most that one call wraps, in bytes: keys and certificates are a few KiB, and 1 MiB is the
/// bound of a value (A14).
pub const MAX_WRAPPED_BYTES: usize = 1 << 20;

/// The longest purpose in bytes. Purposes are short constants of the callers.
pub const MAX_PURPOSE_BYTES: usize = 64;

const VERSION: u8 = 1;
const DOMAIN: &str = "jarvis/v1/wrap/";

/// Version byte, salt and tag.
const OVERHEAD_BYTES: usize = 1 + KEY_BYTES + TAG_BYTES;

/// 32 secret bytes, wrapped by a seal slot wherever they are stored.
pub struct RootKey(KeyBytes);

/// A secret was not wrapped; nothing was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WrapError {
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// Longer than [`MAX_WRAPPED_BYTES`].
    #[error("{length} bytes can not be wrapped: the limit is {MAX_WRAPPED_BYTES}")]
    TooLarge {
        /// The length of the plaintext in bytes.
        length: usize,
    },
    /// Longer than [`MAX_PURPOSE_BYTES`].
    #[error("a purpose of {length} bytes is too long: the limit is {MAX_PURPOSE_BYTES}")]
    PurposeTooLong {
        /// The length of the purpose in bytes.
        length: usize,
    },
}

/// A wrapped secret did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnwrapError {
    /// Too short to hold version, salt and tag.
    #[error(
        "the wrapped key has {length} bytes and needs at least {OVERHEAD_BYTES}: it was cut off; \
         take it from another node or a backup"
    )]
    Truncated {
        /// The length of the blob in bytes.
        length: usize,
    },
    /// Longer than anything that [`RootKey::wrap`] makes.
    #[error(
        "the wrapped key has {length} bytes, more than was ever written: it is damaged; take it \
         from another node or a backup"
    )]
    TooLarge {
        /// The length of the blob in bytes.
        length: usize,
    },
    /// Written by a later release, or damaged.
    #[error(
        "the wrapped key has format version {version} and this release knows {VERSION}: upgrade \
         this node, or take the key from another node or a backup"
    )]
    UnknownVersion {
        /// The version byte found.
        version: u8,
    },
    /// Key, purpose, context or bytes are not those of the wrapping.
    #[error(
        "the wrapped key does not open under this root key: it is damaged, or it belongs to \
         another vault or another place in this one; take it from another node or a backup"
    )]
    Authentication,
}

/// Secret bytes that should be a key have the wrong length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key has 32 bytes, but there are {length}: check where it was read from")]
pub struct KeyLengthError {
    /// The length found, in bytes.
    pub length: usize,
}

impl RootKey {
    /// A new root key from the operating system's randomness.
    ///
    /// # Errors
    /// [`RandomError`].
    pub fn generate() -> Result<Self, RandomError> {
        KeyBytes::generate(&RandomSource::operating_system()).map(Self)
    }

    /// Takes the key from secret bytes: the receiving end of the join exchange.
    ///
    /// # Errors
    /// [`KeyLengthError`] unless there are exactly 32 bytes.
    pub fn from_secret(secret: SecretBytes) -> Result<Self, KeyLengthError> {
        KeyBytes::from_slice(secret.expose())
            .map(Self)
            .ok_or(KeyLengthError {
                length: secret.len(),
            })
    }

    /// A copy of the key as secret bytes: the sending end of the join exchange, and nothing else.
    #[must_use]
    pub fn to_secret(&self) -> SecretBytes {
        SecretBytes::new(self.expose().to_vec())
    }

    /// Wraps `plaintext`, bound to `purpose` (what kind of secret it is) and `context` (which one
    /// of them). Both must be given again to open it.
    ///
    /// # Errors
    /// [`WrapError`].
    pub fn wrap(
        &self,
        purpose: &str,
        context: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, WrapError> {
        self.wrap_with(
            &RandomSource::operating_system(),
            purpose,
            context,
            plaintext,
        )
    }

    /// As [`Self::wrap`], with the salt from this source.
    pub(crate) fn wrap_with(
        &self,
        random: &RandomSource,
        purpose: &str,
        context: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, WrapError> {
        if plaintext.len() > MAX_WRAPPED_BYTES {
            return Err(WrapError::TooLarge {
                length: plaintext.len(),
            });
        }
        if purpose.len() > MAX_PURPOSE_BYTES {
            return Err(WrapError::PurposeTooLong {
                length: purpose.len(),
            });
        }
        let salt = random.array::<KEY_BYTES>()?;
        let ciphertext = self
            .message_key(purpose, &salt)
            .encrypt(&associated_data(purpose, context), plaintext);
        Ok([[VERSION].as_slice(), salt.as_slice(), ciphertext.as_slice()].concat())
    }

    /// Opens what [`Self::wrap`] made with the same purpose and context.
    ///
    /// # Errors
    /// [`UnwrapError`].
    pub fn unwrap(
        &self,
        purpose: &str,
        context: &[u8],
        blob: &[u8],
    ) -> Result<SecretBytes, UnwrapError> {
        let length = blob.len();
        let (&version, rest) = blob
            .split_first()
            .ok_or(UnwrapError::Truncated { length })?;
        if version != VERSION {
            return Err(UnwrapError::UnknownVersion { version });
        }
        if length < OVERHEAD_BYTES {
            return Err(UnwrapError::Truncated { length });
        }
        if length > OVERHEAD_BYTES + MAX_WRAPPED_BYTES {
            return Err(UnwrapError::TooLarge { length });
        }
        let (salt, ciphertext) = rest
            .split_first_chunk::<KEY_BYTES>()
            .ok_or(UnwrapError::Truncated { length })?;
        self.message_key(purpose, salt)
            .decrypt(&associated_data(purpose, context), ciphertext)
            .ok_or(UnwrapError::Authentication)
    }

    pub(crate) fn expose(&self) -> &[u8; KEY_BYTES] {
        self.0.expose()
    }

    fn message_key(&self, purpose: &str, salt: &[u8; KEY_BYTES]) -> MessageKey {
        MessageKey::derive(
            self.expose(),
            salt,
            &[DOMAIN.as_bytes(), purpose.as_bytes()],
        )
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RootKey")
    }
}

fn associated_data(purpose: &str, context: &[u8]) -> Vec<u8> {
    [purpose.as_bytes(), context].concat()
}
