//! The client against scripted servers on loopback.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

use super::*;

/// A server that gives one scripted answer per request, closes, and remembers what it was sent.
struct Scripted {
    url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    async fn start(answers: Vec<(u16, &'static str)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let remembered = Arc::clone(&seen);
        tokio::spawn(async move {
            for scripted in answers {
                let (stream, _) = listener.accept().await.unwrap();
                serve_once(stream, scripted, &remembered).await;
            }
        });
        Self { url, seen }
    }

    fn start_on_socket(path: &Path, answers: Vec<(u16, &'static str)>) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let url = format!("unix://{}", path.display());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let remembered = Arc::clone(&seen);
        tokio::spawn(async move {
            for scripted in answers {
                let (stream, _) = listener.accept().await.unwrap();
                serve_once(stream, scripted, &remembered).await;
            }
        });
        Self { url, seen }
    }

    fn header(&self, request: usize, name: &str) -> Option<String> {
        let seen = self.seen.lock().unwrap();
        let prefix = format!("{name}: ");
        seen[request]
            .lines()
            .find_map(|line| line.strip_prefix(&prefix))
            .map(str::to_owned)
    }
}

/// Status 0 closes without an answer.
async fn serve_once(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    (status, body): (u16, &'static str),
    seen: &Mutex<Vec<String>>,
) {
    let request = read_request(&mut stream).await;
    seen.lock().unwrap().push(request);
    if status == 0 {
        return;
    }
    let head = format!(
        "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).await.unwrap();
        bytes.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            assert!(count > 0, "the client left");
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        if body.len() >= length {
            return text;
        }
        assert!(count > 0, "the client left");
    }
}

async fn closed_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn client(urls: &[&str]) -> Client {
    let target = Target {
        urls: urls.iter().map(|&url| url.to_owned()).collect(),
        client_id: Some("backend".into()),
        token: Some("example-not-a-secret".into()),
        ..Target::default()
    };
    Client::new(&target).unwrap()
}

const NO_LEADER: &str = r#"{"error":"no_leader","message":"m","request_id":"r"}"#;

#[tokio::test]
async fn f8_a_dead_address_is_skipped_and_the_live_one_is_preferred_afterwards() {
    let dead = closed_port().await;
    let live = Scripted::start(vec![(200, "{}"), (200, "{}")]).await;
    let client = client(&[&dead, &live.url]);
    client.call(&Call::get(["healthz"])).await.unwrap();
    assert_eq!(client.preferred.load(Ordering::Relaxed), 1);
    client.call(&Call::get(["healthz"])).await.unwrap();
    assert_eq!(
        live.header(0, "authorization").unwrap(),
        "Bearer example-not-a-secret"
    );
    assert_eq!(live.header(0, "x-jarvis-client").unwrap(), "backend");
    assert_eq!(live.header(0, "idempotency-key"), None);
}

#[tokio::test]
async fn a13_a_unix_socket_is_an_address_among_others_and_its_host_is_a_loopback_literal() {
    let folder = tempfile::tempdir().unwrap();
    let dead = closed_port().await;
    let live = Scripted::start_on_socket(&folder.path().join("api.sock"), vec![(200, "{}")]);
    client(&[&dead, &live.url])
        .call(&Call::get(["secret", "a/b"]))
        .await
        .unwrap();
    // I2: only then is a bare client header believed.
    assert_eq!(live.header(0, "host").unwrap(), "127.0.0.1");
    assert_eq!(live.header(0, "x-jarvis-client").unwrap(), "backend");
    let request = live.seen.lock().unwrap()[0].clone();
    assert!(
        request.starts_with("GET /secret/a%2Fb HTTP/1.1\r\n"),
        "{request}"
    );
}

#[tokio::test]
async fn a13_a_socket_that_can_not_be_opened_is_unavailable_and_says_what_to_look_at() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.sock");
    let left_behind = folder.path().join("old.sock");
    drop(UnixListener::bind(&left_behind).unwrap());
    for (path, advice) in [
        (missing, "allow_unix_socket"),
        (left_behind, "nobody listens"),
    ] {
        let url = format!("unix://{}", path.display());
        let Err(error) = client(&[&url]).call_at(0, &Call::get(["healthz"])).await else {
            panic!("done")
        };
        assert_eq!(error.exit_code(), 6);
        let text = error.to_string();
        assert!(text.contains(&url) && text.contains(advice), "{text}");
    }
}

#[tokio::test]
async fn a11_every_attempt_of_a_write_carries_the_same_key() {
    let server = Scripted::start(vec![(503, NO_LEADER), (0, ""), (200, "{}")]).await;
    let call = Call::post(["secret"])
        .json(&serde_json::json!({"name": "a"}))
        .unwrap();
    client(&[&server.url]).call(&call).await.unwrap();
    let key = server.header(0, "idempotency-key").unwrap();
    assert_eq!(key.len(), 2 * IDEMPOTENCY_KEY_BYTES);
    assert_eq!(server.header(1, "idempotency-key").unwrap(), key);
    assert_eq!(server.header(2, "idempotency-key").unwrap(), key);
}

#[tokio::test]
async fn a7_after_a_lost_answer_an_error_of_one_attempt_is_not_the_write_s_outcome() {
    let refused = r#"{"error":"unauthenticated","message":"m","request_id":"r"}"#;
    let server = Scripted::start(vec![(0, ""), (401, refused)]).await;
    let call = Call::post(["secret"]).repeating(Some("key-1".into()));
    let Err(error) = client(&[&server.url]).call(&call).await else {
        panic!("done")
    };
    let CliError::UnknownOutcome {
        idempotency_key, ..
    } = error
    else {
        panic!("another error")
    };
    assert_eq!(idempotency_key.as_deref(), Some("key-1"));
}

#[tokio::test]
async fn a11_a_credential_is_asked_for_again_under_its_key_until_an_answer_shows_it() {
    let server = Scripted::start(vec![(503, NO_LEADER), (0, ""), (200, "{}")]).await;
    let call = Call::post(["tokens"]).repeating(Some("key-1".into()));
    client(&[&server.url]).call(&call).await.unwrap();
    assert_eq!(server.seen.lock().unwrap().len(), 3);
    for attempt in 0..3 {
        let key = server.header(attempt, "idempotency-key");
        assert_eq!(key.as_deref(), Some("key-1"), "attempt {attempt}");
    }
}

#[tokio::test]
async fn l5_a_question_to_one_address_names_only_that_one() {
    let (dead, other) = (closed_port().await, closed_port().await);
    let client = client(&[&dead, &other]);
    let Err(error) = client.call_at(0, &Call::get(["healthz"])).await else {
        panic!("done")
    };
    let text = error.to_string();
    assert!(text.contains(&dead) && !text.contains(&other), "{text}");
}

#[tokio::test]
async fn a7_a_definite_error_is_not_tried_elsewhere() {
    let refused = r#"{"error":"not_authorized","message":"no","request_id":"r"}"#;
    let first = Scripted::start(vec![(403, refused)]).await;
    let second = Scripted::start(vec![(200, "{}")]).await;
    let client = client(&[&first.url, &second.url]);
    let Err(error) = client.call(&Call::get(["secret", "a"])).await else {
        panic!("done")
    };
    assert_eq!(error.exit_code(), 4);
    assert!(second.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn l5_nobody_there_is_unavailable_and_says_so_within_seconds() {
    let dead = closed_port().await;
    let start = Instant::now();
    let Err(error) = client(&[&dead]).call(&Call::get(["healthz"])).await else {
        panic!("done")
    };
    assert_eq!(error.exit_code(), 6);
    assert!(error.to_string().contains(&dead));
    assert!(start.elapsed() < CALL_DEADLINE / 2);
}

#[test]
fn rule_12_an_answer_that_does_not_fit_is_reported_without_its_content() {
    let body = br#"{"name":"a","value":{"example-not-a-secret":1}}"#;
    let answer = Answer::new(Zeroizing::new(body.to_vec()));
    let Err(error) = answer.decode::<jarvis_wire::secrets::SecretValue>() else {
        panic!("decoded")
    };
    assert!(!error.to_string().contains("example"));
}
