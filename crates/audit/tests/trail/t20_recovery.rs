//! After a crash the trail is cut back to a position and regenerated from the log, byte for byte (rule 7).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jarvis_audit::{AuditError, Position, SegmentWriter, compress};
use jarvis_disk::{Disk, DiskHandle, SimDisk};

use crate::builder::Builder;

const DIR: &str = "/node/audit";

fn open(disk: &Arc<SimDisk>, position: Position) -> SegmentWriter {
    let handle: DiskHandle = disk.clone();
    SegmentWriter::open(handle, Path::new(DIR), Some(position)).expect("open")
}

/// A trail of 12 events whose first 7 are synced; returns the position there.
fn begun(disk: &Arc<SimDisk>) -> (Builder, Builder, SegmentWriter) {
    let mut at_sync = Builder::begun(5);
    at_sync.reads(6);
    let mut whole = at_sync.clone();
    whole.reads(5);
    let mut writer = open(disk, Position::default());
    at_sync.replay(&mut writer, 0);
    writer.sync().expect("sync");
    assert_eq!(writer.position(), at_sync.position());
    (at_sync, whole, writer)
}

/// The trail's bytes as they lie on the disk.
fn content(disk: &Arc<SimDisk>, writer: &SegmentWriter) -> Vec<u8> {
    let mut bytes = Vec::new();
    for segment in writer.position().closed {
        bytes.extend(
            writer
                .read_closed(segment.first_seq)
                .expect("closed segment"),
        );
    }
    bytes.extend(
        disk.read(&PathBuf::from(DIR).join("audit.jsonl"))
            .expect("open segment"),
    );
    bytes
}

#[test]
fn a_power_cut_takes_the_unsynced_tail_and_replay_brings_it_back() {
    let disk = SimDisk::new();
    let (at_sync, whole, mut writer) = begun(&disk);
    whole.replay(&mut writer, 7);
    disk.crash();
    let mut writer = open(&disk, at_sync.position());
    assert_eq!(content(&disk, &writer), at_sync.bytes());
    whole.replay(&mut writer, 7);
    writer.sync().expect("sync");
    disk.crash();
    let writer = open(&disk, whole.position());
    assert_eq!(content(&disk, &writer), whole.bytes());
}

#[test]
fn a_process_crash_leaves_more_than_the_position_and_it_is_cut_back() {
    let disk = SimDisk::new();
    let (at_sync, whole, mut writer) = begun(&disk);
    // Without a power cut everything is still there: the segment of the position is closed by now.
    whole.replay(&mut writer, 7);
    drop(writer);
    let mut writer = open(&disk, at_sync.position());
    assert_eq!(content(&disk, &writer), at_sync.bytes());
    assert_eq!(
        disk.list(Path::new(DIR)).expect("list").len(),
        3,
        "one closed, one open, audit.head"
    );
    whole.replay(&mut writer, 7);
    assert_eq!(content(&disk, &writer), whole.bytes());
}

#[test]
fn a_segment_that_was_compressed_after_the_position_is_brought_back() {
    for power_cut in [false, true] {
        let disk = SimDisk::new();
        let (at_sync, whole, mut writer) = begun(&disk);
        whole.replay(&mut writer, 7);
        writer.sync().expect("sync");
        let compressed = compress::compress_closed(&*disk, Path::new(DIR), 10).expect("compress");
        assert_eq!(compressed, 2);
        drop(writer);
        if power_cut {
            disk.crash();
        }
        let mut writer = open(&disk, at_sync.position());
        assert_eq!(content(&disk, &writer), at_sync.bytes());
        assert!(writer.missing_closed().is_empty());
        whole.replay(&mut writer, 7);
        assert_eq!(content(&disk, &writer), whole.bytes());
    }
}

#[test]
fn a_crash_while_opening_can_be_opened_again() {
    for syncs in 0..12 {
        let disk = SimDisk::new();
        let (at_sync, whole, mut writer) = begun(&disk);
        whole.replay(&mut writer, 7);
        writer.sync().expect("sync");
        drop(writer);
        disk.fail_syncs_after(syncs);
        let handle: DiskHandle = disk.clone();
        let _ = SegmentWriter::open(handle, Path::new(DIR), Some(at_sync.position()));
        disk.fail_syncs(false);
        disk.crash();
        let mut writer = open(&disk, at_sync.position());
        assert_eq!(
            content(&disk, &writer),
            at_sync.bytes(),
            "after {syncs} syncs"
        );
        whole.replay(&mut writer, 7);
        assert_eq!(
            content(&disk, &writer),
            whole.bytes(),
            "after {syncs} syncs"
        );
    }
}

#[test]
fn a_crash_while_compressing_loses_nothing() {
    for syncs in 0..6 {
        let disk = SimDisk::new();
        let (_, whole, mut writer) = begun(&disk);
        whole.replay(&mut writer, 7);
        writer.sync().expect("sync");
        disk.fail_syncs_after(syncs);
        let _ = compress::compress_closed(&*disk, Path::new(DIR), 10);
        disk.fail_syncs(false);
        disk.crash();
        let writer = open(&disk, whole.position());
        assert!(writer.missing_closed().is_empty());
        assert_eq!(
            content(&disk, &writer),
            whole.bytes(),
            "after {syncs} syncs"
        );
        let names = disk.list(Path::new(DIR)).expect("list");
        let temporary = names
            .iter()
            .any(|path| path.to_string_lossy().ends_with(".tmp"));
        assert!(!temporary, "{names:?}");
    }
}

#[test]
fn an_open_segment_that_is_too_short_is_reported_and_left_alone() {
    let disk = SimDisk::new();
    let (at_sync, whole, mut writer) = begun(&disk);
    whole.replay(&mut writer, 7);
    disk.crash();
    let have = at_sync.position().open_bytes;
    let mut ahead = at_sync.clone();
    ahead.reads(1);
    let want = ahead.position().open_bytes;
    let before = disk.list(Path::new(DIR)).expect("list");
    let handle: DiskHandle = disk.clone();
    let error = SegmentWriter::open(handle, Path::new(DIR), Some(ahead.position()));
    match error {
        Err(AuditError::Behind {
            have: found,
            want: needed,
        }) => assert_eq!((found, needed), (have, want)),
        other => panic!("expected Behind, got {other:?}"),
    }
    assert_eq!(disk.list(Path::new(DIR)).expect("list"), before);
    let writer = open(&disk, at_sync.position());
    assert_eq!(
        content(&disk, &writer),
        at_sync.bytes(),
        "the older position still opens"
    );
}

#[test]
fn a_damaged_byte_below_the_position_is_reported() {
    let disk = SimDisk::new();
    let (at_sync, _, _) = begun(&disk);
    disk.corrupt(&PathBuf::from(DIR).join("audit.jsonl"), 40, 0x01)
        .expect("corrupt");
    let handle: DiskHandle = disk;
    let error = SegmentWriter::open(handle, Path::new(DIR), Some(at_sync.position()));
    assert!(
        matches!(error, Err(AuditError::Damaged { line: 1, .. })),
        "{error:?}"
    );
}

#[test]
fn a_closed_segment_that_is_gone_is_missing_until_it_is_fetched() {
    let disk = SimDisk::new();
    let (_, whole, mut writer) = begun(&disk);
    whole.replay(&mut writer, 7);
    writer.sync().expect("sync");
    let segment = whole.position().closed[1];
    let fetched = writer.read_closed(segment.first_seq).expect("read");
    drop(writer);
    let name = format!(
        "{:016}-{}.jsonl",
        segment.first_seq,
        hex::encode(&segment.head[..8])
    );
    disk.remove(&PathBuf::from(DIR).join(name)).expect("remove");

    let mut writer = open(&disk, whole.position());
    assert_eq!(writer.missing_closed(), [segment]);
    let mut forged = fetched.clone();
    forged[30] ^= 1;
    assert!(writer.add_closed(&segment, &forged).is_err());
    assert!(writer.add_closed(&segment, &fetched).expect("add"));
    assert!(writer.missing_closed().is_empty());
    assert_eq!(content(&disk, &writer), whole.bytes());
}

#[test]
fn a_full_disk_refuses_a_line_and_takes_it_later() {
    let disk = SimDisk::new();
    let (at_sync, whole, mut writer) = begun(&disk);
    disk.set_capacity(Some(0));
    assert!(writer.append(&whole.written[7].line, None).is_err());
    assert_eq!(writer.position(), at_sync.position());
    disk.set_capacity(None);
    whole.replay(&mut writer, 7);
    assert_eq!(content(&disk, &writer), whole.bytes());
}

#[test]
fn a_failed_sync_breaks_the_writer() {
    let disk = SimDisk::new();
    let (_, whole, mut writer) = begun(&disk);
    whole.replay(&mut writer, 7);
    disk.fail_syncs(true);
    assert!(writer.sync().is_err());
    disk.fail_syncs(false);
    assert!(
        writer.sync().is_err(),
        "rule 6: what a failed fdatasync left behind can not be trusted"
    );
    assert!(writer.append(b"", None).is_err());
}

#[test]
fn a_folder_without_a_position_starts_over() {
    let disk = SimDisk::new();
    let (_, whole, mut writer) = begun(&disk);
    whole.replay(&mut writer, 7);
    writer.sync().expect("sync");
    drop(writer);
    let mut writer = open(&disk, Position::default());
    assert_eq!(content(&disk, &writer), b"");
    whole.replay(&mut writer, 0);
    assert_eq!(content(&disk, &writer), whole.bytes());
}
