//! A11: an idempotency key makes a write safe to repeat. The same request gets the first outcome and leaves no second
//! event; another request under the key is refused; the key belongs to its client.

#![allow(
    clippy::unwrap_used,
    reason = "a test program; its helpers are not marked as tests"
)]

use serde_json::{Value, json};

use jarvis_harness::{Answer, Caller, Programs, Request, programs};

/// What Cargo built.
const JARVIS: Programs = programs!();

const POLICY: &str = r#"
default_deny: true
clients:
  admin:
    allow: ["*"]
  writer:
    allow:
      - { name: "*", verbs: [read, write, delete] }
"#;

#[test]
fn a11_the_same_request_gets_the_first_outcome_and_leaves_one_event() {
    let node = JARVIS.node(POLICY, &[]);
    let admin = node.admin();
    let write = json!({"name": "repeated", "value": "first"}).to_string();

    let first = keyed(&admin, "story-1", "POST", "/secret", &write).done();
    for attempt in 0..5 {
        let traced = admin.with("x-request-id", &format!("attempt-{attempt}"));
        let again = keyed(&traced, "story-1", "POST", "/secret", &write).done();
        assert_eq!(again, first);
    }
    assert_eq!(admin.read("repeated").done()["version"], 1);

    // Another request under the key: other bytes, another path, another method.
    let other = json!({"name": "repeated", "value": "second"}).to_string();
    let same_meaning = format!("{write} ");
    for (method, target, body) in [
        ("POST", "/secret", &other),
        ("POST", "/secret", &same_meaning),
        (
            "POST",
            "/secrets/batch",
            &json!({"writes": [{"name": "b", "value": "x"}]}).to_string(),
        ),
        ("POST", "/secret/repeated/destroy", &"{}".to_owned()),
        ("DELETE", "/secret/repeated", &String::new()),
    ] {
        keyed(&admin, "story-1", method, target, body).refused(409, "idempotency_key_reused");
    }
    assert_eq!(admin.read("repeated").done()["version"], 1);

    // The key of another client is another key, and a new key is a new write.
    let writer = node.client("writer");
    let theirs = keyed(&writer, "story-1", "POST", "/secret", &other).done();
    assert_eq!(theirs["version"], 2);
    let third = keyed(&admin, "story-2", "POST", "/secret", &write).done();
    assert_eq!(third["version"], 3);

    let events = events_about(&admin, "repeated");
    let of = |event: &str, outcome: &str| {
        events
            .iter()
            .filter(|line| line["event"] == event && line["outcome"] == outcome)
            .count()
    };
    assert_eq!(of("secret.write", "allow"), 3);
    assert_eq!(of("secret.destroy", "allow"), 0);
    assert_eq!(of("secret.delete", "allow"), 0);
    let first_seq = first["audit_seq"].as_u64().unwrap();
    let event = events.iter().find(|line| line["seq"] == first_seq).unwrap();
    assert_eq!(
        (&event["event"], &event["version"]),
        (&json!("secret.write"), &json!(1))
    );
}

#[test]
fn a11_deleting_undeleting_and_destroying_repeat_safely_too() {
    let node = JARVIS.node(POLICY, &[]);
    let admin = node.admin();
    admin.write("ends", "x");

    let deleted = keyed(&admin, "delete", "DELETE", "/secret/ends", "").done();
    let undeleted = keyed(&admin, "undelete", "POST", "/secret/ends/undelete", "").done();
    // The first delete was undone since; its repetition must not delete again.
    assert_eq!(
        keyed(&admin, "delete", "DELETE", "/secret/ends", "").done(),
        deleted
    );
    assert_eq!(admin.read("ends").done()["version"], 1);
    let again = keyed(&admin, "undelete", "POST", "/secret/ends/undelete", "").done();
    assert_eq!(again, undeleted);

    let body = json!({"versions": [1]}).to_string();
    let destroyed = keyed(&admin, "destroy", "POST", "/secret/ends/destroy", &body).done();
    admin.write("ends", "y");
    let again = keyed(&admin, "destroy", "POST", "/secret/ends/destroy", &body).done();
    assert_eq!(again, destroyed);
    assert_eq!(admin.read("ends").done()["version"], 2);

    // A found conflict is an outcome as well: what was missing then is missing in the repetition, whatever came later.
    let create = json!({"name": "late", "value": "x", "cas": 1}).to_string();
    keyed(&admin, "create", "POST", "/secret", &create).refused(409, "conflict");
    admin.write("late", "y");
    keyed(&admin, "create", "POST", "/secret", &create).refused(409, "conflict");
    assert_eq!(admin.read("late").done()["version"], 1);
}

#[test]
fn a11_what_an_administrator_does_repeats_safely_too() {
    let node = JARVIS.node(POLICY, &[]);
    let admin = node.admin();
    admin.write("kept", "x");
    let slot = json!({"kind": "passphrase", "passphrase": "an example of a long passphrase"});
    let slot = admin.post("/sys/slots", &slot).done();
    let slot = format!("/sys/slots/{}", slot["slot"].as_str().unwrap());
    let leader = admin.get("/cluster/status").done()["leader"].clone();
    let to_itself = json!({ "to": leader }).to_string();
    let ended = json!({"serial": "0a1b", "not_after": "2091-01-01T00:00:00Z"}).to_string();

    for (method, target, body, event) in [
        ("DELETE", slot.as_str(), "", "seal.slot.remove"),
        (
            "POST",
            "/certificates/revoke",
            ended.as_str(),
            "certificate.revoke",
        ),
        (
            "POST",
            "/cluster/transfer-leader",
            to_itself.as_str(),
            "leader.transfer",
        ),
        ("POST", "/sys/epochs/rotate", "", "epoch.add"),
    ] {
        let before = events_of(&admin, event);
        let first = keyed(&admin, event, method, target, body).done();
        let again = keyed(&admin, event, method, target, body).done();
        assert_eq!(again, first, "{target}");
        assert_eq!(events_of(&admin, event), before + 1, "{target}");
    }
    assert_eq!(admin.read("kept").done()["value"], "x");
}

#[test]
fn a11_a_credential_is_made_once_and_its_answer_comes_again() {
    const PASSPHRASE: &str = "an example of a long passphrase";
    let node = JARVIS.node(POLICY, &[]);
    let admin = node.admin();
    let token = json!({"client": "writer", "ttl_secs": 3_600}).to_string();
    let join_token = json!({"uses": 2}).to_string();
    let slot = json!({"kind": "passphrase", "passphrase": PASSPHRASE}).to_string();
    for (target, body, event) in [
        ("/tokens", &token, "token.create"),
        ("/cluster/join-token", &join_token, "join_token.create"),
        ("/sys/slots", &slot, "seal.slot.add"),
    ] {
        let before = events_of(&admin, event);
        let first = keyed(&admin, event, "POST", target, body).done();
        for _ in 0..3 {
            let again = keyed(&admin, event, "POST", target, body).done();
            assert_eq!(again, first, "{target}");
        }
        assert_eq!(events_of(&admin, event), before + 1, "{target}");
        let other = format!("{body} ");
        keyed(&admin, event, "POST", target, &other).refused(409, "idempotency_key_reused");
        let other_key = format!("{event}-2");
        let second = keyed(&admin, &other_key, "POST", target, body).done();
        assert_ne!(second, first, "{target}");
        let without_key = admin.send(Request::new("POST", target).body(body.as_str()));
        assert_ne!(without_key.done(), first, "{target}");
    }

    // Nothing but the root key is needed to show it again: not the key epoch, and not what a process remembers.
    let ask = || keyed(&admin, "token.create", "POST", "/tokens", &token);
    let first = ask().done();
    let writer = node.stranger().with_token(first["token"].as_str().unwrap());
    writer.write("by-the-token", "x");
    admin.command("/sys/epochs/rotate").done();
    assert_eq!(ask().done(), first);
    admin.command("/sys/seal").done();
    ask().refused(503, "sealed");
    let phrase = json!({ "passphrase": PASSPHRASE });
    node.stranger().post("/sys/unseal", &phrase).done();
    assert_eq!(ask().done(), first);

    // The first outcome stays the answer, as for every other write; what was revoked stays revoked.
    let id = first["id"].as_str().unwrap();
    admin.delete(&format!("/tokens/{id}")).done();
    assert_eq!(ask().done(), first);
    writer.read("by-the-token").refused(401, "unauthenticated");
}

fn events_of(admin: &Caller, event: &str) -> usize {
    let is_one = |line: &&Value| line["event"] == event && line["outcome"] == "allow";
    admin.trail().iter().filter(is_one).count()
}

fn keyed(caller: &Caller, key: &str, method: &str, target: &str, body: &str) -> Answer {
    let request = Request::new(method, target).header("idempotency-key", key);
    caller.send(request.body(body))
}

fn events_about(admin: &Caller, name: &str) -> Vec<Value> {
    let mut events = admin.trail();
    events.retain(|event| event["name"] == name);
    events
}
