//! Reading: from memory and from disk, before the flush and during a purge; and the writer's thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use jarvis_cluster::wal::{Driver, Record, Wal, WalOptions};
use jarvis_disk::{RealDisk, SimDisk};

use super::{
    CALLBACK_DEADLINE, Fatal, acknowledged, append, entries, entry, expected, open, options,
    payload, purge, small_options,
};

fn open_real(dir: &std::path::Path, options: WalOptions, fatal: &Fatal) -> Wal {
    let (wal, _) = Wal::open(
        RealDisk::handle(),
        dir,
        options,
        Driver::Thread,
        fatal.callback(),
    )
    .expect("open");
    wal
}

#[test]
fn reads_stop_at_the_byte_limit_but_give_at_least_one_entry() {
    for options in [options(), small_options()] {
        let (wal, _) = open(&SimDisk::new(), options);
        append(&wal, 1..=30);
        let one = payload(11).len();
        assert_eq!(wal.read(11, 31, 0).expect("read"), expected(11..=11));
        assert_eq!(wal.read(11, 31, 3 * one).expect("read"), expected(11..=13));
        assert_eq!(
            wal.read(11, 31, 4 * one - 1).expect("read"),
            expected(11..=13)
        );
        assert_eq!(
            wal.read(11, 15, usize::MAX).expect("read"),
            expected(11..=14)
        );
        assert_eq!(
            wal.read(29, u64::MAX, usize::MAX).expect("read"),
            expected(29..=30)
        );
        assert!(wal.read(31, 40, usize::MAX).expect("read").is_empty());
        assert!(wal.read(0, 40, usize::MAX).expect("read").is_empty());
        assert!(wal.read(5, 5, usize::MAX).expect("read").is_empty());
    }
}

#[test]
fn a_callback_may_submit_and_is_answered_in_order() {
    let (wal, _) = open(&SimDisk::new(), options());
    let order = Arc::new(Mutex::new(Vec::new()));
    let (inner_wal, inner_order) = (wal.clone(), Arc::clone(&order));
    wal.submit(
        vec![entry(1)],
        Box::new(move |result| {
            result.expect("acknowledged");
            inner_order.lock().expect("not poisoned").push(1);
            let innermost_order = Arc::clone(&inner_order);
            inner_wal.submit(
                vec![entry(2)],
                Box::new(move |result| {
                    result.expect("acknowledged");
                    innermost_order.lock().expect("not poisoned").push(2);
                }),
            );
        }),
    );
    assert_eq!(*order.lock().expect("not poisoned"), [1, 2]);
    assert_eq!(entries(&wal), expected(1..=2));
}

#[test]
fn the_thread_answers_in_order_and_writes_many_submissions_at_once() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let fatal = Fatal::default();
    let wal = open_real(folder.path(), options(), &fatal);
    let order = Arc::new(Mutex::new(Vec::new()));
    for index in 1..=500 {
        let order = Arc::clone(&order);
        wal.submit(
            vec![entry(index)],
            Box::new(move |result| {
                result.expect("acknowledged");
                order.lock().expect("not poisoned").push(index);
            }),
        );
        assert_eq!(wal.last_index(), index, "visible before it is flushed");
        assert_eq!(
            wal.read(index, index + 1, 0).expect("read"),
            expected(index..=index)
        );
    }
    wal.close();
    assert_eq!(
        *order.lock().expect("not poisoned"),
        (1..=500).collect::<Vec<_>>()
    );
    let stats = wal.stats();
    assert!(stats.flushes <= 500 && stats.flushed_bytes > 0);
    assert_eq!(
        (stats.queued_bytes, wal.is_over_bound(), wal.pending_flush()),
        (0, false, None)
    );
    drop(wal);

    let wal = open_real(folder.path(), options(), &fatal);
    assert_eq!(entries(&wal), expected(1..=500));
    wal.close();
    assert_eq!(fatal.count(), 0);
}

#[test]
fn what_nobody_waits_for_costs_a_busy_log_no_flush_and_an_idle_log_writes_it() {
    /// Entries, each followed by a note that nobody waits for.
    const LAST: u64 = 200;
    let (disk, fatal) = (SimDisk::new(), Fatal::default());
    let (wal, _) = Wal::open(
        disk.clone(),
        super::dir(),
        options(),
        Driver::Thread,
        fatal.callback(),
    )
    .expect("open");
    for index in 1..=LAST {
        acknowledged(&wal, vec![entry(index)]);
        wal.submit_unhurried(Record::Committed(Bytes::from(index.to_string())));
    }
    // On a machine without a core to spare the log may seem idle now and then.
    let flushes = wal.stats().flushes;
    assert!(flushes < LAST * 3 / 2, "{flushes} flushes");

    let looks = 2_000;
    let is_written = (0..looks).any(|_| {
        std::thread::sleep(CALLBACK_DEADLINE / looks);
        wal.queued_bytes() == 0
    });
    assert!(is_written, "the last note waits for ever");
    disk.crash();
    let (_, recovered) = open(&disk, options());
    let last = LAST.to_string();
    assert_eq!(recovered.committed.as_deref(), Some(last.as_bytes()));
    assert_eq!((recovered.last_index, fatal.count()), (LAST, 0));
}

#[test]
fn the_queue_says_when_it_is_over_its_bound() {
    let (wal, _) = open(
        &SimDisk::new(),
        WalOptions {
            queue_bytes: 10,
            ..options()
        },
    );
    let (inner, seen) = (wal.clone(), Arc::new(AtomicBool::new(false)));
    let saw = Arc::clone(&seen);
    wal.submit(
        vec![entry(1)],
        Box::new(move |_| {
            inner.submit(vec![entry(2)], Box::new(|_| {}));
            saw.store(inner.is_over_bound(), Ordering::SeqCst);
        }),
    );
    assert!(
        seen.load(Ordering::SeqCst),
        "queued behind the write under way"
    );
    assert!(!wal.is_over_bound(), "written since");
}

#[test]
fn durations_come_from_the_owners_clock() {
    let ticks = Arc::new(Mutex::new(Duration::ZERO));
    let monotonic = Arc::new(move || {
        let mut now = ticks.lock().expect("not poisoned");
        *now += Duration::from_millis(3);
        *now
    });
    let (wal, _) = open(
        &SimDisk::new(),
        WalOptions {
            monotonic,
            ..options()
        },
    );
    append(&wal, 1..=2);
    let stats = wal.stats();
    assert_eq!(
        (
            stats.flushes,
            wal.last_flush_micros(),
            stats.max_flush_micros
        ),
        (2, 3_000, 3_000)
    );
}

#[test]
fn reading_old_entries_from_disk_goes_on_while_they_are_purged() {
    /// Entries written; each batch of 50 is one fdatasync.
    const LAST: u64 = 3_000;
    let folder = tempfile::tempdir().expect("temporary folder");
    let fatal = Fatal::default();
    let bounds = WalOptions {
        segment_bytes: 4_096,
        cache_bytes: 0,
        ..options()
    };
    let wal = open_real(folder.path(), bounds, &fatal);
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (wal, stop) = (wal.clone(), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut seen = 0_usize;
                while !stop.load(Ordering::SeqCst) {
                    let first = wal.first_index();
                    let read = wal.read(first, first + 300, usize::MAX).expect("read");
                    for (index, (position, bytes)) in (first..).zip(&read) {
                        assert_eq!((*position, bytes), (index, &payload(index)));
                    }
                    seen += read.len();
                }
                seen
            })
        })
        .collect();
    for batch in 0..LAST / 50 {
        let first = batch * 50 + 1;
        acknowledged(
            &wal,
            (first..first + 50).map(entry).collect::<Vec<Record>>(),
        );
        if first > 500 {
            acknowledged(&wal, vec![purge(first - 400)]);
        }
    }
    stop.store(true, Ordering::SeqCst);
    let seen: usize = readers
        .into_iter()
        .map(|reader| reader.join().expect("no panic"))
        .sum();
    assert!(seen > 0);
    assert_eq!((wal.last_index(), fatal.count()), (LAST, 0));
    assert!(
        wal.live_bytes() < 100_000,
        "purged segments are gone: {}",
        wal.live_bytes()
    );
    wal.close();
}
