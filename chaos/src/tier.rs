//! `jarvis-chaos tier`: the sequence of a tier with its budgets, one step after the other, and a table at the end.
//!
//! Each step is this program again: a step that dies takes nothing else with it, and its exit code is its verdict.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::Serialize;
use tokio::time::Instant;

use crate::results::{self, Line};
use crate::verdict::ExitVerdict;

const SECONDS_PER_DAY: i64 = 86_400;
/// Each day begins where no other day's seeds are, so that seeds add up over time.
const SEEDS_PER_DAY: u64 = 1_000_000;

/// How much is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tier {
    /// At each change: at most 15 minutes on two cores.
    Change,
    /// A night.
    Nightly,
    /// Before a release: days.
    Release,
}

/// `tier change|nightly|release`
#[derive(Debug, Clone, Args)]
pub struct TierArgs {
    /// How much is done
    #[arg(value_enum)]
    pub tier: Tier,
    /// The first seed [default: drawn from the date, so that each day has its own]
    #[arg(long, value_name = "S")]
    pub first_seed: Option<u64>,
    /// The folder of <TIER>.jsonl, to which each step's result is appended
    #[arg(long, value_name = "DIR", default_value = "docs/results")]
    pub results: PathBuf,
    /// Show the steps and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print one JSON object after the steps
    #[arg(long)]
    pub json: bool,
}

/// A step, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Step {
    name: &'static str,
    arguments: Vec<String>,
    /// How many simulated seeds, if it is that.
    seeds: u64,
    verdict: Option<ExitVerdict>,
    seconds: u64,
}

/// Runs the steps of a tier.
///
/// # Errors
/// When this program can not be started again, or a result not be written.
pub fn run(args: &TierArgs) -> anyhow::Result<ExitVerdict> {
    let today = time::OffsetDateTime::now_utc().unix_timestamp() / SECONDS_PER_DAY;
    let today = u64::try_from(today).unwrap_or(0);
    let first_seed = args.first_seed.unwrap_or(today * SEEDS_PER_DAY);
    let is_root = rustix::process::geteuid().is_root();
    let mut steps = steps(args.tier, first_seed, today, is_root);
    let name = tier_name(args.tier);
    let file = args.results.join(format!("{name}.jsonl"));
    if args.dry_run {
        for step in &steps {
            println!("jarvis-chaos {}", step.arguments.join(" "));
        }
        return Ok(ExitVerdict::Held);
    }
    let program = std::env::current_exe().context("where is this program?")?;
    let mut worst = ExitVerdict::Held;
    for step in &mut steps {
        eprintln!(
            "==> {}: jarvis-chaos {}",
            step.name,
            step.arguments.join(" ")
        );
        let began = Instant::now();
        let status = Command::new(&program).args(&step.arguments).status();
        let status = status.with_context(|| format!("the step {} does not start", step.name))?;
        let took: Duration = began.elapsed();
        let verdict = ExitVerdict::of_exit_code(status.code());
        step.verdict = Some(verdict);
        step.seconds = took.as_secs();
        worst = worst.worst(verdict);
        let mut line = Line::new(step.name, verdict, took);
        line.command = format!("jarvis-chaos {}", step.arguments.join(" "));
        if step.seeds > 0 {
            line.count("seeds", step.seeds);
        }
        results::append(&file, &line)?;
    }
    if args.json {
        let object = serde_json::json!({"tier": name, "verdict": worst, "steps": steps});
        println!("{object}");
    } else {
        println!("\n{}", table(&steps));
        println!("results: {}", file.display());
        println!("verdict: {worst}");
    }
    Ok(worst)
}

fn table(steps: &[Step]) -> String {
    let mut text = format!(
        "{:<24} {:>9} {:>9}  command\n",
        "step", "verdict", "seconds"
    );
    for step in steps {
        let verdict = step.verdict.map_or("not run", ExitVerdict::word);
        text.push_str(&format!(
            "{:<24} {verdict:>9} {:>9}  {}\n",
            step.name,
            step.seconds,
            step.arguments.join(" ")
        ));
    }
    text
}

const fn tier_name(tier: Tier) -> &'static str {
    match tier {
        Tier::Change => "change",
        Tier::Nightly => "nightly",
        Tier::Release => "release",
    }
}

fn steps(tier: Tier, first_seed: u64, today: u64, is_root: bool) -> Vec<Step> {
    let simulate = |name, count: u64, more: &[&str]| {
        let seeds = format!("{first_seed}..{}", first_seed + count);
        let words = ["sim", "--seeds", &seeds, "--jobs", "2"];
        step(name, count, words.into_iter().chain(more.iter().copied()))
    };
    let hurt = |name, nodes: &str, minutes: &str, rounds: &str, faults: &str| {
        let seed = first_seed.to_string();
        let words = [
            "run",
            "--nodes",
            nodes,
            "--minutes",
            minutes,
            "--rounds",
            rounds,
            "--seed",
            &seed,
            "--faults",
            faults,
        ];
        step(name, 0, words)
    };
    // Where there is no root, disks do not lose power: the run says so, and it is not what was asked for.
    let faults = if is_root { "all" } else { "default" };
    let day = today.to_string();
    match tier {
        Tier::Change => vec![
            simulate("simulation", 500, &[]),
            simulate("simulation, mTLS", 50, &["--mtls"]),
            hurt("processes, 3 nodes", "3", "3", "1", "default"),
            step(
                "mutants",
                0,
                ["mutants", "--rotating", "3", "--of-day", &day],
            ),
        ],
        Tier::Nightly => vec![
            simulate("simulation", 20_000, &[]),
            simulate("simulation, mTLS", 1_000, &["--mtls"]),
            hurt("processes, 3 nodes", "3", "10", "6", faults),
            hurt("processes, 5 nodes", "5", "10", "6", faults),
            step("mutants", 0, ["mutants"]),
        ],
        Tier::Release => vec![
            simulate("simulation", 1_000_000, &[]),
            simulate("simulation, mTLS", 20_000, &["--mtls"]),
            // 24 hours each.
            hurt("processes, 3 nodes", "3", "20", "72", faults),
            hurt("processes, 5 nodes", "5", "20", "72", faults),
            step("mutants", 0, ["mutants"]),
        ],
    }
}

fn step<'a>(name: &'static str, seeds: u64, arguments: impl IntoIterator<Item = &'a str>) -> Step {
    Step {
        name,
        arguments: arguments.into_iter().map(str::to_owned).collect(),
        seeds,
        verdict: None,
        seconds: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tier_of_a_change_is_what_the_plan_says() {
        let steps = steps(Tier::Change, 7_000, 9, false);
        let commands: Vec<String> = steps.iter().map(|step| step.arguments.join(" ")).collect();
        assert_eq!(
            commands,
            [
                "sim --seeds 7000..7500 --jobs 2",
                "sim --seeds 7000..7050 --jobs 2 --mtls",
                "run --nodes 3 --minutes 3 --rounds 1 --seed 7000 --faults default",
                "mutants --rotating 3 --of-day 9",
            ]
        );
        assert_eq!(steps[0].seeds, 500);
    }

    #[test]
    fn longer_tiers_cut_the_power_where_they_may() {
        for (is_root, faults) in [(true, "all"), (false, "default")] {
            let steps = steps(Tier::Release, 0, 0, is_root);
            let mut runs = steps.iter().filter(|step| step.arguments[0] == "run");
            let faults = faults.to_owned();
            assert_eq!(runs.clone().count(), 2);
            assert!(runs.all(|step| step.arguments.contains(&faults)));
        }
    }

    #[test]
    fn the_table_has_a_row_for_each_step() {
        let mut steps = steps(Tier::Change, 0, 0, false);
        steps[0].verdict = Some(ExitVerdict::Held);
        let table = table(&steps);
        assert_eq!(table.lines().count(), 5);
        assert!(
            table.contains("held") && table.contains("not run"),
            "{table}"
        );
    }
}
