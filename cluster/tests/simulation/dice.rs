//! Seeded numbers: everything that is drawn in a run comes from one seed.

use std::ops::Range;
use std::sync::Mutex;
use std::time::Duration;

use jarvis_cluster::env::Random;

use crate::lock;

/// A stream of numbers (splitmix64). Good enough to choose faults, useless as a secret.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The same seed gives the same numbers.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `bound - 1`; the bias of the remainder does not matter here. `bound` is at least 1.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.roll() % bound as u64) as usize
    }

    /// One of two.
    pub(crate) fn flip(&mut self) -> bool {
        self.below(2) == 0
    }

    /// A time within a range of milliseconds that is not empty.
    pub(crate) fn millis(&mut self, range: &Range<u64>) -> Duration {
        Duration::from_millis(range.start + self.roll() % (range.end - range.start))
    }

    /// Another stream, so that one consumer's draws do not move another's.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.roll())
    }

    /// Any order.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end + 1));
        }
    }
}

/// The random source of a simulated machine.
pub(crate) struct SimRandom(Mutex<Dice>);

impl SimRandom {
    /// The same dice give the same bytes.
    pub(crate) const fn new(dice: Dice) -> Self {
        Self(Mutex::new(dice))
    }
}

impl Random for SimRandom {
    fn fill(&self, buffer: &mut [u8]) {
        let mut dice = lock(&self.0);
        for chunk in buffer.chunks_mut(8) {
            let bytes = dice.roll().to_be_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}
