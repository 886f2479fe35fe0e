//! `policy.yaml`: the text form of a policy (P1, P3, P4).
//!
//! The grammar of the old daemon (lists of names and patterns) means what it meant; a rule with
//! verbs is an object. Errors name the client and the rule, since the writer of a policy thinks in
//! those.
//!
//! ```yaml
//! default_deny: true
//! clients:
//!   backend:
//!     allow: [database_url, { name: "db/*", verbs: [read, rotate], stale_max_ms: 5000 }]
//!     deny: [db/root_password]
//! ```

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use jarvis_domain::policy::{ClientRules, Glob, Policy, PolicyError, Rule, Verb, VerbSet};

/// Longest policy text in bytes: its limits of clients and rules are far below that in practice,
/// and it travels in one log entry, whose frame has at most 1 MiB (rule 10).
pub const MAX_POLICY_BYTES: usize = 512 * 1024;

/// Why a policy text was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyFileError {
    /// Too long.
    #[error("a policy has at most {limit} bytes, this one has {found}")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
        /// The length found.
        found: usize,
    },
    /// Not YAML, or a key twice; the message holds line and column.
    #[error("the policy is not valid YAML (quote a name that begins with '*'): {message}")]
    Syntax {
        /// The parser's message.
        message: String,
    },
    /// Something that is not a table of `default_deny` and `clients`.
    #[error("{place}: {problem}")]
    Shape {
        /// Where: the policy, a client.
        place: String,
        /// What is wrong, and what is expected.
        problem: String,
    },
    /// A rule is wrong.
    #[error("client {client}, {list} rule {number}{}: {problem}", shown(.rule))]
    Rule {
        /// The client's id.
        client: String,
        /// `allow` or `deny`.
        list: ListKind,
        /// Its place in the list, from 1.
        number: usize,
        /// Its pattern, if it has one.
        rule: Option<String>,
        /// What is wrong, and what is expected.
        problem: String,
    },
    /// The policy as a whole breaks a rule of the domain.
    #[error("the policy is refused: {0}")]
    Policy(#[from] PolicyError),
}

fn shown(rule: &Option<String>) -> String {
    rule.as_ref()
        .map(|rule| format!(" ({rule:?})"))
        .unwrap_or_default()
}

/// Which list of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListKind {
    /// What is allowed.
    Allow,
    /// What is denied nevertheless.
    Deny,
}

impl fmt::Display for ListKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

/// Reads a policy.
///
/// # Errors
/// [`PolicyFileError`] names the client and the rule.
pub fn parse(yaml: &str) -> Result<Policy, PolicyFileError> {
    if yaml.len() > MAX_POLICY_BYTES {
        return Err(PolicyFileError::TooLong {
            limit: MAX_POLICY_BYTES,
            found: yaml.len(),
        });
    }
    let document: Value =
        serde_saphyr::from_str(yaml).map_err(|error| PolicyFileError::Syntax {
            message: error.to_string(),
        })?;
    let policy = policy(&document)?;
    policy.validate()?;
    Ok(policy)
}

fn policy(document: &Value) -> Result<Policy, PolicyFileError> {
    const PLACE: &str = "policy";
    let Value::Object(members) = document else {
        return Err(shape(PLACE, "expected `default_deny: true` and `clients:`"));
    };
    only_members(PLACE, members, &["default_deny", "clients"])?;
    match members.get("default_deny") {
        None | Some(Value::Bool(true)) => {}
        Some(_) => {
            let problem = "default_deny must be true: what no rule allows is always denied; allow a \
                           client everything with allow: [\"*\"]";
            return Err(shape(PLACE, problem));
        }
    }
    let mut clients = BTreeMap::new();
    match members.get("clients") {
        Some(Value::Object(entries)) => {
            for (client, rules) in entries {
                clients.insert(client.clone(), client_rules(client, rules)?);
            }
        }
        None | Some(Value::Null) => {}
        Some(_) => return Err(shape(PLACE, "clients must map client ids to their rules")),
    }
    Ok(Policy {
        default_deny: true,
        clients,
    })
}

fn client_rules(client: &str, rules: &Value) -> Result<ClientRules, PolicyFileError> {
    let place = format!("client {client}");
    let members = match rules {
        Value::Object(members) => members,
        Value::Null => return Ok(ClientRules::default()),
        _ => return Err(shape(&place, "expected `allow:` and `deny:` lists")),
    };
    only_members(&place, members, &["allow", "deny"])?;
    Ok(ClientRules {
        allow: rule_list(client, ListKind::Allow, members.get("allow"))?,
        deny: rule_list(client, ListKind::Deny, members.get("deny"))?,
    })
}

fn rule_list(
    client: &str,
    list: ListKind,
    rules: Option<&Value>,
) -> Result<Vec<Rule>, PolicyFileError> {
    let rules = match rules {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(rules)) => rules,
        Some(_) => {
            let problem =
                format!("{list} must be a list, such as {list}: [database_url, \"db/*\"]");
            return Err(shape(&format!("client {client}"), &problem));
        }
    };
    let numbered = (1..).zip(rules);
    numbered
        .map(|(number, value)| {
            rule(list, value).map_err(|RuleProblem { rule, problem }| PolicyFileError::Rule {
                client: client.to_owned(),
                list,
                number,
                rule,
                problem,
            })
        })
        .collect()
}

/// What is wrong with one rule; its client and number are added by the caller.
struct RuleProblem {
    rule: Option<String>,
    problem: String,
}

fn rule(list: ListKind, value: &Value) -> Result<Rule, RuleProblem> {
    let nameless = |problem: &str| RuleProblem {
        rule: None,
        problem: problem.to_owned(),
    };
    match value {
        Value::String(name) => plain_rule(list, name),
        Value::Object(members) => match members.get("name") {
            Some(Value::String(name)) => qualified_rule(list, name, members),
            Some(_) => Err(nameless(
                "its name must be text; quote a number or a word like true",
            )),
            None => Err(nameless(
                "it needs a name: { name: \"db/*\", verbs: [read, rotate] }",
            )),
        },
        _ => Err(nameless(
            "expected a name, a pattern, or { name: …, verbs: […] }; quote a number or a word like true",
        )),
    }
}

/// A name or pattern alone: read where it allows, everything where it denies; an allowed `*` is
/// everything (P3).
fn plain_rule(list: ListKind, name: &str) -> Result<Rule, RuleProblem> {
    let verbs = match list {
        ListKind::Allow if name == "*" => VerbSet::ALL,
        ListKind::Allow => VerbSet::READ,
        ListKind::Deny => VerbSet::ALL,
    };
    Ok(Rule {
        name: glob(name)?,
        verbs,
        stale_max_ms: 0,
    })
}

fn qualified_rule(
    list: ListKind,
    name: &str,
    members: &Map<String, Value>,
) -> Result<Rule, RuleProblem> {
    let wrong = |problem: String| RuleProblem {
        rule: Some(name.to_owned()),
        problem,
    };
    if let Some(unknown) = unknown_member(members, &["name", "verbs", "stale_max_ms"]) {
        return Err(wrong(format!(
            "unknown key `{unknown}`; a rule has name, verbs, stale_max_ms"
        )));
    }
    let verbs = match members.get("verbs") {
        Some(verbs) => verb_set(verbs).map_err(wrong)?,
        None if list == ListKind::Deny => VerbSet::ALL,
        None => VerbSet::READ,
    };
    // Whoever writes it expects something of it, and no request ever asks for it.
    if name != "*" && verbs.contains(Verb::Admin) && members.contains_key("verbs") {
        let problem = "the verb admin is about the cluster and not about names; it has a meaning only in a rule for \
                       the name \"*\"";
        return Err(wrong(problem.to_owned()));
    }
    let stale_max_ms = match members.get("stale_max_ms") {
        None => 0,
        Some(bound) => bound.as_u64().ok_or_else(|| {
            wrong("stale_max_ms must be a whole number of milliseconds, such as 5000".to_owned())
        })?,
    };
    if stale_max_ms > 0 && (list == ListKind::Deny || !verbs.contains(Verb::Read)) {
        let problem = "stale_max_ms has a meaning only in an allow rule with the verb read";
        return Err(wrong(problem.to_owned()));
    }
    Ok(Rule {
        name: glob(name)?,
        verbs,
        stale_max_ms,
    })
}

fn verb_set(value: &Value) -> Result<VerbSet, String> {
    let known = Verb::ALL.map(Verb::as_str).join(", ");
    let Value::Array(names) = value else {
        return Err(format!("verbs must be a list of: {known}"));
    };
    if names.is_empty() {
        return Err(format!("verbs must not be empty; the verbs are: {known}"));
    }
    names
        .iter()
        .map(|name| match name.as_str().and_then(Verb::parse) {
            Some(verb) => Ok(verb),
            None => Err(format!("there is no verb {name}; the verbs are: {known}")),
        })
        .collect()
}

fn glob(name: &str) -> Result<Glob, RuleProblem> {
    Glob::parse(name).map_err(|error| RuleProblem {
        rule: Some(name.to_owned()),
        problem: error.to_string(),
    })
}

fn only_members(
    place: &str,
    members: &Map<String, Value>,
    known: &[&str],
) -> Result<(), PolicyFileError> {
    match unknown_member(members, known) {
        None => Ok(()),
        Some(unknown) => Err(shape(
            place,
            &format!(
                "unknown key `{unknown}`; the keys are: {}",
                known.join(", ")
            ),
        )),
    }
}

fn unknown_member<'a>(members: &'a Map<String, Value>, known: &[&str]) -> Option<&'a str> {
    members
        .keys()
        .map(String::as_str)
        .find(|name| !known.contains(name))
}

fn shape(place: &str, problem: &str) -> PolicyFileError {
    PolicyFileError::Shape {
        place: place.to_owned(),
        problem: problem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use jarvis_domain::name::ClientId;

    use super::*;

    fn allows(policy: &Policy, client: &str, verb: Verb, name: &str) -> bool {
        policy
            .decide(&ClientId::parse(client).unwrap(), verb, name)
            .is_allow()
    }

    fn error(yaml: &str) -> String {
        match parse(yaml) {
            Ok(policy) => panic!("accepted as {policy:?}:\n{yaml}"),
            Err(error) => error.to_string(),
        }
    }

    fn with_allow(rule: &str) -> String {
        format!("clients:\n  backend:\n    allow: [first, {rule}]\n")
    }

    #[test]
    fn p1_the_old_grammar_means_what_it_meant() {
        let policy = parse(
            "default_deny: true\nclients:\n  admin:\n    allow: [\"*\"]\n  backend:\n    allow:\n      \
             - database_url\n      - api_*\n    deny:\n      - api_billing\n  idle:\n",
        )
        .unwrap();
        assert!(allows(&policy, "backend", Verb::Read, "database_url"));
        assert!(allows(&policy, "backend", Verb::Read, "api_key"));
        assert!(!allows(&policy, "backend", Verb::Read, "api_billing"));
        assert!(!allows(&policy, "backend", Verb::Write, "database_url"));
        assert!(!allows(&policy, "idle", Verb::Read, "database_url"));
        assert!(!allows(&policy, "stranger", Verb::Read, "database_url"));
        for verb in Verb::ALL {
            assert!(allows(&policy, "admin", verb, "anything/at/all"));
        }
    }

    #[test]
    fn p3_a_rule_with_verbs_allows_exactly_those() {
        let policy = parse(&with_allow("{ name: \"db/*\", verbs: [read, rotate] }")).unwrap();
        assert!(allows(&policy, "backend", Verb::Rotate, "db/main"));
        assert!(!allows(&policy, "backend", Verb::Delete, "db/main"));
    }

    #[test]
    fn p3_a_star_with_verbs_is_not_everything() {
        let policy = parse(&with_allow("{ name: \"*\" }")).unwrap();
        assert!(allows(&policy, "backend", Verb::Read, "a"));
        assert!(!allows(&policy, "backend", Verb::Write, "a"));
    }

    #[test]
    fn p3_a_plain_deny_denies_every_verb_and_a_qualified_one_only_its_own() {
        let yaml = "clients:\n  c:\n    allow: [\"*\"]\n    deny: [a, { name: b, verbs: [delete] }, { name: c }]\n";
        let policy = parse(yaml).unwrap();
        assert!(!allows(&policy, "c", Verb::List, "a"));
        assert!(!allows(&policy, "c", Verb::Delete, "b"));
        assert!(allows(&policy, "c", Verb::Read, "b"));
        assert!(!allows(&policy, "c", Verb::Write, "c"));
    }

    #[test]
    fn p3_the_verb_admin_belongs_to_the_cluster() {
        let policy = parse(&with_allow("{ name: \"*\", verbs: [admin] }")).unwrap();
        assert!(policy.has_administrator());
        assert!(!allows(&policy, "backend", Verb::Read, "a"));
        let denied = "clients:\n  c:\n    deny: [{ name: \"db/*\", verbs: [admin] }]\n";
        assert!(error(denied).contains("client c, deny rule 1 (\"db/*\")"));
    }

    #[test]
    fn p4_staleness_belongs_to_a_rule_that_reads() {
        let policy = parse(&with_allow(
            "{ name: ha, verbs: [read], stale_max_ms: 5000 }",
        ))
        .unwrap();
        assert_eq!(policy.clients["backend"].allow[0].stale_max_ms, 0);
        assert_eq!(policy.clients["backend"].allow[1].stale_max_ms, 5_000);
        assert!(
            error(&with_allow("{ name: ha, verbs: [write], stale_max_ms: 1 }")).contains("read")
        );
        assert!(error(&with_allow("{ name: ha, stale_max_ms: -1 }")).contains("milliseconds"));
        assert!(error(&with_allow("{ name: ha, stale_max_ms: 999999999 }")).contains("at most"));
    }

    #[test]
    fn errors_name_the_client_and_the_rule() {
        for (rule, part) in [
            ("{ name: \"db/*\", verbs: [raed] }", "raed"),
            ("{ name: \"db/*\", verbs: [] }", "empty"),
            ("{ name: \"db/*\", verbs: read }", "list"),
            ("{ name: \"db/*\", verb: [read] }", "`verb`"),
            ("{ verbs: [read] }", "name"),
            ("{ name: 5 }", "text"),
            ("\"a b\"", "a b"),
            ("17", "quote"),
            ("[nested]", "expected"),
            (
                "{ name: \"db/*\", verbs: [read, admin] }",
                "about the cluster",
            ),
        ] {
            let message = error(&with_allow(rule));
            assert!(
                message.contains("client backend, allow rule 2"),
                "{message}"
            );
            assert!(message.contains(part), "{part}: {message}");
        }
    }

    #[test]
    fn a_file_of_the_wrong_shape_is_told_what_is_expected() {
        for yaml in [
            "just text",
            "default_deny: false\nclients: {}\n",
            "default_deny: sometimes\nclients: {}\n",
            "client: {}\n",
            "clients: [backend]\n",
            "clients:\n  backend: read\n",
            "clients:\n  backend:\n    allows: [a]\n",
            "clients:\n  backend:\n    allow: a\n",
        ] {
            assert!(
                matches!(parse(yaml), Err(PolicyFileError::Shape { .. })),
                "{yaml}"
            );
        }
        assert!(error("clients:\n  \"a client\":\n    allow: [a]\n").contains("client id"));
    }

    #[test]
    fn what_is_not_yaml_or_says_something_twice_is_refused() {
        for yaml in [
            "clients:\n  a:\n    allow: [*]\n",
            "clients: {\n",
            "clients:\n  a:\n    allow: [x]\n  a:\n    allow: [y]\n",
        ] {
            assert!(
                matches!(parse(yaml), Err(PolicyFileError::Syntax { .. })),
                "{yaml}"
            );
        }
    }

    #[test]
    fn a_policy_without_end_is_refused() {
        let yaml = "#".repeat(MAX_POLICY_BYTES + 1);
        assert!(matches!(parse(&yaml), Err(PolicyFileError::TooLong { .. })));
    }

    #[test]
    fn p1_the_shipped_example_holds_the_promised_clients() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/policy.yaml.example");
        let policy = parse(&std::fs::read_to_string(path).unwrap()).unwrap();
        let clients: Vec<&str> = policy.clients.keys().map(String::as_str).collect();
        let promised = [
            "admin",
            "backend",
            "db",
            "ha-client",
            "mcp",
            "postgres",
            "python-services",
        ];
        assert_eq!(clients, promised);
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
        assert!(allows(&policy, "backend", Verb::Read, "database_url"));
        assert!(allows(&policy, "db", Verb::Rotate, "db/main"));
        assert!(!allows(&policy, "db", Verb::Read, "db/root_password"));
        assert!(!allows(&policy, "mcp", Verb::Read, "database_url"));
    }
}
