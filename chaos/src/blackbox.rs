//! `jarvis-chaos run`: real programs as processes, real disks and sockets, faults from outside, judged from outside.
//!
//! ```text
//! form a cluster ─▶ proxies between its nodes ─▶ clients work ─┐
//!                                     nemesis hurts, by seed ──┼─▶ heal ─▶ converge ─▶ every key once more ─▶ stop
//!                                     watch: who leads ────────┘                                              │
//!                  verdict ◀─ gates ◀─ checkers ◀─ history, trails, files, processes ◀────────────────────────┘
//! ```
//! Invariants:
//! - nothing of the server is linked: programs, ports, files and their documentation are all there is;
//! - what is drawn comes from the seed; what happens in real time does not repeat exactly, and the history says what did;
//! - a run that exercised nothing is not held: see `gates`;
//! - all processes end with this one, all file systems are unmounted, ports and folders are this run's own.
//!
//! Read in this order: `round` (the story), `schedule`, `nemesis`, `proxy`, `gates`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;

use crate::results::{self, Line};
use crate::verdict::ExitVerdict;

mod cluster;
mod convergence;
mod faults;
mod formation;
mod gates;
mod ground;
mod judgement;
mod nemesis;
mod network;
mod outcome;
mod planning;
mod process;
mod proxy;
mod round;
mod schedule;
mod shim;
mod volumes;
mod watch;

pub use faults::FaultKind;

pub(crate) use convergence::{Disagreement, converge};
pub(crate) use gates::{Gate, is_served, mostly_served};
pub(crate) use outcome::Outcome;
#[cfg(test)]
pub(crate) use {gates::count_operations, outcome::percentiles};

use faults::Wanted;
use round::Setup;

/// The program under test.
const DAEMON: &str = "jarvis-secretsd";

/// `run [--nodes 3|5] [--minutes M] [--seed S] [--faults LIST] [--json]`
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// How many nodes: 3 or 5
    #[arg(long, value_name = "N", default_value = "3", value_parser = parse_nodes)]
    pub nodes: u16,
    /// How long clients work and faults happen; forming, healing and judging come on top
    #[arg(long, value_name = "M", default_value_t = 3.0)]
    pub minutes: f64,
    /// What faults, workload and delays are drawn from [default: another one each time]
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// Faults with commas between them; `default` needs no root, `all` does, `none` is none
    #[arg(long, value_name = "LIST", default_value = "default")]
    pub faults: String,
    /// Requests a second, all clients together
    #[arg(long, value_name = "R", default_value_t = 120)]
    pub rate: u32,
    /// So many runs one after the other, each with a cluster of its own and the next seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub rounds: u32,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub json: bool,
    /// Where everything is kept [default: a new temporary directory]
    #[arg(long, value_name = "DIR")]
    pub work: Option<PathBuf>,
    /// Keep the nodes' files and logs although all held
    #[arg(long)]
    pub keep: bool,
    /// Where the programs under test are [default: beside this program]
    #[arg(long, value_name = "DIR")]
    pub bin_dir: Option<PathBuf>,
    /// Append a line of JSON to this file
    #[arg(long, value_name = "FILE")]
    pub results: Option<PathBuf>,
}

/// Runs it, and says what became of it.
///
/// # Errors
/// When it could not be run or judged at all.
pub fn run(args: &RunArgs) -> anyhow::Result<ExitVerdict> {
    let wanted = Wanted::parse(&args.faults).map_err(anyhow::Error::msg)?;
    if !(args.minutes > 0.0 && args.minutes <= 60.0) {
        bail!(
            "--minutes is between 0 and 60: the record of a run is kept in memory; for longer ones, --rounds"
        );
    }
    let daemon = daemon(args.bin_dir.as_deref())?;
    let first_seed = args.seed.unwrap_or_else(any_seed);
    let began = tokio::time::Instant::now();
    let mut outcomes: Vec<Outcome> = Vec::new();
    for round in 0..args.rounds.max(1) {
        let seed = first_seed.wrapping_add(u64::from(round));
        let setup = Setup {
            daemon: daemon.clone(),
            work: work_folder(args, seed, round)?,
            nodes: args.nodes,
            run_ms: (args.minutes * 60_000.0) as u64,
            seed,
            wanted: wanted.clone(),
            rate: args.rate,
            keep: args.keep,
            command: command_line(args, seed),
            commit: results::commit(),
        };
        let outcome = round::play(&setup)?;
        if !args.json {
            println!("{outcome}");
        }
        let verdict = outcome.verdict;
        outcomes.push(outcome);
        // What a broken promise left behind is worth more than another round.
        if verdict == ExitVerdict::Violated {
            break;
        }
    }
    let verdicts = outcomes.iter().map(|outcome| outcome.verdict);
    let verdict = verdicts.fold(ExitVerdict::Held, ExitVerdict::worst);
    if args.json {
        println!("{}", json(&outcomes, verdict)?);
    }
    if let Some(path) = &args.results {
        let mut line = Line::new("run", verdict, began.elapsed());
        outcomes
            .iter()
            .for_each(|outcome| outcome.count_into(&mut line));
        results::append(path, &line)?;
    }
    Ok(verdict)
}

/// One object, for one round or several.
fn json(outcomes: &[Outcome], verdict: ExitVerdict) -> anyhow::Result<String> {
    let text = match outcomes {
        [one] => serde_json::to_string(one),
        several => serde_json::to_string(&serde_json::json!({
            "verdict": verdict,
            "rounds": several,
        })),
    };
    text.context("the outcome can not be written as JSON")
}

/// The program under test, as an absolute path.
fn daemon(bin_dir: Option<&Path>) -> anyhow::Result<PathBuf> {
    let folder = match bin_dir {
        Some(folder) => folder.to_owned(),
        None => {
            let own = std::env::current_exe().context("where is this program?")?;
            own.parent().map(Path::to_owned).unwrap_or_default()
        }
    };
    let daemon = folder.join(DAEMON);
    daemon.canonicalize().with_context(|| {
        format!(
            "there is no {}: build it with `cargo build --workspace`, or name its folder with --bin-dir",
            daemon.display()
        )
    })
}

fn work_folder(args: &RunArgs, seed: u64, round: u32) -> anyhow::Result<PathBuf> {
    let folder = match &args.work {
        Some(folder) if args.rounds > 1 => folder.join(format!("round-{}", round + 1)),
        Some(folder) => folder.clone(),
        None => {
            let name = format!("jarvis-chaos-{seed}-{}", std::process::id());
            std::env::temp_dir().join(name)
        }
    };
    formation::make_folder(&folder)?;
    if folder.join(round::HISTORY).exists() {
        bail!(
            "{} already holds the record of a run: nothing was changed; give another --work",
            folder.display()
        );
    }
    folder
        .canonicalize()
        .with_context(|| format!("{} can not be used", folder.display()))
}

/// The command that begins this run again.
fn command_line(args: &RunArgs, seed: u64) -> String {
    let (nodes, minutes, faults, rate) = (args.nodes, args.minutes, &args.faults, args.rate);
    format!(
        "jarvis-chaos run --nodes {nodes} --minutes {minutes} --seed {seed} --faults {faults} --rate {rate}"
    )
}

/// Differs from run to run; whoever wants the same one names it.
fn any_seed() -> u64 {
    let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos();
    let now = u64::try_from(now & i128::from(u32::MAX)).unwrap_or(0);
    crate::dice::Dice::stream(now, &std::process::id().to_string()).below(1_000_000)
}

fn parse_nodes(text: &str) -> Result<u16, String> {
    match text {
        "3" => Ok(3),
        "5" => Ok(5),
        _ => Err("a cluster that is to survive something has 3 or 5 nodes".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        run: RunArgs,
    }

    #[test]
    fn every_flag_has_a_default_and_the_command_can_be_had_again() {
        let args = Program::try_parse_from(["run"]).unwrap().run;
        assert_eq!((args.nodes, args.rate, args.rounds), (3, 120, 1));
        let command = command_line(&args, 7);
        let words = command.split(' ').skip(1);
        let again = Program::try_parse_from(words).unwrap().run;
        assert_eq!(again.seed, Some(7));
        assert_eq!(again.faults, "default");
        assert!(Program::try_parse_from(["run", "--nodes", "4"]).is_err());
    }

    #[test]
    fn a_run_without_a_program_says_how_to_build_it() {
        let folder = tempfile::tempdir().unwrap();
        let error = daemon(Some(folder.path())).unwrap_err();
        assert!(format!("{error:#}").contains("cargo build"));
    }
}
