//! Secrets and their versions, as ciphertext (C2).

use serde::{Deserialize, Serialize};

use crate::limits::NAME_OVERHEAD_BYTES;
use crate::name::{ClientId, SecretName};
use crate::time::Millis;

/// A version's identity: 32 bytes drawn by the node that encrypted it; also the salt of its key.
pub type VersionId = [u8; 32];

/// What a node encrypted, before the log gave it a number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedValue {
    /// See [`VersionId`].
    pub version_id: VersionId,
    /// The key epoch it is encrypted under.
    pub epoch: u32,
    /// AES-256-GCM ciphertext with tag.
    #[serde(with = "serde_bytes")]
    pub ciphertext: Vec<u8>,
    /// Whether the client sent the value as base64 (it is answered in the same encoding).
    pub binary: bool,
}

/// One immutable version of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// 1, 2, 3 … per name, never used twice.
    pub number: u64,
    /// `{name}-{YYYYMMDD}-{HHMMSS}`, with a suffix when two fall into one second (A10).
    pub kid: String,
    /// The encrypted value.
    pub value: SealedValue,
    /// Agreed time of the entry that made it.
    pub created: Millis,
    /// When it counts as expired (R1).
    pub expires: Millis,
    /// Who wrote it.
    pub created_by: ClientId,
    /// The log index of its entry.
    pub index: u64,
}

/// A secret without its values; those are records of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// The highest version number ever given to this name.
    pub last_version: u64,
    /// Numbers of the versions that still exist, ascending. Empty: destroyed, only the number is remembered.
    pub versions: Vec<u64>,
    /// When the first version was written.
    pub created: Millis,
    /// Set while deleted: when, and until when it can be undeleted.
    pub deleted: Option<Deleted>,
    /// The second (agreed time / 1000) of the latest kid and how many kids fell into it.
    pub kid_second: (u64, u32),
    /// Free text about the secret.
    pub about: About,
}

/// When a secret was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// When.
    pub at: Millis,
    /// Until when undelete works; afterwards every version is destroyed.
    pub until: Millis,
}

/// What people wrote about a secret (R1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// What it is for.
    pub description: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// What kind of thing it is (`password`, `api_key`, …).
    pub kind: Option<String>,
}

impl About {
    /// Bytes of text.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        [&self.description, &self.owner, &self.kind]
            .into_iter()
            .flatten()
            .map(|text| text.len() as u64)
            .sum()
    }
}

impl Secret {
    /// What remembering a name counts against the vault's quota, bytes: from its first write on, and also once everything
    /// under it is destroyed.
    #[must_use]
    pub fn name_cost(name: &SecretName) -> u64 {
        name.as_str().len() as u64 + NAME_OVERHEAD_BYTES
    }

    /// What this record counts against the vault's quota, bytes; its versions count by themselves.
    #[must_use]
    pub fn cost(&self, name: &SecretName) -> u64 {
        Self::name_cost(name) + self.about.bytes()
    }

    /// The number of the current version, if the secret can be read.
    #[must_use]
    pub fn current(&self) -> Option<u64> {
        if self.deleted.is_some() {
            None
        } else {
            self.versions.last().copied()
        }
    }

    /// Whether the name counts as free for a write that must create (`cas` 0).
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.current().is_none()
    }
}
