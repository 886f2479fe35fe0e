//! Credentials as the log knows them (I1): hashes and serial numbers, never a secret.

use serde::{Deserialize, Serialize};

use crate::name::ClientId;
use crate::time::Millis;

/// The public half of a bearer token `jv1.<id>.<secret>`; a join token has one too. Drawn for each, never used twice.
pub type TokenId = [u8; 16];

/// A bearer token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// SHA-256 of the secret half.
    pub secret_hash: [u8; 32],
    /// Whom it stands for.
    pub client: ClientId,
    /// When it was made.
    pub created: Millis,
    /// When it stops working; never if `None`.
    pub expires: Option<Millis>,
}

/// How a request proved who it is; checked again in apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Credential {
    /// A bearer token; the proposing node compared the secret with the hash.
    Token(TokenId),
    /// A client certificate; the proposing node verified its chain.
    Certificate {
        /// Lower-case hex of the serial number.
        serial: String,
        /// End of validity.
        not_after: Millis,
    },
    /// The bare header, believed by a listener that may (I2).
    Header,
    /// The node itself (bootstrap, scheduled work): no client could send this.
    System,
}

impl Credential {
    /// The kind as it stands in the trail.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Token(_) => "token",
            Self::Certificate { .. } => "certificate",
            Self::Header => "header",
            Self::System => "system",
        }
    }
}
