//! I3 and the errors of a node that can not serve: floods become 429 and stay out of the log, a full vault is 507, a
//! sealed node 503 `sealed`, a trail without room 503 `audit_full`. None of these is ever 404.

#![allow(
    clippy::unwrap_used,
    reason = "a test program; its helpers are not marked as tests"
)]

use std::collections::BTreeMap;

use serde_json::json;

use jarvis_harness::{Caller, Programs, eventually, programs};

/// What Cargo built.
const JARVIS: Programs = programs!();

const POLICY: &str = r#"
default_deny: true
clients:
  admin:
    allow: ["*"]
  reader:
    allow: [kept]
"#;

/// Far more than any bucket below holds.
const FLOOD: usize = 300;

#[test]
fn i3_strangers_are_slowed_and_never_reach_the_log() {
    let node = JARVIS.node(POLICY, &[("limits", "unauthenticated_per_second = 5")]);
    let (admin, stranger) = (node.admin(), node.stranger());
    admin.write("kept", "x");

    let answers = statuses(|| stranger.read("kept").status);
    assert_eq!(answers.keys().copied().collect::<Vec<_>>(), [401, 429]);
    assert!(answers[&401] < FLOOD / 2, "{answers:?}");
    // Others are not touched, not even while it lasts.
    admin.read("kept").done();
    let flooded = stranger.with_token("jv1.example.not-a-secret").read("kept");
    if flooded.status == 429 {
        flooded.refused(429, "rate_limited");
    }
    // The bucket fills again.
    eventually("a stranger is told 401 again", || {
        (stranger.read("kept").status == 401).then_some(())
    });

    let counted = metric(
        &stranger,
        "requests_refused_total{reason=\"unauthenticated_flood\"}",
    );
    assert!(counted >= answers[&429], "{counted} of {answers:?}");
    let denied = admin
        .trail()
        .into_iter()
        .filter(|event| event["outcome"] == "deny")
        .count();
    assert_eq!(denied, 0, "each of them would have cost an entry");
}

#[test]
fn i3_one_client_that_keeps_asking_for_what_it_may_not_is_slowed() {
    let node = JARVIS.node(POLICY, &[("limits", "forbidden_per_second = 3")]);
    let (admin, reader) = (node.admin(), node.client("reader"));
    admin.write("kept", "x");

    let answers = statuses(|| reader.read("other").status);
    assert_eq!(answers.keys().copied().collect::<Vec<_>>(), [403, 429]);
    assert!(answers[&403] < FLOOD / 2, "{answers:?}");
    // What it may do goes on, and so do the others.
    for _ in 0..20 {
        reader.read("kept").done();
        admin.read("other").refused(404, "not_found");
    }
    // C3: each 403 has its event, the rest becomes one aggregate.
    let denied = admin
        .trail()
        .into_iter()
        .filter(|event| event["outcome"] == "deny" && event["client"] == "reader")
        .count();
    assert_eq!(denied, answers[&403]);
}

#[test]
fn i3_asking_for_the_list_without_being_known_is_slowed_too() {
    let node = JARVIS.node(POLICY, &[("limits", "forbidden_per_second = 3")]);
    let unknown = node.client("nobody-knows-me");
    let answers = statuses(|| unknown.get("/secrets").status);
    assert_eq!(answers.keys().copied().collect::<Vec<_>>(), [403, 429]);
}

#[test]
fn a7_one_forbidden_batch_is_forbidden_and_not_a_flood() {
    let node = JARVIS.node(POLICY, &[]);
    let writes: Vec<_> = (0..64)
        .map(|number| json!({"name": format!("b/{number}"), "value": "x"}))
        .collect();
    node.client("reader")
        .post("/secrets/batch", &json!({"writes": writes}))
        .refused(403, "not_authorized");
}

#[test]
fn i3_a_client_s_requests_per_second_can_be_limited() {
    let node = JARVIS.node(POLICY, &[("limits", "client_requests_per_second = 5")]);
    // Asked for before the flood: the administrator is a client, too.
    let reader = node.client("reader");
    let admin = node.admin();
    let answers = statuses(|| reader.read("kept").status);
    assert_eq!(answers.keys().copied().collect::<Vec<_>>(), [404, 429]);
    admin.write("kept", "x");
}

#[test]
fn a7_a_full_vault_says_so_and_keeps_what_it_has() {
    let node = JARVIS.node(POLICY, &[("limits", "max_vault_bytes = \"1MiB\"")]);
    let admin = node.admin();
    let value = "x".repeat(64 * 1024);
    let written = (0..32)
        .take_while(|number| {
            let write = json!({"name": format!("big/{number}"), "value": value});
            admin.post("/secret", &write).status == 200
        })
        .count();
    assert!((10..16).contains(&written), "{written} of 64 KiB in 1 MiB");
    let write = json!({"name": "big/last", "value": value});
    admin.post("/secret", &write).refused(507, "quota_exceeded");
    admin.read("big/last").refused(404, "not_found");
    assert_eq!(admin.read("big/0").done()["value"], value.as_str());
    // What is small still fits, and destroying makes room.
    admin.write("small", "x");
    admin.command("/secret/big%2F0/destroy").done();
    admin.post("/secret", &write).done();
}

#[test]
fn a7_a_sealed_node_says_sealed_and_comes_back_with_its_passphrase() {
    let node = JARVIS.node(POLICY, &[]);
    let admin = node.admin();
    admin.write("kept", "first");
    let passphrase = json!({"passphrase": "example passphrase, not a secret"});
    let mut slot = passphrase.clone();
    slot["kind"] = json!("passphrase");
    admin.post("/sys/slots", &slot).done();
    admin.command("/sys/seal").done();

    admin.read("kept").refused(503, "sealed");
    admin.read("never").refused(503, "sealed");
    let write = json!({"name": "kept", "value": "second"});
    admin.post("/secret", &write).refused(503, "sealed");
    let stranger = node.stranger();
    assert_eq!(stranger.get("/readyz").status, 503);
    assert_eq!(stranger.get("/livez").status, 200);
    assert_eq!(stranger.get("/sys/seal").done()["sealed"], true);
    assert_eq!(metric(&stranger, "jarvis_sealed"), 1);

    let wrong = json!({"passphrase": "example of a wrong one"});
    stranger
        .post("/sys/unseal", &wrong)
        .refused(401, "unauthenticated");
    stranger.post("/sys/unseal", &passphrase).done();
    let kept = admin.read("kept").done();
    assert_eq!(
        (&kept["value"], &kept["version"]),
        (&json!("first"), &json!(1))
    );
}

/// X4: never unaudited. The threshold lies above what this disk has free.
#[test]
fn a7_without_room_for_the_trail_nothing_is_answered() {
    let disk = rustix::fs::statvfs(std::env::temp_dir().as_path()).unwrap();
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free >= 1_024 << 30 {
        eprintln!("skipped: {free} bytes are free, and no threshold can be set above that");
        return;
    }
    let node = JARVIS.node(POLICY, &[("audit", "min_free_bytes = \"1024GiB\"")]);
    let admin = node.admin();
    let full = eventually("the node notices", || {
        let answer = admin.read("kept");
        (answer.status == 503).then_some(answer)
    });
    full.refused(503, "audit_full");
    let write = json!({"name": "kept", "value": "x"});
    admin.post("/secret", &write).refused(503, "audit_full");
    admin.delete("/secret/kept").refused(503, "audit_full");
    admin.get("/secrets").refused(503, "audit_full");
    assert_eq!(node.stranger().get("/livez").status, 200);
}

/// How often each status came in a flood.
fn statuses(mut ask: impl FnMut() -> u16) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..FLOOD {
        *counts.entry(ask()).or_default() += 1;
    }
    counts
}

/// A sample of `/metrics` by its name and labels.
fn metric(caller: &Caller, sample: &str) -> usize {
    let text = caller.get("/metrics").text();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '))
        .unwrap_or_else(|| panic!("{sample} is missing"));
    line.parse().unwrap()
}
