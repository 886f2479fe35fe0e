//! 32 secret bytes, and the key that encrypts exactly one message.
//!
//! A [`MessageKey`] is derived with a salt that is drawn freshly for each encryption, and is
//! consumed by it. So its nonce is twelve zero bytes, and nonce reuse is impossible by
//! construction (X1).

use std::fmt;

use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::random::{RandomError, RandomSource};
use crate::secret_bytes::SecretBytes;

/// The length of every key and every salt of this crate, in bytes.
pub(crate) const KEY_BYTES: usize = 32;

/// What AES-GCM appends to a message, in bytes.
pub(crate) const TAG_BYTES: usize = 16;

/// The one nonce: a key that encrypts one message needs no other.
const NONCE: [u8; 12] = [0; 12];

/// A key in a box, so that moving its owner leaves no copy behind; wiped on drop.
pub(crate) struct KeyBytes(Box<Zeroizing<[u8; KEY_BYTES]>>);

impl KeyBytes {
    pub(crate) fn zeroed() -> Self {
        Self(Box::new(Zeroizing::new([0; KEY_BYTES])))
    }

    pub(crate) fn generate(random: &RandomSource) -> Result<Self, RandomError> {
        let mut key = Self::zeroed();
        random.fill(key.expose_mut())?;
        Ok(key)
    }

    /// `None` unless there are exactly [`KEY_BYTES`] bytes.
    pub(crate) fn from_slice(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != KEY_BYTES {
            return None;
        }
        let mut key = Self::zeroed();
        key.expose_mut().copy_from_slice(bytes);
        Some(key)
    }

    /// HKDF-SHA256 (RFC 5869) of one input key. `info` is the concatenation of its parts.
    pub(crate) fn derive(input_key: &[u8; KEY_BYTES], salt: &[u8], info: &[&[u8]]) -> Self {
        let mut key = Self::zeroed();
        Hkdf::<Sha256>::new(Some(salt), input_key.as_slice())
            .expand_multi_info(info, key.expose_mut().as_mut_slice())
            .expect("HKDF-SHA256 yields up to 8,160 bytes and 32 are asked for");
        key
    }

    pub(crate) fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    pub(crate) fn expose_mut(&mut self) -> &mut [u8; KEY_BYTES] {
        &mut self.0
    }
}

impl fmt::Debug for KeyBytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyBytes")
    }
}

/// An AES-256-GCM key for one message.
pub(crate) struct MessageKey(KeyBytes);

impl MessageKey {
    /// To encrypt, `salt` must be 32 random bytes drawn for this one message.
    pub(crate) fn derive(
        input_key: &[u8; KEY_BYTES],
        salt: &[u8; KEY_BYTES],
        info: &[&[u8]],
    ) -> Self {
        Self(KeyBytes::derive(input_key, salt, info))
    }

    /// Ciphertext followed by its tag: [`TAG_BYTES`] longer than the plaintext. The callers bound
    /// the plaintext, far below the 64 GiB of GCM.
    pub(crate) fn encrypt(self, associated_data: &[u8], plaintext: &[u8]) -> Vec<u8> {
        // The full capacity at once: growing later would leave plaintext in freed memory.
        let mut buffer = Vec::with_capacity(plaintext.len() + TAG_BYTES);
        buffer.extend_from_slice(plaintext);
        self.cipher()
            .encrypt_in_place(&NONCE.into(), associated_data, &mut buffer)
            .expect("GCM takes 64 GiB and the callers bound messages at a few MiB");
        buffer
    }

    /// `None` when key, associated data or ciphertext are not those of the encryption. The tag is
    /// checked before the first byte is decrypted.
    pub(crate) fn decrypt(self, associated_data: &[u8], ciphertext: &[u8]) -> Option<SecretBytes> {
        let mut buffer = ciphertext.to_vec();
        self.cipher()
            .decrypt_in_place(&NONCE.into(), associated_data, &mut buffer)
            .ok()?;
        Some(SecretBytes::new(buffer))
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(self.0.expose().into())
    }
}
