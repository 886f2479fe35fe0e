//! The environment as a part of the configuration: `JARVIS_SECRETSD_<TABLE>_<KEY>` wins over the
//! file.
//!
//! It is a value, so that tests need no state of the whole process, and so that all of its names can
//! be looked at: one that was meant to override a key and overrides none is refused, as an unknown
//! key of the file is (F).

use std::collections::BTreeMap;

use super::error::ConfigError;
use super::reader::advice;

/// What every override starts with.
const PREFIX: &str = "JARVIS_SECRETSD_";
/// What else counts: the host's name names the node, and the log has a filter of its own (F5).
const OTHERS: [&str; 2] = ["HOSTNAME", "RUST_LOG"];

/// The variables that concern a node. An empty one counts as not set, as container tools pass
/// variables that nobody defined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The environment of this process; what is not Unicode counts as not set.
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// A variable's value.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// What overrides a key: the variable and its value.
    pub(super) fn override_of(&self, table: &str, key: &str) -> Option<(String, &str)> {
        let variable = format!("{PREFIX}{table}_{key}").to_ascii_uppercase();
        let value = self.get(&variable)?;
        Some((variable, value))
    }

    /// Refuses a variable that names a table and none of its keys; tells of those that name no table
    /// either, which may be somebody else's. `keys` are all that exist.
    pub(super) fn check(
        &self,
        keys: &[(&'static str, &'static str)],
    ) -> Result<Vec<String>, ConfigError> {
        let mut warnings = Vec::new();
        for (variable, value) in &self.0 {
            let Some(rest) = variable.strip_prefix(PREFIX) else {
                continue;
            };
            if is_service_link(rest, value) {
                continue;
            }
            let Some((table, key)) = split(rest, keys) else {
                warnings.push(format!(
                    "environment variable {variable} overrides nothing: no table of the \
                     configuration has that name"
                ));
                continue;
            };
            let known: Vec<&'static str> = keys
                .iter()
                .filter(|(of, _)| *of == table)
                .map(|(_, key)| *key)
                .collect();
            if !known.iter().any(|known| known.to_ascii_uppercase() == key) {
                return Err(ConfigError::UnknownVariable {
                    variable: variable.clone(),
                    table,
                    advice: advice(&key.to_ascii_lowercase(), &known, "keys"),
                });
            }
        }
        Ok(warnings)
    }
}

impl FromIterator<(String, String)> for Environment {
    /// Keeps what concerns a node.
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        let concerns = |name: &str| name.starts_with(PREFIX) || OTHERS.contains(&name);
        Self(
            variables
                .into_iter()
                .filter(|(name, value)| concerns(name) && !value.is_empty())
                .collect(),
        )
    }
}

/// `SERVER_BIND_ADDR` as the table `server` and `BIND_ADDR`.
fn split<'a>(
    rest: &'a str,
    keys: &[(&'static str, &'static str)],
) -> Option<(&'static str, &'a str)> {
    keys.iter().find_map(|(table, _)| {
        let key = rest.strip_prefix(table.to_ascii_uppercase().as_str())?;
        Some((*table, key.strip_prefix('_')?))
    })
}

/// Kubernetes tells every container where each Service is, in variables that begin with the
/// Service's name: one called `jarvis-secretsd` or `jarvis-secretsd-cluster` makes names like ours.
///
/// ```text
/// JARVIS_SECRETSD_SERVICE_HOST=10.0.0.1    JARVIS_SECRETSD_PORT=tcp://10.0.0.1:8081
/// JARVIS_SECRETSD_SERVICE_PORT_API=8081    JARVIS_SECRETSD_PORT_8081_TCP_ADDR=10.0.0.1
/// ```
fn is_service_link(rest: &str, value: &str) -> bool {
    let words: Vec<&str> = rest.split('_').collect();
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    words
        .windows(2)
        .any(|pair| pair == ["SERVICE", "HOST"] || pair == ["SERVICE", "PORT"])
        || words
            .windows(2)
            .any(|pair| pair[0] == "PORT" && is_number(pair[1]))
        || (words.last() == Some(&"PORT") && value.contains("://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [(&str, &str); 3] = [
        ("server", "bind_addr"),
        ("server", "worker_threads"),
        ("cluster", "node_name"),
    ];

    fn environment(variables: &[(&str, &str)]) -> Environment {
        variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn f_a_variable_that_overrides_no_key_of_its_table_is_refused_with_what_was_meant() {
        for wrong in [
            "JARVIS_SECRETSD_SERVER_BIND_ADR",
            "JARVIS_SECRETSD_SERVER_PORT",
            "JARVIS_SECRETSD_SERVER_",
            "JARVIS_SECRETSD_CLUSTER_BIND_ADDR",
            "JARVIS_SECRETSD_SERVER_bind_addr",
        ] {
            let error = environment(&[(wrong, "8081")]).check(&KEYS).unwrap_err();
            let message = error.to_string();
            assert!(message.contains(wrong), "{message}");
        }
        let misspelt = environment(&[("JARVIS_SECRETSD_SERVER_BIND_ADR", "x")]);
        let message = misspelt.check(&KEYS).unwrap_err().to_string();
        for part in ["[server]", "did you mean `bind_addr`", "worker_threads"] {
            assert!(message.contains(part), "{part}: {message}");
        }
    }

    #[test]
    fn d2_what_kubernetes_puts_there_for_a_service_of_our_name_is_left_alone() {
        let links = environment(&[
            ("JARVIS_SECRETSD_SERVICE_HOST", "10.0.0.1"),
            ("JARVIS_SECRETSD_SERVICE_PORT", "8081"),
            ("JARVIS_SECRETSD_SERVICE_PORT_API", "8081"),
            ("JARVIS_SECRETSD_PORT", "tcp://10.0.0.1:8081"),
            ("JARVIS_SECRETSD_PORT_8081_TCP", "tcp://10.0.0.1:8081"),
            ("JARVIS_SECRETSD_PORT_8081_TCP_PROTO", "tcp"),
            ("JARVIS_SECRETSD_CLUSTER_SERVICE_HOST", "10.0.0.2"),
            ("JARVIS_SECRETSD_CLUSTER_PORT", "tcp://10.0.0.2:9081"),
            ("JARVIS_SECRETSD_CLUSTER_PORT_9081_TCP_PORT", "9081"),
        ]);
        assert_eq!(links.check(&KEYS).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn f_a_variable_of_no_table_is_told_and_what_is_empty_or_right_is_not() {
        let told = environment(&[("JARVIS_SECRETSD_SEVER_BIND_ADDR", "x")]);
        let warnings = told.check(&KEYS).unwrap();
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("JARVIS_SECRETSD_SEVER_BIND_ADDR"));

        let fine = environment(&[
            ("JARVIS_SECRETSD_SERVER_BIND_ADR", ""),
            ("JARVIS_SECRETSD_SERVER_BIND_ADDR", "127.0.0.1:1"),
            ("JARVIS_SECRETS_URL", "http://127.0.0.1:8081"),
            ("HOSTNAME", "n1"),
        ]);
        assert!(fine.check(&KEYS).unwrap().is_empty());
        assert_eq!(fine.get("HOSTNAME"), Some("n1"));
        assert_eq!(fine.get("JARVIS_SECRETS_URL"), None, "it is a client's");
        let found = fine.override_of("server", "bind_addr").unwrap();
        assert_eq!(found.1, "127.0.0.1:1");
        assert!(fine.override_of("server", "worker_threads").is_none());
    }
}
