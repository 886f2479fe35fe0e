//! Where this crate's random bytes come from: the operating system.
//!
//! A simulation of a whole cluster must draw the same bytes again for the same seed, and nothing there is secret. So
//! whoever holds keys holds a [`RandomSource`] too, and there is one way to make a source that is not the operating
//! system: [`RandomSource::danger_seeded_for_simulation`]. No call that encrypts takes the bytes themselves.

use std::fmt;
use std::sync::Arc;

/// The operating system gave no random bytes. Nothing was encrypted or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the operating system gave no random bytes, so no key can be made: \
     check that the getrandom system call is allowed here, then try again"
)]
pub struct RandomError {
    source: getrandom::Error,
}

type Fill = dyn Fn(&mut [u8]) + Send + Sync;

/// A source of random bytes: the operating system, unless a simulation put its own in place.
#[derive(Clone, Default)]
pub struct RandomSource {
    /// `None` everywhere but in a simulation.
    seeded: Option<Arc<Fill>>,
}

impl RandomSource {
    /// The operating system's, for everything that is real.
    #[must_use]
    pub const fn operating_system() -> Self {
        Self { seeded: None }
    }

    /// Bytes that anybody who knows the seed can draw again: whatever is made with this source is no secret.
    #[must_use]
    pub fn danger_seeded_for_simulation(fill: impl Fn(&mut [u8]) + Send + Sync + 'static) -> Self {
        Self {
            seeded: Some(Arc::new(fill)),
        }
    }

    /// Fills `bytes`. On error their content must not be used.
    pub(crate) fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomError> {
        match &self.seeded {
            None => getrandom::fill(bytes).map_err(|source| RandomError { source }),
            Some(fill) => {
                fill(bytes);
                Ok(())
            }
        }
    }

    /// `N` public random bytes: a salt, an id.
    pub(crate) fn array<const N: usize>(&self) -> Result<[u8; N], RandomError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }
}

impl fmt::Debug for RandomSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.seeded {
            None => "RandomSource(operating system)",
            Some(_) => "RandomSource(seeded: nothing made with it is secret)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x1_only_a_simulation_draws_the_same_bytes_twice() {
        for system in [RandomSource::operating_system(), RandomSource::default()] {
            let (one, two) = (system.array::<32>(), system.array::<32>());
            assert_ne!(one.expect("random bytes"), two.expect("random bytes"));
        }
        let seeded = RandomSource::danger_seeded_for_simulation(|bytes| bytes.fill(7));
        assert_eq!(seeded.array::<2>(), Ok([7, 7]));
        assert!(format!("{seeded:?}").contains("nothing made with it is secret"));
    }
}
