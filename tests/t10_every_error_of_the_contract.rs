//! A7: every error that one node can give, with its status, its shape and its echo of the request id; and none of them
//! changes anything.
//!
//! `no_leader`, `unknown_outcome` and `internal` need a cluster or damage; their stories are told elsewhere.

#![allow(
    clippy::unwrap_used,
    reason = "a test program; its helpers are not marked as tests"
)]

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};

use jarvis_harness::{Answer, Caller, Node, Programs, Request, eventually, programs, read_answer};

/// What Cargo built.
const JARVIS: Programs = programs!();

const POLICY: &str = r#"
default_deny: true
clients:
  admin:
    allow: ["*"]
  writer:
    allow:
      - { name: "w/*", verbs: [read, write, delete] }
  reader:
    allow: [kept]
"#;

/// Stands in bodies that are refused; no error may repeat it.
const MARKER: &str = "example-not-a-secret";
/// What a client sends that is far too large.
const THREE_MIB: usize = 3 * 1024 * 1024;

#[test]
fn a7_a_refused_request_is_explained_and_changes_nothing() {
    let node = JARVIS.node(POLICY, &[("security", "trust_client_header = true")]);
    let admin = node.admin();
    let kept = admin.write("kept", "first");
    let before = admin.get("/secrets").done();
    let slow = start_slow_bodies(&admin);

    bodies_that_are_no_write(&admin);
    bad_names(&admin);
    paths_queries_and_methods(&admin);
    bodies_that_are_too_large(&node);
    missing_and_bad_credentials(&node);
    forbidden(&node);
    not_found(&admin);
    conflicts(&admin, &kept);
    request_ids(&admin);
    for client in slow {
        client.join().unwrap();
    }

    assert_eq!(admin.get("/secrets").done(), before);
    let after = admin.read("kept").done();
    assert_eq!(
        (&after["value"], &after["version"]),
        (&json!("first"), &json!(1))
    );
    assert_eq!(after["kid"], kept["kid"]);
}

fn bodies_that_are_no_write(admin: &Caller) {
    let whole = json!({"name": "kept", "value": MARKER}).to_string();
    for (body, complaint) in [
        (&whole[..whole.len() - 1], "ends early"),
        (MARKER, "not JSON"),
        ("", "missing field `name`"),
        ("{}", "missing field `name`"),
        (r#"{"name":"kept"}"#, "missing field `value`"),
        (r#"["example-not-a-secret"]"#, "wrong type"),
        (r#"{"name":1,"value":"x"}"#, "wrong type"),
        (r#"{"name":"kept","value":17}"#, "wrong type"),
        (r#"{"name":"kept","value":null}"#, "wrong type"),
        (r#"{"name":"kept","value":"x","cas":"1"}"#, "wrong type"),
        (r#"{"name":"kept","value":"x","cas":-1}"#, "wrong type"),
        (
            r#"{"name":"kept","value":"x","cass":1}"#,
            "unknown field `cass`",
        ),
        (
            r#"{"name":"kept","name":"b","value":"x"}"#,
            "duplicate field",
        ),
        (
            r#"{"name":"kept","value":"x","encoding":"rot13"}"#,
            "wrong type",
        ),
        (
            r#"{"name":"kept","value":"*","encoding":"base64"}"#,
            "not base64",
        ),
    ] {
        let error = admin
            .send(Request::new("POST", "/secret").body(body))
            .refused(400, "invalid_request");
        says(&error, complaint);
    }
    let key = |length| "k".repeat(length);
    for bad in [String::new(), key(129)] {
        let request = Request::new("POST", "/secret").header("idempotency-key", &bad);
        let error = admin
            .send(request.body(whole.clone()))
            .refused(400, "invalid_request");
        says(&error, "Idempotency-Key");
    }
}

/// A14, each rule, in a body and in a path.
fn bad_names(admin: &Caller) {
    let long = "n".repeat(513);
    for (name, in_path, complaint) in [
        ("/a", "%2Fa", "empty segment"),
        ("a/", "a%2F", "empty segment"),
        ("a//b", "a%2F%2Fb", "empty segment"),
        (".", "%2E", "'.' or '..'"),
        ("..", "%2e%2e", "'.' or '..'"),
        ("a/../b", "a%2F..%2Fb", "'.' or '..'"),
        ("a b", "a%20b", "only letters"),
        ("ä", "%C3%A4", "only letters"),
        ("a\0", "a%00", "only letters"),
        ("a%2Fb", "a%252Fb", "only letters"),
        ("*", "*", "only letters"),
        (long.as_str(), long.as_str(), "at most 512 bytes"),
    ] {
        let write = json!({"name": name, "value": MARKER});
        let in_a_body = admin.post("/secret", &write);
        says(&in_a_body.refused(400, "invalid_request"), complaint);
        let in_a_batch = admin.post("/secrets/batch", &json!({"writes": [write]}));
        says(&in_a_batch.refused(400, "invalid_request"), complaint);
        for method in ["GET", "DELETE"] {
            let asked = Request::new(method, &format!("/secret/{in_path}"));
            says(
                &admin.send(asked).refused(400, "invalid_request"),
                complaint,
            );
        }
    }
    let empty = json!({"name": "", "value": MARKER});
    let error = admin
        .post("/secret", &empty)
        .refused(400, "invalid_request");
    says(&error, "must not be empty");
    let error = admin.get("/secret/%FF").refused(400, "invalid_request");
    says(&error, "UTF-8");
}

fn paths_queries_and_methods(admin: &Caller) {
    // A3: an unescaped slash gets an error that says so.
    for target in ["/secret/db/main", "/secret/a/b/c", "/secret/"] {
        says(&admin.get(target).refused(400, "invalid_request"), "%2F");
    }
    for target in ["/", "/nope", "/secretz", "/v1/secret/kept"] {
        says(&admin.get(target).refused(404, "not_found"), "no such path");
    }
    for (method, target) in [
        ("PUT", "/secret"),
        ("GET", "/secret"),
        ("PATCH", "/secret/kept"),
        ("POST", "/healthz"),
        ("BREW", "/secrets"),
    ] {
        let answer = admin.send(Request::new(method, target));
        says(&answer.refused(400, "invalid_request"), method);
        assert!(answer.header("allow").is_some(), "{method} {target}");
    }
    for target in [
        "/secret/kept?version=one",
        "/secret/kept?version=-1",
        "/secret/kept?versoin=1",
        "/secret/kept?consistency=none",
        "/secrets?limit=many",
        "/secrets?deleted=perhaps",
        "/audit?tail=1&from_seq=1",
    ] {
        admin.get(target).refused(400, "invalid_request");
    }
    admin
        .delete("/secret/kept?cas=first")
        .refused(400, "invalid_request");
}

/// A14, A7: too large is 413, and a client that is still sending can read it and go on.
fn bodies_that_are_too_large(node: &Node) {
    let admin = node.admin();
    let long = "x".repeat(64 * 1024 + 1);
    let error = admin
        .post("/secret", &json!({"name": "kept", "value": long}))
        .refused(413, "too_large");
    says(&error, "65537 bytes");
    let writes = json!({"writes": [{"name": "w/a", "value": "x"}, {"name": "w/b", "value": long}]});
    let error = admin
        .post("/secrets/batch", &writes)
        .refused(413, "too_large");
    says(&error, "w/b");

    for _ in 0..5 {
        for chunked in [false, true] {
            let mut stream = admin.connect();
            let answer = keep_sending(&admin, &mut stream, "/secret", chunked);
            answer.refused(413, "too_large");
            // The connection survived: the rest of the body was read and thrown away.
            let next = Request::new("GET", "/livez").send_on(&mut stream, "127.0.0.1");
            assert_eq!(next.status, 200);
            let stranger = node.stranger();
            let mut stream = stranger.connect();
            keep_sending(&stranger, &mut stream, "/secret", chunked)
                .refused(401, "unauthenticated");
            // Also where nobody wants a body.
            let mut stream = admin.connect();
            keep_sending(&admin, &mut stream, "/nope", chunked).refused(404, "not_found");
            keep_sending(&admin, &mut stream, "/healthz", chunked).refused(400, "invalid_request");
            let next = Request::new("GET", "/livez").send_on(&mut stream, "127.0.0.1");
            assert_eq!(next.status, 200);
        }
    }
}

fn keep_sending(caller: &Caller, stream: &mut TcpStream, target: &str, chunked: bool) -> Answer {
    let piece = vec![b'x'; 32 * 1024];
    let mut head = caller.head("POST", target);
    head.push_str(&if chunked {
        "transfer-encoding: chunked\r\n\r\n".to_owned()
    } else {
        format!("content-length: {THREE_MIB}\r\n\r\n")
    });
    stream.write_all(head.as_bytes()).unwrap();
    for _ in 0..THREE_MIB / piece.len() {
        if chunked {
            write!(stream, "{:x}\r\n", piece.len()).unwrap();
        }
        stream.write_all(&piece).unwrap();
        if chunked {
            stream.write_all(b"\r\n").unwrap();
        }
    }
    if chunked {
        stream.write_all(b"0\r\n\r\n").unwrap();
    }
    read_answer(stream)
}

/// Bodies that stop in the middle: one client hangs up, another one just waits. Both take a while, beside the rest.
fn start_slow_bodies(admin: &Caller) -> Vec<JoinHandle<()>> {
    [(true, "ended early"), (false, "did not arrive in time")]
        .into_iter()
        .map(|(hangs_up, complaint)| {
            let admin = admin.clone();
            thread::spawn(move || {
                let mut stream = admin.connect();
                let mut head = admin.head("POST", "/secret");
                head.push_str("content-length: 1000\r\n\r\n{\"name\":\"kept\",");
                stream.write_all(head.as_bytes()).unwrap();
                if hangs_up {
                    stream.shutdown(Shutdown::Write).unwrap();
                }
                let error = read_answer(&mut stream).refused(400, "invalid_request");
                says(&error, complaint);
            })
        })
        .collect()
}

/// I1, I2: no credential, or one that is none.
fn missing_and_bad_credentials(node: &Node) {
    let (admin, stranger) = (node.admin(), node.stranger());
    let created = admin.post("/tokens", &json!({"client": "reader"})).done();
    let token = created["token"].as_str().unwrap();
    let (public, secret) = token.rsplit_once('.').unwrap();
    let other_first = if secret.starts_with('A') { "B" } else { "A" };
    let wrong_secret = format!("{public}.{other_first}{}", &secret[1..]);
    let unknown_id = format!("jv1.{}.{secret}", "0".repeat(32));

    let unauthenticated = |caller: &Caller| {
        for answer in [
            caller.read("kept"),
            caller.get("/secrets"),
            caller.delete("/secret/kept"),
        ] {
            answer.refused(401, "unauthenticated");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
    };
    unauthenticated(&stranger);
    for bad in [
        "",
        "x",
        "jv1.",
        "jv1.a.b",
        &wrong_secret,
        &unknown_id,
        &token[1..],
    ] {
        unauthenticated(&stranger.with_token(bad));
    }
    let reader = stranger.with_token(token);
    reader.read("kept").done();
    unauthenticated(&stranger.with("authorization", &format!("Basic {token}")));
    unauthenticated(&stranger.with("authorization", token));
    unauthenticated(&reader.with_token(token));

    let id = created["id"].as_str().unwrap();
    admin.delete(&format!("/tokens/{id}")).done();
    unauthenticated(&reader);

    let brief = json!({"client": "reader", "ttl_secs": 1});
    let brief = admin.post("/tokens", &brief).done();
    let brief = stranger.with_token(brief["token"].as_str().unwrap());
    eventually("the token expires", || {
        (brief.read("kept").status != 200).then_some(())
    });
    unauthenticated(&brief);
}

/// P1, I2: the policy says no, or the header contradicts the token.
fn forbidden(node: &Node) {
    let reader = node.client("reader");
    let error = reader.read("w/a").refused(403, "not_authorized");
    says(&error, "client reader not allowed to access w/a");
    // Forbidden is never 404: whether the name exists is nobody's business.
    reader.read("never-written").refused(403, "not_authorized");
    let write = json!({"name": "kept", "value": MARKER});
    reader
        .post("/secret", &write)
        .refused(403, "not_authorized");
    reader.delete("/secret/kept").refused(403, "not_authorized");
    reader
        .command("/secret/kept/destroy")
        .refused(403, "not_authorized");
    reader.get("/tokens").refused(403, "not_authorized");
    let contradicting = reader.with("x-jarvis-client", "admin");
    contradicting.read("kept").refused(403, "not_authorized");
    reader.with("x-jarvis-client", "reader").read("kept").done();
    // A believed header with an unknown client is forbidden, not unauthenticated.
    let unknown = node.stranger().with("x-jarvis-client", "nobody-knows-me");
    unknown.read("kept").refused(403, "not_authorized");
    let no_id = node.stranger().with("x-jarvis-client", "not a client");
    no_id.read("kept").refused(400, "invalid_request");
}

fn not_found(admin: &Caller) {
    admin.read("never/written").refused(404, "not_found");
    admin
        .get("/secret/kept?version=2")
        .refused(404, "not_found");
    admin
        .get("/secret/kept?version=0")
        .refused(404, "not_found");
    admin
        .get("/secret/never/versions")
        .refused(404, "not_found");
    admin.delete("/secret/never").refused(404, "not_found");
    admin
        .command("/secret/never/undelete")
        .refused(404, "not_found");
    admin
        .post("/secret/kept/destroy", &json!({"versions": [1, 9]}))
        .refused(404, "not_found");
    let error = admin
        .post("/secret/kept/destroy", &json!({"versions": [3]}))
        .refused(404, "not_found");
    says(&error, "version 3 of kept does not exist");
    let no_token = format!("/tokens/{}", "0".repeat(32));
    admin.delete(&no_token).refused(404, "not_found");

    // A deleted name says until when it can come back.
    admin.write("w/gone", "x");
    let deleted = admin.delete("/secret/w%2Fgone").done();
    let until = deleted["undelete_until"].as_str().unwrap();
    says(&admin.read("w/gone").refused(404, "not_found"), until);
    let again = admin.delete("/secret/w%2Fgone").refused(404, "not_found");
    says(&again, until);
}

fn conflicts(admin: &Caller, kept: &Value) {
    let cas = |cas: u64| json!({"name": "kept", "value": MARKER, "cas": cas});
    for wrong in [0, 2, u64::MAX] {
        let error = admin.post("/secret", &cas(wrong)).refused(409, "conflict");
        assert_eq!(error["actual_version"], 1);
    }
    let error = admin.delete("/secret/kept?cas=7").refused(409, "conflict");
    assert_eq!(error["actual_version"], 1);
    let absent = json!({"name": "w/absent", "value": "x", "cas": 3});
    let error = admin.post("/secret", &absent).refused(409, "conflict");
    assert_eq!(error["actual_version"], 0);
    let error = admin
        .command("/secret/kept/undelete")
        .refused(409, "conflict");
    assert_eq!(error["actual_version"], kept["version"]);
    says(&error, "kept is not deleted");
}

/// A7, A11: the id travels through and never decides anything.
fn request_ids(admin: &Caller) {
    let traced = admin.with("x-request-id", "story-1");
    assert_eq!(traced.read("kept").header("x-request-id"), Some("story-1"));
    let error = traced.read("never").refused(404, "not_found");
    assert_eq!(error["request_id"], "story-1");
    let unknown = admin.with("x-request-id", "story-2");
    let error = unknown.get("/nope").refused(404, "not_found");
    assert_eq!(error["request_id"], "story-2");
    for bad in ["x".repeat(65), "two words".to_owned()] {
        let answer = admin.with("x-request-id", &bad).read("never");
        let own = answer.refused(404, "not_found");
        assert_ne!(own["request_id"], bad.as_str());
        assert!(!own["request_id"].as_str().unwrap().is_empty());
    }
}

#[track_caller]
fn says(error: &Value, expected: &str) {
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains(expected),
        "'{expected}' is missing: {message}"
    );
    assert!(!message.contains(MARKER), "a value in a message: {message}");
}
