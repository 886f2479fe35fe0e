//! Client certificates that the cluster CA signs (I1, X5), and the CA's key, unwrapped only while it signs.
//!
//! Issuing changes nothing that is replicated, so there is no command for it: the access path decides and leaves the
//! event (C3), and only then is the CA's key touched. The certificate's private key stays with the client.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jarvis_cluster::tls::{self, ClusterCa, TlsError, Validity};
use jarvis_crypto::keyring::UnwrapError;
use jarvis_domain::command::{AdminView, Caller};
use jarvis_domain::member::Cluster;
use jarvis_domain::name::ClientId;
use jarvis_domain::time::rfc3339;
use jarvis_wire::certificates::{CreateCertificate, CreatedCertificate};
use jarvis_wire::error::ErrorCode;
use zeroize::Zeroizing;

use crate::service::vault::{Vault, VaultError};
use crate::service::{Service, ServiceError, unknown};

/// Where the request names no lifetime: a quarter of a year, as rotation has it.
const DEFAULT_LIFETIME_S: u64 = 90 * 86_400;
/// Longest lifetime. A stolen key that nobody misses is good for so long, and the revocation list remembers as long.
const MAX_LIFETIME_S: u64 = 365 * 86_400;

impl Service {
    /// Certifies a client's key.
    ///
    /// # Errors
    /// A7's errors; `sealed` on a node that can not unwrap the CA's key.
    pub async fn create_certificate(
        &self,
        caller: Caller,
        request: &CreateCertificate,
    ) -> Result<CreatedCertificate, ServiceError> {
        self.refuse_sealed()?;
        let client = ClientId::parse(&request.client)
            .map_err(|error| ServiceError::invalid(format!("client: {error}")))?;
        let signing_request = STANDARD.decode(&request.request).map_err(|error| {
            ServiceError::invalid(format!(
                "request: a signing request (PKCS #10, DER) in base64 is expected: {error}"
            ))
        })?;
        let lifetime = lifetime(request.ttl_secs)?;
        let issuer = caller.client.clone();
        let state = self
            .admin_view(caller, AdminView::IssueCertificate, "client certificates")
            .await?;
        let cluster = state.core.cluster.ok_or_else(unknown)?;
        let ca = cluster_ca(&self.vault, &cluster).map_err(|error| self.no_ca(&error))?;
        let now_s = i64::try_from(self.node.now_ms() / 1_000).unwrap_or(i64::MAX);
        let validity = Validity::starting(now_s, lifetime);
        let certificate = ca
            .issue_client(client.as_str(), &signing_request, validity)
            .map_err(|error| not_issued(&error))?;
        let serial = tls::serial(&certificate).map_err(|error| not_issued(&error))?;
        tracing::info!(client = %client, serial, issuer = %issuer, "issued a client certificate");
        let not_after = u64::try_from(validity.not_after_unix_s).unwrap_or(0);
        Ok(CreatedCertificate {
            certificate: tls::certificate_pem(&certificate) + &ca.cert_pem,
            serial,
            client: client.to_string(),
            expires_at: rfc3339(not_after.saturating_mul(1_000)),
        })
    }

    /// The node may have been sealed since the request began.
    fn no_ca(&self, error: &CaError) -> ServiceError {
        let internal = || ServiceError::new(ErrorCode::Internal, error.to_string());
        self.refuse_sealed().err().unwrap_or_else(internal)
    }
}

/// Why the cluster CA can not sign here.
#[derive(Debug, thiserror::Error)]
pub(super) enum CaError {
    /// No keys in memory.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Its key is damaged, or wrapped by another root key.
    #[error("the cluster CA's key can not be unwrapped: {0}")]
    Unwrap(#[from] UnwrapError),
    /// Key and certificate do not belong together.
    #[error("the cluster CA can not be used: {0}")]
    Unusable(#[from] TlsError),
}

/// The cluster CA with its key in the clear; drop it as soon as it has signed.
pub(super) fn cluster_ca(vault: &Vault, cluster: &Cluster) -> Result<ClusterCa, CaError> {
    let key = vault.with_keyring(|keyring| {
        keyring
            .root()
            .unwrap("ca-key", &cluster.cluster_id, &cluster.ca_key_wrapped)
    })??;
    let key = Zeroizing::new(key.expose().to_vec());
    Ok(ClusterCa::load(&cluster.ca_certificate, key)?)
}

fn lifetime(ttl_secs: Option<u64>) -> Result<Duration, ServiceError> {
    match ttl_secs.unwrap_or(DEFAULT_LIFETIME_S) {
        seconds @ 1..=MAX_LIFETIME_S => Ok(Duration::from_secs(seconds)),
        _ => Err(ServiceError::invalid(format!(
            "ttl_secs: from 1 to {MAX_LIFETIME_S} (a year)"
        ))),
    }
}

fn not_issued(error: &TlsError) -> ServiceError {
    match error {
        TlsError::RequestRefused { .. }
        | TlsError::RequestTooLarge { .. }
        | TlsError::KeyUnsupported
        | TlsError::Name { .. } => ServiceError::invalid(format!("request: {error}")),
        _ => ServiceError::new(
            ErrorCode::Internal,
            format!("the certificate can not be made: {error}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i1_a_certificate_lives_from_a_second_to_a_year_and_ninety_days_unless_told() {
        assert_eq!(lifetime(None).unwrap().as_secs(), 90 * 86_400);
        for good in [1, 3_600, MAX_LIFETIME_S] {
            assert_eq!(lifetime(Some(good)).unwrap().as_secs(), good);
        }
        for bad in [0, MAX_LIFETIME_S + 1, u64::MAX] {
            let error = lifetime(Some(bad)).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidRequest, "{bad}");
        }
    }
}
