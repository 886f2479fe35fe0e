//! The cluster CA: made once by `init`, kept in the replicated state with its key wrapped, loaded
//! wherever a certificate is issued.

use std::fmt;
use std::time::Duration;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
    SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use time::OffsetDateTime;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

use crate::tls::TlsError;
use crate::tls::certificate::{CLIENT_PREFIX, NODE_SUFFIX, certificate_pem, parse, peer_name};
use crate::tls::key::WipedKey;

/// How long a CA lasts, in seconds: 20 years. Replacing it means new certificates for every node
/// and client, so it should outlive the cluster.
const CA_LIFETIME_S: i64 = 20 * 365 * 86_400;

/// Certificates begin this much before the present: peers' clocks may be behind ours.
const BACKDATE_S: i64 = 3_600;

/// An honest signing request has 300 bytes; one with a long name stays below this.
const MAX_REQUEST_BYTES: usize = 16 * 1024;

/// Names in one API certificate: all nodes of a cluster and their load balancers fit.
const MAX_SERVER_NAMES: usize = 64;

/// The longest client id in a certificate, in bytes.
const MAX_CLIENT_ID_BYTES: usize = 256;

/// Bytes of a serial number. Random, below the 20 that RFC 5280 allows, never all the same.
const SERIAL_BYTES: usize = 16;

/// The CA's certificate and its private key.
pub struct ClusterCa {
    /// The certificate as PEM, for clients.
    pub cert_pem: String,
    /// The certificate as DER, for peers.
    pub cert_der: Vec<u8>,
    /// The private key (PKCS #8, DER). Wiped on drop; whoever stores it wraps it first (rule 12).
    pub key_pkcs8: Zeroizing<Vec<u8>>,
}

/// From when to when a certificate holds, in seconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before_unix_s: i64,
    /// The last second.
    pub not_after_unix_s: i64,
}

impl Validity {
    /// From an hour before `now_unix_s` (clocks differ) until `lifetime` after it.
    #[must_use]
    pub fn starting(now_unix_s: i64, lifetime: Duration) -> Self {
        let lifetime_s = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        Self {
            not_before_unix_s: now_unix_s.saturating_sub(BACKDATE_S),
            not_after_unix_s: now_unix_s.saturating_add(lifetime_s),
        }
    }
}

impl ClusterCa {
    /// Makes a new CA, valid from an hour before `not_before_unix_s`, for 20 years.
    ///
    /// # Errors
    /// [`TlsError::Moment`], [`TlsError::Random`], [`TlsError::Key`] or [`TlsError::Sign`].
    pub fn create(cluster_id: [u8; 16], not_before_unix_s: i64) -> Result<Self, TlsError> {
        let key = WipedKey(KeyPair::generate().map_err(|source| TlsError::Key { source })?);
        let mut params = CertificateParams::default();
        params.distinguished_name =
            common_name(format!("jarvis cluster {}", hex::encode(cluster_id)));
        params.not_before = moment(not_before_unix_s.saturating_sub(BACKDATE_S))?;
        params.not_after = moment(not_before_unix_s.saturating_add(CA_LIFETIME_S))?;
        params.serial_number = Some(random_serial()?);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params
            .self_signed(&key.0)
            .map_err(|source| TlsError::Sign { source })?;
        let cert_der = certificate.der().to_vec();
        Ok(Self {
            cert_pem: certificate_pem(&cert_der),
            cert_der,
            key_pkcs8: key.pkcs8(),
        })
    }

    /// Takes a stored CA back into use.
    ///
    /// # Errors
    /// [`TlsError::CertificateUnreadable`], [`TlsError::Key`], or [`TlsError::KeyMismatch`] when
    /// the two do not belong together.
    pub fn load(cert_der: &[u8], key_pkcs8: Zeroizing<Vec<u8>>) -> Result<Self, TlsError> {
        let key = WipedKey::read(&key_pkcs8)?;
        if parse(cert_der)?.public_key().raw != key.0.subject_public_key_info().as_slice() {
            return Err(TlsError::KeyMismatch);
        }
        Ok(Self {
            cert_pem: certificate_pem(cert_der),
            cert_der: cert_der.to_vec(),
            key_pkcs8,
        })
    }

    /// Certifies a node: its name alone, for both ends of a peer connection (X5).
    ///
    /// # Errors
    /// Anything wrong with the request: see [`TlsError`].
    pub fn issue_peer(
        &self,
        cluster_id: [u8; 16],
        node_id: u64,
        csr_der: &[u8],
        validity: Validity,
    ) -> Result<Vec<u8>, TlsError> {
        let mut params = certificate_for(vec![peer_name(&cluster_id, node_id)])?;
        params.distinguished_name = common_name(format!("jarvis node {node_id}"));
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        self.issue(params, csr_der, validity)
    }

    /// Certifies an API listener for DNS names and IP addresses.
    ///
    /// # Errors
    /// [`TlsError::Name`] for an empty list, more than 64 names, or a name under `.jarvis`, which
    /// only nodes bear; otherwise anything wrong with the request.
    pub fn issue_server(
        &self,
        names: Vec<String>,
        csr_der: &[u8],
        validity: Validity,
    ) -> Result<Vec<u8>, TlsError> {
        check_server_names(&names)?;
        let subject = names.first().cloned().unwrap_or_default();
        let mut params = certificate_for(names)?;
        params.distinguished_name = common_name(subject);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(params, csr_der, validity)
    }

    /// Certifies a client of the API (I1): the URI `jarvis-client:<id>` is its only name.
    ///
    /// # Errors
    /// [`TlsError::Name`] for an id that is empty, longer than 256 bytes or not printable ASCII;
    /// otherwise anything wrong with the request.
    pub fn issue_client(
        &self,
        client_id: &str,
        csr_der: &[u8],
        validity: Validity,
    ) -> Result<Vec<u8>, TlsError> {
        check_client_id(client_id)?;
        let uri = format!("{CLIENT_PREFIX}{client_id}");
        let uri = Ia5String::try_from(uri).map_err(|source| TlsError::Sign { source })?;
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.distinguished_name = common_name(client_id.to_owned());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params, csr_der, validity)
    }

    fn issue(
        &self,
        mut params: CertificateParams,
        csr_der: &[u8],
        validity: Validity,
    ) -> Result<Vec<u8>, TlsError> {
        let request = read_request(csr_der)?;
        params.not_before = moment(validity.not_before_unix_s)?;
        params.not_after = moment(validity.not_after_unix_s)?;
        params.serial_number = Some(random_serial()?);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;

        let key = WipedKey::read(&self.key_pkcs8)?;
        let issuer =
            Issuer::from_ca_cert_der(&CertificateDer::from(self.cert_der.as_slice()), &key.0)
                .map_err(|source| TlsError::Sign { source })?;
        let certificate = params
            .signed_by(&request.params.public_key, &issuer)
            .map_err(|source| TlsError::Sign { source })?;
        let cert_der = certificate.der().to_vec();
        // rcgen names the key's type after the request's signature. Where the two differ, the
        // certificate would carry another key than was asked for.
        if parse(&cert_der)?.public_key().raw != request.spki {
            return Err(TlsError::KeyUnsupported);
        }
        Ok(cert_der)
    }
}

impl fmt::Debug for ClusterCa {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ClusterCa")
    }
}

struct Request {
    params: CertificateSigningRequestParams,
    /// The public key as the requester encoded it.
    spki: Vec<u8>,
}

/// Reads a request, checks its own signature, and keeps nothing of it but the key.
fn read_request(csr_der: &[u8]) -> Result<Request, TlsError> {
    if csr_der.len() > MAX_REQUEST_BYTES {
        return Err(TlsError::RequestTooLarge {
            bytes: csr_der.len(),
            limit: MAX_REQUEST_BYTES,
        });
    }
    let params =
        CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr_der))
            .map_err(|source| TlsError::RequestRefused { source })?;
    let accepted = [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
    ];
    if !accepted.contains(&params.public_key.algorithm()) {
        return Err(TlsError::KeyUnsupported);
    }
    let (_, parsed) =
        X509CertificationRequest::from_der(csr_der).map_err(|_| TlsError::RequestRefused {
            source: rcgen::Error::CouldNotParseCertificationRequest,
        })?;
    let spki = parsed.certification_request_info.subject_pki.raw.to_vec();
    Ok(Request { params, spki })
}

/// Parameters with these DNS names and IP addresses.
fn certificate_for(names: Vec<String>) -> Result<CertificateParams, TlsError> {
    CertificateParams::new(names).map_err(|source| TlsError::Sign { source })
}

fn check_server_names(names: &[String]) -> Result<(), TlsError> {
    if names.is_empty() || names.len() > MAX_SERVER_NAMES {
        return Err(TlsError::Name {
            name: format!("a list of {} names", names.len()),
            reason: "a server certificate has 1 to 64 names",
        });
    }
    for name in names {
        let last_label = name
            .trim_end_matches('.')
            .rsplit('.')
            .next()
            .unwrap_or_default();
        if last_label.is_empty() {
            return Err(TlsError::Name {
                name: name.clone(),
                reason: "it is empty",
            });
        }
        if last_label.eq_ignore_ascii_case(NODE_SUFFIX) {
            let reason = "names under .jarvis belong to the nodes";
            return Err(TlsError::Name {
                name: name.clone(),
                reason,
            });
        }
    }
    Ok(())
}

fn check_client_id(client_id: &str) -> Result<(), TlsError> {
    let printable = client_id.bytes().all(|byte| byte.is_ascii_graphic());
    if client_id.is_empty() || client_id.len() > MAX_CLIENT_ID_BYTES || !printable {
        return Err(TlsError::Name {
            name: client_id.chars().take(MAX_CLIENT_ID_BYTES).collect(),
            reason: "a client id has 1 to 256 printable ASCII characters and no space",
        });
    }
    Ok(())
}

fn common_name(name: String) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn moment(unix_s: i64) -> Result<OffsetDateTime, TlsError> {
    OffsetDateTime::from_unix_timestamp(unix_s).map_err(|_| TlsError::Moment { unix_s })
}

/// Random, so that two certificates for one key can be told apart and revoked singly.
fn random_serial() -> Result<SerialNumber, TlsError> {
    let mut bytes = [0; SERIAL_BYTES];
    getrandom::fill(&mut bytes).map_err(|_| TlsError::Random)?;
    // Positive and without a leading zero byte, so that the encoding always has the same length.
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}
