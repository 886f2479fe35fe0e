//! Putting load on a cluster: connections, their loops, and what they count.
//!
//! ```text
//! connect, write every key once ──► warm-up ──► measured window ──► report
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::LoadArgs;
use super::answer::Answer;
use super::clock;
use super::connection::{Connection, ExchangeError};
use super::histogram::Histogram;
use super::mix::{Mix, Operation};
use super::pace::{Pace, Window};
use super::random::SplitMix64;
use super::report::LoadReport;
use super::requests::{Lane, RequestSet};
use crate::cli::Target;
use crate::cli::error::CliError;

/// A key that could not be written is tried this often: long enough for an election, short enough
/// to notice that nobody is there.
const PREPARE_ATTEMPTS: u32 = 30;
const PREPARE_PAUSE: Duration = Duration::from_millis(100);

/// A connection that failed waits before it is opened again, so that a dead node costs no CPU.
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);

/// Kinds of errors that are told apart; the rest is counted together.
const MOST_ERROR_LABELS: usize = 32;
const OTHER_ERRORS: &str = "other errors";

/// What all connections of a run share and nobody changes.
struct Plan {
    lanes: Vec<Lane>,
    requests: RequestSet,
    mix: Mix,
    request_timeout: Duration,
    connections: u32,
}

impl Plan {
    fn lane(&self, index: u32) -> &Lane {
        &self.lanes[index as usize % self.lanes.len()]
    }
}

/// What all connections of a run count into. One thread runs them, so nobody waits for the lock.
type SharedRecord = Arc<Mutex<LoadRecord>>;

/// The counts of the measured window.
pub(super) struct LoadRecord {
    /// By [`Operation::index`].
    pub(super) latencies: [Histogram; Operation::ALL.len()],
    /// By [`Operation::index`].
    pub(super) failures: [u64; Operation::ALL.len()],
    pub(super) errors: BTreeMap<String, u64>,
    /// Requests of an open loop that were never sent.
    pub(super) unsent: u64,
}

impl LoadRecord {
    fn new() -> Self {
        Self {
            latencies: Operation::ALL.map(|_| Histogram::new()),
            failures: [0; Operation::ALL.len()],
            errors: BTreeMap::new(),
            unsent: 0,
        }
    }

    fn failed(&mut self, operation: Operation, label: String) {
        self.failures[operation.index()] += 1;
        let known = self.errors.contains_key(&label) || self.errors.len() < MOST_ERROR_LABELS;
        let label = if known {
            label
        } else {
            OTHER_ERRORS.to_owned()
        };
        *self.errors.entry(label).or_default() += 1;
    }
}

/// Prepares the secrets and runs the load; `None` after `--prepare-only`.
///
/// # Errors
/// `Usage` for a bad target, `Other` when a secret can not be written beforehand.
pub(super) async fn run(args: &LoadArgs, target: &Target) -> Result<Option<LoadReport>, CliError> {
    let plan = Arc::new(Plan {
        lanes: Lane::all(target, args.engine)?,
        requests: RequestSet::new(args)?,
        mix: args.mix,
        request_timeout: args.request_timeout,
        connections: args.clients,
    });
    let connections = prepare(&plan).await?;
    if args.prepare_only {
        return Ok(None);
    }
    let record = measure(args, &plan, connections).await?;
    Ok(Some(LoadReport::new(args, target, &record)))
}

/// Opens every connection, and writes every key once over them.
async fn prepare(plan: &Arc<Plan>) -> Result<Vec<(u32, Connection)>, CliError> {
    let mut tasks = JoinSet::new();
    for index in 0..plan.connections {
        tasks.spawn(prepare_share(Arc::clone(plan), index));
    }
    let mut connections = Vec::with_capacity(plan.connections as usize);
    while let Some(joined) = tasks.join_next().await {
        connections.push(joined.map_err(task_failed)??);
    }
    Ok(connections)
}

/// Opens one connection and writes its share of the keys.
async fn prepare_share(plan: Arc<Plan>, index: u32) -> Result<(u32, Connection), CliError> {
    let lane = plan.lane(index);
    let mut connection = open_patiently(lane).await?;
    let mut key = index;
    while key < plan.requests.keys() {
        connection = write_patiently(&plan, lane, connection, key).await?;
        key += plan.connections;
    }
    Ok((index, connection))
}

async fn open_patiently(lane: &Lane) -> Result<Connection, CliError> {
    let mut attempt = 1;
    loop {
        match Connection::open(&lane.endpoint).await {
            Ok(connection) => return Ok(connection),
            Err(error) if attempt == PREPARE_ATTEMPTS => {
                let url = lane.endpoint.url();
                return Err(CliError::Other(format!(
                    "{url} can not be reached: {error}"
                )));
            }
            Err(_) => tokio::time::sleep(PREPARE_PAUSE).await,
        }
        attempt += 1;
    }
}

/// Writes one key; gives the connection back, or another one where it broke.
async fn write_patiently(
    plan: &Plan,
    lane: &Lane,
    mut connection: Connection,
    key: u32,
) -> Result<Connection, CliError> {
    let request = plan.requests.request(Operation::Write, key);
    let message = request.to(&lane.headers);
    let mut attempt = 1;
    loop {
        let outcome = connection.exchange(message, plan.request_timeout).await;
        let label = match &outcome {
            Ok(answer) if answer.status.is_success() => return Ok(connection),
            Ok(answer) => answer.label(),
            Err(error) => error.label(),
        };
        let may_pass = outcome.as_ref().map_or(true, Answer::may_pass_later);
        if attempt == PREPARE_ATTEMPTS || !may_pass {
            let url = lane.endpoint.url();
            return Err(CliError::Other(format!(
                "{url} does not take the first writes: {label}"
            )));
        }
        tokio::time::sleep(PREPARE_PAUSE).await;
        if outcome.is_err() {
            connection = open_patiently(lane).await?;
        }
        attempt += 1;
    }
}

async fn measure(
    args: &LoadArgs,
    plan: &Arc<Plan>,
    connections: Vec<(u32, Connection)>,
) -> Result<LoadRecord, CliError> {
    let begin = clock::now();
    let measured_from = begin + args.warm_up;
    let end = measured_from + args.duration;
    let window = Window {
        begin,
        measured_from,
        end,
        grace: args.request_timeout,
    };
    let record: SharedRecord = Arc::new(Mutex::new(LoadRecord::new()));
    let mut tasks = JoinSet::new();
    for (index, connection) in connections {
        let worker = Worker {
            plan: Arc::clone(plan),
            index,
            pace: Pace::new(args.rate, args.clients, index),
            random: SplitMix64::new(u64::from(index)),
            connection: Some(connection),
            record: Arc::clone(&record),
        };
        tasks.spawn(worker.work(window));
    }
    while let Some(joined) = tasks.join_next().await {
        joined.map_err(task_failed)?;
    }
    let counted = std::mem::replace(&mut *lock(&record), LoadRecord::new());
    Ok(counted)
}

/// One connection's loop.
struct Worker {
    plan: Arc<Plan>,
    index: u32,
    pace: Pace,
    random: SplitMix64,
    /// Absent after an error, until the next request opens it again.
    connection: Option<Connection>,
    record: SharedRecord,
}

impl Worker {
    async fn work(mut self, window: Window) {
        while let Some(start) = self.pace.next_start(&window).await {
            let operation = self.plan.mix.pick(&mut self.random);
            let key = self.random.below(self.plan.requests.keys());
            let outcome = self.send(operation, key).await;
            let broken = outcome.is_err();
            if start >= window.measured_from {
                self.count(operation, start, outcome);
            }
            if broken {
                tokio::time::sleep(RECONNECT_PAUSE).await;
            }
        }
        lock(&self.record).unsent += self.pace.unsent(&window);
    }

    async fn send(&mut self, operation: Operation, key: u32) -> Result<Answer, ExchangeError> {
        let lane = self.plan.lane(self.index);
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&lane.endpoint).await?,
        };
        let request = self.plan.requests.request(operation, key);
        let answer = connection
            .exchange(request.to(&lane.headers), self.plan.request_timeout)
            .await?;
        self.connection = Some(connection);
        Ok(answer)
    }

    fn count(&self, operation: Operation, start: Instant, outcome: Result<Answer, ExchangeError>) {
        let latency = clock::now().saturating_duration_since(start);
        let mut record = lock(&self.record);
        match outcome {
            Ok(answer) if answer.status.is_success() => {
                record.latencies[operation.index()].record(latency);
            }
            Ok(answer) => record.failed(operation, answer.label()),
            Err(error) => record.failed(operation, error.label()),
        }
    }
}

/// Counts stay usable even if a task panicked while it held them.
fn lock(record: &SharedRecord) -> MutexGuard<'_, LoadRecord> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

fn task_failed(error: tokio::task::JoinError) -> CliError {
    CliError::Other(format!("a task of the bench ended early: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_errors_are_bounded() {
        let mut record = LoadRecord::new();
        for number in 0..100 {
            record.failed(Operation::Read, format!("error {number}"));
        }
        assert_eq!(record.failures[Operation::Read.index()], 100);
        assert!(record.errors.len() <= MOST_ERROR_LABELS + 1);
        assert_eq!(record.errors.values().sum::<u64>(), 100);
    }
}
