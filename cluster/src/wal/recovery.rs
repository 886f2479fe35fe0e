//! Reading the segments back after a stop, orderly or not.
//!
//! ```text
//!   ... | group | group | group | torn bytes
//!         ^^^^^^^^^^^^^   ^^^^^   ^^^^^^^^^^ cut: never acknowledged
//!         proven durable  the last intact group: carried over
//! ```
//!
//! A bad group is *damage* if anything proves that it was durable: a later group in its segment, or a later segment.
//! Then the node must not start: it would have forgotten what it acknowledged. Otherwise it is the torn end of the
//! last write, and is cut.
//!
//! The last intact group is read, but nothing proves that it is on the medium: after a failed fdatasync the kernel
//! keeps pages in memory, calls them clean, and never writes them. It is therefore *carried over*: written again as
//! the beginning of a new segment, whose header ends the old one before it.
//!
//! Nothing here changes the disk before everything was checked.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use jarvis_disk::Disk;

use super::frame::{self, Frame, HeaderError, Kind, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::live_log::{LiveLog, OutOfOrder, Place};
use super::marks::Marks;
use super::shared::Segment;
use super::{Record, WalError};

/// What the segments say.
pub(super) struct Replayed {
    /// The live log as of everything that is proven durable.
    pub(super) log: LiveLog,
    /// The markers as of the same moment.
    pub(super) marks: Marks,
    /// The records of the last intact group, to be written again.
    pub(super) carried: Vec<Record>,
    /// The segments on disk, oldest first.
    pub(super) segments: VecDeque<Segment>,
    /// The sequence of the next segment.
    pub(super) next_sequence: u64,
    /// How many bytes of the last segment are proven durable; 0 if there is none.
    pub(super) proven_bytes: u64,
    /// Bytes that were cut.
    pub(super) cut_bytes: u64,
}

/// Reads all segments in `dir`, then cuts what was torn.
///
/// # Errors
/// [`WalError::Damaged`], [`WalError::Missing`] and [`WalError::UnknownFormat`] as described there; I/O errors.
pub(super) fn replay(
    disk: &dyn Disk,
    dir: &Path,
    cache_bound: usize,
) -> Result<Replayed, WalError> {
    let plan = Plan::read(disk, dir)?;
    let mut replay = Replay::starting(&plan, cache_bound);
    for position in 0..plan.files.len() {
        replay.segment(disk, &plan, position)?;
    }
    if let Some(first) = plan.files.first()
        && replay.lacks_entries()
    {
        return Err(WalError::Missing {
            before_segment: first.sequence,
        });
    }
    let segments = plan.clean(disk, dir, &replay)?;
    let torn_bytes = plan.torn.as_ref().map_or(0, |torn| torn.bytes);
    Ok(Replayed {
        log: replay.log,
        marks: replay.marks,
        carried: replay.carried,
        segments,
        next_sequence: plan.files.last().map_or(1, |file| file.sequence + 1),
        proven_bytes: replay.proven_bytes,
        cut_bytes: replay.cut_bytes + torn_bytes,
    })
}

/// The files, and how they follow each other.
struct Plan {
    /// Consecutive sequences, oldest first, each with an intact header.
    files: Vec<File>,
    /// A newest file whose first group never became durable: as if it had not been created.
    torn: Option<Torn>,
    /// Files before a gap: their successors were purged, only their own removal was lost.
    leftovers: Vec<PathBuf>,
}

struct File {
    sequence: u64,
    path: PathBuf,
    header: SegmentHeader,
}

struct Torn {
    path: PathBuf,
    bytes: u64,
}

impl Plan {
    fn read(disk: &dyn Disk, dir: &Path) -> Result<Self, WalError> {
        let mut found: Vec<(u64, PathBuf)> = disk
            .list(dir)?
            .into_iter()
            .filter_map(|path| Some((sequence_of(&path)?, path)))
            .collect();
        found.sort();
        let first_consecutive = (1..found.len())
            .rev()
            .find(|&position| found[position].0 != found[position - 1].0 + 1)
            .unwrap_or(0);
        let leftovers: Vec<PathBuf> = found
            .drain(..first_consecutive)
            .map(|(_, path)| path)
            .collect();
        let torn = match found.last() {
            Some((sequence, path)) => {
                let may_be_first = *sequence == 1 && leftovers.is_empty();
                torn_newest(disk, *sequence, path, found.len() > 1 || may_be_first)?
            }
            None => None,
        };
        if torn.is_some() {
            found.pop();
        }
        let files = found
            .into_iter()
            .map(|(sequence, path)| read_header(disk, sequence, path))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            files,
            torn,
            leftovers,
        })
    }

    /// Where the segment ends, as far as its successor says.
    fn final_bytes(&self, position: usize) -> Option<u64> {
        self.files
            .get(position + 1)
            .map(|next| next.header.previous_final_bytes)
    }

    /// Makes the disk say what was read: removes what is not part of the log, cuts the torn end, and syncs what a
    /// killed process left in memory.
    fn clean(&self, disk: &dyn Disk, dir: &Path, replay: &Replay) -> io::Result<VecDeque<Segment>> {
        for path in self
            .leftovers
            .iter()
            .chain(self.torn.as_ref().map(|torn| &torn.path))
        {
            disk.remove(path)?;
        }
        let mut segments = VecDeque::with_capacity(self.files.len() + 1);
        for (position, file) in self.files.iter().enumerate() {
            let mut handle = disk.open(&file.path)?;
            let end = self.final_bytes(position).unwrap_or(replay.intact_bytes);
            let newest = position + 1 == self.files.len();
            if handle.len()? > end {
                handle.truncate(end)?;
                handle.sync_data()?;
            } else if newest {
                handle.sync_data()?;
            }
            segments.push_back(Segment {
                sequence: file.sequence,
                path: file.path.clone(),
                bytes: end,
                highest_entry: replay.highest_entries[position],
                reader: handle,
            });
        }
        disk.sync_dir(dir)?;
        Ok(segments)
    }
}

/// The sequence that a segment's name says; `None` for other files.
fn sequence_of(path: &Path) -> Option<u64> {
    let digits = path.file_name()?.to_str()?.strip_suffix(".wal")?;
    let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let well_formed = digits.len() == 16 && digits.bytes().all(lower_hex);
    let sequence = well_formed
        .then(|| u64::from_str_radix(digits, 16).ok())
        .flatten()?;
    (1..u64::MAX).contains(&sequence).then_some(sequence)
}

/// Whether the newest segment never became durable.
fn torn_newest(
    disk: &dyn Disk,
    sequence: u64,
    path: &Path,
    dispensable: bool,
) -> Result<Option<Torn>, WalError> {
    let bytes = disk.read(path)?;
    let damaged_at = match SegmentHeader::decode(&bytes) {
        Ok(header) if header.sequence == sequence => {
            match frame::decode_group(&bytes, sequence, SEGMENT_HEADER_BYTES) {
                Ok(_) => return Ok(None),
                Err(offset) => offset,
            }
        }
        Err(HeaderError::UnknownVersion(version)) => {
            return Err(WalError::UnknownFormat {
                segment: sequence,
                version,
            });
        }
        Ok(_) | Err(HeaderError::Damaged) => 0,
    };
    if !dispensable || frame::has_group_frame_from(&bytes, sequence, 0) {
        return Err(WalError::Damaged {
            segment: sequence,
            offset: damaged_at as u64,
        });
    }
    Ok(Some(Torn {
        path: path.to_path_buf(),
        bytes: bytes.len() as u64,
    }))
}

fn read_header(disk: &dyn Disk, sequence: u64, path: PathBuf) -> Result<File, WalError> {
    let file = disk.open(&path)?;
    let mut bytes = [0_u8; SEGMENT_HEADER_BYTES];
    let damaged = WalError::Damaged {
        segment: sequence,
        offset: 0,
    };
    match file.read_exact_at(0, &mut bytes) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(damaged),
        Err(error) => return Err(error.into()),
    }
    match SegmentHeader::decode(&bytes) {
        Ok(header) if header.sequence == sequence => Ok(File {
            sequence,
            path,
            header,
        }),
        Err(HeaderError::UnknownVersion(version)) => Err(WalError::UnknownFormat {
            segment: sequence,
            version,
        }),
        Ok(_) | Err(HeaderError::Damaged) => Err(damaged),
    }
}

/// Follows the records.
struct Replay {
    log: LiveLog,
    marks: Marks,
    carried: Vec<Record>,
    /// The highest index of live entries that lie in segments before the first one found; 0 if there are none.
    needed_purge: u64,
    /// The highest index of any entry in each segment, live or not; 0 if there is none.
    highest_entries: Vec<u64>,
    proven_bytes: u64,
    /// Where the newest segment's last intact group ends.
    intact_bytes: u64,
    cut_bytes: u64,
}

impl Replay {
    fn starting(plan: &Plan, cache_bound: usize) -> Self {
        let (base, last) = plan
            .files
            .first()
            .map_or((0, 0), |file| (file.header.base, file.header.last));
        Self {
            log: LiveLog::new(last, cache_bound),
            marks: Marks::default(),
            carried: Vec::new(),
            needed_purge: if base < last { last } else { 0 },
            highest_entries: Vec::new(),
            proven_bytes: 0,
            intact_bytes: 0,
            cut_bytes: 0,
        }
    }

    fn segment(&mut self, disk: &dyn Disk, plan: &Plan, position: usize) -> Result<(), WalError> {
        let File {
            sequence,
            path,
            header,
        } = &plan.files[position];
        let sequence = *sequence;
        let damaged = |offset: usize| WalError::Damaged {
            segment: sequence,
            offset: offset as u64,
        };
        let bytes = disk.read(path)?;
        let final_bytes = plan.final_bytes(position);
        let end = final_bytes.map_or(bytes.len(), |end| {
            usize::try_from(end).unwrap_or(usize::MAX)
        });
        let bytes = bytes.get(..end).ok_or_else(|| damaged(bytes.len()))?;
        if header.last != self.log.bounds().last {
            return Err(damaged(0));
        }
        self.highest_entries.push(0);

        let newest = final_bytes.is_none();
        let mut offset = SEGMENT_HEADER_BYTES;
        let mut last_group: Option<(usize, Vec<Frame<'_>>)> = None;
        while offset < bytes.len() {
            let group = match frame::decode_group(bytes, sequence, offset) {
                Ok(group) => group,
                Err(at) => {
                    let was_durable = !newest
                        || plan.torn.is_some()
                        || frame::has_group_frame_from(bytes, sequence, offset + 1);
                    if was_durable {
                        return Err(damaged(at));
                    }
                    self.cut_bytes = (bytes.len() - offset) as u64;
                    break;
                }
            };
            if let Some((start, frames)) = last_group.replace((offset, group.frames)) {
                self.frames(sequence, &frames).map_err(|_| damaged(start))?;
            }
            offset = group.end;
        }
        if newest {
            let start = last_group.as_ref().map_or(offset, |(start, _)| *start);
            self.proven_bytes = start as u64;
            self.intact_bytes = offset as u64;
            let frames = last_group.map(|(_, frames)| frames).unwrap_or_default();
            self.carried = frames.into_iter().filter_map(Frame::to_record).collect();
            let carried = std::mem::take(&mut self.carried);
            carried
                .iter()
                .for_each(|record| self.lower_needed_purge(record));
            self.carried = carried;
        } else if let Some((start, frames)) = last_group {
            self.frames(sequence, &frames).map_err(|_| damaged(start))?;
        }
        Ok(())
    }

    /// Follows the records of one group that is proven durable.
    fn frames(&mut self, sequence: u64, frames: &[Frame<'_>]) -> Result<(), OutOfOrder> {
        for frame in frames {
            if frame.kind == Kind::Entry {
                let place = Place {
                    segment: sequence,
                    offset: frame.offset,
                };
                self.log
                    .accept_written(frame.index, place, frame.payload.len())?;
                if let Some(highest) = self.highest_entries.last_mut() {
                    *highest = frame.index.max(*highest);
                }
            } else if let Some(record) = frame.to_record() {
                self.log.accept(&record)?;
                self.lower_needed_purge(&record);
                self.marks.note(&record);
            }
        }
        Ok(())
    }

    fn lower_needed_purge(&mut self, record: &Record) {
        if let Record::TruncateAfter { last_kept } = record {
            self.needed_purge = self.needed_purge.min(*last_kept);
        }
    }

    /// Whether live entries lay in segments that are gone, and no purge explains why.
    fn lacks_entries(&self) -> bool {
        let carried = self.carried.iter().filter_map(|record| match record {
            Record::Purge { upto, .. } => Some(*upto),
            _ => None,
        });
        let purged = self
            .marks
            .purged
            .iter()
            .map(|(upto, _)| *upto)
            .chain(carried)
            .max();
        self.needed_purge > purged.unwrap_or(0)
    }
}

/// Cuts the newest old segment back to what is proven, once its last group was written again and is durable.
pub(super) fn trim(segment: &mut Segment, proven_bytes: u64) -> io::Result<()> {
    let mut file = segment.reader.reopen()?;
    file.truncate(proven_bytes)?;
    file.sync_data()?;
    segment.bytes = proven_bytes;
    Ok(())
}
