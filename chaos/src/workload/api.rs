//! HTTP as any client speaks it: one request, one answer or none, nothing repeated.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::Method;
use serde_json::Value;

/// A connection on one network is there at once or not at all.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// Longer than a request's deadline in these runs, so that a late answer is seen as one.
const PATIENCE: Duration = Duration::from_secs(4);
const JSON: &str = "application/json";

/// The nodes, and what carries requests to them.
#[derive(Debug)]
pub struct Api {
    http: reqwest::Client,
    nodes: Vec<Endpoint>,
}

/// One node's API.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// How the history names the node.
    pub id: u64,
    /// `http://host:port`, without a slash at its end.
    pub base: String,
}

/// A request. No `Debug`: it holds a token.
#[derive(Clone)]
pub struct Ask {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Option<Value>,
    pub(crate) token: Option<String>,
    pub(crate) request_id: Option<String>,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) patience: Duration,
}

/// An answer of any status.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// The status code.
    pub status: u16,
    /// `X-Jarvis-Index`.
    pub index: Option<u64>,
    /// The body, where it says that it is JSON; null if it is none in spite of that.
    pub body: Value,
    /// Any other body.
    pub text: String,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// No connection: the request was not sent.
    Connect,
    /// It took too long.
    Timeout,
    /// The connection was lost after the request was sent, or the answer was cut off.
    Reset,
}

impl Silence {
    /// How the history calls it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
        }
    }
}

impl Api {
    /// Prepares the connections; sends nothing yet. `ca` is needed for `https`.
    ///
    /// # Errors
    /// An address or a certificate file that can not be used.
    pub fn new(nodes: Vec<Endpoint>, ca: Option<&Path>) -> anyhow::Result<Self> {
        if nodes.is_empty() {
            bail!("no server address: give --url");
        }
        for node in &nodes {
            let url = reqwest::Url::parse(&node.base);
            let is_base = url.is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
            if !is_base {
                bail!(
                    "'{}' is not a server address: write http://host:8081",
                    node.base
                );
            }
        }
        // Another part of this program may have installed it already.
        let _already_installed = rustls::crypto::ring::default_provider().install_default();
        let builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_LIMIT)
            .tcp_nodelay(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never());
        let is_encrypted = nodes.iter().any(|node| node.base.starts_with("https:"));
        let builder = match ca {
            Some(path) => builder.tls_certs_only(certificates(path)?),
            None if is_encrypted => builder,
            // Plain HTTP works where the machine has no certificate store at all.
            None => builder.tls_certs_only([]),
        };
        let http = builder.build().context("the HTTP client can not be made")?;
        Ok(Self { http, nodes })
    }

    /// How many nodes there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.nodes.len()
    }

    /// How the history names the node in that place.
    #[must_use]
    pub fn id(&self, place: usize) -> u64 {
        self.nodes[place].id
    }

    /// All ids, by place.
    #[must_use]
    pub fn ids(&self) -> Vec<u64> {
        self.nodes.iter().map(|node| node.id).collect()
    }

    /// Sends it once.
    ///
    /// # Errors
    /// [`Silence`]; an answer of any status is none.
    pub async fn send(&self, place: usize, ask: &Ask) -> Result<Told, Silence> {
        let url = format!("{}{}", self.nodes[place].base, ask.path);
        let mut request = self
            .http
            .request(ask.method.clone(), url)
            .timeout(ask.patience);
        if let Some(token) = &ask.token {
            request = request.bearer_auth(token);
        }
        if let Some(id) = &ask.request_id {
            request = request.header("x-request-id", id);
        }
        if let Some(key) = &ask.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = &ask.body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| silence(&error))?;
        let status = response.status().as_u16();
        let index = response.headers().get("x-jarvis-index");
        let index = index.and_then(|value| value.to_str().ok());
        let index = index.and_then(|text| text.parse().ok());
        let kind = response.headers().get("content-type");
        let kind = kind.and_then(|value| value.to_str().ok()).unwrap_or(JSON);
        let is_json = kind.starts_with(JSON);
        let bytes = response.bytes().await.map_err(|error| silence(&error))?;
        let mut told = Told {
            status,
            index,
            ..Told::default()
        };
        if is_json {
            told.body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        } else {
            told.text = String::from_utf8_lossy(&bytes).into_owned();
        }
        Ok(told)
    }

    /// Whether a path that needs no credential answers 200 within that time.
    pub async fn is_well(&self, place: usize, path: &str, patience: Duration) -> bool {
        let ask = Ask::get(path).patience(patience);
        let told = self.send(place, &ask).await;
        told.is_ok_and(|told| told.status == 200)
    }
}

impl Ask {
    fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            body: None,
            token: None,
            request_id: None,
            idempotency_key: None,
            patience: PATIENCE,
        }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    pub(crate) fn post(path: impl Into<String>, body: Value) -> Self {
        let mut ask = Self::new(Method::POST, path);
        ask.body = Some(body);
        ask
    }

    pub(crate) fn put(path: impl Into<String>, body: Value) -> Self {
        let mut ask = Self::new(Method::PUT, path);
        ask.body = Some(body);
        ask
    }

    pub(crate) fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    pub(crate) fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

impl Told {
    /// Whether it was done.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.status, 200..=299)
    }

    /// The error's code; empty if there is none.
    #[must_use]
    pub fn code(&self) -> &str {
        self.text_of("error")
    }

    /// A member that is a text; empty if there is none.
    #[must_use]
    pub fn text_of(&self, member: &str) -> &str {
        self.body[member].as_str().unwrap_or_default()
    }

    /// A member that is a number.
    #[must_use]
    pub fn number_of(&self, member: &str) -> Option<u64> {
        self.body[member].as_u64()
    }
}

/// A secret's path; a slash in its name travels as `%2F` (A3).
pub(crate) fn secret_path(name: &str) -> String {
    format!("/secret/{}", escaped(name))
}

/// A name as a part of a path or query: names hold nothing else that needs it (A14).
pub(crate) fn escaped(name: &str) -> String {
    name.replace('/', "%2F")
}

fn silence(error: &reqwest::Error) -> Silence {
    if error.is_connect() || error.is_builder() {
        Silence::Connect
    } else if error.is_timeout() {
        Silence::Timeout
    } else {
        Silence::Reset
    }
}

fn certificates(path: &Path) -> anyhow::Result<Vec<reqwest::Certificate>> {
    let pem = std::fs::read(path)
        .with_context(|| format!("the CA's certificate {} can not be read", path.display()))?;
    match reqwest::Certificate::from_pem_bundle(&pem) {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => bail!("{} holds no PEM certificate", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn api(base: String) -> Api {
        Api::new(vec![Endpoint { id: 1, base }], None).unwrap()
    }

    #[tokio::test]
    async fn a_request_that_was_never_sent_differs_from_one_without_an_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 4096];
            let _read = stream.read(&mut buffer).await.unwrap();
            drop(stream);
            let (mut stream, _) = listener.accept().await.unwrap();
            let _read = stream.read(&mut buffer).await.unwrap();
            let answer = b"HTTP/1.1 409 Conflict\r\ncontent-length: 41\r\nx-jarvis-index: 7\r\n\r\n{\"error\":\"conflict\",\"actual_version\":  3}";
            stream.write_all(answer).await.unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            tokio::time::sleep(Duration::from_secs(5)).await;
            drop(stream);
        });
        let api = api(base);
        let ask = Ask::get("/livez");
        assert_eq!(api.send(0, &ask).await.unwrap_err(), Silence::Reset);
        let told = api.send(0, &ask).await.unwrap();
        assert_eq!((told.status, told.code()), (409, "conflict"));
        assert_eq!(told.index, Some(7));
        assert_eq!(told.number_of("actual_version"), Some(3));
        let ask = ask.patience(Duration::from_millis(200));
        assert_eq!(api.send(0, &ask).await.unwrap_err(), Silence::Timeout);
        server.abort();
        let _aborted = server.await;
        assert_eq!(api.send(0, &ask).await.unwrap_err(), Silence::Connect);
    }

    #[test]
    fn what_is_no_address_is_refused_with_an_example() {
        let endpoint = |base: &str| Endpoint {
            id: 1,
            base: base.to_owned(),
        };
        for bad in ["", "localhost:8081", "ftp://localhost"] {
            let error = Api::new(vec![endpoint(bad)], None).unwrap_err();
            assert!(error.to_string().contains("http://host:8081"), "{bad}");
        }
        assert!(Api::new(Vec::new(), None).is_err());
        assert_eq!(secret_path("a/b.c"), "/secret/a%2Fb.c");
    }
}
