//! Hurts clusters, and judges from outside: what clients asked and were told, against what was promised.
//!
//! ```text
//! clients ──▶ history (JSON lines) ──┐
//! faults, leaders, rotations ────────┼──▶ checkers ──▶ reports: held, violated, or unknown; with counts and stories
//! nodes' disks: trails, files ───────┘
//!
//! run      real programs as processes, real disks and sockets, faults from outside     blackbox, workload
//! check    the workloads against any running cluster, without faults                   check
//! sim      whole nodes in one process, everything drawn from a seed                    sim
//! mutants  the simulation against known bugs: each has to be caught                    mutants
//! ```
//!
//! Invariants:
//! - all but `sim` and `mutants` link nothing of the server: a history says what a client was told, a trail is a file,
//!   read by its description;
//! - checkers are pure: no clock, no randomness; the caller says when to stop;
//! - a checker that looked at nothing does not say "held": it says "unknown";
//! - a violation comes with the few operations that already contradict each other.
//!
//! Read in this order: [`history`], then [`checker`]; then [`workload`], [`blackbox`] and [`report`]; then [`sim`].

pub mod checker;
pub mod history;

pub mod dice;
pub mod verdict;

pub mod workload;

pub mod blackbox;
pub mod check;
pub mod report;
pub mod results;
pub mod tier;

pub mod mutants;
pub mod sim;
