//! A7, A13, C10, F1, F3, F8, I3, L2, L3, L5, M, P2: what somebody tries who does not take the documents' word for it.

#![allow(
    clippy::unwrap_used,
    reason = "a test program; its helpers are not marked as tests"
)]

use std::fs;
use std::net::TcpListener;

use jarvis_harness::{Caller, Programs, eventually, programs};
use serde_json::json;

const JARVIS: Programs = programs!();

const POLICY: &str = r#"
default_deny: true
clients:
  admin:
    allow: ["*"]
  backend:
    allow:
      - database_url
      - { name: "listed/*", verbs: [list] }
      - { name: "db/*", verbs: [rotate] }
"#;
/// A start that was refused.
const REFUSED: i32 = 1;

/// A13: the path of a socket may be mistyped; nobody's file is the price.
#[test]
fn a13_a_file_at_the_socket_s_path_is_never_removed() {
    let plan = JARVIS.plan();
    let mine = plan.file("notes.txt", "mine");
    let server = format!("allow_unix_socket = \"{}\"", mine.display());
    let stopped = plan.refused(&plan.config(&[("server", server.as_str())]));
    assert_eq!(stopped.code, Some(REFUSED), "{}", stopped.log);
    for part in [
        mine.to_str().unwrap(),
        "is not a socket",
        "allow_unix_socket",
    ] {
        assert!(stopped.log.contains(part), "{part}: {}", stopped.log);
    }
    assert_eq!(fs::read_to_string(&mine).unwrap(), "mine");
    assert!(
        !plan.data().exists(),
        "a refused start leaves no cluster behind"
    );
}

/// F1, F3, C3: who is behind a trusted proxy is not of this machine; the refusal is counted.
#[test]
fn f3_requests_from_elsewhere_are_refused_also_through_a_proxy_on_this_machine() {
    let node = JARVIS.node(
        POLICY,
        &[
            ("security", "deny_network_remote = true"),
            ("server", "trusted_proxies = [\"127.0.0.1\"]"),
        ],
    );
    let admin = node.admin();
    admin.write("database_url", "x");
    let from = |address: &str| admin.with("x-forwarded-for", address);
    from("127.0.0.1").read("database_url").done();
    for elsewhere in ["192.0.2.1", "127.0.0.1, 192.0.2.1", "unknown"] {
        let error = from(elsewhere)
            .read("database_url")
            .refused(403, "not_authorized");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("deny_network_remote"), "{message}");
    }
    assert_eq!(refused(&node.stranger(), "remote"), 3);
}

/// I3: whatever is refused before the log is counted by its reason.
#[test]
fn i3_each_refusal_of_a_flood_is_in_the_metrics() {
    let node = JARVIS.node(POLICY, &[("limits", "forbidden_per_second = 2")]);
    let backend = node.client("backend");
    let slowed = (0..100)
        .filter(|_| backend.read("other").status == 429)
        .count();
    assert!(slowed > 0);
    assert_eq!(refused(&node.stranger(), "forbidden_flood"), slowed);
}

/// C10, A7: a question that is none gets the one form of an error.
#[test]
fn c10_a_probe_that_asks_for_something_else_is_told() {
    let node = JARVIS.node(POLICY, &[]);
    let stranger = node.stranger();
    for bad in ["/readyz?for=lunch", "/readyz?verbose&verbose"] {
        stranger.get(bad).refused(400, "invalid_request");
    }
    for good in ["/readyz", "/readyz?verbose", "/readyz?verbose=1", "/livez"] {
        assert_eq!(stranger.get(good).status, 200, "{good}");
    }
}

/// A7: an array is no object with its fields in order; least of all an empty one that destroys everything.
#[test]
fn a7_an_array_is_not_taken_for_an_object() {
    let node = JARVIS.node(POLICY, &[]);
    let admin = node.admin();
    admin.write("kept", "x");
    for (target, body) in [
        ("/secret", json!(["kept", "y"])),
        ("/secret/kept/destroy", json!([])),
        ("/secret/kept/destroy", json!([[1]])),
        ("/tokens", json!(["backend"])),
        ("/cluster/transfer-leader", json!([])),
    ] {
        let error = admin.post(target, &body).refused(400, "invalid_request");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("object"), "{target}: {message}");
    }
    let kept = admin.read("kept").done();
    assert_eq!((&kept["value"], &kept["version"]), (&json!("x"), &json!(1)));
}

/// M: next rotation due. Looked for every ten seconds at most.
#[test]
fn m_the_next_rotation_is_told_in_seconds() {
    let node = JARVIS.node(POLICY, &[("security", "rotation_days = 3")]);
    let stranger = node.stranger();
    assert_eq!(sample(&stranger, "jarvis_next_rotation_due_seconds"), 0);
    node.admin().write("database_url", "x");
    let due = eventually("the new secret is seen", || {
        let due = sample(&stranger, "jarvis_next_rotation_due_seconds");
        (due > 0).then_some(due)
    });
    assert!((3 * 86_400 - 120..=3 * 86_400).contains(&due), "{due}");
}

/// P2: an explanation is what the request would be told.
#[test]
fn p2_administering_and_listing_are_explained_as_they_are_decided() {
    let node = JARVIS.node(POLICY, &[]);
    let admin = node.admin();
    for (client, name, verb, allowed) in [
        ("backend", "database_url", "list", true),
        ("backend", "listed/x", "list", true),
        ("backend", "listed/x", "read", false),
        ("backend", "db/x", "admin", false),
        ("admin", "anything", "admin", true),
    ] {
        let question = json!({"client": client, "name": name, "verb": verb});
        let answer = admin.post("/policy/explain", &question).done();
        assert_eq!(answer["allowed"], allowed, "{question}: {answer}");
    }
    let no_name = json!({"client": "backend", "name": "a b", "verb": "read"});
    admin
        .post("/policy/explain", &no_name)
        .refused(400, "invalid_request");
}

/// L2, A7: what can not be is refused, and not called unknown.
#[test]
fn l2_leadership_goes_to_voters_only() {
    let node = JARVIS.node(POLICY, &[]);
    let admin = node.admin();
    for target in [json!({"to": 999}), json!({})] {
        admin
            .post("/cluster/transfer-leader", &target)
            .refused(400, "invalid_request");
    }
    let own = admin.get("/cluster/status").done()["leader"].clone();
    let stays = admin
        .post("/cluster/transfer-leader", &json!({"to": own}))
        .done();
    assert_eq!(stays["leader"], own);
}

/// F8: nothing that is sent to this machine goes through a proxy.
#[test]
fn f8_proxies_of_the_environment_do_not_apply_to_loopback() {
    // Whoever came here would never get an answer.
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let node = JARVIS.node(POLICY, &[]);
    let mut cli = node.cli();
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        cli = cli.with(name, &address);
    }
    cli.piped(&["set", "database_url"], b"example-not-a-secret")
        .expect(0);
    cli.run(&["get", "database_url"]).expect(0);
    proxy.set_nonblocking(true).unwrap();
    assert!(proxy.accept().is_err(), "the proxy was asked");
}

/// L3: into another cluster and back, names and all.
#[test]
fn l3_an_export_that_keeps_names_is_the_same_vault_elsewhere() {
    let (here, there) = (JARVIS.node(POLICY, &[]), JARVIS.node(POLICY, &[]));
    let (cli, other) = (here.cli(), there.cli());
    let secrets = [
        (
            "db/main.pass-word",
            "two\nlines \"q\" $HOME \\ # no comment",
        ),
        ("database_url", "postgres://x?a=b#c"),
        ("empty", ""),
    ];
    for (name, value) in secrets {
        let path = here.plan().file("value", value);
        cli.run(&["set", name, "--file", path.to_str().unwrap()])
            .expect(0);
    }
    let exported = cli.run(&["export", "--keep-names"]).expect(0);
    assert_eq!(exported.err, "", "nothing is lost, so nothing is said");
    let file = there.plan().file("copy.env", &exported.out);
    let import = ["import", file.to_str().unwrap()];
    other.run(&import).expect(0);
    for (name, value) in secrets {
        assert_eq!(other.done(&["get", name, "-o", "raw"]), value, "{name}");
    }
    let again = other.done(&import);
    assert!(
        again.contains("0 created, 0 updated, 3 unchanged"),
        "{again}"
    );
    // As variables, one of them comes back under another name: that is said.
    let said = cli.run(&["export"]).expect(0).complains("--keep-names");
    assert!(
        said.err.contains("db/main.pass-word as db_main_pass_word"),
        "{}",
        said.err
    );
    assert!(!said.err.contains("postgres://"), "{}", said.err);
}

/// L5: an error says what to do about this thing, and not about another.
#[test]
fn l5_advice_is_about_what_was_asked_for() {
    let node = JARVIS.node(POLICY, &[]);
    let cli = node.cli();
    let nobody = "0".repeat(32);
    let unknown = cli
        .run(&["token", "revoke", &nobody])
        .expect(3)
        .complains("jarvis-secrets token list");
    assert!(!unknown.err.contains("names that you may read"));
    cli.run(&["seal", "remove-slot", "passphrase-none"])
        .expect(3)
        .complains("jarvis-secrets seal status");
    cli.run(&["audit", "tail", "-n", "1001"]).expect(2);
    cli.run(&["audit", "tail", "-n", "1000"]).expect(0);
}

fn refused(caller: &Caller, reason: &str) -> usize {
    let counted = sample(
        caller,
        &format!("requests_refused_total{{reason=\"{reason}\"}}"),
    );
    usize::try_from(counted).unwrap()
}

/// A sample of `/metrics` by its name and labels.
fn sample(caller: &Caller, name: &str) -> i64 {
    let text = caller.get("/metrics").text();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .unwrap_or_else(|| panic!("{name} is missing"));
    line.parse().unwrap()
}
