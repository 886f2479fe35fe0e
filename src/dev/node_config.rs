//! The `config.toml` of one node of the cluster.

use std::path::Path;

use toml::Value;

use super::DevError;
use super::plan::PlannedNode;

/// Settings that must differ between the nodes: the environment would give them all the same one.
const OWN_SETTINGS: [&str; 12] = [
    "SERVER_BIND_ADDR",
    "SERVER_ALLOW_UNIX_SOCKET",
    "PATHS_VAULT_PATH",
    "PATHS_AUDIT_PATH",
    "PATHS_MASTER_KEY_PATH",
    "CLUSTER_NODE_NAME",
    "CLUSTER_PEER_ADDR",
    "CLUSTER_ADVERTISE_PEER_ADDR",
    "CLUSTER_ADVERTISE_API_ADDR",
    "CLUSTER_DIAL_OVERRIDES",
    "TLS_CERT_PATH",
    "TLS_KEY_PATH",
];

/// The text of a node's configuration. Every path is absolute.
///
/// # Errors
/// [`DevError::NotUnicode`]
pub(super) fn text(node: &PlannedNode, policy: &Path, tls: bool) -> Result<String, DevError> {
    let quoted = |path: &Path| match path.to_str() {
        Some(text) => Ok(Value::String(text.to_owned())),
        None => Err(DevError::NotUnicode {
            path: path.to_owned(),
        }),
    };
    let mut text = format!(
        "# Written by `jarvis-secretsd dev`. More settings may be added; later starts keep them.\n\
         \n\
         [server]\n\
         bind_addr = \"{api}\"\n\
         \n\
         [paths]\n\
         vault_path = {data_dir}\n\
         \n\
         [security]\n\
         rbac_policy_path = {policy}\n\
         trust_client_header = true\n\
         debug_endpoints = true\n\
         \n\
         [cluster]\n\
         node_name = \"{name}\"\n\
         peer_addr = \"{peer}\"\n",
        api = node.api,
        data_dir = quoted(&node.data_dir)?,
        policy = quoted(policy)?,
        name = node.name,
        peer = node.peer,
    );
    if tls {
        let certificate = quoted(&node.data_dir.join("api.pem"))?;
        let key = quoted(&node.data_dir.join("api.key"))?;
        text.push_str(&format!(
            "\n[tls]\ncert_path = {certificate}\nkey_path = {key}\n"
        ));
    }
    Ok(text)
}

/// Refuses an environment that would make the nodes step on each other.
///
/// # Errors
/// [`DevError::Overridden`] names the variables.
pub(super) fn check_environment(
    environment: impl Fn(&str) -> Option<String>,
) -> Result<(), DevError> {
    let set: Vec<String> = OWN_SETTINGS
        .iter()
        .map(|setting| format!("JARVIS_SECRETSD_{setting}"))
        .filter(|name| environment(name).is_some_and(|value| !value.is_empty()))
        .collect();
    if set.is_empty() {
        return Ok(());
    }
    Err(DevError::Overridden {
        names: set.join(", "),
    })
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Environment};

    use super::*;

    fn node(dir: &str) -> PlannedNode {
        PlannedNode::in_directory(Path::new(dir), 1, 8_082, 9_082)
    }

    fn parsed(text: &str) -> Config {
        Config::parse(Path::new("config.toml"), text, &Environment::default())
            .unwrap()
            .config
    }

    #[test]
    fn design_10_a_node_s_configuration_is_accepted_and_means_what_it_should() {
        let dir = "/tmp/a \"quoted\" folder";
        let node = node(dir);
        let policy = Path::new("/tmp/policy.yaml");
        let config = parsed(&text(&node, policy, false).unwrap());
        assert_eq!(config.server.bind_addr, "127.0.0.1:8082".parse().unwrap());
        assert_eq!(config.cluster.peer_addr, "127.0.0.1:9082".parse().unwrap());
        assert_eq!(config.cluster.node_name, "n2");
        assert_eq!(config.paths.data_dir, Path::new(dir).join("n2"));
        assert_eq!(config.paths.audit_dir, Path::new(dir).join("n2/audit"));
        assert_eq!(config.security.rbac_policy_path.as_deref(), Some(policy));
        assert!(config.security.trust_client_header);
        assert!(config.security.debug_endpoints);
        assert_eq!(config.api_scheme(), "http");
    }

    #[test]
    fn x5_with_tls_the_certificate_lies_in_the_data_directory() {
        let config = parsed(&text(&node("/d"), Path::new("/d/policy.yaml"), true).unwrap());
        let api = config.tls.api.unwrap();
        assert_eq!(api.cert_path, Path::new("/d/n2/api.pem"));
        assert_eq!(api.key_path, Path::new("/d/n2/api.key"));
    }

    #[test]
    fn a_variable_that_all_nodes_would_share_is_refused_by_name() {
        check_environment(|_| None).unwrap();
        check_environment(|_| Some(String::new())).unwrap();
        let raft = |name: &str| (name.contains("_RAFT_")).then(|| "100".to_owned());
        check_environment(raft).unwrap();
        let shared = |name: &str| (name.ends_with("BIND_ADDR")).then(|| "127.0.0.1:1".to_owned());
        let message = check_environment(shared).unwrap_err().to_string();
        assert!(
            message.contains("JARVIS_SECRETSD_SERVER_BIND_ADDR"),
            "{message}"
        );
    }
}
