//! The cryptography of the vault (X1, X2, X3): small enough to read in one sitting.
//!
//! ```text
//! key file ─┐ wraps                wraps               derives one key per version
//! passphrase┴──────▶ root key ───────────▶ epoch keys ───────────▶ AES-256-GCM of a value
//!                        ├─▶ request MAC key
//!                        └─▶ credential key ─▶ a token's secret, again for a repeated request
//! ```
//!
//! Invariants of the whole crate:
//! - One AES key encrypts one message. Every key that encrypts is derived by HKDF-SHA256 with 32
//!   fresh random bytes as salt, drawn inside the function that encrypts, so the nonce is constant
//!   and can not be reused.
//! - Every use of a key has a domain string of its own, all of them starting with `jarvis/v1`.
//! - Secret bytes are boxed, wiped on drop, compared in constant time, and `Debug` prints the
//!   name of their type only.
//! - Every length read from outside is bounded before it is believed.

mod message_key;

pub mod credential;
pub mod envelope;
pub mod keyring;
pub mod random;
pub mod request_mac;
pub mod seal;
pub mod secret_bytes;
pub mod tokens;

pub use credential::{CredentialKey, CredentialKind, CredentialSecret};
pub use keyring::{Keyring, RootKey};
pub use random::{RandomError, RandomSource};
pub use request_mac::RequestMac;
pub use secret_bytes::SecretBytes;
