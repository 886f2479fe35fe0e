//! Credentials over HTTP: bearer tokens and revoked certificates (I1).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::text::SecretText;

/// Body of `POST /tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// The client id that the token is bound to.
    pub client: String,
    /// Seconds until it expires, at least 1; null = never.
    #[serde(default)]
    pub ttl_secs: Option<u64>,
}

/// Answer to `POST /tokens`, and to its repetition under the same `Idempotency-Key`: nothing else shows the token.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    /// `jv1.<id>.<secret>`; the server keeps only a hash of it.
    #[schema(value_type = String)]
    pub token: SecretText,
    /// The public part, which lists and audit events show.
    pub id: String,
    /// The client id that it is bound to.
    pub client: String,
    /// When it expires, RFC 3339; null = never.
    #[serde(default)]
    pub expires_at: Option<String>,
}

/// Answer to `GET /tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenList {
    /// Every token that is neither revoked nor forgotten.
    pub tokens: Vec<TokenSummary>,
}

/// One token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenSummary {
    /// The public part.
    pub id: String,
    /// The client id that it is bound to.
    pub client: String,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// When it expires, RFC 3339; null = never.
    #[serde(default)]
    pub expires_at: Option<String>,
}

/// Answer to `DELETE /tokens/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RevokedToken {
    /// The public part.
    pub id: String,
    /// Always true.
    pub revoked: bool,
}

/// Body of `POST /certificates/revoke`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeCertificate {
    /// The certificate's serial number in hexadecimal.
    pub serial: String,
    /// The end of its validity, RFC 3339: the entry may be forgotten afterwards.
    pub not_after: String,
}

/// Answer to `POST /certificates/revoke`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RevokedCertificate {
    /// The certificate's serial number in hexadecimal.
    pub serial: String,
    /// Always true.
    pub revoked: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i1_a_token_without_an_end_says_null() {
        let created = CreatedToken {
            token: SecretText::new("jv1.example.not-a-secret"),
            id: "example".into(),
            client: "backend".into(),
            expires_at: None,
        };
        assert_eq!(
            serde_json::to_value(&created).unwrap()["expires_at"],
            serde_json::Value::Null
        );
        assert!(!format!("{created:?}").contains("not-a-secret"));
    }
}
