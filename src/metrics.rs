//! What `GET /metrics` says (M, A6).
//!
//! Every family is there from the first scrape, zeros included. Label values are words of this
//! program, ids of nodes, or templates of the route table; never a name, a path or any other text
//! of a caller. The names of the old daemon are kept and have no labels, as they had none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TEXT_FORMAT, TextEncoder,
};

use crate::limits::Reason;

/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = TEXT_FORMAT;

/// Upper bounds in seconds: dense around the targets of 10 and 20 ms (T), up to the deadline of a
/// request.
const DURATION_BUCKETS: [f64; 14] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.007_5, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

/// Methods that are told apart; another one could be a caller's invention.
const METHODS: [&str; 6] = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"];
/// Stands for whatever is not in a list of known words.
const OTHER: &str = "other";
/// What no route matched.
const UNMATCHED: &str = "unmatched";
/// More route templates than the route table has; a mistake in the wiring must not fill memory.
const MAX_ROUTES: usize = 128;

/// Roles of a node.
const ROLES: [&str; 4] = ["leader", "follower", "learner", "candidate"];
/// Stands where there is no peer, so that the family is there.
const NO_PEER: &str = "none";

/// Which certificate expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// The API's.
    Api,
    /// This node's for its peers.
    Peer,
    /// The cluster CA's.
    Ca,
}

impl Certificate {
    const ALL: [Self; 3] = [Self::Api, Self::Peer, Self::Ca];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Peer => "peer",
            Self::Ca => "ca",
        }
    }
}

/// What a node says about its part in Raft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RaftNumbers<'a> {
    /// `leader`, `follower`, `learner` or `candidate`; anything else counts as none of them.
    pub role: &'a str,
    /// Its term.
    pub term: u64,
    /// Index of the last entry in its log.
    pub last_log: u64,
    /// Index of the last entry that it applied.
    pub applied: u64,
}

/// All counters and gauges of a process. One instance per server, shared behind an `Arc`.
pub struct Metrics {
    registry: Registry,
    http_requests: IntCounter,
    http_successes: IntCounter,
    http_duration: Histogram,
    http_by_route: IntCounterVec,
    routes: Mutex<RouteCounters>,
    secrets: IntGauge,
    secrets_created: IntCounter,
    secrets_retrieved: IntCounter,
    secrets_rotated: IntCounter,
    rbac_allowed: IntCounter,
    rbac_denied: IntCounter,
    encryptions: IntCounter,
    decryptions: IntCounter,
    decryption_errors: IntCounter,
    audit_events: IntCounter,
    refused: IntCounterVec,
    raft_role: IntGaugeVec,
    raft_term: IntGauge,
    raft_last_log: IntGauge,
    raft_applied: IntGauge,
    raft_peer_lag: IntGaugeVec,
    peers: Mutex<BTreeSet<String>>,
    commit: Histogram,
    fsync: GaugeVec,
    sealed: IntGauge,
    certificate_expiry: GaugeVec,
    next_rotation: IntGauge,
}

impl Metrics {
    /// Everything at zero.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let make = Maker(&registry);
        let metrics = Self {
            http_requests: make.counter("http_requests_total", "Requests answered."),
            http_successes: make.counter(
                "http_requests_success",
                "Requests answered with a status below 400.",
            ),
            http_duration: make.histogram(
                "http_request_duration_seconds",
                "From the first byte of a request to the answer.",
            ),
            http_by_route: make.counters(
                "jarvis_http_requests_by_route_total",
                "Requests answered, by method, route and class of the status.",
                &["method", "route", "status"],
            ),
            routes: Mutex::default(),
            secrets: make.gauge("secrets_total", "Live names in the vault."),
            secrets_created: make.counter("secrets_created_total", "Versions written."),
            secrets_retrieved: make.counter("secrets_retrieved_total", "Values read."),
            secrets_rotated: make.counter("secrets_rotated_total", "Rotations done."),
            rbac_allowed: make.counter("rbac_allowed_total", "Accesses that the policy allowed."),
            rbac_denied: make.counter("rbac_denied_total", "Accesses that the policy denied."),
            encryptions: make.counter("encryption_ops_total", "Values encrypted."),
            decryptions: make.counter("decryption_ops_total", "Values decrypted."),
            decryption_errors: make.counter(
                "decryption_errors_total",
                "Values that could not be decrypted.",
            ),
            audit_events: make.counter("audit_events_total", "Audit events that this node wrote."),
            refused: make.counters(
                "requests_refused_total",
                "Requests refused before they reached the log, by reason.",
                &["reason"],
            ),
            raft_role: make.gauges(
                "jarvis_raft_role",
                "1 for the role that the node has, 0 for the others.",
                &["role"],
            ),
            raft_term: make.gauge("jarvis_raft_term", "The node's term."),
            raft_last_log: make.gauge(
                "jarvis_raft_last_log",
                "Index of the last entry in the node's log.",
            ),
            raft_applied: make.gauge(
                "jarvis_raft_applied",
                "Index of the last entry that the node applied.",
            ),
            raft_peer_lag: make.gauges(
                "jarvis_raft_peer_lag",
                "Entries that a peer is behind, as the leader sees it.",
                &["peer"],
            ),
            peers: Mutex::default(),
            commit: make.histogram(
                "jarvis_commit_seconds",
                "From a proposal to its outcome, on the node that proposed it.",
            ),
            fsync: make.float_gauges(
                "jarvis_fsync_seconds",
                "How long a flush of the write-ahead log took: the last one, and the longest.",
                &["flush"],
            ),
            sealed: make.gauge("jarvis_sealed", "1 while the node has no keys."),
            certificate_expiry: make.float_gauges(
                "jarvis_certificate_expiry_seconds",
                "Seconds until a certificate expires, negative afterwards; 0 where there is none.",
                &["which"],
            ),
            next_rotation: make.gauge(
                "jarvis_next_rotation_due_seconds",
                "Seconds until the next secret is due for rotation, negative when one is overdue; 0 where there is none.",
            ),
            registry,
        };
        metrics.show_zeros();
        metrics
    }

    /// A family with labels is not printed before it has a member.
    fn show_zeros(&self) {
        self.http_by_route
            .with_label_values(&["GET", UNMATCHED, "4xx"]);
        for reason in Reason::ALL {
            self.refused.with_label_values(&[reason.as_str()]);
        }
        for role in ROLES {
            self.raft_role.with_label_values(&[role]);
        }
        for certificate in Certificate::ALL {
            self.certificate_expiry
                .with_label_values(&[certificate.as_str()]);
        }
        self.set_peer_lags(&[]);
        self.set_fsync(Duration::ZERO, Duration::ZERO);
    }

    /// A request was answered. `route` is the template that the router matched (`/secret/{name}`),
    /// never the path that was asked for.
    pub fn http_request(&self, method: &str, route: Option<&str>, status: u16, took: Duration) {
        self.http_requests.inc();
        if status < 400 {
            self.http_successes.inc();
        }
        self.http_duration.observe(took.as_secs_f64());
        self.routes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .count(&self.http_by_route, method, route, status);
    }

    /// Live names in the vault.
    pub fn set_secrets(&self, count: u64) {
        self.secrets.set(signed(count));
    }

    /// Versions were written.
    pub fn secrets_created(&self, count: u64) {
        self.secrets_created.inc_by(count);
    }

    /// A value was read.
    pub fn secret_retrieved(&self) {
        self.secrets_retrieved.inc();
    }

    /// A rotation was done.
    pub fn secret_rotated(&self) {
        self.secrets_rotated.inc();
    }

    /// The policy decided about an access.
    pub fn rbac(&self, allowed: bool) {
        if allowed {
            self.rbac_allowed.inc();
        } else {
            self.rbac_denied.inc();
        }
    }

    /// A value was encrypted.
    pub fn encrypted(&self) {
        self.encryptions.inc();
    }

    /// A value was decrypted, or could not be.
    pub fn decrypted(&self, succeeded: bool) {
        self.decryptions.inc();
        if !succeeded {
            self.decryption_errors.inc();
        }
    }

    /// The trail of this node ends at this event now: the count is the trail's, not the process's,
    /// and never goes back.
    pub fn audit_events_up_to(&self, seq: u64) {
        self.audit_events
            .inc_by(seq.saturating_sub(self.audit_events.get()));
    }

    /// A request was refused before it reached the log.
    pub fn refused(&self, reason: Reason) {
        self.refused.with_label_values(&[reason.as_str()]).inc();
    }

    /// The node's part in Raft.
    pub fn set_raft(&self, numbers: RaftNumbers<'_>) {
        for role in ROLES {
            let is_ours = i64::from(role == numbers.role);
            self.raft_role.with_label_values(&[role]).set(is_ours);
        }
        self.raft_term.set(signed(numbers.term));
        self.raft_last_log.set(signed(numbers.last_log));
        self.raft_applied.set(signed(numbers.applied));
    }

    /// How many entries each peer (node id, lag) is behind; empty on a node that does not lead.
    pub fn set_peer_lags(&self, lags: &[(u64, u64)]) {
        let mut shown = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now: Vec<(String, u64)> = lags
            .iter()
            .map(|(peer, lag)| (peer.to_string(), *lag))
            .collect();
        if now.is_empty() {
            now.push((NO_PEER.to_owned(), 0));
        }
        for gone in shown
            .iter()
            .filter(|peer| now.iter().all(|(id, _)| id != *peer))
        {
            // Fails only for one that is not there.
            let _absent = self.raft_peer_lag.remove_label_values(&[gone]);
        }
        for (peer, lag) in &now {
            self.raft_peer_lag
                .with_label_values(&[peer])
                .set(signed(*lag));
        }
        *shown = now.into_iter().map(|(peer, _)| peer).collect();
    }

    /// A proposal came back.
    pub fn committed(&self, took: Duration) {
        self.commit.observe(took.as_secs_f64());
    }

    /// The write-ahead log's last flush, and its longest since the start.
    pub fn set_fsync(&self, last: Duration, longest: Duration) {
        for (flush, took) in [("last", last), ("max", longest)] {
            self.fsync
                .with_label_values(&[flush])
                .set(took.as_secs_f64());
        }
    }

    /// Whether the node has no keys.
    pub fn set_sealed(&self, sealed: bool) {
        self.sealed.set(i64::from(sealed));
    }

    /// Seconds until the certificate expires; `None` where there is none.
    pub fn set_certificate_expiry(&self, which: Certificate, seconds: Option<i64>) {
        #[allow(clippy::cast_precision_loss, reason = "a second in ten million years")]
        let seconds = seconds.unwrap_or(0) as f64;
        let gauge: Gauge = self.certificate_expiry.with_label_values(&[which.as_str()]);
        gauge.set(seconds);
    }

    /// Seconds until the next secret is due for rotation; `None` where there is none.
    pub fn set_next_rotation(&self, seconds: Option<i64>) {
        self.next_rotation.set(seconds.unwrap_or(0));
    }

    /// Prometheus' text format; its content type is [`CONTENT_TYPE`].
    #[must_use]
    pub fn render(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .expect("every family has a name and at least one member")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Metrics")
    }
}

/// The counters of a route by method and class of the status, as they stand in labels.
type Counters = BTreeMap<(&'static str, &'static str), IntCounter>;

/// The members of `jarvis_http_requests_by_route_total` that were needed so far: asking the family for one hashes its
/// labels and takes a lock of its own, for every request.
#[derive(Default)]
struct RouteCounters {
    /// At most [`MAX_ROUTES`].
    known: BTreeMap<String, Counters>,
    unmatched: Counters,
    beyond: Counters,
}

impl RouteCounters {
    fn count(&mut self, family: &IntCounterVec, method: &str, route: Option<&str>, status: u16) {
        let (label, counters) = self.of_route(route);
        let (method, class) = (known(&METHODS, method), status_class(status));
        counters
            .entry((method, class))
            .or_insert_with(|| family.with_label_values(&[method, label, class]))
            .inc();
    }

    /// A route's label and counters: its own, if the route table can hold that many.
    fn of_route<'a>(&'a mut self, route: Option<&'a str>) -> (&'a str, &'a mut Counters) {
        let Some(route) = route else {
            return (UNMATCHED, &mut self.unmatched);
        };
        if !self.known.contains_key(route) {
            if self.known.len() >= MAX_ROUTES {
                return (OTHER, &mut self.beyond);
            }
            self.known.insert(route.to_owned(), Counters::new());
        }
        match self.known.get_mut(route) {
            Some(counters) => (route, counters),
            // It was there or came just now; a count under another label is better than none.
            None => (OTHER, &mut self.beyond),
        }
    }
}

fn known<'a>(words: &[&'a str], word: &str) -> &'a str {
    words
        .iter()
        .find(|known| **known == word)
        .copied()
        .unwrap_or(OTHER)
}

const fn status_class(status: u16) -> &'static str {
    match status {
        100..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    }
}

/// Gauges are signed; an index beyond is not reached in the life of a cluster.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Makes and registers; the names are constants of this file, so that nothing of it can fail.
struct Maker<'a>(&'a Registry);

impl Maker<'_> {
    const INVARIANT: &'static str = "metric names are valid, and each is used once";

    fn add<M: Collector + Clone + 'static>(&self, made: prometheus::Result<M>) -> M {
        let metric = made.expect(Self::INVARIANT);
        self.0
            .register(Box::new(metric.clone()))
            .expect(Self::INVARIANT);
        metric
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(IntCounter::new(name, help))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.add(IntGauge::new(name, help))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn float_gauges(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.add(GaugeVec::new(Opts::new(name, help), labels))
    }

    fn histogram(&self, name: &str, help: &str) -> Histogram {
        let options = HistogramOpts::new(name, help).buckets(DURATION_BUCKETS.to_vec());
        self.add(Histogram::with_opts(options))
    }
}

#[cfg(test)]
mod tests;
