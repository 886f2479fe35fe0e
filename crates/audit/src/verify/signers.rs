//! Who may sign, who votes, and how far a majority has signed, as the trail itself tells it.

use std::collections::{BTreeMap, BTreeSet};

use super::Trust;
use super::events::{CheckpointEvent, Membership};
use super::finding::FindingKind;
use crate::checkpoint::{self, Checkpoint};
use crate::position::Head;

#[derive(Debug)]
pub(super) struct Signers {
    cluster: Option<[u8; 16]>,
    recovery_epoch: Option<u64>,
    keys: BTreeMap<u64, Keys>,
    voters: BTreeSet<u64>,
    /// Highest event that each node has signed up to.
    signed: BTreeMap<u64, u64>,
    /// The trail starts at genesis, so that every member is known.
    complete: bool,
    pub(super) signed_upto_seq: u64,
}

/// A node's keys are kept after its removal: a checkpoint under way then may still be recorded. It counts for
/// nothing, since the node does not vote any more.
#[derive(Debug)]
struct Keys {
    current: [u8; 32],
    /// The key before the last change, for a checkpoint that was under way.
    previous: Option<[u8; 32]>,
}

/// A checkpoint without fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Checked,
    /// Who signed, or what, lies before a retirement.
    NotCheckable,
}

impl Signers {
    pub(super) fn new(trust: &Trust, complete: bool) -> Self {
        let keys = trust.keys.iter().map(|(node, key)| {
            (
                *node,
                Keys {
                    current: *key,
                    previous: None,
                },
            )
        });
        Self {
            cluster: trust.cluster,
            recovery_epoch: trust.recovery_epoch,
            keys: keys.collect(),
            voters: trust.voters.clone(),
            signed: BTreeMap::new(),
            complete,
            signed_upto_seq: 0,
        }
    }

    /// Follows an event that changes members, keys or voters.
    pub(super) fn follow(&mut self, event: &str, change: &Membership) -> Result<(), &'static str> {
        match event {
            "cluster.init" => {
                let node = change.node.ok_or("node is missing")?;
                self.cluster = Some(change.cluster.ok_or("cluster is missing")?.0);
                self.recovery_epoch =
                    Some(change.recovery_epoch.ok_or("recovery_epoch is missing")?);
                self.set_key(node, change.audit_key.ok_or("audit_key is missing")?.0);
                self.voters = BTreeSet::from([node]);
            }
            "node.join" => {
                let node = change.node.ok_or("node is missing")?;
                self.set_key(node, change.audit_key.ok_or("audit_key is missing")?.0);
            }
            "node.update" => {
                let node = change.node.ok_or("node is missing")?;
                if let Some(key) = change.audit_key {
                    self.set_key(node, key.0);
                }
            }
            "voters" => {
                self.voters = change
                    .voters
                    .as_ref()
                    .ok_or("voters is missing")?
                    .iter()
                    .copied()
                    .collect();
            }
            // A recovery or restore raises the epoch, and says so in whichever of these it changes.
            _ if event.starts_with("cluster.") => {
                self.recovery_epoch = change.recovery_epoch.or(self.recovery_epoch);
                if let Some(voters) = &change.voters {
                    self.voters = voters.iter().copied().collect();
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes over what a retirement says about the members of its moment, where the trail's beginning is gone.
    pub(super) fn adopt(&mut self, change: &Membership) {
        self.cluster = self.cluster.or(change.cluster.map(|cluster| cluster.0));
        self.recovery_epoch = self.recovery_epoch.or(change.recovery_epoch);
        for (node, current) in change.signers() {
            let keys = Keys {
                current,
                previous: None,
            };
            self.keys.entry(node).or_insert(keys);
        }
        if self.voters.is_empty() {
            self.voters = change.voters.iter().flatten().copied().collect();
        }
    }

    /// Checks a checkpoint; `head` is the trail's own at the signed event, `None` if that is retired.
    pub(super) fn check(
        &mut self,
        event: &CheckpointEvent,
        head: Option<Head>,
    ) -> Result<Verdict, FindingKind> {
        let node = event.node;
        if head.is_some_and(|head| head != event.signed_head.0) {
            return Err(FindingKind::SignedHeadDiffers {
                node,
                signed_seq: event.signed_seq,
            });
        }
        let Some(keys) = self.keys.get(&node) else {
            if self.complete {
                return Err(FindingKind::UnknownSigner { node });
            }
            return Ok(Verdict::NotCheckable);
        };
        let (Some(cluster), Some(recovery_epoch)) = (self.cluster, self.recovery_epoch) else {
            return Ok(Verdict::NotCheckable);
        };
        let statement = Checkpoint {
            cluster,
            recovery_epoch,
            index: event.signed_index,
            seq: event.signed_seq,
            head: event.signed_head.0,
        };
        let candidates = [Some(keys.current), keys.previous];
        let genuine = candidates
            .iter()
            .flatten()
            .any(|key| checkpoint::verify(key, &statement, &event.signature.0).is_ok());
        if !genuine {
            return Err(FindingKind::BadSignature { node });
        }
        if head.is_none() {
            return Ok(Verdict::NotCheckable);
        }
        let reached = self.signed.entry(node).or_default();
        *reached = (*reached).max(event.signed_seq);
        self.signed_upto_seq = self.signed_upto_seq.max(self.majority_reach());
        Ok(Verdict::Checked)
    }

    /// The highest event that a majority of the present voters has signed up to.
    fn majority_reach(&self) -> u64 {
        let mut reach: Vec<u64> = self
            .voters
            .iter()
            .map(|voter| self.signed.get(voter).copied().unwrap_or(0))
            .collect();
        reach.sort_unstable();
        // A majority of n are floor(n / 2) + 1: what the last of them has reached is floor(n / 2) below the highest.
        reach
            .iter()
            .rev()
            .nth(reach.len() / 2)
            .copied()
            .unwrap_or(0)
    }

    fn set_key(&mut self, node: u64, key: [u8; 32]) {
        let previous = self
            .keys
            .get(&node)
            .map(|keys| keys.current)
            .filter(|current| *current != key);
        self.keys.insert(
            node,
            Keys {
                current: key,
                previous,
            },
        );
    }
}
