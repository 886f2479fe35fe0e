//! Secrecy (C2, rule 12): a canary value is found in no file, in no form, outside of its one legitimate answer.
//!
//! A canary is looked for in pieces of 16 bytes, each in every form in which it could have been written: a part of a
//! value is a leak, too. So no piece of a canary may occur by accident: every 16 bytes of it hold random ones.
//! Files are read once, as a stream, however many canaries there are; what is compressed (`.gz`) is searched as it lies
//! there and uncompressed.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::{Inquiry, Report, Story};

mod forms;

/// Pieces of this length are looked for; sixteen random bytes do not occur by accident.
const PIECE_BYTES: usize = 16;
/// A shorter canary would be found where it is not.
const MIN_CANARY_BYTES: usize = 8;
/// Bytes that are read at once.
const CHUNK_BYTES: u64 = 1024 * 1024;
/// Slots of the filter over the first four bytes of what is looked for.
const FILTER_SLOTS: usize = 1 << 20;
/// Places that are told for one file.
const MAX_HITS: usize = 5;

/// What must not be found.
#[derive(Clone, PartialEq, Eq)]
pub struct Canary {
    /// How a report calls it; reports do not show the value.
    pub name: String,
    /// The value.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Canary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Canary({})", self.name)
    }
}

/// A canary of which a part would occur by accident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooShort {
    /// Its name.
    pub canary: String,
}

impl fmt::Display for TooShort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "the canary {} has less than {MIN_CANARY_BYTES} bytes and would be found by accident; take a longer one",
            self.canary
        )
    }
}

impl std::error::Error for TooShort {}

/// All that is looked for, ready for one pass over any number of files.
pub struct Search {
    names: Vec<String>,
    needles: Vec<Needle>,
    /// First four bytes → the needles that begin so.
    starts: HashMap<u32, Vec<usize>>,
    /// Whether there may be such needles: cheap to ask at every byte.
    filter: Vec<bool>,
    longest: usize,
}

struct Needle {
    canary: usize,
    form: &'static str,
    bytes: Vec<u8>,
}

/// Where something was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The canary's name.
    pub canary: String,
    /// In which form.
    pub form: &'static str,
    /// At which byte.
    pub offset: u64,
}

/// What one stream held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Searched {
    /// Its length.
    pub bytes: u64,
    /// The first places.
    pub hits: Vec<Hit>,
}

impl Search {
    /// Prepares the search for these canaries.
    ///
    /// # Errors
    /// When one is too short to be searched for.
    pub fn new(canaries: &[Canary]) -> Result<Self, TooShort> {
        let mut search = Self {
            names: Vec::new(),
            needles: Vec::new(),
            starts: HashMap::new(),
            filter: vec![false; FILTER_SLOTS],
            longest: 0,
        };
        for canary in canaries {
            if canary.bytes.len() < MIN_CANARY_BYTES {
                let canary = canary.name.clone();
                return Err(TooShort { canary });
            }
            search.add(canary);
        }
        Ok(search)
    }

    fn add(&mut self, canary: &Canary) {
        let number = self.names.len();
        self.names.push(canary.name.clone());
        let bytes = canary.bytes.as_slice();
        let pieces: Vec<&[u8]> = if bytes.len() < PIECE_BYTES {
            vec![bytes]
        } else {
            bytes.chunks_exact(PIECE_BYTES).collect()
        };
        let of_pieces = pieces.into_iter().flat_map(forms::of_bytes);
        // Escapes change the length, so text is looked for as a whole.
        for (form, bytes) in of_pieces.chain(forms::of_text(bytes)) {
            let window = bytes.iter().take(4);
            let window = window.fold(0, |window, byte| push(window, *byte));
            self.filter[slot(window)] = true;
            self.starts
                .entry(window)
                .or_default()
                .push(self.needles.len());
            self.longest = self.longest.max(bytes.len());
            self.needles.push(Needle {
                canary: number,
                form,
                bytes,
            });
        }
    }

    /// Searches a stream to its end.
    ///
    /// # Errors
    /// When it can not be read.
    pub fn search(&self, mut reader: impl Read) -> io::Result<Searched> {
        let mut searched = Searched::default();
        let mut buffer: Vec<u8> = Vec::new();
        loop {
            let read = reader.by_ref().take(CHUNK_BYTES).read_to_end(&mut buffer)? as u64;
            let is_end = read < CHUNK_BYTES;
            // What begins near the end of the buffer is looked at when the rest of it is there.
            let overlap = if is_end { 0 } else { self.longest };
            let done = buffer.len().saturating_sub(overlap);
            self.scan(&buffer, done, &mut searched);
            buffer.drain(..done);
            searched.bytes += done as u64;
            if is_end {
                return Ok(searched);
            }
        }
    }

    /// Looks at every place before `done`; `searched.bytes` is where the buffer begins in the stream.
    fn scan(&self, buffer: &[u8], done: usize, searched: &mut Searched) {
        let mut window = 0;
        for (at, byte) in buffer.iter().enumerate() {
            window = push(window, *byte);
            if at < 3 || !self.filter[slot(window)] {
                continue;
            }
            let place = at - 3;
            if place >= done {
                return;
            }
            for needle in self.starts.get(&window).into_iter().flatten() {
                let needle = &self.needles[*needle];
                if buffer[place..].starts_with(&needle.bytes) && searched.hits.len() < MAX_HITS {
                    searched.hits.push(Hit {
                        canary: self.names[needle.canary].clone(),
                        form: needle.form,
                        offset: searched.bytes + place as u64,
                    });
                }
            }
        }
    }
}

fn push(window: u32, byte: u8) -> u32 {
    (window << 8) | u32::from(byte)
}

/// Multiplicative hashing: the highest 20 bits.
fn slot(window: u32) -> usize {
    (window.wrapping_mul(0x9e37_79b1) >> 12) as usize
}

/// Searches files and folders, and everything below them. `allowed` are the files and folders in which a canary may be.
///
/// Links are not followed. A file that goes while this looks is counted; one that can not be read makes it "unknown".
#[must_use]
pub fn check(search: &Search, places: &[PathBuf], allowed: &[PathBuf]) -> Report {
    let mut inquiry = Inquiry::new("secrecy");
    inquiry.count("canaries", search.names.len() as u64);
    inquiry.count("forms", search.needles.len() as u64);
    inquiry.count("bytes", 0);
    inquiry.count("files left out", 0);
    inquiry.count("files that went", 0);
    if search.names.is_empty() {
        inquiry.doubt("there is no canary to look for");
    }
    let mut pending: Vec<PathBuf> = places.to_vec();
    while let Some(path) = pending.pop() {
        if allowed.iter().any(|allowed| path.starts_with(allowed)) {
            inquiry.count("files left out", 1);
            continue;
        }
        if let Err(error) = look(&mut inquiry, search, &path, &mut pending) {
            if error.kind() == io::ErrorKind::NotFound && !places.contains(&path) {
                inquiry.count("files that went", 1);
            } else {
                inquiry.doubt(format!("{} can not be read: {error}", path.display()));
            }
        }
    }
    inquiry.end("files")
}

fn look(
    inquiry: &mut Inquiry,
    search: &Search,
    path: &Path,
    pending: &mut Vec<PathBuf>,
) -> io::Result<()> {
    let kind = fs::symlink_metadata(path)?.file_type();
    if kind.is_dir() {
        for entry in fs::read_dir(path)? {
            pending.push(entry?.path());
        }
        return Ok(());
    }
    if !kind.is_file() {
        // Links, sockets and pipes hold nothing of their own.
        inquiry.count("files left out", 1);
        return Ok(());
    }
    let searched = search.search(File::open(path)?)?;
    inquiry.count("files", 1);
    inquiry.count("bytes", searched.bytes);
    found(inquiry, path, "", &searched);
    if path.extension().is_some_and(|extension| extension == "gz") {
        let plain = MultiGzDecoder::new(BufReader::new(File::open(path)?));
        let searched = search.search(plain)?;
        inquiry.count("bytes uncompressed", searched.bytes);
        found(inquiry, path, ", uncompressed", &searched);
    }
    Ok(())
}

fn found(inquiry: &mut Inquiry, path: &Path, how: &str, searched: &Searched) {
    if searched.hits.is_empty() {
        return;
    }
    let mut story = Story::new(format!("a canary is in {}{how}", path.display()));
    for hit in &searched.hits {
        story = story.note(format!(
            "{}, {}, at byte {}",
            hit.canary, hit.form, hit.offset
        ));
    }
    inquiry.violated(story);
}
