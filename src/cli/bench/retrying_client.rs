//! A client that retries across nodes: what C8 promises its next acknowledged write to.
//!
//! Every try is short, since a node that lost its power takes connections and never answers. A try
//! that failed says nothing about the write, so the next one goes to the next node with the same
//! idempotency key, until one of them acknowledges.

use std::time::{Duration, Instant};

use hyper::Method;
use hyper::header::HeaderValue;
use jarvis_wire::secrets::WrittenSecret;

use super::answer::Answer;
use super::clock;
use super::connection::{Connection, ExchangeError};
use super::requests::{Engine, Lane, PreparedRequest};
use crate::cli::Target;
use crate::cli::error::CliError;

/// After each node was tried once; short beside an election, long beside a refused connection.
const PAUSE_BETWEEN_ROUNDS: Duration = Duration::from_millis(5);

/// A write that a node acknowledged.
pub(super) struct Acknowledged {
    /// How many tries it took.
    pub(super) tries: u32,
    /// Whose log entry it is.
    pub(super) leader: Leader,
}

/// A leader in its term, as the log id of a write names them: `<term>-<node>-<index>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leader {
    pub(super) node: u64,
    pub(super) term: u64,
}

impl Leader {
    fn of_write(answer: &Answer) -> Option<Self> {
        let written: WrittenSecret = serde_json::from_slice(&answer.body).ok()?;
        Self::of_log_id(&written.log_id)
    }

    fn of_log_id(log_id: &str) -> Option<Self> {
        let mut parts = log_id.split('-');
        let term = parts.next()?.parse().ok()?;
        let node = parts.next()?.parse().ok()?;
        Some(Self { node, term })
    }
}

/// One connection to each node, opened when needed.
pub(super) struct RetryingClient {
    nodes: Vec<Node>,
    /// Where the next write is tried first.
    current: usize,
    try_timeout: Duration,
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

    /// Repeats a write of one secret until a node acknowledges it.
    ///
    /// # Errors
    /// `Other` when a node refuses for good, or when nobody acknowledged before the deadline.
    pub(super) async fn write_until_acknowledged(
        &mut self,
        write: &PreparedRequest,
        idempotency_key: Option<&HeaderValue>,
        deadline: Instant,
    ) -> Result<Acknowledged, CliError> {
        let mut tries: u32 = 0;
        loop {
            tries += 1;
            let outcome = self
                .ask(self.current, write, idempotency_key, self.try_timeout)
                .await;
            let failure = match outcome {
                Ok(answer) if answer.status.is_success() => {
                    let leader = Leader::of_write(&answer).ok_or_else(|| {
                        let url = self.nodes[self.current].lane.endpoint.url();
                        CliError::Other(format!("{url} acknowledges a write without its log id"))
                    })?;
                    return Ok(Acknowledged { tries, leader });
                }
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

    /// Whether every node says it is ready (C10).
    pub(super) async fn all_ready(&mut self) -> bool {
        for node in &mut self.nodes {
            let outcome = node
                .ask(&self.readiness_probe, None, self.try_timeout)
                .await;
            if !outcome.is_ok_and(|answer| answer.status.is_success()) {
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
        self.nodes[node]
            .ask(request, idempotency_key, allowed)
            .await
    }
}

impl Node {
    async fn ask(
        &mut self,
        request: &PreparedRequest,
        idempotency_key: Option<&HeaderValue>,
        allowed: Duration,
    ) -> Result<Answer, ExchangeError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => tokio::time::timeout(allowed, Connection::open(&self.lane.endpoint))
                .await
                .map_err(|_| ExchangeError::TimedOut)??,
        };
        let message = request
            .to(&self.lane.headers)
            .with_idempotency_key(idempotency_key);
        let answer = connection.exchange_in_full(message, allowed).await?;
        self.connection = Some(connection);
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c8_a_write_s_log_id_names_its_leader_and_term() {
        let body = br#"{"name": "a", "kid": "k", "version": 1, "expires_at": "t",
            "log_id": "12-7-345", "audit_seq": 9}"#;
        let answer = Answer {
            status: hyper::StatusCode::OK,
            body: body.to_vec(),
        };
        let leader = Leader { node: 7, term: 12 };
        assert_eq!(Leader::of_write(&answer), Some(leader));
        for log_id in ["", "12", "x-7-345", "12-x-345"] {
            assert_eq!(Leader::of_log_id(log_id), None, "{log_id:?}");
        }
    }
}
