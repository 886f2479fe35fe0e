//! The state hash: incremental and independent of order.
//!
//! Every record contributes SHA-256(kind ‖ key ‖ value) to a sum of four 64-bit lanes with wrapping addition; adding and
//! removing a record are inverse. It detects damage and divergence between honest nodes; it is no defence against an
//! adversary who chooses records (a sum of hashes is not collision-resistant against one), which is why the audit chain
//! does not rest on it.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The sum over all records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accumulator([u64; 4]);

/// What one record contributes: kept with the record, so that its removal hashes nothing again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element([u64; 4]);

impl Accumulator {
    /// Adds one record.
    pub fn add(&mut self, element: Element) {
        for (lane, part) in self.0.iter_mut().zip(element.0) {
            *lane = lane.wrapping_add(part);
        }
    }

    /// Removes one record that was added before.
    pub fn remove(&mut self, element: Element) {
        for (lane, part) in self.0.iter_mut().zip(element.0) {
            *lane = lane.wrapping_sub(part);
        }
    }

    /// The sum as bytes.
    #[must_use]
    pub fn bytes(&self) -> [u8; 32] {
        let mut out = [0; 32];
        for (chunk, lane) in out.chunks_exact_mut(8).zip(self.0) {
            chunk.copy_from_slice(&lane.to_be_bytes());
        }
        out
    }
}

impl Element {
    /// SHA-256(kind ‖ key length ‖ key ‖ value) of a record's encoded parts.
    #[must_use]
    pub fn of(kind: u8, key: &[u8], value: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update([kind]);
        hasher.update((key.len() as u64).to_be_bytes());
        hasher.update(key);
        hasher.update(value);
        let digest: [u8; 32] = hasher.finalize().into();
        let mut lanes = [0; 4];
        for (lane, chunk) in lanes.iter_mut().zip(digest.chunks_exact(8)) {
            *lane = u64::from_be_bytes(chunk.try_into().expect("chunks of eight bytes"));
        }
        Self(lanes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_and_removal_undoes() {
        let (mut left, mut right) = (Accumulator::default(), Accumulator::default());
        left.add(Element::of(1, b"a", b"1"));
        left.add(Element::of(1, b"b", b"2"));
        right.add(Element::of(1, b"b", b"2"));
        right.add(Element::of(1, b"c", b"3"));
        right.add(Element::of(1, b"a", b"1"));
        right.remove(Element::of(1, b"c", b"3"));
        assert_eq!(left, right);
        assert_ne!(left, Accumulator::default());
    }

    #[test]
    fn the_boundary_between_key_and_value_counts() {
        let (mut left, mut right) = (Accumulator::default(), Accumulator::default());
        left.add(Element::of(1, b"ab", b"c"));
        right.add(Element::of(1, b"a", b"bc"));
        assert_ne!(left, right);
    }
}
