//! A11 at three nodes: a token, a join token or a seal slot is asked for under a key, at any node, before and after the
//! death of the leader. It is made once, every answer shows the same one, and its secret is in no file of any node.
//!
//! ```text
//! ask n1 ── ask n2, n3: the same ── another body: refused ── leader ✗ ── ask the others: the same ── one event, no file
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use jarvis_harness::canary::{Search, files_below};
use jarvis_harness::{DevOptions, Programs, Request, eventually, phase, programs};

/// What Cargo built.
const JARVIS: Programs = programs!();

/// Behind the prefix of a join token's text: the format's version, then the secret.
const JOIN_SECRET: std::ops::Range<usize> = 1..33;

/// What is asked for: its name for keys and request ids, where, with which body and which other one, and its event.
struct Asked {
    what: &'static str,
    path: &'static str,
    body: Value,
    other_body: Value,
    event: &'static str,
}

impl Asked {
    fn request(&self, body: &Value, request_id: &str) -> Request {
        Request::post(self.path, body)
            .idempotency_key(&format!("once-{}", self.what))
            .request_id(request_id)
    }

    /// A repetition; its request id says so.
    fn again(&self, number: usize) -> Request {
        self.request(&self.body, &format!("again-{}-{number}", self.what))
    }
}

#[test]
fn a_repeated_credential_is_made_once() {
    let mut cluster = JARVIS.dev(&DevOptions {
        restarts: false,
        ..DevOptions::default()
    });
    cluster.put(0, "database_url", "example-not-a-secret");
    let all = [
        Asked {
            what: "token",
            path: "/tokens",
            body: json!({"client": "backend", "ttl_secs": 3_600}),
            other_body: json!({"client": "admin", "ttl_secs": 3_600}),
            event: "token.create",
        },
        Asked {
            what: "join-token",
            path: "/cluster/join-token",
            body: json!({"uses": 1, "ttl_secs": 3_600}),
            other_body: json!({"uses": 2, "ttl_secs": 3_600}),
            event: "join_token.create",
        },
        Asked {
            what: "slot",
            path: "/sys/slots",
            body: json!({"kind": "passphrase", "passphrase": "an example of a long passphrase"}),
            other_body: json!({"kind": "passphrase", "passphrase": "another example of a phrase"}),
            event: "seal.slot.add",
        },
    ];

    phase("the same request at every node gets the first answer");
    let first: Vec<Value> = all
        .iter()
        .map(|asked| {
            let request = asked.request(&asked.body, &format!("first-{}", asked.what));
            cluster.ask_as_admin(0, request).done()
        })
        .collect();
    for (asked, first) in all.iter().zip(&first) {
        for index in cluster.all() {
            let again = cluster.ask_as_admin(index, asked.again(index)).done();
            assert_eq!(&again, first, "{} at node {index}", asked.what);
        }
    }
    let token = first[0]["token"].as_str().expect("a token").to_owned();
    for index in cluster.all() {
        let read = Request::read("database_url", "").bearer(&token);
        assert_eq!(
            cluster.ask(index, &read).done()["value"],
            "example-not-a-secret"
        );
    }

    phase("another request under the key is refused, at any node");
    for asked in &all {
        for index in cluster.all() {
            let request = asked.request(&asked.other_body, &format!("other-{}", asked.what));
            let refused = cluster.ask_as_admin(index, request);
            assert_eq!(refused.status, 409, "{}", refused.text());
            assert_eq!(refused.error(), "idempotency_key_reused");
        }
    }

    phase("the leader dies; the others show the same");
    let leader = cluster.wait_for_leader();
    cluster.kill(leader);
    cluster.wait_for_leader_other_than(leader);
    for (asked, first) in all.iter().zip(&first) {
        for index in cluster.all().filter(|index| *index != leader) {
            let again = eventually("a survivor answers", || {
                let request = asked.again(index).client("admin");
                let answer = cluster.send(index, &request).ok()?;
                (answer.status == 200).then(|| answer.json())
            });
            assert_eq!(&again, first, "{} at node {index}", asked.what);
        }
    }

    phase("one event, and no secret in any file");
    let survivor = (leader + 1) % cluster.count();
    let mark = Request::read("database_url", "").request_id("last");
    cluster.ask_as_admin(survivor, mark).done();
    let events = cluster.events_up_to(survivor, "last");
    for asked in &all {
        let made: Vec<&Value> = events
            .iter()
            .filter(|event| event["event"] == asked.event && event["outcome"] == "allow")
            .filter(|event| {
                let id = event["request_id"].as_str().unwrap_or_default();
                id.ends_with(asked.what) || id.starts_with(&format!("again-{}-", asked.what))
            })
            .collect();
        assert_eq!(made.len(), 1, "{made:?}");
        assert_eq!(made[0]["request_id"], format!("first-{}", asked.what));
        let is_trace = |event: &&Value| {
            let id = event["request_id"].as_str().unwrap_or_default();
            id.starts_with(&format!("again-{}-", asked.what))
        };
        assert_eq!(events.iter().filter(is_trace).count(), 0, "{}", asked.what);
    }
    let (_, secret) = token.rsplit_once('.').expect("a token's two halves");
    let secret = URL_SAFE_NO_PAD.decode(secret).expect("base64url");
    let join_token = first[1]["join_token"].as_str().expect("a join token");
    let (_, body) = join_token.split_once('.').expect("a prefix");
    let body = URL_SAFE_NO_PAD.decode(body).expect("base64url");
    let search = Search::for_all(&[secret.as_slice(), &body[JOIN_SECRET]]);
    cluster.stop();
    let found = search.files_with(&files_below(cluster.folder()));
    assert!(found.is_empty(), "{found:?}");
}
