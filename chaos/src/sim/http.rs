//! One request over the simulated network, by hand: HTTP/1.1, one connection, one answer.
//!
//! A request of which no byte was sent certainly did nothing. Everything else that ends without an answer may have.

use std::time::Duration;

use jarvis_cluster::env::Net;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::machine::API_PORT;
use super::network::SimNet;

/// A connection stands within this time, or the node is down or cut off.
const CONNECT: Duration = Duration::from_millis(400);
/// Room for an answer: most fit.
const FIRST_BYTES: usize = 2 << 10;
/// Longest answer that is read.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// What is asked.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) token: String,
    pub(super) request_id: String,
    pub(super) idempotency_key: Option<String>,
    pub(super) body: Option<Value>,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Response {
    pub(super) status: u16,
    /// `X-Jarvis-Index`.
    pub(super) index: Option<u64>,
    /// The body, if it is JSON.
    pub(super) body: Value,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// No byte was sent.
    Connect,
    /// The connection ended without an answer.
    Broken,
    /// Nobody answered in time.
    Timeout,
}

impl Lost {
    /// As it stands in a history.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Broken => "broken",
            Self::Timeout => "timeout",
        }
    }
}

/// Asks one host, and waits no longer than `patience` once it is connected.
pub(super) async fn ask(
    net: &SimNet,
    host: &str,
    request: &Request,
    patience: Duration,
) -> Result<Response, Lost> {
    let address = format!("{host}:{API_PORT}");
    let dialled = timeout(CONNECT, net.dial(&address)).await;
    let Ok(Ok(mut stream)) = dialled else {
        return Err(Lost::Connect);
    };
    let exchange = async {
        stream.write_all(&head_and_body(host, request)).await.ok()?;
        let mut bytes = Vec::with_capacity(FIRST_BYTES);
        loop {
            if let Some(response) = parse(&bytes) {
                return Some(response);
            }
            let read = stream.read_buf(&mut bytes).await.ok()?;
            if read == 0 || bytes.len() > MAX_ANSWER_BYTES {
                return None;
            }
        }
    };
    match timeout(patience, exchange).await {
        Ok(Some(response)) => Ok(response),
        Ok(None) => Err(Lost::Broken),
        Err(_) => Err(Lost::Timeout),
    }
}

fn head_and_body(host: &str, request: &Request) -> Vec<u8> {
    let Request {
        method,
        path,
        token,
        request_id,
        idempotency_key,
        body,
    } = request;
    let mut text = format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}:{API_PORT}\r\nauthorization: Bearer {token}\r\nx-request-id: {request_id}\r\nconnection: close\r\n"
    );
    if let Some(key) = idempotency_key {
        text.push_str(&format!("idempotency-key: {key}\r\n"));
    }
    match body {
        Some(body) => {
            let body = body.to_string();
            let length = body.len();
            text.push_str(&format!(
                "content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
            ));
        }
        None => text.push_str("\r\n"),
    }
    text.into_bytes()
}

/// A whole answer; `None` while some of it is missing.
fn parse(bytes: &[u8]) -> Option<Response> {
    let head_end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(bytes.get(..head_end)?).ok()?;
    let body = bytes.get(head_end + 4..)?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let (mut length, mut index) = (0, None);
    for line in lines {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse::<usize>().ok()?;
        } else if name.eq_ignore_ascii_case("x-jarvis-index") {
            index = value.trim().parse().ok();
        }
    }
    let body = body.get(..length)?;
    Some(Response {
        status,
        index,
        body: serde_json::from_slice(body).unwrap_or(Value::Null),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_is_what_anybody_would_send() {
        let request = Request {
            method: "POST",
            path: "/secret".to_owned(),
            token: "jv1.x.y".to_owned(),
            request_id: "s1-0".to_owned(),
            idempotency_key: Some("k".to_owned()),
            body: Some(json!({"name": "a"})),
        };
        let text = String::from_utf8(head_and_body("node-a", &request)).unwrap();
        assert!(text.starts_with("POST /secret HTTP/1.1\r\nhost: node-a:8081\r\n"));
        assert!(text.contains("\r\nidempotency-key: k\r\n"));
        assert!(text.ends_with("\r\ncontent-length: 12\r\n\r\n{\"name\":\"a\"}"));
    }

    #[test]
    fn an_answer_is_read_once_it_is_whole() {
        let text =
            b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\nX-Jarvis-Index: 42\r\n\r\n{\"version\":7}";
        for end in 0..text.len() {
            assert_eq!(parse(&text[..end]), None, "{end}");
        }
        let whole = Response {
            status: 200,
            index: Some(42),
            body: json!({"version": 7}),
        };
        assert_eq!(parse(text), Some(whole));
    }
}
