//! Private keys of nodes and clients, and the requests that carry their public halves to the CA.

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use zeroize::{Zeroize, Zeroizing};

use crate::tls::TlsError;

/// A new ECDSA P-256 key (PKCS #8, DER) and a signing request for it (PKCS #10, DER).
///
/// P-256 rather than Ed25519: browsers and many HTTP clients accept no Ed25519 certificate, and the
/// API listener uses the same function.
///
/// # Errors
/// [`TlsError::Key`] when the system gives no randomness.
pub fn new_key_and_csr() -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), TlsError> {
    let key = WipedKey(KeyPair::generate().map_err(|source| TlsError::Key { source })?);
    let request = request_for(&key)?;
    Ok((key.pkcs8(), request))
}

/// A signing request for a key that exists: renewal keeps the key, since members pin it.
///
/// # Errors
/// [`TlsError::Key`] when the key can not be read.
pub fn csr_for_key(key_pkcs8: &[u8]) -> Result<Vec<u8>, TlsError> {
    request_for(&WipedKey::read(key_pkcs8)?)
}

/// A key pair whose readable copy is wiped on drop.
pub(super) struct WipedKey(pub(super) KeyPair);

impl WipedKey {
    pub(super) fn read(key_pkcs8: &[u8]) -> Result<Self, TlsError> {
        KeyPair::try_from(key_pkcs8)
            .map(Self)
            .map_err(|source| TlsError::Key { source })
    }

    pub(super) fn pkcs8(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.0.serialize_der())
    }
}

impl Drop for WipedKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

fn request_for(key: &WipedKey) -> Result<Vec<u8>, TlsError> {
    let mut params = CertificateParams::default();
    // The CA takes nothing from a request but the key, so the request says nothing else.
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "jarvis");
    let request = params
        .serialize_request(&key.0)
        .map_err(|source| TlsError::Key { source })?;
    Ok(request.der().to_vec())
}
