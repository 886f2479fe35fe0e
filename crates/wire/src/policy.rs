//! The policy over HTTP: read, apply, explain (P2, P3).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Answer to `GET /policy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyDocument {
    /// +1 per applied change.
    pub version: u64,
    /// The YAML text as it was applied, comments included.
    pub policy: String,
}

/// Body of `PUT /policy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyPolicy {
    /// The whole new policy as YAML text.
    pub policy: String,
    /// The version that it replaces; `conflict` if another one is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cas: Option<u64>,
    /// `true` checks, `cas` included, and changes nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// `true` accepts a policy in which no client may administer: nobody could change it again.
    #[serde(default)]
    pub allow_no_administrator: bool,
}

/// Answer to `PUT /policy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyApplied {
    /// The version in force afterwards.
    pub version: u64,
    /// Whether anything changed, or would have with `dry_run`.
    pub changed: bool,
}

/// What a client may do with a name (P3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Read a value.
    Read,
    /// Write a version.
    Write,
    /// Rotate.
    Rotate,
    /// See the name in a list.
    List,
    /// Delete, undelete, destroy.
    Delete,
    /// Administer the cluster.
    Admin,
}

impl Verb {
    /// The verb as it stands in JSON and YAML.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Rotate => "rotate",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Admin => "admin",
        }
    }
}

/// Body of `POST /policy/explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainPolicy {
    /// The client asked about.
    pub client: String,
    /// The secret's name asked about.
    pub name: String,
    /// The verb asked about.
    pub verb: Verb,
}

/// Answer to `POST /policy/explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyExplanation {
    /// The decision.
    pub allowed: bool,
    /// The rule that decides, in words.
    pub rule: String,
    /// The policy that it belongs to.
    pub policy_version: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p3_the_six_verbs_have_the_same_name_in_json_and_in_text() {
        for verb in [
            Verb::Read,
            Verb::Write,
            Verb::Rotate,
            Verb::List,
            Verb::Delete,
            Verb::Admin,
        ] {
            assert_eq!(serde_json::to_value(verb).unwrap(), verb.as_str());
        }
    }

    #[test]
    fn p2_a_change_is_not_a_dry_run_unless_it_says_so() {
        let apply: ApplyPolicy =
            serde_json::from_str(r#"{"policy":"default_deny: true"}"#).unwrap();
        assert!(!apply.dry_run && !apply.allow_no_administrator);
    }
}
