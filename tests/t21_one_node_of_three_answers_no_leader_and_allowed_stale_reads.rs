//! C4, C5, C10, P4: two of three nodes are dead. The last one says so in time, and shows what a rule allows it to show;
//! its own journal brings each such read into the log exactly once, even after its own death.
//!
//! ```text
//! n1, n2, n3 ── policy, values ── two ✗ ── no_leader, stale reads ── last one ✗ ── all start ── events in the trail
//! ```

#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test program: it panics with what happened, and looks at the machine's own clock"
)]

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use jarvis_harness::{
    Answer, DevCluster, DevOptions, Programs, Request, eventually, phase, programs, trail, within,
};

/// What Cargo built.
const JARVIS: Programs = programs!();

/// `backend` may read `stale/*` up to a minute old without a quorum, and `fresh/*` never.
const POLICY: &str = r#"
clients:
  admin:
    allow: ["*"]
  backend:
    allow:
      - { name: "stale/*", verbs: [read, write], stale_max_ms: 60000 }
      - { name: "fresh/*", verbs: [read, write] }
"#;

/// The rule's bound, ms.
const STALE_MAX_MS: u64 = 60_000;
/// A node that heard from a majority within this time has no reason to answer from the past (DESIGN 2).
const CUT_OFF_AFTER_MS: u64 = 250;
/// `[limits] request_deadline_ms`, and what the way there and back may take.
const DEADLINE: Duration = Duration::from_millis(5_000 + 500);
/// How long a node may believe itself well without a majority: ten heartbeats and an election, many times over.
const NOTICE_LIMIT: Duration = Duration::from_secs(10);

#[test]
fn one_node_of_three_answers_no_leader_and_allowed_stale_reads() {
    let options = DevOptions {
        restarts: false,
        ..DevOptions::default()
    };
    let mut cluster = JARVIS.dev(&options);
    cluster.apply_policy(0, POLICY);
    for name in ["stale/a", "stale/gone", "fresh/a"] {
        let write = Request::write(name, "example-before").client("backend");
        cluster.ask(0, &write).done();
    }
    cluster
        .ask_as_admin(0, Request::delete("/secret/stale%2Fgone"))
        .done();
    let request = Request::post("/tokens", &json!({ "client": "backend" }));
    let created = cluster.ask_as_admin(0, request).done();
    let token = created["token"].as_str().expect("a token").to_owned();
    let leader = cluster.wait_for_leader();
    let last = (leader + 1) % cluster.count();
    // This also brings the last node up to date.
    read_through_the_log(&cluster, last, "example-before");

    phase("two nodes die; health tells the truth (C10)");
    for dead in cluster.all().filter(|index| *index != last) {
        cluster.kill(dead);
    }
    within(NOTICE_LIMIT, "the last node is not ready", || {
        (!cluster.is_well(last, "/readyz")).then_some(())
    });
    assert!(cluster.is_well(last, "/livez"));
    assert!(cluster.is_well(last, "/healthz"));
    assert!(cluster.is_well(last, "/readyz?for=stale"));
    assert!(!cluster.is_well(last, "/leader"));
    let ready = cluster.ask(last, &Request::get("/readyz?verbose"));
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["ready"], false, "{}", ready.text());

    phase("what needs a leader is refused within the deadline (C4)");
    refuse_what_needs_a_leader(&cluster, last);

    phase("what the rule allows is shown, with its age (C5)");
    let by_header = cluster.ask(last, &stale_read("stale/a", "t21-header"));
    assert!(by_header.header("x-jarvis-index").is_some());
    check_age(&by_header.done());
    let request = Request::read("stale/a", "?consistency=stale")
        .bearer(&token)
        .request_id("t21-token");
    check_age(&cluster.ask(last, &request).done());
    let gone = cluster.ask(last, &stale_read("stale/gone", "t21-gone"));
    assert_eq!((gone.status, gone.error().as_str()), (404, "not_found"));
    assert!(gone.text().contains("undeleted until"), "{}", gone.text());
    let missing = cluster.ask(last, &stale_read("stale/missing", "t21-missing"));
    assert_eq!(
        (missing.status, missing.error().as_str()),
        (404, "not_found")
    );
    // Refused by the request's own bound, and so not shown, and not journalled.
    let request = Request::read("stale/a", "?consistency=stale&max_age_ms=1")
        .client("backend")
        .request_id("t21-too-old");
    is_no_leader(&cluster.ask(last, &request));

    phase("the last node dies too, with its journal; then all start again");
    cluster.kill(last);
    for index in cluster.all() {
        cluster.start_server(index);
    }
    cluster.wait_until_ready();

    phase("each stale read is in every trail, once");
    for index in cluster.all() {
        let events = cluster.events_up_to(index, "t21-missing");
        check_trail(&events, cluster.node(last).id);
    }
    // Once means also later: the journal is gone, so nothing can be imported again.
    let journal = cluster.node(last).data_dir.join("journal");
    eventually("the imported journal is removed", || {
        let mut files = fs::read_dir(&journal).expect("the journal's folder");
        files.next().is_none().then_some(())
    });
    let write = Request::write("stale/a", "example-after")
        .client("backend")
        .request_id("t21-after");
    assert_eq!(cluster.ask(last, &write).done()["version"], 2);
    for index in cluster.all() {
        let events = cluster.events_up_to(index, "t21-after");
        check_trail(&events, cluster.node(last).id);
        cluster.verify_trail(index);
    }

    phase("with a quorum again, everybody reads the newest value");
    for index in cluster.all() {
        assert_eq!(cluster.get(index, "stale/a")["value"], "example-after");
    }
    read_through_the_log(&cluster, last, "example-after");
    cluster.wait_until_states_agree();
    cluster.stop();
}

fn stale_read(name: &str, request_id: &str) -> Request {
    Request::read(name, "?consistency=stale")
        .client("backend")
        .request_id(request_id)
}

/// While there is a quorum there is no reason for an old answer, whatever the request allows.
fn read_through_the_log(cluster: &DevCluster, node: usize, value: &str) {
    within(NOTICE_LIMIT, "a stale read takes the default path", || {
        let read = cluster
            .ask(node, &stale_read("stale/a", "t21-whole"))
            .done();
        assert_eq!(read["value"], value, "{read}");
        read["stale"].is_null().then_some(())
    });
}

/// All at once: each takes the whole deadline.
fn refuse_what_needs_a_leader(cluster: &DevCluster, node: usize) {
    let requests = [
        Request::read("stale/a", "").client("backend"),
        Request::write("stale/b", "example").client("backend"),
        // No rule with an age allows these two, whatever the request says (P4).
        stale_read("fresh/a", "t21-no-rule"),
        Request::read("stale/a", "?consistency=stale").client("admin"),
        // Lists and administrators' views are never stale.
        Request::get("/secrets").client("backend"),
        Request::get("/cluster/status").client("admin"),
        // A token that this node does not know may be known to the majority: not 401.
        Request::read("stale/a", "").bearer(&unknown_token()),
    ];
    std::thread::scope(|scope| {
        for request in &requests {
            scope.spawn(move || {
                let started = Instant::now();
                let answer = cluster.ask(node, request);
                let took = started.elapsed();
                is_no_leader(&answer);
                assert!(answer.header("retry-after").is_some());
                assert!(took <= DEADLINE, "answered after {} ms", took.as_millis());
            });
        }
    });
}

/// Well formed, and nobody's.
fn unknown_token() -> String {
    format!("jv1.{}.{}", "0".repeat(32), "A".repeat(43))
}

fn is_no_leader(answer: &Answer) {
    let text = answer.text();
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (503, "no_leader"),
        "{text}"
    );
}

fn check_age(read: &Value) {
    assert_eq!(read["value"], "example-before", "{read}");
    assert_eq!(read["version"], 1, "{read}");
    let age = read["stale"]["age_ms"]
        .as_u64()
        .expect("a stale answer says how old");
    assert!((CUT_OFF_AFTER_MS..=STALE_MAX_MS).contains(&age), "{read}");
}

/// C3 for reads that the log learned of later.
fn check_trail(events: &[Value], node: u64) {
    const EVENT: &str = "secret.read.stale";
    for (id, outcome) in [
        ("t21-header", "allow"),
        ("t21-token", "allow"),
        ("t21-gone", "not_found"),
        ("t21-missing", "not_found"),
    ] {
        let found: Vec<&Value> = events
            .iter()
            .filter(|event| event["request_id"] == id)
            .collect();
        assert_eq!(found.len(), 1, "{id}: {found:?}");
        let event = found[0];
        let is_right = event["event"] == EVENT
            && event["outcome"] == outcome
            && event["client"] == "backend"
            && event["node"] == node
            && event["age_ms"].as_u64() >= Some(CUT_OFF_AFTER_MS);
        assert!(is_right, "{event}");
    }
    let refused = ["t21-too-old", "t21-no-rule"];
    let shown = refused.iter().map(|id| trail::count(events, EVENT, id));
    assert_eq!(shown.sum::<usize>(), 0, "what was refused was not shown");
}
