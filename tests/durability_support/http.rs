//! The smallest HTTP/1.1 client: one request, one connection, a deadline, no retry.
//!
//! A test of durability must know exactly what was asked and what was answered: a pool or a silent retry would hide it.

#![allow(
    dead_code,
    reason = "shared by several test programs, of which each uses its part"
)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Above a request's own deadline of five seconds, so that the server's answer is what is seen.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer that is read: far above any that these tests ask for.
const MAX_ANSWER_BYTES: u64 = 16 << 20;

/// One node's API, as its administrator.
#[derive(Clone)]
pub(crate) struct Endpoint {
    address: SocketAddr,
    token: String,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    body: Vec<u8>,
}

impl Endpoint {
    /// From a base address such as `http://127.0.0.1:8081`.
    pub(crate) fn new(url: &str, token: &str) -> Self {
        let address = url
            .strip_prefix("http://")
            .and_then(|address| address.parse().ok())
            .expect("dev serves plain HTTP on a loopback address");
        Self {
            address,
            token: token.to_owned(),
        }
    }

    pub(crate) fn get(&self, path: &str) -> io::Result<Answer> {
        self.ask("GET", path, &[])
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> io::Result<Answer> {
        self.ask("POST", path, body.to_string().as_bytes())
    }

    fn ask(&self, method: &str, path: &str, body: &[u8]) -> io::Result<Answer> {
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.address,
            self.token,
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        stream.write_all(&request)?;
        let mut bytes = Vec::new();
        stream.take(MAX_ANSWER_BYTES).read_to_end(&mut bytes)?;
        parse(&bytes).ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
    }
}

impl Answer {
    /// The body; `null` if it is no JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// A whole answer, or nothing: one that was cut off is none.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(bytes.get(..end)?).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        if key.eq_ignore_ascii_case("content-length") {
            value.trim().parse::<usize>().ok()
        } else {
            None
        }
    })?;
    let start = end + 4;
    let body = bytes.get(start..start.checked_add(length)?)?.to_vec();
    Some(Answer { status, body })
}
