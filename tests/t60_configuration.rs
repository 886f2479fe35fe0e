//! F1–F7, A13, X5, X6: what a configuration may say, what is refused and with which advice, and the listeners it opens.

#![allow(
    clippy::unwrap_used,
    reason = "a test program; its helpers are not marked as tests"
)]

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::json;

use jarvis_harness::{Programs, Request, eventually, programs};

/// What Cargo built.
const JARVIS: Programs = programs!();

const POLICY: &str = r#"
default_deny: true
clients:
  admin:
    allow: ["*"]
  backend:
    allow: [database_url]
"#;
/// A configuration that is wrong: nothing was looked at but the file.
const BAD_CONFIGURATION: i32 = 2;
/// A start that was refused.
const REFUSED: i32 = 1;

#[test]
fn f_what_a_configuration_must_not_say_is_refused_by_name_with_advice() {
    let plan = JARVIS.plan();
    let with = |table: &str, line: &str| plan.config(&[(table, line)]);
    let everywhere = |more: &str| {
        let text = plan.config(&[("server", more)]);
        text.replace("127.0.0.1", "0.0.0.0")
    };
    for (config, complaints) in [
        // An unknown key or table is named, with its line and what could be meant.
        (
            with("limits", "max_value_byte = 1"),
            [
                "`max_value_byte` in [limits]",
                "line 6",
                "`max_value_bytes`",
            ],
        ),
        (
            with("limit", "max_value_bytes = 1"),
            ["`limit`", "line 5", "`limits`"],
        ),
        (
            format!("colour = 1\n{}", plan.config(&[])),
            ["`colour`", "line 1", "the tables here"],
        ),
        (
            with("server", "bind_address = \"127.0.0.1:1\""),
            ["`bind_address` in [server]", "line 3", "`bind_addr`"],
        ),
        // A bad value is shown, with what is legal and an example.
        (
            with("raft", "heartbeat_ms = \"fast\""),
            ["[raft] heartbeat_ms", "\"fast\"", "from 10 to"],
        ),
        (
            with("limits", "max_value_bytes = \"2MiB\""),
            ["[limits] max_value_bytes", "2MiB", "1048576"],
        ),
        (
            with("security", "rotation_days = 0"),
            ["[security] rotation_days", "cannot be 0", "from 1 to"],
        ),
        (
            with("logging", "json = \"yes\""),
            ["[logging] json", "\"yes\"", "true or false"],
        ),
        // F4: one algorithm each.
        (
            with("crypto", "aead = \"des\""),
            ["[crypto] aead", "\"des\"", "aes-gcm-256"],
        ),
        (
            with("crypto", "kdf = \"md5\""),
            ["[crypto] kdf", "\"md5\"", "argon2id"],
        ),
        (
            with("crypto", "jwt_sign_algo = \"none\""),
            ["[crypto] jwt_sign_algo", "\"none\"", "ed25519"],
        ),
        (
            with("tls", "cert_path = \"/x.pem\""),
            ["[tls]", "cert_path", "key_path"],
        ),
        (
            "[server\n".to_owned(),
            ["not valid TOML", "line 1", "config.toml"],
        ),
        // F6, I2: what would be reachable from elsewhere.
        (
            everywhere(""),
            ["0.0.0.0", "in the clear", "danger_plain_http"],
        ),
        (
            everywhere("danger_plain_http = true") + "[security]\ntrust_client_header = true\n",
            ["trust_client_header", "0.0.0.0", "other machines"],
        ),
    ] {
        let stopped = plan.refused(&config);
        assert_eq!(
            stopped.code,
            Some(BAD_CONFIGURATION),
            "{config}\n{}",
            stopped.log
        );
        for complaint in complaints {
            assert!(
                stopped.log.contains(complaint),
                "'{complaint}' is missing:\n{}",
                stopped.log
            );
        }
        assert!(
            !plan.data().exists(),
            "nothing is written before the configuration is right"
        );
    }
}

#[test]
fn f7_what_the_old_daemon_left_is_put_aside_by_its_owner_and_not_overwritten() {
    let plan = JARVIS.plan();
    let config = plan.config(&[]);
    private_folder(&plan.data());
    let vault = plan.data().join("vault.json");
    fs::write(&vault, "{}").unwrap();
    let stopped = plan.refused(&config);
    assert_eq!(stopped.code, Some(BAD_CONFIGURATION));
    for advice in [vault.to_str().unwrap(), "mv ", "jarvis-secrets import"] {
        assert!(
            stopped.log.contains(advice),
            "'{advice}' is missing:\n{}",
            stopped.log
        );
    }
    assert_eq!(fs::read_dir(plan.data()).unwrap().count(), 1);

    // Its audit log is not mixed with the signed trail either.
    fs::rename(&vault, plan.folder().join("vault.json.old")).unwrap();
    let trail = plan.data().join("audit/audit.jsonl");
    private_folder(trail.parent().unwrap());
    fs::write(&trail, "{\"timestamp\":\"2025-01-01\"}\n").unwrap();
    let stopped = plan.refused(&config);
    assert_eq!(stopped.code, Some(BAD_CONFIGURATION));
    assert!(stopped.log.contains("audit.jsonl.old"), "{}", stopped.log);

    // With both put aside it starts, and says where the first token is.
    fs::rename(&trail, plan.folder().join("audit.jsonl.old")).unwrap();
    let mut node = plan.spawn(&config);
    node.wait_until_ready();
    let said = node.plan().log();
    assert!(
        said.contains("root-token") && said.contains("jarvis-secrets token create"),
        "{said}"
    );
    assert!(!said.contains(&node.root_token()), "a log holds no token");
    node.admin().write("database_url", "x");
}

#[test]
fn x6_files_that_others_could_use_are_refused_with_the_command_that_mends_it() {
    let mut node = JARVIS.node(POLICY, &[]);
    node.admin().write("database_url", "x");
    let config = fs::read_to_string(node.plan().folder().join("config.toml")).unwrap();
    node.kill();
    let data = node.plan().data();
    for (name, wanted, open) in [
        ("master.key", 0o600, 0o604),
        ("peer.key.der", 0o600, 0o606),
        ("audit/audit.jsonl", 0o600, 0o644),
        ("wal", 0o700, 0o705),
        ("", 0o700, 0o755),
    ] {
        let path = data.join(name);
        // `join` of nothing would end in a slash.
        let path = path.components().as_path().to_owned();
        fs::set_permissions(&path, Permissions::from_mode(open)).unwrap();
        let stopped = node.plan().refused(&config);
        assert_eq!(stopped.code, Some(REFUSED), "{}", stopped.log);
        let mend = format!("chmod {wanted:o} '{}'", path.display());
        assert!(
            stopped.log.contains(&mend),
            "'{mend}' is missing:\n{}",
            stopped.log
        );
        fs::set_permissions(&path, Permissions::from_mode(wanted)).unwrap();
    }
    node.start_again(&config);
    assert_eq!(node.admin().read("database_url").done()["value"], "x");
    // What a node makes by itself passes its own check.
    for entry in fs::read_dir(&data).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", entry.path().display());
    }
}

#[test]
fn f7_a_key_file_that_others_can_read_is_refused_at_the_first_start() {
    let plan = JARVIS.plan();
    private_folder(&plan.data());
    let key = plan.data().join("master.key");
    fs::write(&key, [7_u8; 32]).unwrap();
    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    let stopped = plan.refused(&plan.config(&[]));
    assert_eq!(stopped.code, Some(REFUSED));
    assert!(stopped.log.contains("chmod 600"), "{}", stopped.log);
    assert!(
        stopped.log.contains(key.to_str().unwrap()),
        "{}",
        stopped.log
    );
}

#[test]
fn f_a_port_that_is_taken_is_named_and_the_node_starts_when_it_is_free() {
    let plan = JARVIS.plan();
    let config = plan.config(&[]);
    for address in [plan.api, plan.peer] {
        let taken = TcpListener::bind(address).unwrap();
        let stopped = plan.refused(&config);
        assert_eq!(stopped.code, Some(REFUSED), "{}", stopped.log);
        assert!(
            stopped.log.contains(&address.to_string()),
            "{}",
            stopped.log
        );
        drop(taken);
    }
    let mut node = plan.spawn(&config);
    node.wait_until_ready();
    node.admin().write("database_url", "x");
}

/// The refusal of a taken port says that nothing was changed.
#[test]
fn f7_a_first_start_that_is_refused_leaves_no_cluster_behind() {
    let plan = JARVIS.plan();
    let taken = TcpListener::bind(plan.api).unwrap();
    plan.refused(&plan.config(&[]));
    assert!(
        !plan.data().join("node.json").exists(),
        "a cluster began behind a taken port"
    );
    drop(taken);

    let plan = JARVIS.plan();
    private_folder(&plan.data());
    fs::set_permissions(plan.data(), Permissions::from_mode(0o755)).unwrap();
    plan.refused(&plan.config(&[]));
    assert!(
        !plan.data().join("node.json").exists(),
        "a cluster began in a folder that others can read"
    );
}

#[test]
fn c9_a_node_of_a_cluster_with_an_empty_folder_wants_init_or_join() {
    let plan = JARVIS.plan();
    let stopped = plan.refused(&plan.config(&[("cluster", "node_name = \"n1\"")]));
    assert_eq!(stopped.code, Some(REFUSED));
    for advice in [
        "belongs to no cluster",
        "cluster init",
        "cluster join",
        "join-token",
        "lost its disk",
    ] {
        assert!(
            stopped.log.contains(advice),
            "'{advice}' is missing:\n{}",
            stopped.log
        );
    }
    assert!(!plan.data().join("node.json").exists());
}

#[test]
fn a13_the_unix_socket_serves_beside_the_port_and_survives_a_kill() {
    let plan = JARVIS.plan();
    let socket = plan.folder().join("api.sock");
    let server = format!("allow_unix_socket = \"{}\"", socket.display());
    let config = plan.config(&[
        ("server", server.as_str()),
        ("security", "trust_client_header = true"),
    ]);
    let mut node = plan.spawn(&config);
    node.wait_until_ready();
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "the socket is for its owner");
    let ask = |request: Request| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        request
            .header("x-jarvis-client", "admin")
            .send_on(&mut stream, "localhost")
    };
    let write = json!({"name": "database_url", "value": "x"});
    ask(Request::new("POST", "/secret").json(&write)).done();
    assert_eq!(node.admin().read("database_url").done()["value"], "x");
    // What a dead process left behind is in nobody's way.
    node.kill();
    node.start_again(&config);
    ask(Request::new("GET", "/secret/database_url")).done();
}

/// X5, F8: the cluster's own authority makes the API's certificate where the configuration names one that is not there.
#[test]
fn x5_tls_is_on_with_a_certificate_of_the_cluster() {
    let plan = JARVIS.plan();
    let data = plan.data();
    let tls = format!(
        "cert_path = \"{data}/api.pem\"\nkey_path = \"{data}/api.key\"",
        data = data.display()
    );
    let config = plan.config(&[("tls", tls.as_str())]);
    let node = plan.spawn(&config);
    let url = format!("https://{}", node.plan().api);
    let by_name = url.replace("127.0.0.1", "localhost");
    let trusting = JARVIS.cli().with("JARVIS_SECRETS_URL", &url).with(
        "JARVIS_SECRETS_CACERT",
        data.join("ca.pem").to_str().unwrap(),
    );
    eventually("the node is ready behind TLS", || {
        // Before the certificate is there the file can not be read: a usage error.
        (trusting.run(&["health", "--ready"]).code == Some(0)).then_some(())
    });
    let cli = trusting.with("JARVIS_SECRETS_TOKEN", &node.root_token());
    cli.piped(&["set", "database_url"], b"example-not-a-secret")
        .expect(0);
    for address in [&url, &by_name] {
        let read = [
            "get",
            "database_url",
            "--field",
            "version",
            "--url",
            address.as_str(),
        ];
        assert_eq!(cli.done(&read), "1\n");
    }
    // Without that authority the server is a stranger, and plain HTTP is not spoken.
    let distrusting = JARVIS.cli().with("JARVIS_SECRETS_URL", &url);
    let refused = distrusting.run(&["health"]).complains("certificate");
    assert_ne!(refused.code, Some(0));
    let plain = url.replace("https", "http");
    assert_ne!(cli.run(&["health", "--url", plain.as_str()]).code, Some(0));
    let key = fs::metadata(data.join("api.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(key & 0o077, 0);
}

/// F3: with `require_client_id_header` a token alone is not enough.
#[test]
fn f3_a_request_without_the_client_header_is_refused_where_it_is_required() {
    let node = JARVIS.node(POLICY, &[("security", "require_client_id_header = true")]);
    let admin = node.admin();
    let named = admin.with("x-jarvis-client", "admin");
    named.write("database_url", "x");
    let unnamed = admin.read("database_url");
    assert!(
        (400..500).contains(&unnamed.status),
        "{} {}",
        unnamed.status,
        unnamed.text()
    );
    assert_eq!(node.stranger().get("/healthz").status, 200);
}

fn private_folder(path: &Path) {
    fs::create_dir(path).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o700)).unwrap();
}
