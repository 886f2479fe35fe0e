//! What the load consists of: operations and their weights.

use std::fmt;
use std::str::FromStr;

use super::random::SplitMix64;

/// Weights are shares of a whole; a million parts are finer than any run can tell.
const LARGEST_WEIGHT: u32 = 1_000_000;

/// One kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Read,
    Write,
    Health,
}

impl Operation {
    pub(super) const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Health];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Health => "health",
        }
    }

    /// Its place in [`Operation::ALL`].
    pub(super) fn index(self) -> usize {
        match self {
            Self::Read => 0,
            Self::Write => 1,
            Self::Health => 2,
        }
    }
}

/// The weights of all operations; at least one of them is not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mix {
    weights: [u32; Operation::ALL.len()],
}

impl Mix {
    /// Draws the next operation.
    pub(super) fn pick(&self, random: &mut SplitMix64) -> Operation {
        let mut ticket = random.below(self.weights.iter().sum());
        for operation in Operation::ALL {
            let weight = self.weights[operation.index()];
            if ticket < weight {
                return operation;
            }
            ticket -= weight;
        }
        Operation::Read
    }

    /// Whether the mix holds the operation at all.
    pub(super) fn contains(&self, operation: Operation) -> bool {
        self.weights[operation.index()] > 0
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut weights = [None; Operation::ALL.len()];
        for part in text.split(',') {
            let (name, weight) = part.split_once('=').ok_or_else(|| {
                format!("{part:?} is not OPERATION=WEIGHT, as in read=90,write=10")
            })?;
            let operation = Operation::ALL
                .into_iter()
                .find(|operation| operation.name() == name.trim())
                .ok_or_else(|| format!("{name:?} is not one of read, write, health"))?;
            let weight = weight
                .trim()
                .parse::<u32>()
                .ok()
                .filter(|weight| *weight <= LARGEST_WEIGHT)
                .ok_or_else(|| format!("{weight:?} is not a weight from 0 to {LARGEST_WEIGHT}"))?;
            if weights[operation.index()].replace(weight).is_some() {
                return Err(format!("{} is named twice", operation.name()));
            }
        }
        let weights = weights.map(Option::unwrap_or_default);
        if weights.iter().all(|weight| *weight == 0) {
            return Err("all weights are zero".to_owned());
        }
        Ok(Self { weights })
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for operation in Operation::ALL
            .into_iter()
            .filter(|operation| self.contains(*operation))
        {
            let weight = self.weights[operation.index()];
            write!(formatter, "{separator}{}={weight}", operation.name())?;
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_reads_back_as_it_was_written() {
        let mix: Mix = "read=90,write=10".parse().unwrap();
        assert_eq!(mix.to_string(), "read=90,write=10");
        assert!(mix.contains(Operation::Read));
        assert!(!mix.contains(Operation::Health));
    }

    #[test]
    fn each_bad_mix_is_refused() {
        for text in [
            "",
            "read",
            "read=",
            "read=-1",
            "fly=1",
            "read=0,write=0",
            "read=1,read=2",
            "read=1000001",
        ] {
            assert!(text.parse::<Mix>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn operations_come_in_their_shares() {
        let mix: Mix = "read=90,write=10".parse().unwrap();
        let mut random = SplitMix64::new(1);
        let reads = (0..10_000)
            .filter(|_| mix.pick(&mut random) == Operation::Read)
            .count();
        assert!(
            (8_800..=9_200).contains(&reads),
            "{reads} of 10,000 were reads"
        );
    }

    #[test]
    fn an_operation_of_weight_zero_never_comes() {
        let mix: Mix = "read=0,write=1".parse().unwrap();
        let mut random = SplitMix64::new(2);
        assert!((0..1_000).all(|_| mix.pick(&mut random) == Operation::Write));
    }

    #[test]
    fn indices_are_places_in_the_table() {
        for (place, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation.index(), place);
        }
    }
}
