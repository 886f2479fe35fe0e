//! `jarvis-secrets bench`: how fast a cluster answers, and how fast it gets over the loss of its
//! leader.
//!
//! ```text
//! bench            N connections ──► requests built beforehand ──► status ──► histogram ──► report
//! bench failover   settle ──► pause the leader ──► write until acknowledged ──► all ready ──► again
//! ```
//!
//! The load generator shares its machine with the servers it measures, so it costs as little as it
//! can: one thread, its own keep-alive connections, requests as prepared bytes, and of an answer no
//! more than its status and its end. It speaks etcd's HTTP/JSON gateway as well, so that both are
//! measured by the same code.
//!
//! Invariants: a latency is counted from the moment the request should have started; a request that
//! got no 2xx is counted as failed and never as a latency; all state is bounded by the flags.

mod alarm;
mod answer;
mod answer_parser;
mod clock;
mod connection;
mod dev_cluster;
mod endpoint;
mod failover;
mod histogram;
mod load;
mod mix;
mod pace;
mod random;
mod report;
mod requests;
mod retrying_client;

use std::process::ExitCode;
use std::time::Duration;

use self::failover::FailoverArgs;
use self::mix::Mix;
use self::requests::{Consistency, Engine};
use crate::cli::Target;
use crate::cli::error::CliError;

/// Connections are spread over the nodes, and each needs a file descriptor here and there.
const MOST_CLIENTS: i64 = 4_096;

/// As many keys as can be listed in a report without thinking about memory.
const MOST_KEYS: i64 = 100_000;

/// The largest value that a server can be configured to take (A14).
const LARGEST_VALUE_BYTES: i64 = 1024 * 1024;

/// Request bodies are built beforehand and kept; together they may take this much memory.
const MOST_PREPARED_BYTES: u64 = 256 * 1024 * 1024;

/// Flags of `bench`.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    #[command(flatten)]
    load: LoadArgs,
    #[command(subcommand)]
    command: Option<BenchCommand>,
}

/// What `bench` can do besides putting load on a cluster.
#[derive(Debug, clap::Subcommand)]
enum BenchCommand {
    /// Pause, kill or move the leader of a `dev` cluster again and again, and measure the time to
    /// the next acknowledged write
    Failover(FailoverArgs),
}

/// The shape of the load.
#[derive(Debug, clap::Args)]
struct LoadArgs {
    /// What answers at the addresses
    #[arg(long, value_enum, default_value = "jarvis")]
    engine: Engine,
    /// Keep-alive connections, spread over all addresses; each has one request in flight
    #[arg(long, default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=MOST_CLIENTS))]
    clients: u32,
    /// How long to measure
    #[arg(long, default_value = "10s", value_parser = clock::parse_positive_duration)]
    duration: Duration,
    /// Load before the measurement that is not counted
    #[arg(long, default_value = "1s", value_parser = clock::parse_duration)]
    warm_up: Duration,
    /// Requests per second over all connections, whatever the answers do (open loop: latencies
    /// count from the intended start, and the timer adds up to 2 ms); without it each connection
    /// sends its next request when it has its answer (closed loop)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: Option<u32>,
    /// Operations and their weights: read, write, health
    #[arg(long, default_value = "read=90,write=10")]
    mix: Mix,
    /// Which reads to ask for (etcd: stale means serializable)
    #[arg(long, value_enum, default_value = "linearizable")]
    consistency: Consistency,
    /// How old a stale read may be
    #[arg(long, default_value_t = 5_000)]
    max_age_ms: u64,
    /// Length of each value
    #[arg(long, default_value_t = 256)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=LARGEST_VALUE_BYTES))]
    value_bytes: u32,
    /// How many secrets to read and write, under the prefix bench/; all are written once beforehand
    #[arg(long, default_value_t = 1_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=MOST_KEYS))]
    keys: u32,
    /// When to give an answer up
    #[arg(long, default_value = "10s", value_parser = clock::parse_positive_duration)]
    request_timeout: Duration,
    /// Only write every secret once, measure nothing
    #[arg(long)]
    prepare_only: bool,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the bench and prints its report.
///
/// The exit code is 0 when every operation of the mix succeeded at least once (`failover`: when
/// every trial did what it should, and the target was met if it is required), otherwise 1.
///
/// # Errors
/// `Usage` for flags that do not fit together, `Other` when the secrets can not be prepared or a
/// fail-over does not end.
pub async fn run(args: BenchArgs, target: Target) -> Result<ExitCode, CliError> {
    match args.command {
        Some(BenchCommand::Failover(failover_args)) => failover::run(failover_args, target).await,
        None => put_load(&args.load, &target).await,
    }
}

async fn put_load(args: &LoadArgs, target: &Target) -> Result<ExitCode, CliError> {
    if u64::from(args.keys) * u64::from(args.value_bytes) > MOST_PREPARED_BYTES {
        let limit = MOST_PREPARED_BYTES / (1024 * 1024);
        return Err(CliError::Usage(format!(
            "--keys times --value-bytes is over {limit} MiB"
        )));
    }
    let Some(report) = load::run(args, target).await? else {
        return Ok(ExitCode::SUCCESS);
    };
    println!(
        "{}",
        if args.json {
            report.to_json()?
        } else {
            report.to_string()
        }
    );
    Ok(if report.every_operation_succeeded() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Program {
        #[command(flatten)]
        bench: BenchArgs,
    }

    fn parse(words: &[&str]) -> Result<BenchArgs, clap::Error> {
        let words = std::iter::once("bench").chain(words.iter().copied());
        <Program as clap::Parser>::try_parse_from(words).map(|program| program.bench)
    }

    #[test]
    fn the_defaults_are_a_closed_loop_of_mostly_reads() {
        let args = parse(&[]).unwrap();
        assert!(args.command.is_none());
        assert_eq!(args.load.engine, Engine::Jarvis);
        assert_eq!(args.load.rate, None);
        assert_eq!(args.load.mix.to_string(), "read=90,write=10");
        assert_eq!(args.load.duration, Duration::from_secs(10));
    }

    #[test]
    fn failover_is_a_command_of_its_own() {
        let args = parse(&[
            "failover", "--trials", "5", "--dev", "dev.json", "--how", "pause",
        ])
        .unwrap();
        assert!(matches!(args.command, Some(BenchCommand::Failover(_))));
    }

    #[test]
    fn flags_out_of_bounds_are_refused() {
        for words in [
            ["--clients", "0"],
            ["--clients", "5000"],
            ["--keys", "0"],
            ["--value-bytes", "1048577"],
            ["--duration", "0s"],
            ["--mix", "read=0"],
        ] {
            assert!(parse(&words).is_err(), "{words:?} was accepted");
        }
    }

    #[test]
    fn the_command_definition_is_consistent() {
        <Program as clap::CommandFactory>::command().debug_assert();
    }
}
