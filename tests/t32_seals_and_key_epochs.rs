//! C3, X2, X3: who opened and who closed a node stands in the trail, and a vault of any size moves to a new key epoch.

#![allow(
    clippy::unwrap_used,
    reason = "a test program; its helpers are not marked as tests"
)]

use std::fs;

use serde_json::{Value, json};

use jarvis_harness::{Caller, Programs, Request, eventually, programs};

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

/// The most writes that one request may hold.
const BATCH: u64 = 64;
/// So many requests write more than one round of re-encrypting takes on, however fast the machine is.
const BATCHES: u64 = 65;

#[test]
fn c3_who_opened_and_who_closed_a_node_stands_in_the_trail() {
    let mut node = JARVIS.node(POLICY, &[]);
    let (admin, backend, stranger) = (node.admin(), node.client("backend"), node.stranger());
    let opened = |slot: &str| format!("seal.open ok {slot}");
    let mut expected = vec![opened("node-1")];
    tells(&admin, "that it opened itself at its start", &expected);

    let passphrase = json!({"passphrase": "an example of a long passphrase"});
    let mut slot = passphrase.clone();
    slot["kind"] = json!("passphrase");
    let slot = admin.post("/sys/slots", &slot).done();
    backend.command("/sys/seal").refused(403, "not_authorized");
    admin.command("/sys/seal").done();
    expected.push("seal.close deny backend".to_owned());
    expected.push("seal.close allow admin".to_owned());
    tells(&admin, "who closed it, and who tried", &expected);

    // What opens nothing is counted, and nothing is opened by whom it finds open.
    let wrong = json!({"passphrase": "an example of a wrong passphrase"});
    stranger
        .post("/sys/unseal", &wrong)
        .refused(401, "unauthenticated");
    for _ in 0..2 {
        stranger.post("/sys/unseal", &passphrase).done();
    }
    expected.push(opened(slot["slot"].as_str().unwrap()));
    tells(&admin, "which passphrase opened it", &expected);

    let config = fs::read_to_string(node.plan().folder().join("config.toml")).unwrap();
    node.start_again(&config);
    expected.push(opened("node-1"));
    tells(&admin, "its next start", &expected);
    assert!(
        seals(&admin).iter().all(|event| event["node"] == 1),
        "each of them is about the node that was asked"
    );
}

#[test]
fn x2_a_large_vault_moves_to_a_new_epoch_in_rounds() {
    let node = JARVIS.node(POLICY, &[]);
    let admin = node.admin();
    for batch in 0..BATCHES {
        let writes: Vec<_> = (0..BATCH)
            .map(|number| json!({"name": format!("many/{batch}/{number}"), "value": "example"}))
            .collect();
        admin
            .post("/secrets/batch", &json!({ "writes": writes }))
            .done();
    }

    let round = || {
        let request =
            Request::command("/sys/epochs/rotate").header("idempotency-key", "to-epoch-2");
        let answer = admin.send(request).done();
        assert_eq!(answer["epoch"], 2, "one key begins one epoch");
        answer["left"].as_u64().unwrap()
    };
    let mut left = round();
    assert!((1..BATCH * BATCHES).contains(&left), "{left} are left");
    while left > 0 {
        let before = left;
        left = round();
        assert!(left < before, "{left} are left of {before}");
    }
    assert_eq!(round(), 0, "a repetition of the last one");
    assert_eq!(admin.read("many/0/0").done()["value"], "example");

    let trail = admin.trail();
    let count = |event: &str, outcome: &str| {
        let is_one = |line: &&Value| line["event"] == event && line["outcome"] == outcome;
        trail.iter().filter(is_one).count() as u64
    };
    assert_eq!(count("epoch.add", "allow"), 1);
    assert_eq!(count("secret.rewrap", "allow"), BATCH * BATCHES);
    assert_eq!(count("secret.rewrap", "refused"), 0);
    assert_eq!(count("epoch.retire", "allow"), 1);

    // L5: at the shell it is one command, which tells how it gets on.
    let said = node
        .cli()
        .run(&["seal", "rotate-epoch"])
        .expect(0)
        .complains("versions are left");
    assert_eq!(said.out, "every version is encrypted under epoch 3\n");
    let last = format!("many/{}/{}", BATCHES - 1, BATCH - 1);
    assert_eq!(admin.read(&last).done()["value"], "example");
}

/// Waits until the trail tells this of the seal, and no more.
#[track_caller]
fn tells(admin: &Caller, what: &str, expected: &[String]) {
    eventually(&format!("the trail tells {what}"), || {
        let found: Vec<String> = seals(admin).iter().map(in_short).collect();
        assert!(
            expected.starts_with(&found),
            "found {found:?}, expected {expected:?}"
        );
        (found.len() == expected.len()).then_some(())
    });
}

/// The events of taking and losing keys, oldest first.
fn seals(admin: &Caller) -> Vec<Value> {
    let mut events = admin.trail();
    events.retain(|event| event["event"] == "seal.open" || event["event"] == "seal.close");
    events
}

/// Event, outcome, and which slot or client it was.
fn in_short(event: &Value) -> String {
    let text = |field: &str| event[field].as_str().unwrap_or_default();
    let by = text("slot").to_owned() + text("client");
    format!("{} {} {by}", text("event"), text("outcome"))
}
