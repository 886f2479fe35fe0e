//! What a program that judges ends with.

use std::fmt;
use std::process::ExitCode;

use serde::Serialize;

use crate::checker::Verdict;

/// The verdict on a whole run. The later, the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitVerdict {
    /// What was promised is what was seen.
    Held,
    /// Nothing can be said: too little happened, or a checker could not tell.
    Vacuous,
    /// A promise was broken.
    Violated,
}

impl ExitVerdict {
    /// 0 held, 1 violated, 2 vacuous or unknown.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Held => 0,
            Self::Violated => 1,
            Self::Vacuous => 2,
        }
    }

    /// The verdict on both.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        self.max(other)
    }

    /// The verdict that a program ended with; anything that is none of the three says nothing.
    #[must_use]
    pub const fn of_exit_code(code: Option<i32>) -> Self {
        match code {
            Some(0) => Self::Held,
            Some(1) => Self::Violated,
            _ => Self::Vacuous,
        }
    }

    /// One word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Vacuous => "vacuous",
            Self::Violated => "violated",
        }
    }
}

impl From<Verdict> for ExitVerdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Held => Self::Held,
            Verdict::Unknown => Self::Vacuous,
            Verdict::Violated => Self::Violated,
        }
    }
}

impl From<ExitVerdict> for ExitCode {
    fn from(verdict: ExitVerdict) -> Self {
        Self::from(verdict.exit_code())
    }
}

impl fmt::Display for ExitVerdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_verdict_counts_and_exit_codes_are_a_promise() {
        let all = [
            ExitVerdict::Held,
            ExitVerdict::Vacuous,
            ExitVerdict::Violated,
        ];
        assert_eq!(all.map(ExitVerdict::exit_code), [0, 2, 1]);
        for verdict in all {
            let code = Some(i32::from(verdict.exit_code()));
            assert_eq!(ExitVerdict::of_exit_code(code), verdict);
            assert_eq!(verdict.worst(ExitVerdict::Held), verdict);
            assert_eq!(verdict.worst(ExitVerdict::Violated), ExitVerdict::Violated);
        }
        assert_eq!(ExitVerdict::of_exit_code(Some(101)), ExitVerdict::Vacuous);
        assert_eq!(ExitVerdict::of_exit_code(None), ExitVerdict::Vacuous);
    }
}
