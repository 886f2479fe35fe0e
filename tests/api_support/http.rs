//! A small HTTP/1.1 client: whole requests by default, and the pieces for clients that misbehave.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

/// No answer and no progress for so long is a failure. Longer than the server waits for a slow body.
const SILENCE: Duration = Duration::from_secs(45);
/// How much is read at a time.
const CHUNK: usize = 64 * 1024;

/// One request.
#[derive(Clone)]
pub(crate) struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Request {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: None,
        }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.body(body.to_string())
    }

    /// A body as it is, JSON or not.
    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Request line and headers, without the empty line that ends them.
    fn head(&self, host: &str) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        let names_host = self
            .headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("host"));
        if !names_host {
            head.push_str(&format!("host: {host}\r\n"));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head
    }

    /// Sends the request whole and reads the answer; the connection can be used again.
    pub(crate) fn send_on(&self, stream: &mut (impl Read + Write), host: &str) -> Answer {
        let mut bytes = self.head(host).into_bytes();
        if let Some(body) = &self.body {
            bytes.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        stream.write_all(&bytes).unwrap();
        read_answer(stream)
    }
}

/// One answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A header's value; names are in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(json) => json,
            Err(error) => panic!("no JSON ({error}): {} {}", self.status, self.text()),
        }
    }

    /// The body of a success.
    #[track_caller]
    pub(crate) fn done(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        assert!(self.header("x-request-id").is_some());
        self.json()
    }

    /// The body of an error, after checking the whole of its shape (A7).
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) -> Value {
        let body = self.json();
        assert_eq!(
            (self.status, body["error"].as_str()),
            (status, Some(code)),
            "{body}"
        );
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert_eq!(
            self.header("x-request-id"),
            body["request_id"].as_str(),
            "{body}"
        );
        let message = body["message"].as_str().unwrap_or_default();
        assert!(message.len() > 10, "a sentence is missing: {body}");
        let mut fields: Vec<&str> = body
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        fields.sort_unstable();
        let expected: &[&str] = if code == "conflict" {
            &["actual_version", "error", "message", "request_id"]
        } else {
            &["error", "message", "request_id"]
        };
        assert_eq!(fields, expected);
        let may_pass = matches!(status, 429 | 503);
        assert_eq!(self.header("retry-after").is_some(), may_pass, "{body}");
        body
    }
}

/// Reads one answer; the connection stays as it is.
pub(crate) fn read_answer(stream: &mut impl Read) -> Answer {
    let mut bytes = Vec::new();
    let head_length = loop {
        match bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            Some(length) => break length,
            None => read_more(stream, &mut bytes),
        }
    };
    let mut body = bytes.split_off(head_length + 4);
    let head = String::from_utf8(bytes).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line.split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<(String, String)> = lines
        .map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        })
        .collect();
    let length = headers
        .iter()
        .find(|(name, _)| name == "content-length")
        .map(|(_, length)| length.parse::<usize>().unwrap())
        .expect("every answer of the server says how long it is");
    while body.len() < length {
        read_more(stream, &mut body);
    }
    assert_eq!(body.len(), length, "more than the answer arrived");
    Answer {
        status,
        headers,
        body,
    }
}

fn read_more(stream: &mut impl Read, bytes: &mut Vec<u8>) {
    let mut chunk = vec![0; CHUNK];
    let count = stream.read(&mut chunk).unwrap();
    assert!(
        count > 0,
        "the connection ended before the answer did: {}",
        String::from_utf8_lossy(bytes)
    );
    bytes.extend_from_slice(&chunk[..count]);
}

/// Somebody who asks one node: an address, and headers that go with every request.
#[derive(Clone)]
pub(crate) struct Caller {
    api: SocketAddr,
    headers: Vec<(String, String)>,
}

impl Caller {
    /// Without any credential.
    pub(crate) fn stranger(api: SocketAddr) -> Self {
        Self {
            api,
            headers: Vec::new(),
        }
    }

    /// The same caller with one more header.
    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        let mut caller = self.clone();
        caller.headers.push((name.to_owned(), value.to_owned()));
        caller
    }

    pub(crate) fn with_token(&self, token: &str) -> Self {
        self.with("authorization", &format!("Bearer {token}"))
    }

    /// A connection of its own, for a client that does something unusual.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.api).unwrap();
        stream.set_read_timeout(Some(SILENCE)).unwrap();
        stream.set_write_timeout(Some(SILENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// The head of a request with this caller's headers, up to the line where its own would follow.
    pub(crate) fn head(&self, method: &str, target: &str) -> String {
        self.dressed(Request::new(method, target))
            .head(&self.host())
    }

    pub(crate) fn send(&self, request: Request) -> Answer {
        self.dressed(request)
            .send_on(&mut self.connect(), &self.host())
    }

    pub(crate) fn get(&self, target: &str) -> Answer {
        self.send(Request::new("GET", target))
    }

    pub(crate) fn delete(&self, target: &str) -> Answer {
        self.send(Request::new("DELETE", target))
    }

    pub(crate) fn post(&self, target: &str, body: &Value) -> Answer {
        self.send(Request::new("POST", target).json(body))
    }

    pub(crate) fn put(&self, target: &str, body: &Value) -> Answer {
        self.send(Request::new("PUT", target).json(body))
    }

    /// `POST` without a body.
    pub(crate) fn command(&self, target: &str) -> Answer {
        self.send(Request::new("POST", target))
    }

    /// Writes a secret, which must succeed.
    #[track_caller]
    pub(crate) fn write(&self, name: &str, value: &str) -> Value {
        self.post("/secret", &json!({"name": name, "value": value}))
            .done()
    }

    /// Reads a secret, whether that succeeds or not.
    pub(crate) fn read(&self, name: &str) -> Answer {
        self.get(&format!("/secret/{}", name.replace('/', "%2F")))
    }

    /// Every event of the trail up to now, oldest first; reading it adds one.
    #[track_caller]
    pub(crate) fn trail(&self) -> Vec<Value> {
        const PAGE: usize = 1_000;
        let mut events: Vec<Value> = Vec::new();
        loop {
            let from = events.len() + 1;
            let answer = self.get(&format!("/audit?from_seq={from}&limit={PAGE}"));
            assert_eq!(answer.status, 200, "{}", answer.text());
            let before = events.len();
            events.extend(
                answer
                    .text()
                    .lines()
                    .map(|line| serde_json::from_str::<Value>(line).unwrap()),
            );
            if events.len() - before < PAGE {
                return events;
            }
        }
    }

    fn host(&self) -> String {
        self.api.to_string()
    }

    fn dressed(&self, mut request: Request) -> Request {
        request.headers.extend(self.headers.iter().cloned());
        request
    }
}
