//! The TLS configuration of one node's peer connections, replaceable while it serves.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::env::Clock;
use crate::tls::{ALPN, TlsError};

/// Both TLS configurations of a node (X5). [`PeerTls::renew`] swaps them: connections that stand
/// keep theirs, new ones in either direction use the new certificate, the listener stays.
pub struct PeerTls {
    clock: Arc<dyn Clock>,
    ca_der: Vec<u8>,
    current: RwLock<Arc<Configurations>>,
}

struct Configurations {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    cert_der: Vec<u8>,
}

impl PeerTls {
    /// Trusts `ca_der` alone, presents `cert_der` with its key (PKCS #8, DER). Validity of peers'
    /// certificates is judged by `clock`.
    ///
    /// # Errors
    /// [`TlsError::Anchor`] or [`TlsError::Setup`] (also when key and certificate differ).
    pub fn new(
        clock: Arc<dyn Clock>,
        ca_der: &[u8],
        cert_der: &[u8],
        key_pkcs8: &[u8],
    ) -> Result<Self, TlsError> {
        let first = Configurations::build(&clock, ca_der, cert_der, key_pkcs8)?;
        let current = RwLock::new(Arc::new(first));
        Ok(Self {
            clock,
            ca_der: ca_der.to_vec(),
            current,
        })
    }

    /// Uses another certificate from the next connection on. On error the old one stays.
    ///
    /// # Errors
    /// As [`PeerTls::new`].
    pub fn renew(&self, cert_der: &[u8], key_pkcs8: &[u8]) -> Result<(), TlsError> {
        let next = Configurations::build(&self.clock, &self.ca_der, cert_der, key_pkcs8)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        Ok(())
    }

    /// The configuration for the next connection that comes in. A certificate is asked for but not
    /// demanded, because a joining node has none; the handshake above demands it elsewhere.
    #[must_use]
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.configurations().server)
    }

    /// The configuration for the next connection that goes out.
    #[must_use]
    pub fn client_config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.configurations().client)
    }

    /// The certificate in use (DER), to see when it must be renewed.
    #[must_use]
    pub fn certificate(&self) -> Vec<u8> {
        self.configurations().cert_der.clone()
    }

    /// The CA certificate (DER).
    #[must_use]
    pub fn ca_certificate(&self) -> &[u8] {
        &self.ca_der
    }

    fn configurations(&self) -> Arc<Configurations> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for PeerTls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PeerTls")
    }
}

impl Configurations {
    fn build(
        clock: &Arc<dyn Clock>,
        ca_der: &[u8],
        cert_der: &[u8],
        key_pkcs8: &[u8],
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let time = Arc::new(EnvTime(Arc::clone(clock)));
        let roots = Arc::new(roots_of(ca_der)?);

        // The chain carries the CA too: a joining node pins the CA and must see it.
        let leaf = CertificateDer::from(cert_der.to_vec());
        let authority = CertificateDer::from(ca_der.to_vec());
        let certified = Arc::new(certified_key(vec![leaf, authority], key_pkcs8)?);

        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .allow_unauthenticated()
                .build()
                .map_err(|error| TlsError::Anchor {
                    reason: error.to_string(),
                })?;
        let server_time: Arc<dyn TimeProvider> = time.clone();
        let mut server = ServerConfig::builder_with_details(Arc::clone(&provider), server_time)
            .with_protocol_versions(&[&TLS13])
            .map_err(|source| TlsError::Setup { source })?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&certified))));
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;

        let mut client = client_builder(provider, time)?
            .with_root_certificates(roots)
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        finish_client(&mut client);

        Ok(Self {
            server: Arc::new(server),
            client: Arc::new(client),
            cert_der: cert_der.to_vec(),
        })
    }
}

/// TLS 1.3 with the named provider and the environment's clock.
pub(super) fn client_builder(
    provider: Arc<CryptoProvider>,
    time: Arc<EnvTime>,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, TlsError> {
    ClientConfig::builder_with_details(provider, time)
        .with_protocol_versions(&[&TLS13])
        .map_err(|source| TlsError::Setup { source })
}

/// What every dialing side sets: the protocol's name, and no resumption.
pub(super) fn finish_client(client: &mut ClientConfig) {
    client.alpn_protocols = vec![ALPN.to_vec()];
    client.resumption = Resumption::disabled();
}

/// A store that trusts one CA.
pub(super) fn roots_of(ca_der: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from(ca_der))
        .map_err(|error| TlsError::Anchor {
            reason: error.to_string(),
        })?;
    Ok(roots)
}

/// Reads the key where it lies, so that no unwiped copy of it is made here.
fn certified_key(
    chain: Vec<CertificateDer<'static>>,
    key_pkcs8: &[u8],
) -> Result<CertifiedKey, TlsError> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key_pkcs8));
    let signer =
        ring::sign::any_supported_type(&key).map_err(|source| TlsError::Setup { source })?;
    let certified = CertifiedKey::new(chain, signer);
    certified
        .keys_match()
        .map_err(|source| TlsError::Setup { source })?;
    Ok(certified)
}

/// The environment's wall clock, as rustls asks for it.
pub(super) struct EnvTime(pub(super) Arc<dyn Clock>);

impl TimeProvider for EnvTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(
            self.0.wall_ms(),
        )))
    }
}

impl fmt::Debug for EnvTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("EnvTime")
    }
}
