//! The cluster's own certificate authority, and TLS between peers (X5, DESIGN 6).
//!
//! ```text
//!   ClusterCa ──signs──► node certificate    DNS  n<id>.<cluster id>.jarvis   server + client
//!             ──signs──► API certificate     DNS/IP names of the listener     server
//!             ──signs──► client certificate  URI  jarvis-client:<client id>   client
//! ```
//!
//! Invariants:
//! - one CA signs all three kinds, and the kinds can not be mistaken for each other: a certificate
//!   is a node's only if its single name is the node's name, and that name is never issued for the
//!   API or a client;
//! - TLS 1.3 only, provider named explicitly (ring), no session resumption: every connection proves
//!   its key again, so a removed node has no ticket to come back with;
//! - validity is judged by the environment's clock, never by the system's directly;
//! - private keys are wiped by their owners and appear in no `Debug` output.

mod authority;
mod certificate;
mod key;
mod peer;
mod pinned;

pub use authority::{ClusterCa, Validity};
pub use certificate::{
    canonical_serial, certificate_pem, client_identity, fingerprint, not_after, peer_identity,
    peer_name, serial, spki_sha256,
};
pub use key::{csr_for_key, new_key_and_csr};
pub use peer::PeerTls;
pub(crate) use pinned::pinned_client_config;

/// The protocol both sides must name in the TLS handshake (ALPN).
pub const ALPN: &[u8] = b"jarvis-peer/1";

/// What can go wrong with keys, requests and certificates.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TlsError {
    /// The bytes are no X.509 certificate.
    #[error("the certificate can not be read")]
    CertificateUnreadable,
    /// The bytes are no signing request, or its signature is wrong.
    #[error("the certificate signing request is refused: {source}")]
    RequestRefused {
        /// What was wrong with it.
        source: rcgen::Error,
    },
    /// The signing request is larger than any honest one.
    #[error("the certificate signing request has {bytes} bytes, the limit is {limit}")]
    RequestTooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        limit: usize,
    },
    /// The requested key is none of ECDSA P-256, ECDSA P-384, Ed25519.
    #[error("the key of the signing request must be ECDSA P-256, ECDSA P-384 or Ed25519")]
    KeyUnsupported,
    /// A private key does not belong to its certificate.
    #[error("the private key does not belong to the certificate")]
    KeyMismatch,
    /// A private key can not be read or made.
    #[error("the private key can not be used: {source}")]
    Key {
        /// What was wrong with it.
        source: rcgen::Error,
    },
    /// The certificate does not name exactly one node of this cluster.
    #[error("the certificate does not name one node of this cluster")]
    NotANode,
    /// The certificate does not name exactly one client.
    #[error("the certificate does not name one client")]
    NotAClient,
    /// A name that may not stand in a certificate.
    #[error("{name:?} can not be certified: {reason}")]
    Name {
        /// The name asked for.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// A moment that a certificate can not express.
    #[error("{unix_s} seconds since 1970 is no moment a certificate can express")]
    Moment {
        /// The moment, in seconds since the Unix epoch.
        unix_s: i64,
    },
    /// Signing failed.
    #[error("the certificate can not be signed: {source}")]
    Sign {
        /// What failed.
        source: rcgen::Error,
    },
    /// The operating system gave no random bytes.
    #[error("no random bytes for a serial number")]
    Random,
    /// The TLS library does not accept the material.
    #[error("TLS can not be set up: {source}")]
    Setup {
        /// What it said.
        source: rustls::Error,
    },
    /// The CA certificate is no usable trust anchor.
    #[error("the CA certificate can not be trusted: {reason}")]
    Anchor {
        /// What the verifier said.
        reason: String,
    },
}
