//! Simulation: whole nodes with their API in one process, on a simulated network, disk and clock, in virtual time, under
//! faults that follow from a seed (VERIFICATION).
//!
//! ```text
//!   seed ─▶ plan ─▶ machines: server ── simulated disk, clock, network ── faults
//!                      ▲                        │
//!                   clients (HTTP)              ▼
//!                      │              invariants, after every step
//!                      ▼
//!                   history ─▶ checkers           trace: the same number for the same seed
//! ```
//!
//! Invariants:
//! - one simulation is one thread, and nothing of it is drawn from anywhere but its seed: the same seed, the same run;
//! - this module links the server whole, and is the only one that does;
//! - a seed in which nothing happened has not held, and seeds that together never did something have shown nothing.
//!
//! Read in this order: `plan` and `fault`; `machine`, `disk`, `network` and `software`; `workload`; `nemesis`; `run`;
//! `observer` and `invariant`; `judge`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::checker::{Report, Verdict};
use crate::history::History;

mod campaign;
mod clock;
mod clock_of_run;
mod cluster;
mod disk;
mod fault;
mod founding;
mod http;
mod invariant;
mod judge;
mod ledger;
mod links;
mod machine;
mod nemesis;
mod network;
mod observer;
mod panics;
mod plan;
mod power;
mod random;
mod recorder;
mod replay;
mod replica;
mod run;
mod scene;
mod software;
mod trace;
mod workload;

pub use campaign::{SimArgs, run_seeds};
pub use fault::FaultKind;
pub use judge::Coverage;
pub use replay::{ReplayArgs, replay};
pub use workload::Work;

/// How many nodes a run has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Nodes {
    /// Three.
    #[value(name = "3")]
    Three,
    /// Five.
    #[value(name = "5")]
    Five,
    /// Drawn from the seed.
    #[default]
    Both,
}

/// What is not drawn from the seed.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// A known bug that the product has in this run; `None`: the product as it is.
    pub mutant: Option<&'static str>,
    /// How many nodes.
    pub nodes: Nodes,
    /// Peers talk TLS.
    pub mtls: bool,
    /// The run can be told line by line afterwards.
    pub keeps_lines: bool,
}

/// What broke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The file of an invariant (`log_matching`), the name of a checker (`register`), or `start` (a node did not start),
    /// `fatal` (a node could not go on), `panic`, `late` (no liveness), `identity`.
    pub by: String,
    /// What is wrong.
    pub what: String,
}

impl Violation {
    fn new(by: &str, what: impl Into<String>) -> Self {
        Self {
            by: by.to_owned(),
            what: what.into(),
        }
    }
}

/// What came of a seed.
#[derive(Debug, Clone)]
pub struct SeedReport {
    /// The seed.
    pub seed: u64,
    /// Held; unknown: too little happened, or a checker could not tell; violated.
    pub verdict: Verdict,
    /// Empty unless violated; the first is the one that ended the run.
    pub violations: Vec<Violation>,
    /// Why nothing can be said, if so.
    pub doubts: Vec<String>,
    /// What the seed meant.
    pub plan: String,
    /// What the run was worth.
    pub coverage: Coverage,
    /// What the checkers said.
    pub reports: Vec<Report>,
    /// What clients did and were told.
    pub history: History,
    /// Stands for everything that happened: the same for the same seed and build.
    pub digest: u64,
    /// What went into it.
    pub events: u64,
    /// The run in words, if it was to be kept.
    pub lines: Vec<String>,
}

/// Runs one seed on the calling thread.
#[must_use]
pub fn run_one(seed: u64, options: &Options) -> SeedReport {
    let plan = plan::Plan::draw(seed, options.nodes, options.mtls);
    let mut report = SeedReport {
        seed,
        verdict: Verdict::Unknown,
        violations: Vec::new(),
        doubts: Vec::new(),
        plan: plan.in_words(),
        coverage: Coverage::default(),
        reports: Vec::new(),
        history: History::default(),
        digest: 0,
        events: 0,
        lines: Vec::new(),
    };
    let switched = options.mutant.map(jarvis_mutants::switch_on).transpose();
    let _switched = match switched {
        Ok(switched) => switched,
        Err(error) => {
            report.doubts.push(error.to_string());
            return report;
        }
    };
    let _watch = panics::watch();
    let keeps_lines = options.keeps_lines;
    let ran = std::panic::catch_unwind(move || run::run(plan, keeps_lines));
    match ran {
        Ok(Ok(ran)) => report.take(ran),
        Ok(Err(error)) => report.doubts.push(format!("{error:#}")),
        Err(_) => {
            let message = panics::take().unwrap_or_else(|| "the simulator panicked".to_owned());
            report.violations.push(Violation::new("panic", message));
        }
    }
    report.verdict = if !report.violations.is_empty() {
        Verdict::Violated
    } else if !report.doubts.is_empty() {
        Verdict::Unknown
    } else {
        Verdict::Held
    };
    report
}

impl SeedReport {
    fn take(&mut self, ran: run::Ran) {
        self.violations = ran.violations;
        self.doubts = ran.doubts;
        self.coverage = ran.coverage;
        self.reports = ran.reports;
        self.history = ran.history;
        self.digest = ran.digest;
        self.events = ran.events;
        self.lines = replay::lines(&ran.lines, ran.at, self.violations.is_empty());
    }
}

/// Locks; a panic elsewhere has ended the run already.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
