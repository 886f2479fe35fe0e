//! Which words of Raft's core wait for the disk.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use futures_util::FutureExt;
use jarvis_disk::SimDisk;
use openraft::testing::{blank_ent, log_id};

use super::*;
use crate::wal::{Driver, WalOptions};

#[test]
fn a_purge_waits_for_no_flush_and_a_truncation_does() {
    let disk = SimDisk::new();
    let (wal, mut store) = open(&disk);
    let entries = (0..10).map(|index| blank_ent::<TypeConfig>(1, 1, index));
    let appended = store.append(entries, IOFlushed::noop()).now_or_never();
    appended.unwrap().unwrap();

    // While a callback runs its flush is the last one of the log: what is submitted now is written after it.
    let (report, reported) = mpsc::channel();
    let mut meanwhile = store.clone();
    let during_a_flush = move |_: io::Result<()>| {
        let purged = meanwhile.purge(id(3)).now_or_never();
        let truncated = meanwhile.truncate_after(Some(id(7))).now_or_never();
        let seen = (bounds(&mut meanwhile), indexes(&mut meanwhile));
        let is_purged = matches!(purged, Some(Ok(())));
        report.send((is_purged, truncated.is_some(), seen)).unwrap();
    };
    let committed = Record::Committed(to_bytes(&Some(id(2))));
    wal.submit(vec![committed], Box::new(during_a_flush));

    let (is_purged, is_truncated, seen) = reported.recv().unwrap();
    assert!(is_purged, "Raft's core waited for a flush");
    assert!(!is_truncated, "it is not durable yet");
    let expected = ((Some(id(3)), Some(id(7))), vec![4, 5, 6, 7]);
    assert_eq!(seen, expected, "both are to be seen at once");

    disk.crash();
    let (_, mut store) = open(&disk);
    assert_eq!((bounds(&mut store), indexes(&mut store)), expected);
}

#[test]
fn a_purge_tells_that_the_log_is_closed() {
    let disk = SimDisk::new();
    let (wal, mut store) = open(&disk);
    wal.close();
    assert!(store.purge(id(3)).now_or_never().unwrap().is_err());
}

/// A log whose submitter writes: nothing is awaited that is durable already.
fn open(disk: &Arc<SimDisk>) -> (Wal, LogStore) {
    let options = WalOptions::new(Arc::new(|| Duration::ZERO));
    let (wal, recovered) = Wal::open(
        disk.clone(),
        Path::new("/node/wal"),
        options,
        Driver::Inline,
        Arc::new(|error: io::Error| panic!("the log failed: {error}")),
    )
    .unwrap();
    let store = LogStore::new(wal.clone(), &recovered).unwrap();
    (wal, store)
}

fn id(index: u64) -> LogId {
    log_id::<TypeConfig>(1, 1, index)
}

/// What is purged, and what is last.
fn bounds(store: &mut LogStore) -> (Option<LogId>, Option<LogId>) {
    let state = store.get_log_state().now_or_never().unwrap().unwrap();
    (state.last_purged_log_id, state.last_log_id)
}

fn indexes(store: &mut LogStore) -> Vec<u64> {
    let read = store.try_get_log_entries(0..100).now_or_never();
    let entries = read.unwrap().unwrap();
    entries.iter().map(|entry| entry.log_id().index()).collect()
}
