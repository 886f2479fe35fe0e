//! Seal slots (X3): ways to wrap the root key, any one of which unseals.
//!
//! One file per seal, the same two verbs in each: `wrap_root` and `unwrap_root`. A slot is stored
//! as one blob:
//!
//! ```text
//! version byte ‖ kind byte ‖ what the seal needs to find its key again ‖ ciphertext of the root key
//! ```
//!
//! Everything in front of the ciphertext is authenticated with it, after the seal's own domain
//! string and before the caller's context (which cluster and which slot this is).

pub mod key_file;
pub mod passphrase;

use std::cmp::Ordering;
use std::fmt;

use crate::keyring::{KeyLengthError, RootKey};
use crate::message_key::{KEY_BYTES, MessageKey, TAG_BYTES};
use crate::random::RandomError;

/// The longest slot blob that is looked at, in bytes. A key file's and a passphrase's are about
/// 100; answers of a hardware module or of another server may take a few hundred.
pub const MAX_SLOT_BLOB_BYTES: usize = 4_096;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 2;

/// A wrapped root key and its tag.
const CIPHERTEXT_BYTES: usize = KEY_BYTES + TAG_BYTES;

/// Which seal wrapped a root key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SlotKind {
    /// A file with 32 random bytes, one per node.
    KeyFile,
    /// A passphrase that people remember, through argon2id.
    Passphrase,
}

impl SlotKind {
    /// The name that configuration, command line and audit use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::KeyFile => "key_file",
            Self::Passphrase => "passphrase",
        }
    }

    const fn byte(self) -> u8 {
        match self {
            Self::KeyFile => 1,
            Self::Passphrase => 2,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::KeyFile, Self::Passphrase]
            .into_iter()
            .find(|kind| kind.byte() == byte)
    }
}

/// A slot blob whose version and kind are known: enough to choose the seal that opens it. It is
/// ciphertext and parameters, no secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SlotBlob<'blob> {
    kind: SlotKind,
    body: &'blob [u8],
}

/// A root key was not wrapped; nothing was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SlotWrapError {
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The passphrase is too easy to guess or absurdly long.
    #[error(
        "the passphrase has {characters} characters: choose one of at least {} characters and at \
         most {} bytes, for example five unrelated words",
        passphrase::MIN_PASSPHRASE_CHARACTERS,
        passphrase::MAX_PASSPHRASE_BYTES
    )]
    PassphraseLength {
        /// Its length in characters; in bytes where it is not UTF-8.
        characters: usize,
    },
    /// argon2id could not run.
    #[error("the key could not be derived from the passphrase: free memory or ask for less of it")]
    Derivation {
        /// What argon2 says.
        source: argon2::Error,
    },
}

/// A slot did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SlotUnwrapError {
    /// Too short for its kind.
    #[error("the seal slot has only {length} bytes: it was cut off; unseal with another slot")]
    Truncated {
        /// The length of the blob in bytes.
        length: usize,
    },
    /// Longer than its kind allows.
    #[error("the seal slot has {length} bytes, too many: it is damaged; unseal with another slot")]
    TooLarge {
        /// The length of the blob in bytes.
        length: usize,
    },
    /// Written by a later release, or damaged.
    #[error(
        "the seal slot has format version {version} and this release knows {VERSION}: upgrade \
         this node, or unseal with another slot"
    )]
    UnknownVersion {
        /// The version byte found.
        version: u8,
    },
    /// Written by a later release, or damaged.
    #[error(
        "the seal slot is of kind {kind}, which this release does not know: upgrade this node, or \
         unseal with another slot"
    )]
    UnknownKind {
        /// The kind byte found.
        kind: u8,
    },
    /// The slot belongs to another seal than the one that was asked.
    #[error(
        "the seal slot is a {} and not a {}: unseal it as what it is",
        .found.name(),
        .expected.name()
    )]
    WrongKind {
        /// What the slot is.
        found: SlotKind,
        /// What it was taken for.
        expected: SlotKind,
    },
    /// The slot asks for more work than any slot of ours: it may be there to exhaust memory.
    #[error(
        "the seal slot is refused because of its argon2id parameters; unseal with another slot"
    )]
    Parameters {
        /// Which parameters, and their bounds.
        source: passphrase::ParameterError,
    },
    /// argon2id could not run.
    #[error("the key could not be derived from the passphrase: free memory, then try again")]
    Derivation {
        /// What argon2 says.
        source: argon2::Error,
    },
    /// Key file, passphrase, context or bytes are not those of the wrapping.
    #[error(
        "the seal slot does not open: wrong key file or passphrase, a slot of another cluster or \
         another node, or damage; check which one this slot was made with, or unseal with another"
    )]
    Authentication,
    /// It opens, but holds something else than a root key.
    #[error("the seal slot holds no root key; unseal with another slot")]
    Length {
        /// The length that was found.
        #[from]
        source: KeyLengthError,
    },
}

impl<'blob> SlotBlob<'blob> {
    /// Reads version and kind.
    ///
    /// # Errors
    /// [`SlotUnwrapError::Truncated`], `TooLarge`, `UnknownVersion` or `UnknownKind`.
    pub fn parse(blob: &'blob [u8]) -> Result<Self, SlotUnwrapError> {
        let length = blob.len();
        let (&[version, kind], body) = blob
            .split_first_chunk::<HEADER_BYTES>()
            .ok_or(SlotUnwrapError::Truncated { length })?;
        if version != VERSION {
            return Err(SlotUnwrapError::UnknownVersion { version });
        }
        if length > MAX_SLOT_BLOB_BYTES {
            return Err(SlotUnwrapError::TooLarge { length });
        }
        let kind = SlotKind::from_byte(kind).ok_or(SlotUnwrapError::UnknownKind { kind })?;
        Ok(Self { kind, body })
    }

    /// The seal that opens it.
    #[must_use]
    pub fn kind(&self) -> SlotKind {
        self.kind
    }

    /// What follows the header, if the slot is of the expected kind and exactly as long as a slot
    /// of that kind is: `parameter_bytes`, then a salt, then the wrapped root key.
    fn body_of(
        blob: &'blob [u8],
        expected: SlotKind,
        parameter_bytes: usize,
    ) -> Result<&'blob [u8], SlotUnwrapError> {
        let slot = Self::parse(blob)?;
        if slot.kind != expected {
            return Err(SlotUnwrapError::WrongKind {
                found: slot.kind,
                expected,
            });
        }
        let length = blob.len();
        let exact = HEADER_BYTES + parameter_bytes + KEY_BYTES + CIPHERTEXT_BYTES;
        match length.cmp(&exact) {
            Ordering::Less => Err(SlotUnwrapError::Truncated { length }),
            Ordering::Greater => Err(SlotUnwrapError::TooLarge { length }),
            Ordering::Equal => Ok(slot.body),
        }
    }
}

impl fmt::Debug for SlotBlob<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SlotBlob")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// What binds a slot's ciphertext to its place. All parts but the last have a fixed length.
struct Binding<'slot> {
    domain: &'static str,
    kind: SlotKind,
    parameters: &'slot [u8],
    context: &'slot [u8],
}

impl Binding<'_> {
    fn header(&self) -> [u8; HEADER_BYTES] {
        [VERSION, self.kind.byte()]
    }

    /// The whole blob. `salt` must be 32 random bytes drawn for this one wrapping.
    fn encrypt(
        &self,
        input_key: &[u8; KEY_BYTES],
        salt: &[u8; KEY_BYTES],
        root: &RootKey,
    ) -> Vec<u8> {
        let ciphertext = self
            .message_key(input_key, salt)
            .encrypt(&self.associated_data(), root.expose().as_slice());
        [
            self.header().as_slice(),
            self.parameters,
            salt.as_slice(),
            ciphertext.as_slice(),
        ]
        .concat()
    }

    fn decrypt(
        &self,
        input_key: &[u8; KEY_BYTES],
        salt: &[u8; KEY_BYTES],
        ciphertext: &[u8],
    ) -> Result<RootKey, SlotUnwrapError> {
        let secret = self
            .message_key(input_key, salt)
            .decrypt(&self.associated_data(), ciphertext)
            .ok_or(SlotUnwrapError::Authentication)?;
        Ok(RootKey::from_secret(secret)?)
    }

    fn message_key(&self, input_key: &[u8; KEY_BYTES], salt: &[u8; KEY_BYTES]) -> MessageKey {
        MessageKey::derive(input_key, salt, &[self.domain.as_bytes()])
    }

    fn associated_data(&self) -> Vec<u8> {
        [
            self.domain.as_bytes(),
            self.header().as_slice(),
            self.parameters,
            self.context,
        ]
        .concat()
    }
}
