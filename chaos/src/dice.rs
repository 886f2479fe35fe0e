//! Everything drawn in a run comes from its seed, through here: the same seed, the same faults and delays.

/// A stream of numbers that follows from a seed (SplitMix64; Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
pub struct Dice {
    state: u64,
}

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
/// FNV-1a, 64 bits.
const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;
const HASH_PRIME: u64 = 0x0000_0100_0000_01b3;

impl Dice {
    /// The stream of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// One of a seed's streams by its name: what one part of a run draws does not move what another one draws.
    #[must_use]
    pub fn stream(seed: u64, name: &str) -> Self {
        let hash = name.bytes().fold(HASH_START, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(HASH_PRIME)
        });
        let mut dice = Self::new(seed ^ hash);
        dice.draw();
        dice
    }

    /// Any number.
    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below that bound; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw().checked_rem(bound).unwrap_or(0)
    }

    /// A number between these, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// A place in a list of that length; 0 for an empty one.
    pub fn place(&mut self, length: usize) -> usize {
        let place = self.below(length as u64);
        usize::try_from(place).unwrap_or(0)
    }

    /// Whether something happens that happens so many times in a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Any order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.place(last + 1);
            items.swap(last, other);
        }
    }

    /// Letters and digits, for names and values.
    pub fn text(&mut self, length: usize) -> String {
        const LETTERS: &[u8; 62] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let letter = |_| char::from(LETTERS[self.place(LETTERS.len())]);
        (0..length).map(letter).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn one_seed_is_one_stream_and_its_parts_are_independent() {
        let draw = |mut dice: Dice| [dice.draw(), dice.draw(), dice.draw()];
        assert_eq!(draw(Dice::new(7)), draw(Dice::new(7)));
        assert_ne!(draw(Dice::new(7)), draw(Dice::new(8)));
        assert_eq!(draw(Dice::stream(7, "a")), draw(Dice::stream(7, "a")));
        assert_ne!(draw(Dice::stream(7, "a")), draw(Dice::stream(7, "b")));
    }

    #[test]
    fn bounds_hold_and_everything_within_them_comes_up() {
        let mut dice = Dice::new(1);
        let seen: BTreeSet<u64> = (0..1_000).map(|_| dice.between(3, 7)).collect();
        assert_eq!(seen, (3..=7).collect());
        assert_eq!(dice.below(0), 0);
        assert_eq!(dice.between(5, 5), 5);
        assert!((0..100).all(|_| dice.chance(100)) && !(0..100).any(|_| dice.chance(0)));
        let mut items: Vec<u32> = (0..20).collect();
        dice.shuffle(&mut items);
        assert_ne!(items, (0..20).collect::<Vec<u32>>());
        items.sort_unstable();
        assert_eq!(items, (0..20).collect::<Vec<u32>>());
        assert_eq!(dice.text(40).len(), 40);
    }
}
