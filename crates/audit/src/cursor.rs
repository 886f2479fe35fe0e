//! Walks the segments of a folder in order, beside a writer that appends, closes, compresses and retires.
//!
//! Nothing is locked. What makes it safe: bytes once written never change, a file keeps its content when it is
//! renamed, and the compressed form is complete before the plain one goes. A listing can miss a file that is renamed
//! meanwhile, so whatever looks wrong is looked at again a few times before it is believed.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::bufread::MultiGzDecoder;
use jarvis_disk::DiskHandle;

use crate::line::{self, MAX_LINE_BYTES};
use crate::names::{OPEN_NAME, SegmentName};

/// How often an odd folder is looked at again. Renames and removals take microseconds; together with the pause this
/// waits a twentieth of a second, enough for a thread that lost its processor between two of them.
const ATTEMPTS: u32 = 10;
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(5);
/// Read buffer: large sequential reads.
const BUFFER_BYTES: usize = 64 * 1024;

/// Where the segments to read lie. A path is a plain folder.
#[derive(Debug, Clone)]
pub struct Folder {
    dir: PathBuf,
    /// The disk of a running node; `None` for plain files, which may lie anywhere and be read-only.
    disk: Option<DiskHandle>,
}

impl Folder {
    /// A folder on the disk of a running node. A segment is read at once: it has a few MiB.
    #[must_use]
    pub fn on(disk: DiskHandle, dir: PathBuf) -> Self {
        Self {
            dir,
            disk: Some(disk),
        }
    }

    fn file_names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        match &self.disk {
            Some(disk) => {
                for path in disk.list(&self.dir)? {
                    names.extend(path.file_name().and_then(OsStr::to_str).map(str::to_owned));
                }
            }
            None => {
                for entry in std::fs::read_dir(&self.dir)? {
                    names.extend(entry?.file_name().to_str().map(str::to_owned));
                }
            }
        }
        Ok(names)
    }

    /// `None` if there is no such file.
    fn open(&self, file_name: &str) -> io::Result<Option<Box<dyn BufRead + Send>>> {
        let path = self.dir.join(file_name);
        let opened = match &self.disk {
            Some(disk) => disk.read(&path).map(|bytes| {
                let reader: Box<dyn BufRead + Send> = Box::new(io::Cursor::new(bytes));
                reader
            }),
            None => File::open(&path).map(|file| {
                let reader: Box<dyn BufRead + Send> =
                    Box::new(BufReader::with_capacity(BUFFER_BYTES, file));
                reader
            }),
        };
        match opened {
            Ok(reader) => Ok(Some(reader)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl<P: AsRef<Path> + ?Sized> From<&P> for Folder {
    fn from(dir: &P) -> Self {
        Self {
            dir: dir.as_ref().to_path_buf(),
            disk: None,
        }
    }
}

/// What comes next in the trail.
pub(crate) enum Next {
    /// A segment that starts with the wanted event (or whose first line can not be read).
    Segment(OpenedSegment),
    /// The trail ends here.
    End {
        /// There are bytes of a first line that is still being written.
        unfinished: bool,
    },
    /// No segment starts with the wanted event, but later ones exist.
    Gap { next_first_seq: u64 },
    /// Two closed segments with different heads start with the wanted event.
    Ambiguous { names: Vec<String> },
}

/// A segment being read.
pub(crate) struct OpenedSegment {
    /// File name inside the folder.
    pub(crate) file_name: String,
    /// What the name promises; `None` for the open segment.
    pub(crate) closed: Option<SegmentName>,
    pub(crate) compressed: bool,
    reader: Box<dyn BufRead + Send>,
}

impl std::fmt::Debug for OpenedSegment {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("OpenedSegment")
            .field("file_name", &self.file_name)
            .finish_non_exhaustive()
    }
}

/// One step through a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineRead {
    /// A whole line; the buffer holds it without its newline.
    Line,
    /// Bytes without a newline at the end of the file.
    Unfinished,
    /// More than [`MAX_LINE_BYTES`] without a newline.
    TooLong,
    End,
}

impl OpenedSegment {
    /// Reads the next line into `buffer`, which is cleared first.
    pub(crate) fn next_line(&mut self, buffer: &mut Vec<u8>) -> io::Result<LineRead> {
        buffer.clear();
        let limit = MAX_LINE_BYTES as u64;
        let read = self.reader.by_ref().take(limit).read_until(b'\n', buffer)?;
        if buffer.last() == Some(&b'\n') {
            buffer.pop();
            return Ok(LineRead::Line);
        }
        Ok(match read {
            0 => LineRead::End,
            MAX_LINE_BYTES => LineRead::TooLong,
            _ => LineRead::Unfinished,
        })
    }
}

/// The names of closed segments in `folder`, in order, each once.
pub(crate) fn list(folder: &Folder) -> io::Result<Vec<SegmentName>> {
    let files = folder.file_names()?;
    let parsed = files.iter().filter_map(|name| SegmentName::parse(name));
    let mut names: Vec<SegmentName> = parsed.map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// The sequence number of the first event in the open segment, if it has a whole line.
pub(crate) fn open_first_seq(folder: &Folder) -> io::Result<Option<u64>> {
    Ok(match look_at_open(folder)? {
        Open::Starts { first_seq, .. } => Some(first_seq),
        Open::Absent | Open::Empty { .. } | Open::Unreadable { .. } => None,
    })
}

/// Finds and opens the segment that starts with event `first_seq`.
pub(crate) fn find(folder: &Folder, first_seq: u64) -> io::Result<Next> {
    let mut outcome = look(folder, first_seq)?;
    for _ in 1..ATTEMPTS {
        match outcome {
            Look::Sure(next) => return Ok(next),
            Look::Doubtful(_) => {
                pause();
                outcome = look(folder, first_seq)?;
            }
        }
    }
    match outcome {
        Look::Sure(next) | Look::Doubtful(next) => Ok(next),
    }
}

/// Readers of plain files block, outside any runtime.
fn pause() {
    std::thread::sleep(PAUSE);
}

enum Look {
    Sure(Next),
    /// A race could explain it.
    Doubtful(Next),
}

fn look(folder: &Folder, first_seq: u64) -> io::Result<Look> {
    let names: Vec<SegmentName> = list(folder)?
        .into_iter()
        .filter(|name| name.first_seq == first_seq)
        .collect();
    match names.as_slice() {
        [] => {}
        [name] => {
            if let Some(segment) = open_closed(folder, name)? {
                return Ok(Look::Sure(Next::Segment(segment)));
            }
        }
        several => {
            let names = several.iter().map(SegmentName::plain).collect();
            return Ok(Look::Doubtful(Next::Ambiguous { names }));
        }
    }
    let open = look_at_open(folder)?;
    if let Open::Starts {
        first_seq: starts,
        segment,
    } = open
    {
        if starts <= first_seq {
            let next = Next::Segment(segment);
            return Ok(if starts == first_seq {
                Look::Sure(next)
            } else {
                Look::Doubtful(next)
            });
        }
        let closed = later(folder, first_seq)?.unwrap_or(starts);
        return Ok(Look::Doubtful(Next::Gap {
            next_first_seq: closed.min(starts),
        }));
    }
    // The open segment tells nothing, perhaps because it was closed between the listing and now: list again.
    if let Some(next_first_seq) = later(folder, first_seq)? {
        return Ok(Look::Doubtful(Next::Gap { next_first_seq }));
    }
    Ok(Look::Sure(match open {
        Open::Unreadable { segment } => Next::Segment(segment),
        Open::Empty { unfinished } => Next::End { unfinished },
        Open::Absent | Open::Starts { .. } => Next::End { unfinished: false },
    }))
}

/// The first closed segment that starts at or after `first_seq`.
fn later(folder: &Folder, first_seq: u64) -> io::Result<Option<u64>> {
    let names = list(folder)?;
    Ok(names
        .iter()
        .map(|name| name.first_seq)
        .find(|starts| *starts >= first_seq))
}

fn open_closed(folder: &Folder, name: &SegmentName) -> io::Result<Option<OpenedSegment>> {
    // Plain, compressed, and plain again: a restarting node may have put the plain form back.
    for (file_name, compressed) in [
        (name.plain(), false),
        (name.compressed(), true),
        (name.plain(), false),
    ] {
        let Some(file) = folder.open(&file_name)? else {
            continue;
        };
        let reader: Box<dyn BufRead + Send> = if compressed {
            Box::new(BufReader::with_capacity(
                BUFFER_BYTES,
                MultiGzDecoder::new(file),
            ))
        } else {
            file
        };
        return Ok(Some(OpenedSegment {
            file_name,
            closed: Some(name.clone()),
            compressed,
            reader,
        }));
    }
    Ok(None)
}

enum Open {
    Absent,
    Empty {
        unfinished: bool,
    },
    /// There is a whole first line, but no sequence number in it.
    Unreadable {
        segment: OpenedSegment,
    },
    Starts {
        first_seq: u64,
        segment: OpenedSegment,
    },
}

fn look_at_open(folder: &Folder) -> io::Result<Open> {
    let Some(reader) = folder.open(OPEN_NAME)? else {
        return Ok(Open::Absent);
    };
    let mut segment = OpenedSegment {
        file_name: OPEN_NAME.to_owned(),
        closed: None,
        compressed: false,
        reader,
    };
    let mut first = Vec::new();
    let read = segment.next_line(&mut first)?;
    let first_seq = match read {
        LineRead::End => return Ok(Open::Empty { unfinished: false }),
        LineRead::Unfinished => return Ok(Open::Empty { unfinished: true }),
        LineRead::Line | LineRead::TooLong => line::seq_of(&first),
    };
    // Hand out a reader that starts with the line just read.
    if read == LineRead::Line {
        first.push(b'\n');
    }
    segment.reader = Box::new(io::Cursor::new(first).chain(segment.reader));
    Ok(match first_seq {
        Some(first_seq) => Open::Starts { first_seq, segment },
        None => Open::Unreadable { segment },
    })
}
