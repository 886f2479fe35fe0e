//! openraft's log storage over our write-ahead log.
//!
//! Invariants (rule 6): "flushed" is reported only after the fdatasync that covers the records; vote and entries go
//! through one ordered queue; a failed write ends the node (the log's own `on_fatal`).
//!
//! Raft's core waits for the disk where openraft needs it: to save a vote, and to truncate. What it appends, commits and
//! purges is queued: a leader whose disk hangs for a moment goes on sending heartbeats.
//!
//! openraft counts entries from 0, the write-ahead log from 1 (0 means "none" there): [`position`] is the one bridge.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use jarvis_domain::codec::{decode, encode, encode_sized};
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{EntryPayload, OptionalSend, RaftLogReader};
use tokio::sync::oneshot;

use crate::raft::{Entry, LogId, TypeConfig, Vote};
use crate::wal::{Record, Recovered, Wal};

/// Bytes of entries handed out at once: one append request stays below its frame limit (rule 10).
const READ_BYTES: usize = 1024 * 1024;
/// Decoded entries kept for replication, so that a follower's append does not decode what was just encoded.
const RECENT_BYTES: usize = 8 * 1024 * 1024;
/// An encoded entry beside its commands: log id, stamp and envelope take at most 80 bytes.
const ENTRY_OVERHEAD: usize = 128;

/// A handle to the log; clones read the same log.
#[derive(Clone)]
pub(crate) struct LogStore {
    wal: Wal,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    last: Option<LogId>,
    recent: Recent,
}

/// The newest entries, consecutive.
#[derive(Default)]
struct Recent {
    entries: std::collections::VecDeque<(Entry, usize)>,
    bytes: usize,
}

impl LogStore {
    /// Takes over a recovered log.
    ///
    /// # Errors
    /// When a recovered record does not decode: written by a newer release, or damaged beyond what checksums see.
    pub(crate) fn new(wal: Wal, recovered: &Recovered) -> io::Result<Self> {
        let purged = recovered
            .purged
            .as_ref()
            .map(|(_, marker)| from_bytes::<LogId>(marker))
            .transpose()?;
        let last = if recovered.last_index >= recovered.first_index && recovered.last_index > 0 {
            let read = wal.read(recovered.last_index, recovered.last_index + 1, READ_BYTES)?;
            read.first()
                .map(|(_, bytes)| from_bytes::<Entry>(bytes))
                .transpose()?
                .map(|entry| entry.log_id())
        } else {
            None
        };
        let shared = Shared {
            vote: recovered.vote.as_deref().map(from_bytes).transpose()?,
            committed: recovered
                .committed
                .as_deref()
                .map(from_bytes::<Option<LogId>>)
                .transpose()?
                .flatten(),
            purged,
            last: last.or(purged),
            recent: Recent::default(),
        };
        Ok(Self {
            wal,
            shared: Arc::new(Mutex::new(shared)),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        // A panic while holding this lock can not leave it half-changed in a way that matters: the process ends.
        self.shared
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn submit_and_wait(&self, record: Record) -> io::Result<()> {
        let (sender, receiver) = oneshot::channel();
        self.wal.submit(
            vec![record],
            Box::new(move |result| drop(sender.send(result))),
        );
        receiver
            .await
            .map_err(|_| io::Error::other("the write-ahead log has stopped"))?
    }

    /// Queues a record, and waits for nothing. An error that is known at once (the log has failed, or is closed) is told;
    /// a later one ends the node all the same.
    fn submit_unawaited(&self, record: Record) -> io::Result<()> {
        let (sender, mut receiver) = oneshot::channel();
        self.wal.submit(
            vec![record],
            Box::new(move |result| drop(sender.send(result))),
        );
        // No word yet: it is queued.
        receiver.try_recv().unwrap_or(Ok(()))
    }

    fn read(&self, start: u64, end: u64, max_bytes: usize) -> io::Result<Vec<Entry>> {
        if let Some(entries) = self.lock().recent.range(start, end, max_bytes) {
            return Ok(entries);
        }
        let records = self.wal.read(position(start), position(end), max_bytes)?;
        records.iter().map(|(_, bytes)| from_bytes(bytes)).collect()
    }
}

impl Recent {
    fn push(&mut self, entry: Entry, bytes: usize) {
        let next = self
            .entries
            .back()
            .map(|(last, _)| last.log_id().index() + 1);
        if next.is_some_and(|next| next != entry.log_id().index()) {
            self.entries.clear();
            self.bytes = 0;
        }
        self.bytes += bytes;
        self.entries.push_back((entry, bytes));
        while self.bytes > RECENT_BYTES {
            let Some((_, gone)) = self.entries.pop_front() else {
                break;
            };
            self.bytes -= gone;
        }
    }

    fn truncate_after(&mut self, last_kept: u64) {
        while let Some((entry, bytes)) = self.entries.back() {
            if entry.log_id().index() <= last_kept {
                break;
            }
            self.bytes -= bytes;
            self.entries.pop_back();
        }
    }

    /// The entries from `start`, if the first of them is here.
    fn range(&self, start: u64, end: u64, max_bytes: usize) -> Option<Vec<Entry>> {
        let first = self.entries.front()?.0.log_id().index();
        let skip = usize::try_from(start.checked_sub(first)?).ok()?;
        if skip >= self.entries.len() {
            return None;
        }
        let mut bytes = 0;
        let mut found = Vec::new();
        for (entry, size) in self.entries.iter().skip(skip) {
            bytes += size;
            if entry.log_id().index() >= end || (bytes > max_bytes && !found.is_empty()) {
                break;
            }
            found.push(entry.clone());
        }
        Some(found)
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let last = self.lock().last.map_or(0, |id| id.index() + 1);
        let end = end.min(last);
        let start = start.max(self.wal.first_index().saturating_sub(1));
        let mut entries = Vec::new();
        let mut next = start;
        while next < end {
            let part = self.read(next, end, READ_BYTES)?;
            if part.is_empty() {
                break;
            }
            next += part.len() as u64;
            entries.extend(part);
        }
        Ok(entries)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(start, end, READ_BYTES)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.lock().vote)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let shared = self.lock();
        Ok(LogState {
            last_purged_log_id: shared.purged,
            last_log_id: shared.last,
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        if !jarvis_mutants::active!(VoteNotPersisted) {
            self.submit_and_wait(Record::Vote(to_bytes(vote))).await?;
        }
        self.lock().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        // Only a hint for a faster start: it rides along with the next group that is synced.
        self.lock().committed = committed;
        self.wal
            .submit_unhurried(Record::Committed(to_bytes(&committed)));
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.lock().committed)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut records = Vec::new();
        {
            let mut shared = self.lock();
            for entry in entries {
                let payload = Bytes::from(encode_sized(&entry, about_encoded_bytes(&entry)));
                let id = entry.log_id();
                records.push(Record::Entry {
                    index: position(id.index()),
                    payload: payload.clone(),
                });
                shared.last = Some(id);
                shared.recent.push(entry, payload.len());
            }
        }
        self.wal.submit(
            records,
            Box::new(move |result| callback.io_completed(result)),
        );
        Ok(())
    }

    /// Waits for the disk, although the order of the log would do for what is in the log: what follows may become durable
    /// outside of it. A snapshot that is installed, or the image of entries that a majority made durable, goes beyond the
    /// entries that end here. A restart that still found those would have a log that contradicts its state, and openraft
    /// refuses to start from that. Only a follower truncates, and only what was never committed: it is rare.
    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let last_kept = last_log_id.map_or(0, |id| position(id.index()));
        {
            let mut shared = self.lock();
            if last_log_id.is_none() {
                shared.recent = Recent::default();
            } else {
                shared.recent.truncate_after(last_kept - 1);
            }
            shared.last = last_log_id.or(shared.purged).min(shared.last);
        }
        self.submit_and_wait(Record::TruncateAfter { last_kept })
            .await
    }

    /// Waits for nothing: a purge that a crash undoes leaves entries that a snapshot covers, and they are purged again (by
    /// openraft at the start, where the snapshot goes beyond the log). The segments go only once it is durable (rule 7).
    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        {
            let mut shared = self.lock();
            shared.purged = Some(log_id);
            shared.last = shared.last.max(Some(log_id));
            let keep_from = log_id.index() + 1;
            while shared
                .recent
                .entries
                .front()
                .is_some_and(|(entry, _)| entry.log_id().index() < keep_from)
            {
                if let Some((_, bytes)) = shared.recent.entries.pop_front() {
                    shared.recent.bytes -= bytes;
                }
            }
        }
        self.submit_unawaited(Record::Purge {
            upto: position(log_id.index()),
            marker: to_bytes(&log_id),
        })
    }
}

/// Where the write-ahead log keeps Raft's entry of that index.
const fn position(index: u64) -> u64 {
    index.saturating_add(1)
}

/// About how long an entry is when it is encoded, so that its memory is taken once.
pub(super) fn about_encoded_bytes(entry: &Entry) -> usize {
    let commands = match &entry.payload {
        EntryPayload::Normal(payload) => payload.commands.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    };
    commands + ENTRY_OVERHEAD
}

fn to_bytes<T: serde::Serialize>(value: &T) -> Bytes {
    Bytes::from(encode(value))
}

fn from_bytes<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    decode(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests;
