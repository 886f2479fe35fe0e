//! A keyed fingerprint of a request, for idempotency keys (A11).
//!
//! Entries of the log carry the fingerprint of a request instead of the request, so that a repeat
//! is recognised without keeping the value, and nobody without the root key can test guesses of a
//! value against the log. Every unsealed node of a cluster derives the same key.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::keyring::RootKey;
use crate::message_key::{KEY_BYTES, KeyBytes};

const DOMAIN: &str = "jarvis/v1/request-mac";

/// The key of the fingerprint. It follows the root key: with another root key, a request has
/// another fingerprint.
pub struct RequestMac(KeyBytes);

impl RequestMac {
    /// Derives the key: `HKDF-SHA256(root key, salt = 32 zero bytes, info = domain)`.
    #[must_use]
    pub fn new(root: &RootKey) -> Self {
        let salt = [0; KEY_BYTES];
        Self(KeyBytes::derive(root.expose(), &salt, &[DOMAIN.as_bytes()]))
    }

    /// HMAC-SHA256 over the parts, each preceded by its length (u64, big-endian), so that no two
    /// lists of parts share an input.
    #[must_use]
    pub fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose().as_slice())
            .expect("HMAC takes a key of any length");
        for part in parts {
            let length = part.len() as u64;
            mac.update(&length.to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for RequestMac {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RequestMac")
    }
}
