//! Client certificates over HTTP: how one is asked for (I1). Their revocation is in [`tokens`](crate::tokens).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of `POST /certificates`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateCertificate {
    /// The client id that the certificate names.
    pub client: String,
    /// A signing request (PKCS #10, DER) in base64. Only its key is used: ECDSA P-256, ECDSA P-384 or Ed25519.
    pub request: String,
    /// Seconds until it ends, 1 to 31,536,000 (a year); null = 90 days.
    #[serde(default)]
    pub ttl_secs: Option<u64>,
}

/// Answer to `POST /certificates`. Nothing in it is secret: the key never left the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedCertificate {
    /// The certificate and after it the cluster CA's, PEM.
    pub certificate: String,
    /// Its serial number in hexadecimal: with it, it is revoked.
    pub serial: String,
    /// The client id that it names.
    pub client: String,
    /// When it ends, RFC 3339.
    pub expires_at: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i1_the_lifetime_may_be_left_out_and_a_misspelt_one_is_refused() {
        let request: CreateCertificate =
            serde_json::from_str(r#"{"client":"backend","request":"AAAA"}"#).unwrap();
        assert_eq!(request.ttl_secs, None);
        let misspelt = r#"{"client":"backend","request":"AAAA","ttl":60}"#;
        assert!(serde_json::from_str::<CreateCertificate>(misspelt).is_err());
    }
}
