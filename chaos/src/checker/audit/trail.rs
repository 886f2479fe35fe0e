//! A node's trail, read from its disk and verified on the way: a second implementation, by the format's description.
//!
//! ```text
//! <data>/audit/
//!   0000000000000001-3f0c….jsonl.gz   closed: first event, first 16 hex digits of the chain's head after its last one
//!   0000000000004097-9a71….jsonl      closed, not yet compressed
//!   audit.jsonl                       open; its last line may be half written
//! ```
//! A line is `{"seq":…,…,"hash":"<64 hex digits>"}` and a newline. With B the bytes before `,"hash"`:
//! `hash_n = SHA-256(hash_{n-1} ‖ B)`, and `hash_0` is 32 zero bytes.
//!
//! Memory is bounded by one line. The node should not write meanwhile: a segment that is closed or compressed between
//! two looks is missed here, and that looks like a gap.

use std::collections::VecDeque;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// The segment that is being appended to.
const OPEN: &str = "audit.jsonl";
/// Longest line that is read; events have a few KiB at most.
const MAX_LINE_BYTES: u64 = 1024 * 1024;
/// What stands between a line's body and its hash, and behind it.
const HASH_START: &[u8] = b",\"hash\":\"";
const HASH_END: &[u8] = b"\"}";
/// Hex digits of a hash, and of the part of it in a file's name.
const HASH_DIGITS: usize = 64;
const NAME_DIGITS: usize = 16;

/// A hash of the chain.
pub type Head = [u8; 32];

/// One event, as far as the check looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its number.
    pub seq: u64,
    /// The index of the entry that made it.
    pub index: u64,
    /// What it is: `secret.write` and so on.
    pub event: String,
    /// What came of it: `allow`, `deny` and so on.
    pub outcome: String,
    /// The request that caused it.
    pub request_id: Option<String>,
    /// The secret.
    pub name: Option<String>,
    /// The version.
    pub version: Option<u64>,
    /// The chain's head after it.
    pub head: Head,
}

/// The first thing that is wrong with a trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub file: String,
    /// The line, from 1; 0 for the file as a whole.
    pub line: u64,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(formatter, "{}: {}", self.file, self.what),
            line => write!(formatter, "{}, line {line}: {}", self.file, self.what),
        }
    }
}

/// The events of one node from the first one on; each is verified before it is handed out.
pub struct Trail {
    waiting: VecDeque<Segment>,
    current: Option<Opened>,
    next_seq: u64,
    head: Head,
    last_index: u64,
    has_failed: bool,
}

struct Segment {
    path: PathBuf,
    file: String,
    /// First event and beginning of the last head, from a closed segment's name.
    closed: Option<(u64, String)>,
    is_compressed: bool,
}

struct Opened {
    segment: Segment,
    reader: Box<dyn BufRead>,
    line: u64,
}

impl Trail {
    /// Opens the trail in this folder, from genesis on.
    ///
    /// # Errors
    /// When the folder can not be listed.
    pub fn open(folder: &Path) -> Result<Self, Fault> {
        let mut closed: Vec<Segment> = Vec::new();
        let fault = |error: io::Error| Fault {
            file: folder.display().to_string(),
            line: 0,
            what: error.to_string(),
        };
        for entry in fs::read_dir(folder).map_err(fault)? {
            let path = entry.map_err(fault)?.path();
            closed.extend(closed_segment(&path));
        }
        // A crash can leave both forms of a segment: the plain one first, the other one is dropped.
        closed.sort_by_key(|segment| (segment.closed.clone(), segment.is_compressed));
        closed.dedup_by(|later, earlier| later.closed == earlier.closed);
        let mut waiting = VecDeque::from(closed);
        let path = folder.join(OPEN);
        if path.exists() {
            waiting.push_back(Segment {
                path,
                file: OPEN.to_owned(),
                closed: None,
                is_compressed: false,
            });
        }
        Ok(Self {
            waiting,
            current: None,
            next_seq: 1,
            head: [0; 32],
            last_index: 0,
            has_failed: false,
        })
    }

    fn advance(&mut self) -> Result<Option<Event>, Fault> {
        let mut buffer = Vec::new();
        loop {
            let Some(opened) = &mut self.current else {
                let Some(segment) = self.waiting.pop_front() else {
                    return Ok(None);
                };
                self.current = Some(segment.open(self.next_seq)?);
                continue;
            };
            buffer.clear();
            opened.line += 1;
            let read = opened
                .reader
                .by_ref()
                .take(MAX_LINE_BYTES)
                .read_until(b'\n', &mut buffer);
            let is_open = opened.segment.closed.is_none();
            match read {
                Err(error) => return Err(opened.fault(error.to_string())),
                Ok(0) => {
                    opened.line = 0;
                    if !opened.segment.ends_with(&self.head) {
                        return Err(opened.fault("it does not end with the head in its name"));
                    }
                    self.current = None;
                }
                Ok(_) => match buffer.strip_suffix(b"\n") {
                    Some(line) => return self.line(line).map(Some),
                    // The writer was stopped in the middle of it; at the next start it writes it again.
                    None if is_open && (buffer.len() as u64) < MAX_LINE_BYTES => return Ok(None),
                    None => return Err(opened.fault("the line does not end")),
                },
            }
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<Event, Fault> {
        let Some((body, digits)) = split(line) else {
            return Err(self.fault("the line does not end with a hash"));
        };
        let event: LineJson = match serde_json::from_slice(line) {
            Ok(event) => event,
            Err(error) => return Err(self.fault(error.to_string())),
        };
        if event.seq != self.next_seq {
            let (found, expected) = (event.seq, self.next_seq);
            return Err(self.fault(format!(
                "event {found} stands where event {expected} should"
            )));
        }
        let mut hasher = Sha256::new();
        hasher.update(self.head);
        hasher.update(body);
        let head: Head = hasher.finalize().into();
        if hex(&head).as_bytes() != digits {
            return Err(self.fault(format!(
                "the hash of event {} does not follow from the line before and this one",
                event.seq
            )));
        }
        if event.index < self.last_index {
            let (found, before) = (event.index, self.last_index);
            return Err(self.fault(format!("the index goes back from {before} to {found}")));
        }
        self.head = head;
        self.last_index = event.index;
        self.next_seq += 1;
        Ok(Event {
            seq: event.seq,
            index: event.index,
            event: event.event,
            outcome: event.outcome,
            request_id: event.request_id,
            name: event.name,
            version: event.version,
            head,
        })
    }

    fn fault(&self, what: impl Into<String>) -> Fault {
        match &self.current {
            Some(opened) => opened.fault(what),
            None => Fault {
                file: OPEN.to_owned(),
                line: 0,
                what: what.into(),
            },
        }
    }
}

/// Ends after the first fault.
impl Iterator for Trail {
    type Item = Result<Event, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_failed {
            return None;
        }
        let next = self.advance().transpose();
        self.has_failed = matches!(next, Some(Err(_)));
        next
    }
}

impl Segment {
    fn open(self, next_seq: u64) -> Result<Opened, Fault> {
        let fault = |what: String| Fault {
            file: self.file.clone(),
            line: 0,
            what,
        };
        if let Some((first_seq, _)) = &self.closed
            && *first_seq != next_seq
        {
            return Err(fault(format!(
                "it begins with event {first_seq}, and event {next_seq} is in no file"
            )));
        }
        let file = File::open(&self.path).map_err(|error| fault(error.to_string()))?;
        let file = BufReader::new(file);
        let reader: Box<dyn BufRead> = if self.is_compressed {
            Box::new(BufReader::new(MultiGzDecoder::new(file)))
        } else {
            Box::new(file)
        };
        Ok(Opened {
            segment: self,
            reader,
            line: 0,
        })
    }

    fn ends_with(&self, head: &Head) -> bool {
        let promised = self.closed.as_ref().map(|(_, beginning)| beginning);
        promised.is_none_or(|beginning| hex(head).starts_with(beginning.as_str()))
    }
}

impl Opened {
    fn fault(&self, what: impl Into<String>) -> Fault {
        Fault {
            file: self.segment.file.clone(),
            line: self.line,
            what: what.into(),
        }
    }
}

#[derive(Deserialize)]
struct LineJson {
    seq: u64,
    index: u64,
    event: String,
    outcome: String,
    request_id: Option<String>,
    name: Option<String>,
    version: Option<u64>,
}

/// A closed segment by its file's name: sixteen or more digits, a dash, sixteen hex digits.
fn closed_segment(path: &Path) -> Option<Segment> {
    let file = path.file_name()?.to_str()?;
    let (stem, is_compressed) = match file.strip_suffix(".jsonl.gz") {
        Some(stem) => (stem, true),
        None => (file.strip_suffix(".jsonl")?, false),
    };
    let (digits, beginning) = stem.split_once('-')?;
    let is_number = digits.len() >= NAME_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    let is_head = beginning.len() == NAME_DIGITS && beginning.bytes().all(is_lower_hex);
    if !is_number || !is_head {
        return None;
    }
    Some(Segment {
        path: path.to_owned(),
        file: file.to_owned(),
        closed: Some((digits.parse().ok()?, beginning.to_owned())),
        is_compressed,
    })
}

/// A line's body and the digits of its hash.
fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let tail = HASH_START.len() + HASH_DIGITS + HASH_END.len();
    let (body, rest) = line.split_at_checked(line.len().checked_sub(tail)?)?;
    let digits = rest.strip_prefix(HASH_START)?.strip_suffix(HASH_END)?;
    Some((body, digits))
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn hex(bytes: &[u8]) -> String {
    let digit = |number: u8| char::from_digit(u32::from(number), 16).unwrap_or('0');
    let digits = bytes.iter();
    digits
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}
