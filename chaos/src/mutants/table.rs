//! The known bugs: what they are called, what is wrong with each, and how what became of them is shown.

use std::time::Duration;

use anyhow::bail;
use serde::Serialize;

use super::hunt::Fate;
use super::{Outcome, Row};
use crate::results::Line;

/// A bug that can be switched on (crates/mutants has the switch, and must have the same names).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// What it is called.
    pub(super) name: &'static str,
    /// What is wrong.
    pub(super) bug: &'static str,
}

/// A bug of a feature that does not exist yet: it comes with that feature, and nothing pretends to run it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Waiting {
    /// What it will be called.
    pub name: &'static str,
    /// What will be wrong.
    pub bug: &'static str,
    /// The feature.
    pub waits_for: &'static str,
}

const fn known(name: &'static str, bug: &'static str) -> Known {
    Known { name, bug }
}

const fn waiting(name: &'static str, bug: &'static str, waits_for: &'static str) -> Waiting {
    Waiting {
        name,
        bug,
        waits_for,
    }
}

/// Every bug that can be switched on. The simulated disk has a volatile and a durable half: it sees also those that in
/// the real world take a power cut.
pub(super) const KNOWN: &[Known] = &[
    known("no-fsync", "the log calls back without an fdatasync"),
    known("vote-not-persisted", "a vote is kept in memory only"),
    known(
        "snapshot-not-synced",
        "a snapshot is not synced before the log is purged behind it",
    ),
    known(
        "purge-before-audit-sync",
        "the trail is not synced before the log is purged",
    ),
    known(
        "snapshot-without-audit-head",
        "a snapshot lacks the head of the trail's chain",
    ),
    known(
        "read-without-barrier",
        "a read shows what this node knew when it was asked",
    ),
    known(
        "audit-after-answer",
        "a value leaves before its event is in the log",
    ),
    known(
        "wall-clock-in-apply",
        "the node's own clock stamps what it applies",
    ),
    known(
        "idempotency-key-forgotten",
        "an idempotency key is not looked up",
    ),
    known("envelope-forgotten", "a repeated proposal is applied again"),
    known(
        "policy-on-lagging-state",
        "the node that was asked decides by its own, possibly lagging state",
    ),
    known(
        "unauthenticated-from-local-state",
        "a token that this node has not heard of is refused without asking the leader",
    ),
    known(
        "put-under-old-epoch",
        "a value under an earlier key epoch is accepted",
    ),
    known(
        "freshness-from-heartbeats",
        "whoever hears heartbeats takes its state for fresh",
    ),
    known(
        "node-id-reused",
        "a node whose log is gone comes back under its old id",
    ),
];

/// What comes with features to come.
pub(super) const WAITING: &[Waiting] = &[
    waiting(
        "rotation-without-fence",
        "a deposed leader's rotation is accepted",
        "rotation",
    ),
    waiting(
        "fence-by-term-only",
        "of two leaders of one term both may rotate",
        "rotation",
    ),
    waiting(
        "membership-without-joint-consensus",
        "voters change from one majority to another at once",
        "commands that change the membership",
    ),
    waiting(
        "level-ignored",
        "apply does not ask for the state's feature level",
        "a second feature level",
    ),
];

/// The bugs of these names, in their order.
pub(super) fn named(names: &[String]) -> anyhow::Result<Vec<&'static Known>> {
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        if let Some(known) = KNOWN.iter().find(|known| known.name == name) {
            found.push(known);
        } else if let Some(waiting) = WAITING.iter().find(|waiting| waiting.name == name) {
            bail!(
                "{name} can not be run yet: it waits for {}",
                waiting.waits_for
            );
        } else {
            let all: Vec<&str> = KNOWN.iter().map(|known| known.name).collect();
            bail!("there is no bug {name}; there are {}", all.join(", "));
        }
    }
    Ok(found)
}

/// So many of them, and on the next day those that follow: all have their turn.
pub(super) fn of_day(count: usize, day: u64) -> Vec<&'static Known> {
    let all = KNOWN.len();
    let count = count.min(all);
    // Both are below the number of bugs: the product fits.
    let days = usize::try_from(day % all as u64).unwrap_or(0);
    let first = days * count % all;
    KNOWN.iter().cycle().skip(first).take(count).collect()
}

/// Above the lines.
pub(super) const HEADING: &str =
    "mutant                               caught by                 seeds to catch  seconds";

/// One line of the table.
pub(super) fn line(row: &Row) -> String {
    let (by, seeds) = match &row.fate {
        Fate::Caught { by, seeds, .. } => (by.clone(), seeds.to_string()),
        Fate::Survived { seeds } => ("SURVIVED".to_owned(), format!("{seeds} without")),
        Fate::Unsure { seed, by, .. } => (
            format!("unsure: {by}"),
            format!("seed {seed} fails without it"),
        ),
    };
    let (mutant, seconds) = (row.mutant, row.seconds);
    format!("{mutant:<36} {by:<25} {seeds:>14}  {seconds:>7.1}")
}

/// The last line.
pub(super) fn summary(rows: &[Row]) -> String {
    let caught = |row: &&Row| matches!(row.fate, Fate::Caught { .. });
    let caught = rows.iter().filter(caught).count();
    format!("{caught} of {} caught", rows.len())
}

/// The line for the file of results: how many were caught, and each with the seeds that it took.
pub(super) fn result(outcome: &Outcome, took: Duration) -> Line {
    let mut line = Line::new("mutants", outcome.verdict, took);
    for kind in ["caught", "survived", "unsure"] {
        line.count(kind, 0);
    }
    line.count("waiting", outcome.waiting.len() as u64);
    for row in &outcome.mutants {
        match &row.fate {
            Fate::Caught { seeds, .. } => {
                line.count("caught", 1);
                line.count(format!("seeds to catch {}", row.mutant), *seeds);
            }
            Fate::Survived { .. } => line.count("survived", 1),
            Fate::Unsure { .. } => line.count("unsure", 1),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique() {
        let known = KNOWN.iter().map(|known| known.name);
        let names: BTreeSet<&str> = known
            .chain(WAITING.iter().map(|waiting| waiting.name))
            .collect();
        assert_eq!(names.len(), KNOWN.len() + WAITING.len());
    }

    /// The table is a witness of its own: a bug that loses its switch must not vanish from here unseen.
    #[cfg(jarvis_mutants)]
    #[test]
    fn the_switch_has_the_same_names() {
        let known: Vec<&str> = KNOWN.iter().map(|known| known.name).collect();
        let switches: Vec<&str> = jarvis_mutants::names().collect();
        assert_eq!(known, switches);
        let waiting: Vec<(&str, &str)> = WAITING
            .iter()
            .map(|waiting| (waiting.name, waiting.waits_for))
            .collect();
        assert_eq!(waiting, jarvis_mutants::PREPARED);
    }

    #[test]
    fn every_bug_has_its_day() {
        for count in 1..=KNOWN.len() {
            let mut seen = BTreeSet::new();
            for day in 300..300 + KNOWN.len() as u64 {
                let today = of_day(count, day);
                assert_eq!(today.len(), count);
                seen.extend(today.iter().map(|known| known.name));
            }
            assert_eq!(seen.len(), KNOWN.len(), "{count} a day");
        }
        assert!(of_day(0, 7).is_empty());
        assert_eq!(of_day(usize::MAX, u64::MAX).len(), KNOWN.len());
    }

    #[test]
    fn what_waits_says_for_what() {
        let error = named(&["level-ignored".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("a second feature level"));
        let error = named(&["no-such".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("put-under-old-epoch"));
    }

    #[test]
    fn a_line_says_by_what_and_how_soon() {
        let row = Row {
            mutant: "no-fsync",
            bug: "",
            fate: Fate::Caught {
                by: "disk_before_word".to_owned(),
                seed: 12,
                seeds: 12,
                what: String::new(),
            },
            seconds: 3.5,
        };
        let line = line(&row);
        for part in ["no-fsync", "disk_before_word", " 12 ", "3.5"] {
            assert!(line.contains(part), "{line}");
        }
        assert_eq!(summary(std::slice::from_ref(&row)), "1 of 1 caught");
        let outcome = Outcome {
            verdict: row.fate.verdict(),
            mutants: vec![row],
            waiting: WAITING,
        };
        let result = result(&outcome, Duration::from_secs(3));
        assert_eq!(result.verdict, "held");
        assert_eq!(result.counts["caught"], 1);
        assert_eq!(result.counts["survived"], 0);
        assert_eq!(result.counts["seeds to catch no-fsync"], 12);
    }
}
