//! The seal over HTTP: status, seal, unseal, slots, key epochs (X2, X3).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::text::SecretText;

/// Answer to `GET /sys/seal`, and to sealing and unsealing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SealStatus {
    /// Whether this node has no keys.
    pub sealed: bool,
    /// The ways to unseal; only for callers with the admin verb.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<Vec<SealSlot>>,
}

/// One way to unseal (X3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SealSlot {
    /// Its number.
    pub slot: String,
    /// What opens it: `key_file`, `passphrase`, ….
    pub kind: String,
    /// The node that it belongs to; missing for a slot of the whole cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<u64>,
}

/// Body of `POST /sys/unseal`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Unseal {
    /// The passphrase of any passphrase slot.
    #[schema(value_type = String)]
    pub passphrase: SecretText,
}

/// Body of `POST /sys/slots`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddSlot {
    /// `passphrase`.
    pub kind: String,
    /// The new passphrase.
    #[schema(value_type = String)]
    pub passphrase: SecretText,
}

/// Answer to `POST /sys/slots`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SlotAdded {
    /// The new slot's number.
    pub slot: String,
}

/// Answer to `DELETE /sys/slots/{slot}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SlotRemoved {
    /// The slot's number.
    pub slot: String,
    /// Always true.
    pub removed: bool,
}

/// Answer to `POST /sys/epochs/rotate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EpochRotated {
    /// The epoch that new versions are encrypted under.
    pub epoch: u64,
    /// How many versions are still under older epochs. They stay readable; the same request, repeated until this is 0,
    /// re-encrypts them.
    pub left: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x3_without_the_admin_verb_the_slots_are_not_mentioned() {
        let status = SealStatus {
            sealed: true,
            slots: None,
        };
        assert_eq!(
            serde_json::to_string(&status).unwrap(),
            r#"{"sealed":true}"#
        );
    }

    #[test]
    fn rule_12_a_passphrase_is_not_in_debug() {
        let unseal = Unseal {
            passphrase: SecretText::new("example-not-a-secret"),
        };
        assert!(!format!("{unseal:?}").contains("example"));
    }
}
