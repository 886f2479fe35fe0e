//! The members of a line that verification looks at; everything else is for other readers.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::Error as _;

use crate::line::decode_array;

/// What every line has.
#[derive(Deserialize)]
pub(super) struct Common<'a> {
    pub(super) seq: u64,
    #[serde(borrow)]
    pub(super) time: Cow<'a, str>,
    pub(super) index: u64,
    #[serde(borrow)]
    pub(super) event: Cow<'a, str>,
    #[serde(borrow)]
    outcome: Cow<'a, str>,
}

impl Common<'_> {
    /// Whether it happened, as against events that record a refusal.
    pub(super) fn took_effect(&self) -> bool {
        matches!(self.outcome.as_ref(), "ok" | "allow")
    }
}

/// `cluster.init` (and later `cluster.…` events), `node.join`, `node.update`, `voters`, `audit.retire`: who votes
/// and signs with which key. All members are optional here; an event carries those it changes.
#[derive(Deserialize)]
pub(super) struct Membership {
    pub(super) node: Option<u64>,
    pub(super) audit_key: Option<Hex<32>>,
    pub(super) cluster: Option<Hex<16>>,
    pub(super) recovery_epoch: Option<u64>,
    pub(super) voters: Option<Vec<u64>>,
    /// On `audit.retire`: `<node>:<audit key>` of the members of that moment, separated by commas, so that a trail
    /// without its beginning can be verified.
    pub(super) signers: Option<String>,
}

impl Membership {
    /// The nodes and keys in `signers`; entries that make no sense are left out.
    pub(super) fn signers(&self) -> impl Iterator<Item = (u64, [u8; 32])> {
        let entries = self.signers.as_deref().unwrap_or_default().split(',');
        entries.filter_map(|entry| {
            let (node, key) = entry.split_once(':')?;
            Some((node.parse().ok()?, decode_array(key.as_bytes())?))
        })
    }
}

/// `audit.checkpoint`.
#[derive(Deserialize)]
pub(super) struct CheckpointEvent {
    pub(super) node: u64,
    pub(super) signed_index: u64,
    pub(super) signed_seq: u64,
    pub(super) signed_head: Hex<32>,
    pub(super) signature: Hex<64>,
}

/// `audit.retire`: events up to `upto_seq` may be gone; `head` is the chain head after it.
#[derive(Deserialize)]
pub(super) struct Retirement {
    pub(super) upto_seq: u64,
    pub(super) head: Hex<32>,
}

/// Exactly N bytes in lower-case hex.
#[derive(Clone, Copy)]
pub(super) struct Hex<const N: usize>(pub(super) [u8; N]);

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = Cow::<'de, str>::deserialize(deserializer)?;
        decode_array(digits.as_bytes()).map(Self).ok_or_else(|| {
            D::Error::custom(format_args!("expected {} lower-case hex digits", 2 * N))
        })
    }
}
