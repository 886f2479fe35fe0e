//! P1–P4, I1, I2: who may do what, how that changes, and who is believed to be whom.

#![allow(
    clippy::unwrap_used,
    reason = "a test program; its helpers are not marked as tests"
)]

use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use jarvis_harness::{Answer, Caller, Programs, Request, eventually, programs};

/// What Cargo built.
const JARVIS: Programs = programs!();

const POLICY: &str = r#"
# The comment stays where it is.
default_deny: true
clients:
  admin:
    allow: ["*"]
  backend:
    allow:
      - database_url
      - api_keys/*
      - "service-?/key"
      - { name: "app/*", verbs: [read, write] }
      - { name: "listed/*", verbs: [list] }
      - { name: "written/*", verbs: [write] }
      - { name: "removed/*", verbs: [delete] }
    deny:
      - api_keys/billing
      - { name: "app/frozen/*", verbs: [write] }
  idle:
"#;

/// Denied requests of these stories come quickly one after the other.
const PATIENT: (&str, &str) = ("limits", "forbidden_per_second = 1000");

#[test]
fn p1_p3_verbs_globs_and_deny_rules_decide_and_lists_show_what_may_be_seen() {
    let node = JARVIS.node(POLICY, &[PATIENT]);
    let (admin, backend) = (node.admin(), node.client("backend"));
    let names = [
        "database_url",
        "api_keys/main",
        "api_keys/billing",
        "api_keys",
        "service-a/key",
        "service-ab/key",
        "app/one",
        "app/frozen/two",
        "listed/x",
        "written/x",
        "removed/x",
        "other",
    ];
    for name in names {
        admin.write(name, "x");
    }

    let allowed = |verb: fn(&Caller, &str) -> Answer| -> Vec<&str> {
        let may = |name: &&str| match verb(&backend, name).status {
            200 => true,
            403 => false,
            other => panic!("{name}: {other}"),
        };
        names.iter().copied().filter(may).collect()
    };
    let readable = [
        "database_url",
        "api_keys/main",
        "service-a/key",
        "app/one",
        "app/frozen/two",
    ];
    assert_eq!(allowed(Caller::read), readable);
    let write =
        |caller: &Caller, name: &str| caller.post("/secret", &json!({"name": name, "value": "y"}));
    assert_eq!(allowed(write), ["app/one", "written/x"]);
    let versions = |caller: &Caller, name: &str| {
        caller.get(&format!("/secret/{}/versions", name.replace('/', "%2F")))
    };
    assert_eq!(allowed(versions), readable);
    let delete = |caller: &Caller, name: &str| {
        caller.delete(&format!("/secret/{}", name.replace('/', "%2F")))
    };
    assert_eq!(allowed(delete), ["removed/x"]);

    // A4: readable or listable, in order; what it may only write is not for its eyes.
    let seen = [
        "api_keys/main",
        "app/frozen/two",
        "app/one",
        "database_url",
        "listed/x",
        "service-a/key",
    ];
    assert_eq!(listed(&backend), seen);
    assert_eq!(listed(&admin).len(), names.len() - 1);
    // Named, but allowed nothing; not named at all.
    assert!(listed(&node.client("idle")).is_empty());
    let unnamed = node.client("unnamed");
    unnamed.get("/secrets").refused(403, "not_authorized");
    unnamed.read("database_url").refused(403, "not_authorized");

    // Verbs for secrets are no verbs for the cluster.
    for target in ["/policy", "/tokens", "/audit", "/cluster/status"] {
        backend.get(target).refused(403, "not_authorized");
    }
    let policy = json!({"policy": POLICY});
    backend
        .put("/policy", &policy)
        .refused(403, "not_authorized");
    let token = json!({"client": "admin"});
    backend
        .post("/tokens", &token)
        .refused(403, "not_authorized");
    backend.command("/sys/seal").refused(403, "not_authorized");
    backend
        .command("/sys/epochs/rotate")
        .refused(403, "not_authorized");
}

#[test]
fn p2_the_policy_is_shown_explained_tried_and_replaced() {
    let node = JARVIS.node(POLICY, &[PATIENT]);
    let (admin, backend) = (node.admin(), node.client("backend"));
    admin.write("database_url", "x");
    let shown = admin.get("/policy").done();
    assert_eq!(
        (&shown["version"], &shown["policy"]),
        (&json!(1), &json!(POLICY))
    );

    for (client, name, verb, allowed, rule) in [
        ("backend", "database_url", "read", true, "database_url"),
        ("backend", "service-b/key", "read", true, "service-?/key"),
        ("backend", "app/frozen/x", "write", false, "app/frozen/*"),
        ("backend", "app/frozen/x", "read", true, "app/*"),
        (
            "backend",
            "api_keys/billing",
            "read",
            false,
            "deny api_keys/billing",
        ),
        ("backend", "other", "read", false, "default deny"),
        ("idle", "other", "list", false, "default deny"),
        (
            "unnamed",
            "other",
            "read",
            false,
            "does not name this client",
        ),
        ("admin", "other", "rotate", true, "*"),
    ] {
        let question = json!({"client": client, "name": name, "verb": verb});
        let answer = admin.post("/policy/explain", &question).done();
        assert_eq!(answer["allowed"], allowed, "{question}");
        assert_eq!(answer["policy_version"], 1);
        let said = answer["rule"].as_str().unwrap();
        assert!(said.contains(rule), "{question}: {said}");
    }

    let stricter = POLICY.replace("      - database_url\n", "");
    let tried = admin
        .put("/policy", &json!({"policy": stricter, "dry_run": true}))
        .done();
    assert_eq!(
        (&tried["version"], &tried["changed"]),
        (&json!(1), &json!(true))
    );
    assert_eq!(admin.get("/policy").done(), shown);
    backend.read("database_url").done();
    let same = admin.put("/policy", &json!({"policy": POLICY})).done();
    assert_eq!(
        (&same["version"], &same["changed"]),
        (&json!(1), &json!(false))
    );
    for dry_run in [false, true] {
        let late = json!({"policy": stricter, "cas": 7, "dry_run": dry_run});
        let conflict = admin.put("/policy", &late).refused(409, "conflict");
        assert_eq!(conflict["actual_version"], 1);
    }

    for (bad, complaint) in [
        ("clients: [", "YAML"),
        ("default_deny: false", "default_deny must be true"),
        ("colour: blue", "colour"),
        (
            "clients:\n  backend:\n    allow: [{name: x, verbs: [eat]}]",
            "client backend, allow rule 1",
        ),
        (
            "clients:\n  backend:\n    deny: [a, 'b c']",
            "client backend, deny rule 2",
        ),
        ("clients:\n  'bad client': {allow: [a]}", "client id"),
    ] {
        let error = admin
            .put("/policy", &json!({"policy": bad}))
            .refused(400, "invalid_request");
        let message = error["message"].as_str().unwrap();
        assert!(
            message.contains(complaint),
            "'{complaint}' is missing: {message}"
        );
    }
    assert_eq!(admin.get("/policy").done(), shown);

    // P4: in force for every request that starts after the acknowledgement.
    let applied = admin
        .put("/policy", &json!({"policy": stricter, "cas": 1}))
        .done();
    assert_eq!(
        (&applied["version"], &applied["changed"]),
        (&json!(2), &json!(true))
    );
    backend.read("database_url").refused(403, "not_authorized");
    assert!(!listed(&backend).contains(&"database_url".to_owned()));
    let applied = admin.put("/policy", &json!({"policy": POLICY})).done();
    assert_eq!(applied["version"], 3);
    backend.read("database_url").done();

    let trail = admin.trail();
    let changes: Vec<&Value> = trail
        .iter()
        .filter(|event| event["event"] == "policy.set" && event["outcome"] == "allow")
        .collect();
    let versions: Vec<u64> = changes
        .iter()
        .map(|event| event["version"].as_u64().unwrap())
        .collect();
    assert_eq!(
        versions,
        [1, 2, 3],
        "applying the same text is an event as well"
    );
}

#[test]
fn i1_p4_tokens_are_bound_listed_and_end_at_once() {
    let node = JARVIS.node(POLICY, &[PATIENT]);
    let (admin, stranger) = (node.admin(), node.stranger());
    admin.write("database_url", "x");
    let create = |body: Value| admin.post("/tokens", &body).done();
    let first = create(json!({"client": "backend"}));
    let second = create(json!({"client": "backend", "ttl_secs": 3600}));
    let brief = create(json!({"client": "backend", "ttl_secs": 1}));
    let caller = |created: &Value| stranger.with_token(created["token"].as_str().unwrap());
    let id = |created: &Value| created["id"].as_str().unwrap().to_owned();
    assert_eq!(first["expires_at"], Value::Null);
    assert!(second["expires_at"].is_string());
    for created in [&first, &second] {
        caller(created).read("database_url").done();
        let public = format!("jv1.{}.", id(created));
        assert!(created["token"].as_str().unwrap().starts_with(&public));
    }
    // A8: the header may name the same client, and no other.
    caller(&first)
        .with("x-jarvis-client", "backend")
        .read("database_url")
        .done();
    let contradicting = caller(&first).with("x-jarvis-client", "admin");
    contradicting
        .read("database_url")
        .refused(403, "not_authorized");

    let list = admin.get("/tokens");
    for created in [&first, &second] {
        let (_, secret) = created["token"].as_str().unwrap().rsplit_once('.').unwrap();
        assert!(!list.text().contains(secret), "a list shows no secret half");
        let list = list.done();
        let entry = list["tokens"]
            .as_array()
            .unwrap()
            .iter()
            .find(|token| token["id"] == created["id"]);
        let entry = entry.unwrap();
        assert_eq!(
            (&entry["client"], &entry["expires_at"]),
            (&created["client"], &created["expires_at"])
        );
    }

    let revoked = admin.delete(&format!("/tokens/{}", id(&first))).done();
    assert_eq!(revoked["revoked"], true);
    caller(&first)
        .read("database_url")
        .refused(401, "unauthenticated");
    caller(&second).read("database_url").done();
    admin
        .delete(&format!("/tokens/{}", id(&first)))
        .refused(404, "not_found");
    for bad in ["short", &"z".repeat(32)] {
        admin
            .delete(&format!("/tokens/{bad}"))
            .refused(400, "invalid_request");
    }
    eventually("the brief one expires", || {
        (caller(&brief).read("database_url").status == 401).then_some(())
    });
    for bad in [
        json!({"client": "two words"}),
        json!({"client": ""}),
        json!({"client": "backend", "ttl_secs": 0}),
        json!({}),
    ] {
        admin.post("/tokens", &bad).refused(400, "invalid_request");
    }
    admin
        .post("/cluster/join-token", &json!({"ttl_secs": 0}))
        .refused(400, "invalid_request");

    let trail = admin.trail();
    let names = |wanted: &Value, event: &str| {
        trail
            .iter()
            .any(|line| line["event"] == event && line["token"] == *wanted)
    };
    assert!(names(&first["id"], "token.create") && names(&first["id"], "token.revoke"));
    for created in [&first, &second, &brief] {
        let (_, secret) = created["token"].as_str().unwrap().rsplit_once('.').unwrap();
        assert!(!trail.iter().any(|line| line.to_string().contains(secret)));
    }
}

#[test]
fn i2_the_bare_header_is_believed_only_on_this_machine_and_from_nobody_in_between() {
    let settings = [
        PATIENT,
        ("security", "trust_client_header = true"),
        ("server", "allow_unix_socket = true"),
    ];
    let node = JARVIS.node(POLICY, &settings);
    node.admin().write("database_url", "x");
    let backend = node.stranger().with("x-jarvis-client", "backend");
    backend.read("database_url").done();
    backend.read("other").refused(403, "not_authorized");
    node.stranger()
        .with("x-jarvis-client", "unnamed")
        .read("x")
        .refused(403, "not_authorized");
    node.stranger()
        .read("database_url")
        .refused(401, "unauthenticated");
    backend
        .with("x-jarvis-client", "admin")
        .read("database_url")
        .refused(400, "invalid_request");

    for (header, value) in [
        ("forwarded", "for=192.0.2.1"),
        ("x-forwarded-for", "192.0.2.1"),
        ("X-Forwarded-Host", "example.com"),
        ("x-forwarded-anything", ""),
        ("via", "1.1 proxy"),
        ("origin", "http://127.0.0.1"),
        ("origin", "null"),
    ] {
        let passed_on = backend.with(header, value);
        passed_on
            .read("database_url")
            .refused(401, "unauthenticated");
    }
    for (host, believed) in [
        ("127.0.0.1", true),
        ("127.0.0.1:8081", true),
        ("[::1]:8081", true),
        ("[::1]", true),
        ("127.9.9.9", true),
        ("localhost", false),
        ("localhost:8081", false),
        ("rebound.example.com", false),
        ("192.0.2.1:8081", false),
        ("127.0.0.1.example.com", false),
    ] {
        let expected = if believed { 200 } else { 401 };
        assert_eq!(
            backend.with("host", host).read("database_url").status,
            expected,
            "{host}"
        );
    }

    // The socket is this machine, whatever the Host.
    let on_socket = |request: Request| {
        let mut stream = UnixStream::connect(node.plan().data().join("api.sock")).unwrap();
        request.send_on(&mut stream, "example.com")
    };
    let read = || Request::new("GET", "/secret/database_url");
    on_socket(read().header("x-jarvis-client", "backend")).done();
    let proxied = read()
        .header("x-jarvis-client", "backend")
        .header("via", "1.1 proxy");
    on_socket(proxied).refused(401, "unauthenticated");
    on_socket(read()).refused(401, "unauthenticated");
}

#[test]
fn i2_by_default_the_bare_header_proves_nothing() {
    let node = JARVIS.node(POLICY, &[("server", "allow_unix_socket = true")]);
    node.admin().write("database_url", "x");
    let backend = node.stranger().with("x-jarvis-client", "backend");
    backend.read("database_url").refused(401, "unauthenticated");
    let mut stream = UnixStream::connect(node.plan().data().join("api.sock")).unwrap();
    Request::new("GET", "/secret/database_url")
        .header("x-jarvis-client", "admin")
        .send_on(&mut stream, "127.0.0.1")
        .refused(401, "unauthenticated");
    let with_token = node.client("backend").with("x-jarvis-client", "backend");
    with_token.read("database_url").done();
}

/// C3: each access has its event, also one that is refused because header and token disagree.
#[test]
fn c3_a_header_that_contradicts_its_token_leaves_an_event() {
    let node = JARVIS.node(POLICY, &[]);
    let backend = node.client("backend").with("x-request-id", "contradicting");
    let contradicting = backend.with("x-jarvis-client", "admin");
    contradicting
        .read("database_url")
        .refused(403, "not_authorized");
    let about_it = node
        .admin()
        .trail()
        .into_iter()
        .filter(|event| event["request_id"] == "contradicting")
        .count();
    assert_eq!(about_it, 1);
}

fn listed(caller: &Caller) -> Vec<String> {
    let list = caller.get("/secrets").done();
    let name = |one: &Value| one["name"].as_str().unwrap().to_owned();
    list["secrets"]
        .as_array()
        .unwrap()
        .iter()
        .map(name)
        .collect()
}
