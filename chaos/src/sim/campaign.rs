//! Many seeds: on a few threads, each simulation on one of them; and the verdict on all of them together.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufWriter;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Serialize;
use tokio::time::Instant;

use super::{Coverage, Nodes, Options, SeedReport, Violation, run_one};
use crate::checker::Verdict;
use crate::results;
use crate::verdict::ExitVerdict;

/// A thread that simulates: futures of debug builds are large.
const STACK_BYTES: usize = 64 << 20;
/// A line on how far it is, every so many seeds.
const TELL_EVERY: u64 = 25;
/// More seeds than one in so many that proved nothing make the whole prove nothing.
const EMPTY_SHARE: u64 = 10;
/// Fewer seeds are not asked to have covered everything: one run has a dozen faults of the 27.
const COVERING_SEEDS: u64 = 100;

/// Which seeds, and how.
#[derive(Debug, Clone, clap::Args)]
pub struct SimArgs {
    /// The seeds, half open: 1..501 are five hundred
    #[arg(long, value_name = "A..B", default_value = "1..101", value_parser = parse_seeds)]
    pub seeds: Range<u64>,
    /// Nodes of each cluster
    #[arg(long, value_enum, default_value_t = Nodes::Both)]
    pub nodes: Nodes,
    /// Peers talk TLS, as in production; several times slower
    #[arg(long)]
    pub mtls: bool,
    /// Begin no further seed after so many minutes
    #[arg(long, value_name = "M")]
    pub minutes: Option<u64>,
    /// One JSON object on standard output instead of lines
    #[arg(long)]
    pub json: bool,
    /// Keep the histories of seeds that did not hold in this folder, as JSON lines
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Simulations at once
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=256))]
    pub jobs: u64,
    /// Append the result to this file, as one line of JSON
    #[arg(long, value_name = "FILE")]
    pub results: Option<PathBuf>,
}

/// What came of many seeds.
#[derive(Debug, Clone, Serialize)]
struct Summary {
    /// The verdict on all.
    verdict: ExitVerdict,
    /// Seeds that were run.
    seeds: u64,
    /// Seeds that held.
    held: u64,
    /// Seeds that proved nothing, and why.
    vacuous: BTreeMap<u64, Vec<String>>,
    /// Seeds that broke a promise, and which.
    violated: BTreeMap<u64, Vec<Violation>>,
    /// What never happened in any of them.
    missing: Vec<&'static str>,
    /// What they were worth together.
    coverage: Coverage,
    /// With 95 % confidence fewer than one in so many seeds would be violated, if none was (the rule of three).
    one_in: u64,
    /// How long it took.
    seconds: f64,
}

/// Runs the seeds and prints what came of them.
///
/// # Errors
/// When the seeds are none, or something can not be written.
pub fn run_seeds(args: &SimArgs) -> anyhow::Result<ExitVerdict> {
    ensure!(
        !args.seeds.is_empty(),
        "--seeds A..B: B is behind the last seed, so that it must be greater than A"
    );
    let begun = Instant::now();
    let mut summary = Summary::new();
    every_report(args, |report| {
        summary.take(&report);
        keep(args, &report)?;
        if !args.json {
            tell(&report, &summary, args);
        }
        Ok(())
    })?;
    summary.end(begun.elapsed());
    if args.json {
        println!("{}", serde_json::to_string(&summary)?);
    } else {
        println!("{summary}");
    }
    if let Some(path) = &args.results {
        results::append(path, &summary.line(begun.elapsed()))?;
    }
    Ok(summary.verdict)
}

/// Runs the seeds on threads; `take` gets each report on the calling thread, in the order in which they end.
fn every_report(
    args: &SimArgs,
    mut take: impl FnMut(SeedReport) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let options = Options {
        nodes: args.nodes,
        mtls: args.mtls,
        ..Options::default()
    };
    let next = AtomicU64::new(args.seeds.start);
    let is_over = AtomicBool::new(false);
    let begun = Instant::now();
    let at_most = args
        .minutes
        .map(|minutes| Duration::from_secs(minutes * 60));
    let (sender, reports) = mpsc::channel();
    let work = |sender: mpsc::Sender<SeedReport>| {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let is_late = at_most.is_some_and(|at_most| begun.elapsed() > at_most);
            if seed >= args.seeds.end || is_late || is_over.load(Ordering::Relaxed) {
                return;
            }
            if sender.send(run_one(seed, &options)).is_err() {
                return;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..args.jobs {
            let sender = sender.clone();
            thread::Builder::new()
                .name("simulation".to_owned())
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, || work(sender))
                .context("a thread for simulations")?;
        }
        drop(sender);
        for report in &reports {
            let taken = take(report);
            if taken.is_err() {
                is_over.store(true, Ordering::Relaxed);
                return taken;
            }
        }
        Ok(())
    })
}

fn keep(args: &SimArgs, report: &SeedReport) -> anyhow::Result<()> {
    match &args.keep {
        Some(folder) if report.verdict != Verdict::Held => keep_history(folder, report),
        _ => Ok(()),
    }
}

/// Writes a seed's history into a folder.
pub(super) fn keep_history(folder: &Path, report: &SeedReport) -> anyhow::Result<()> {
    let path = folder.join(format!("seed-{}.jsonl", report.seed));
    let cannot = || format!("the history can not be kept in {}", path.display());
    fs::create_dir_all(folder).with_context(cannot)?;
    let file = File::create(&path).with_context(cannot)?;
    report
        .history
        .write(BufWriter::new(file))
        .with_context(cannot)
}

fn tell(report: &SeedReport, summary: &Summary, args: &SimArgs) {
    let seed = report.seed;
    match report.verdict {
        Verdict::Held => {}
        Verdict::Unknown => {
            println!("seed {seed} proves nothing: {}", report.doubts.join("; "));
        }
        Verdict::Violated => {
            println!("seed {seed} VIOLATED ({})", report.plan);
            for Violation { by, what } in &report.violations {
                println!("  {by}: {what}");
            }
            let tls = if args.mtls { " --mtls" } else { "" };
            let nodes = match args.nodes {
                Nodes::Three => " --nodes 3",
                Nodes::Five => " --nodes 5",
                Nodes::Both => "",
            };
            println!("  the story: jarvis-chaos replay {seed}{nodes}{tls}");
        }
    }
    if summary.seeds.is_multiple_of(TELL_EVERY) {
        println!(
            "{} seeds, {} held, {} operations, {} faults",
            summary.seeds,
            summary.held,
            summary.coverage.operations,
            summary.coverage.faults.values().sum::<u64>()
        );
    }
}

impl Summary {
    fn new() -> Self {
        Self {
            verdict: ExitVerdict::Vacuous,
            seeds: 0,
            held: 0,
            vacuous: BTreeMap::new(),
            violated: BTreeMap::new(),
            missing: Vec::new(),
            coverage: Coverage::default(),
            one_in: 0,
            seconds: 0.0,
        }
    }

    fn take(&mut self, report: &SeedReport) {
        self.seeds += 1;
        match report.verdict {
            Verdict::Held => {
                self.held += 1;
                self.coverage.add(&report.coverage);
            }
            Verdict::Unknown => {
                self.vacuous.insert(report.seed, report.doubts.clone());
            }
            Verdict::Violated => {
                self.violated.insert(report.seed, report.violations.clone());
            }
        }
    }

    fn end(&mut self, took: Duration) {
        self.seconds = took.as_secs_f64();
        self.one_in = self.held / 3;
        if self.seeds >= COVERING_SEEDS {
            self.missing = self.coverage.missing();
        }
        let empty = self.vacuous.len() as u64;
        self.verdict = if !self.violated.is_empty() {
            ExitVerdict::Violated
        } else if self.held == 0 || empty * EMPTY_SHARE > self.seeds || !self.missing.is_empty() {
            ExitVerdict::Vacuous
        } else {
            ExitVerdict::Held
        };
    }

    fn line(&self, took: Duration) -> results::Line {
        let mut line = results::Line::new("sim", self.verdict, took);
        line.count("seeds", self.seeds);
        line.count("held", self.held);
        line.count("vacuous", self.vacuous.len() as u64);
        line.count("violated", self.violated.len() as u64);
        line.count("operations", self.coverage.operations);
        line.count("virtual_ms", self.coverage.virtual_ms);
        for (kind, count) in &self.coverage.faults {
            line.count(format!("fault_{kind}"), *count);
        }
        line
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let coverage = &self.coverage;
        let counts = |map: &BTreeMap<&'static str, u64>| {
            let parts = map.iter().map(|(name, count)| format!("{name} {count}"));
            parts.collect::<Vec<_>>().join(", ")
        };
        writeln!(
            formatter,
            "{}: {} seeds, {} held, {} violated, {} proved nothing, in {:.1} s",
            self.verdict,
            self.seeds,
            self.held,
            self.violated.len(),
            self.vacuous.len(),
            self.seconds
        )?;
        writeln!(
            formatter,
            "  {} operations ({} decided, {} under faults), {} entries, {} leaders, {} starts, {} snapshots, {} purges, {} looks, {:.0} s of virtual time",
            coverage.operations,
            coverage.decided,
            coverage.under_faults,
            coverage.committed,
            coverage.leaders,
            coverage.starts,
            coverage.snapshots,
            coverage.purged,
            coverage.sights,
            Duration::from_millis(coverage.virtual_ms).as_secs_f64()
        )?;
        writeln!(formatter, "  faults: {}", counts(&coverage.faults))?;
        write!(formatter, "  work: {}", counts(&coverage.works))?;
        if !self.missing.is_empty() {
            write!(formatter, "\n  NEVER HAPPENED: {}", self.missing.join(", "))?;
        }
        if self.violated.is_empty() && self.one_in > 0 {
            write!(
                formatter,
                "\n  with 95 % confidence fewer than one seed in {} is violated",
                self.one_in
            )?;
        }
        Ok(())
    }
}

/// `A..B`.
fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let wanted = || format!("{text:?} is no range of seeds: write A..B, as in 1..501");
    let (first, end) = text.split_once("..").ok_or_else(wanted)?;
    let number = |part: &str| part.parse::<u64>().map_err(|_| wanted());
    Ok(number(first)?..number(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::History;

    fn report(seed: u64, verdict: Verdict) -> SeedReport {
        SeedReport {
            seed,
            verdict,
            violations: Vec::new(),
            doubts: vec!["too few operations".to_owned()],
            plan: String::new(),
            coverage: Coverage::default(),
            reports: Vec::new(),
            history: History::default(),
            digest: 0,
            events: 0,
            lines: Vec::new(),
        }
    }

    fn verdict_of(verdicts: &[Verdict]) -> ExitVerdict {
        let mut summary = Summary::new();
        for (seed, verdict) in verdicts.iter().enumerate() {
            summary.take(&report(seed as u64, *verdict));
        }
        summary.end(Duration::from_secs(1));
        assert!(!summary.to_string().is_empty());
        summary.verdict
    }

    #[test]
    fn one_violated_seed_is_enough_and_empty_ones_prove_nothing() {
        let held = [Verdict::Held; 30];
        let with = |other: &[Verdict]| verdict_of(&[&held[..], other].concat());
        assert_eq!(with(&[]), ExitVerdict::Held);
        assert_eq!(with(&[Verdict::Unknown]), ExitVerdict::Held);
        assert_eq!(with(&[Verdict::Unknown; 5]), ExitVerdict::Vacuous);
        assert_eq!(with(&[Verdict::Violated]), ExitVerdict::Violated);
        assert_eq!(verdict_of(&[]), ExitVerdict::Vacuous);
        assert_eq!(verdict_of(&[Verdict::Unknown]), ExitVerdict::Vacuous);
        // So many seeds must have done everything.
        assert_eq!(verdict_of(&[Verdict::Held; 100]), ExitVerdict::Vacuous);
    }

    #[test]
    fn seeds_are_written_as_a_half_open_range() {
        assert_eq!(parse_seeds("1..501"), Ok(1..501));
        for bad in ["", "1", "1..", "a..b", "1..2..3", "-1..2"] {
            assert!(parse_seeds(bad).is_err(), "{bad}");
        }
    }
}
