//! The rules of F1–F7, I2 and X6 on whole configuration texts, and the files that are shipped.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;

fn parse(text: &str) -> Result<Loaded, ConfigError> {
    Config::parse(Path::new("config.toml"), text, &Environment::default())
}

fn load(file: &Path) -> Result<Loaded, ConfigError> {
    Config::load(Some(file), &Environment::default())
}

fn config(text: &str) -> Config {
    match parse(text) {
        Ok(loaded) => loaded.config,
        Err(error) => panic!("{error}\n{text}"),
    }
}

fn error(text: &str) -> String {
    match parse(text) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(error) => error.to_string(),
    }
}

fn with(variable: &str, value: &str, text: &str) -> Result<Loaded, ConfigError> {
    let variables = [(variable.to_owned(), value.to_owned())];
    let environment: Environment = variables.into_iter().collect();
    Config::parse(Path::new("config.toml"), text, &environment)
}

fn shipped(name: &str) -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    (path, text)
}

#[test]
fn an_empty_file_is_a_node_on_this_machine_with_the_documented_defaults() {
    let config = config("");
    assert_eq!(config.server.bind_addr, "127.0.0.1:8081".parse().unwrap());
    assert_eq!(config.server.worker_threads, 1);
    assert_eq!(config.cluster.peer_addr, "127.0.0.1:9081".parse().unwrap());
    assert_eq!(config.paths.data_dir, Path::new("/var/lib/jarvis-secretsd"));
    assert_eq!(
        config.paths.audit_dir,
        Path::new("/var/lib/jarvis-secretsd/audit")
    );
    assert_eq!(
        config.paths.master_key_path,
        Path::new("/var/lib/jarvis-secretsd/master.key")
    );
    assert_eq!(config.security.rotation, Duration::from_secs(90 * 86_400));
    assert_eq!(config.security.grace, Duration::from_secs(14 * 86_400));
    assert!(!config.security.trust_client_header);
    assert_eq!(config.raft.heartbeat, Duration::from_millis(50));
    assert_eq!(config.raft.election_max, Duration::from_millis(400));
    assert_eq!(config.limits.request_deadline, Duration::from_secs(5));
    assert_eq!(config.limits.max_value_bytes, 65_536);
    assert_eq!(config.limits.client_requests_per_second, None);
    assert_eq!(config.audit.keep_bytes, 8 << 30);
    assert_eq!(config.api_scheme(), "http");
}

#[test]
fn f6_an_unknown_key_is_named_with_its_line_and_what_was_meant() {
    let message = error("[server]\n# comment\nbind_adr = \"127.0.0.1:1\"\n");
    for part in [
        "`bind_adr`",
        "[server]",
        "line 3",
        "did you mean `bind_addr`",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[test]
fn f6_an_unknown_table_and_a_key_outside_of_a_table_are_named() {
    let message = error("[sever]\n");
    assert!(
        message.contains("`sever`") && message.contains("`server`"),
        "{message}"
    );
    let message = error("bind_addr = \"127.0.0.1:1\"\n");
    assert!(
        message.contains("`bind_addr`") && message.contains("line 1"),
        "{message}"
    );
    let message = error("server = 1\n");
    assert!(message.contains("[server]"), "{message}");
}

#[test]
fn text_that_is_not_toml_names_the_line() {
    let message = error("[server]\nbind_addr = \n");
    assert!(message.contains("line 2"), "{message}");
    let message = error("[server]\nworker_threads = 1\nworker_threads = 2\n");
    assert!(message.contains("line 3"), "{message}");
}

#[test]
fn a_bad_value_is_answered_with_key_value_line_range_and_example() {
    let message = error("[limits]\nmax_value_bytes = 2000000\n");
    for part in [
        "[limits] max_value_bytes",
        "2000000",
        "line 2",
        "1048576",
        "max_value_bytes = 65536",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[test]
fn every_kind_of_bad_value_is_refused() {
    for text in [
        "[server]\nbind_addr = \"here\"",
        "[server]\nbind_addr = 8081",
        "[server]\ntrusted_proxies = \"10.0.0.1\"",
        "[server]\ntrusted_proxies = [\"proxy\"]",
        "[server]\nallow_unix_socket = 1",
        "[server]\nworker_threads = 0",
        "[server]\nworker_threads = -1",
        "[server]\nworker_threads = 1.5",
        "[server]\ndanger_plain_http = \"yes\"",
        "[paths]\nvault_path = \"\"",
        "[security]\nrotation_days = 0",
        "[security]\nrotation_days = \"90d\"",
        "[security]\nrotation_check_interval = 5",
        "[security]\nrotation_check_interval = \"25h\"",
        "[logging]\nlevel = \"verbose\"",
        "[logging]\njson = 1",
        "[cluster]\nnode_name = \"n 1\"",
        "[cluster]\nadvertise_peer_addr = \"n1\"",
        "[cluster]\ndial_overrides = { \"n2\" = \"n3:1\" }",
        "[seal]\nkind = \"hsm\"",
        "[raft]\nheartbeat_ms = 5",
        "[raft]\nsnapshot_wal_bytes = \"1KiB\"",
        "[limits]\nmax_versions = 0",
        "[limits]\nrequest_deadline_ms = 99999999999999999999",
        "[audit]\nkeep_bytes = \"8GB\"",
        "[audit]\ncheckpoint_secs = 0",
    ] {
        assert!(
            matches!(parse(text), Err(ConfigError::BadValue(_))),
            "{text}"
        );
    }
}

#[test]
fn f4_another_algorithm_is_refused_by_name() {
    let named =
        "[crypto]\naead = \"aes-gcm-256\"\njwt_sign_algo = \"ed25519\"\nkdf = \"argon2id\"\n";
    assert_eq!(config(named).crypto.aead, Aead::Aes256Gcm);
    for (key, other) in [
        ("aead", "chacha20"),
        ("jwt_sign_algo", "rs256"),
        ("kdf", "scrypt"),
    ] {
        let message = error(&format!("[crypto]\n{key} = \"{other}\"\n"));
        assert!(
            message.contains(key) && message.contains(other),
            "{message}"
        );
        assert!(message.contains("only"), "{message}");
    }
}

#[test]
fn f6_off_loopback_needs_tls_or_a_dangerous_word() {
    let exposed = "[server]\nbind_addr = \"0.0.0.0:8081\"\n";
    assert!(error(exposed).contains("danger_plain_http = true"));

    let loaded = parse(&format!("{exposed}danger_plain_http = true\n")).unwrap();
    assert!(
        loaded
            .warnings
            .iter()
            .any(|warning| warning.contains("without encryption"))
    );

    let tls = "[tls]\ncert_path = \"/tls/server.pem\"\nkey_path = \"/tls/server.key\"\n";
    let config = config(&format!("{exposed}{tls}"));
    assert_eq!(config.api_scheme(), "https");
}

#[test]
fn tls_is_whole_or_absent() {
    for text in [
        "[tls]\ncert_path = \"/a\"\n",
        "[tls]\nkey_path = \"/a\"\n",
        "[tls]\nclient_ca_path = \"/a\"\n",
    ] {
        assert!(
            matches!(parse(text), Err(ConfigError::Conflict { .. })),
            "{text}"
        );
    }
}

#[test]
fn i2_the_bare_header_is_refused_where_others_can_reach_the_listener() {
    let trusting = "[security]\ntrust_client_header = true\n";
    assert!(config(trusting).security.trust_client_header);
    assert!(
        config(&format!("{trusting}[server]\nbind_addr = \"[::1]:0\"\n"))
            .server
            .is_loopback()
    );
    let socket = "[server]\nallow_unix_socket = \"/run/api.sock\"\n";
    assert!(
        config(&format!("{trusting}{socket}"))
            .security
            .trust_client_header
    );

    let exposed = "[server]\nbind_addr = \"192.0.2.1:8081\"\ndanger_plain_http = true\n";
    let message = error(&format!("{trusting}{exposed}"));
    assert!(message.contains("trust_client_header"), "{message}");
}

#[test]
fn a13_a_unix_socket_is_a_path_or_off() {
    let socket = |value: &str| {
        config(&format!(
            "[server]\nallow_unix_socket = {value}\n[paths]\nvault_path = \"/data\"\n"
        ))
        .server
        .unix_socket
    };
    assert_eq!(socket("false"), None);
    assert_eq!(socket("true"), Some(PathBuf::from("/data/api.sock")));
    assert_eq!(
        socket("\"/run/api.sock\""),
        Some(PathBuf::from("/run/api.sock"))
    );
    let long = format!("[server]\nallow_unix_socket = \"/{}\"\n", "x".repeat(200));
    assert!(matches!(parse(&long), Err(ConfigError::BadValue(_))));
}

#[test]
fn raft_timings_must_be_in_order() {
    for text in [
        "[raft]\nheartbeat_ms = 150\n",
        "[raft]\nelection_min_ms = 400\n",
        "[raft]\nelection_min_ms = 600\nelection_max_ms = 300\n",
    ] {
        assert!(
            matches!(parse(text), Err(ConfigError::Conflict { .. })),
            "{text}"
        );
    }
    config("[raft]\nheartbeat_ms = 50\nelection_min_ms = 300\nelection_max_ms = 600\n");
}

#[test]
fn peers_must_be_able_to_dial_what_is_advertised() {
    let everywhere = "[cluster]\npeer_addr = \"0.0.0.0:9081\"\n";
    assert!(error(everywhere).contains("advertise_peer_addr"));
    let config = config(&format!("{everywhere}advertise_peer_addr = \"n1:9081\"\n"));
    assert_eq!(
        config.cluster.advertised_peer(config.cluster.peer_addr),
        "n1:9081"
    );
}

#[test]
fn the_environment_wins_over_the_file() {
    let file = "[server]\nbind_addr = \"127.0.0.1:1\"\n";
    let loaded = with("JARVIS_SECRETSD_SERVER_BIND_ADDR", "127.0.0.1:2", file).unwrap();
    assert_eq!(loaded.config.server.bind_addr.port(), 2);
    let loaded = with("JARVIS_SECRETSD_SERVER_BIND_ADDR", "", file).unwrap();
    assert_eq!(loaded.config.server.bind_addr.port(), 1);

    let loaded = with("JARVIS_SECRETSD_SECURITY_ROTATION_DAYS", "30", "").unwrap();
    assert_eq!(
        loaded.config.security.rotation,
        Duration::from_secs(30 * 86_400)
    );
    let loaded = with("JARVIS_SECRETSD_AUDIT_REQUIRE_EXPORT", "true", "").unwrap();
    assert!(loaded.config.audit.require_export);
    let loaded = with(
        "JARVIS_SECRETSD_SERVER_TRUSTED_PROXIES",
        "10.0.0.1, ::1",
        "",
    )
    .unwrap();
    assert_eq!(loaded.config.server.trusted_proxies.len(), 2);
    let overrides = "n2:9081=127.0.0.1:1,n3:9081=127.0.0.1:2";
    let loaded = with("JARVIS_SECRETSD_CLUSTER_DIAL_OVERRIDES", overrides, "").unwrap();
    assert_eq!(
        loaded.config.cluster.dial_overrides["n3:9081"],
        "127.0.0.1:2"
    );
}

#[test]
fn a_bad_value_from_the_environment_names_the_variable() {
    let error = with("JARVIS_SECRETSD_LIMITS_MAX_VERSIONS", "many", "")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("JARVIS_SECRETSD_LIMITS_MAX_VERSIONS"),
        "{error}"
    );
}

#[test]
fn f_a_misspelt_override_is_an_error_and_not_a_default() {
    let error = with("JARVIS_SECRETSD_SERVER_BIND_ADR", "127.0.0.1:1", "")
        .unwrap_err()
        .to_string();
    for part in ["JARVIS_SECRETSD_SERVER_BIND_ADR", "[server]", "`bind_addr`"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    // What Kubernetes puts there for a Service of this name is nobody's mistake.
    let port = with("JARVIS_SECRETSD_PORT", "tcp://10.0.0.1:8081", "").unwrap();
    assert_eq!(port.config, config(""));
    assert_eq!(port.warnings, parse("").unwrap().warnings);
    let told = with("JARVIS_SECRETSD_SEVER_BIND_ADDR", "127.0.0.1:1", "").unwrap();
    assert!(
        told.warnings
            .iter()
            .any(|warning| warning.contains("JARVIS_SECRETSD_SEVER_BIND_ADDR"))
    );
}

#[test]
fn f7_c9_who_names_a_node_or_its_peer_address_means_a_cluster() {
    let configured = |variable: &str, value: &str| {
        let loaded = with(variable, value, "").unwrap();
        loaded.config.cluster.configured
    };
    for (variable, value) in [
        ("JARVIS_SECRETSD_CLUSTER_NODE_NAME", "n1"),
        ("JARVIS_SECRETSD_CLUSTER_ADVERTISE_PEER_ADDR", "n1:9081"),
    ] {
        assert!(configured(variable, value), "{variable}");
    }
    // An old daemon's node may listen for peers elsewhere, and its container has a name by itself.
    for (variable, value) in [
        ("JARVIS_SECRETSD_CLUSTER_PEER_ADDR", "127.0.0.1:1"),
        ("JARVIS_SECRETSD_CLUSTER_NODE_NAME", ""),
        ("HOSTNAME", "n1"),
    ] {
        assert!(!configured(variable, value), "{variable}");
    }
    assert!(config("[cluster]\n").cluster.configured);
}

#[test]
fn f5_rust_log_wins_over_the_level() {
    let file = "[logging]\nlevel = \"warn\"\n";
    assert_eq!(config(file).logging.filter, "warn");
    let loaded = with("RUST_LOG", "info,openraft=error", file).unwrap();
    assert_eq!(loaded.config.logging.filter, "info,openraft=error");
    config("[logging]\nlevel = \"info,openraft=debug\"\n");
}

#[test]
fn f7_the_configuration_of_the_old_daemon_still_starts_a_node() {
    let loaded = parse(
        r#"
        [server]
        bind_addr = "127.0.0.1:8081"
        allow_unix_socket = false

        [paths]
        vault_path = "/var/lib/jarvis/vault.json"
        audit_path = "/var/log/jarvis/audit.jsonl"
        master_key_path = "/etc/jarvis/master.key"

        [security]
        rotation_days = 90
        grace_days = 14
        require_client_id_header = true
        deny_network_remote = true
        rbac_policy_path = "/etc/jarvis/policy.yaml"

        [crypto]
        aead = "aes-gcm-256"
        jwt_sign_algo = "ed25519"
        kdf = "argon2id"

        [logging]
        level = "info"
        json = true
        "#,
    )
    .unwrap();
    assert_eq!(loaded.config.paths.data_dir, Path::new("/var/lib/jarvis"));
    assert_eq!(loaded.config.paths.audit_dir, Path::new("/var/log/jarvis"));
    assert!(loaded.config.logging.json);
    assert!(loaded.config.security.deny_network_remote);
    let told = |key: &str| loaded.warnings.iter().any(|warning| warning.contains(key));
    assert!(
        told("vault_path") && told("audit_path"),
        "{:?}",
        loaded.warnings
    );
}

#[test]
fn a14_the_longest_value_fits_its_body_however_json_writes_it() {
    let limits = config("[limits]\nmax_value_bytes = \"1MiB\"\n").limits;
    assert!(limits.max_body_bytes() >= 6 * limits.max_value_bytes);
    assert!(limits.max_batch_body_bytes() <= 16 << 20);
}

#[test]
fn the_vault_is_seeded_from_limits_and_security() {
    let seed = config("[limits]\nmax_versions = 3\nundelete_days = 1\n").vault_limits();
    assert_eq!(seed.max_versions, 3);
    assert_eq!(seed.undelete_ms, 86_400_000);
    assert_eq!(seed.max_ciphertext_bytes, 65_536 + 16);
    assert_eq!(config("").vault_limits(), VaultLimits::default());
}

#[test]
fn a_named_file_must_exist() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent.toml");
    assert!(matches!(load(&absent), Err(ConfigError::Missing { .. })));
}

#[test]
fn f7_loading_refuses_an_old_vault_beside_its_own_data() {
    let folder = tempfile::tempdir().unwrap();
    let vault = folder.path().join("vault.json");
    let file = folder.path().join("config.toml");
    std::fs::write(
        &file,
        format!("[paths]\nvault_path = \"{}\"\n", vault.display()),
    )
    .unwrap();
    load(&file).unwrap();

    std::fs::write(&vault, "{}").unwrap();
    assert!(matches!(load(&file), Err(ConfigError::OldVault { .. })));
}

#[test]
fn a_file_without_end_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    std::fs::write(&file, "#".repeat((1 << 20) + 1)).unwrap();
    assert!(matches!(load(&file), Err(ConfigError::TooLarge { .. })));
}

#[test]
fn d6_the_shipped_example_parses_and_mentions_every_key() {
    let (path, text) = shipped("config.toml.example");
    let (loaded, keys) = parse_with_keys(&path, &text, &Environment::default()).unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    for (table, key) in keys {
        let section = text.split(&format!("\n[{table}]\n")).nth(1);
        let section = section
            .and_then(|rest| rest.split("\n[").next())
            .unwrap_or_default();
        let is_named = section
            .lines()
            .map(|line| line.trim_start_matches(['#', ' ']))
            .any(|line| line.starts_with(&format!("{key} =")));
        assert!(
            is_named,
            "config.toml.example does not mention [{table}] {key}"
        );
    }
}

#[test]
fn the_shipped_example_says_the_defaults() {
    let (_, text) = shipped("config.toml.example");
    let mut example = config(&text);
    assert!(example.security.rbac_policy_path.take().is_some());
    // The example has the table, so its node never begins a cluster by itself.
    assert!(std::mem::take(&mut example.cluster.configured));
    assert_eq!(example, config(""));
}

#[test]
fn the_three_sample_nodes_form_one_cluster() {
    let mut seen = Vec::new();
    for (name, peer_port) in [("n1", 9081), ("n2", 9082), ("n3", 9083)] {
        let (path, text) = shipped(&format!("examples/cluster/{name}.toml"));
        let loaded = Config::parse(&path, &text, &Environment::default()).unwrap();
        assert_eq!(loaded.config.cluster.node_name, name);
        assert_eq!(loaded.config.cluster.peer_addr.port(), peer_port);
        seen.push((loaded.config.server.bind_addr, loaded.config.paths.data_dir));
    }
    seen.dedup_by(|left, right| left.0 == right.0 || left.1 == right.1);
    assert_eq!(seen.len(), 3);
}
