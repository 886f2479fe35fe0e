//! A node's files on the disk, and ways to damage them.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::Member;

/// Layout of a log segment: its header, a frame's header, and a group frame (header, magic, two numbers).
const SEGMENT_HEADER_BYTES: usize = 48;
const FRAME_HEADER_BYTES: usize = 17;
const GROUP_FRAME_BYTES: usize = FRAME_HEADER_BYTES + 24;
/// Where in a group frame the group's length stands.
const GROUP_LENGTH_AT: usize = FRAME_HEADER_BYTES + 16;
/// A frame of this kind is a mere hint for a faster start.
const COMMITTED_KIND: u8 = 5;

/// The segments of the log, oldest first.
pub fn segments(node: &Member) -> Vec<PathBuf> {
    with_ending(&node.data_dir.join("wal"), "wal")
}

/// The sequence of the oldest segment; above 1 once the log was purged.
pub fn first_sequence(node: &Member) -> u64 {
    let first = segments(node).into_iter().next();
    let name = first.as_deref().and_then(Path::file_stem);
    let digits = name.and_then(|name| name.to_str()).unwrap_or("0");
    u64::from_str_radix(digits, 16).unwrap_or(0)
}

/// The snapshot files, oldest first.
pub fn snapshots(node: &Member) -> Vec<PathBuf> {
    with_ending(&node.data_dir.join("snapshots"), "snap")
}

/// The file of sled's image that holds everything.
pub fn image_file(node: &Member) -> PathBuf {
    image(node).join("db")
}

/// The folder of sled's image.
pub fn image(node: &Member) -> PathBuf {
    node.data_dir.join("image")
}

/// The open segment of the trail.
pub fn open_audit(node: &Member) -> PathBuf {
    node.audit_dir().join("audit.jsonl")
}

/// The log, byte for byte.
pub fn log_evidence(node: &Member) -> BTreeMap<PathBuf, Vec<u8>> {
    contents(segments(node))
}

/// The snapshots and the trail, byte for byte; temporary files may go.
pub fn evidence(node: &Member) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut paths = snapshots(node);
    for ending in ["jsonl", "gz", "head"] {
        paths.extend(with_ending(&node.audit_dir(), ending));
    }
    contents(paths)
}

/// Flips one bit of the byte there.
pub fn flip(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Overwrites a piece of every page.
pub fn scribble(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    for page in bytes.chunks_mut(4_096) {
        page.iter_mut().take(64).for_each(|byte| *byte ^= 0xa5);
    }
    fs::write(path, bytes).unwrap();
}

/// Cuts a file.
pub fn cut_to(path: &Path, length: usize) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(u64::try_from(length).unwrap()).unwrap();
}

/// Adds bytes that nobody acknowledged.
pub fn append(path: &Path, bytes: &[u8]) {
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

/// The last group of a log segment: where it starts, and whether anything in it may have been acknowledged.
pub fn last_group(segment: &[u8]) -> (usize, bool) {
    let mut start = SEGMENT_HEADER_BYTES;
    let mut last = None;
    while start + GROUP_FRAME_BYTES <= segment.len() {
        let length: [u8; 8] = segment[start + GROUP_LENGTH_AT..][..8].try_into().unwrap();
        let end = start + usize::try_from(u64::from_le_bytes(length)).unwrap();
        last = Some((start, end));
        start = end;
    }
    let (start, end) = last.expect("a segment has a group");
    let mut at = start + GROUP_FRAME_BYTES;
    let mut has_promise = false;
    while at < end {
        let length: [u8; 4] = segment[at..][..4].try_into().unwrap();
        has_promise |= segment[at + 4] != COMMITTED_KIND;
        at += FRAME_HEADER_BYTES + usize::try_from(u32::from_le_bytes(length)).unwrap();
    }
    (start, has_promise)
}

fn contents(paths: Vec<PathBuf>) -> BTreeMap<PathBuf, Vec<u8>> {
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).unwrap();
        (path, bytes)
    };
    paths.into_iter().map(read).collect()
}

fn with_ending(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .collect();
    paths.sort();
    paths
}
