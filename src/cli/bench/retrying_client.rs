//! A client that retries across nodes: what C8 promises its next acknowledged write to.
//!
//! Every try is short. A try that failed says nothing about the write, so the next one goes to the
//! next node with the same idempotency key, until one of them acknowledges.

use std::time::{Duration, Instant};

use hyper::Method;
use hyper::header::HeaderValue;

use super::clock;
use super::connection::{Answer, Connection, ExchangeError};
use super::requests::{Engine, Lane, PreparedRequest};
use crate::cli::Target;
use crate::cli::error::CliError;

const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// After each node was tried once; short beside an election, long beside a refused connection.
const PAUSE_BETWEEN_ROUNDS: Duration = Duration::from_millis(5);

/// One connection to each node, opened when needed.
pub(super) struct RetryingClient {
    nodes: Vec<Node>,
    /// Where the next write is tried first.
    current: usize,
    try_timeout: Duration,
    leader_probe: PreparedRequest,
    readiness_probe: PreparedRequest,
}

struct Node {
    lane: Lane,
    connection: Option<Connection>,
}

impl RetryingClient {
    /// # Errors
    /// `Usage` for bad addresses, certificates, tokens or client ids.
    pub(super) fn new(target: &Target, try_timeout: Duration) -> Result<Self, CliError> {
        let lanes = Lane::all(target, Engine::Jarvis)?;
        Ok(Self {
            nodes: lanes
                .into_iter()
                .map(|lane| Node {
                    lane,
                    connection: None,
                })
                .collect(),
            current: 0,
            try_timeout,
            leader_probe: PreparedRequest::new(Method::GET, "/leader", Vec::new())?,
            readiness_probe: PreparedRequest::new(Method::GET, "/readyz", Vec::new())?,
        })
    }

    /// How many nodes there are.
    pub(super) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Lets the next write start at a node, given by its place among the addresses.
    pub(super) fn start_at(&mut self, node: usize) {
        self.current = node % self.nodes.len();
    }

    /// Repeats a write until a node acknowledges it; the number of tries it took.
    ///
    /// # Errors
    /// `Other` when a node refuses for good, or when nobody acknowledged before the deadline.
    pub(super) async fn write_until_acknowledged(
        &mut self,
        write: &PreparedRequest,
        idempotency_key: Option<&HeaderValue>,
        deadline: Instant,
    ) -> Result<u32, CliError> {
        let mut tries: u32 = 0;
        loop {
            tries += 1;
            let outcome = self
                .ask(self.current, write, idempotency_key, self.try_timeout)
                .await;
            let failure = match outcome {
                Ok(answer) if answer.status.is_success() => return Ok(tries),
                Ok(answer) if answer.may_pass_later() => answer.label(),
                Ok(answer) => {
                    let url = self.nodes[self.current].lane.endpoint.url();
                    let label = answer.label();
                    return Err(CliError::Other(format!("{url} refuses the write: {label}")));
                }
                Err(error) => error.label(),
            };
            if clock::now() >= deadline {
                let text = format!("no write was acknowledged in time; the last try: {failure}");
                return Err(CliError::Other(text));
            }
            self.current = (self.current + 1) % self.nodes.len();
            if (tries as usize).is_multiple_of(self.nodes.len()) {
                tokio::time::sleep(PAUSE_BETWEEN_ROUNDS).await;
            }
        }
    }

    /// The node that says it leads (C10).
    pub(super) async fn leader(&mut self) -> Option<usize> {
        for node in 0..self.nodes.len() {
            if self.probe(node, Probe::Leader).await {
                return Some(node);
            }
        }
        None
    }

    /// Whether every node says it is ready (C10).
    pub(super) async fn all_ready(&mut self) -> bool {
        for node in 0..self.nodes.len() {
            if !self.probe(node, Probe::Ready).await {
                return false;
            }
        }
        true
    }

    /// Sends one request to one node, once.
    ///
    /// # Errors
    /// Any [`ExchangeError`]; the next request opens a new connection.
    pub(super) async fn ask(
        &mut self,
        node: usize,
        request: &PreparedRequest,
        idempotency_key: Option<&HeaderValue>,
        allowed: Duration,
    ) -> Result<Answer, ExchangeError> {
        let node = &mut self.nodes[node];
        let mut request = request.with_headers(&node.lane.headers);
        if let Some(key) = idempotency_key {
            request.headers_mut().insert(IDEMPOTENCY_KEY, key.clone());
        }
        node.ask(request, allowed).await
    }

    async fn probe(&mut self, node: usize, probe: Probe) -> bool {
        let node = &mut self.nodes[node];
        let request = match probe {
            Probe::Leader => &self.leader_probe,
            Probe::Ready => &self.readiness_probe,
        };
        let request = request.with_headers(&node.lane.headers);
        let outcome = node.ask(request, self.try_timeout).await;
        outcome.is_ok_and(|answer| answer.status.is_success())
    }
}

#[derive(Clone, Copy)]
enum Probe {
    Leader,
    Ready,
}

impl Node {
    async fn ask(
        &mut self,
        request: hyper::Request<http_body_util::Full<bytes::Bytes>>,
        allowed: Duration,
    ) -> Result<Answer, ExchangeError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => tokio::time::timeout(allowed, Connection::open(&self.lane.endpoint))
                .await
                .map_err(|_| ExchangeError::TimedOut)??,
        };
        let answer = connection.exchange(request, allowed).await?;
        self.connection = Some(connection);
        Ok(answer)
    }
}
