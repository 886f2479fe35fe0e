//! The story of one seed, for people: what was meant to happen, what did, and what went wrong.

use std::path::PathBuf;
use std::time::Duration;

use super::campaign::keep_history;
use super::trace::{Line, Topic};
use super::{Nodes, Options, SeedReport, Violation, run_one};
use crate::checker::Verdict;
use crate::verdict::ExitVerdict;

/// Requests and states are told for so long before a violation.
const BEFORE: Duration = Duration::from_secs(4);

/// Which seed, and how much of it.
#[derive(Debug, Clone, clap::Args)]
pub struct ReplayArgs {
    /// The seed
    pub seed: u64,
    /// Nodes of the cluster, as the seed was run with
    #[arg(long, value_enum, default_value_t = Nodes::Both)]
    pub nodes: Nodes,
    /// Peers talk TLS, as the seed was run with
    #[arg(long)]
    pub mtls: bool,
    /// With this known bug (only in a build that has them)
    #[arg(long, value_name = "NAME")]
    pub mutant: Option<String>,
    /// Keep the history in this folder, as JSON lines
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}

/// Runs the seed once more and tells what happened in it.
///
/// # Errors
/// When the history can not be kept.
pub fn replay(args: &ReplayArgs) -> anyhow::Result<ExitVerdict> {
    let options = Options {
        // Once per process: the name lives as long as it does.
        mutant: args.mutant.clone().map(|name| &*name.leak()),
        nodes: args.nodes,
        mtls: args.mtls,
        keeps_lines: true,
    };
    let report = run_one(args.seed, &options);
    print!("{}", story(&report));
    if let Some(folder) = &args.keep {
        keep_history(folder, &report)?;
        println!("its history is in {}", folder.display());
    }
    Ok(report.verdict.into())
}

fn story(report: &SeedReport) -> String {
    let mut text = format!("seed {}: {}\n", report.seed, report.plan);
    for line in &report.lines {
        text.push_str(line);
        text.push('\n');
    }
    for checked in &report.reports {
        // Stories are told below, on the time line.
        if checked.verdict != Verdict::Violated {
            text.push_str(&format!("{checked}\n"));
        }
    }
    for doubt in &report.doubts {
        text.push_str(&format!("could not tell: {doubt}\n"));
    }
    for Violation { by, what } in &report.violations {
        text.push_str(&format!("VIOLATED by {by}:\n  {what}\n"));
    }
    let verdict: ExitVerdict = report.verdict.into();
    text.push_str(&format!(
        "seed {} {verdict}: {} operations, {} entries, {} events, digest {:016x}\n",
        report.seed,
        report.coverage.operations,
        report.coverage.committed,
        report.events,
        report.digest
    ));
    text
}

/// The lines worth telling: faults, processes and leaders always; requests and states around what broke a run.
pub(super) fn lines(lines: &[Line], at: Duration, has_held: bool) -> Vec<String> {
    let from = at.saturating_sub(BEFORE);
    let told = lines
        .iter()
        .filter(|line| line.topic == Topic::Story || (!has_held && line.at >= from));
    told.map(Line::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seconds: u64, topic: Topic) -> Line {
        Line {
            at: Duration::from_secs(seconds),
            topic,
            text: format!("{topic:?}"),
        }
    }

    #[test]
    fn requests_are_told_around_a_violation_and_the_rest_always() {
        let all = [
            line(1, Topic::Story),
            line(2, Topic::Request),
            line(9, Topic::Request),
            line(9, Topic::State),
            line(10, Topic::Story),
        ];
        assert_eq!(lines(&all, Duration::from_secs(10), true).len(), 2);
        assert_eq!(lines(&all, Duration::from_secs(10), false).len(), 4);
    }
}
