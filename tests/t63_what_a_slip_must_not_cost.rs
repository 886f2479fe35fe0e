//! A7, C5, C9, F, I3, L3, P2, X6: slips that would cost a cluster, a folder or a shell, and what the product says instead.

#![allow(
    clippy::unwrap_used,
    reason = "a test program; its helpers are not marked as tests"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use jarvis_harness::{Caller, Programs, programs};
use serde_json::json;

const JARVIS: Programs = programs!();

const POLICY: &str = r#"
default_deny: true
clients:
  admin:
    allow: ["*"]
  backend:
    allow: [database_url]
"#;
/// One in which nobody administers.
const NOBODY: &str = "clients:\n  backend:\n    allow: [database_url]\n";
/// A configuration that is wrong: nothing was looked at but the file and the environment.
const BAD_CONFIGURATION: i32 = 2;
/// A start that was refused.
const REFUSED: i32 = 1;

/// P2: there is no way back from a policy without an administrator, so it takes a word of its own.
#[test]
fn p2_nobody_is_locked_out_of_a_cluster_by_a_slip() {
    let node = JARVIS.node(POLICY, &[]);
    let (admin, cli) = (node.admin(), node.cli());
    for dry_run in [false, true] {
        let error = admin
            .put("/policy", &json!({"policy": NOBODY, "dry_run": dry_run}))
            .refused(400, "invalid_request");
        let message = error["message"].as_str().unwrap();
        for part in ["no client could administer", "\"allow_no_administrator\""] {
            assert!(message.contains(part), "'{part}' is missing: {message}");
        }
    }
    let file = node.plan().file("nobody.yaml", NOBODY);
    let apply = ["policy", "apply", file.to_str().unwrap()];
    cli.run(&apply)
        .expect(1)
        .complains("--allow-no-administrator");
    assert_eq!(admin.get("/policy").done()["version"], 1);

    // Who means it may: first in a dry run, then for good.
    let meant = [&apply[..], &["--allow-no-administrator"]].concat();
    cli.run(&[&meant[..], &["--dry-run"]].concat()).expect(0);
    assert_eq!(admin.get("/policy").done()["version"], 1);
    cli.run(&meant).expect(0);
    admin.get("/policy").refused(403, "not_authorized");
    admin
        .put("/policy", &json!({"policy": POLICY}))
        .refused(403, "not_authorized");
}

/// F: a misspelt variable is as wrong as a misspelt key.
#[test]
fn f_an_override_that_overrides_nothing_is_refused_by_name() {
    let misspelt = "JARVIS_SECRETSD_LIMITS_MAX_VALUE_BYTE";
    let plan = JARVIS.plan().with(misspelt, "1024");
    let stopped = plan.refused(&plan.config(&[]));
    assert_eq!(stopped.code, Some(BAD_CONFIGURATION), "{}", stopped.log);
    for part in [misspelt, "[limits]", "did you mean `max_value_bytes`"] {
        assert!(stopped.log.contains(part), "{part}: {}", stopped.log);
    }
    assert!(!plan.data().exists());

    // A Service of that name in Kubernetes puts such variables into every container.
    let plan = JARVIS
        .plan()
        .with("JARVIS_SECRETSD_SERVICE_HOST", "10.0.0.1")
        .with("JARVIS_SECRETSD_PORT", "tcp://10.0.0.1:8081")
        .with("JARVIS_SECRETSD_PORT_8081_TCP_PROTO", "tcp");
    let config = plan.config(&[]);
    plan.spawn(&config).wait_until_ready();
}

/// C9: three containers that are configured by their environment are not three clusters.
#[test]
fn c9_a_node_named_by_its_environment_begins_no_cluster_by_itself() {
    for (name, value) in [
        ("JARVIS_SECRETSD_CLUSTER_NODE_NAME", "n1"),
        (
            "JARVIS_SECRETSD_CLUSTER_ADVERTISE_PEER_ADDR",
            "n1.example.net:9081",
        ),
    ] {
        let plan = JARVIS.plan().with(name, value);
        let stopped = plan.refused(&plan.config(&[]));
        assert_eq!(stopped.code, Some(REFUSED), "{}", stopped.log);
        for advice in ["belongs to no cluster", "cluster init", "cluster join"] {
            assert!(stopped.log.contains(advice), "{advice}: {}", stopped.log);
        }
        assert!(!plan.data().join("node.json").exists());
    }
}

/// X6: `audit_path` of the old daemon means the file's folder, and that may be everybody's.
#[test]
fn x6_nobody_is_told_to_close_a_folder_that_others_use() {
    let plan = JARVIS.plan();
    let logs = plan.folder().join("log");
    fs::create_dir(&logs).unwrap();
    fs::set_permissions(&logs, Permissions::from_mode(0o755)).unwrap();
    fs::write(logs.join("syslog"), "").unwrap();
    let audit = format!("audit_path = \"{}/audit.log\"", logs.display());
    let stopped = plan.refused(&plan.config(&[("paths", audit.as_str())]));
    assert_eq!(stopped.code, Some(REFUSED), "{}", stopped.log);
    let instead = format!("audit_path = \"{}/jarvis-secretsd\"", logs.display());
    for part in ["syslog", instead.as_str()] {
        assert!(stopped.log.contains(part), "{part}: {}", stopped.log);
    }
    assert!(!stopped.log.contains("chmod"), "{}", stopped.log);
    assert!(!plan.data().join("node.json").exists());

    // The advice works.
    let config = plan.config(&[("paths", instead.as_str())]);
    let mut node = plan.spawn(&config);
    node.wait_until_ready();
    node.admin().write("database_url", "x");
    let mode = fs::metadata(&logs).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o755);
    assert!(logs.join("jarvis-secretsd/audit.jsonl").exists());
}

/// L3: whoever may write a secret does not choose what others run.
#[test]
fn l3_no_secret_becomes_the_search_path_of_a_command() {
    let node = JARVIS.node(POLICY, &[]);
    let (admin, cli) = (node.admin(), node.cli());
    for name in ["path", "ld_preload", "app/path"] {
        admin.write(name, "example");
    }
    for (chosen, variable) in [("path", "PATH"), ("ld_preload", "LD_PRELOAD")] {
        let refused = cli.run(&["run", "--names", chosen, "--", "sh", "-c", "echo started"]);
        let refused = refused.expect(2).complains(variable);
        assert_eq!(refused.out, "");
    }
    let stripped = ["run", "--prefix", "app/", "--strip-prefix", "--", "true"];
    cli.run(&stripped).expect(2).complains("--strip-prefix");
    let child = ["--", "sh", "-c", "printf %s \"$APP_PATH\""];
    let kept = [&["run", "--prefix", "app/"][..], &child[..]].concat();
    assert_eq!(cli.done(&kept), "example");
}

/// I3: a token that nobody knows is one request of a stranger, and not two.
#[test]
fn i3_an_unknown_token_costs_the_strangers_one_request() {
    const PER_SECOND: i64 = 20;
    let limit = format!("unauthenticated_per_second = {PER_SECOND}");
    let node = JARVIS.node(POLICY, &[("limits", limit.as_str())]);
    let stranger = node.stranger();
    // Well formed, and nobody's.
    let unknown = format!("jv1.{}.{}", "0".repeat(32), "A".repeat(43));
    let nobody = stranger.with_token(&unknown);
    for _ in 0..PER_SECOND {
        nobody.read("database_url").refused(401, "unauthenticated");
    }
    assert_eq!(refusals(&stranger, "unauthenticated"), PER_SECOND);
    assert_eq!(refusals(&stranger, "unauthenticated_flood"), 0);
}

/// C5, A7: who bounds an answer's age expects that it has one.
#[test]
fn c5_a_bound_of_the_age_without_a_stale_read_is_refused() {
    let node = JARVIS.node(POLICY, &[]);
    let admin = node.admin();
    admin.write("database_url", "x");
    for query in ["max_age_ms=100", "consistency=linearizable&max_age_ms=100"] {
        let error = admin
            .get(&format!("/secret/database_url?{query}"))
            .refused(400, "invalid_request");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("consistency=stale"), "{message}");
    }
    admin
        .get("/secret/database_url?consistency=stale&max_age_ms=100")
        .done();
}

/// A7: the field is named, and its value is not.
#[test]
fn a7_a_field_of_the_wrong_type_is_named() {
    let node = JARVIS.node(POLICY, &[]);
    let admin = node.admin();
    for (target, body, field) in [
        (
            "/secret",
            json!({"name": "a", "value": "b", "encoding": "example-not-a-secret"}),
            "`encoding`",
        ),
        (
            "/secrets/batch",
            json!({"writes": [{"name": "a", "value": ["example-not-a-secret"]}]}),
            "`writes[0].value`",
        ),
        (
            "/tokens",
            json!({"client": "backend", "ttl_secs": "example-not-a-secret"}),
            "`ttl_secs`",
        ),
    ] {
        let error = admin.post(target, &body).refused(400, "invalid_request");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(field), "{target}: {message}");
        assert!(!message.contains("example"), "{target}: {message}");
    }
}

/// How often requests were refused for this reason, by `/metrics`.
fn refusals(caller: &Caller, reason: &str) -> i64 {
    let sample = format!("requests_refused_total{{reason=\"{reason}\"}} ");
    let text = caller.get("/metrics").text();
    let mut lines = text.lines();
    let count = lines.find_map(|line| line.strip_prefix(sample.as_str()));
    count.unwrap().parse().unwrap()
}
