//! Secrets and their versions: A2–A4, A9, A10, A14, A15.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::text::SecretText;

/// Most writes in one batch: they become one log entry, all or none (A15).
pub const MAX_BATCH_WRITES: usize = 64;

/// How a value's bytes travel as JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// The value is the text itself.
    Utf8,
    /// The text is standard base64, with padding, of the value's bytes.
    Base64,
}

/// Body of `POST /secret`, and one element of a batch (A2).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WriteSecret {
    /// 1–512 bytes: segments of `[A-Za-z0-9_.-]` joined by `/` (A14).
    pub name: String,
    /// The value; empty is legal. At most `[limits] max_value_bytes` after decoding.
    #[schema(value_type = String)]
    pub value: SecretText,
    /// How `value` is written; `utf8` if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// The version that the name must have now; 0 = it must not exist yet (A9).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cas: Option<u64>,
    /// What the secret is for; kept as it is when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who to ask about it; kept as it is when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What kind of thing it is; kept as it is when missing.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub secret_type: Option<String>,
}

impl WriteSecret {
    /// A write of text with nothing else said.
    #[must_use]
    pub fn new(name: impl Into<String>, value: SecretText) -> Self {
        Self {
            name: name.into(),
            value,
            encoding: None,
            cas: None,
            description: None,
            owner: None,
            secret_type: None,
        }
    }
}

/// Answer to a write (A2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WrittenSecret {
    /// The name written.
    pub name: String,
    /// Key id of the new version: `{name}-{YYYYMMDD}-{HHMMSS}`, with a suffix within one second (A10).
    pub kid: String,
    /// The new version's number: +1 per write of the name.
    pub version: u64,
    /// When rotation is due, RFC 3339.
    pub expires_at: String,
    /// The log entry, `<term>-<node>-<index>`.
    pub log_id: String,
    /// Sequence number of the write's audit event.
    pub audit_seq: u64,
}

/// What a read promises (C5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// The default: sees every write acknowledged before the read started.
    Linearizable,
    /// May be older; only where the policy allows it and while there is no quorum.
    Stale,
}

/// Query of `GET /secret/{name}`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ReadQuery {
    /// A version's number; the current one if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// `linearizable` if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consistency: Option<Consistency>,
    /// Oldest age in milliseconds that a stale read accepts; refused without `consistency=stale`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_ms: Option<u64>,
}

/// Answer to `GET /secret/{name}` (A3).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SecretValue {
    /// The name read.
    pub name: String,
    /// The value, written as `encoding` says.
    #[schema(value_type = String)]
    pub value: SecretText,
    /// `base64` when the value is not UTF-8; otherwise missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// Key id of the version.
    pub kid: String,
    /// The version's number.
    pub version: u64,
    /// When the version was written, RFC 3339.
    pub created_at: String,
    /// When rotation is due, RFC 3339.
    pub expires_at: String,
    /// Present only when the answer came without a quorum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale: Option<Staleness>,
}

/// How old a stale answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Staleness {
    /// Upper bound of the answer's age in milliseconds.
    pub age_ms: u64,
}

/// Query of `GET /secrets` (A4).
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// Only names that begin with this text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Most names in one answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Only names after this one: the `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// `true` includes deleted names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<bool>,
}

/// Answer to `GET /secrets`: never a value (A4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretList {
    /// The names that the caller may read, in byte order.
    pub secrets: Vec<SecretSummary>,
    /// What to give as `after` for the next page; null on the last one.
    #[serde(default)]
    pub next: Option<String>,
}

/// One line of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretSummary {
    /// The name.
    pub name: String,
    /// Key id of the current version.
    pub kid: String,
    /// Number of the current version.
    pub version: u64,
    /// When the current version was written, RFC 3339.
    pub created_at: String,
    /// When rotation is due, RFC 3339.
    pub expires_at: String,
    /// Whether `expires_at` has passed.
    pub is_expired: bool,
    /// When the name was deleted; missing for a live one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<String>,
    /// Until when `undelete` works; missing for a live name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undelete_until: Option<String>,
    /// What the secret is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who to ask about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What kind of thing it is.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub secret_type: Option<String>,
}

/// Answer to `GET /secret/{name}/versions` (A9).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VersionList {
    /// The name.
    pub name: String,
    /// The versions kept, newest first.
    pub versions: Vec<VersionSummary>,
    /// When the name was deleted; missing for a live one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<String>,
    /// Until when `undelete` works; missing for a live name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undelete_until: Option<String>,
}

/// One version of a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VersionSummary {
    /// Its number.
    pub version: u64,
    /// Its key id.
    pub kid: String,
    /// When it was written, RFC 3339.
    pub created_at: String,
    /// When rotation is due, RFC 3339.
    pub expires_at: String,
    /// What it is now.
    pub state: VersionState,
}

/// What a version is now. One that was destroyed is not there, as if it never had been.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum VersionState {
    /// The one that a plain read returns.
    Current,
    /// Replaced, still readable by its number.
    Previous,
}

/// Query of `DELETE /secret/{name}`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct DeleteQuery {
    /// The version that the name must have now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cas: Option<u64>,
}

/// Answer to `DELETE /secret/{name}` (A9).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeletedSecret {
    /// The name deleted.
    pub name: String,
    /// When, RFC 3339.
    pub deleted_at: String,
    /// Until when `undelete` works; afterwards every version is destroyed.
    pub undelete_until: String,
    /// The log entry, `<term>-<node>-<index>`.
    pub log_id: String,
    /// Sequence number of the audit event.
    pub audit_seq: u64,
}

/// Answer to `POST /secret/{name}/undelete` (A9).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UndeletedSecret {
    /// The name that lives again.
    pub name: String,
    /// Its current version.
    pub version: u64,
    /// The log entry, `<term>-<node>-<index>`.
    pub log_id: String,
    /// Sequence number of the audit event.
    pub audit_seq: u64,
}

/// Body of `POST /secret/{name}/destroy` (A9).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DestroySecret {
    /// The versions to destroy, at least one; all of them, and the name, if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versions: Option<Vec<u64>>,
}

/// Answer to `POST /secret/{name}/destroy` (A9).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DestroyedSecret {
    /// The name.
    pub name: String,
    /// The versions whose values are gone.
    pub destroyed: Vec<u64>,
    /// The log entry, `<term>-<node>-<index>`.
    pub log_id: String,
    /// Sequence number of the audit event.
    pub audit_seq: u64,
}

/// Body of `POST /secrets/batch` (A15).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchWrite {
    /// 1–64 writes ([`MAX_BATCH_WRITES`]), applied in one log entry: all or none.
    pub writes: Vec<WriteSecret>,
}

/// Answer to `POST /secrets/batch`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BatchWritten {
    /// One result per write, in the order of the request.
    pub results: Vec<WrittenSecret>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a2_a_write_needs_only_name_and_value_and_refuses_what_it_does_not_know() {
        let write: WriteSecret =
            serde_json::from_str(r#"{"name":"db/password","value":""}"#).unwrap();
        assert!(write.value.is_empty());
        assert_eq!(write.cas, None);
        let misspelt = r#"{"name":"a","value":"b","cass":1}"#;
        assert!(serde_json::from_str::<WriteSecret>(misspelt).is_err());
    }

    #[test]
    fn a2_optional_fields_stay_off_the_wire() {
        let mut write = WriteSecret::new("a", SecretText::new("b"));
        assert_eq!(
            serde_json::to_string(&write).unwrap(),
            r#"{"name":"a","value":"b"}"#
        );
        write.secret_type = Some("api_key".into());
        write.encoding = Some(Encoding::Base64);
        assert_eq!(
            serde_json::to_string(&write).unwrap(),
            r#"{"name":"a","value":"b","encoding":"base64","type":"api_key"}"#
        );
    }

    #[test]
    fn rule_12_debug_of_a_write_and_of_a_read_hides_the_value() {
        let write = WriteSecret::new("a", SecretText::new("example-not-a-secret"));
        assert!(!format!("{write:?}").contains("example"));
        let read: SecretValue = serde_json::from_str(
            r#"{"name":"a","value":"example-not-a-secret","kid":"k","version":1,"created_at":"t","expires_at":"t"}"#,
        )
        .unwrap();
        assert!(!format!("{read:?}").contains("example"));
        assert_eq!(read.stale, None);
    }
}
