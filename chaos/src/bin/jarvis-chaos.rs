//! Hurts clusters, and judges them. Exit codes: 0 held, 1 violated, 2 vacuous, unknown, or it could not be run.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use jarvis_chaos::blackbox::{self, RunArgs};
use jarvis_chaos::check::{self, CheckArgs};
use jarvis_chaos::mutants::{self, MutantsArgs};
use jarvis_chaos::sim::{self, ReplayArgs, SimArgs};
use jarvis_chaos::tier::{self, TierArgs};

/// Hurts clusters of jarvis-secretsd and judges what clients saw.
///
/// Exit codes: 0 all held; 1 a promise was broken; 2 vacuous, unknown, or it could not be run.
#[derive(Parser)]
#[command(name = "jarvis-chaos", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Simulate whole clusters in this process; everything follows from a seed
    Sim(SimArgs),
    /// Tell the story of one simulated seed
    Replay(ReplayArgs),
    /// Run a cluster of real processes under faults
    Run(RunArgs),
    /// Put known bugs in, and see that each is caught
    Mutants(MutantsArgs),
    /// Judge a cluster that runs (without faults), or a recorded history
    Check(CheckArgs),
    /// Run everything that belongs to a change, a night or a release
    Tier(TierArgs),
}

fn main() -> ExitCode {
    let verdict = match Arguments::parse().verb {
        Verb::Sim(args) => sim::run_seeds(&args),
        Verb::Replay(args) => sim::replay(&args),
        Verb::Run(args) => blackbox::run(&args),
        Verb::Mutants(args) => mutants::run(&args),
        Verb::Check(args) => check::run(&args),
        Verb::Tier(args) => tier::run(&args),
    };
    match verdict {
        Ok(verdict) => verdict.into(),
        Err(error) => {
            eprintln!("jarvis-chaos: {error:#}");
            ExitCode::from(2)
        }
    }
}
