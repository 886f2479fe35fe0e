//! What the trials found, for people and for scripts.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::How;
use crate::cli::bench::clock;
use crate::cli::bench::histogram::Quantile;
use crate::cli::bench::retrying_client::Leader;

/// What one trial found.
pub(super) struct Trial {
    /// From the signal, or the request to hand over, to the acknowledgement.
    pub(super) waited: Duration,
    /// How many tries the measured write took.
    pub(super) tries: u32,
    /// Who led, by the last write before.
    pub(super) before: Leader,
    /// Who led, by the measured write.
    pub(super) after: Leader,
}

impl Trial {
    fn changed_leader(&self) -> bool {
        self.after.node != self.before.node
    }

    fn had_election(&self) -> bool {
        self.after.term > self.before.term
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:.1} ms, tries: {}, node {} in term {} -> node {} in term {}",
            clock::rounded_milliseconds(self.waited),
            self.tries,
            self.before.node,
            self.before.term,
            self.after.node,
            self.after.term
        )
    }
}

/// The result of all trials; its JSON form is described in `benches/README.md`.
#[derive(Debug, Serialize)]
pub(super) struct FailoverReport {
    /// `pause`, `kill` or `transfer`.
    kind: &'static str,
    trials: usize,
    /// Trials after which another node led.
    leader_changed: usize,
    /// Trials after which the term was a later one: there was an election.
    term_rose: usize,
    /// The most tries that a measured write took.
    most_tries: u32,
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    /// The target of `p99_ms`.
    limit_p99_ms: f64,
    /// Whether `p99_ms` is within it.
    holds: bool,
    /// In the order of the trials.
    samples_ms: Vec<f64>,
    /// In the same order.
    leaders: Vec<Succession>,
    #[serde(skip)]
    how: How,
}

/// Who led before and after a trial.
#[derive(Debug, Serialize)]
struct Succession {
    old_leader: u64,
    old_term: u64,
    new_leader: u64,
    new_term: u64,
}

impl FailoverReport {
    pub(super) fn new(how: How, limit_p99: Duration, trials: &[Trial]) -> Self {
        let mut sorted: Vec<Duration> = trials.iter().map(|trial| trial.waited).collect();
        sorted.sort_unstable();
        let quantile = |quantile| clock::rounded_milliseconds(nearest_rank(&sorted, quantile));
        let count = |holds: fn(&Trial) -> bool| trials.iter().filter(|trial| holds(trial)).count();
        let most_tries = trials.iter().map(|trial| trial.tries).max();
        Self {
            kind: how.name(),
            trials: trials.len(),
            leader_changed: count(Trial::changed_leader),
            term_rose: count(Trial::had_election),
            most_tries: most_tries.unwrap_or_default(),
            p50_ms: quantile(Quantile::P50),
            p90_ms: quantile(Quantile::P90),
            p99_ms: quantile(Quantile::P99),
            max_ms: clock::rounded_milliseconds(sorted.last().copied().unwrap_or_default()),
            limit_p99_ms: clock::rounded_milliseconds(limit_p99),
            holds: nearest_rank(&sorted, Quantile::P99) <= limit_p99,
            samples_ms: trials
                .iter()
                .map(|trial| clock::rounded_milliseconds(trial.waited))
                .collect(),
            leaders: trials.iter().map(Succession::of).collect(),
            how,
        }
    }

    /// Whether the trials measured what they should, and met the target if that is required.
    pub(super) fn is_success(&self, limit_is_required: bool) -> bool {
        let measured = !self.how.needs_another_leader() || self.leader_changed == self.trials;
        measured && (self.holds || !limit_is_required)
    }
}

impl Succession {
    fn of(trial: &Trial) -> Self {
        Self {
            old_leader: trial.before.node,
            old_term: trial.before.term,
            new_leader: trial.after.node,
            new_term: trial.after.term,
        }
    }
}

/// An exact quantile of a sorted list; zero for an empty one.
fn nearest_rank(sorted: &[Duration], quantile: Quantile) -> Duration {
    let rank = quantile.rank(sorted.len() as u64) as usize;
    rank.checked_sub(1)
        .map(|index| sorted[index])
        .unwrap_or_default()
}

impl fmt::Display for FailoverReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let event = match self.how {
            How::Pause => "leaders paused with SIGSTOP",
            How::Kill => "leaders killed with SIGKILL",
            How::Transfer => "planned transfers of the leader",
        };
        writeln!(
            formatter,
            "{} {event}; time to the next acknowledged write:",
            self.trials
        )?;
        writeln!(
            formatter,
            "p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
            self.p50_ms, self.p90_ms, self.p99_ms, self.max_ms
        )?;
        writeln!(
            formatter,
            "the leader changed in {} trials, the term rose in {}; a write took at most {} tries",
            self.leader_changed, self.term_rose, self.most_tries
        )?;
        write!(
            formatter,
            "target: p99 at most {} ms: {}",
            self.limit_p99_ms,
            if self.holds { "holds" } else { "DOES NOT HOLD" }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(1);

    /// Each with an election that another node won.
    fn trials(milliseconds: impl Iterator<Item = u64>) -> Vec<Trial> {
        milliseconds
            .zip(1..)
            .map(|(waited, term)| Trial {
                waited: Duration::from_millis(waited),
                tries: 2,
                before: Leader { node: 1, term },
                after: Leader {
                    node: 7,
                    term: term + 1,
                },
            })
            .collect()
    }

    #[test]
    fn c8_the_report_ranks_its_trials_exactly() {
        let report = FailoverReport::new(How::Kill, LIMIT, &trials((1..=100).rev()));
        assert_eq!(report.kind, "kill");
        assert_eq!(report.p50_ms, 50.0);
        assert_eq!(report.p90_ms, 90.0);
        assert_eq!(report.p99_ms, 99.0);
        assert_eq!(report.max_ms, 100.0);
        assert_eq!(report.samples_ms[0], 100.0);
        assert_eq!((report.leader_changed, report.term_rose), (100, 100));
        assert_eq!(report.most_tries, 2);
    }

    #[test]
    fn c8_with_few_trials_the_99th_percentile_is_the_worst() {
        let waits = [700, 900, 1_001];
        let report = FailoverReport::new(How::Transfer, LIMIT, &trials(waits.into_iter()));
        assert_eq!(report.kind, "transfer");
        assert_eq!(report.p99_ms, 1_001.0);
        assert!(!report.holds);
        assert!(report.is_success(false));
        assert!(!report.is_success(true));
        let report = FailoverReport::new(How::Pause, LIMIT, &trials([1_000].into_iter()));
        assert!(report.is_success(true));
    }

    #[test]
    fn c8_a_pause_without_another_leader_has_measured_nothing() {
        let mut found = trials([700, 800].into_iter());
        found[1].after = found[1].before;
        let report = FailoverReport::new(How::Pause, LIMIT, &found);
        assert_eq!((report.leader_changed, report.term_rose), (1, 1));
        assert!(report.holds && !report.is_success(false));
        // A killed leader may be back before anybody stands for election.
        assert!(FailoverReport::new(How::Kill, LIMIT, &found).is_success(true));
    }

    #[test]
    fn c8_each_trial_shows_both_leaders_and_terms() {
        let found = trials([712].into_iter());
        let line = found[0].to_string();
        assert_eq!(
            line,
            "712.0 ms, tries: 2, node 1 in term 1 -> node 7 in term 2"
        );
        let report = FailoverReport::new(How::Pause, LIMIT, &found);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["leaders"][0]["old_leader"], 1);
        assert_eq!(json["leaders"][0]["new_leader"], 7);
        assert_eq!(json["leaders"][0]["new_term"], 2);
        assert_eq!(json["kind"], "pause");
        assert_eq!(json["holds"], true);
        assert_eq!(json["limit_p99_ms"], 1_000.0);
        assert!(json.get("how").is_none());
        let text = report.to_string();
        assert!(
            text.ends_with("target: p99 at most 1000 ms: holds"),
            "{text}"
        );
    }
}
