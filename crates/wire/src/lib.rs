//! The JSON bodies of the HTTP API, shared by the server, the command line and the Rust client.
//!
//! Nothing here decides anything: the structs are the contract (REQUIREMENTS A), one file per noun. Requests refuse
//! unknown fields, so that a misspelt `"cass"` is an error and not a write without its condition; answers tolerate
//! unknown fields, so that an older client keeps working. Whatever holds a secret is a [`text::SecretText`], whose
//! `Debug` shows nothing. Times are RFC 3339 in UTC, as text (A10).
//!
//! Reading order: [`error`] and [`text`] are the vocabulary; [`secrets`] is the heart; then [`policy`], [`tokens`],
//! [`certificates`], [`seal`], [`cluster`], [`audit`] and [`health`].

pub mod audit;
pub mod certificates;
pub mod cluster;
pub mod error;
pub mod health;
pub mod policy;
pub mod seal;
pub mod secrets;
pub mod text;
pub mod tokens;

pub use error::{ErrorBody, ErrorCode};
pub use text::SecretText;

/// Request header that makes a write safe to repeat (A11).
pub const IDEMPOTENCY_KEY_HEADER: &str = "idempotency-key";
/// Header for tracing only; the answer echoes it (A11).
pub const REQUEST_ID_HEADER: &str = "x-request-id";
/// Request header that names the client; a name, not a proof (A8, I2).
pub const CLIENT_HEADER: &str = "x-jarvis-client";
/// Answer header of a read: the log index that it was served at (A3).
pub const INDEX_HEADER: &str = "x-jarvis-index";
