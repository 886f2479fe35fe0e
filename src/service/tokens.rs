//! Credentials: make, list and revoke tokens, revoke client certificates (I1).

use std::time::Duration;

use jarvis_cluster::tls;
use jarvis_crypto::{CredentialKind, tokens};
use jarvis_domain::command::{AdminView, Caller, Change};
use jarvis_domain::name::ClientId;
use jarvis_domain::outcome::Outcome;
use jarvis_domain::time::rfc3339;
use jarvis_wire::text::SecretText;
use jarvis_wire::tokens::{
    CreateToken, CreatedToken, RevokeCertificate, RevokedCertificate, RevokedToken, TokenList,
    TokenSummary,
};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::service::{Service, ServiceError, secrets, unknown, unless_keyed};

impl Service {
    /// Makes a token; its secret half is shown in this answer only, and again when the request is repeated under its key.
    ///
    /// # Errors
    /// A7's errors; with a key also `sealed`: the secret is derived then.
    pub async fn create_token(
        &self,
        caller: Caller,
        request: &CreateToken,
        key: Option<(String, [u8; 32])>,
    ) -> Result<CreatedToken, ServiceError> {
        let client = ClientId::parse(&request.client)
            .map_err(|error| ServiceError::invalid(format!("client: {error}")))?;
        if request.ttl_secs == Some(0) {
            return Err(ServiceError::invalid(
                "ttl_secs: at least 1, or leave it out for a token without an end",
            ));
        }
        let ttl_ms = request
            .ttl_secs
            .map(|ttl| u64::try_from(Duration::from_secs(ttl).as_millis()).unwrap_or(u64::MAX));
        let is_keyed = key.is_some();
        let draft = self.draft(CredentialKind::Token, &caller.client, key.as_ref())?;
        let change = Change::CreateToken {
            id: draft.id,
            secret_hash: draft.hash(),
            client: client.clone(),
            ttl_ms,
        };
        let reply = self
            .mutate(caller, secrets::idempotency(key), change, "tokens")
            .await
            .map_err(|error| unless_keyed(is_keyed, error))?;
        let Outcome::Created { id, expires } = reply.outcome else {
            return Err(unknown());
        };
        let text = tokens::text(&id, &self.secret_of(&id, draft)?);
        let token = String::from_utf8_lossy(text.expose()).into_owned();
        Ok(CreatedToken {
            token: SecretText::new(token),
            id: hex::encode(id),
            client: client.to_string(),
            expires_at: expires.map(rfc3339),
        })
    }

    /// Every token, without its secret half.
    ///
    /// # Errors
    /// A7's errors.
    pub async fn tokens(&self, caller: Caller) -> Result<TokenList, ServiceError> {
        let state = self.admin_view(caller, AdminView::Tokens, "tokens").await?;
        let tokens = state.tokens.iter().map(|(id, token)| TokenSummary {
            id: hex::encode(id),
            client: token.client.to_string(),
            created_at: rfc3339(token.created),
            expires_at: token.expires.map(rfc3339),
        });
        Ok(TokenList {
            tokens: tokens.collect(),
        })
    }

    /// Revokes a token: no request that starts after the acknowledgement succeeds with it (P4).
    ///
    /// # Errors
    /// A7's errors.
    pub async fn revoke_token(
        &self,
        caller: Caller,
        id: &str,
        key: Option<(String, [u8; 32])>,
    ) -> Result<RevokedToken, ServiceError> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(id, &mut bytes).map_err(|_| {
            ServiceError::invalid(
                "a token's id has 32 hex digits: the part between the dots of `jv1.<id>.<secret>`",
            )
        })?;
        let change = Change::RevokeToken { id: bytes };
        self.mutate(
            caller,
            secrets::idempotency(key),
            change,
            &format!("token {id}"),
        )
        .await?;
        Ok(RevokedToken {
            id: id.to_owned(),
            revoked: true,
        })
    }

    /// Revokes a client certificate.
    ///
    /// # Errors
    /// A7's errors.
    pub async fn revoke_certificate(
        &self,
        caller: Caller,
        request: &RevokeCertificate,
        key: Option<(String, [u8; 32])>,
    ) -> Result<RevokedCertificate, ServiceError> {
        let not_after = OffsetDateTime::parse(&request.not_after, &Rfc3339)
            .map_err(|_| ServiceError::invalid("not_after is a time like 2027-01-31T00:00:00Z"))?;
        let not_after = u64::try_from(not_after.unix_timestamp())
            .unwrap_or(0)
            .saturating_mul(1_000);
        let serial = tls::canonical_serial(&request.serial);
        let change = Change::RevokeCertificate {
            serial: serial.clone(),
            not_after,
        };
        self.mutate(
            caller,
            secrets::idempotency(key),
            change,
            "client certificates",
        )
        .await?;
        Ok(RevokedCertificate {
            serial,
            revoked: true,
        })
    }
}
