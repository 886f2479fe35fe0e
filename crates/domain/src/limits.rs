//! Bounds that apply enforces (rule 10). They are part of the feature level: changing one is a new level (rule 3).

use serde::{Deserialize, Serialize};

use crate::time::{DAY, Millis};

/// Versions kept per secret by plain writes (R2).
pub const MAX_VERSIONS: usize = 10;
/// Names ever written, destroyed ones included: their last version number is remembered so that it is never used twice.
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

/// Limits that are agreed in the log, so that every node decides alike (set by `cluster init`, changed by an entry).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultLimits {
    /// Bytes of ciphertext and overhead the vault may hold; beyond it writes answer `quota_exceeded` (A7).
    pub max_vault_bytes: u64,
    /// Longest ciphertext accepted, bytes.
    pub max_ciphertext_bytes: u64,
    /// Versions kept per secret, 1..=[`MAX_VERSIONS`] × 100.
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
