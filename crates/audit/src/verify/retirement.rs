//! Where a trail may begin: at genesis, or right after a retirement that the trail itself records further on.

use std::path::Path;

use super::events::{Common, Membership, Retirement};
use crate::position::{GENESIS_HEAD, Head};
use crate::reader::Trail;

/// Name of the event that allows older segments to be gone.
pub(super) const RETIRE_EVENT: &str = "audit.retire";
/// The same as it stands in a line, to skip the others without parsing them.
const RETIRE_MEMBER: &str = "\"event\":\"audit.retire\"";

/// A point from which the chain can be followed.
pub(super) struct Start {
    /// First event to check.
    pub(super) seq: u64,
    /// Chain head before it.
    pub(super) head: Head,
    /// The retirement event's word on the members; `None` at genesis.
    pub(super) members: Option<Membership>,
}

impl Start {
    pub(super) fn genesis() -> Self {
        Self {
            seq: 1,
            head: GENESIS_HEAD,
            members: None,
        }
    }
}

/// The earliest start at or after `first_seq` that a retirement in the trail allows; if there is none, the latest
/// one before, from which the walk finds out what exactly is missing. The retirement's word is not checked here:
/// the walk that follows checks the chain from the head it names up to the retirement itself.
pub(super) fn find(dir: &Path, first_seq: u64) -> Option<Start> {
    let mut best: Option<Start> = None;
    // Segments may go while this reads. Damage ends the search; the walk names it, or else what is missing.
    for line in Trail::across_gaps(dir, first_seq)
        .ok()?
        .map_while(Result::ok)
    {
        if !line.json.contains(RETIRE_MEMBER) {
            continue;
        }
        let Some(start) = parse(&line.json).filter(|start| start.seq <= line.seq) else {
            continue;
        };
        let better = best.as_ref().is_none_or(|best| {
            if best.seq < first_seq {
                start.seq > best.seq
            } else {
                (first_seq..best.seq).contains(&start.seq)
            }
        });
        if better {
            best = Some(start);
        }
    }
    best
}

fn parse(json: &str) -> Option<Start> {
    let common: Common<'_> = serde_json::from_str(json).ok()?;
    if common.event != RETIRE_EVENT || !common.took_effect() {
        return None;
    }
    let retirement: Retirement = serde_json::from_str(json).ok()?;
    Some(Start {
        seq: retirement.upto_seq.checked_add(1)?,
        head: retirement.head.0,
        members: serde_json::from_str(json).ok(),
    })
}
