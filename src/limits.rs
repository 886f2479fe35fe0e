//! How much of the server one caller, or all strangers together, may have (I3, rule 10).
//!
//! Whatever is refused here never reaches the log; it is counted, and the counts become one audit
//! event a minute each ([`Limits::drain_aggregates`]).
//!
//! ```text
//! request ─► credential? ── no ──► Limits::unauthenticated ─► 401 or 429
//!               │ yes
//!               ▼
//!        Limits::enter ─► (429) ─► would be denied here? ─ yes ─► Limits::forbidden ─► log, 403 or 429
//!               │ ClientPermit, held until the answer
//!               ▼
//!            the log
//! ```
//! Invariants: the number of tracked clients is bounded, and one with a request in flight is never
//! forgotten; a client's limits are its own; allowed requests are not slowed by denied ones.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use governor::Quota;
use governor::clock::Clock;
use jarvis_cluster::env;

use crate::config::LimitsConfig;

mod aggregates;
mod bucket;
mod clients;
mod node_clock;
mod reason;

pub use self::aggregates::Aggregate;
pub use self::clients::ClientPermit;
pub use self::node_clock::NodeClock;
pub use self::reason::Reason;

use self::aggregates::Aggregates;
use self::bucket::Bucket;
use self::clients::Clients;

/// What a refused caller is told to wait, seconds: every bucket here refills within one.
pub const RETRY_AFTER_SECS: u64 = 1;

/// The limits of one server. A handle; clones share everything.
pub struct Limits<C: Clock + Clone = NodeClock> {
    shared: Arc<Shared<C>>,
}

struct Shared<C: Clock> {
    strangers: Bucket<C>,
    clients: Mutex<Clients<C>>,
    aggregates: Mutex<Aggregates>,
}

impl Limits {
    /// Limits by the configuration, on a node's monotonic clock.
    #[must_use]
    pub fn new(config: &LimitsConfig, clock: Arc<dyn env::Clock>) -> Self {
        Self::with_clock(config, NodeClock::new(clock))
    }
}

impl<C: Clock + Clone> Limits<C> {
    fn with_clock(config: &LimitsConfig, clock: C) -> Self {
        let strangers = Bucket::new(per_second(config.unauthenticated_per_second), &clock);
        let clients = Clients::new(
            config.per_client_concurrency,
            config.client_requests_per_second.map(per_second),
            per_second(config.forbidden_per_second),
            clock,
        );
        Self {
            shared: Arc::new(Shared {
                strangers,
                clients: Mutex::new(clients),
                aggregates: Mutex::default(),
            }),
        }
    }

    /// A request without a valid credential, as far as this node knows; before anything costly is
    /// done to find out.
    ///
    /// # Errors
    /// [`Reason::UnauthenticatedFlood`], counted: answer 429. Otherwise count the 401 with
    /// [`Limits::count`].
    pub fn unauthenticated(&self) -> Result<(), Reason> {
        if self.shared.strangers.take() {
            return Ok(());
        }
        Err(self.refuse(Reason::UnauthenticatedFlood, None))
    }

    /// A request of a client begins. Hold the permit until its answer is made.
    ///
    /// # Errors
    /// [`Reason::ClientConcurrency`], [`Reason::ClientRate`] or [`Reason::TooManyClients`], counted:
    /// answer 429.
    pub fn enter(&self, client: &str) -> Result<ClientPermit, Reason> {
        let entered = lock(&self.shared.clients).enter(client);
        entered.map_err(|reason| self.refuse(reason, Some(client)))
    }

    /// A request that this node's own state says will be denied, before it is proposed; also after
    /// the log denied one that the node had not foreseen.
    ///
    /// # Errors
    /// [`Reason::ForbiddenFlood`], counted: answer 429 and propose nothing.
    pub fn forbidden(&self, client: &str) -> Result<(), Reason> {
        let took = lock(&self.shared.clients).forbidden(client);
        took.map_err(|reason| self.refuse(reason, Some(client)))
    }

    /// A refusal that was decided elsewhere: 401, sealed, no leader.
    pub fn count(&self, reason: Reason, client: Option<&str>) {
        lock(&self.shared.aggregates).add(reason, client, 1);
    }

    /// What was counted since the last call, for one audit event each. Call it once a minute.
    #[must_use]
    pub fn drain_aggregates(&self) -> Vec<Aggregate> {
        lock(&self.shared.aggregates).drain()
    }

    /// Takes back what could not be told: the next drain has it, with what came meanwhile.
    pub fn put_back(&self, aggregate: &Aggregate) {
        let mut reasons = Reason::ALL.into_iter();
        if let Some(reason) = reasons.find(|reason| reason.as_str() == aggregate.kind) {
            lock(&self.shared.aggregates).add(reason, aggregate.client.as_deref(), aggregate.count);
        }
    }

    fn refuse(&self, reason: Reason, client: Option<&str>) -> Reason {
        self.count(reason, client);
        reason
    }
}

impl<C: Clock + Clone> Clone for Limits<C> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<C: Clock + Clone> std::fmt::Debug for Limits<C> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Limits")
    }
}

/// The configuration's ranges begin at one.
fn per_second(count: u32) -> Quota {
    Quota::per_second(NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN))
}

/// Counts stay usable even if a thread panicked while it held them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
