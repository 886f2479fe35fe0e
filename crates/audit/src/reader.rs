//! Reads lines of the trail, for `audit tail`, `audit export` and the API.
//!
//! No locks: it works beside a running writer, and on the plain files of a backup or export. Lines come out as they were
//! written; whether they are genuine is the business of [`mod@crate::verify`].

use std::collections::VecDeque;
use std::io;

pub use crate::cursor::Folder;
use crate::cursor::{self, LineRead, Next, OpenedSegment};
use crate::line;

/// Most lines that [`tail`] and [`from_seq`] return at once: a few MiB. Larger reads use [`Trail`].
pub const MAX_LINES_AT_ONCE: usize = 10_000;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailLine {
    /// Its sequence number.
    pub seq: u64,
    /// The whole line without its newline.
    pub json: String,
}

/// Why the trail could not be read on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file system failed, or a compressed segment is damaged.
    #[error("the audit trail can not be read: {0}")]
    Io(#[from] io::Error),
    /// A line is not one of ours; `audit verify` says more.
    #[error("audit segment {file}, line {line} is damaged")]
    Damaged {
        /// File name inside the folder.
        file: String,
        /// Line number, from 1.
        line: u64,
    },
    /// The segment with this event is not there (retired while reading, or lost).
    #[error("no audit segment starts with event {expected_first_seq}")]
    Missing {
        /// First event of the missing segment.
        expected_first_seq: u64,
    },
}

/// Up to `limit` events from `seq` on (or from the oldest that is not retired), at most [`MAX_LINES_AT_ONCE`].
///
/// # Errors
/// See [`ReadError`].
pub fn from_seq(
    folder: impl Into<Folder>,
    seq: u64,
    limit: usize,
) -> Result<Vec<TrailLine>, ReadError> {
    Trail::from_seq(folder, seq)?
        .take(limit.min(MAX_LINES_AT_ONCE))
        .collect()
}

/// The last `count` events, oldest first, at most [`MAX_LINES_AT_ONCE`].
///
/// # Errors
/// See [`ReadError`].
pub fn tail(folder: impl Into<Folder>, count: usize) -> Result<Vec<TrailLine>, ReadError> {
    let folder: Folder = folder.into();
    let count = count.min(MAX_LINES_AT_ONCE);
    let newest = if count == 0 {
        None
    } else {
        last_seq(folder.clone())?
    };
    let Some(newest) = newest else {
        return Ok(Vec::new());
    };
    let first_seq = newest.saturating_sub(count as u64).saturating_add(1);
    let mut last = VecDeque::with_capacity(count);
    for line in Trail::from_seq(folder, first_seq)? {
        if last.len() == count {
            last.pop_front();
        }
        last.push_back(line?);
    }
    Ok(last.into())
}

/// The sequence number of the newest event; `None` when there is none.
///
/// # Errors
/// See [`ReadError`].
pub fn last_seq(folder: impl Into<Folder>) -> Result<Option<u64>, ReadError> {
    let mut trail = Trail::from_seq(folder, u64::MAX)?;
    trail.skip_below = 0;
    let mut newest = None;
    for line in trail {
        newest = Some(line?.seq);
    }
    Ok(newest)
}

/// Iterates over the events in order, one line in memory at a time, until the end as it is when reached.
#[derive(Debug)]
pub struct Trail {
    folder: Folder,
    /// First event of the segment to open next.
    next_seq: u64,
    skip_below: u64,
    current: Option<(OpenedSegment, u64)>,
    /// Nothing was read yet: the first segments may be retired meanwhile.
    skip_gaps: bool,
    always_skip_gaps: bool,
    done: bool,
    buffer: Vec<u8>,
}

impl Trail {
    /// Starts at event `seq`, or at the oldest one if that is later.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn from_seq(folder: impl Into<Folder>, seq: u64) -> Result<Self, ReadError> {
        let folder: Folder = folder.into();
        let open = cursor::open_first_seq(&folder)?;
        let mut starts: Vec<u64> = cursor::list(&folder)?
            .iter()
            .map(|name| name.first_seq)
            .chain(open)
            .collect();
        starts.sort_unstable();
        let containing = starts.iter().rev().find(|first_seq| **first_seq <= seq);
        let start = containing.or(starts.first()).copied();
        Ok(Self {
            folder,
            next_seq: start.unwrap_or(1),
            skip_below: seq,
            current: None,
            skip_gaps: true,
            always_skip_gaps: false,
            done: false,
            buffer: Vec::new(),
        })
    }

    /// As [`Self::from_seq`], but goes on behind segments that are missing.
    pub(crate) fn across_gaps(folder: impl Into<Folder>, seq: u64) -> Result<Self, ReadError> {
        let mut trail = Self::from_seq(folder, seq)?;
        trail.always_skip_gaps = true;
        Ok(trail)
    }

    fn step(&mut self) -> Result<Option<TrailLine>, ReadError> {
        loop {
            if self.current.is_none() {
                match self.open_next()? {
                    Some(segment) => self.current = Some((segment, 0)),
                    None => return Ok(None),
                }
            }
            let Some((segment, number)) = &mut self.current else {
                continue;
            };
            match segment.next_line(&mut self.buffer)? {
                LineRead::Line => {
                    *number += 1;
                    let found = line::seq_of(&self.buffer)
                        .filter(|seq| self.skip_gaps || *seq == self.next_seq);
                    let seq = found.ok_or_else(|| damaged(segment, *number))?;
                    self.skip_gaps = self.always_skip_gaps;
                    self.next_seq = seq.saturating_add(1);
                    if seq >= self.skip_below {
                        let bytes = std::mem::take(&mut self.buffer);
                        let json =
                            String::from_utf8(bytes).map_err(|_| damaged(segment, *number))?;
                        return Ok(Some(TrailLine { seq, json }));
                    }
                }
                LineRead::Unfinished if segment.closed.is_none() => return Ok(None),
                LineRead::Unfinished | LineRead::TooLong => {
                    return Err(damaged(segment, *number + 1));
                }
                LineRead::End if segment.closed.is_none() => return Ok(None),
                LineRead::End if *number == 0 => return Err(damaged(segment, 1)),
                LineRead::End => self.current = None,
            }
        }
    }

    fn open_next(&mut self) -> Result<Option<OpenedSegment>, ReadError> {
        match cursor::find(&self.folder, self.next_seq)? {
            Next::Segment(segment) => Ok(Some(segment)),
            Next::End { .. } => Ok(None),
            Next::Gap { next_first_seq } if self.skip_gaps && next_first_seq > self.next_seq => {
                self.next_seq = next_first_seq;
                self.open_next()
            }
            Next::Gap { .. } => Err(ReadError::Missing {
                expected_first_seq: self.next_seq,
            }),
            Next::Ambiguous { names } => Err(ReadError::Damaged {
                file: names.into_iter().next().unwrap_or_default(),
                line: 1,
            }),
        }
    }
}

fn damaged(segment: &OpenedSegment, line: u64) -> ReadError {
    ReadError::Damaged {
        file: segment.file_name.clone(),
        line,
    }
}

impl Iterator for Trail {
    type Item = Result<TrailLine, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.step().transpose();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}
