//! `[limits]`: how much of everything (F6, A7, A14, I3, rule 10).
//!
//! Two kinds of keys stand here. Those about connections and requests are this node's own. Those
//! about the vault (`max_vault_bytes`, `max_versions`, `undelete_days`, and `max_value_bytes` as a
//! length of ciphertext) decide in apply, where every node must agree: they *seed* a new cluster,
//! are replicated from then on, and a later change in the file does nothing.

use std::time::Duration;

use super::error::ConfigError;
use super::reader::Table;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const SECONDS_PER_DAY: u64 = 86_400;

/// Longest value that can be configured, bytes (A14).
const MAX_VALUE_BYTES: u64 = MIB;
/// JSON may write each byte of a value as `\u00XX`: six bytes for one.
const MAX_JSON_GROWTH: u64 = 6;
/// Room for everything in a body but the value: name, description, braces.
const BODY_OVERHEAD_BYTES: u64 = 16 * KIB;
/// Longest body of a batch: what a node may have proposed and in flight (rule 10).
const MAX_BATCH_BODY_BYTES: u64 = 16 * MIB;
/// Writes in a batch (A15).
const BATCH_WRITES: u64 = 64;

/// `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitsConfig {
    /// How long a request may take, waiting for a leader included (C4).
    pub request_deadline: Duration,
    /// Longest value, bytes of plaintext (A14).
    pub max_value_bytes: u64,
    /// Ciphertext and overhead the whole vault may hold, bytes. Seeds a new cluster.
    pub max_vault_bytes: u64,
    /// Versions kept by plain writes (R2). Seeds a new cluster.
    pub max_versions: u32,
    /// How long a deleted secret can be undeleted (A9). Seeds a new cluster.
    pub undelete: Duration,
    /// Open API connections; further ones wait to be accepted.
    pub max_connections: usize,
    /// Requests of one client at a time (I3), then 429.
    pub per_client_concurrency: usize,
    /// Requests without a valid credential per second, all callers together (I3), then 429.
    pub unauthenticated_per_second: u32,
    /// Requests of one client per second; `None` is unlimited, the default (I3).
    pub client_requests_per_second: Option<u32>,
    /// 403 answers to one client per second before they become 429 and one aggregate event a minute
    /// (I3).
    pub forbidden_per_second: u32,
}

impl LimitsConfig {
    pub(super) fn read(table: &mut Table<'_>) -> Result<Self, ConfigError> {
        let undelete_days = table.integer("undelete_days", 7, 0..=3_650)?;
        let requests_per_second = small(table, "client_requests_per_second", 0, 0..=1_000_000)?;
        Ok(Self {
            request_deadline: table.milliseconds("request_deadline_ms", 5_000, 100..=60_000)?,
            max_value_bytes: table.bytes("max_value_bytes", 64 * KIB, 1..=MAX_VALUE_BYTES)?,
            max_vault_bytes: table.bytes("max_vault_bytes", GIB, MIB..=1_024 * GIB)?,
            max_versions: small(table, "max_versions", 10, 1..=1_000)?,
            undelete: Duration::from_secs(undelete_days * SECONDS_PER_DAY),
            max_connections: small(table, "max_connections", 4_096, 16..=1_000_000)? as usize,
            per_client_concurrency: small(table, "per_client_concurrency", 1_024, 1..=65_536)?
                as usize,
            unauthenticated_per_second: small(
                table,
                "unauthenticated_per_second",
                100,
                1..=100_000,
            )?,
            client_requests_per_second: (requests_per_second > 0).then_some(requests_per_second),
            forbidden_per_second: small(table, "forbidden_per_second", 20, 1..=100_000)?,
        })
    }

    /// Longest body of a request that carries at most one value, bytes: the worst that JSON can
    /// make of it.
    #[must_use]
    pub const fn max_body_bytes(&self) -> u64 {
        self.max_value_bytes * MAX_JSON_GROWTH + BODY_OVERHEAD_BYTES
    }

    /// Longest body of a batch, bytes.
    #[must_use]
    pub fn max_batch_body_bytes(&self) -> u64 {
        (self.max_body_bytes() * BATCH_WRITES).min(MAX_BATCH_BODY_BYTES)
    }
}

/// A number that fits 32 bits because its range does.
fn small(
    table: &mut Table<'_>,
    key: &'static str,
    default: u32,
    range: std::ops::RangeInclusive<u32>,
) -> Result<u32, ConfigError> {
    let wide = u64::from(*range.start())..=u64::from(*range.end());
    let number = table.integer(key, u64::from(default), wide)?;
    Ok(u32::try_from(number).unwrap_or(default))
}
