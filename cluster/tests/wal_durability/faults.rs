//! Failing syncs, full disks, decaying media.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use jarvis_cluster::wal::{Driver, MAX_RECORD_BYTES, Record, Wal, WalError};
use jarvis_disk::{Disk, SimDisk};

use super::{
    Fatal, acknowledged, append, copy_of, crash_and_open, dir, entries, entry, expected, open,
    options, purge, segments, small_options, submit, try_open,
};

#[test]
fn rule_6_a_failed_sync_acknowledges_nothing_and_ends_the_log() {
    let disk = SimDisk::new();
    let fatal = Fatal::default();
    let (wal, _) = Wal::open(
        disk.clone(),
        dir(),
        options(),
        Driver::Inline,
        fatal.callback(),
    )
    .expect("open");
    append(&wal, 1..=2);
    disk.fail_syncs(true);
    assert!(submit(&wal, vec![entry(3)]).is_err());
    assert_eq!(fatal.count(), 1);
    disk.fail_syncs(false);
    assert!(
        submit(&wal, vec![entry(4)]).is_err(),
        "a log that failed once stays failed"
    );
    wal.close();
    assert_eq!((fatal.count(), wal.queued_bytes()), (1, 0));

    let (wal, _) = crash_and_open(&disk, options());
    assert_eq!(entries(&wal), expected(1..=2));
}

#[test]
fn a_full_disk_ends_the_log_and_what_was_acknowledged_stays() {
    let disk = SimDisk::new();
    let fatal = Fatal::default();
    let (wal, _) = Wal::open(
        disk.clone(),
        dir(),
        options(),
        Driver::Inline,
        fatal.callback(),
    )
    .expect("open");
    append(&wal, 1..=2);
    disk.set_capacity(Some(wal.live_bytes() + 10));
    let full = submit(&wal, vec![entry(3)]).expect_err("no room");
    assert_eq!(
        (full.kind(), fatal.count()),
        (io::ErrorKind::StorageFull, 1)
    );
    disk.set_capacity(None);
    let (wal, _) = crash_and_open(&disk, options());
    assert_eq!(entries(&wal), expected(1..=2));
}

#[test]
fn a_submission_that_does_not_continue_the_log_is_refused_as_a_whole() {
    let disk = SimDisk::new();
    let (wal, _) = open(&disk, options());
    append(&wal, 1..=2);
    let refused = [
        vec![entry(3), entry(5)],
        vec![entry(2)],
        vec![entry(0)],
        vec![
            entry(3),
            Record::Vote(Bytes::from(vec![0; MAX_RECORD_BYTES + 1])),
        ],
    ];
    for records in refused {
        let error = submit(&wal, records).expect_err("refused");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
    append(&wal, 3..=3);
    assert_eq!(entries(&wal), expected(1..=3));
}

#[test]
fn a_flipped_byte_that_was_durable_stops_the_node_and_one_that_was_not_is_cut() {
    let disk = SimDisk::new();
    let (wal, _) = open(&disk, options());
    append(&wal, 1..=3);
    let path = segments(&disk).pop().expect("one segment");
    let durable = disk.read(&path).expect("read").len() as u64;
    disk.fail_syncs(true);
    assert!(submit(&wal, vec![entry(4)]).is_err());
    disk.crash_torn(|_, unsynced| unsynced);
    disk.fail_syncs(false);
    let length = disk.read(&path).expect("read").len() as u64;
    assert!(length > durable);

    for at in 0..durable {
        disk.corrupt(&path, at, 0x20).expect("corrupt");
        match try_open(&disk, options()) {
            Err(WalError::Damaged { segment: 1, offset }) => assert!(offset <= at, "byte {at}"),
            other => panic!("byte {at}: {other:?}"),
        }
        disk.corrupt(&path, at, 0x20).expect("mend");
    }
    for at in durable..length {
        let flipped = copy_of(&disk, |_, bytes| Some(bytes));
        flipped.corrupt(&path, at, 0x20).expect("corrupt");
        let (wal, recovered) = open(&flipped, options());
        assert_eq!(entries(&wal), expected(1..=3), "byte {at}");
        assert_eq!(recovered.cut_bytes, length - durable);
    }
}

#[test]
fn a_flipped_byte_in_an_older_segment_stops_the_node_and_changes_nothing() {
    let disk = SimDisk::new();
    let (wal, _) = open(&disk, small_options());
    append(&wal, 1..=20);
    let all = segments(&disk);
    let older = &all[..all.len() - 1];
    assert!(older.len() > 2);
    for path in older {
        let length = disk.read(path).expect("read").len() as u64;
        for at in 0..length {
            disk.corrupt(path, at, 0x01).expect("corrupt");
            let error = try_open(&disk, small_options()).expect_err("refuses to start");
            assert!(
                matches!(error, WalError::Damaged { .. }),
                "{path:?} byte {at}: {error}"
            );
            disk.corrupt(path, at, 0x01).expect("mend");
        }
    }
    assert_eq!(segments(&disk), all, "a refusal touches no file");
    let (wal, _) = crash_and_open(&disk, small_options());
    assert_eq!(entries(&wal), expected(1..=20));
}

#[test]
fn after_an_orderly_close_every_flipped_byte_of_a_record_stops_the_node() {
    let disk = SimDisk::new();
    let (wal, _) = open(&disk, options());
    append(&wal, 1..=3);
    let path = segments(&disk).pop().expect("one segment");
    let records_end = disk.read(&path).expect("read").len() as u64;
    wal.close();
    for at in 0..records_end {
        disk.corrupt(&path, at, 0x04).expect("corrupt");
        let error = try_open(&disk, options()).expect_err("refuses to start");
        assert!(
            matches!(error, WalError::Damaged { .. }),
            "byte {at}: {error}"
        );
        disk.corrupt(&path, at, 0x04).expect("mend");
    }
}

#[test]
fn an_older_segment_cut_short_stops_the_node() {
    let disk = SimDisk::new();
    let (wal, _) = open(&disk, small_options());
    append(&wal, 1..=20);
    let second = segments(&disk)[1].clone();
    let length = disk.read(&second).expect("read").len();
    for kept in 0..length {
        let short = copy_of(&disk, |path, mut bytes| {
            if path == second {
                bytes.truncate(kept);
            }
            Some(bytes)
        });
        let error = try_open(&short, small_options()).expect_err("refuses to start");
        assert!(
            matches!(error, WalError::Damaged { segment: 2, .. }),
            "{kept} kept: {error}"
        );
    }
}

#[test]
fn a_missing_segment_stops_the_node_unless_it_was_purged() {
    let disk = SimDisk::new();
    let (wal, _) = open(&disk, small_options());
    append(&wal, 1..=20);
    let all = segments(&disk);
    for missing in &all[..all.len() - 1] {
        let lacking = without(&disk, missing);
        let error = try_open(&lacking, small_options()).expect_err("refuses to start");
        assert!(
            matches!(error, WalError::Missing { .. }),
            "{missing:?}: {error}"
        );
        assert_eq!(
            segments(&lacking).len(),
            all.len() - 1,
            "a refusal touches no file"
        );
    }
    acknowledged(&wal, vec![purge(19)]);
    let (wal, _) = crash_and_open(&disk, small_options());
    assert_eq!(entries(&wal), expected(20..=20));
}

fn without(disk: &SimDisk, missing: &Path) -> Arc<SimDisk> {
    copy_of(disk, |path, bytes| (path != missing).then_some(bytes))
}

#[test]
fn a_later_format_is_refused_by_its_number() {
    let disk = SimDisk::new();
    let (wal, _) = open(&disk, options());
    append(&wal, 1..=1);
    let later = copy_of(&disk, |_, mut bytes| {
        bytes[8..12].copy_from_slice(&9_u32.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..44]);
        bytes[44..48].copy_from_slice(&checksum.to_le_bytes());
        Some(bytes)
    });
    let error = try_open(&later, options()).expect_err("refuses to start");
    assert!(
        matches!(
            error,
            WalError::UnknownFormat {
                segment: 1,
                version: 9
            }
        ),
        "{error}"
    );
}

#[test]
fn files_of_others_are_left_alone() {
    let disk = SimDisk::new();
    disk.create_dir_all(dir()).expect("create folder");
    let note = dir().join("README.wal");
    drop(disk.create_new(&note).expect("create"));
    let (wal, _) = open(&disk, options());
    append(&wal, 1..=1);
    drop(open(&disk, options()));
    assert!(disk.exists(&note).expect("exists"));
}
