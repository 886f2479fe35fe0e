//! `[seal]`: what this node unseals itself with at start (X3). Further slots are added online.

use super::error::ConfigError;
use super::reader::Table;

/// How a node unseals itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealKind {
    /// The key file at `[paths] master_key_path`.
    KeyFile,
}

/// `[seal]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealConfig {
    /// `kind`.
    pub kind: SealKind,
}

impl SealConfig {
    pub(super) fn read(table: &mut Table<'_>) -> Result<Self, ConfigError> {
        let kind = table.parsed("kind", "only \"key_file\"", "kind = \"key_file\"", |text| {
            (text == "key_file").then_some(SealKind::KeyFile)
        })?;
        Ok(Self {
            kind: kind.unwrap_or(SealKind::KeyFile),
        })
    }
}
