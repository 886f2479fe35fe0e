//! One bug: seeds until one is violated, and a look at the same seed without it.

use std::any::Any;
use std::io;
use std::ops::Range;
use std::thread;

use serde::Serialize;

use crate::checker::Verdict;
use crate::sim::{self, Options, SeedReport};
use crate::verdict::ExitVerdict;

/// What a whole simulated cluster takes of a thread's stack, with room: its futures are large, and unoptimised larger.
const STACK_BYTES: usize = 32 << 20;
/// What a seed is caught by whose thread ended.
const PANIC: &str = "panic";

/// What became of a bug.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "fate", rename_all = "snake_case")]
pub enum Fate {
    /// A seed was violated with it, and not without it.
    Caught {
        /// The invariant or checker.
        #[serde(rename = "caught_by")]
        by: String,
        /// The seed.
        seed: u64,
        /// How many seeds it took.
        seeds: u64,
        /// What it said.
        what: String,
    },
    /// No seed was violated: a check is missing, or is never reached.
    Survived {
        /// How many were run.
        seeds: u64,
    },
    /// Seeds were violated, with it and without: nothing is shown.
    Unsure {
        /// How many were run.
        seeds: u64,
        /// The first that is violated without it.
        seed: u64,
        /// By what.
        by: String,
    },
}

impl Fate {
    /// What it says about the checks.
    pub(super) const fn verdict(&self) -> ExitVerdict {
        match self {
            Self::Caught { .. } => ExitVerdict::Held,
            Self::Survived { .. } => ExitVerdict::Violated,
            Self::Unsure { .. } => ExitVerdict::Vacuous,
        }
    }
}

/// How a bug is looked for.
pub(super) struct Hunt {
    /// These seeds, in order.
    pub(super) seeds: Range<u64>,
    /// So many at once.
    pub(super) jobs: usize,
}

/// A seed that is violated.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Violated {
    by: String,
    what: String,
}

impl Hunt {
    /// What becomes of that bug.
    ///
    /// # Errors
    /// When there are no more threads.
    pub(super) fn of(&self, mutant: &'static str) -> io::Result<Fate> {
        self.with(&|seed, is_mutated| {
            let options = Options {
                mutant: is_mutated.then_some(mutant),
                ..Options::default()
            };
            violation(sim::run_one(seed, &options))
        })
    }

    /// `run` runs a seed, with the bug or without.
    fn with(&self, run: &(dyn Fn(u64, bool) -> Option<Violated> + Sync)) -> io::Result<Fate> {
        let mut unsure = None;
        let mut next = self.seeds.start;
        while next < self.seeds.end {
            let end = self.seeds.end.min(next.saturating_add(self.jobs as u64));
            for (seed, violated) in at_once(next..end, |seed| run(seed, true))? {
                let Some(Violated { by, what }) = violated else {
                    continue;
                };
                let without = at_once(seed..seed + 1, |seed| run(seed, false))?;
                let Some((_, Some(without))) = without.into_iter().next() else {
                    let seeds = seed - self.seeds.start + 1;
                    return Ok(Fate::Caught {
                        by,
                        seed,
                        seeds,
                        what,
                    });
                };
                unsure.get_or_insert((seed, without.by));
            }
            next = end;
        }
        let seeds = self.seeds.end.saturating_sub(self.seeds.start);
        Ok(match unsure {
            Some((seed, by)) => Fate::Unsure { seeds, seed, by },
            None => Fate::Survived { seeds },
        })
    }
}

/// Runs each seed on a thread of its own: a bug is switched on for a thread.
fn at_once(
    seeds: Range<u64>,
    run: impl Fn(u64) -> Option<Violated> + Sync,
) -> io::Result<Vec<(u64, Option<Violated>)>> {
    let run = &run;
    thread::scope(|scope| {
        let running: Vec<_> = seeds
            .map(|seed| {
                let thread = thread::Builder::new().stack_size(STACK_BYTES);
                (seed, thread.spawn_scoped(scope, move || run(seed)))
            })
            .collect();
        let ended = running.into_iter().map(|(seed, thread)| {
            let ended = thread.map(|thread| {
                let ended = thread.join();
                ended.unwrap_or_else(|panic| Some(panicked(&*panic)))
            });
            ended.map(|violated| (seed, violated))
        });
        ended.collect()
    })
}

fn violation(report: SeedReport) -> Option<Violated> {
    if report.verdict != Verdict::Violated {
        return None;
    }
    let first = report.violations.into_iter().next();
    Some(first.map_or_else(
        || Violated {
            by: "unnamed".to_owned(),
            what: String::new(),
        },
        |first| Violated {
            by: first.by,
            what: first.what,
        },
    ))
}

fn panicked(panic: &(dyn Any + Send)) -> Violated {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    Violated {
        by: PANIC.to_owned(),
        what: text.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn fate(run: &(dyn Fn(u64, bool) -> Option<Violated> + Sync)) -> Fate {
        let hunt = Hunt {
            seeds: 10..20,
            jobs: 3,
        };
        hunt.with(run).unwrap()
    }

    fn violated(by: &str) -> Option<Violated> {
        Some(Violated {
            by: by.to_owned(),
            what: "something is wrong".to_owned(),
        })
    }

    #[test]
    fn the_first_seed_that_is_violated_counts() {
        let ran = Mutex::new(Vec::new());
        let fate = fate(&|seed, is_mutated| {
            ran.lock().unwrap().push((seed, is_mutated));
            (is_mutated && seed >= 14)
                .then_some(())
                .and(violated("register"))
        });
        let caught = Fate::Caught {
            by: "register".to_owned(),
            seed: 14,
            seeds: 5,
            what: "something is wrong".to_owned(),
        };
        assert_eq!(fate, caught);
        let ran = ran.into_inner().unwrap();
        let without: Vec<u64> = ran
            .iter()
            .filter(|(_, is_mutated)| !is_mutated)
            .map(|(seed, _)| *seed)
            .collect();
        assert_eq!(without, [14], "it must hold without the bug");
        assert!(
            ran.iter().all(|(seed, _)| *seed < 16),
            "it went on: {ran:?}"
        );
    }

    #[test]
    fn what_fails_without_the_bug_shows_nothing() {
        let unclear = fate(&|seed, _| (seed == 12).then_some(()).and(violated("late")));
        let unsure = Fate::Unsure {
            seeds: 10,
            seed: 12,
            by: "late".to_owned(),
        };
        assert_eq!(unclear, unsure);
        // Another seed may still show it.
        let later = fate(&|seed, is_mutated| match seed {
            12 => violated("late"),
            17 if is_mutated => violated("audit"),
            _ => None,
        });
        let is_caught = matches!(
            later,
            Fate::Caught {
                seed: 17,
                seeds: 8,
                ..
            }
        );
        assert!(is_caught, "{later:?}");
    }

    #[test]
    fn a_bug_that_nobody_sees_survives() {
        let fate = fate(&|_, _| None);
        assert_eq!(fate, Fate::Survived { seeds: 10 });
        assert_eq!(fate.verdict(), ExitVerdict::Violated);
    }

    #[test]
    fn a_panic_is_seen() {
        let fate = fate(&|seed, is_mutated| {
            assert!(!is_mutated || seed < 11, "the node's state is damaged");
            None
        });
        let Fate::Caught { by, seed, what, .. } = fate else {
            panic!("not caught: {fate:?}");
        };
        assert_eq!((by.as_str(), seed), (PANIC, 11));
        assert!(what.contains("damaged"), "{what}");
    }
}
