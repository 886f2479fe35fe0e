//! What a run came to: one object for programs, one page for people.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::cluster::Death;
use super::convergence::Agreed;
use super::gates::{FaultCount, Gate};
use crate::checker::{Report, Verdict};
use crate::history::History;
use crate::results::Line;
use crate::verdict::ExitVerdict;

/// All that a run came to.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) verdict: ExitVerdict,
    pub(crate) seed: u64,
    pub(crate) nodes: Vec<u64>,
    pub(crate) seconds: f64,
    pub(crate) command: String,
    pub(crate) commit: String,
    pub(crate) operations: u64,
    pub(crate) served: u64,
    pub(crate) operations_by_kind: BTreeMap<String, BTreeMap<String, u64>>,
    pub(crate) latency: Latency,
    pub(crate) faults: BTreeMap<String, FaultCount>,
    /// Classes that were neither planned nor asked for by name, and why.
    pub(crate) left_out: BTreeMap<String, String>,
    pub(crate) leaders: u64,
    /// How long no majority could go on, by what was done to the cluster.
    pub(crate) without_quorum_s: f64,
    /// Bytes between peers that went through the proxies.
    pub(crate) peer_bytes: u64,
    /// Node → snapshot files at the end, and whether its log no longer begins with its beginning.
    pub(crate) snapshots: BTreeMap<u64, Snapshots>,
    /// Names that were written or read once more through every node after healing.
    pub(crate) keys_at_the_end: u64,
    pub(crate) agreed: Option<Agreed>,
    pub(crate) deaths: Vec<Death>,
    pub(crate) reports: Vec<Report>,
    pub(crate) gates: Vec<Gate>,
    pub(crate) history: PathBuf,
    pub(crate) report: PathBuf,
    /// Where the nodes' files and logs are, if they were kept.
    pub(crate) kept: Option<PathBuf>,
}

/// What a node's disk shows of snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Snapshots {
    pub(crate) files: u64,
    pub(crate) log_is_purged: bool,
}

/// How long successful operations took, ms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

impl Outcome {
    /// The verdict on all reports and gates.
    pub(crate) fn judge(reports: &[Report], gates: &[Gate]) -> ExitVerdict {
        let verdict = ExitVerdict::from(Verdict::of_all(reports));
        let gates = gates.iter().map(|gate| gate.verdict);
        gates.fold(verdict, ExitVerdict::worst)
    }

    /// Adds what there is to count to a line of results.
    pub(crate) fn count_into(&self, line: &mut Line) {
        line.count("operations", self.operations);
        line.count("operations served", self.served);
        line.count("leaders", self.leaders);
        line.count("rounds", 1);
        line.count(format!("nodes {}", self.nodes.len()), 1);
        for (kind, count) in &self.faults {
            line.count("faults", count.installed);
            line.count(format!("fault {kind}"), count.installed);
        }
        for report in &self.reports {
            let violations = report.stories.len() as u64 + report.more_stories;
            line.count("violations", violations);
        }
    }
}

/// Of the operations that were done.
pub(crate) fn percentiles(history: &History) -> Latency {
    let done = history
        .operations
        .iter()
        .filter(|operation| operation.is_ok());
    let mut took: Vec<u64> = done
        .filter_map(|operation| Some(operation.end_ns? - operation.start_ns))
        .collect();
    took.sort_unstable();
    let at = |share: f64| {
        let place = (took.len() as f64 * share) as usize;
        let ns = took.get(place.min(took.len().saturating_sub(1)));
        ns.map_or(0.0, |ns| *ns as f64 / 1e6)
    };
    Latency {
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        max_ms: at(1.0),
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            operations, served, ..
        } = self;
        let Latency {
            p50_ms,
            p99_ms,
            max_ms,
        } = self.latency;
        writeln!(
            formatter,
            "seed {}, {} nodes, {:.0} s, commit {}: {operations} operations, {served} served; p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms, longest {max_ms:.0} ms; {} terms with a leader; {:.1} s without a majority",
            self.seed,
            self.nodes.len(),
            self.seconds,
            self.commit,
            self.leaders,
            self.without_quorum_s
        )?;
        writeln!(
            formatter,
            "\nfaults               installed  skipped  indeterminate"
        )?;
        for (kind, count) in &self.faults {
            let FaultCount {
                installed,
                skipped,
                indeterminate,
                reasons,
            } = count;
            let reasons = reasons.join("; ");
            writeln!(
                formatter,
                "{kind:<20} {installed:>9}  {skipped:>7}  {indeterminate:>13}  {reasons}"
            )?;
        }
        for (kind, reason) in &self.left_out {
            writeln!(formatter, "{kind:<20} not planned: {reason}")?;
        }
        writeln!(formatter)?;
        for report in &self.reports {
            writeln!(formatter, "{report}")?;
        }
        for gate in &self.gates {
            let Gate {
                name,
                verdict,
                note,
            } = gate;
            writeln!(formatter, "gate, {name}: {verdict}, {note}")?;
        }
        for death in &self.deaths {
            let Death {
                node,
                how,
                last_words,
                ..
            } = death;
            writeln!(
                formatter,
                "\nnode {node} ended by itself, {how}:\n{last_words}"
            )?;
        }
        writeln!(formatter, "\nhistory: {}", self.history.display())?;
        writeln!(formatter, "report:  {}", self.report.display())?;
        if let Some(kept) = &self.kept {
            writeln!(formatter, "nodes:   {}", kept.display())?;
        }
        write!(formatter, "verdict: {}", self.verdict)?;
        if self.verdict != ExitVerdict::Held {
            write!(formatter, "\nagain:   {}", self.command)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Operation, Outcome as Done};

    #[test]
    fn percentiles_are_of_what_was_done() {
        let operation = |ms: u64, outcome| Operation {
            end_ns: Some(ms * 1_000_000),
            outcome,
            ..Operation::default()
        };
        let mut operations: Vec<Operation> = (1..=100).map(|ms| operation(ms, Done::Ok)).collect();
        operations.push(operation(9_000, Done::Fail));
        let history = History {
            operations,
            ..History::default()
        };
        let latency = percentiles(&history);
        assert_eq!(
            (latency.p50_ms, latency.p99_ms, latency.max_ms),
            (51.0, 100.0, 100.0)
        );
        assert_eq!(percentiles(&History::default()), Latency::default());
    }

    #[test]
    fn one_gate_that_is_not_met_spoils_what_all_checkers_held() {
        let gate = |is_met| Gate::needs("something", is_met, "");
        // Without any report nothing was judged.
        assert_eq!(Outcome::judge(&[], &[gate(true)]), ExitVerdict::Vacuous);
        let broken = Gate::promises("something", &["it".to_owned()]);
        assert_eq!(
            Outcome::judge(&[], &[gate(false), broken]),
            ExitVerdict::Violated
        );
    }
}
