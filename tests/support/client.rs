//! One request, one connection, one answer: HTTP/1.1 over a plain socket.
//!
//! It never repeats anything by itself, and tells apart what a retrying client must tell apart: a request that never
//! left ([`Failure::Unreachable`]) and one without an answer ([`Failure::Broken`], it may have happened).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// A node on this machine accepts at once or never.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// How long an answer may take: more than a request's deadline (5 s), so that a slow answer is seen as one.
const PATIENCE: Duration = Duration::from_secs(8);
/// Between the head of a message and its body.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// A request that can be sent to any node, as often as wanted.
#[derive(Clone)]
pub(crate) struct Request {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Option<Vec<u8>>,
    patience: Duration,
}

impl Request {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new("GET", path, None)
    }

    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self::new("DELETE", path, None)
    }

    pub(crate) fn post(path: impl Into<String>, body: &Value) -> Self {
        Self::new("POST", path, Some(body.to_string().into_bytes()))
    }

    pub(crate) fn put(path: impl Into<String>, body: &Value) -> Self {
        Self::new("PUT", path, Some(body.to_string().into_bytes()))
    }

    pub(crate) fn post_nothing(path: impl Into<String>) -> Self {
        Self::post_bytes(path, Vec::new())
    }

    /// A body that need not be JSON.
    pub(crate) fn post_bytes(path: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", path, Some(body.into()))
    }

    fn new(method: &'static str, path: impl Into<String>, body: Option<Vec<u8>>) -> Self {
        Self {
            method,
            path: path.into(),
            headers: Vec::new(),
            body,
            patience: PATIENCE,
        }
    }

    /// `GET /secret/{name}`, with a query or without (`?version=1`).
    pub(crate) fn read(name: &str, query: &str) -> Self {
        Self::get(format!("{}{query}", secret_path(name)))
    }

    /// `POST /secret`.
    pub(crate) fn write(name: &str, value: &str) -> Self {
        Self::post(
            "/secret",
            &serde_json::json!({ "name": name, "value": value }),
        )
    }

    /// Who asks, by `X-Jarvis-Client`.
    pub(crate) fn client(self, client: &str) -> Self {
        self.header("X-Jarvis-Client", client)
    }

    /// Who asks, by a bearer token.
    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn request_id(self, id: &str) -> Self {
        self.header("X-Request-Id", id)
    }

    pub(crate) fn idempotency_key(self, key: &str) -> Self {
        self.header("Idempotency-Key", key)
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub(crate) fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sends it once.
    pub(crate) fn send(&self, api: SocketAddr) -> Result<Answer, Failure> {
        let mut stream = TcpStream::connect_timeout(&api, CONNECT_LIMIT)
            .map_err(|error| Failure::Unreachable(error.to_string()))?;
        let broken = |error: std::io::Error| Failure::Broken(error.to_string());
        stream
            .set_read_timeout(Some(self.patience))
            .map_err(broken)?;
        stream
            .set_write_timeout(Some(self.patience))
            .map_err(broken)?;
        // A server that refuses may answer before it has read everything: the answer counts, not the failed write.
        let written = stream.write_all(&self.message(api));
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes);
        if let Some(answer) = Answer::parse(&bytes) {
            return Ok(answer);
        }
        let why = written
            .err()
            .or(read.err())
            .map_or("the connection ended early".to_owned(), |error| {
                error.to_string()
            });
        Err(Failure::Broken(why))
    }

    fn message(&self, api: SocketAddr) -> Vec<u8> {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: {api}\r\nConnection: close\r\n",
            self.method, self.path
        );
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = &self.body {
            head.push_str(&format!(
                "Content-Type: application/json\r\nContent-Length: {}\r\n",
                body.len()
            ));
        }
        head.push_str("\r\n");
        let mut message = head.into_bytes();
        message.extend_from_slice(self.body.as_deref().unwrap_or_default());
        message
    }
}

/// The path of a secret; a slash in its name travels as `%2F` (A3).
pub(crate) fn secret_path(name: &str) -> String {
    format!("/secret/{}", name.replace('/', "%2F"))
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No connection: the request never left.
    Unreachable(String),
    /// No whole answer: it may have happened.
    Broken(String),
}

/// A whole answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// `None` unless the whole answer is there.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes
            .windows(HEAD_END.len())
            .position(|window| window == HEAD_END)?;
        let head = std::str::from_utf8(&bytes[..end]).ok()?;
        let body = &bytes[end + HEAD_END.len()..];
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let answer = Self {
            status,
            headers,
            body: body.to_vec(),
        };
        let length: usize = answer.header("content-length")?.parse().ok()?;
        (length == body.len()).then_some(answer)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null if it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The code of an error (A7); empty if there is none.
    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }

    /// The body of a success.
    ///
    /// # Panics
    /// With any other status, showing it.
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()
    }
}
