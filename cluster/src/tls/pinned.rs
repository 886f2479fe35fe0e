//! The joining node's view of TLS: it knows one thing, the fingerprint of the CA, from its token.
//!
//! The server sends its certificate and the CA's. The CA's must have the fingerprint; then the leaf
//! is verified under it like any other (signature, validity, purpose, name). Only the number in
//! the name is left open, because the newcomer does not know whom its address reaches.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, SignatureScheme,
};

use crate::env::Clock;
use crate::tls::TlsError;
use crate::tls::certificate::{any_peer_name, fingerprint};
use crate::tls::peer::{EnvTime, client_builder, finish_client, roots_of};

/// Accepts exactly the nodes certified by the CA with this fingerprint; presents no certificate.
pub(crate) fn pinned_client_config(
    clock: Arc<dyn Clock>,
    ca_fingerprint: [u8; 32],
) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let verifier = PinnedCa {
        ca_fingerprint,
        provider: Arc::clone(&provider),
    };
    let mut client = client_builder(provider, Arc::new(EnvTime(clock)))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    finish_client(&mut client);
    // The name that is dialed is a stand-in, so it is not told to anyone.
    client.enable_sni = false;
    Ok(client)
}

#[derive(Debug)]
struct PinnedCa {
    ca_fingerprint: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedCa {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _stand_in: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let pinned = intermediates
            .iter()
            .find(|certificate| fingerprint(certificate) == self.ca_fingerprint)
            .ok_or_else(|| refused(PinnedCaError::OtherAuthority))?;
        let roots = roots_of(pinned).map_err(|_| refused(PinnedCaError::Unusable))?;
        let name = any_peer_name(end_entity).map_err(|_| refused(PinnedCaError::NotANode))?;
        let name = ServerName::try_from(name).map_err(|_| refused(PinnedCaError::NotANode))?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|_| refused(PinnedCaError::Unusable))?
            .verify_server_cert(end_entity, &[], &name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // Not reached: the configuration offers TLS 1.3 alone.
        Err(Error::General(String::from("TLS 1.2 is not offered")))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[derive(Debug, thiserror::Error)]
enum PinnedCaError {
    #[error("the server does not belong to the cluster of the join token: its CA is another one")]
    OtherAuthority,
    #[error("the CA with the join token's fingerprint is no usable trust anchor")]
    Unusable,
    #[error("the server's certificate does not name a node")]
    NotANode,
}

fn refused(reason: PinnedCaError) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(reason))))
}
