//! Does the trail on a machine's disk tell what happened? (C3, X4)
//!
//! The chain holds from the first line on; every acknowledged operation has exactly one event, with the version its
//! client was told; a failed one has none, an unknown one at most one.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use jarvis_disk::{Disk, SimDisk};
use jarvis_domain::audit::{Head, chain_hash};

use crate::history::{Operation, Outcome, request_id};
use crate::machine::audit_dir;

/// What is wrong with a trail.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrailFault {
    /// A file can not be read.
    #[error("the trail can not be read: {0}")]
    Disk(#[from] io::Error),
    /// The run wrote more than one segment.
    #[error("the run is too long for this check: it closed the segment {}", .0.display())]
    Closed(PathBuf),
    /// A line's hash is not that of the chain.
    #[error("line {line} breaks the chain")]
    Chain { line: usize },
    /// The trail ends elsewhere than the state says.
    #[error("the trail has {lines} lines and another head than the state, which counts {seq}")]
    End { lines: usize, seq: u64 },
    /// Too many or too few events of an operation.
    #[error("operation {operation} came to {outcome:?} and has {events} events")]
    Events {
        operation: usize,
        outcome: Outcome,
        events: usize,
    },
    /// The event and the client's answer differ.
    #[error("operation {operation} came to {outcome:?}, the trail says version {version:?}")]
    Version {
        operation: usize,
        outcome: Outcome,
        version: Option<u64>,
    },
}

/// Checks one machine's trail, which must end at `seq` with `head`.
pub(crate) fn check(
    disk: &SimDisk,
    operations: &[Operation],
    (seq, head): (u64, Head),
) -> Result<(), TrailFault> {
    let text = read(disk)?;
    let lines: Vec<&str> = text.lines().collect();
    if (lines.len() as u64, follow_chain(&lines)?) != (seq, head) {
        let lines = lines.len();
        return Err(TrailFault::End { lines, seq });
    }
    let mut events: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in lines {
        if let Some(id) = text_member(line, "request_id") {
            events.entry(id).or_default().push(line);
        }
    }
    for (number, operation) in operations.iter().enumerate() {
        let id = request_id(number);
        let found = events.get(id.as_str()).map_or(&[][..], Vec::as_slice);
        check_operation(number, operation, found)?;
    }
    Ok(())
}

fn read(disk: &SimDisk) -> Result<String, TrailFault> {
    let open = audit_dir().join("audit.jsonl");
    for path in disk.list(audit_dir())? {
        let is_segment = path.to_string_lossy().contains(".jsonl");
        if is_segment && path != open {
            return Err(TrailFault::Closed(path));
        }
    }
    let bytes = disk.read(&open)?;
    let text = String::from_utf8(bytes).map_err(io::Error::other)?;
    Ok(text)
}

/// The head after the last line.
fn follow_chain(lines: &[&str]) -> Result<Head, TrailFault> {
    let mut head = [0; 32];
    for (number, line) in lines.iter().enumerate() {
        let broken = TrailFault::Chain { line: number + 1 };
        let Some((body, hash)) = line.rsplit_once(r#","hash":""#) else {
            return Err(broken);
        };
        head = chain_hash(&head, body.as_bytes());
        if hash.strip_suffix(r#""}"#) != Some(hex::encode(head).as_str()) {
            return Err(broken);
        }
    }
    Ok(head)
}

fn check_operation(
    number: usize,
    operation: &Operation,
    events: &[&str],
) -> Result<(), TrailFault> {
    let outcome = operation.outcome;
    let right = match outcome {
        Outcome::Unknown => events.len() <= 1,
        Outcome::Failed => events.is_empty(),
        _ => events.len() == 1,
    };
    if !right {
        return Err(TrailFault::Events {
            operation: number,
            outcome,
            events: events.len(),
        });
    }
    let (Outcome::Wrote { version: shown } | Outcome::Read { version: shown, .. }) = outcome else {
        return Ok(());
    };
    let version = events
        .first()
        .and_then(|line| number_member(line, "version"));
    if version == Some(shown) {
        return Ok(());
    }
    Err(TrailFault::Version {
        operation: number,
        outcome,
        version,
    })
}

/// A text member whose value holds nothing to escape.
fn text_member<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!(r#","{key}":""#))?;
    rest.split_once('"').map(|(value, _)| value)
}

fn number_member(line: &str, key: &str) -> Option<u64> {
    let (_, rest) = line.split_once(&format!(r#","{key}":"#))?;
    let end = rest.find(|character: char| !character.is_ascii_digit())?;
    rest[..end].parse().ok()
}
