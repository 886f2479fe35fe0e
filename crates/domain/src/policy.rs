//! Policy: who may do what to which names (P1–P4). Replicated; decided in apply only.
//!
//! Deny wins over allow; a client that is not named is denied; a name no rule allows is denied.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::name::{ClientId, NameError};

/// Most clients in one policy, most rules of one client: one policy stays well below a megabyte.
pub const MAX_CLIENTS: usize = 4_096;
/// Most rules in one list of a client.
pub const MAX_RULES: usize = 1_024;
/// Longest pattern in bytes.
pub const MAX_GLOB_BYTES: usize = 512;
/// Longest staleness a rule may allow: one day, ms.
pub const MAX_STALE_MS: u64 = 86_400_000;

/// What a client wants to do (P3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Get a value and its versions' metadata.
    Read,
    /// Create a secret or add a version.
    Write,
    /// Rotate.
    Rotate,
    /// See the name in lists without being able to read it.
    List,
    /// Delete, undelete, destroy.
    Delete,
    /// Administer the cluster: policy, tokens, membership, seals, the trail.
    Admin,
}

impl Verb {
    /// Every verb, in the order of P3.
    pub const ALL: [Self; 6] = [
        Self::Read,
        Self::Write,
        Self::Rotate,
        Self::List,
        Self::Delete,
        Self::Admin,
    ];

    /// The verb's name in policies and in the trail.
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

    /// The verb of that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.as_str() == text)
    }
}

/// A set of verbs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerbSet(u8);

impl VerbSet {
    /// Every verb.
    pub const ALL: Self = Self(0b11_1111);
    /// Read only: what a plain allow rule grants (P3).
    pub const READ: Self = Self(1);

    /// Whether the verb is in the set.
    #[must_use]
    pub const fn contains(self, verb: Verb) -> bool {
        self.0 & (1 << verb as u8) != 0
    }
}

impl FromIterator<Verb> for VerbSet {
    fn from_iter<I: IntoIterator<Item = Verb>>(verbs: I) -> Self {
        Self(
            verbs
                .into_iter()
                .fold(0, |bits, verb| bits | 1 << verb as u8),
        )
    }
}

/// Why a policy was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A pattern is empty or too long.
    #[error("a pattern has 1 to {MAX_GLOB_BYTES} bytes")]
    GlobLength,
    /// A pattern holds a character that no name can hold.
    #[error("a pattern may hold only letters, digits, '_', '.', '-', '/', '*' and '?'")]
    GlobCharacter,
    /// A client id is not one.
    #[error("client id: {0}")]
    Client(NameError),
    /// Too many clients or rules.
    #[error("a policy has at most {MAX_CLIENTS} clients and {MAX_RULES} rules in a list")]
    TooLarge,
    /// A rule names no verb.
    #[error("a rule must name at least one verb")]
    NoVerbs,
    /// A staleness bound is too long.
    #[error("stale_max_ms is at most {MAX_STALE_MS}")]
    StaleTooLong,
}

/// A pattern over names: `*` matches any run of characters (also `/`), `?` exactly one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Glob(String);

impl Glob {
    /// Parses a pattern.
    ///
    /// # Errors
    /// [`PolicyError`] for a bad length or character.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        if text.is_empty() || text.len() > MAX_GLOB_BYTES {
            return Err(PolicyError::GlobLength);
        }
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-/*?".contains(&byte);
        if !text.bytes().all(legal) {
            return Err(PolicyError::GlobCharacter);
        }
        Ok(Self(text.to_owned()))
    }

    /// The pattern as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole name matches. Linear in name × pattern at worst (no recursion).
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut at_pattern, mut at_name) = (0, 0);
        let mut last_star: Option<(usize, usize)> = None;
        while at_name < name.len() {
            match pattern.get(at_pattern) {
                Some(b'*') => {
                    last_star = Some((at_pattern, at_name));
                    at_pattern += 1;
                }
                Some(&byte) if byte == b'?' || byte == name[at_name] => {
                    at_pattern += 1;
                    at_name += 1;
                }
                _ => match &mut last_star {
                    Some((star, resume)) => {
                        *resume += 1;
                        at_pattern = *star + 1;
                        at_name = *resume;
                    }
                    None => return false,
                },
            }
        }
        pattern[at_pattern..].iter().all(|&byte| byte == b'*')
    }
}

impl TryFrom<String> for Glob {
    type Error = PolicyError;
    fn try_from(text: String) -> Result<Self, PolicyError> {
        Self::parse(&text)
    }
}

impl From<Glob> for String {
    fn from(glob: Glob) -> Self {
        glob.0
    }
}

/// One line of a client's allow or deny list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Which names.
    pub name: Glob,
    /// Which verbs.
    pub verbs: VerbSet,
    /// How old a stale read under this rule may be, ms; 0 forbids stale reads (C5, P4). Meaningless in a deny list.
    pub stale_max_ms: u64,
}

/// What one client may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRules {
    /// What is allowed.
    pub allow: Vec<Rule>,
    /// What is denied nevertheless; deny wins.
    pub deny: Vec<Rule>,
}

/// The whole policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Kept for the old grammar; the product always denies what nothing allows, so `false` is refused when read from a file.
    pub default_deny: bool,
    /// Rules per client id.
    pub clients: BTreeMap<String, ClientRules>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            default_deny: true,
            clients: BTreeMap::new(),
        }
    }
}

/// What a policy says to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Allowed by this rule.
    Allow {
        /// The pattern that allowed it.
        rule: String,
        /// How old a stale read may be, ms.
        stale_max_ms: u64,
    },
    /// Denied; why.
    Deny(DenyReason),
}

/// Why a request is denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DenyReason {
    /// The policy does not name the client.
    UnknownClient,
    /// A deny rule with this pattern.
    Rule(String),
    /// No allow rule matches.
    NoRule,
}

impl DenyReason {
    /// The reason as it stands in the trail.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::UnknownClient => "unknown_client",
            Self::Rule(_) => "deny_rule",
            Self::NoRule => "no_rule",
        }
    }
}

impl Decision {
    /// Whether the request may go on.
    #[must_use]
    pub const fn is_allow(&self) -> bool {
        matches!(self, Self::Allow { .. })
    }
}

impl Policy {
    /// Checks sizes and ids; apply refuses a policy that fails.
    ///
    /// # Errors
    /// [`PolicyError`] for the first thing wrong.
    pub fn validate(&self) -> Result<(), PolicyError> {
        if self.clients.len() > MAX_CLIENTS {
            return Err(PolicyError::TooLarge);
        }
        for (client, rules) in &self.clients {
            ClientId::parse(client).map_err(PolicyError::Client)?;
            if rules.allow.len() > MAX_RULES || rules.deny.len() > MAX_RULES {
                return Err(PolicyError::TooLarge);
            }
            for rule in rules.allow.iter().chain(&rules.deny) {
                if rule.verbs == VerbSet::default() {
                    return Err(PolicyError::NoVerbs);
                }
                if rule.stale_max_ms > MAX_STALE_MS {
                    return Err(PolicyError::StaleTooLong);
                }
            }
        }
        Ok(())
    }

    /// Decides one request about one name.
    #[must_use]
    pub fn decide(&self, client: &ClientId, verb: Verb, name: &str) -> Decision {
        match self.judge(client, verb, name) {
            Ok(rule) => Decision::Allow {
                rule: rule.name.as_str().to_owned(),
                stale_max_ms: rule.stale_max_ms,
            },
            Err(reason) => Decision::Deny(reason),
        }
    }

    /// As [`Self::decide`], for who does not ask by which rule: nothing is copied.
    ///
    /// # Errors
    /// Why the request is denied.
    pub fn permit(&self, client: &ClientId, verb: Verb, name: &str) -> Result<(), DenyReason> {
        self.judge(client, verb, name).map(|_| ())
    }

    /// The rule that allows it; among several the one that is most generous with stale reads.
    fn judge(&self, client: &ClientId, verb: Verb, name: &str) -> Result<&Rule, DenyReason> {
        let rules = self
            .clients
            .get(client.as_str())
            .ok_or(DenyReason::UnknownClient)?;
        let matching = |rule: &&Rule| rule.verbs.contains(verb) && rule.name.matches(name);
        if let Some(rule) = rules.deny.iter().find(matching) {
            return Err(DenyReason::Rule(rule.name.as_str().to_owned()));
        }
        rules
            .allow
            .iter()
            .filter(matching)
            .max_by_key(|rule| rule.stale_max_ms)
            .ok_or(DenyReason::NoRule)
    }

    /// Decides a request about the cluster itself: it needs [`Verb::Admin`] on a rule whose pattern is `*`, and no deny
    /// rule for it.
    #[must_use]
    pub fn decide_admin(&self, client: &ClientId) -> Decision {
        let Some(rules) = self.clients.get(client.as_str()) else {
            return Decision::Deny(DenyReason::UnknownClient);
        };
        let matching = |rule: &&Rule| rule.verbs.contains(Verb::Admin) && rule.name.as_str() == "*";
        if let Some(rule) = rules.deny.iter().find(matching) {
            return Decision::Deny(DenyReason::Rule(rule.name.as_str().to_owned()));
        }
        match rules.allow.iter().find(matching) {
            Some(_) => Decision::Allow {
                rule: "*".to_owned(),
                stale_max_ms: 0,
            },
            None => Decision::Deny(DenyReason::NoRule),
        }
    }

    /// Whether any client may administer. Without one nobody can replace the policy, or make a credential, ever again.
    #[must_use]
    pub fn has_administrator(&self) -> bool {
        self.clients.keys().any(|client| {
            ClientId::parse(client).is_ok_and(|client| self.decide_admin(&client).is_allow())
        })
    }

    /// Whether the name may stand in a list for this client: it may read or list it (A4).
    #[must_use]
    pub fn may_see(&self, client: &ClientId, name: &str) -> bool {
        self.permit(client, Verb::Read, name).is_ok()
            || self.permit(client, Verb::List, name).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, verbs: VerbSet) -> Rule {
        Rule {
            name: Glob::parse(name).unwrap(),
            verbs,
            stale_max_ms: 0,
        }
    }

    fn policy() -> Policy {
        let mut policy = Policy::default();
        let admin = ClientRules {
            allow: vec![rule("*", VerbSet::ALL)],
            deny: vec![],
        };
        let backend = ClientRules {
            allow: vec![rule("db/*", VerbSet::READ), rule("jwt_key", VerbSet::READ)],
            deny: vec![rule("db/root*", VerbSet::ALL)],
        };
        policy.clients.insert("admin".into(), admin);
        policy.clients.insert("backend".into(), backend);
        policy
    }

    #[test]
    fn globs_match_whole_names() {
        for (glob, name, expected) in [
            ("*", "a/b", true),
            ("db/*", "db/a/b", true),
            ("db/*", "db", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*key*", "my_key_1", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbY", false),
            ("abc", "abcd", false),
        ] {
            assert_eq!(
                Glob::parse(glob).unwrap().matches(name),
                expected,
                "{glob} {name}"
            );
        }
    }

    #[test]
    fn p1_deny_wins_and_unknown_clients_are_denied() {
        let policy = policy();
        let (backend, stranger) = (
            ClientId::parse("backend").unwrap(),
            ClientId::parse("x").unwrap(),
        );
        assert!(policy.decide(&backend, Verb::Read, "db/main").is_allow());
        assert_eq!(
            policy.decide(&backend, Verb::Read, "db/root"),
            Decision::Deny(DenyReason::Rule("db/root*".into()))
        );
        assert_eq!(
            policy.decide(&backend, Verb::Write, "db/main"),
            Decision::Deny(DenyReason::NoRule)
        );
        assert_eq!(
            policy.decide(&stranger, Verb::Read, "a"),
            Decision::Deny(DenyReason::UnknownClient)
        );
    }

    #[test]
    fn p3_a_policy_has_an_administrator_or_none() {
        let mut policy = policy();
        assert!(policy.has_administrator());
        let admin = policy.clients.get_mut("admin").unwrap();
        admin.deny = vec![rule("*", VerbSet::from_iter([Verb::Admin]))];
        assert!(!policy.has_administrator(), "deny wins");
        policy.clients.remove("admin");
        assert!(!policy.has_administrator());
        let named = ClientRules {
            allow: vec![rule("*", VerbSet::from_iter([Verb::Admin]))],
            deny: vec![],
        };
        policy.clients.insert("people".into(), named);
        assert!(policy.has_administrator());
        assert!(!Policy::default().has_administrator());
    }

    #[test]
    fn only_all_names_with_all_verbs_administer() {
        let policy = policy();
        assert!(
            policy
                .decide_admin(&ClientId::parse("admin").unwrap())
                .is_allow()
        );
        assert!(
            !policy
                .decide_admin(&ClientId::parse("backend").unwrap())
                .is_allow()
        );
    }
}
