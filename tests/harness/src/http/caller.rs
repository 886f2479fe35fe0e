//! Somebody who asks one node.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Answer, Failure, Request, secret_path};

/// No answer and no progress for so long is a failure. Longer than the server waits for a slow body.
const SILENCE: Duration = Duration::from_secs(45);

/// An address, and headers that go with every request.
#[derive(Debug, Clone)]
pub struct Caller {
    api: SocketAddr,
    headers: Vec<(String, String)>,
}

/// Who asks.
impl Caller {
    /// Without any credential.
    #[must_use]
    pub fn stranger(api: SocketAddr) -> Self {
        Self {
            api,
            headers: Vec::new(),
        }
    }

    /// The same caller with one more header.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut caller = self.clone();
        caller.headers.push((name.to_owned(), value.to_owned()));
        caller
    }

    /// The same caller with a bearer token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        self.with("authorization", &format!("Bearer {token}"))
    }
}

/// Asking; without an answer it panics. The connection is kept open by the client until it has the answer.
impl Caller {
    /// Sends a request with this caller's headers.
    #[track_caller]
    pub fn send(&self, request: Request) -> Answer {
        self.dressed(request)
            .send_on(&mut self.connect(), &self.host())
    }

    /// `GET`.
    #[track_caller]
    pub fn get(&self, target: &str) -> Answer {
        self.send(Request::get(target))
    }

    /// `DELETE`.
    #[track_caller]
    pub fn delete(&self, target: &str) -> Answer {
        self.send(Request::delete(target))
    }

    /// `POST` of JSON.
    #[track_caller]
    pub fn post(&self, target: &str, body: &Value) -> Answer {
        self.send(Request::post(target, body))
    }

    /// `PUT` of JSON.
    #[track_caller]
    pub fn put(&self, target: &str, body: &Value) -> Answer {
        self.send(Request::put(target, body))
    }

    /// `POST` without a body.
    #[track_caller]
    pub fn command(&self, target: &str) -> Answer {
        self.send(Request::command(target))
    }

    /// Writes a secret, which must succeed.
    #[track_caller]
    pub fn write(&self, name: &str, value: &str) -> Value {
        self.post("/secret", &json!({"name": name, "value": value}))
            .done()
    }

    /// Reads a secret, whether that succeeds or not.
    #[track_caller]
    pub fn read(&self, name: &str) -> Answer {
        self.get(&secret_path(name))
    }

    /// Every event of the trail up to now, oldest first; reading it adds one.
    #[track_caller]
    pub fn trail(&self) -> Vec<Value> {
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
}

/// Asking a node that may be down.
impl Caller {
    /// Sends a request with this caller's headers, once.
    ///
    /// # Errors
    /// [`Failure`]; an answer of any status is none.
    pub fn try_send(&self, request: Request) -> Result<Answer, Failure> {
        self.dressed(request).send(self.api)
    }

    /// `GET`.
    ///
    /// # Errors
    /// As [`Self::try_send`].
    pub fn try_get(&self, target: &str) -> Result<Answer, Failure> {
        self.try_send(Request::get(target))
    }
}

/// The pieces, for a client that does something unusual.
impl Caller {
    /// A connection of its own.
    #[must_use]
    #[track_caller]
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.api).unwrap();
        stream.set_read_timeout(Some(SILENCE)).unwrap();
        stream.set_write_timeout(Some(SILENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// The head of a request with this caller's headers, up to the line where its own would follow.
    #[must_use]
    pub fn head(&self, method: &str, target: &str) -> String {
        self.dressed(Request::new(method, target))
            .head(&self.host())
    }

    fn host(&self) -> String {
        self.api.to_string()
    }

    fn dressed(&self, mut request: Request) -> Request {
        request.headers.extend(self.headers.iter().cloned());
        request
    }
}
