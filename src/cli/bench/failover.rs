//! `bench failover`: how long a client that retries across nodes waits for its next acknowledged
//! write after the leader died, or was told to hand over (C8).
//!
//! ```text
//! settle: writes without error, all nodes ready ──► kill the leader ──► a write that starts now
//!    ▲                                              (or let it hand over)             │
//!    └── `dev` starts the node again ◄── time from the kill to the acknowledgement ◄──┘
//! ```
//!
//! What is measured is strict: the write starts after the leader was killed (after the hand-over
//! was confirmed), so an acknowledgement that was already on its way never counts. Trials start at
//! each node in turn, the dead one included. Only measured writes carry idempotency keys, because a
//! server keeps a bounded number of them (A11).

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hyper::Method;
use hyper::header::HeaderValue;
use serde::Serialize;
use serde_json::json;

use super::clock;
use super::dev_cluster::DevCluster;
use super::histogram::Quantile;
use super::random::SplitMix64;
use super::report::json_line;
use super::requests::PreparedRequest;
use super::retrying_client::RetryingClient;
use crate::cli::Target;
use crate::cli::error::CliError;

/// A thousand trials are a release; ten thousand a night.
const MOST_TRIALS: i64 = 10_000;

/// A fail-over that takes longer is a failure, not a number.
const ACKNOWLEDGE_LIMIT: Duration = Duration::from_secs(30);

/// The killed node must be back, and the cluster calm, within this time.
const SETTLE_LIMIT: Duration = Duration::from_secs(120);

/// Between the writes of a calm cluster: often enough to keep every path warm.
const STEADY_PAUSE: Duration = Duration::from_millis(20);

/// Trials begin at a random phase of the heartbeat, which is shorter than this.
const PHASE_MS: u32 = 100;

/// A hand-over waits for the successor to catch up; the server's own deadline is shorter than this.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(10);

/// Flags of `bench failover`.
#[derive(Debug, clap::Args)]
pub(super) struct FailoverArgs {
    /// How often to kill or move the leader
    #[arg(long, default_value_t = 30)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=MOST_TRIALS))]
    trials: u32,
    /// dev.json of a running `jarvis-secretsd dev` (started without --no-restart), or its directory
    #[arg(long, value_name = "FILE")]
    dev: PathBuf,
    /// Ask the leader to hand over instead of killing it
    #[arg(long)]
    planned: bool,
    /// How long the cluster must be calm and complete before each trial; below 600ms a long run
    /// meets the server's limit of 1,000 idempotency keys in 10 minutes
    #[arg(long, default_value = "1s", value_parser = clock::parse_positive_duration)]
    settle: Duration,
    /// How long one try of a write may take before the next node is tried
    #[arg(long, default_value = "250ms", value_parser = clock::parse_positive_duration)]
    try_timeout: Duration,
    /// Exit with 1 when the 99th percentile is over this
    #[arg(long, value_name = "DURATION", value_parser = clock::parse_positive_duration)]
    limit_p99: Option<Duration>,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs all trials and prints the report.
///
/// # Errors
/// `Usage` for a bad handle, `Other` when a node can not be killed, does not come back, or when no
/// write is acknowledged in time.
pub(super) async fn run(args: FailoverArgs, target: Target) -> Result<ExitCode, CliError> {
    let (planned, limit_p99, json) = (args.planned, args.limit_p99, args.json);
    let mut bench = FailoverBench::new(args, target)?;
    let mut trials = Vec::new();
    for number in 0..bench.args.trials {
        let trial = bench.run_trial(number).await?;
        let waited = clock::rounded_milliseconds(trial.waited);
        eprintln!("trial {} of {}: {waited} ms", number + 1, bench.args.trials);
        trials.push(trial);
    }
    let report = FailoverReport::new(planned, &trials);
    println!(
        "{}",
        if json {
            json_line(&report)?
        } else {
            report.to_string()
        }
    );
    let within_limit =
        limit_p99.is_none_or(|limit| report.p99_ms <= clock::rounded_milliseconds(limit));
    let moved_as_told = !planned || report.leader_changed == report.trials;
    Ok(if within_limit && moved_as_told {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What one trial found.
struct Trial {
    /// From the kill, or the request to hand over, to the acknowledgement.
    waited: Duration,
    /// How many tries the measured write took.
    tries: u32,
    /// Whether another node led afterwards.
    leader_changed: bool,
}

struct FailoverBench {
    args: FailoverArgs,
    client: RetryingClient,
    random: SplitMix64,
    /// Part of every idempotency key, so that two runs never share one.
    run_id: u64,
    /// The process that the last trial killed, and its node's place in the list.
    killed: Option<(usize, i32)>,
}

impl FailoverBench {
    fn new(args: FailoverArgs, mut target: Target) -> Result<Self, CliError> {
        let cluster = DevCluster::read(&args.dev)?;
        target.urls = cluster.nodes.into_iter().map(|node| node.api).collect();
        target.token = Some(cluster.root_token);
        target.client_id = None;
        target.cacert = target.cacert.or(cluster.ca_cert);
        let client = RetryingClient::new(&target, args.try_timeout)?;
        // Its keys come from the operating system: unique is enough, hard to guess is not needed.
        let run_id = RandomState::new().build_hasher().finish();
        Ok(Self {
            args,
            client,
            random: SplitMix64::new(run_id),
            run_id,
            killed: None,
        })
    }

    async fn run_trial(&mut self, number: u32) -> Result<Trial, CliError> {
        let leader = self.settle().await?;
        let write = write_request(&format!("trial {number}"))?;
        let key = idempotency_key(self.run_id, number)?;
        self.client.start_at(number as usize % self.client.nodes());

        let started = if self.args.planned {
            self.hand_over(leader).await?
        } else {
            self.kill(leader)?
        };
        let deadline = clock::now() + ACKNOWLEDGE_LIMIT;
        let tries = self
            .client
            .write_until_acknowledged(&write, Some(&key), deadline)
            .await?;
        let waited = clock::now().saturating_duration_since(started);

        let leader_afterwards = self.client.leader().await;
        let leader_changed = leader_afterwards.is_some_and(|node| node != leader);
        Ok(Trial {
            waited,
            tries,
            leader_changed,
        })
    }

    /// Writes until the cluster was calm, complete and led for a while; the leader's place.
    async fn settle(&mut self) -> Result<usize, CliError> {
        let phase = Duration::from_millis(u64::from(self.random.below(PHASE_MS)));
        let needed = self.args.settle + phase;
        let deadline = clock::now() + SETTLE_LIMIT;
        let write = write_request("steady")?;
        let mut calm_since = clock::now();
        loop {
            let tries = self
                .client
                .write_until_acknowledged(&write, None, deadline)
                .await?;
            let calm = tries == 1 && self.client.all_ready().await && self.is_restarted()?;
            if !calm {
                calm_since = clock::now();
            }
            if clock::now().saturating_duration_since(calm_since) >= needed
                && let Some(leader) = self.client.leader().await
            {
                return Ok(leader);
            }
            if clock::now() >= deadline {
                let text = "the cluster did not come to rest: is a node down, or was `dev` started \
                            with --no-restart?";
                return Err(CliError::Other(text.to_owned()));
            }
            tokio::time::sleep(STEADY_PAUSE).await;
        }
    }

    /// Whether the handle names a new process for the node that the last trial killed.
    fn is_restarted(&mut self) -> Result<bool, CliError> {
        let Some((node, pid)) = self.killed else {
            return Ok(true);
        };
        let restarted = self.current_handle()?.nodes[node].pid != pid;
        if restarted {
            self.killed = None;
        }
        Ok(restarted)
    }

    fn kill(&mut self, leader: usize) -> Result<Instant, CliError> {
        let node = self.current_handle()?.nodes.swap_remove(leader);
        let started = clock::now();
        node.kill()?;
        self.killed = Some((leader, node.pid));
        Ok(started)
    }

    /// The handle as it is now; refused when it describes another cluster than before.
    fn current_handle(&self) -> Result<DevCluster, CliError> {
        let cluster = DevCluster::read(&self.args.dev)?;
        if cluster.nodes.len() != self.client.nodes() {
            let text = "the number of nodes in dev.json changed; start the bench again";
            return Err(CliError::Other(text.to_owned()));
        }
        Ok(cluster)
    }

    async fn hand_over(&mut self, leader: usize) -> Result<Instant, CliError> {
        let body = json!({ "to": null }).to_string().into_bytes();
        let request = PreparedRequest::new(Method::POST, "/cluster/transfer-leader", body)?;
        let started = clock::now();
        let failure = match self
            .client
            .ask(leader, &request, None, TRANSFER_TIMEOUT)
            .await
        {
            Ok(answer) if answer.status.is_success() => return Ok(started),
            Ok(answer) => answer.label(),
            Err(error) => error.label(),
        };
        Err(CliError::Other(format!(
            "the leader does not hand over: {failure}"
        )))
    }
}

fn write_request(value: &str) -> Result<PreparedRequest, CliError> {
    let body = json!({ "name": "bench/failover", "value": value });
    PreparedRequest::new(Method::POST, "/secret", body.to_string().into_bytes())
}

fn idempotency_key(run_id: u64, trial: u32) -> Result<HeaderValue, CliError> {
    HeaderValue::from_str(&format!("bench-failover-{run_id:016x}-{trial}"))
        .map_err(|error| CliError::Other(format!("no idempotency key: {error}")))
}

/// The result of all trials; its JSON form is described in `benches/README.md`.
#[derive(Debug, Serialize)]
struct FailoverReport {
    /// `kill` or `transfer`.
    kind: &'static str,
    trials: usize,
    /// Trials after which another node led.
    leader_changed: usize,
    /// The most tries that a measured write took.
    most_tries: u32,
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    /// In the order of the trials.
    samples_ms: Vec<f64>,
}

impl FailoverReport {
    fn new(planned: bool, trials: &[Trial]) -> Self {
        let mut sorted: Vec<Duration> = trials.iter().map(|trial| trial.waited).collect();
        sorted.sort_unstable();
        let quantile = |quantile| clock::rounded_milliseconds(nearest_rank(&sorted, quantile));
        Self {
            kind: if planned { "transfer" } else { "kill" },
            trials: trials.len(),
            leader_changed: trials.iter().filter(|trial| trial.leader_changed).count(),
            most_tries: trials
                .iter()
                .map(|trial| trial.tries)
                .max()
                .unwrap_or_default(),
            p50_ms: quantile(Quantile::P50),
            p90_ms: quantile(Quantile::P90),
            p99_ms: quantile(Quantile::P99),
            max_ms: clock::rounded_milliseconds(sorted.last().copied().unwrap_or_default()),
            samples_ms: trials
                .iter()
                .map(|trial| clock::rounded_milliseconds(trial.waited))
                .collect(),
        }
    }
}

/// An exact quantile of a sorted list; zero for an empty one.
fn nearest_rank(sorted: &[Duration], quantile: Quantile) -> Duration {
    let rank = quantile.rank(sorted.len() as u64) as usize;
    rank.checked_sub(1)
        .map(|index| sorted[index])
        .unwrap_or_default()
}

impl fmt::Display for FailoverReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let event = match self.kind {
            "transfer" => "planned transfers of the leader",
            _ => "leaders killed with SIGKILL",
        };
        writeln!(
            formatter,
            "{} {event}; time to the next acknowledged write:",
            self.trials
        )?;
        writeln!(
            formatter,
            "p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
            self.p50_ms, self.p90_ms, self.p99_ms, self.max_ms
        )?;
        write!(
            formatter,
            "the leader changed in {} trials; the measured writes took at most {} tries",
            self.leader_changed, self.most_tries
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trials(milliseconds: impl Iterator<Item = u64>) -> Vec<Trial> {
        milliseconds
            .map(|waited| Trial {
                waited: Duration::from_millis(waited),
                tries: 2,
                leader_changed: true,
            })
            .collect()
    }

    #[test]
    fn c8_the_report_ranks_its_trials_exactly() {
        let report = FailoverReport::new(false, &trials((1..=100).rev()));
        assert_eq!(report.kind, "kill");
        assert_eq!(report.p50_ms, 50.0);
        assert_eq!(report.p90_ms, 90.0);
        assert_eq!(report.p99_ms, 99.0);
        assert_eq!(report.max_ms, 100.0);
        assert_eq!(report.samples_ms[0], 100.0);
        assert_eq!(report.leader_changed, 100);
        assert_eq!(report.most_tries, 2);
    }

    #[test]
    fn c8_with_few_trials_the_99th_percentile_is_the_worst() {
        let report = FailoverReport::new(true, &trials([700, 900, 800].into_iter()));
        assert_eq!(report.kind, "transfer");
        assert_eq!(report.p99_ms, 900.0);
    }

    #[test]
    fn a11_keys_differ_between_runs_and_trials() {
        assert_ne!(
            idempotency_key(1, 0).unwrap(),
            idempotency_key(1, 1).unwrap()
        );
        assert_ne!(
            idempotency_key(1, 0).unwrap(),
            idempotency_key(2, 0).unwrap()
        );
    }
}
