//! The HTTP client of the command line: one call, several addresses, one deadline.
//!
//! ```text
//! call ─► address 1 ─ refused connection, no_leader, sealed ─► address 2 ─ … ─► pause ─► address 1 …
//!              └─ answer or definite error: done                        until the deadline
//! ```
//! Invariants:
//! - every write carries an idempotency key, the same one in every attempt, so that trying again is safe (A11), also
//!   where it makes a credential: the answer to any attempt shows the same one;
//! - once an attempt of a write may have reached a server, only an answer that was decided under its key ends the call
//!   as done or refused; anything else is `unknown_outcome`, because a definite error speaks of its attempt only (A7);
//! - proxies of the environment never apply to loopback (F8) or a unix socket; redirects are not followed; answers are
//!   bounded.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jarvis_wire::{CLIENT_HEADER, IDEMPOTENCY_KEY_HEADER, REQUEST_ID_HEADER, SecretText};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use tokio::time::Instant;
use zeroize::Zeroizing;

pub use self::call::{Answer, Call};
use self::verdict::{Failure, Verdict};
use super::Target;
use super::error::CliError;

mod call;
mod endpoint;
mod verdict;

use self::endpoint::{Endpoint, Way};

/// A connection on one network is there at once or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Twice the server's own default deadline of 5 s (C4), so that its answer comes before our guess.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The server's own default deadline of 5 s (C4) and the way back. Every attempt gets at least this long, also the last
/// one: cutting it short would put a guess in place of an answer that is due.
const ANSWER_DUE: Duration = Duration::from_secs(6);
/// No attempt begins later than this: an election takes about a second (C8), and a person does not wait much longer.
const CALL_DEADLINE: Duration = Duration::from_secs(15);
/// When every address refuses connections or is sealed, this long outlasts a restart; waiting longer helps nobody.
const HOPELESS_AFTER: Duration = Duration::from_secs(3);
/// First pause after all addresses failed, doubled each time: an election is over within a few of them.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause between two rounds, so that fail-over is noticed within half a second.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// Idle connections are kept for a command's next request, and not for ever.
const POOL_IDLE: Duration = Duration::from_secs(30);
/// Largest answer accepted: a page of a list or of the audit trail is far below.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// 128 random bits: no two keys of one client meet (A11).
const IDEMPOTENCY_KEY_BYTES: usize = 16;
/// Request ids are for tracing; 64 bits are plenty.
const REQUEST_ID_BYTES: usize = 8;

/// Speaks to one cluster through any of its addresses.
pub struct Client {
    lanes: Vec<Lane>,
    /// Index of the address that answered last: the next call starts there.
    preferred: AtomicUsize,
    client_id: Option<String>,
    token: Option<SecretText>,
}

/// An address, and what carries requests there.
struct Lane {
    endpoint: Endpoint,
    http: reqwest::Client,
}

impl Client {
    /// Reads the certificates and prepares the connections; sends nothing yet.
    ///
    /// # Errors
    /// [`CliError::Usage`] for an address or a file that can not be used.
    pub fn new(target: &Target) -> Result<Self, CliError> {
        super::install_crypto_provider();
        let endpoints = target
            .urls
            .iter()
            .map(|url| Endpoint::parse(url))
            .collect::<Result<Vec<_>, _>>()?;
        if endpoints.is_empty() {
            return Err(CliError::Usage("no server address: give --url".into()));
        }
        check_header("the client's name", target.client_id.as_deref())?;
        check_header("the token", target.token.as_deref())?;
        let encrypted = endpoints.iter().any(Endpoint::is_encrypted);
        let build = |builder: reqwest::ClientBuilder| {
            builder.build().map_err(|error| {
                let cause = verdict::deepest_cause(&error);
                CliError::Usage(format!("the TLS settings can not be used: {cause}"))
            })
        };
        let direct = build(builder(target, encrypted)?.no_proxy())?;
        let outward = build(builder(target, encrypted)?)?;
        let mut lanes = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            let http = match endpoint.way() {
                Way::Direct => direct.clone(),
                Way::Outward => outward.clone(),
                // All connections of a client go to its one socket.
                Way::Socket(path) => build(
                    builder(target, false)?
                        .no_proxy()
                        .unix_socket(path.as_path()),
                )?,
            };
            lanes.push(Lane { endpoint, http });
        }
        Ok(Self {
            lanes,
            preferred: AtomicUsize::new(0),
            client_id: target.client_id.clone(),
            token: target.token.clone().map(SecretText::from),
        })
    }

    /// The addresses, as texts for messages.
    pub fn addresses(&self) -> impl ExactSizeIterator<Item = &str> {
        self.lanes.iter().map(|lane| lane.endpoint.address())
    }

    /// Makes the call at any address, trying the others and again until the deadline.
    ///
    /// # Errors
    /// A definite error of a server, [`CliError::Unreachable`], or [`CliError::UnknownOutcome`] for a write that may
    /// have happened.
    pub async fn call(&self, call: &Call) -> Result<Answer, CliError> {
        let request_id = random_hex(REQUEST_ID_BYTES)?;
        let key = idempotency_key_of(call)?;
        let start = Instant::now();
        let first = self.preferred.load(Ordering::Relaxed);
        let mut pause = FIRST_PAUSE;
        let mut perhaps_done = false;
        let mut failure = Failure::Unreachable(String::from("no attempt was made"));
        loop {
            let round = Instant::now();
            let mut hopeful = false;
            for step in 0..self.lanes.len() {
                let index = (first + step) % self.lanes.len();
                let left = CALL_DEADLINE.saturating_sub(start.elapsed());
                if left.is_zero() {
                    break;
                }
                let timeout = left.clamp(ANSWER_DUE, REQUEST_TIMEOUT);
                match self
                    .attempt(index, call, key.as_deref(), &request_id, timeout)
                    .await
                {
                    Verdict::Done(answer) => {
                        self.preferred.store(index, Ordering::Relaxed);
                        return Ok(answer);
                    }
                    Verdict::Refused(error)
                        if perhaps_done && !verdict::is_about_the_key(&error) =>
                    {
                        return Err(unknown(
                            key,
                            format!("the last attempt was refused: {}", error.code),
                        ));
                    }
                    Verdict::Refused(error) => return Err(CliError::Server(error)),
                    Verdict::Elsewhere(next) => {
                        hopeful |= next.may_pass_soon();
                        perhaps_done |= call.is_write() && next.may_have_happened();
                        failure = failure.or_clearer(next);
                    }
                }
            }
            let hopeless = !hopeful && start.elapsed() >= HOPELESS_AFTER;
            // A server without a leader takes its whole deadline to say so: another round like that would come too late.
            let next_round = if failure.was_told() {
                round.elapsed()
            } else {
                Duration::ZERO
            };
            if hopeless || start.elapsed() + pause + next_round >= CALL_DEADLINE {
                let tried = self.all_addresses();
                return Err(give_up(tried, failure, key, perhaps_done));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Makes the call at one address only, once: for what concerns one node.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn call_at(&self, index: usize, call: &Call) -> Result<Answer, CliError> {
        let request_id = random_hex(REQUEST_ID_BYTES)?;
        let key = idempotency_key_of(call)?;
        match self
            .attempt(index, call, key.as_deref(), &request_id, REQUEST_TIMEOUT)
            .await
        {
            Verdict::Done(answer) => Ok(answer),
            Verdict::Refused(error) => Err(CliError::Server(error)),
            Verdict::Elsewhere(failure) => {
                let perhaps_done = call.is_write() && failure.may_have_happened();
                let address = self
                    .lanes
                    .get(index)
                    .map_or("", |lane| lane.endpoint.address());
                Err(give_up(address.to_owned(), failure, key, perhaps_done))
            }
        }
    }

    fn all_addresses(&self) -> String {
        self.addresses().collect::<Vec<_>>().join(", ")
    }

    async fn attempt(
        &self,
        index: usize,
        call: &Call,
        idempotency_key: Option<&str>,
        request_id: &str,
        timeout: Duration,
    ) -> Verdict {
        let Some(Lane { endpoint, http }) = self.lanes.get(index) else {
            return Verdict::Elsewhere(Failure::Unreachable("no such address".into()));
        };
        let mut request = http
            .request(call.method().clone(), endpoint.url_of(call))
            .timeout(timeout)
            .header(REQUEST_ID_HEADER, request_id)
            .header(ACCEPT, "application/json, */*;q=0.5");
        if let Some(client_id) = &self.client_id {
            request = request.header(CLIENT_HEADER, client_id);
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        if let Some(key) = idempotency_key {
            request = request.header(IDEMPOTENCY_KEY_HEADER, key);
        }
        if let Some(body) = call.body() {
            request = request
                .header(CONTENT_TYPE, "application/json")
                .body(body.to_vec());
        }
        match request.send().await {
            Ok(response) => receive(response).await,
            Err(error) => Verdict::Elsewhere(Failure::of_transport(&error, endpoint.way())),
        }
    }
}

/// The error of a call that got no answer from the addresses `tried`.
fn give_up(tried: String, failure: Failure, key: Option<String>, perhaps_done: bool) -> CliError {
    match failure {
        failure if perhaps_done => unknown(key, failure.cause()),
        Failure::Server(error) => CliError::Server(error),
        Failure::Unreachable(cause) | Failure::Broken(cause) => {
            CliError::Unreachable { tried, cause }
        }
    }
}

/// Refuses what can not travel in a header, without showing it.
fn check_header(what: &str, value: Option<&str>) -> Result<(), CliError> {
    match value.map(HeaderValue::from_str) {
        Some(Err(_)) => Err(CliError::Usage(format!(
            "{what} holds characters that no header may hold"
        ))),
        _ => Ok(()),
    }
}

fn builder(target: &Target, encrypted: bool) -> Result<reqwest::ClientBuilder, CliError> {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("jarvis-secrets/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
        .pool_idle_timeout(POOL_IDLE)
        .tcp_nodelay(true)
        .redirect(reqwest::redirect::Policy::none());
    if !encrypted {
        // Plain HTTP must work where the machine has no certificate store at all.
        return Ok(builder.tls_certs_only([]));
    }
    let builder = match &target.cacert {
        Some(path) => builder.tls_certs_only(certificates(path)?),
        None => builder,
    };
    match (&target.cert, &target.key) {
        (Some(cert), Some(key)) => Ok(builder.identity(identity(cert, key)?)),
        _ => Ok(builder),
    }
}

fn certificates(path: &Path) -> Result<Vec<reqwest::Certificate>, CliError> {
    let pem =
        std::fs::read(path).map_err(|error| CliError::file("read", path.display(), &error))?;
    match reqwest::Certificate::from_pem_bundle(&pem) {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(CliError::Usage(format!(
            "{} holds no PEM certificate",
            path.display()
        ))),
    }
}

fn identity(cert: &Path, key: &Path) -> Result<reqwest::Identity, CliError> {
    let read = |path: &Path| {
        std::fs::read(path)
            .map(Zeroizing::new)
            .map_err(|error| CliError::file("read", path.display(), &error))
    };
    let (certificate, private_key) = (read(cert)?, read(key)?);
    let pem = Zeroizing::new(
        [
            certificate.as_slice(),
            b"\n".as_slice(),
            private_key.as_slice(),
        ]
        .concat(),
    );
    reqwest::Identity::from_pem(&pem).map_err(|_| {
        CliError::Usage(format!(
            "{} and {} hold no PEM certificate with its private key",
            cert.display(),
            key.display()
        ))
    })
}

async fn receive(mut response: reqwest::Response) -> Verdict {
    let status = response.status().as_u16();
    let mut body = Zeroizing::new(Vec::new());
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > MAX_ANSWER_BYTES => {
                return Verdict::Elsewhere(Failure::Broken("the answer is too large".into()));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return verdict::judge(status, body),
            Err(error) => return Verdict::Elsewhere(Failure::broken(&error)),
        }
    }
}

fn idempotency_key_of(call: &Call) -> Result<Option<String>, CliError> {
    if !call.is_write() {
        return Ok(None);
    }
    match call.idempotency_key() {
        Some(key) => Ok(Some(key.to_owned())),
        None => new_idempotency_key().map(Some),
    }
}

/// A key for a write that is asked for more than once.
///
/// # Errors
/// When the operating system gives no random bytes.
pub(crate) fn new_idempotency_key() -> Result<String, CliError> {
    random_hex(IDEMPOTENCY_KEY_BYTES)
}

fn unknown(idempotency_key: Option<String>, cause: String) -> CliError {
    CliError::UnknownOutcome {
        idempotency_key,
        cause,
    }
}

/// Random bytes from the operating system, in hexadecimal.
fn random_hex(bytes: usize) -> Result<String, CliError> {
    let mut buffer = vec![0; bytes];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut buffer)
        .map_err(|_| CliError::Other("the system gave no random bytes".into()))?;
    Ok(hex::encode(buffer))
}

#[cfg(test)]
mod tests;
