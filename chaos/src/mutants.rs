//! The simulation against known bugs: does it find each of them, and how soon?
//!
//! ```text
//! jarvis-chaos mutants ─▶ built without them? build it with them, beside, and become that program
//!        │
//!        └─▶ for each: seed 1, 2, 3 … with the bug ─▶ violated: the same seed without the bug must not be
//!                                                 └─▶ 200 seeds and nothing: it SURVIVED, and a check is missing
//! ```
//!
//! Invariants:
//! - a bug counts as caught only if its seed holds without it: a simulator that cries at everything catches nothing;
//! - a name that does not exist is an error; a bug whose feature does not exist yet is listed as waiting, and not run;
//! - one build has all bugs. It has a target directory of its own, so that no other program can have one.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{bail, ensure};
use clap::Args;
use serde::Serialize;

use crate::results;
use crate::verdict::ExitVerdict;

mod hunt;
mod rebuild;
mod table;

pub use hunt::Fate;
pub use table::Waiting;

use hunt::Hunt;
use table::{Known, WAITING};

/// Names the bug of a whole process (crates/mutants): here every thread has its own.
const VARIABLE: &str = "JARVIS_MUTANT";
/// Seeds until a bug counts as survived (VERIFICATION).
const AT_MOST_SEEDS: u64 = 200;
/// Seeds at once: one for each core of a small machine.
const JOBS: usize = 2;

/// Which bugs, and how long to look for each.
#[derive(Debug, Clone, Args)]
pub struct MutantsArgs {
    /// One JSON object on standard output instead of a table
    #[arg(long)]
    pub json: bool,
    /// Only these bugs [default: all]
    #[arg(long, value_name = "NAME", num_args = 1.., conflicts_with = "rotating")]
    pub only: Vec<String>,
    /// So many bugs, others each day
    #[arg(long, value_name = "K", requires = "of_day")]
    pub rotating: Option<usize>,
    /// The day's number, for --rotating: any that grows by one each day
    #[arg(long, value_name = "N")]
    pub of_day: Option<u64>,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    pub first_seed: u64,
    /// Seeds for each bug at most
    #[arg(long, value_name = "SEEDS", default_value_t = AT_MOST_SEEDS)]
    pub at_most: u64,
    /// Seeds at once
    #[arg(long, default_value_t = JOBS)]
    pub jobs: usize,
    /// Append the result to this file, as one line of JSON
    #[arg(long, value_name = "FILE")]
    pub results: Option<PathBuf>,
}

/// What became of every bug that was run, and what was not run.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The verdict on all.
    pub verdict: ExitVerdict,
    /// One for each bug.
    pub mutants: Vec<Row>,
    /// Bugs of features that do not exist yet.
    pub waiting: &'static [Waiting],
}

/// One bug.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// What it is called.
    pub mutant: &'static str,
    /// What is wrong with it.
    pub bug: &'static str,
    /// What became of it.
    #[serde(flatten)]
    pub fate: Fate,
    /// How long that took.
    pub seconds: f64,
}

/// Runs the bugs and prints a table: 0 when every one was caught, 1 when one survived, 2 when nothing can be said.
///
/// # Errors
/// When a name is wrong, or the program with the bugs can not be built.
pub fn run(args: &MutantsArgs) -> anyhow::Result<ExitVerdict> {
    let chosen = chosen(args)?;
    ensure!(
        std::env::var_os(VARIABLE).is_none(),
        "{VARIABLE} is set: then no seed runs without a bug, and nothing can be compared. Unset it"
    );
    if !jarvis_mutants::BUILT {
        return rebuild::become_the_build_with_mutants();
    }
    for known in &chosen {
        // A bug without its switch would look like one that nobody sees.
        let _switched = jarvis_mutants::switch_on(known.name)?;
    }
    let began = now();
    let hunt = Hunt {
        seeds: args.first_seed..args.first_seed.saturating_add(args.at_most),
        jobs: args.jobs.max(1),
    };
    let outcome = try_all(args, &hunt, &chosen)?;
    if args.json {
        println!("{}", serde_json::to_string(&outcome)?);
    }
    if let Some(file) = &args.results {
        results::append(file, &table::result(&outcome, now().saturating_sub(began)))?;
    }
    Ok(outcome.verdict)
}

fn chosen(args: &MutantsArgs) -> anyhow::Result<Vec<&'static Known>> {
    ensure!(
        args.at_most > 0,
        "--at-most: at least one seed for each bug"
    );
    let chosen = match (args.rotating, args.of_day) {
        (Some(count), Some(day)) => table::of_day(count, day),
        _ if args.only.is_empty() => table::KNOWN.iter().collect(),
        _ => table::named(&args.only)?,
    };
    if chosen.is_empty() {
        bail!("no bug is chosen: nothing would be shown");
    }
    Ok(chosen)
}

fn try_all(args: &MutantsArgs, hunt: &Hunt, chosen: &[&'static Known]) -> anyhow::Result<Outcome> {
    // With --json the table is for whoever waits.
    let mut lines: Box<dyn io::Write> = if args.json {
        Box::new(io::stderr())
    } else {
        Box::new(io::stdout())
    };
    writeln!(lines, "{}", table::HEADING)?;
    let mut mutants = Vec::with_capacity(chosen.len());
    for known in chosen {
        let began = now();
        let fate = hunt.of(known.name)?;
        let row = Row {
            mutant: known.name,
            bug: known.bug,
            fate,
            seconds: now().saturating_sub(began).as_secs_f64(),
        };
        writeln!(lines, "{}", table::line(&row))?;
        lines.flush()?;
        mutants.push(row);
    }
    for waiting in WAITING {
        writeln!(
            lines,
            "{:<36} waits for {}",
            waiting.name, waiting.waits_for
        )?;
    }
    let verdict = verdict(&mutants);
    writeln!(lines, "{}", table::summary(&mutants))?;
    Ok(Outcome {
        verdict,
        mutants,
        waiting: WAITING,
    })
}

/// The worst of all.
fn verdict(rows: &[Row]) -> ExitVerdict {
    let verdicts = rows.iter().map(|row| row.fate.verdict());
    verdicts.max().unwrap_or(ExitVerdict::Vacuous)
}

/// How long this program has run.
#[allow(
    clippy::disallowed_methods,
    reason = "how long somebody waits is real time; nothing of the simulation sees it"
)]
fn now() -> Duration {
    static BEGAN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    BEGAN.get_or_init(std::time::Instant::now).elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(only: &[&str]) -> MutantsArgs {
        MutantsArgs {
            json: false,
            only: only.iter().map(|name| (*name).to_owned()).collect(),
            rotating: None,
            of_day: None,
            first_seed: 1,
            at_most: 1,
            jobs: 1,
            results: None,
        }
    }

    fn row(fate: Fate) -> Row {
        Row {
            mutant: "no-fsync",
            bug: "a test's",
            fate,
            seconds: 0.0,
        }
    }

    #[test]
    fn all_are_chosen_unless_some_are_named() {
        assert_eq!(chosen(&args(&[])).unwrap().len(), table::KNOWN.len());
        let some = chosen(&args(&["no-fsync", "envelope-forgotten"])).unwrap();
        let names: Vec<&str> = some.iter().map(|known| known.name).collect();
        assert_eq!(names, ["no-fsync", "envelope-forgotten"]);
        assert!(chosen(&args(&["no-such"])).is_err());
        let nothing = MutantsArgs {
            rotating: Some(0),
            of_day: Some(1),
            ..args(&[])
        };
        assert!(chosen(&nothing).is_err());
    }

    #[test]
    fn one_survivor_is_a_violation_and_an_unsure_catch_is_no_catch() {
        let caught = || {
            row(Fate::Caught {
                by: "register".to_owned(),
                seed: 3,
                seeds: 3,
                what: String::new(),
            })
        };
        let survived = row(Fate::Survived { seeds: 200 });
        let unsure = row(Fate::Unsure {
            seeds: 200,
            seed: 7,
            by: "late".to_owned(),
        });
        assert_eq!(verdict(&[]), ExitVerdict::Vacuous);
        assert_eq!(verdict(&[caught()]), ExitVerdict::Held);
        assert_eq!(verdict(&[caught(), unsure.clone()]), ExitVerdict::Vacuous);
        let all = [unsure, survived, caught()];
        assert_eq!(verdict(&all), ExitVerdict::Violated);
    }
}
