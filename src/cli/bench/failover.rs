//! `bench failover`: how long a client that retries across nodes waits for its next acknowledged
//! write after the leader fell silent or died, or was told to hand over (C8).
//!
//! ```text
//! settle: calm, all ready, logs caught up ──► pause the leader ──► a write that starts now
//!    ▲                                  (kill it, let it hand over)           │
//!    └── `dev` starts the node again ◄── time from then to the acknowledgement ◄──┘
//! ```
//!
//! What is measured is strict: the write starts after the leader was stopped or killed (after the
//! hand-over was confirmed), so an acknowledgement that was already on its way never counts. A
//! paused leader closes no connection and refuses none, as a machine without power does: the others
//! have to miss it. It never wakes up: it is killed after the measurement, and then started again.
//!
//! Trials start at each node in turn, the silent one included. The log ids of the last write before
//! and of the measured one name leader and term of each, so that a trial shows whether there was an
//! election. Only measured writes carry idempotency keys: a server keeps a bounded number (A11).

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hyper::Method;
use hyper::header::HeaderValue;
use jarvis_wire::cluster::ClusterStatus;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use self::trials::{FailoverReport, Trial};
use super::clock;
use super::dev_cluster::{DevCluster, PausedNode};
use super::random::SplitMix64;
use super::report::json_line;
use super::requests::PreparedRequest;
use super::retrying_client::{Leader, RetryingClient};
use crate::cli::Target;
use crate::cli::error::CliError;

mod trials;

/// A thousand trials are a release; ten thousand a night.
const MOST_TRIALS: i64 = 10_000;

/// What C8 allows the 99th percentile after the leader's death.
const LIMIT_AFTER_DEATH: Duration = Duration::from_secs(1);

/// What C8 allows a planned transfer.
const LIMIT_OF_TRANSFER: Duration = Duration::from_millis(250);

/// A fail-over that takes longer is a failure, not a number.
const ACKNOWLEDGE_LIMIT: Duration = Duration::from_secs(30);

/// The ended node must be back, and the cluster calm, within this time.
const SETTLE_LIMIT: Duration = Duration::from_secs(120);

/// Between the writes of a calm cluster: often enough to keep every path warm.
const STEADY_PAUSE: Duration = Duration::from_millis(20);

/// Trials begin at a random phase of the heartbeat, which is shorter than this.
const PHASE_MS: u32 = 100;

/// Entries that a node may be behind when a trial begins: what a few rounds of a calm cluster leave
/// open, and nothing that would delay an election.
const MOST_LAG: u64 = 64;

/// Requests of an administrator: a hand-over waits for the successor to catch up, a status for
/// every member. The server's own deadline is shorter than this.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);

/// What happens to the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum How {
    /// Stop its process (SIGSTOP) as if its machine lost power: connections stay open, nothing
    /// answers. Killed after the measurement, then `dev` starts it again
    Pause,
    /// Kill its process (SIGKILL): everybody notices at once, and `dev` starts it again within
    /// 0.2 s, and it stands for election like the others
    Kill,
    /// Ask it to hand over
    Transfer,
}

impl How {
    fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Kill => "kill",
            Self::Transfer => "transfer",
        }
    }

    /// The target of C8 for the 99th percentile.
    fn limit_p99(self) -> Duration {
        match self {
            Self::Pause | Self::Kill => LIMIT_AFTER_DEATH,
            Self::Transfer => LIMIT_OF_TRANSFER,
        }
    }

    /// Whether a trial without another leader afterwards has measured nothing.
    fn needs_another_leader(self) -> bool {
        match self {
            Self::Pause | Self::Transfer => true,
            Self::Kill => false,
        }
    }
}

/// Flags of `bench failover`.
#[derive(Debug, clap::Args)]
pub(super) struct FailoverArgs {
    /// How often to do it to the leader
    #[arg(long, default_value_t = 30)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=MOST_TRIALS))]
    trials: u32,
    /// dev.json of a running `jarvis-secretsd dev` (started without --no-restart), or its directory
    #[arg(long, value_name = "FILE")]
    dev: PathBuf,
    /// What happens to the leader
    #[arg(long, value_enum, default_value = "pause")]
    how: How,
    /// Short for --how transfer
    #[arg(long, conflicts_with = "how")]
    planned: bool,
    /// How long the cluster must be calm and complete before each trial; below 600ms a long run
    /// meets the server's limit of 1,000 idempotency keys in 10 minutes
    #[arg(long, default_value = "1s", value_parser = clock::parse_positive_duration)]
    settle: Duration,
    /// How long one try of a write may take before the next node is tried: a silent node costs the
    /// client this much in each round
    #[arg(long, default_value = "150ms", value_parser = clock::parse_positive_duration)]
    try_timeout: Duration,
    /// Exit with 1 unless the 99th percentile is within its target: 1 s, and 250 ms with --how
    /// transfer
    #[arg(long)]
    require: bool,
    /// Another target for the 99th percentile; implies --require
    #[arg(long, value_name = "DURATION", value_parser = clock::parse_positive_duration)]
    limit_p99: Option<Duration>,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
}

impl FailoverArgs {
    fn how(&self) -> How {
        if self.planned {
            How::Transfer
        } else {
            self.how
        }
    }

    fn limit_p99(&self) -> Duration {
        self.limit_p99.unwrap_or_else(|| self.how().limit_p99())
    }

    fn is_limit_required(&self) -> bool {
        self.require || self.limit_p99.is_some()
    }
}

/// Runs all trials and prints the report.
///
/// The exit code is 1 when the target was required and missed, or when a trial was to change the
/// leader and did not.
///
/// # Errors
/// `Usage` for a bad handle or a cluster of one that has nobody to take over, `Other` when a node
/// can not be signalled, does not come back, or when no write is acknowledged in time.
pub(super) async fn run(args: FailoverArgs, target: Target) -> Result<ExitCode, CliError> {
    let (how, json) = (args.how(), args.json);
    let (limit_p99, required) = (args.limit_p99(), args.is_limit_required());
    let mut bench = FailoverBench::new(args, target)?;
    // Dropped unfinished, the trials end a paused node, which would otherwise stay behind stopped.
    let trials = tokio::select! {
        trials = Box::pin(bench.run_trials()) => trials?,
        told = told_to_end() => return Err(interrupted(told)),
    };
    let report = FailoverReport::new(how, limit_p99, &trials);
    println!(
        "{}",
        if json {
            json_line(&report)?
        } else {
            report.to_string()
        }
    );
    Ok(if report.is_success(required) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Waits for what ends a program from outside.
async fn told_to_end() -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
    Ok(())
}

fn interrupted(told: io::Result<()>) -> CliError {
    CliError::Other(match told {
        Ok(()) => "interrupted; a node that was paused is killed, and `dev` starts it again".into(),
        Err(error) => format!("signals can not be listened for: {error}"),
    })
}

struct FailoverBench {
    args: FailoverArgs,
    client: RetryingClient,
    random: SplitMix64,
    /// Part of every idempotency key, so that two runs never share one.
    run_id: u64,
    /// The process that the last trial ended, and its node's place in the list.
    ended: Option<(usize, i32)>,
}

impl FailoverBench {
    fn new(args: FailoverArgs, mut target: Target) -> Result<Self, CliError> {
        let cluster = DevCluster::read(&args.dev)?;
        if cluster.nodes.len() == 1 && args.how().needs_another_leader() {
            let text = "the cluster has one node, and nobody can take over: give the handle of one \
                        with three, or --how kill";
            return Err(CliError::Usage(text.to_owned()));
        }
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
            ended: None,
        })
    }

    async fn run_trials(&mut self) -> Result<Vec<Trial>, CliError> {
        let mut trials = Vec::new();
        for number in 0..self.args.trials {
            let trial = self.run_trial(number).await?;
            eprintln!("trial {} of {}: {trial}", number + 1, self.args.trials);
            trials.push(trial);
        }
        Ok(trials)
    }

    async fn run_trial(&mut self, number: u32) -> Result<Trial, CliError> {
        let before = self.settle().await?;
        let write = write_request(&format!("trial {number}"))?;
        let key = idempotency_key(self.run_id, number)?;
        self.client.start_at(number as usize % self.client.nodes());

        let (started, paused) = self.strike(before.node).await?;
        let deadline = clock::now() + ACKNOWLEDGE_LIMIT;
        let acknowledged = self
            .client
            .write_until_acknowledged(&write, Some(&key), deadline)
            .await?;
        let waited = clock::now().saturating_duration_since(started);
        drop(paused);
        Ok(Trial {
            waited,
            tries: acknowledged.tries,
            before,
            after: acknowledged.leader,
        })
    }

    /// Writes until the cluster was calm and complete for a while; who leads it.
    async fn settle(&mut self) -> Result<Leader, CliError> {
        let phase = Duration::from_millis(u64::from(self.random.below(PHASE_MS)));
        let needed = self.args.settle + phase;
        let deadline = clock::now() + SETTLE_LIMIT;
        let write = write_request("steady")?;
        let mut leader = None;
        let mut calm_since = clock::now();
        let mut caught_up = false;
        loop {
            let complete = self.client.all_ready().await && self.is_restarted()?;
            // The last thing before a trial, so that it says who leads then.
            let steady = self
                .client
                .write_until_acknowledged(&write, None, deadline)
                .await?;
            let calm = complete && steady.tries == 1 && leader == Some(steady.leader);
            leader = Some(steady.leader);
            let now = clock::now();
            if !calm {
                calm_since = now;
                caught_up = false;
            } else if now.saturating_duration_since(calm_since) >= needed {
                if caught_up {
                    return Ok(steady.leader);
                }
                caught_up = self.has_caught_up().await?;
            }
            if now >= deadline {
                let text = "the cluster did not come to rest: is a node down, or was `dev` started \
                            with --no-restart?";
                return Err(CliError::Other(text.to_owned()));
            }
            tokio::time::sleep(STEADY_PAUSE).await;
        }
    }

    /// Whether the handle names a new process for the node that the last trial ended.
    fn is_restarted(&mut self) -> Result<bool, CliError> {
        let Some((place, pid)) = self.ended else {
            return Ok(true);
        };
        let restarted = self.current_handle()?.nodes[place].pid != pid;
        if restarted {
            self.ended = None;
        }
        Ok(restarted)
    }

    /// Whether every member answers and has applied what the leader has in its log.
    async fn has_caught_up(&mut self) -> Result<bool, CliError> {
        let request = PreparedRequest::new(Method::GET, "/cluster/status", Vec::new())?;
        let Ok(answer) = self.client.ask(0, &request, None, ADMIN_TIMEOUT).await else {
            return Ok(false);
        };
        let status = serde_json::from_slice::<ClusterStatus>(&answer.body);
        Ok(status.is_ok_and(|status| {
            let mut lags = status.nodes.iter().map(|node| node.lag);
            lags.all(|lag| lag.is_some_and(|lag| lag <= MOST_LAG))
        }))
    }

    /// Does to the leader what was asked for: since when, and the node if it was paused.
    async fn strike(&mut self, leader: u64) -> Result<(Instant, Option<PausedNode>), CliError> {
        let mut nodes = self.current_handle()?.nodes;
        let place = nodes
            .iter()
            .position(|node| node.id == leader)
            .ok_or_else(|| {
                CliError::Other(format!(
                    "node {leader} leads, and dev.json does not name it"
                ))
            })?;
        let node = nodes.swap_remove(place);
        let ended = Some((place, node.pid));
        let started = clock::now();
        match self.args.how() {
            How::Pause => {
                let paused = node.pause()?;
                self.ended = ended;
                Ok((started, Some(paused)))
            }
            How::Kill => {
                node.kill()?;
                self.ended = ended;
                Ok((started, None))
            }
            How::Transfer => Ok((self.hand_over(place).await?, None)),
        }
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
        let failure = match self.client.ask(leader, &request, None, ADMIN_TIMEOUT).await {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Program {
        #[command(flatten)]
        failover: FailoverArgs,
    }

    fn parse(words: &[&str]) -> Result<FailoverArgs, clap::Error> {
        let always = ["failover", "--dev", "dev.json"];
        let words = always.into_iter().chain(words.iter().copied());
        <Program as clap::Parser>::try_parse_from(words).map(|program| program.failover)
    }

    #[test]
    fn c8_a_silent_leader_is_the_default_and_each_way_has_its_target() {
        let args = parse(&[]).unwrap();
        assert_eq!(args.how(), How::Pause);
        assert_eq!(args.limit_p99(), Duration::from_secs(1));
        assert!(!args.is_limit_required());
        for words in [
            &["--how", "transfer", "--require"][..],
            &["--planned", "--require"],
        ] {
            let args = parse(words).unwrap();
            assert_eq!(args.how(), How::Transfer);
            assert_eq!(args.limit_p99(), Duration::from_millis(250));
            assert!(args.is_limit_required());
        }
        let args = parse(&["--how", "kill", "--limit-p99", "2s"]).unwrap();
        assert_eq!(args.limit_p99(), Duration::from_secs(2));
        assert!(args.is_limit_required());
        assert!(parse(&["--how", "kill", "--planned"]).is_err());
        assert!(parse(&["--how", "ask"]).is_err());
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
