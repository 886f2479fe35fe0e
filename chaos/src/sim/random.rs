//! Randomness of a simulated machine: all of it follows from the seed, so nothing made with it is secret.

use std::sync::Mutex;

use jarvis_cluster::env::Random;
use jarvis_crypto::RandomSource;

use super::lock;
use crate::dice::Dice;

/// The random source of one start of a node.
pub(super) struct SeededRandom(Mutex<Dice>);

impl SeededRandom {
    /// The same dice give the same bytes.
    pub(super) const fn new(dice: Dice) -> Self {
        Self(Mutex::new(dice))
    }
}

impl Random for SeededRandom {
    fn fill(&self, buffer: &mut [u8]) {
        let mut dice = lock(&self.0);
        for chunk in buffer.chunks_mut(8) {
            let bytes = dice.draw().to_be_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

/// The same for what holds keys.
pub(super) fn source(dice: Dice) -> RandomSource {
    let random = SeededRandom::new(dice);
    RandomSource::danger_seeded_for_simulation(move |buffer| random.fill(buffer))
}

/// Another stream, so that one consumer's draws do not move another's.
pub(super) fn fork(dice: &mut Dice) -> Dice {
    Dice::new(dice.draw())
}

/// Thirty-two bytes of it.
pub(super) fn secret(dice: &mut Dice) -> [u8; 32] {
    let mut bytes = [0; 32];
    SeededRandom::new(fork(dice)).fill(&mut bytes);
    bytes
}
