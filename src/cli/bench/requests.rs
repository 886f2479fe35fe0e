//! Every request of a run, built before the clock starts.
//!
//! Both engines get the same number of keys, the same values and the same kind of connection; they
//! differ in paths and bodies alone.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{HeaderMap, Method, Uri};
use jarvis_wire::IDEMPOTENCY_KEY_HEADER;
use serde_json::json;

use super::LoadArgs;
use super::endpoint::Endpoint;
use super::mix::Operation;
use crate::cli::Target;
use crate::cli::error::CliError;

const CLIENT_HEADER: &str = "x-jarvis-client";

/// What values are made of; repeated to their length.
const VALUE_PATTERN: &str = "example-not-a-secret-";

/// Whose HTTP interface to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Engine {
    /// jarvis-secretsd
    Jarvis,
    /// etcd v3 through its HTTP/JSON gateway
    Etcd,
}

impl Engine {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Jarvis => "jarvis",
            Self::Etcd => "etcd",
        }
    }
}

/// Which reads to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Consistency {
    /// Reads that see every write acknowledged before they started
    Linearizable,
    /// Reads that may be answered from a node's own, older state
    Stale,
}

impl Consistency {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Linearizable => "linearizable",
            Self::Stale => "stale",
        }
    }
}

/// A request without the headers that depend on the node.
pub(super) struct PreparedRequest {
    /// The request line, and the length of the body.
    start: String,
    body: Vec<u8>,
}

impl PreparedRequest {
    /// Builds a request from its parts; `path` is a path with an optional query.
    ///
    /// # Errors
    /// `Other` when the path is no path: a mistake in this program.
    pub(super) fn new(method: Method, path: &str, body: Vec<u8>) -> Result<Self, CliError> {
        let uri = path
            .parse::<Uri>()
            .map_err(|error| CliError::Other(format!("{path:?} is not a path: {error}")))?;
        // A GET without a length has no body; of other methods a server may ask for one.
        let length = if method == Method::GET && body.is_empty() {
            String::new()
        } else {
            format!("content-length: {}\r\n", body.len())
        };
        let start = format!("{method} {uri} HTTP/1.1\r\n{length}");
        Ok(Self { start, body })
    }

    /// The request as it goes to the node whose headers are given. Copies nothing.
    pub(super) fn to<'a>(&'a self, headers: &'a HeaderLines) -> Message<'a> {
        Message {
            request: self,
            headers,
            idempotency_key: None,
        }
    }
}

/// Headers as they travel. No `Debug`: one of them may be a token.
pub(super) struct HeaderLines(Vec<u8>);

impl HeaderLines {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut lines = Vec::new();
        for (name, value) in headers {
            push_header(&mut lines, name.as_str(), value);
        }
        Self(lines)
    }
}

/// A header's value holds no line feed: its type sees to that.
fn push_header(lines: &mut Vec<u8>, name: &str, value: &HeaderValue) {
    lines.extend_from_slice(name.as_bytes());
    lines.extend_from_slice(b": ");
    lines.extend_from_slice(value.as_bytes());
    lines.extend_from_slice(b"\r\n");
}

/// A request to one node.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    request: &'a PreparedRequest,
    headers: &'a HeaderLines,
    idempotency_key: Option<&'a HeaderValue>,
}

impl<'a> Message<'a> {
    /// The same with an idempotency key, if there is one (A11).
    pub(super) fn with_idempotency_key(self, idempotency_key: Option<&'a HeaderValue>) -> Self {
        Self {
            idempotency_key,
            ..self
        }
    }

    /// Puts what comes before the body at the end of a buffer.
    pub(super) fn write_head(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.request.start.as_bytes());
        out.extend_from_slice(&self.headers.0);
        if let Some(key) = self.idempotency_key {
            push_header(out, IDEMPOTENCY_KEY_HEADER, key);
        }
        out.extend_from_slice(b"\r\n");
    }

    pub(super) fn body(&self) -> &'a [u8] {
        &self.request.body
    }
}

/// A node, and the headers that each request to it carries.
pub(super) struct Lane {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) headers: HeaderLines,
}

impl Lane {
    /// One lane per address of the target. Only jarvis is told who asks: a token of one system has
    /// no business in another one's requests.
    ///
    /// # Errors
    /// `Usage` for bad addresses, certificates, tokens or client ids.
    pub(super) fn all(target: &Target, engine: Engine) -> Result<Vec<Self>, CliError> {
        let credentials = match engine {
            Engine::Jarvis => credentials(target)?,
            Engine::Etcd => HeaderMap::new(),
        };
        let lanes = Endpoint::all(target)?.into_iter().map(|endpoint| {
            let mut headers = credentials.clone();
            headers.insert(HOST, endpoint.authority());
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let headers = HeaderLines::of(&headers);
            Self { endpoint, headers }
        });
        Ok(lanes.collect())
    }
}

fn credentials(target: &Target) -> Result<HeaderMap, CliError> {
    let mut headers = HeaderMap::new();
    if let Some(token) = &target.token {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
            CliError::Usage("the token holds characters that no token has".to_owned())
        })?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    if let Some(client_id) = &target.client_id {
        let value = HeaderValue::from_str(client_id)
            .map_err(|_| CliError::Usage(format!("{client_id:?} is not a client id")))?;
        headers.insert(CLIENT_HEADER, value);
    }
    Ok(headers)
}

/// The requests of one run: one read and one write per key, and one health check.
pub(super) struct RequestSet {
    reads: Vec<PreparedRequest>,
    writes: Vec<PreparedRequest>,
    health: PreparedRequest,
}

impl RequestSet {
    pub(super) fn new(args: &LoadArgs) -> Result<Self, CliError> {
        let value = value_of_length(args.value_bytes as usize);
        let (reads, writes, health_path) = match args.engine {
            Engine::Jarvis => (
                for_each_key(args, |key| jarvis_read(args, key))?,
                for_each_key(args, |key| jarvis_write(key, &value))?,
                "/healthz",
            ),
            Engine::Etcd => (
                for_each_key(args, |key| etcd_read(args, key))?,
                for_each_key(args, |key| etcd_write(key, &value))?,
                "/health",
            ),
        };
        let health = PreparedRequest::new(Method::GET, health_path, Vec::new())?;
        Ok(Self {
            reads,
            writes,
            health,
        })
    }

    /// How many keys there are.
    pub(super) fn keys(&self) -> u32 {
        self.writes.len() as u32
    }

    /// The request of an operation on a key below [`RequestSet::keys`].
    pub(super) fn request(&self, operation: Operation, key: u32) -> &PreparedRequest {
        match operation {
            Operation::Read => &self.reads[key as usize],
            Operation::Write => &self.writes[key as usize],
            Operation::Health => &self.health,
        }
    }
}

fn for_each_key(
    args: &LoadArgs,
    build: impl Fn(u32) -> Result<PreparedRequest, CliError>,
) -> Result<Vec<PreparedRequest>, CliError> {
    (0..args.keys).map(build).collect()
}

fn jarvis_read(args: &LoadArgs, key: u32) -> Result<PreparedRequest, CliError> {
    let path = match args.consistency {
        Consistency::Linearizable => format!("/secret/bench%2F{key:06}"),
        Consistency::Stale => {
            format!(
                "/secret/bench%2F{key:06}?consistency=stale&max_age_ms={}",
                args.max_age_ms
            )
        }
    };
    PreparedRequest::new(Method::GET, &path, Vec::new())
}

fn jarvis_write(key: u32, value: &str) -> Result<PreparedRequest, CliError> {
    let body = json!({ "name": name_of(key), "value": value });
    PreparedRequest::new(Method::POST, "/secret", body.to_string().into_bytes())
}

fn etcd_read(args: &LoadArgs, key: u32) -> Result<PreparedRequest, CliError> {
    let key = STANDARD.encode(name_of(key));
    let body = match args.consistency {
        Consistency::Linearizable => json!({ "key": key }),
        Consistency::Stale => json!({ "key": key, "serializable": true }),
    };
    PreparedRequest::new(Method::POST, "/v3/kv/range", body.to_string().into_bytes())
}

fn etcd_write(key: u32, value: &str) -> Result<PreparedRequest, CliError> {
    let body = json!({ "key": STANDARD.encode(name_of(key)), "value": STANDARD.encode(value) });
    PreparedRequest::new(Method::POST, "/v3/kv/put", body.to_string().into_bytes())
}

fn name_of(key: u32) -> String {
    format!("bench/{key:06}")
}

fn value_of_length(length: usize) -> String {
    VALUE_PATTERN.chars().cycle().take(length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(request: &PreparedRequest) -> String {
        let headers = HeaderLines::of(&HeaderMap::new());
        written(request.to(&headers))
    }

    fn written(message: Message<'_>) -> String {
        let mut bytes = Vec::new();
        message.write_head(&mut bytes);
        bytes.extend_from_slice(message.body());
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn jarvis_requests_escape_the_slash_of_a_path_but_not_of_a_body_a3() {
        let write = jarvis_write(7, "x").unwrap();
        assert_eq!(
            text(&write),
            "POST /secret HTTP/1.1\r\ncontent-length: 35\r\n\r\n\
             {\"name\":\"bench/000007\",\"value\":\"x\"}"
        );
        let read = PreparedRequest::new(Method::GET, "/secret/bench%2F000007?a=1", Vec::new());
        assert_eq!(
            text(&read.unwrap()),
            "GET /secret/bench%2F000007?a=1 HTTP/1.1\r\n\r\n"
        );
    }

    #[test]
    fn only_a_get_may_leave_out_its_length() {
        let empty = PreparedRequest::new(Method::POST, "/a", Vec::new());
        assert_eq!(
            text(&empty.unwrap()),
            "POST /a HTTP/1.1\r\ncontent-length: 0\r\n\r\n"
        );
        assert!(PreparedRequest::new(Method::GET, "/a b", Vec::new()).is_err());
        assert!(PreparedRequest::new(Method::GET, "/a\r\nb: c", Vec::new()).is_err());
    }

    #[test]
    fn etcd_requests_are_base64_in_json() {
        let write = etcd_write(7, "x").unwrap();
        assert_eq!(
            text(&write),
            "POST /v3/kv/put HTTP/1.1\r\ncontent-length: 41\r\n\r\n\
             {\"key\":\"YmVuY2gvMDAwMDA3\",\"value\":\"eA==\"}"
        );
    }

    #[test]
    fn headers_are_those_of_the_lane_and_the_key_is_the_write_s_own() {
        let target = Target {
            urls: vec!["http://127.0.0.1:8081".to_owned()],
            token: Some("example-not-a-secret".to_owned()),
            ..Target::default()
        };
        let request = PreparedRequest::new(Method::GET, "/a", Vec::new()).unwrap();
        let lane = Lane::all(&target, Engine::Jarvis).unwrap().remove(0);
        let key = HeaderValue::from_static("k1");
        let message = request.to(&lane.headers).with_idempotency_key(Some(&key));
        assert_eq!(
            written(message),
            "GET /a HTTP/1.1\r\nauthorization: Bearer example-not-a-secret\r\n\
             host: 127.0.0.1:8081\r\ncontent-type: application/json\r\nidempotency-key: k1\r\n\r\n"
        );
        let lane = Lane::all(&target, Engine::Etcd).unwrap().remove(0);
        assert_eq!(
            written(request.to(&lane.headers).with_idempotency_key(None)),
            "GET /a HTTP/1.1\r\nhost: 127.0.0.1:8081\r\ncontent-type: application/json\r\n\r\n"
        );
    }

    #[test]
    fn values_have_their_length() {
        assert_eq!(value_of_length(256).len(), 256);
        assert_eq!(value_of_length(1), "e");
    }
}
