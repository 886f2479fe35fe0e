//! Walks the segments of a plain folder in order, beside a writer that appends, closes, compresses and retires.
//!
//! Nothing is locked. What makes it safe: bytes once written never change, a file keeps its content when it is
//! renamed, and the compressed form is complete before the plain one goes. A listing can miss a file that is renamed
//! meanwhile, so whatever looks wrong is looked at again a few times before it is believed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use flate2::bufread::MultiGzDecoder;

use crate::line::{self, MAX_LINE_BYTES};
use crate::names::{OPEN_NAME, SegmentName};

/// How often an odd folder is looked at again. Renames and removals take microseconds; together with the pause this
/// waits a twentieth of a second, enough for a thread that lost its processor between two of them.
const ATTEMPTS: u32 = 10;
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(5);
/// Read buffer: large sequential reads.
const BUFFER_BYTES: usize = 64 * 1024;

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

/// The names of closed segments in `dir`, in order, each once.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<SegmentName>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        if let Some((name, _)) = entry?.file_name().to_str().and_then(SegmentName::parse) {
            names.push(name);
        }
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// The sequence number of the first event in the open segment, if it has a whole line.
pub(crate) fn open_first_seq(dir: &Path) -> io::Result<Option<u64>> {
    Ok(match look_at_open(dir)? {
        Open::Starts { first_seq, .. } => Some(first_seq),
        Open::Absent | Open::Empty { .. } | Open::Unreadable { .. } => None,
    })
}

/// Finds and opens the segment that starts with event `first_seq`.
pub(crate) fn find(dir: &Path, first_seq: u64) -> io::Result<Next> {
    let mut outcome = look(dir, first_seq)?;
    for _ in 1..ATTEMPTS {
        match outcome {
            Look::Sure(next) => return Ok(next),
            Look::Doubtful(_) => {
                pause();
                outcome = look(dir, first_seq)?;
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

fn look(dir: &Path, first_seq: u64) -> io::Result<Look> {
    let names: Vec<SegmentName> = list(dir)?
        .into_iter()
        .filter(|name| name.first_seq == first_seq)
        .collect();
    match names.as_slice() {
        [] => {}
        [name] => {
            if let Some(segment) = open_closed(dir, name)? {
                return Ok(Look::Sure(Next::Segment(segment)));
            }
        }
        several => {
            let names = several.iter().map(SegmentName::plain).collect();
            return Ok(Look::Doubtful(Next::Ambiguous { names }));
        }
    }
    let open = look_at_open(dir)?;
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
        let closed = later(dir, first_seq)?.unwrap_or(starts);
        return Ok(Look::Doubtful(Next::Gap {
            next_first_seq: closed.min(starts),
        }));
    }
    // The open segment tells nothing, perhaps because it was closed between the listing and now: list again.
    if let Some(next_first_seq) = later(dir, first_seq)? {
        return Ok(Look::Doubtful(Next::Gap { next_first_seq }));
    }
    Ok(Look::Sure(match open {
        Open::Unreadable { segment } => Next::Segment(segment),
        Open::Empty { unfinished } => Next::End { unfinished },
        Open::Absent | Open::Starts { .. } => Next::End { unfinished: false },
    }))
}

/// The first closed segment that starts at or after `first_seq`.
fn later(dir: &Path, first_seq: u64) -> io::Result<Option<u64>> {
    let names = list(dir)?;
    Ok(names
        .iter()
        .map(|name| name.first_seq)
        .find(|starts| *starts >= first_seq))
}

fn open_closed(dir: &Path, name: &SegmentName) -> io::Result<Option<OpenedSegment>> {
    // Plain, compressed, and plain again: a restarting node may have put the plain form back.
    for (file_name, compressed) in [
        (name.plain(), false),
        (name.compressed(), true),
        (name.plain(), false),
    ] {
        let file = match File::open(dir.join(&file_name)) {
            Ok(file) => BufReader::with_capacity(BUFFER_BYTES, file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let reader: Box<dyn BufRead + Send> = if compressed {
            Box::new(BufReader::with_capacity(
                BUFFER_BYTES,
                MultiGzDecoder::new(file),
            ))
        } else {
            Box::new(file)
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

fn look_at_open(dir: &Path) -> io::Result<Open> {
    let file = match File::open(dir.join(OPEN_NAME)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Open::Absent),
        Err(error) => return Err(error),
    };
    let mut segment = OpenedSegment {
        file_name: OPEN_NAME.to_owned(),
        closed: None,
        compressed: false,
        reader: Box::new(BufReader::with_capacity(BUFFER_BYTES, file)),
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
