//! I1, X5, P4: client certificates of the cluster CA: made with the command line, used without a token, and ended.

#![allow(
    clippy::unwrap_used,
    reason = "a test program; its helpers are not marked as tests"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use jarvis_harness::{Answer, Cli, Node, Programs, Request, Said, eventually, programs};

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
/// The secret that `backend` may read.
const VALUE: &str = "example-not-a-secret";

#[test]
fn i1_a_certificate_made_here_reads_without_a_token_until_it_is_revoked() {
    let node = tls_node();
    let admin = admin(&node);
    admin
        .piped(&["set", "database_url"], VALUE.as_bytes())
        .expect(0);
    admin.piped(&["set", "other"], VALUE.as_bytes()).expect(0);

    let out = node.plan().folder().join("certs");
    let made = make(&admin, "backend", &out);
    let (certificate, key) = (out.join("backend.crt"), out.join("backend.key"));
    assert_eq!(made["client"], "backend");
    assert_eq!(made["certificate"], certificate.to_str().unwrap());
    let mode = fs::metadata(&key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "X6");
    let chain = fs::read_to_string(&certificate).unwrap();
    assert!(
        chain.ends_with(&fs::read_to_string(ca(&node)).unwrap()),
        "the CA's certificate follows the client's"
    );

    // As whom it reads is in the certificate; the policy decides as for a token.
    let read = |name: &str, more: &[&str]| show(&node, (&certificate, &key), name, more);
    assert_eq!(read("database_url", &[]).expect(0).out, VALUE);
    read("other", &[]).expect(4).complains("not_authorized");
    // A8: the header may name the same client, and no other.
    read("database_url", &["--client", "backend"]).expect(0);
    read("database_url", &["--client", "admin"])
        .expect(4)
        .complains("not_authorized");

    // What is there is not overwritten.
    let folder = out.to_str().unwrap();
    let again = ["certificate", "create", "backend", "--out", folder];
    admin.run(&again).expect(2).complains("exists already");
    assert_eq!(fs::read_to_string(&certificate).unwrap(), chain);

    // P4: refused from the acknowledgement on; another certificate of the same client is not meant.
    let second = node.plan().folder().join("second");
    make(&admin, "backend", &second);
    let (serial, end) = (text(&made, "serial"), text(&made, "expires_at"));
    // As `openssl x509 -serial` prints it.
    let upper = serial.to_uppercase();
    let revoke = [
        "certificate",
        "revoke",
        "--serial",
        upper.as_str(),
        "--not-after",
        end.as_str(),
    ];
    let said = admin.done(&revoke);
    assert!(said.contains(&serial), "{said}");
    let refused = read("database_url", &[])
        .expect(4)
        .complains("unauthenticated");
    assert_eq!(refused.out, "");
    let other_pair = (second.join("backend.crt"), second.join("backend.key"));
    show(&node, (&other_pair.0, &other_pair.1), "database_url", &[]).expect(0);

    // C3: two were issued, one was ended.
    let trail = trail(&node);
    let allowed = |event: &str| -> Vec<&Value> {
        trail
            .iter()
            .filter(|line| line["event"] == event && line["outcome"] == "allow")
            .collect()
    };
    assert_eq!(allowed("certificate.issue").len(), 2);
    let revoked = allowed("certificate.revoke");
    assert_eq!(revoked.len(), 1);
    assert_eq!(revoked[0]["serial"], made["serial"]);
}

#[test]
fn i1_certificates_of_others_are_no_identity() {
    let (node, neighbour) = (tls_node(), tls_node());
    admin(&node)
        .piped(&["set", "database_url"], VALUE.as_bytes())
        .expect(0);

    // Another cluster's CA: the connection ends before anything is answered.
    let out = neighbour.plan().folder().join("certs");
    make(&admin(&neighbour), "backend", &out);
    let foreign = (out.join("backend.crt"), out.join("backend.key"));
    let refused = show(&node, (&foreign.0, &foreign.1), "database_url", &[]).expect(6);
    assert_eq!(refused.out, "");

    // The same CA made it, but for a node: peers are no clients.
    let pem = |label: &str, der: &str| {
        let body = STANDARD.encode(fs::read(node.plan().data().join(der)).unwrap());
        let text = format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        node.plan().file(&format!("{der}.pem"), &text)
    };
    let certificate = pem("CERTIFICATE", "peer.crt.der");
    let key = pem("PRIVATE KEY", "peer.key.der");
    show(&node, (&certificate, &key), "database_url", &[])
        .expect(4)
        .complains("unauthenticated");
}

#[test]
fn i1_only_administrators_of_an_unsealed_node_get_certificates_and_only_for_whole_requests() {
    let node = tls_node();
    let root = node.root_token();
    let ask = |token: &str, body: &Value| {
        let request = Request::new("POST", "/certificates").json(body);
        on_socket(&node, token, request)
    };

    // Refused before its signing request is looked at, and with an event.
    let token = admin(&node).done(&["token", "create", "backend", "-o", "raw"]);
    let request = json!({"client": "backend", "request": "AAAA"});
    let marked = Request::new("POST", "/certificates")
        .json(&request)
        .header("x-request-id", "not-for-backend");
    on_socket(&node, token.trim(), marked).refused(403, "not_authorized");
    let about_it = trail(&node)
        .into_iter()
        .filter(|event| event["request_id"] == "not-for-backend")
        .count();
    assert_eq!(about_it, 1, "C3");

    for bad in [
        json!({"client": "backend"}),
        json!({"client": "backend", "request": "no base64!"}),
        json!({"client": "backend", "request": "AAAA"}),
        json!({"client": "two words", "request": "AAAA"}),
        json!({"client": "backend", "request": "AAAA", "ttl_secs": 0}),
        json!({"client": "backend", "request": "AAAA", "ttl_secs": 31_536_001}),
        json!({"client": "backend", "request": "AAAA", "days": 1}),
    ] {
        ask(&root, &bad).refused(400, "invalid_request");
    }

    let out = node.plan().folder().join("certs");
    let folder = out.to_str().unwrap();
    let elsewhere = ["certificate", "create", "../backend", "--out", folder];
    admin(&node)
        .run(&elsewhere)
        .expect(2)
        .complains("client id");
    let for_ever = [
        "certificate",
        "create",
        "backend",
        "--out",
        folder,
        "--ttl",
        "400d",
    ];
    admin(&node).run(&for_ever).expect(1).complains("ttl_secs");
    // A refused attempt leaves nothing that would stand in the way of the next.
    make(&admin(&node), "backend", &out);

    on_socket(&node, &root, Request::new("POST", "/sys/seal")).done();
    ask(&root, &request).refused(503, "sealed");
}

/// A node whose API has TLS by its own CA; its socket is there for questions about the API itself.
#[track_caller]
fn tls_node() -> Node {
    let plan = JARVIS.plan();
    let policy = plan.file("policy.yaml", POLICY);
    let seed = format!("rbac_policy_path = \"{}\"", policy.display());
    let pair = format!(
        "cert_path = \"{0}/api.pem\"\nkey_path = \"{0}/api.key\"",
        plan.folder().display()
    );
    let config = plan.config(&[
        ("server", "allow_unix_socket = true"),
        ("security", seed.as_str()),
        ("tls", pair.as_str()),
    ]);
    let node = plan.spawn(&config);
    eventually("the node is ready", || {
        let mut stream = UnixStream::connect(socket(&node)).ok()?;
        let answer = Request::new("GET", "/readyz").send_on(&mut stream, "localhost");
        (answer.status == 200).then_some(())
    });
    node
}

fn socket(node: &Node) -> PathBuf {
    node.plan().data().join("api.sock")
}

fn ca(node: &Node) -> PathBuf {
    node.plan().data().join("ca.pem")
}

/// The command line over TLS, without any credential.
fn stranger(node: &Node) -> Cli {
    JARVIS
        .cli()
        .with(
            "JARVIS_SECRETS_URL",
            &format!("https://{}", node.plan().api),
        )
        .with("JARVIS_SECRETS_CACERT", ca(node).to_str().unwrap())
}

/// The command line over TLS, with the first token.
fn admin(node: &Node) -> Cli {
    stranger(node).with("JARVIS_SECRETS_TOKEN", &node.root_token())
}

/// Makes a certificate, and gives back what the command printed.
#[track_caller]
fn make(admin: &Cli, client: &str, out: &Path) -> Value {
    let folder = out.to_str().unwrap();
    let arguments = ["certificate", "create", client, "--out", folder];
    admin.run(&arguments).expect(0).json()
}

/// Reads a secret with a certificate and its key, and no token.
fn show(node: &Node, (certificate, key): (&Path, &Path), name: &str, more: &[&str]) -> Said {
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let mut arguments = vec![
        "get",
        name,
        "-o",
        "raw",
        "--cert",
        certificate,
        "--key",
        key,
    ];
    arguments.extend_from_slice(more);
    stranger(node).run(&arguments)
}

fn on_socket(node: &Node, token: &str, request: Request) -> Answer {
    let mut stream = UnixStream::connect(socket(node)).unwrap();
    request
        .header("authorization", &format!("Bearer {token}"))
        .send_on(&mut stream, "localhost")
}

/// Every event so far; these stories are short.
#[track_caller]
fn trail(node: &Node) -> Vec<Value> {
    let request = Request::new("GET", "/audit?from_seq=1&limit=1000");
    let answer = on_socket(node, &node.root_token(), request);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn text(made: &Value, field: &str) -> String {
    made[field].as_str().unwrap().to_owned()
}
