//! Bounds that apply enforces (rule 10). They are part of the feature level: changing one is a new level (rule 3).

use serde::{Deserialize, Serialize};

use crate::time::{DAY, Millis, SECOND};

/// Versions kept per secret by plain writes (R2).
pub const MAX_VERSIONS: usize = 10;
/// Names ever written, destroyed ones included: their last version number is remembered so that it is never used twice. Each
/// counts against the quota, too ([`NAME_OVERHEAD_BYTES`]).
pub const MAX_NAMES: usize = 1_000_000;
/// Most versions per secret that a cluster can be begun with.
pub const MAX_VERSIONS_LIMIT: u32 = 1_000;
/// Longest value the vault can be configured to take (A14): 1 MiB of plaintext and the cipher's 16-byte tag.
pub const MAX_CIPHERTEXT_BYTES: usize = 1024 * 1024 + 16;
/// Writes in one batch (A15).
pub const MAX_BATCH_WRITES: usize = 64;
/// How long an idempotency key is kept (A11).
pub const IDEMPOTENCY_TTL: Millis = 600_000;
/// Idempotency keys one client may hold (A11).
pub const IDEMPOTENCY_PER_CLIENT: u64 = 1_000;
/// Idempotency keys in all (A11).
pub const IDEMPOTENCY_TOTAL: usize = 100_000;
/// Longest idempotency key in bytes: a UUID or a hash with a prefix fits.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 128;
/// Longest request id in bytes kept in the trail.
pub const MAX_REQUEST_ID_BYTES: usize = 64;
/// Longest free text (description, owner, type) in bytes.
pub const MAX_TEXT_BYTES: usize = 1_024;
/// Most records of a kind that only administrators create (tokens, join tokens, revoked certificates).
pub const MAX_ADMIN_RECORDS: usize = 100_000;
/// Due destructions handled per entry, so that one entry's apply stays short.
pub const DUE_PER_ENTRY: usize = 64;
/// Due expiries handled per entry: cheap, and all keys of one client may end at once (A11).
pub const EXPIRIES_PER_ENTRY: usize = 4_096;
/// How long destruction waits after agreed time stepped (rule 5).
pub const DESTRUCTION_HOLD: Millis = 3_600_000;
/// Events in an audit segment.
pub const SEGMENT_EVENTS: u64 = 4_096;
/// Bytes of an audit segment.
pub const SEGMENT_BYTES: u64 = 4 * 1024 * 1024;
/// Fixed cost charged to the vault's quota per version, for its names, ids and times.
pub const VERSION_OVERHEAD_BYTES: u64 = 256;
/// Fixed cost charged to the vault's quota per remembered name, beside the name itself: its numbers and times, and its
/// place in the map. Charged from the first write on and for ever, so that no client grows memory outside the quota by
/// writing and destroying one name after the other.
pub const NAME_OVERHEAD_BYTES: u64 = 256;
/// The smallest vault: one short secret fits.
pub const MIN_VAULT_BYTES: u64 = 1_024;
/// The largest vault, 1 TiB: it lives in memory.
pub const MAX_VAULT_BYTES: u64 = 1 << 40;
/// The shortest limit of a ciphertext: an empty value is legal (A2), and what is left of it is the cipher's tag.
pub const MIN_CIPHERTEXT_BYTES: usize = 16;
/// The longest time to undelete, and the longest rotation period: a hundred years, past which "never" is meant.
pub const MAX_PERIOD: Millis = 36_500 * DAY;

/// Limits that are agreed in the log, so that every node decides alike (set by `cluster init`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultLimits {
    /// Bytes the vault may hold: ciphertexts, names, what people wrote about them, and overhead; beyond it writes answer
    /// `quota_exceeded` (A7).
    pub max_vault_bytes: u64,
    /// Longest ciphertext accepted, bytes.
    pub max_ciphertext_bytes: u64,
    /// Versions kept per secret, 1..=[`MAX_VERSIONS_LIMIT`].
    pub max_versions: u32,
    /// How long a deleted secret can be undeleted, ms.
    pub undelete_ms: Millis,
    /// Age at which a version counts as expired, ms (R1).
    pub rotation_ms: Millis,
}

impl Default for VaultLimits {
    fn default() -> Self {
        Self {
            max_vault_bytes: 1024 * 1024 * 1024,
            max_ciphertext_bytes: 64 * 1024 + 16,
            max_versions: MAX_VERSIONS as u32,
            undelete_ms: 7 * DAY,
            rotation_ms: 90 * DAY,
        }
    }
}

/// Why a cluster can not be begun with these limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitsError {
    /// The vault's size.
    #[error("a vault has {MIN_VAULT_BYTES} to {MAX_VAULT_BYTES} bytes")]
    Vault,
    /// The longest value.
    #[error("the longest ciphertext has {MIN_CIPHERTEXT_BYTES} to {MAX_CIPHERTEXT_BYTES} bytes")]
    Ciphertext,
    /// The versions of a secret.
    #[error("1 to {MAX_VERSIONS_LIMIT} versions of a secret are kept")]
    Versions,
    /// The time to undelete.
    #[error("a deleted secret can be undeleted for at most {MAX_PERIOD} ms")]
    Undelete,
    /// The rotation period.
    #[error("a version counts as expired after 1,000 to {MAX_PERIOD} ms")]
    Rotation,
}

impl VaultLimits {
    /// Whether a cluster can be begun with these limits. Nothing changes them afterwards: what is nonsense would stay.
    ///
    /// # Errors
    /// [`LimitsError`] for the first one out of bounds.
    pub fn validate(&self) -> Result<(), LimitsError> {
        let ciphertext = MIN_CIPHERTEXT_BYTES as u64..=MAX_CIPHERTEXT_BYTES as u64;
        if !(MIN_VAULT_BYTES..=MAX_VAULT_BYTES).contains(&self.max_vault_bytes) {
            Err(LimitsError::Vault)
        } else if !ciphertext.contains(&self.max_ciphertext_bytes) {
            Err(LimitsError::Ciphertext)
        } else if !(1..=MAX_VERSIONS_LIMIT).contains(&self.max_versions) {
            Err(LimitsError::Versions)
        } else if self.undelete_ms > MAX_PERIOD {
            Err(LimitsError::Undelete)
        } else if !(SECOND..=MAX_PERIOD).contains(&self.rotation_ms) {
            // R1: durations from one second up.
            Err(LimitsError::Rotation)
        } else {
            Ok(())
        }
    }
}
