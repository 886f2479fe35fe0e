//! Reading certificates: who they name, which key they carry, how long they last.
//!
//! None of these functions checks a signature. They are used on certificates that the TLS handshake
//! has verified already, or that come from our own disk.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use crate::tls::TlsError;

/// The last label of a node's name. Never certified for anything else.
pub(super) const NODE_SUFFIX: &str = "jarvis";

/// What stands before the client id in a client certificate's URI.
///
/// A URI rather than a DNS name: client ids need not be host names, and no client id can then look
/// like a node.
pub(super) const CLIENT_PREFIX: &str = "jarvis-client:";

/// Characters per line of a PEM body (RFC 7468).
const PEM_COLUMNS: usize = 64;

/// SHA-256 over the whole certificate: how a join token pins the CA.
#[must_use]
pub fn fingerprint(cert_der: &[u8]) -> [u8; 32] {
    Sha256::digest(cert_der).into()
}

/// The DNS name of a node: `n<id>.<cluster id in hex>.jarvis`.
#[must_use]
pub fn peer_name(cluster_id: &[u8; 16], node_id: u64) -> String {
    format!("n{node_id}.{}.{NODE_SUFFIX}", hex::encode(cluster_id))
}

/// The node that a certificate names.
///
/// # Errors
/// [`TlsError::NotANode`] unless its only name is the canonical name of a node of this cluster.
pub fn peer_identity(cert_der: &[u8], cluster_id: &[u8; 16]) -> Result<u64, TlsError> {
    let certificate = parse(cert_der)?;
    let Some(GeneralName::DNSName(name)) = only_name(&certificate) else {
        return Err(TlsError::NotANode);
    };
    let node_id = node_number(name).ok_or(TlsError::NotANode)?;
    if peer_name(cluster_id, node_id) == *name {
        Ok(node_id)
    } else {
        Err(TlsError::NotANode)
    }
}

/// The client that a certificate names (I1).
///
/// # Errors
/// [`TlsError::NotAClient`] unless its only name is `jarvis-client:<id>`.
pub fn client_identity(cert_der: &[u8]) -> Result<String, TlsError> {
    let certificate = parse(cert_der)?;
    let Some(GeneralName::URI(name)) = only_name(&certificate) else {
        return Err(TlsError::NotAClient);
    };
    match name.strip_prefix(CLIENT_PREFIX) {
        Some(client_id) if !client_id.is_empty() => Ok(client_id.to_owned()),
        _ => Err(TlsError::NotAClient),
    }
}

/// SHA-256 over the subject's public key info: what a member record pins. It survives renewal.
///
/// # Errors
/// [`TlsError::CertificateUnreadable`].
pub fn spki_sha256(cert_der: &[u8]) -> Result<[u8; 32], TlsError> {
    Ok(Sha256::digest(parse(cert_der)?.public_key().raw).into())
}

/// The last second of validity, in seconds since the Unix epoch.
///
/// # Errors
/// [`TlsError::CertificateUnreadable`].
pub fn not_after(cert_der: &[u8]) -> Result<i64, TlsError> {
    Ok(parse(cert_der)?.validity().not_after.timestamp())
}

/// The serial number in lower-case hex, the form that revocation lists use.
///
/// # Errors
/// [`TlsError::CertificateUnreadable`].
pub fn serial(cert_der: &[u8]) -> Result<String, TlsError> {
    Ok(canonical_serial(&hex::encode(
        parse(cert_der)?.raw_serial(),
    )))
}

/// A serial number in the one form that revocation compares: lower-case hex without colons or leading zeros, so that
/// what `openssl x509 -serial` prints names the certificate.
#[must_use]
pub fn canonical_serial(text: &str) -> String {
    let digits = text.to_ascii_lowercase().replace(':', "");
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        "0".to_owned()
    } else {
        significant.to_owned()
    }
}

/// The certificate as PEM text.
#[must_use]
pub fn certificate_pem(cert_der: &[u8]) -> String {
    let body = STANDARD.encode(cert_der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(PEM_COLUMNS));
        pem.push_str(line);
        pem.push('\n');
        rest = tail;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

/// The node name in a certificate, of whatever cluster and number: the join dial knows neither.
pub(super) fn any_peer_name(cert_der: &[u8]) -> Result<String, TlsError> {
    let certificate = parse(cert_der)?;
    let Some(GeneralName::DNSName(name)) = only_name(&certificate) else {
        return Err(TlsError::NotANode);
    };
    let node_id = node_number(name).ok_or(TlsError::NotANode)?;
    let cluster = name.split('.').nth(1).unwrap_or_default();
    let mut cluster_id = [0; 16];
    hex::decode_to_slice(cluster, &mut cluster_id).map_err(|_| TlsError::NotANode)?;
    let canonical = peer_name(&cluster_id, node_id);
    if canonical == *name {
        Ok(canonical)
    } else {
        Err(TlsError::NotANode)
    }
}

/// Parses one certificate and nothing behind it.
pub(super) fn parse(cert_der: &[u8]) -> Result<X509Certificate<'_>, TlsError> {
    match x509_parser::parse_x509_certificate(cert_der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(TlsError::CertificateUnreadable),
    }
}

fn only_name<'c, 'a>(certificate: &'c X509Certificate<'a>) -> Option<&'c GeneralName<'a>> {
    let extension = certificate.subject_alternative_name().ok()??;
    match extension.value.general_names.as_slice() {
        [name] => Some(name),
        _ => None,
    }
}

fn node_number(name: &str) -> Option<u64> {
    name.split('.').next()?.strip_prefix('n')?.parse().ok()
}
