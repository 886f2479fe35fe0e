//! What the handles and the writer share: the live log, the queue and the segments, under one lock.
//!
//! ```text
//!   submit: [lock: accept, queue] ──► writer: [lock: take a group] write, fdatasync [lock: settle]
//!                                             callbacks, unlink
//!   read:   [lock: find, reopen] read from disk
//! ```
//!
//! Invariants:
//! - the lock is held for work in memory only (and for duplicating a file handle), never for reading or writing;
//! - callbacks run without the lock, in the order in which the records were submitted;
//! - records that nobody waits for ([`Haste::None`]) keep their place, but cause no write of their own while others do;
//! - after the first failure nothing is written or accepted any more (rule 6).

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jarvis_disk::{DiskFile, DiskHandle};

use super::frame;
use super::live_log::{LiveLog, OutOfOrder};
use super::writer::{Writer, Written};
use super::{Done, OnFatal, Record, WalOptions, WalStats};

/// In an otherwise idle log, records that nobody waits for are written after this time: far above what a busy log takes to
/// the next submission, and still soon enough to prove what lies before them.
const UNHURRIED_DELAY: Duration = Duration::from_millis(20);

/// What all handles and the writer share.
pub(super) struct Shared {
    pub(super) disk: DiskHandle,
    pub(super) dir: PathBuf,
    pub(super) options: WalOptions,
    pub(super) on_fatal: OnFatal,
    state: Mutex<State>,
    /// Signalled when the queue or `closing` changes.
    wake: Condvar,
}

/// Everything under the lock.
pub(super) struct State {
    pub(super) log: LiveLog,
    pub(super) stats: WalStats,
    /// When the group under way was taken; written by the writer.
    pub(super) flushing_since: Option<Duration>,
    /// Oldest first; the newest is the one that is written to.
    pub(super) segments: VecDeque<Segment>,
    /// The idle writer, when submitters drive it themselves.
    pub(super) idle_writer: Option<Writer>,
    queue: VecDeque<Submission>,
    /// Submissions in the queue that somebody waits for.
    awaited: usize,
    /// The writer sleeps until it is woken; otherwise it looks at the queue by itself before long.
    resting: bool,
    /// Set once, by the writer.
    failure: Option<Failure>,
    closing: Closing,
}

/// One file.
pub(super) struct Segment {
    pub(super) sequence: u64,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// The highest index of any entry in it, live or not; 0 if there is none.
    pub(super) highest_entry: u64,
    /// Duplicated for every read, so that a running read outlives an unlink.
    pub(super) reader: Box<dyn DiskFile>,
}

/// Whether and how the log is being closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closing {
    /// It is open.
    No,
    /// The last handle went away: write what is queued.
    Abandoned,
    /// Closed in order: write what is queued, and prove it.
    Orderly,
}

/// Whether somebody waits for a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Haste {
    /// It is written at once.
    Awaited,
    /// It goes with the next one that is, or after [`UNHURRIED_DELAY`].
    None,
}

/// Records that are acknowledged together.
struct Submission {
    haste: Haste,
    records: Vec<Record>,
    serials: Vec<u64>,
    bytes: usize,
    done: Done,
}

/// What one fdatasync will cover.
pub(super) struct Group {
    records: Vec<Record>,
    serials: Vec<u64>,
    bytes: usize,
    callbacks: Vec<Done>,
    since: Duration,
}

/// An I/O error that can be told many times.
#[derive(Debug, Clone)]
struct Failure {
    kind: io::ErrorKind,
    message: String,
}

impl Failure {
    fn of(error: &io::Error) -> Self {
        Self {
            kind: error.kind(),
            message: format!("write-ahead log: {error}"),
        }
    }

    fn error(&self) -> io::Error {
        io::Error::new(self.kind, self.message.clone())
    }
}

impl State {
    pub(super) fn new(log: LiveLog, segments: VecDeque<Segment>) -> Self {
        Self {
            log,
            stats: WalStats::default(),
            flushing_since: None,
            segments,
            idle_writer: None,
            queue: VecDeque::new(),
            awaited: 0,
            resting: false,
            failure: None,
            closing: Closing::No,
        }
    }

    /// Notes what a write did: where entries are, how long segments are.
    pub(super) fn settle(&mut self, records: &[Record], serials: &[u64], written: Written) {
        if let Some(created) = written.created {
            self.segments.push_back(Segment {
                sequence: created.sequence,
                path: created.path,
                bytes: 0,
                highest_entry: 0,
                reader: created.reader,
            });
        }
        let mut highest_entry = 0;
        for ((record, serial), place) in records.iter().zip(serials).zip(written.places) {
            if let Record::Entry { index, .. } = record {
                self.log.settle(*index, *serial, place);
                highest_entry = highest_entry.max(*index);
            }
        }
        if let Some(newest) = self.segments.back_mut() {
            newest.bytes = written.segment_bytes;
            newest.highest_entry = newest.highest_entry.max(highest_entry);
        }
        self.log.evict();
    }

    /// Takes out the oldest segments whose entries are all purged. Call only with a purge that is durable; a segment
    /// with a successor holds no marker that the successor does not state again.
    fn retire(&mut self, purged: u64) -> Vec<Segment> {
        let mut retired = Vec::new();
        while self.segments.len() > 1
            && self
                .segments
                .front()
                .is_some_and(|oldest| oldest.highest_entry <= purged)
        {
            retired.extend(self.segments.pop_front());
        }
        retired
    }

    fn take_group(&mut self, group_bytes: usize, now: Duration) -> Option<Group> {
        let first = self.queue.pop_front()?;
        self.awaited -= usize::from(first.haste == Haste::Awaited);
        let mut group = Group {
            records: first.records,
            serials: first.serials,
            bytes: first.bytes,
            callbacks: vec![first.done],
            since: now,
        };
        while let Some(next) = self.queue.front()
            && group.bytes.saturating_add(next.bytes) <= group_bytes
            && let Some(next) = self.queue.pop_front()
        {
            self.awaited -= usize::from(next.haste == Haste::Awaited);
            group.records.extend(next.records);
            group.serials.extend(next.serials);
            group.bytes += next.bytes;
            group.callbacks.push(next.done);
        }
        self.flushing_since = Some(now);
        Some(group)
    }

    fn refusal(&self) -> Option<io::Error> {
        match (&self.failure, self.closing) {
            (Some(failure), _) => Some(failure.error()),
            (None, Closing::No) => None,
            (None, _) => Some(io::Error::new(
                io::ErrorKind::BrokenPipe,
                "write-ahead log is closed",
            )),
        }
    }

    /// Accepts the records of one submission, all or none.
    fn accept(&mut self, records: &[Record]) -> io::Result<Vec<u64>> {
        if let Some(refusal) = self.refusal() {
            return Err(refusal);
        }
        let mut bounds = self.log.bounds();
        let invalid = |error: OutOfOrder| io::Error::new(io::ErrorKind::InvalidInput, error);
        for record in records {
            if record.payload().len() > frame::MAX_PAYLOAD_BYTES {
                let error = "record is longer than the write-ahead log takes";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
            }
            bounds.step(record).map_err(invalid)?;
        }
        records
            .iter()
            .map(|record| self.log.accept(record).map_err(invalid))
            .collect()
    }
}

impl Shared {
    pub(super) fn new(
        disk: DiskHandle,
        dir: PathBuf,
        options: WalOptions,
        on_fatal: OnFatal,
        state: State,
    ) -> Arc<Self> {
        Arc::new(Self {
            disk,
            dir,
            options,
            on_fatal,
            state: Mutex::new(state),
            wake: Condvar::new(),
        })
    }

    /// The lock. A panic elsewhere does not poison it: no critical section here leaves things half done.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Monotonic time.
    pub(super) fn now(&self) -> Duration {
        (self.options.monotonic)()
    }

    /// Queues records, or refuses them through `done`.
    pub(super) fn enqueue(&self, records: Vec<Record>, haste: Haste, done: Done) {
        let mut state = self.lock();
        match state.accept(&records) {
            Ok(serials) => {
                let bytes: usize = records.iter().map(frame::frame_bytes).sum();
                state.stats.queued_bytes += bytes;
                state.awaited += usize::from(haste == Haste::Awaited);
                state.queue.push_back(Submission {
                    haste,
                    records,
                    serials,
                    bytes,
                    done,
                });
                let wake = haste == Haste::Awaited || state.resting;
                drop(state);
                if wake {
                    self.wake.notify_one();
                }
            }
            Err(error) => {
                drop(state);
                done(Err(error));
            }
        }
    }

    /// Says how the log closes; the first word counts.
    pub(super) fn begin_closing(&self, closing: Closing) {
        let mut state = self.lock();
        if state.closing == Closing::No {
            state.closing = closing;
        }
        drop(state);
        self.wake.notify_one();
    }

    /// The writer thread: writes groups until the log is closed or fails.
    pub(super) fn run(&self, mut writer: Writer) {
        while let Some(group) = self.wait_for_group() {
            if !self.commit(&mut writer, group) {
                return;
            }
        }
        if self.lock().closing == Closing::Orderly {
            self.prove(&mut writer);
        }
    }

    /// The next group; `None` once the log is closed and everything is written. What nobody waits for does not make one
    /// unless nothing else came for [`UNHURRIED_DELAY`]: Raft notes each commit, and a flush for each note would keep the
    /// next entry waiting.
    fn wait_for_group(&self) -> Option<Group> {
        let mut state = self.lock();
        let mut is_idle = false;
        loop {
            let has_unhurried = is_idle && !state.queue.is_empty();
            if state.awaited > 0 || has_unhurried || state.closing != Closing::No {
                return state.take_group(self.options.group_bytes, self.now());
            }
            if is_idle {
                state.resting = true;
                state = self
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                state.resting = false;
                is_idle = false;
            } else {
                let (woken, waited) = self
                    .wake
                    .wait_timeout(state, UNHURRIED_DELAY)
                    .unwrap_or_else(PoisonError::into_inner);
                state = woken;
                is_idle = waited.timed_out();
            }
        }
    }

    /// Writes everything queued on the calling thread, unless a caller further up the stack, or another thread, is
    /// doing so already: that one goes on until the queue is empty.
    pub(super) fn drain(&self) {
        let Some(mut writer) = self.lock().idle_writer.take() else {
            return;
        };
        loop {
            let mut state = self.lock();
            let Some(group) = state.take_group(self.options.group_bytes, self.now()) else {
                state.idle_writer = Some(writer);
                return;
            };
            drop(state);
            if !self.commit(&mut writer, group) {
                return;
            }
        }
    }

    /// As [`Shared::drain`]; where the disk says that a sync takes time, by a task that waits for it, group after group,
    /// while submitters go on.
    pub(super) fn drain_in_time(self: &Arc<Self>) {
        if self.disk.sync_delay().is_zero() {
            return self.drain();
        }
        let idle_writer = self.lock().idle_writer.take();
        if let Some(writer) = idle_writer {
            tokio::spawn(Arc::clone(self).drain_slowly(writer));
        }
    }

    async fn drain_slowly(self: Arc<Self>, mut writer: Writer) {
        loop {
            let group = self.lock().take_group(self.options.group_bytes, self.now());
            let Some(group) = group else {
                self.lock().idle_writer = Some(writer);
                return;
            };
            tokio::time::sleep(self.disk.sync_delay()).await;
            if !self.commit(&mut writer, group) {
                return;
            }
        }
    }

    /// Writes one group, tells its submitters, removes segments that nobody needs any more. Returns whether the
    /// writer may go on.
    fn commit(&self, writer: &mut Writer, group: Group) -> bool {
        let written = match writer.write(&group.records) {
            Ok(written) => written,
            Err(error) => {
                self.fail(&error, group.callbacks);
                return false;
            }
        };
        let took = self.now().saturating_sub(group.since);
        let purged = writer.marks().purged.as_ref().map_or(0, |(upto, _)| *upto);
        let retired = {
            let mut state = self.lock();
            state.settle(&group.records, &group.serials, written);
            state.flushing_since = None;
            state.stats.note_flush(took, group.bytes);
            state.retire(purged)
        };
        for done in group.callbacks {
            done(Ok(()));
        }
        if let Err(error) = self.unlink(retired) {
            self.fail(&error, Vec::new());
            return false;
        }
        true
    }

    fn unlink(&self, retired: Vec<Segment>) -> io::Result<()> {
        if retired.is_empty() {
            return Ok(());
        }
        for segment in retired {
            if let Err(error) = self.disk.remove(&segment.path)
                && error.kind() != io::ErrorKind::NotFound
            {
                return Err(error);
            }
        }
        self.disk.sync_dir(&self.dir)
    }

    /// Writes a group without records, which proves everything before it durable.
    pub(super) fn prove(&self, writer: &mut Writer) {
        match writer.write(&[]) {
            Ok(written) => self.lock().settle(&[], &[], written),
            Err(error) => self.fail(&error, Vec::new()),
        }
    }

    /// The end: everyone who waits is told, then the owner, once.
    fn fail(&self, error: &io::Error, callbacks: Vec<Done>) {
        let failure = Failure::of(error);
        let waiting = {
            let mut state = self.lock();
            state.failure = Some(failure.clone());
            state.flushing_since = None;
            state.stats.queued_bytes = 0;
            state.awaited = 0;
            std::mem::take(&mut state.queue)
        };
        for done in callbacks
            .into_iter()
            .chain(waiting.into_iter().map(|waiting| waiting.done))
        {
            done(Err(failure.error()));
        }
        (self.on_fatal)(failure.error());
    }
}
