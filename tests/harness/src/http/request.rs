//! One request, as text.

use std::io::{Error, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Answer, Failure, read_answer};

/// A node on this machine accepts at once or never.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// How long an answer may take: more than a request's deadline (5 s), so that a slow answer is seen as one.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer that is read: far above any that tests ask for.
const MAX_ANSWER_BYTES: u64 = 16 << 20;

/// A request that can be sent to any node, as often as wanted.
#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    target: String,
    pub(super) headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    patience: Duration,
}

/// Making one.
impl Request {
    /// Any method, legal or not; no body yet.
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: None,
            patience: PATIENCE,
        }
    }

    /// `GET`.
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// `DELETE`.
    pub fn delete(target: &str) -> Self {
        Self::new("DELETE", target)
    }

    /// `POST` of JSON.
    pub fn post(target: &str, body: &Value) -> Self {
        Self::new("POST", target).json(body)
    }

    /// `PUT` of JSON.
    pub fn put(target: &str, body: &Value) -> Self {
        Self::new("PUT", target).json(body)
    }

    /// `POST` without a body.
    pub fn command(target: &str) -> Self {
        Self::new("POST", target)
    }

    /// `GET /secret/{name}`, with a query or without (`?version=1`).
    pub fn read(name: &str, query: &str) -> Self {
        Self::get(&format!("{}{query}", secret_path(name)))
    }

    /// `POST /secret`.
    pub fn write(name: &str, value: &str) -> Self {
        Self::post("/secret", &json!({ "name": name, "value": value }))
    }

    /// Who asks, by `X-Jarvis-Client`.
    #[must_use]
    pub fn client(self, client: &str) -> Self {
        self.header("X-Jarvis-Client", client)
    }

    /// Who asks, by a bearer token.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// The id under which the trail shows it.
    #[must_use]
    pub fn request_id(self, id: &str) -> Self {
        self.header("X-Request-Id", id)
    }

    /// What makes it safe to repeat (A11).
    #[must_use]
    pub fn idempotency_key(self, key: &str) -> Self {
        self.header("Idempotency-Key", key)
    }

    /// One more header; a second one of the same name is sent too.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// This JSON as the body.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.body(body.to_string())
    }

    /// A body as it is, JSON or not.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// How long [`Self::send`] waits for an answer.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

/// Sending it.
impl Request {
    /// Sends it once, over a connection of its own, as a well-behaved client does.
    ///
    /// # Errors
    /// [`Failure`]; an answer of any status is none.
    pub fn send(&self, api: SocketAddr) -> Result<Answer, Failure> {
        let mut stream = TcpStream::connect_timeout(&api, CONNECT_LIMIT)
            .map_err(|error| Failure::Unreachable(error.to_string()))?;
        let broken = |error: Error| Failure::Broken(error.to_string());
        stream.set_nodelay(true).map_err(broken)?;
        let patience = Some(self.patience);
        stream.set_read_timeout(patience).map_err(broken)?;
        stream.set_write_timeout(patience).map_err(broken)?;

        let mut more = String::from("connection: close\r\n");
        if self.body.is_some() && !self.has_header("content-type") {
            more.push_str("content-type: application/json\r\n");
        }
        // A server that refuses may answer before it has read everything: the answer counts, not the failed write.
        let written = stream.write_all(&self.message(&api.to_string(), &more));
        let mut bytes = Vec::new();
        let read = stream.take(MAX_ANSWER_BYTES).read_to_end(&mut bytes);
        match Answer::whole(&bytes) {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(written
                .err()
                .or(read.err())
                .map_or(Failure::Broken("the connection ended early".into()), broken)),
            Err(what) => Err(Failure::Broken(what)),
        }
    }

    /// Sends it whole over this connection, which can be used again, and reads the answer.
    ///
    /// # Panics
    /// When that fails in any way.
    #[track_caller]
    pub fn send_on(&self, stream: &mut (impl Read + Write), host: &str) -> Answer {
        stream.write_all(&self.message(host, "")).unwrap();
        read_answer(stream)
    }

    /// Request line and headers, without the empty line that ends them.
    pub(super) fn head(&self, host: &str) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !self.has_header("host") {
            head.push_str(&format!("host: {host}\r\n"));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head
    }

    fn message(&self, host: &str, more_headers: &str) -> Vec<u8> {
        let mut head = self.head(host);
        head.push_str(more_headers);
        if let Some(body) = &self.body {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut message = head.into_bytes();
        message.extend_from_slice(self.body.as_deref().unwrap_or_default());
        message
    }

    fn has_header(&self, wanted: &str) -> bool {
        self.headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case(wanted))
    }
}

/// The path of a secret; a slash in its name travels as `%2F` (A3).
#[must_use]
pub fn secret_path(name: &str) -> String {
    format!("/secret/{}", name.replace('/', "%2F"))
}
