//! Trails on a disk, as a node leaves them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// An event as a test tells it: (event, outcome, request id, more members).
pub(crate) type Told<'a> = (&'a str, &'a str, &'a str, &'a str);

/// A line without its hash, the next one of a trail; its index is its number plus 100.
fn body(seq: usize, (event, outcome, request_id, more): Told<'_>) -> String {
    format!(
        r#"{{"seq":{seq},"time":"2026-11-22T03:00:00.000Z","index":{},"event":"{event}","outcome":"{outcome}","client":"c","credential":"token","request_id":"{request_id}","node":1{more}"#,
        seq + 100
    )
}

/// The bodies of these events, numbered from 1.
pub(crate) fn bodies(events: &[Told<'_>]) -> Vec<String> {
    (1..)
        .zip(events)
        .map(|(seq, event)| body(seq, *event))
        .collect()
}

/// Chains bodies to lines.
pub(crate) fn chained(bodies: &[String]) -> Vec<String> {
    let mut head = [0_u8; 32];
    let mut lines = Vec::new();
    for body in bodies {
        let mut hasher = Sha256::new();
        hasher.update(head);
        hasher.update(body.as_bytes());
        head = hasher.finalize().into();
        lines.push(format!("{body},\"hash\":\"{}\"}}\n", hex::encode(head)));
    }
    lines
}

/// The first 16 hex digits of the head after a line.
fn head_prefix(line: &str) -> &str {
    let (_, hash) = line.rsplit_once("\"hash\":\"").unwrap();
    &hash[..16]
}

/// Folders of nodes with trails in them.
pub(crate) struct Disks {
    dir: TempDir,
}

impl Disks {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn folder(&self, node: u64) -> PathBuf {
        let folder = self.dir.path().join(format!("n{node}"));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// Writes a trail with everything in the open segment.
    pub(crate) fn open_only(&self, node: u64, lines: &[String]) -> PathBuf {
        let folder = self.folder(node);
        fs::write(folder.join("audit.jsonl"), lines.concat()).unwrap();
        folder
    }

    /// Writes a trail whose first lines are in two closed segments, one of them compressed.
    pub(crate) fn in_segments(&self, node: u64, lines: &[String]) -> PathBuf {
        let folder = self.folder(node);
        let third = lines.len() / 3;
        compressed(&folder, 1, &lines[..third]);
        plain(&folder, third + 1, &lines[third..2 * third]);
        let open = lines[2 * third..].concat() + "{\"seq\":";
        fs::write(folder.join("audit.jsonl"), open).unwrap();
        fs::write(folder.join("audit.head"), "{}").unwrap();
        folder
    }
}

fn compressed(folder: &Path, first_seq: usize, lines: &[String]) {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(lines.concat().as_bytes()).unwrap();
    let head = head_prefix(lines.last().unwrap());
    let name = format!("{first_seq:016}-{head}.jsonl.gz");
    fs::write(folder.join(name), encoder.finish().unwrap()).unwrap();
}

/// Writes a closed segment that is not compressed.
pub(crate) fn plain(folder: &Path, first_seq: usize, lines: &[String]) {
    let head = head_prefix(lines.last().unwrap());
    let name = format!("{first_seq:016}-{head}.jsonl");
    fs::write(folder.join(name), lines.concat()).unwrap();
}
