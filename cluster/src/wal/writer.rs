//! Writing: one group at a time, to the newest segment.
//!
//! ```text
//!   group fits        append ─► fdatasync
//!   group does not    new segment: header + group of (vote, committed, purge marker, records)
//!                     ─► fdatasync ─► sync of the folder
//! ```
//!
//! Invariants:
//! - [`Writer::write`] returns `Ok` only when everything it was given is durable (rule 6);
//! - it is never called again after an error;
//! - a segment is created only when everything in the one before it, up to the length its header names, is durable.

use std::io;
use std::path::{Path, PathBuf};

use jarvis_disk::{DiskFile, DiskHandle};

use super::Record;
use super::frame::{self, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::live_log::{Bounds, Place};
use super::marks::Marks;

/// The name of a segment's file.
pub(super) fn segment_path(dir: &Path, sequence: u64) -> PathBuf {
    dir.join(format!("{sequence:016x}.wal"))
}

/// Where the writer starts.
pub(super) struct Start {
    /// The sequence of the first segment it creates.
    pub(super) next_sequence: u64,
    /// How many bytes of the segment before that belong to the log; 0 if there is none.
    pub(super) previous_final_bytes: u64,
    /// Bounds as of those bytes.
    pub(super) bounds: Bounds,
    /// Markers as of those bytes.
    pub(super) marks: Marks,
}

/// What one write did.
pub(super) struct Written {
    /// Where each record's frame starts, in the order of the records.
    pub(super) places: Vec<Place>,
    /// The segment that this write began.
    pub(super) created: Option<Created>,
    /// Bytes of the newest segment now.
    pub(super) segment_bytes: u64,
}

/// A new segment.
pub(super) struct Created {
    /// Its sequence.
    pub(super) sequence: u64,
    /// Its file.
    pub(super) path: PathBuf,
    /// A handle for readers.
    pub(super) reader: Box<dyn DiskFile>,
}

/// The one writer.
pub(super) struct Writer {
    disk: DiskHandle,
    dir: PathBuf,
    /// A group that would make a segment longer than this begins a new one.
    segment_bytes: u64,
    next_sequence: u64,
    previous_final_bytes: u64,
    active: Option<Active>,
    /// As of what is written: the live log may be ahead.
    bounds: Bounds,
    /// As of what is written.
    marks: Marks,
}

/// The newest segment.
struct Active {
    sequence: u64,
    file: Box<dyn DiskFile>,
    bytes: u64,
}

impl Writer {
    /// A writer whose first write begins a new segment.
    pub(super) fn new(disk: DiskHandle, dir: PathBuf, segment_bytes: u64, start: Start) -> Self {
        Self {
            disk,
            dir,
            segment_bytes,
            next_sequence: start.next_sequence,
            previous_final_bytes: start.previous_final_bytes,
            active: None,
            bounds: start.bounds,
            marks: start.marks,
        }
    }

    /// The markers as of what is durable.
    pub(super) fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Writes the records as one group and makes it durable. No records is a group too: it proves the one before it.
    ///
    /// # Errors
    /// Any failure of the disk: what is durable is then unknown, and nothing may be written any more.
    pub(super) fn write(&mut self, records: &[Record]) -> io::Result<Written> {
        let mut bounds = self.bounds;
        for record in records {
            bounds
                .step(record)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        }
        let group_bytes = frame::group_bytes(records) as u64;
        let segment_bytes = self.segment_bytes;
        let written = match self.active.as_mut() {
            Some(active) if active.bytes + group_bytes <= segment_bytes => {
                active.extend(records)?
            }
            _ => self.begin_segment(records)?,
        };
        self.bounds = bounds;
        records.iter().for_each(|record| self.marks.note(record));
        Ok(written)
    }

    fn begin_segment(&mut self, records: &[Record]) -> io::Result<Written> {
        if let Some(active) = self.active.take() {
            self.previous_final_bytes = active.bytes;
        }
        let sequence = self.next_sequence;
        let header = SegmentHeader {
            sequence,
            previous_final_bytes: self.previous_final_bytes,
            base: self.bounds.base,
            last: self.bounds.last,
        };
        let mut group = self.marks.restated();
        let restated = group.len();
        group.extend_from_slice(records);
        let mut buffer = Vec::with_capacity(SEGMENT_HEADER_BYTES + frame::group_bytes(&group));
        buffer.extend_from_slice(&header.encode());
        let offsets = frame::encode_group(&mut buffer, 0, sequence, &group);

        let path = segment_path(&self.dir, sequence);
        let mut file = self.disk.create_new(&path)?;
        file.append(&buffer)?;
        make_durable(&mut *file)?;
        self.disk.sync_dir(&self.dir)?;

        let reader = file.reopen()?;
        let bytes = buffer.len() as u64;
        self.next_sequence += 1;
        self.active = Some(Active {
            sequence,
            file,
            bytes,
        });
        Ok(Written {
            places: places(sequence, &offsets[restated..]),
            created: Some(Created {
                sequence,
                path,
                reader,
            }),
            segment_bytes: bytes,
        })
    }
}

impl Active {
    fn extend(&mut self, records: &[Record]) -> io::Result<Written> {
        let mut buffer = Vec::with_capacity(frame::group_bytes(records));
        let offsets = frame::encode_group(&mut buffer, self.bytes, self.sequence, records);
        self.file.append(&buffer)?;
        make_durable(&mut *self.file)?;
        self.bytes += buffer.len() as u64;
        Ok(Written {
            places: places(self.sequence, &offsets),
            created: None,
            segment_bytes: self.bytes,
        })
    }
}

/// The fdatasync before the word (rule 6).
fn make_durable(file: &mut dyn DiskFile) -> io::Result<()> {
    if jarvis_mutants::active!(NoFsync) {
        return Ok(());
    }
    file.sync_data()
}

fn places(segment: u64, offsets: &[u64]) -> Vec<Place> {
    offsets
        .iter()
        .map(|&offset| Place { segment, offset })
        .collect()
}
