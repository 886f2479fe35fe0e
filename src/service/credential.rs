//! The secret half of what a request makes, and of what its repetition shows again (A11).
//!
//! ```text
//! first    draw id ─▶ f(id) ─▶ propose id, hash ─▶ apply keeps the outcome under (client, key): id, end ─▶ f(id)
//! repeated draw id' ─▶ f(id') ─▶ propose id', hash' ─▶ apply finds the first outcome: id, end ──────────▶ f(id)
//!                  f(id) = what the root key, client, key and id derive (`jarvis_crypto::credential`)
//! ```
//! Invariants:
//! - A repetition never makes a second credential: apply answers with the first outcome, and leaves what the repetition
//!   proposed, and its event, out.
//! - Another request under the key is refused by apply (`idempotency_key_reused`): it makes nothing and is shown nothing.
//! - The secret is nowhere but in the answers. The log, a snapshot, the image hold id, hash, client and key; without the
//!   root key, which a sealed node does not have, they say nothing about it.
//! - Two credentials never share a secret: an id is drawn for each, 128 bits, and no request can name one.
//! - A repetition never gets another secret than the first request did. Secrets and fingerprints of requests both follow
//!   the root key, which a new key epoch leaves as it is. Under another root key the fingerprint differs too, so that
//!   apply takes the repetition for another request and refuses it.
//!
//! Without a key the secret is drawn at random, and nobody can make it again.

use jarvis_crypto::credential::{self, CREDENTIAL_ID_BYTES};
use jarvis_crypto::{CredentialKind, CredentialSecret, RandomError};
use jarvis_domain::name::ClientId;
use jarvis_wire::error::ErrorCode;

use crate::service::{Service, ServiceError, unknown};

/// A credential as one request proposes it; whether it is made, apply decides.
pub(super) struct Draft {
    /// Its public id.
    pub(super) id: [u8; CREDENTIAL_ID_BYTES],
    kind: CredentialKind,
    /// Who asks.
    client: ClientId,
    /// The request's idempotency key.
    key: Option<String>,
    secret: CredentialSecret,
}

impl Draft {
    /// What the log gets to see of the secret.
    pub(super) fn hash(&self) -> [u8; 32] {
        self.secret.hash()
    }
}

impl Service {
    /// Draws a credential that `client` asks for.
    pub(super) fn draft(
        &self,
        kind: CredentialKind,
        client: &ClientId,
        key: Option<&(String, [u8; 32])>,
    ) -> Result<Draft, ServiceError> {
        let no_randomness =
            |error: RandomError| ServiceError::new(ErrorCode::Internal, error.to_string());
        let random = self.vault.random();
        let id = credential::new_id(random).map_err(no_randomness)?;
        let key = key.map(|(key, _)| key.clone());
        let secret = match &key {
            Some(key) => self.derived(kind, &id, client, key)?,
            None => CredentialSecret::generate(random).map_err(no_randomness)?,
        };
        Ok(Draft {
            id,
            kind,
            client: client.clone(),
            key,
            secret,
        })
    }

    /// The secret of the credential that apply answered with: the draft's own, or for a repetition the first one's.
    pub(super) fn secret_of(
        &self,
        id: &[u8; CREDENTIAL_ID_BYTES],
        draft: Draft,
    ) -> Result<CredentialSecret, ServiceError> {
        if *id == draft.id {
            return Ok(draft.secret);
        }
        // Only a request with a key is ever answered with an earlier outcome.
        let key = draft.key.as_deref().ok_or_else(unknown)?;
        self.derived(draft.kind, id, &draft.client, key)
    }

    fn derived(
        &self,
        kind: CredentialKind,
        id: &[u8; CREDENTIAL_ID_BYTES],
        client: &ClientId,
        key: &str,
    ) -> Result<CredentialSecret, ServiceError> {
        self.vault
            .credential_secret(kind, id, client.as_str(), key)
            .map_err(|_| self.refuse_sealed().err().unwrap_or_else(unknown))
    }
}
