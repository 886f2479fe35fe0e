//! The write-ahead log: the one place where a node's word becomes durable.
//!
//! Entries, votes and markers are records of one ordered log, in segments. One writer drains its queue, writes once,
//! fdatasyncs once, and calls back. It knows nothing of Raft: payloads are opaque, indexes are numbers.
//!
//! ```text
//!   submit ──► queue ──► group: write, fdatasync ──► done(Ok)
//!      └────► live log (readable at once: Raft reads its own appends before they are flushed)
//! ```
//!
//! Invariants:
//! - `done(Ok)` is called only after the fdatasync that covers the records returned, in the order of submission
//!   (rule 6);
//! - after a failed write or fdatasync nothing is acknowledged any more, and the owner is told once (rule 6);
//! - reopening gives back everything acknowledged, and nothing that was not submitted. A submission is one unit: after
//!   a crash all of its records are there, or none;
//! - bytes that were durable and can not be read any more stop the node ([`WalError::Damaged`]); a torn end is cut;
//! - a segment is removed only when a purge that covers its entries, and a newer segment that states vote, committed and
//!   purge marker again, are durable (rule 7).
//!
//! Indexes start at 1, and 0 means "none": whoever counts from 0, as Raft's log does, adds one.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use jarvis_disk::{DiskFile, DiskHandle};

mod frame;
mod live_log;
mod marks;
mod recovery;
mod shared;
pub mod watch;
mod writer;

use frame::{FRAME_HEADER_BYTES, Kind};
use live_log::{Found, Place};
use shared::{Closing, Haste, Shared, State};
use writer::{Start, Writer};

/// Default length of a segment: small enough that purging frees space in steps of a few percent of what is kept (at
/// least 256 MiB), large enough that creating one is rare.
pub const DEFAULT_SEGMENT_BYTES: u64 = 16 << 20;
/// Default bound of a group (rule 10): what a disk writes in a few milliseconds, so that a flush stays short.
pub const DEFAULT_GROUP_BYTES: usize = 4 << 20;
/// Default bound of the queue: as many bytes as a node may have proposed and in flight (rule 10).
pub const DEFAULT_QUEUE_BYTES: usize = 16 << 20;
/// Default bound of the entries kept in memory: what a healthy follower may lag behind without costing a disk read.
pub const DEFAULT_CACHE_BYTES: usize = 16 << 20;
/// Longest payload of a record in bytes: 16 MiB.
pub const MAX_RECORD_BYTES: usize = frame::MAX_PAYLOAD_BYTES;

/// Called once, when the records of a submission are durable or never will be.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;
/// Called once, after the first failed write or fdatasync: the process has to end (rule 6).
pub type OnFatal = Arc<dyn Fn(io::Error) + Send + Sync>;

/// One record. Payloads are opaque, and never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Record {
    /// A log entry.
    Entry {
        /// From 1, one more than the last live entry's. An empty log that was never purged may begin anywhere.
        index: u64,
        /// At most [`MAX_RECORD_BYTES`].
        payload: Bytes,
    },
    /// The vote; replaces the one before.
    Vote(Bytes),
    /// Ends the life of all entries after `last_kept`.
    TruncateAfter {
        /// The last index that stays live; 0 keeps none.
        last_kept: u64,
    },
    /// The committed marker; replaces the one before.
    Committed(Bytes),
    /// Ends the life of all entries up to `upto`, also if it lies beyond the last one.
    Purge {
        /// The last purged index.
        upto: u64,
        /// What the owner wants to know about that index.
        marker: Bytes,
    },
}

impl Record {
    /// The opaque bytes that it carries.
    fn payload(&self) -> &[u8] {
        match self {
            Self::Entry { payload, .. } => payload,
            Self::Vote(bytes) | Self::Committed(bytes) => bytes,
            Self::Purge { marker, .. } => marker,
            Self::TruncateAfter { .. } => &[],
        }
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.payload().len();
        match self {
            Self::Entry { index, .. } => write!(formatter, "Entry({index}, {bytes} bytes)"),
            Self::Vote(_) => write!(formatter, "Vote({bytes} bytes)"),
            Self::TruncateAfter { last_kept } => write!(formatter, "TruncateAfter({last_kept})"),
            Self::Committed(_) => write!(formatter, "Committed({bytes} bytes)"),
            Self::Purge { upto, .. } => write!(formatter, "Purge({upto}, {bytes} bytes)"),
        }
    }
}

/// Bounds, and the clock for durations.
#[derive(Clone)]
pub struct WalOptions {
    /// A group that would make a segment longer than this begins a new one.
    pub segment_bytes: u64,
    /// A group takes submissions up to this many bytes; at least one, whole.
    pub group_bytes: usize,
    /// Beyond this [`Wal::is_over_bound`] says so. A submission is queued all the same: Raft can not be refused.
    pub queue_bytes: usize,
    /// Newest entries kept in memory. Entries that are not written yet are kept in any case.
    pub cache_bytes: usize,
    /// Monotonic time from any origin, of the owner's clock.
    pub monotonic: Arc<dyn Fn() -> Duration + Send + Sync>,
}

impl WalOptions {
    /// The default bounds with this monotonic clock.
    #[must_use]
    pub fn new(monotonic: Arc<dyn Fn() -> Duration + Send + Sync>) -> Self {
        Self {
            segment_bytes: DEFAULT_SEGMENT_BYTES,
            group_bytes: DEFAULT_GROUP_BYTES,
            queue_bytes: DEFAULT_QUEUE_BYTES,
            cache_bytes: DEFAULT_CACHE_BYTES,
            monotonic,
        }
    }
}

impl fmt::Debug for WalOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WalOptions")
            .field("segment_bytes", &self.segment_bytes)
            .field("group_bytes", &self.group_bytes)
            .field("queue_bytes", &self.queue_bytes)
            .field("cache_bytes", &self.cache_bytes)
            .finish_non_exhaustive()
    }
}

/// Who writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// A thread named `wal`.
    Thread,
    /// The submitter: [`Wal::submit`] writes, syncs and calls back before it returns. For simulation and tests. A
    /// submission made inside a callback, or while another thread is writing, is written by the caller that is. Where the
    /// disk says that a sync takes time ([`jarvis_disk::Disk::sync_delay`]), a task of the submitter's runtime does it once
    /// that time has passed.
    Inline,
}

/// Why a log was not opened.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// Bytes that were durable can not be read: what this node acknowledged would be forgotten.
    #[error(
        "write-ahead log segment {segment:016x}.wal is damaged at byte {offset}, in a part that was acknowledged. \
         Restore this node from another one: leave the cluster with it and join as a new node, or restore a backup. \
         Do not delete the file"
    )]
    Damaged {
        /// The segment's sequence.
        segment: u64,
        /// Where its first unreadable frame starts.
        offset: u64,
    },
    /// Segments with live entries are gone.
    #[error(
        "write-ahead log segments before {before_segment:016x}.wal are missing, and their entries were not purged. \
         Restore this node from another one: leave the cluster with it and join as a new node, or restore a backup. \
         Do not delete the other files"
    )]
    Missing {
        /// The sequence of the oldest segment that is still usable.
        before_segment: u64,
    },
    /// A later release wrote it.
    #[error(
        "write-ahead log segment {segment:016x}.wal has format {version}, which only a later release reads"
    )]
    UnknownFormat {
        /// The segment's sequence.
        segment: u64,
        /// Its format version.
        version: u32,
    },
    /// The disk failed.
    #[error("write-ahead log: {0}")]
    Io(#[from] io::Error),
}

/// What a log held when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The last vote.
    pub vote: Option<Bytes>,
    /// The last committed marker.
    pub committed: Option<Bytes>,
    /// The furthest purge and its marker.
    pub purged: Option<(u64, Bytes)>,
    /// The first live index; greater than `last_index` if there is no live entry.
    pub first_index: u64,
    /// The last live index.
    pub last_index: u64,
    /// Bytes cut from the torn end: never acknowledged.
    pub cut_bytes: u64,
}

/// Numbers for metrics and for the leader's decision to hand over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WalStats {
    /// Groups made durable since the log was opened.
    pub flushes: u64,
    /// Bytes of records in them.
    pub flushed_bytes: u64,
    /// How long the last write and fdatasync took.
    pub last_flush_micros: u64,
    /// How long the longest took.
    pub max_flush_micros: u64,
    /// Bytes of records that are not acknowledged yet.
    pub queued_bytes: usize,
}

impl WalStats {
    fn note_flush(&mut self, took: Duration, bytes: usize) {
        self.flushes += 1;
        self.flushed_bytes += bytes as u64;
        self.last_flush_micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.max_flush_micros = self.max_flush_micros.max(self.last_flush_micros);
        self.queued_bytes = self.queued_bytes.saturating_sub(bytes);
    }
}

/// A handle to the log; clones are the same log. When the last one goes, what is queued is still written.
#[derive(Clone)]
pub struct Wal {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    driver: Driver,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.begin_closing(Closing::Abandoned);
    }
}

impl fmt::Debug for Wal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Wal")
            .field("dir", &self.handle.shared.dir)
            .finish_non_exhaustive()
    }
}

impl Wal {
    /// Opens the log in `dir`, which is created if it is missing: reads it back, cuts a torn end, begins a new segment.
    /// Only one log may be open in a folder.
    ///
    /// # Errors
    /// [`WalError`]; a second attempt after [`WalError::Io`] is safe.
    pub fn open(
        disk: DiskHandle,
        dir: &Path,
        options: WalOptions,
        driver: Driver,
        on_fatal: OnFatal,
    ) -> Result<(Self, Recovered), WalError> {
        disk.create_dir_all(dir)?;
        let replayed = recovery::replay(&*disk, dir, options.cache_bytes)?;
        let start = Start {
            next_sequence: replayed.next_sequence,
            previous_final_bytes: replayed.proven_bytes,
            bounds: replayed.log.bounds(),
            marks: replayed.marks,
        };
        let mut writer = Writer::new(
            Arc::clone(&disk),
            dir.to_path_buf(),
            options.segment_bytes,
            start,
        );
        let mut state = State::new(replayed.log, replayed.segments);
        carry_over(
            &mut writer,
            &mut state,
            &replayed.carried,
            replayed.proven_bytes,
        )?;

        let marks = writer.marks().clone();
        let bounds = state.log.bounds();
        let recovered = Recovered {
            vote: marks.vote,
            committed: marks.committed,
            purged: marks.purged,
            first_index: bounds.base + 1,
            last_index: bounds.last,
            cut_bytes: replayed.cut_bytes,
        };
        let shared = Shared::new(disk, PathBuf::from(dir), options, on_fatal, state);
        let thread = match driver {
            Driver::Inline => {
                shared.lock().idle_writer = Some(writer);
                None
            }
            Driver::Thread => {
                let shared = Arc::clone(&shared);
                let builder = std::thread::Builder::new().name("wal".to_owned());
                Some(builder.spawn(move || shared.run(writer))?)
            }
        };
        let handle = Arc::new(Handle {
            shared,
            driver,
            thread: Mutex::new(thread),
        });
        Ok((Self { handle }, recovered))
    }

    /// Queues records in order. Entries are visible to [`Wal::read`] when this returns. `done` is called after the
    /// fdatasync that covers all of them, in the order of submission, on the writer's thread: it must be quick and must
    /// not panic.
    ///
    /// `done` gets an error if the log failed or is closed, and `InvalidInput` (with nothing queued, and on the calling
    /// thread) if an entry does not continue the log or a payload is longer than [`MAX_RECORD_BYTES`].
    pub fn submit(&self, records: Vec<Record>, done: Done) {
        self.enqueue(records, Haste::Awaited, done);
    }

    /// Queues a record that nobody waits for and that may be lost in a crash. It keeps its place in the order and becomes
    /// durable with the next submission, or within some 20 ms where there is none: it costs a busy log no flush. With
    /// [`Driver::Inline`] it is written at once. A log that failed or is closed does not take it.
    pub fn submit_unhurried(&self, record: Record) {
        self.enqueue(vec![record], Haste::None, Box::new(|_| {}));
    }

    fn enqueue(&self, records: Vec<Record>, haste: Haste, done: Done) {
        self.handle.shared.enqueue(records, haste, done);
        if self.handle.driver == Driver::Inline {
            self.handle.shared.drain_in_time();
        }
    }

    /// The first live index; greater than [`Wal::last_index`] if there is no live entry.
    #[must_use]
    pub fn first_index(&self) -> u64 {
        self.handle.shared.lock().log.bounds().base + 1
    }

    /// The last live index; the last purged one, or 0, if there is no live entry.
    #[must_use]
    pub fn last_index(&self) -> u64 {
        self.handle.shared.lock().log.bounds().last
    }

    /// Live entries with consecutive indexes from `from` to before `to_exclusive`: at least one if `from` is live, and
    /// no more than `max_bytes` of payload beyond that. Empty if `from` is not live.
    ///
    /// # Errors
    /// Failures of the disk; `InvalidData` if a frame is damaged.
    pub fn read(
        &self,
        from: u64,
        to_exclusive: u64,
        max_bytes: usize,
    ) -> io::Result<Vec<(u64, Bytes)>> {
        let Located { entries, files } = self.locate(from, to_exclusive, max_bytes)?;
        let mut read = Vec::with_capacity(entries.len());
        for (index, found) in (from..).zip(entries) {
            let payload = match found {
                Found::Memory(payload) => payload,
                Found::Disk { place, length } => {
                    let file = files.get(&place.segment).ok_or_else(|| unreadable(index))?;
                    read_entry(&**file, index, place, length)?
                }
            };
            read.push((index, payload));
        }
        Ok(read)
    }

    /// What [`Wal::read`] needs from under the lock: it reads from disk afterwards, through handles of its own, so that
    /// a purge meanwhile takes nothing away from it.
    fn locate(&self, from: u64, to_exclusive: u64, max_bytes: usize) -> io::Result<Located> {
        let state = self.handle.shared.lock();
        let mut entries = Vec::new();
        let mut files: BTreeMap<u64, Box<dyn DiskFile>> = BTreeMap::new();
        let mut bytes = 0_usize;
        for index in from..to_exclusive {
            let Some(found) = state.log.find(index) else {
                break;
            };
            bytes = bytes.saturating_add(found.len());
            if bytes > max_bytes && !entries.is_empty() {
                break;
            }
            if let Found::Disk { place, .. } = &found
                && let Entry::Vacant(vacant) = files.entry(place.segment)
            {
                let position = state
                    .segments
                    .binary_search_by_key(&place.segment, |segment| segment.sequence)
                    .map_err(|_| unreadable(index))?;
                vacant.insert(state.segments[position].reader.reopen()?);
            }
            entries.push(found);
        }
        Ok(Located { entries, files })
    }

    /// Bytes of all segments on disk.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        self.handle
            .shared
            .lock()
            .segments
            .iter()
            .map(|segment| segment.bytes)
            .sum()
    }

    /// Bytes of records that are not acknowledged yet.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.handle.shared.lock().stats.queued_bytes
    }

    /// Whether more is queued than [`WalOptions::queue_bytes`]: a leader hands over then.
    #[must_use]
    pub fn is_over_bound(&self) -> bool {
        self.queued_bytes() > self.handle.shared.options.queue_bytes
    }

    /// How long the last write and fdatasync took, in microseconds.
    #[must_use]
    pub fn last_flush_micros(&self) -> u64 {
        self.stats().last_flush_micros
    }

    /// Flush counts and durations since the log was opened.
    #[must_use]
    pub fn stats(&self) -> WalStats {
        self.handle.shared.lock().stats
    }

    /// For how long the group under way has been written and synced; `None` if there is none. A leader hands over
    /// when this passes 1 s.
    #[must_use]
    pub fn pending_flush(&self) -> Option<Duration> {
        let since = self.handle.shared.lock().flushing_since?;
        Some(self.handle.shared.now().saturating_sub(since))
    }

    /// Writes what is queued, proves it (so that the next start takes any unreadable byte for damage, never for a torn
    /// end), and stops the writer. Afterwards every submission is refused; reading still works. Waits for the
    /// writer's thread, except when called from it.
    pub fn close(&self) {
        let shared = &self.handle.shared;
        shared.begin_closing(Closing::Orderly);
        shared.drain();
        let idle_writer = shared.lock().idle_writer.take();
        if let Some(mut writer) = idle_writer {
            shared.prove(&mut writer);
        }
        let thread = self
            .handle
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
        {
            // A panic of a callback ended the thread; the log is closed all the same.
            let _ = thread.join();
        }
    }
}

/// Entries with consecutive indexes, and a handle of its own for every segment that some of them must be read from.
struct Located {
    entries: Vec<Found>,
    files: BTreeMap<u64, Box<dyn DiskFile>>,
}

/// Writes the last intact group again as the beginning of a new segment, proves it, and only then cuts it from the old
/// one.
fn carry_over(
    writer: &mut Writer,
    state: &mut State,
    carried: &[Record],
    proven_bytes: u64,
) -> Result<(), WalError> {
    let segment = state.segments.back().map_or(1, |segment| segment.sequence);
    let mut serials = Vec::with_capacity(carried.len());
    for record in carried {
        let accepted = state.log.accept(record);
        serials.push(accepted.map_err(|_| WalError::Damaged {
            segment,
            offset: proven_bytes,
        })?);
    }
    let old_newest = state.segments.len().checked_sub(1);
    let written = writer.write(carried)?;
    state.settle(carried, &serials, written);
    let written = writer.write(&[])?;
    state.settle(&[], &[], written);
    if let Some(segment) = old_newest.and_then(|position| state.segments.get_mut(position)) {
        recovery::trim(segment, proven_bytes)?;
    }
    Ok(())
}

fn read_entry(file: &dyn DiskFile, index: u64, place: Place, length: usize) -> io::Result<Bytes> {
    let mut bytes = vec![0_u8; FRAME_HEADER_BYTES + length];
    file.read_exact_at(place.offset, &mut bytes)?;
    let intact = frame::decode_frame(&bytes, place.segment, place.offset).is_some_and(|frame| {
        frame.kind == Kind::Entry && frame.index == index && frame.payload.len() == length
    });
    if intact {
        Ok(Bytes::from(bytes).slice(FRAME_HEADER_BYTES..))
    } else {
        Err(unreadable(index))
    }
}

fn unreadable(index: u64) -> io::Error {
    let message = format!("entry {index} of the write-ahead log can not be read back");
    io::Error::new(io::ErrorKind::InvalidData, message)
}
