//! A6, A12, M, C10: what the API says about itself: the OpenAPI document, the metrics, health.

#![allow(
    clippy::unwrap_used,
    reason = "a test program; its helpers are not marked as tests"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use jarvis_harness::{Programs, Request, eventually, programs};

/// What Cargo built.
const JARVIS: Programs = programs!();

const POLICY: &str = "default_deny: true\nclients:\n  admin:\n    allow: [\"*\"]\n";

/// M: the names of the old daemon, kept.
const KEPT_METRICS: [&str; 13] = [
    "http_requests_total",
    "http_requests_success",
    "http_request_duration_seconds",
    "secrets_total",
    "secrets_created_total",
    "secrets_retrieved_total",
    "secrets_rotated_total",
    "rbac_allowed_total",
    "rbac_denied_total",
    "encryption_ops_total",
    "decryption_ops_total",
    "decryption_errors_total",
    "audit_events_total",
];
/// M: the new ones: role, term, last log, applied, commit latency, peers' lag, fsync latency, seal, certificates.
const NEW_METRICS: [&str; 9] = [
    "jarvis_raft_role",
    "jarvis_raft_term",
    "jarvis_raft_last_log",
    "jarvis_raft_applied",
    "jarvis_commit_seconds",
    "jarvis_raft_peer_lag",
    "jarvis_fsync_seconds",
    "jarvis_sealed",
    "jarvis_certificate_expiry_seconds",
];

#[test]
fn a12_the_document_lists_every_route_and_no_other() {
    let node = JARVIS.node(POLICY, &[]);
    let stranger = node.stranger();
    let answer = stranger.get("/openapi.json");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let document = answer.done();
    assert!(
        document["openapi"].as_str().unwrap().starts_with("3."),
        "{}",
        document["openapi"]
    );
    assert!(document["info"]["title"].is_string());

    let mut listed = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            listed.insert((method.to_uppercase(), path.clone()));
            assert!(
                !operation["responses"].as_object().unwrap().is_empty(),
                "{method} {path}"
            );
            let parameters = operation["parameters"].as_array().map_or(0, |all| {
                all.iter()
                    .filter(|parameter| parameter["in"] == "path")
                    .count()
            });
            assert_eq!(parameters, path.matches('{').count(), "{method} {path}");
        }
    }
    let written = routes_in_the_sources();
    assert!(written.len() >= 25, "{written:?}");
    assert_eq!(listed, written);
    assert_eq!(listed.len(), handlers_in_the_table());

    // Each is really there: a stranger gets no "no such path" and no "not possible".
    for (method, path) in &listed {
        let target = path
            .replace("{name}", "x")
            .replace("{id}", "x")
            .replace("{slot}", "x");
        let answer = stranger.send(Request::new(method, &target));
        let text = answer.text();
        assert!(
            !text.contains("no such path") && !text.contains("not possible"),
            "{method} {path}: {text}"
        );
    }
}

#[test]
fn a12_every_reference_of_the_document_leads_somewhere() {
    let node = JARVIS.node(POLICY, &[]);
    let document = node.stranger().get("/openapi.json").done();
    let references = references(&document);
    assert!(references.len() > 10);
    let dangling: Vec<&String> = references
        .iter()
        .filter(|reference| {
            document
                .pointer(reference.trim_start_matches('#'))
                .is_none()
        })
        .collect();
    assert!(dangling.is_empty(), "{dangling:?}");
}

#[test]
fn m_every_metric_is_there_at_the_first_scrape_and_none_tells_a_name() {
    let node = JARVIS.node(POLICY, &[]);
    let stranger = node.stranger();
    let first = stranger.get("/metrics");
    assert_eq!(first.status, 200);
    assert!(
        first
            .header("content-type")
            .unwrap()
            .starts_with("text/plain")
    );
    let text = first.text();
    let samples = samples(&text);
    for name in KEPT_METRICS.iter().chain(&NEW_METRICS) {
        let is_there = |sample: &&String| {
            let family = sample.split('{').next().unwrap();
            family == *name || family == format!("{name}_count")
        };
        assert!(
            samples.keys().any(|sample| is_there(&sample)),
            "{name} is missing"
        );
        assert!(
            text.contains(&format!("# HELP {name} ")) && text.contains(&format!("# TYPE {name} ")),
            "{name}"
        );
    }

    let admin = node.admin();
    admin.write("marked/name", "example-not-a-secret");
    admin.read("marked/name").done();
    let marked = admin
        .with("x-request-id", "marked-id")
        .with("x-jarvis-client", "admin");
    marked
        .get("/marked/path?marked=query")
        .refused(404, "not_found");
    marked
        .send(Request::new("MARKED", "/secret"))
        .refused(400, "invalid_request");
    node.client("marked-client")
        .read("marked/name")
        .refused(403, "not_authorized");
    stranger.read("marked/name").refused(401, "unauthenticated");
    let text = stranger.get("/metrics").text();
    assert!(
        !text.to_lowercase().contains("marked"),
        "labels hold no string of a caller:\n{text}"
    );
    assert!(!text.contains("example-not-a-secret"));
    let after = self::samples(&text);
    for (name, expected) in [
        ("secrets_total", 1.0),
        ("secrets_created_total", 1.0),
        ("secrets_retrieved_total", 1.0),
        ("encryption_ops_total", 1.0),
        ("decryption_ops_total", 1.0),
        ("decryption_errors_total", 0.0),
        ("secrets_rotated_total", 0.0),
        ("rbac_denied_total", 1.0),
        ("jarvis_sealed", 0.0),
    ] {
        assert!(
            (after[name] - expected).abs() < 0.5,
            "{name} is {}",
            after[name]
        );
    }
    assert!(after["http_requests_total"] > after["http_requests_success"]);
    assert!(after["audit_events_total"] > samples["audit_events_total"]);
    assert!(after["jarvis_raft_applied"] > samples["jarvis_raft_applied"]);
    assert!(after["jarvis_raft_term"] >= 1.0);
}

#[test]
fn a1_c10_health_needs_no_credential_and_tells_the_truth() {
    let node = JARVIS.node(POLICY, &[]);
    let (admin, stranger) = (node.admin(), node.stranger());
    let health = stranger.get("/healthz").done();
    assert_eq!(
        (&health["status"], health["secrets_count"].as_u64()),
        (&json!("ok"), Some(0))
    );
    assert!(health["version"].is_string() && health["uptime_secs"].is_u64());
    admin.write("one", "x");
    admin.write("two", "x");
    admin.delete("/secret/two").done();
    assert_eq!(stranger.get("/healthz").done()["secrets_count"], 1);
    assert_eq!(stranger.get("/livez").status, 200);
    let ready = stranger.get("/readyz?verbose").done();
    assert_eq!(ready["ready"], true);
    for check in ["unsealed", "leader", "fresh"] {
        assert_eq!(ready["checks"][check], true, "{check}");
    }
    admin.command("/sys/seal").done();
    let sealed = stranger.get("/readyz?verbose");
    assert_eq!(
        (sealed.status, &sealed.json()["checks"]["unsealed"]),
        (503, &json!(false))
    );
    assert_eq!(stranger.get("/livez").status, 200);
}

#[test]
fn c10_the_only_node_is_the_leader_also_when_nothing_happens() {
    let node = JARVIS.node(POLICY, &[]);
    let stranger = node.stranger();
    eventually("the only node leads", || {
        (stranger.get("/leader").status == 200).then_some(())
    });
}

/// Every `#[utoipa::path(METHOD, path = "PATH"…` of the handlers.
fn routes_in_the_sources() -> BTreeSet<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api");
    let mut routes = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        for attribute in text.split("#[utoipa::path(").skip(1) {
            let (method, rest) = attribute.split_once(',').unwrap();
            let (_, rest) = rest.split_once("path = \"").unwrap();
            let (path, _) = rest.split_once('"').unwrap();
            let is_new = routes.insert((method.trim().to_uppercase(), path.to_owned()));
            assert!(is_new, "{method} {path} stands twice in the sources");
        }
    }
    routes
}

/// Handlers named in the route table.
fn handlers_in_the_table() -> usize {
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api.rs");
    let text = fs::read_to_string(table).unwrap();
    text.split("routes!(")
        .skip(1)
        .map(|rest| rest.split(')').next().unwrap().split(',').count())
        .sum()
}

/// Everything that a `$ref` of the document names.
fn references(document: &Value) -> Vec<String> {
    match document {
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, member)| match member.as_str() {
                Some(text) if name == "$ref" => vec![text.to_owned()],
                _ => references(member),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

/// Samples of Prometheus' text format, with their labels.
fn samples(text: &str) -> BTreeMap<String, f64> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            (sample.to_owned(), value.parse().unwrap())
        })
        .collect()
}
