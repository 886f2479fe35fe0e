//! What was acknowledged is there again; what was torn is cut; nothing is invented.

use bytes::Bytes;
use jarvis_cluster::wal::Record;
use jarvis_disk::{Disk, SimDisk};

use super::{
    acknowledged, append, copy_of, crash_and_open, dir, entries, entry, expected, open, options,
    purge, segments, small_options, submit, vote,
};

#[test]
fn a_new_log_is_empty() {
    let (wal, recovered) = open(&SimDisk::new(), options());
    assert_eq!((wal.first_index(), wal.last_index()), (1, 0));
    assert_eq!(
        (
            recovered.first_index,
            recovered.last_index,
            recovered.cut_bytes
        ),
        (1, 0, 0)
    );
    assert_eq!(
        (recovered.vote, recovered.committed, recovered.purged),
        (None, None, None)
    );
    assert!(entries(&wal).is_empty());
}

#[test]
fn c7_reopening_after_a_power_cut_gives_back_everything_acknowledged() {
    for options in [options(), small_options()] {
        let disk = SimDisk::new();
        let (wal, _) = open(&disk, options.clone());
        acknowledged(&wal, vec![vote("term 1")]);
        append(&wal, 1..=20);
        acknowledged(&wal, vec![vote("term 2"), entry(21), entry(22)]);
        acknowledged(&wal, vec![Record::Committed(Bytes::from_static(b"22"))]);

        for _ in 0..3 {
            let (wal, recovered) = crash_and_open(&disk, options.clone());
            assert_eq!(recovered.vote.as_deref(), Some(b"term 2".as_slice()));
            assert_eq!(recovered.committed.as_deref(), Some(b"22".as_slice()));
            assert_eq!((recovered.first_index, recovered.last_index), (1, 22));
            assert_eq!((recovered.purged, recovered.cut_bytes), (None, 0));
            assert_eq!(entries(&wal), expected(1..=22));
        }
    }
}

#[test]
fn an_orderly_close_loses_nothing_and_refuses_afterwards() {
    let disk = SimDisk::new();
    let (wal, _) = open(&disk, options());
    append(&wal, 1..=3);
    wal.close();
    wal.close();
    assert!(submit(&wal, vec![entry(4)]).is_err());
    assert_eq!(entries(&wal), expected(1..=3), "reading still works");
    let (wal, recovered) = crash_and_open(&disk, options());
    assert_eq!((entries(&wal), recovered.cut_bytes), (expected(1..=3), 0));
}

#[test]
fn a_last_write_cut_at_any_byte_is_there_as_a_whole_or_not_at_all() {
    let mut length = usize::MAX;
    let mut kept = 0;
    while kept <= length {
        let disk = SimDisk::new();
        let (wal, _) = open(&disk, options());
        append(&wal, 1..=3);
        disk.fail_syncs(true);
        assert!(submit(&wal, vec![vote("lost"), entry(4), entry(5)]).is_err());
        disk.crash_torn(|_, unsynced| {
            length = unsynced;
            kept
        });
        disk.fail_syncs(false);

        let (wal, recovered) = open(&disk, options());
        if kept < length {
            assert_eq!(entries(&wal), expected(1..=3), "{kept} bytes kept");
            assert_eq!((recovered.cut_bytes, recovered.vote), (kept as u64, None));
        } else {
            assert_eq!(entries(&wal), expected(1..=5));
            assert_eq!(recovered.cut_bytes, 0);
        }
        let next = wal.last_index() + 1;
        acknowledged(&wal, vec![entry(next)]);
        let (wal, recovered) = crash_and_open(&disk, options());
        assert_eq!(
            (entries(&wal), recovered.cut_bytes),
            (expected(1..=next), 0)
        );
        kept += 1;
    }
    assert!(length > 50, "the loop saw a real tail");
}

#[test]
fn a_new_segment_cut_at_any_byte_is_as_if_it_had_not_begun() {
    let disk = SimDisk::new();
    let (wal, _) = open(&disk, small_options());
    acknowledged(&wal, vec![vote("term 1")]);
    let mut last = 0;
    while segments(&disk).len() < 3 {
        last += 1;
        append(&wal, last..=last);
    }
    let newest = segments(&disk).pop().expect("three segments");
    let length = disk.read(&newest).expect("read").len();
    for kept in 0..=length {
        let torn = copy_of(&disk, |path, mut bytes| {
            if path == newest {
                bytes.truncate(kept);
            }
            Some(bytes)
        });
        let (wal, recovered) = open(&torn, small_options());
        let survived = if kept < length { last - 1 } else { last };
        assert_eq!(entries(&wal), expected(1..=survived), "{kept} bytes kept");
        assert_eq!(recovered.vote.as_deref(), Some(b"term 1".as_slice()));
        let (wal, _) = crash_and_open(&torn, small_options());
        assert_eq!(entries(&wal), expected(1..=survived));
    }
}

#[test]
fn the_very_first_segment_may_be_torn_too() {
    let disk = SimDisk::new();
    disk.create_dir_all(dir()).expect("create folder");
    let path = dir().join("0000000000000001.wal");
    drop(disk.create_new(&path).expect("create"));
    disk.sync_dir(dir()).expect("sync folder");
    let (wal, recovered) = open(&disk, options());
    assert_eq!((recovered.last_index, recovered.cut_bytes), (0, 0));
    append(&wal, 1..=1);
    let (wal, _) = crash_and_open(&disk, options());
    assert_eq!(entries(&wal), expected(1..=1));
}

#[test]
fn a_truncated_and_rewritten_end_stays_rewritten() {
    for options in [options(), small_options()] {
        let disk = SimDisk::new();
        let (wal, _) = open(&disk, options.clone());
        append(&wal, 1..=10);
        acknowledged(&wal, vec![Record::TruncateAfter { last_kept: 4 }]);
        assert_eq!(wal.last_index(), 4);
        let other = Bytes::from_static(b"of another leader");
        let rewritten = Record::Entry {
            index: 5,
            payload: other.clone(),
        };
        acknowledged(&wal, vec![rewritten]);

        let (wal, recovered) = crash_and_open(&disk, options.clone());
        let mut all = expected(1..=4);
        all.push((5, other));
        assert_eq!(entries(&wal), all);
        assert_eq!(recovered.last_index, 5);

        acknowledged(&wal, vec![Record::TruncateAfter { last_kept: 0 }, entry(1)]);
        let (wal, _) = crash_and_open(&disk, options);
        assert_eq!(entries(&wal), expected(1..=1));
    }
}

#[test]
fn rule_7_purging_frees_segments_and_keeps_vote_committed_and_marker() {
    let disk = SimDisk::new();
    let (wal, _) = open(&disk, small_options());
    acknowledged(
        &wal,
        vec![vote("term 7"), Record::Committed(Bytes::from_static(b"30"))],
    );
    append(&wal, 1..=40);
    let before = (segments(&disk).len(), wal.live_bytes());
    acknowledged(&wal, vec![purge(30)]);
    assert_eq!((wal.first_index(), wal.last_index()), (31, 40));
    assert!(segments(&disk).len() < before.0 && wal.live_bytes() < before.1);
    assert!(
        wal.read(30, 41, usize::MAX).expect("read").is_empty(),
        "purged entries are gone"
    );

    for _ in 0..2 {
        let (wal, recovered) = crash_and_open(&disk, small_options());
        assert_eq!(recovered.vote.as_deref(), Some(b"term 7".as_slice()));
        assert_eq!(recovered.committed.as_deref(), Some(b"30".as_slice()));
        assert_eq!(
            recovered.purged,
            Some((30, Bytes::from_static(b"purged up to 30")))
        );
        assert_eq!((recovered.first_index, recovered.last_index), (31, 40));
        assert_eq!(entries(&wal), expected(31..=40));
    }
}

#[test]
fn purging_beyond_the_end_moves_the_log_forward() {
    let disk = SimDisk::new();
    let (wal, _) = open(&disk, small_options());
    append(&wal, 1..=5);
    acknowledged(&wal, vec![purge(100)]);
    assert_eq!((wal.first_index(), wal.last_index()), (101, 100));
    assert!(
        submit(&wal, vec![entry(6)]).is_err(),
        "the log does not run backwards"
    );
    append(&wal, 101..=103);
    let (wal, recovered) = crash_and_open(&disk, small_options());
    assert_eq!((recovered.first_index, recovered.last_index), (101, 103));
    assert_eq!(entries(&wal), expected(101..=103));
}

#[test]
fn a_crash_between_purge_and_unlink_leaves_the_purge_and_frees_the_space_later() {
    let mut durable_but_not_unlinked = 0;
    // A group takes one sync, or two if it begins a segment; the next one makes the removals durable.
    for working_syncs in 0..=3 {
        let disk = SimDisk::new();
        let (wal, _) = open(&disk, small_options());
        append(&wal, 1..=40);
        let before = segments(&disk).len();
        disk.fail_syncs_after(working_syncs);
        let purged = submit(&wal, vec![purge(39)]).is_ok();
        disk.crash();
        disk.fail_syncs(false);
        if purged && segments(&disk).len() >= before {
            durable_but_not_unlinked += 1;
        }

        let (wal, recovered) = open(&disk, small_options());
        if !purged {
            assert_eq!((entries(&wal), recovered.purged), (expected(1..=40), None));
            continue;
        }
        assert_eq!(
            recovered.purged,
            Some((39, Bytes::from_static(b"purged up to 39")))
        );
        assert_eq!(entries(&wal), expected(40..=40));
        append(&wal, 41..=41);
        assert!(
            segments(&disk).len() <= 4,
            "the next write removes what the purge freed"
        );
        let (wal, _) = crash_and_open(&disk, small_options());
        assert_eq!(entries(&wal), expected(40..=41));
    }
    assert_eq!(durable_but_not_unlinked, 1);
}

#[test]
fn removals_that_became_durable_out_of_order_do_no_harm() {
    let disk = SimDisk::new();
    let (wal, _) = open(&disk, small_options());
    append(&wal, 1..=40);
    let all = segments(&disk);
    assert!(all.len() > 4);
    let before = copy_of(&disk, |_, bytes| Some(bytes));
    acknowledged(&wal, vec![purge(39)]);
    let left = segments(&disk);
    let oldest = &all[0];
    assert!(!left.contains(oldest));

    let gap = copy_of(&disk, |_, bytes| Some(bytes));
    let mut file = gap.create_new(oldest).expect("create");
    file.append(&before.read(oldest).expect("read"))
        .expect("append");
    file.sync_data().expect("sync");
    gap.sync_dir(dir()).expect("sync folder");

    let (wal, recovered) = open(&gap, small_options());
    assert_eq!((recovered.first_index, recovered.last_index), (40, 40));
    assert_eq!(entries(&wal), expected(40..=40));
    assert!(!segments(&gap).contains(oldest), "the leftover is removed");
}

#[test]
fn rule_6_an_unproven_end_is_written_again_and_not_trusted() {
    let disk = SimDisk::new();
    let (wal, _) = open(&disk, options());
    append(&wal, 1..=3);
    disk.fail_syncs(true);
    assert!(submit(&wal, vec![entry(4)]).is_err());
    disk.fail_syncs(false);
    // The process ends, the machine does not: the entry is in the page cache only, and a new process sees it.
    let (reopened, _) = open(&disk, options());
    assert_eq!(entries(&reopened), expected(1..=4));
    let (wal, _) = crash_and_open(&disk, options());
    assert_eq!(
        entries(&wal),
        expected(1..=4),
        "what a start has shown, a power cut does not take"
    );
}
