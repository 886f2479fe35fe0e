//! C4, C5, P2, P4: what one of three nodes has acknowledged holds for the next request at any other: a write, a policy, a
//! token, and its end. Nothing here waits or tries again.

#![allow(
    clippy::unwrap_used,
    reason = "a test program; its helpers are not marked as tests"
)]

use jarvis_harness::{DevCluster, DevOptions, Programs, Request, phase, programs};
use serde_json::json;

const JARVIS: Programs = programs!();

/// `backend` may read what is shared …
const OPEN: &str = r#"
clients:
  admin:
    allow: ["*"]
  backend:
    allow: ["shared/*"]
"#;
/// … or not.
const CLOSED: &str = r#"
clients:
  admin:
    allow: ["*"]
  backend:
    allow: [other]
"#;
/// Each node is asked first, second and last, several times.
const ROUNDS: usize = 12;

#[test]
fn what_one_node_acknowledged_holds_on_every_node() {
    let mut cluster = JARVIS.dev(&DevOptions::default());
    cluster.apply_policy(0, OPEN);

    phase("a write is seen by the next read, wherever it goes");
    for (round, (at, others)) in turns(&cluster).enumerate() {
        let value = format!("example-{round}");
        let version = cluster.put(at, "shared/a", &value);
        for index in others {
            let read = cluster.get(index, "shared/a");
            assert_eq!(
                read["value"],
                value.as_str(),
                "node {index}, after node {at}"
            );
            assert_eq!(read["version"], version);
        }
    }

    phase("a token is good everywhere at once, and over everywhere at once");
    for (at, others) in turns(&cluster) {
        let asked = Request::post("/tokens", &json!({"client": "backend"}));
        let created = cluster.ask_as_admin(at, asked).done();
        let read = Request::read("shared/a", "").bearer(created["token"].as_str().unwrap());
        for index in &others {
            cluster.ask(*index, &read).done();
        }
        let end = format!("/tokens/{}", created["id"].as_str().unwrap());
        cluster
            .ask_as_admin(others[0], Request::delete(&end))
            .done();
        for index in cluster.all() {
            cluster.ask(index, &read).refused(401, "unauthenticated");
        }
    }

    phase("a policy is in force everywhere at once");
    let read = Request::read("shared/a", "").client("backend");
    for (round, (at, others)) in turns(&cluster).enumerate() {
        let closes = round % 2 == 0;
        cluster.apply_policy(at, if closes { CLOSED } else { OPEN });
        for index in others {
            let answer = cluster.ask(index, &read);
            if closes {
                answer.refused(403, "not_authorized");
            } else {
                answer.done();
            }
        }
    }
    cluster.stop();
}

/// Which node is asked first, and the others after it.
fn turns(cluster: &DevCluster) -> impl Iterator<Item = (usize, Vec<usize>)> + use<> {
    let count = cluster.count();
    (0..ROUNDS).map(move |round| {
        let at = round % count;
        let others = (1..count).map(|step| (at + step) % count);
        (at, others.collect())
    })
}
