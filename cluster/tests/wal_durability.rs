//! The write-ahead log keeps its word (rules 6, 7 and 10; C7): stories on a simulated disk that loses power, tears
//! writes and decays, and on the real one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use jarvis_cluster::wal::{Driver, OnFatal, Record, Recovered, Wal, WalError, WalOptions};
use jarvis_disk::{Disk, SimDisk};

#[path = "wal_durability/faults.rs"]
mod faults;
#[path = "wal_durability/random.rs"]
mod random;
#[path = "wal_durability/reading.rs"]
mod reading;
#[path = "wal_durability/recovery.rs"]
mod recovery;

/// A callback that takes longer than this never comes.
const CALLBACK_DEADLINE: Duration = Duration::from_secs(20);

/// Where the log lies on simulated disks.
fn dir() -> &'static Path {
    Path::new("/node/wal")
}

/// Default bounds and a clock that stands still.
fn options() -> WalOptions {
    WalOptions::new(Arc::new(|| Duration::ZERO))
}

/// Bounds so small that every few entries begin a new segment and nothing stays in memory.
fn small_options() -> WalOptions {
    WalOptions {
        segment_bytes: 400,
        cache_bytes: 0,
        ..options()
    }
}

/// Counts how often the owner was told that the log is lost.
#[derive(Clone, Default)]
struct Fatal(Arc<AtomicUsize>);

impl Fatal {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    fn callback(&self) -> OnFatal {
        let count = Arc::clone(&self.0);
        Arc::new(move |_: io::Error| {
            count.fetch_add(1, Ordering::SeqCst);
        })
    }
}

fn try_open(disk: &Arc<SimDisk>, options: WalOptions) -> Result<(Wal, Recovered), WalError> {
    let disk = Arc::clone(disk);
    Wal::open(
        disk,
        dir(),
        options,
        Driver::Inline,
        Fatal::default().callback(),
    )
}

fn open(disk: &Arc<SimDisk>, options: WalOptions) -> (Wal, Recovered) {
    try_open(disk, options).expect("the log opens")
}

/// Loses power and opens again.
fn crash_and_open(disk: &Arc<SimDisk>, options: WalOptions) -> (Wal, Recovered) {
    disk.crash();
    open(disk, options)
}

/// Submits and waits for the answer.
fn submit(wal: &Wal, records: Vec<Record>) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel();
    let answer = move |result| {
        // Nobody listens any more only if the test has failed already.
        let _ = sender.send(result);
    };
    wal.submit(records, Box::new(answer));
    receiver
        .recv_timeout(CALLBACK_DEADLINE)
        .expect("the callback comes")
}

/// Submits and expects the acknowledgement.
fn acknowledged(wal: &Wal, records: Vec<Record>) {
    submit(wal, records).expect("acknowledged");
}

fn payload(index: u64) -> Bytes {
    Bytes::from(format!("payload of entry {index}"))
}

fn entry(index: u64) -> Record {
    Record::Entry {
        index,
        payload: payload(index),
    }
}

fn purge(upto: u64) -> Record {
    Record::Purge {
        upto,
        marker: Bytes::from(format!("purged up to {upto}")),
    }
}

fn vote(text: &'static str) -> Record {
    Record::Vote(Bytes::from_static(text.as_bytes()))
}

/// Appends each index as a group of its own.
fn append(wal: &Wal, indexes: std::ops::RangeInclusive<u64>) {
    for index in indexes {
        acknowledged(wal, vec![entry(index)]);
    }
}

/// All live entries.
fn entries(wal: &Wal) -> Vec<(u64, Bytes)> {
    wal.read(wal.first_index(), wal.last_index() + 1, usize::MAX)
        .expect("entries can be read")
}

fn expected(indexes: std::ops::RangeInclusive<u64>) -> Vec<(u64, Bytes)> {
    indexes.map(|index| (index, payload(index))).collect()
}

fn segments(disk: &SimDisk) -> Vec<PathBuf> {
    disk.list(dir()).expect("the folder can be listed")
}

/// A disk that holds what `change` makes of each file, durably; `None` leaves the file out.
fn copy_of(disk: &SimDisk, change: impl Fn(&Path, Vec<u8>) -> Option<Vec<u8>>) -> Arc<SimDisk> {
    let copy = SimDisk::new();
    copy.create_dir_all(dir()).expect("create the folder");
    for path in segments(disk) {
        if let Some(bytes) = change(&path, disk.read(&path).expect("read")) {
            let mut file = copy.create_new(&path).expect("create");
            file.append(&bytes).expect("append");
            file.sync_data().expect("sync");
        }
    }
    copy.sync_dir(dir()).expect("sync the folder");
    copy
}
