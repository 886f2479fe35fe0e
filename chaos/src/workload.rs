//! Clients that work while a cluster is hurt, or is not. Each does one thing after the other; each request is recorded
//! once, with what it was told; nothing is repeated inside of an operation.
//!
//! ```text
//! World ─┬─ Api       requests over HTTP                 Client ─ perform: number, clock, request, answer, clock, record
//!        ├─ Journal   the record                              │
//!        └─ Health    who just did not answer          register, set, append, batch, denial, revocation, staleness, canary
//! ```
//!
//! Invariants:
//! - values are unique: a value stands for the operation that wrote it;
//! - the rate is bounded, so that a laptop's cores are the nodes' and not the clients';
//! - a node that just did not answer is asked seldom, as behind a load balancer, and never not at all: what an isolated
//!   node says is worth the most.
//!
//! Read in this order: [`api`], [`journal`], `client`; then one workload, such as `register`; then [`judge`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::checker::secrecy::Canary;

pub mod api;
pub mod journal;
pub mod judge;

mod client;

mod append;
mod batch;
mod canary;
mod denial;
mod register;
mod revocation;
mod set;
mod staleness;

mod finale;
mod prepare;

pub(crate) use finale::{Finale, finale};
pub(crate) use prepare::{prepare, token_for};

use api::Api;
use client::Client;
use journal::Journal;

/// A node that just did not answer is still asked this often, in a hundred choices.
const ASK_ANYWAY_PERCENT: u64 = 12;

/// What clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Workload {
    /// Reads, writes, compare-and-sets, deletions of a few secrets.
    Register,
    /// New names, and lists of them.
    Set,
    /// Sequences under a key, by compare-and-set.
    Append,
    /// Amounts moved around with batches.
    Batch,
    /// What the policy forbids.
    Denial,
    /// Tokens and permissions given, used, taken away, used.
    Revocation,
    /// Reads that may be old.
    Staleness,
    /// Values that must be found nowhere.
    Canary,
}

/// How much of the rate a workload gets.
struct Share {
    clients: u32,
    percent: u32,
    /// Requests in one turn, about.
    requests: u32,
}

impl Workload {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Register,
        Self::Set,
        Self::Append,
        Self::Batch,
        Self::Denial,
        Self::Revocation,
        Self::Staleness,
        Self::Canary,
    ];

    const fn share(self) -> Share {
        let (clients, percent, requests) = match self {
            Self::Register => (8, 50, 1),
            Self::Set => (2, 10, 1),
            Self::Append => (2, 12, 2),
            Self::Batch => (2, 12, 3),
            // The server refuses a client's floods of forbidden requests, so this stays far below its limit.
            Self::Denial => (1, 3, 1),
            Self::Revocation => (1, 5, 8),
            Self::Staleness => (2, 6, 1),
            Self::Canary => (1, 2, 2),
        };
        Share {
            clients,
            percent,
            requests,
        }
    }
}

/// Who the clients are.
#[derive(Clone, Default)]
pub struct Credentials {
    /// A token that may read and write the secrets, and make tokens.
    pub admin: String,
    /// The client that new tokens are made for; it may read the secrets.
    pub client: String,
    /// A token of a client that may do nothing.
    pub stranger: Option<String>,
    /// A token of a client that may read stale, and for how long (ms).
    pub stale: Option<(String, u64)>,
    /// A permission that comes and goes; only where the whole policy is ours.
    pub permission: Option<Permission>,
}

/// A client's permission to read the probe, and the policies with and without it.
#[derive(Clone)]
pub struct Permission {
    /// How the history calls it: `permission:<client>:<name>`.
    pub label: String,
    /// The client's token.
    pub token: String,
    /// The policy that grants it.
    pub with: String,
    /// The policy that does not.
    pub without: String,
}

/// What all clients share.
pub struct World {
    pub(crate) api: Api,
    pub(crate) journal: Journal,
    pub(crate) credentials: Credentials,
    /// What the names of all secrets begin with; no slash at its end.
    pub(crate) root: String,
    canaries: Mutex<Vec<Canary>>,
    health: Health,
    stop: watch::Sender<bool>,
    processes: AtomicU64,
    seed: u64,
}

impl World {
    /// Nobody asks anything yet.
    #[must_use]
    pub fn new(
        api: Api,
        journal: Journal,
        credentials: Credentials,
        root: String,
        seed: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            health: Health::of(api.count()),
            api,
            journal,
            credentials,
            root,
            canaries: Mutex::default(),
            stop: watch::Sender::new(false),
            processes: AtomicU64::new(1),
            seed,
        })
    }

    /// The values that must be found nowhere.
    #[must_use]
    pub fn canaries(&self) -> Vec<Canary> {
        let canaries = self.canaries.lock();
        canaries.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add_canary(&self, canary: Canary) {
        let canaries = self.canaries.lock();
        canaries
            .unwrap_or_else(PoisonError::into_inner)
            .push(canary);
    }

    fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }
}

/// Running clients.
pub struct Crew {
    world: Arc<World>,
    clients: JoinSet<()>,
}

impl Crew {
    /// Starts the clients of these workloads: about `rate` requests a second in all.
    #[must_use]
    pub fn start(world: &Arc<World>, workloads: &[Workload], rate: u32) -> Self {
        let mut clients = JoinSet::new();
        for workload in workloads {
            let Share {
                clients: count,
                percent,
                requests,
            } = workload.share();
            let per_second = f64::from(rate.max(1)) * f64::from(percent) / 100.0;
            let period = Duration::from_secs_f64(f64::from(count * requests) / per_second);
            for _ in 0..count {
                let client = Client::new(world);
                match workload {
                    Workload::Register => clients.spawn(register::run(client, period)),
                    Workload::Set => clients.spawn(set::run(client, period)),
                    Workload::Append => clients.spawn(append::run(client, period)),
                    Workload::Batch => clients.spawn(batch::run(client, period)),
                    Workload::Denial => clients.spawn(denial::run(client, period)),
                    Workload::Revocation => clients.spawn(revocation::run(client, period)),
                    Workload::Staleness => clients.spawn(staleness::run(client, period)),
                    Workload::Canary => clients.spawn(canary::run(client, period)),
                };
            }
        }
        Self {
            world: Arc::clone(world),
            clients,
        }
    }

    /// Lets each client end with an answer. A client that panicked is an error of this program.
    ///
    /// # Errors
    /// Which client panicked.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.world.stop.send_replace(true);
        while let Some(ended) = self.clients.join_next().await {
            ended?;
        }
        self.world.stop.send_replace(false);
        Ok(())
    }
}

/// Who just did not answer: until when a node is asked seldom, ns on the record's clock.
struct Health(Vec<AtomicU64>);

impl Health {
    fn of(count: usize) -> Self {
        Self((0..count).map(|_| AtomicU64::new(0)).collect())
    }

    fn avoid(&self, place: usize, until_ns: u64) {
        self.0[place].fetch_max(until_ns, Ordering::Relaxed);
    }

    fn is_avoided(&self, place: usize, now_ns: u64) -> bool {
        now_ns < self.0[place].load(Ordering::Relaxed)
    }
}

/// Which stretch of so many seconds of the run this is: workloads go on to new names now and then, so that the life of
/// each is short enough to be judged.
fn stretch(now_ns: u64, seconds: u64) -> u64 {
    now_ns / (seconds * 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_the_whole_rate_and_denials_stay_below_the_server_s_limit() {
        let percent: u32 = Workload::ALL.iter().map(|all| all.share().percent).sum();
        assert_eq!(percent, 100);
        let denials = 300 * Workload::Denial.share().percent / 100;
        assert!(denials < 20, "{denials} a second");
        assert_eq!(stretch(19_999_999_999, 20), 0);
        assert_eq!(stretch(20_000_000_000, 20), 1);
    }

    #[test]
    fn a_node_that_did_not_answer_is_avoided_for_a_while() {
        let health = Health::of(2);
        health.avoid(1, 100);
        health.avoid(1, 50);
        assert!(health.is_avoided(1, 99) && !health.is_avoided(1, 100));
        assert!(!health.is_avoided(0, 0));
    }
}
