//! The secret half of a credential: drawn at random, or derived so that a repeated request gets the
//! very same one (A11).
//!
//! The log holds the hash of a credential's secret and nothing else of it. A request that carries
//! an idempotency key may be repeated at any node, and its answer shows the secret again. So that
//! secret is not kept anywhere: it is derived from the root key and from what the log does hold.
//!
//! ```text
//! key    = HKDF-SHA256(root key, salt = 32 zero bytes, info = "jarvis/v1/credential")
//! secret = HKDF-SHA256(key, salt = id, info = domain ‖ len ‖ client ‖ len ‖ idempotency key)
//! domain = "jarvis/v1/credential/token" or "jarvis/v1/credential/join-token"
//! ```
//!
//! The id is 16 bytes, drawn afresh for each credential; lengths are u64, big-endian.
//!
//! Invariants:
//! - Without the root key nothing can be computed from log, snapshot or image: they hold id, client
//!   and idempotency key, which are the salt and the info, and never the input key.
//! - Two credentials never share a secret: their ids differ, or their kinds, clients or keys.
//! - The key follows the root key and nothing else, so a new key epoch changes no secret. With
//!   another root key a request also has another fingerprint ([`RequestMac`](crate::RequestMac)):
//!   its repetition is refused as another request, and is never shown another secret.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::keyring::RootKey;
use crate::message_key::{KEY_BYTES, KeyBytes};
use crate::random::{RandomError, RandomSource};
use crate::tokens::TOKEN_ID_BYTES;

/// The length of a credential's id in bytes.
pub const CREDENTIAL_ID_BYTES: usize = TOKEN_ID_BYTES;

/// The length of a credential's secret in bytes.
pub const CREDENTIAL_SECRET_BYTES: usize = KEY_BYTES;

const DOMAIN: &str = "jarvis/v1/credential";
const TOKEN_DOMAIN: &str = "jarvis/v1/credential/token";
const JOIN_TOKEN_DOMAIN: &str = "jarvis/v1/credential/join-token";

/// What a secret is for. Two kinds never share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialKind {
    /// A client's bearer token.
    Token,
    /// A new node's join token.
    JoinToken,
}

/// The key that secrets are derived from. Every unsealed node of a cluster derives the same one.
pub struct CredentialKey(KeyBytes);

/// 32 secret bytes: the half of a credential that its holder shows, and the log never sees.
pub struct CredentialSecret(KeyBytes);

/// A fresh id for one credential.
///
/// # Errors
/// [`RandomError`] when the operating system gives no random bytes.
pub fn new_id(random: &RandomSource) -> Result<[u8; CREDENTIAL_ID_BYTES], RandomError> {
    random.array()
}

impl CredentialKey {
    /// Derives the key from the root key.
    #[must_use]
    pub fn new(root: &RootKey) -> Self {
        let salt = [0; KEY_BYTES];
        Self(KeyBytes::derive(root.expose(), &salt, &[DOMAIN.as_bytes()]))
    }

    /// The secret of the credential `id` that `client` asked for under `idempotency_key`. The same
    /// four always give the same secret.
    #[must_use]
    pub fn secret(
        &self,
        kind: CredentialKind,
        id: &[u8; CREDENTIAL_ID_BYTES],
        client: &str,
        idempotency_key: &str,
    ) -> CredentialSecret {
        let (client, key) = (client.as_bytes(), idempotency_key.as_bytes());
        let info: [&[u8]; 5] = [
            kind.domain(),
            &(client.len() as u64).to_be_bytes(),
            client,
            &(key.len() as u64).to_be_bytes(),
            key,
        ];
        CredentialSecret(KeyBytes::derive(self.0.expose(), id, &info))
    }
}

impl CredentialSecret {
    /// A secret that nobody can make again.
    ///
    /// # Errors
    /// [`RandomError`] when the operating system gives no random bytes.
    pub fn generate(random: &RandomSource) -> Result<Self, RandomError> {
        KeyBytes::generate(random).map(Self)
    }

    /// What State keeps of it: its SHA-256. A plain hash is enough because the secret is 256 bits
    /// that nobody can guess.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.expose()).into()
    }

    /// The bytes themselves. Whoever calls this answers for every copy made of them.
    #[must_use]
    pub fn expose(&self) -> &[u8; CREDENTIAL_SECRET_BYTES] {
        self.0.expose()
    }
}

impl CredentialKind {
    /// Neither domain is the beginning of the other, so no two inputs of the derivation are alike.
    const fn domain(self) -> &'static [u8] {
        match self {
            Self::Token => TOKEN_DOMAIN.as_bytes(),
            Self::JoinToken => JOIN_TOKEN_DOMAIN.as_bytes(),
        }
    }
}

impl fmt::Debug for CredentialKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("CredentialKey")
    }
}

impl fmt::Debug for CredentialSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("CredentialSecret")
    }
}
