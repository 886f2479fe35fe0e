//! Offline verification: is this folder the trail that the cluster wrote, whole and unchanged? (X4)
//!
//! It needs nothing but the folder: a node's own (also while the node runs), a backup, or an export. In order:
//! every line follows its predecessor in number, hash and log index; closed segments end as their names promise;
//! nothing is missing between segments, and nothing before the first unless a retirement in the trail says so;
//! every checkpoint is signed by the node it names, over this history; the trail reaches as far as `audit.head`
//! recorded. It stops at the first [`Finding`].
//!
//! What it can not see by itself: a trail rewritten from the start with new keys, and an end cut off together with
//! `audit.head`. Against those stand other nodes' copies and heads noted elsewhere ([`Trust::noted`]).
//!
//! Memory is bounded: one line, the heads of the last events, and a number per segment.

mod events;
mod finding;
mod heads;
mod report;
mod retirement;
mod signers;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

pub use finding::{Finding, FindingKind};
pub use report::Report;

use crate::head::HeadFile;
use crate::names::HEAD_NAME;
use retirement::Start;
use walk::Walk;

/// How often a folder is verified again when its node restarted meanwhile and cut its trail back.
const PASSES: u32 = 3;

/// What the caller knows from elsewhere. All of it may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// Cluster id, for a trail whose beginning is retired.
    pub cluster: Option<[u8; 16]>,
    /// Recovery epoch at the trail's beginning, likewise.
    pub recovery_epoch: Option<u64>,
    /// Ed25519 public keys of the nodes that were members at the trail's beginning, likewise.
    pub keys: BTreeMap<u64, [u8; 32]>,
    /// The voters at the trail's beginning, likewise.
    pub voters: BTreeSet<u64>,
    /// Sequence numbers and the chain heads after them, as noted on another node or at another time: the trail must
    /// reach them and agree.
    pub noted: Vec<(u64, [u8; 32])>,
}

/// Verifies a folder by what is in it.
///
/// # Errors
/// The first [`Finding`].
pub fn verify(dir: &Path) -> Result<Report, Finding> {
    verify_with(dir, &Trust::default())
}

/// Verifies a folder by what is in it and what the caller knows.
///
/// # Errors
/// The first [`Finding`].
pub fn verify_with(dir: &Path, trust: &Trust) -> Result<Report, Finding> {
    for _ in 1..PASSES {
        let recorded = read_head(dir)?;
        match pass(dir, trust, recorded) {
            Err(finding) if a_restart_explains(&finding) && read_head(dir)? != recorded => {}
            outcome => return outcome,
        }
    }
    pass(dir, trust, read_head(dir)?)
}

/// Walks from genesis, or from behind a retirement when segments are missing that it allows to be gone.
fn pass(dir: &Path, trust: &Trust, recorded: Option<HeadFile>) -> Result<Report, Finding> {
    let mut start = Start::genesis();
    loop {
        let finding = match Walk::new(dir, trust, recorded, &start).run() {
            Ok(report) => return Ok(report),
            Err(finding) => finding,
        };
        let FindingKind::MissingSegment { next_first_seq, .. } = finding.kind else {
            return Err(finding);
        };
        match retirement::find(dir, next_first_seq) {
            Some(after) if after.seq > start.seq => start = after,
            _ => return Err(finding),
        }
    }
}

/// A restarting node cuts its trail back and a lagging one replaces it; both change `audit.head`.
fn a_restart_explains(finding: &Finding) -> bool {
    matches!(
        finding.kind,
        FindingKind::CutEnd { .. }
            | FindingKind::HeadDiffers { .. }
            | FindingKind::MissingSegment { .. }
            | FindingKind::AmbiguousSegment { .. }
            | FindingKind::StraySegment
            | FindingKind::SeqGap { .. }
    )
}

fn read_head(dir: &Path) -> Result<Option<HeadFile>, Finding> {
    HeadFile::read(dir).map_err(|error| {
        let reason = error.to_string();
        let kind = match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                FindingKind::BadHeadFile { reason }
            }
            _ => FindingKind::Unreadable { reason },
        };
        Finding::new(HEAD_NAME, 0, 0, kind)
    })
}
