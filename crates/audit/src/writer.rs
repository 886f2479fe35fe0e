//! Writes the trail: apply's lines into the open segment, closing, syncing, retiring, and replacing it whole.
//!
//! ```text
//! open(position) ─► append … append+close … append ─► sync ─► snapshot file ─► WAL purge      (rule 7)
//!        ▲                     no fsync                │
//!        └──────────── after a crash: cut back to the snapshot's position, replay the log ◄────┘
//! ```
//!
//! Invariants:
//! - `append` does all or nothing; when even undoing fails, the writer refuses everything until it is opened again;
//! - the file names follow apply's marks only, never a decision made here;
//! - `audit.head` never promises more than is on stable storage.

mod install;
mod recover;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use jarvis_disk::{Disk, DiskFile, DiskHandle};
use jarvis_domain::audit::Lines;

use crate::compress::{compress_closed, read_either};
use crate::error::AuditError;
use crate::head::HeadFile;
use crate::line;
use crate::names::{OPEN_NAME, SegmentName};
use crate::position::{ClosedSegment, Head, Position, check_content, find_closed};

pub use recover::read_prefix;

/// Most segments that one call of [`SegmentWriter::compress_closed`] compresses: about a tenth of a second each.
const COMPRESS_AT_ONCE: usize = 4;

/// The one writer of an audit folder. Calls block; keep it on the thread that follows apply.
#[derive(Debug)]
pub struct SegmentWriter {
    disk: DiskHandle,
    dir: PathBuf,
    position: Position,
    /// First sequence numbers of closed segments whose file is absent or has the wrong length.
    missing: BTreeSet<u64>,
    /// Closed since the last sync.
    unsynced: Vec<ClosedSegment>,
    open: Box<dyn DiskFile>,
    /// Last event appended; one less than the open segment's first when there is none.
    last_seq: u64,
    /// Chain head after it; `None` only when everything before an empty open segment is retired.
    head: Option<Head>,
    /// What `audit.head` says.
    recorded: Option<HeadFile>,
    open_dirty: bool,
    dir_dirty: bool,
    /// An operation could be neither finished nor undone.
    broken: bool,
}

impl SegmentWriter {
    /// Opens the folder (created if missing) and cuts the trail back to `position`; `None` is the empty trail, from
    /// which the whole log will be replayed. Segments that the position does not know are removed, and a segment
    /// that was closed or compressed after the position was taken is brought back.
    ///
    /// # Errors
    /// [`AuditError::Behind`] and [`AuditError::Damaged`] leave everything as it was.
    pub fn open(
        disk: DiskHandle,
        dir: &Path,
        position: Option<Position>,
    ) -> Result<Self, AuditError> {
        recover::recover(disk, dir, position.unwrap_or_default())
    }

    /// Appends whole lines (possibly none), then closes the segment if apply says so. Does not sync.
    ///
    /// # Errors
    /// `InvalidInput` when the lines do not follow the trail or `close` does not describe the segment; otherwise the
    /// disk's failure. The same call may be repeated.
    pub fn append(&mut self, lines: &[u8], close: Option<ClosedSegment>) -> io::Result<()> {
        self.refuse_if_broken()?;
        let (last_seq, head) = self.end_after(lines)?;
        let open_bytes = self.position.open_bytes + lines.len() as u64;
        if let Some(segment) = &close {
            let described = ClosedSegment {
                first_seq: self.position.open_first_seq,
                last_seq,
                head: head.unwrap_or_default(),
                bytes: open_bytes,
            };
            if described != *segment || last_seq < segment.first_seq {
                return Err(invalid("the mark does not describe the open segment"));
            }
        }
        if !lines.is_empty() {
            self.open_dirty = true;
            if let Err(error) = self.open.append(lines) {
                return Err(self.undo_append(error));
            }
        }
        if let Some(segment) = close {
            self.close(segment)?;
        } else {
            self.position.open_bytes = open_bytes;
        }
        (self.last_seq, self.head) = (last_seq, head);
        Ok(())
    }

    /// Appends what one entry of the log wrote, closing segments where apply marked it. Does not sync.
    ///
    /// # Errors
    /// As [`Self::append`]. The same call may be repeated: what was appended already is skipped.
    pub fn append_entry(&mut self, lines: &Lines) -> io::Result<()> {
        let ends = lines
            .closes
            .iter()
            .map(|(end, segment)| (*end, Some(*segment)));
        let mut start = 0;
        for (end, close) in ends.chain([(lines.bytes.len(), None)]) {
            let piece = lines
                .bytes
                .get(start..end)
                .ok_or_else(|| invalid("a mark lies outside the lines"))?;
            if line::seq_of(piece).is_some_and(|seq| seq > self.last_seq) {
                self.append(piece, close)?;
            }
            start = end;
        }
        Ok(())
    }

    /// Makes everything appended so far durable: closed segments, the open one, the folder, then `audit.head`.
    ///
    /// # Errors
    /// The disk's failure. After a failed fdatasync the writer is broken: the process must end (rule 6).
    pub fn sync(&mut self) -> io::Result<()> {
        let outcome = self.begin_sync()?.run();
        self.end_sync(&outcome);
        outcome.map(|_| ())
    }

    /// Takes out what one sync covers, so that it can run while lines are appended. One at a time; every job must be
    /// run and handed to [`Self::end_sync`].
    ///
    /// # Errors
    /// When the writer is broken, or the open segment can not be opened once more.
    pub fn begin_sync(&mut self) -> io::Result<SyncJob> {
        self.refuse_if_broken()?;
        let open = if self.open_dirty {
            Some(self.open.reopen()?)
        } else {
            None
        };
        let bytes = self.position.open_bytes;
        let now = self.head.map(|head| HeadFile {
            seq: self.last_seq,
            head,
            bytes,
        });
        self.open_dirty = false;
        Ok(SyncJob {
            disk: self.disk.clone(),
            dir: self.dir.clone(),
            closed: std::mem::take(&mut self.unsynced),
            open,
            dir_dirty: std::mem::take(&mut self.dir_dirty),
            head: now.filter(|now| self.recorded != Some(*now)),
        })
    }

    /// Takes note of what came of a job.
    pub fn end_sync(&mut self, outcome: &io::Result<Synced>) {
        match outcome {
            Ok(Synced(Some(head))) => self.recorded = Some(*head),
            Ok(Synced(None)) => {}
            Err(_) => self.broken = true,
        }
    }

    /// Where the trail stands. Durable only if nothing was appended since the last [`Self::sync`].
    #[must_use]
    pub fn position(&self) -> Position {
        self.position.clone()
    }

    /// Sequence number of the last event appended; 0 before the first.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Compresses a few closed segments on this thread and says how many. A background thread uses
    /// [`compress_closed`] with the disk handle instead.
    ///
    /// # Errors
    /// As [`compress_closed`].
    pub fn compress_closed(&self) -> io::Result<usize> {
        compress_closed(&*self.disk, &self.dir, COMPRESS_AT_ONCE)
    }

    /// Removes the segments that end at or before `upto_seq` and says how many. A retirement that stops inside a
    /// segment keeps that segment.
    ///
    /// # Errors
    /// The disk's failure; the same call may be repeated.
    pub fn retire(&mut self, upto_seq: u64) -> io::Result<usize> {
        self.refuse_if_broken()?;
        let retired = self
            .position
            .closed
            .partition_point(|segment| segment.last_seq <= upto_seq);
        for segment in &self.position.closed[..retired] {
            // Plain before compressed: a compression under way then notices, and removes its own result.
            let name = SegmentName::of(segment);
            remove_if_there(&*self.disk, &self.dir.join(name.plain()))?;
            remove_if_there(&*self.disk, &self.dir.join(name.compressed()))?;
        }
        for segment in self.position.closed.drain(..retired) {
            self.missing.remove(&segment.first_seq);
            self.unsynced
                .retain(|other| other.first_seq != segment.first_seq);
            self.dir_dirty = true;
        }
        Ok(retired)
    }

    /// The uncompressed bytes of the closed segment that starts at `first_seq`, checked against its chain and head.
    ///
    /// # Errors
    /// `NotFound` when the position has no such segment or its file is missing; `InvalidData` or `InvalidInput`
    /// when it is damaged.
    pub fn read_closed(&self, first_seq: u64) -> io::Result<Vec<u8>> {
        let (segment, previous) = find_closed(&self.position.closed, first_seq)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let bytes = read_either(&*self.disk, &self.dir, &SegmentName::of(&segment))?;
        check_content(&segment, previous, &bytes)?;
        Ok(bytes)
    }

    /// The bytes of the open segment.
    ///
    /// # Errors
    /// The disk's failure.
    pub fn read_open(&self) -> io::Result<Vec<u8>> {
        let length = usize::try_from(self.position.open_bytes)
            .map_err(|_| invalid("the open segment is too large"))?;
        let mut bytes = vec![0; length];
        self.open.read_exact_at(0, &mut bytes)?;
        Ok(bytes)
    }

    /// Closed segments that the position names but the folder lacks: to be fetched from a peer and handed to
    /// [`Self::add_closed`]. Right after `open`, replay may still retire some of them.
    #[must_use]
    pub fn missing_closed(&self) -> Vec<ClosedSegment> {
        let is_missing = |segment: &&ClosedSegment| self.missing.contains(&segment.first_seq);
        self.position
            .closed
            .iter()
            .filter(is_missing)
            .copied()
            .collect()
    }

    fn refuse_if_broken(&self) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other(
                "the audit writer failed before; open it again",
            ));
        }
        Ok(())
    }

    /// Last sequence number and head once `lines` are appended.
    fn end_after(&self, lines: &[u8]) -> io::Result<(u64, Option<Head>)> {
        if lines.is_empty() {
            return Ok((self.last_seq, self.head));
        }
        if line::seq_of(lines) != self.last_seq.checked_add(1) {
            return Err(invalid("the first line does not follow the trail"));
        }
        let content = lines
            .strip_suffix(b"\n")
            .ok_or_else(|| invalid("the last line is unfinished"))?;
        let last = content
            .rsplit(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        match (line::seq_of(last), line::split(last)) {
            (Some(seq), Some(parts)) => Ok((seq, Some(parts.hash))),
            _ => Err(invalid("the last line has no sequence number or hash")),
        }
    }

    /// Renames the open segment and starts the next one.
    fn close(&mut self, segment: ClosedSegment) -> io::Result<()> {
        let open_path = self.dir.join(OPEN_NAME);
        let closed_path = self.dir.join(SegmentName::of(&segment).plain());
        if let Err(error) = self.disk.rename(&open_path, &closed_path) {
            return Err(self.undo_append(error));
        }
        let next = match self.disk.create_new(&open_path) {
            Ok(next) => next,
            Err(error) => {
                self.broken = self.disk.rename(&closed_path, &open_path).is_err();
                return Err(self.undo_append(error));
            }
        };
        self.open = next;
        self.open_dirty = false;
        self.dir_dirty = true;
        self.position.closed.push(segment);
        self.position.open_first_seq = segment.last_seq + 1;
        self.position.open_bytes = 0;
        self.unsynced.push(segment);
        Ok(())
    }

    fn undo_append(&mut self, error: io::Error) -> io::Error {
        if self.open.truncate(self.position.open_bytes).is_err() {
            self.broken = true;
        }
        error
    }
}

/// What one sync covers.
#[derive(Debug)]
pub struct SyncJob {
    disk: DiskHandle,
    dir: PathBuf,
    closed: Vec<ClosedSegment>,
    open: Option<Box<dyn DiskFile>>,
    dir_dirty: bool,
    head: Option<HeadFile>,
}

/// A sync that succeeded.
#[derive(Debug)]
pub struct Synced(Option<HeadFile>);

impl SyncJob {
    /// Syncs; blocks for as long as the disk takes.
    ///
    /// # Errors
    /// The disk's failure.
    pub fn run(mut self) -> io::Result<Synced> {
        for segment in &self.closed {
            self.sync_closed(&SegmentName::of(segment))?;
        }
        if let Some(open) = &mut self.open {
            open.sync_data()?;
        }
        if self.dir_dirty {
            self.disk.sync_dir(&self.dir)?;
        }
        if let Some(head) = &self.head {
            head.write(&*self.disk, &self.dir)?;
        }
        Ok(Synced(self.head))
    }

    fn sync_closed(&self, name: &SegmentName) -> io::Result<()> {
        match self.disk.open(&self.dir.join(name.plain())) {
            Ok(mut file) => file.sync_data(),
            // Compressed meanwhile: that form was synced before the plain one was removed. Retired meanwhile: nothing
            // is left to sync.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

fn remove_if_there(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}
