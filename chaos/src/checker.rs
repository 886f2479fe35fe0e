//! One checker per promise. Each takes what was recorded, and says: held, violated, or unknown.
//!
//! | checker | what must hold |
//! |---|---|
//! | [`register`] | each key is a linearizable register: an order of its operations explains all that was seen |
//! | [`versioned`] | the same by version numbers, in O(n log n): a second opinion |
//! | [`set`] | what was acknowledged is in every later list, and nothing is from nowhere |
//! | [`append`] | order kept, nothing lost, nothing twice |
//! | [`batch`] | all or none, and every observer sees the same sum |
//! | [`audit`] | one event for each operation, as its answer said; chains and heads agree |
//! | [`rotation`] | each due slot rotates once; no reader is without a valid version |
//! | [`admission`] | what was granted and not revoked is not refused, on any node |
//! | [`revocation`] | no use that began after the acknowledged revocation succeeds |
//! | [`staleness`] | reads are as fresh as they say |
//! | [`secrecy`] | a value is in no file, in no form |

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

pub mod admission;
pub mod append;
pub mod audit;
pub mod batch;
pub mod register;
pub mod revocation;
pub mod rotation;
pub mod secrecy;
pub mod set;
pub mod staleness;
pub mod versioned;

mod evidence;
mod key_history;
mod story;

pub use story::Story;

/// Stories that a report tells; further ones are counted.
const MAX_STORIES: usize = 10;
/// Reasons for "unknown" that a report names.
const MAX_DOUBTS: usize = 20;

/// What a checker found. The later, the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// What was promised is what was seen.
    Held,
    /// The checker could not tell, or had nothing to look at.
    Unknown,
    /// The promise was broken.
    Violated,
}

impl Verdict {
    /// What a program that judges ends with: 0 held, 1 violated, 2 vacuous or unknown.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Held => 0,
            Self::Violated => 1,
            Self::Unknown => 2,
        }
    }

    /// The verdict on all of it: the worst one; unknown if nothing was judged.
    #[must_use]
    pub fn of_all(reports: &[Report]) -> Self {
        let verdicts = reports.iter().map(|report| report.verdict);
        verdicts.max().unwrap_or(Self::Unknown)
    }
}

/// What a checker found, and what it looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The checker.
    pub checker: &'static str,
    /// What it found.
    pub verdict: Verdict,
    /// How much of what it looked at: whoever reads this can tell a check from an empty one.
    pub counts: BTreeMap<&'static str, u64>,
    /// The first violations, each with the operations that contradict each other.
    pub stories: Vec<Story>,
    /// Violations that are not told.
    pub more_stories: u64,
    /// Why it could not tell.
    pub doubts: Vec<String>,
}

impl Report {
    /// A count; 0 for one that there is not.
    #[must_use]
    pub fn count(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Held => "held",
            Verdict::Unknown => "UNKNOWN",
            Verdict::Violated => "VIOLATED",
        };
        write!(formatter, "{}: {verdict}", self.checker)?;
        for (what, count) in &self.counts {
            write!(formatter, ", {count} {what}")?;
        }
        for doubt in &self.doubts {
            write!(formatter, "\n  could not tell: {doubt}")?;
        }
        for story in &self.stories {
            write!(formatter, "\n{story}")?;
        }
        if self.more_stories > 0 {
            write!(formatter, "\n  and {} more violations", self.more_stories)?;
        }
        Ok(())
    }
}

/// How long a search may go on. It never looks at a clock itself.
#[derive(Clone, Copy)]
pub struct Budget<'a> {
    /// Choices that may be tried for one key.
    pub states: u64,
    /// Asked now and then; `true` ends the search. The caller knows what time it is.
    pub stop: Option<&'a dyn Fn() -> bool>,
}

/// A choice takes about a microsecond and 32 bytes.
const DEFAULT_STATES: u64 = 5_000_000;

impl Default for Budget<'_> {
    fn default() -> Self {
        Self {
            states: DEFAULT_STATES,
            stop: None,
        }
    }
}

impl Budget<'_> {
    /// Between two questions to `stop`, in choices.
    const POLL_MASK: u64 = 0xfff;

    fn is_spent(&self, states: u64) -> bool {
        let is_stopped = || self.stop.is_some_and(|stop| stop());
        states > self.states || (states & Self::POLL_MASK == 0 && is_stopped())
    }
}

/// A report in the making.
pub(crate) struct Inquiry {
    report: Report,
}

impl Inquiry {
    pub(crate) fn new(checker: &'static str) -> Self {
        Self {
            report: Report {
                checker,
                verdict: Verdict::Unknown,
                counts: BTreeMap::new(),
                stories: Vec::new(),
                more_stories: 0,
                doubts: Vec::new(),
            },
        }
    }

    /// Adds to a count; adding 0 makes it appear.
    pub(crate) fn count(&mut self, what: &'static str, number: u64) {
        *self.report.counts.entry(what).or_insert(0) += number;
    }

    pub(crate) fn violated(&mut self, story: Story) {
        if self.report.stories.len() < MAX_STORIES {
            self.report.stories.push(story);
        } else {
            self.report.more_stories += 1;
        }
    }

    pub(crate) fn doubt(&mut self, reason: impl Into<String>) {
        if self.report.doubts.len() < MAX_DOUBTS {
            self.report.doubts.push(reason.into());
        }
    }

    /// The verdict. Without any of `essential` there was nothing to judge.
    pub(crate) fn end(mut self, essential: &'static str) -> Report {
        self.count(essential, 0);
        if self.report.count(essential) == 0 {
            self.doubt(format!("nothing was checked: there are no {essential}"));
        }
        self.report.verdict = if !self.report.stories.is_empty() {
            Verdict::Violated
        } else if !self.report.doubts.is_empty() {
            Verdict::Unknown
        } else {
            Verdict::Held
        };
        self.report
    }
}
