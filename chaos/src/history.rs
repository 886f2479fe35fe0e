//! The record of a run: one JSON object a line, a header first. `docs_history_format.md` in this crate's folder describes
//! every member.
//!
//! ```text
//! {"type":"header","format":1,"seed":7,"nodes":[1,2,3],…}
//! {"type":"op","id":1,"process":4,"node":2,"kind":"write","key":"a","value":"v1","start_ns":10,"end_ns":90,…}
//! {"type":"fault","kind":"kill_leader","nodes":[1],"start_ns":50,"end_ns":700,"result":"installed"}
//! ```
//!
//! Reading is strict: a history that is not whole is not judged, and every bad line is named by its number. All times
//! are nanoseconds of one monotonic clock, the recorder's, since the run began; nothing is taken from a server's clock.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

mod event;
mod operation;

pub use event::{Due, Fault, FaultResult, Header, Leader, Rotation};
pub use operation::{Answer, Item, Kind, Listed, Operation, Outcome, WrittenItem};

pub(crate) use operation::seconds;

/// The version of the format that this crate writes and reads.
pub const FORMAT: u64 = 1;
/// Bad lines that an error names; the rest is counted.
const MAX_BAD_LINES: usize = 20;

/// A whole run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// What the run was.
    pub header: Header,
    /// What clients did, in the order of the file.
    pub operations: Vec<Operation>,
    /// What was done to the cluster.
    pub faults: Vec<Fault>,
    /// Who was seen leading.
    pub leaders: Vec<Leader>,
    /// Rotations that had to happen.
    pub due: Vec<Due>,
    /// Rotations that happened.
    pub rotations: Vec<Rotation>,
}

impl History {
    /// Reads a whole history.
    ///
    /// # Errors
    /// When the reader fails, or with every bad line. There is no partial history: a verdict on one would be wrong.
    pub fn read(mut reader: impl BufRead) -> Result<Self, ReadError> {
        let mut reading = Reading::default();
        let mut line = Vec::new();
        let mut number = 0;
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line)? == 0 {
                return reading.finish();
            }
            number += 1;
            match line.strip_suffix(b"\n") {
                Some(whole) => reading.take(number, whole),
                None => reading.bad(
                    number,
                    "it is not finished: the recorder was stopped while it wrote",
                ),
            }
        }
    }

    /// Writes it all, so that reading gives the same again.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn write(&self, writer: impl Write) -> io::Result<()> {
        let mut recorder = Recorder::new(writer, &self.header)?;
        for operation in &self.operations {
            recorder.operation(operation)?;
        }
        for fault in &self.faults {
            recorder.fault(fault)?;
        }
        for leader in &self.leaders {
            recorder.leader(leader)?;
        }
        for due in &self.due {
            recorder.due(due)?;
        }
        for rotation in &self.rotations {
            recorder.rotation(rotation)?;
        }
        recorder.flush()
    }

    /// When the last thing in it happened, ns.
    #[must_use]
    pub fn end_ns(&self) -> u64 {
        let operations = self.operations.iter();
        let operations = operations.map(|operation| operation.end_ns.unwrap_or(operation.start_ns));
        let faults = self.faults.iter();
        let faults = faults.map(|fault| fault.end_ns.unwrap_or(fault.start_ns));
        operations.chain(faults).max().unwrap_or(0)
    }

    /// How an operation is named in the trail.
    #[must_use]
    pub fn request_id(&self, operation: &Operation) -> String {
        format!("{}{}", self.header.request_prefix, operation.id)
    }
}

/// Writes a history while it happens: a line at a time, whole lines only.
#[derive(Debug)]
pub struct Recorder<W: Write> {
    writer: W,
}

impl<W: Write> Recorder<W> {
    /// Begins with the header.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn new(writer: W, header: &Header) -> io::Result<Self> {
        let mut recorder = Self { writer };
        recorder.line(&Line::Header(header))?;
        Ok(recorder)
    }

    /// Records an operation that has ended, or is given up.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn operation(&mut self, operation: &Operation) -> io::Result<()> {
        self.line(&Line::Op(operation))
    }

    /// Records a fault.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn fault(&mut self, fault: &Fault) -> io::Result<()> {
        self.line(&Line::Fault(fault))
    }

    /// Records who leads.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn leader(&mut self, leader: &Leader) -> io::Result<()> {
        self.line(&Line::Leader(leader))
    }

    /// Records a rotation that has to happen.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn due(&mut self, due: &Due) -> io::Result<()> {
        self.line(&Line::Due(due))
    }

    /// Records a rotation that happened.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn rotation(&mut self, rotation: &Rotation) -> io::Result<()> {
        self.line(&Line::Rotation(rotation))
    }

    /// Hands everything to the system.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }

    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        self.writer.write_all(&bytes)
    }
}

/// Why a history can not be judged.
#[derive(Debug)]
pub enum ReadError {
    /// The file could not be read.
    Io(io::Error),
    /// These lines are no lines of a history.
    Lines {
        /// The first of them.
        bad: Vec<BadLine>,
        /// How many more there are.
        more: u64,
    },
}

/// A line that is none of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// Its number, from 1.
    pub number: u64,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for ReadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(formatter, "the history can not be read: {error}"),
            Self::Lines { bad, more } => {
                write!(formatter, "the history is not whole, so it is not judged:")?;
                for line in bad {
                    write!(formatter, "\n  line {}: {}", line.number, line.what)?;
                }
                if *more > 0 {
                    write!(formatter, "\n  and {more} more")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Lines { .. } => None,
        }
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A line as it is read.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Record {
    Header(Box<Header>),
    Op(Box<Operation>),
    Fault(Box<Fault>),
    Leader(Leader),
    Due(Due),
    Rotation(Box<Rotation>),
}

/// A line as it is written.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Header(&'a Header),
    Op(&'a Operation),
    Fault(&'a Fault),
    Leader(&'a Leader),
    Due(&'a Due),
    Rotation(&'a Rotation),
}

/// A history on its way in.
#[derive(Default)]
struct Reading {
    history: History,
    has_header: bool,
    ids: BTreeSet<u64>,
    bad: Vec<BadLine>,
    more: u64,
}

impl Reading {
    fn take(&mut self, number: u64, line: &[u8]) {
        let record: Record = match serde_json::from_slice(line) {
            Ok(record) => record,
            Err(error) => return self.bad(number, &in_words(&error)),
        };
        if (number == 1) != matches!(record, Record::Header(_)) {
            let what = if number == 1 {
                "the first line of a history is its header"
            } else {
                "there is one header, and it is the first line"
            };
            return self.bad(number, what);
        }
        match record {
            Record::Header(header) => self.header(number, *header),
            Record::Op(operation) => self.operation(number, *operation),
            Record::Fault(fault) => self.history.faults.push(*fault),
            Record::Leader(leader) => self.history.leaders.push(leader),
            Record::Due(due) => self.history.due.push(due),
            Record::Rotation(rotation) => self.history.rotations.push(*rotation),
        }
    }

    fn header(&mut self, number: u64, header: Header) {
        if header.format != FORMAT {
            let what = format!(
                "it is of format {}, this program reads format {FORMAT}",
                header.format
            );
            self.bad(number, &what);
        }
        self.has_header = true;
        self.history.header = header;
    }

    fn operation(&mut self, number: u64, operation: Operation) {
        if let Some(problem) = operation.problem() {
            return self.bad(number, problem);
        }
        if !self.ids.insert(operation.id) {
            return self.bad(
                number,
                &format!("operation {} is there twice", operation.id),
            );
        }
        self.history.operations.push(operation);
    }

    fn bad(&mut self, number: u64, what: &str) {
        if self.bad.len() == MAX_BAD_LINES {
            self.more += 1;
            return;
        }
        self.bad.push(BadLine {
            number,
            what: what.to_owned(),
        });
    }

    fn finish(mut self) -> Result<History, ReadError> {
        if !self.has_header && self.bad.is_empty() {
            self.bad(1, "the first line of a history is its header");
        }
        if self.bad.is_empty() {
            return Ok(self.history);
        }
        let (bad, more) = (self.bad, self.more);
        Err(ReadError::Lines { bad, more })
    }
}

/// Without serde's own line number, which is always 1 here.
fn in_words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or_default();
    match error.column() {
        0 => what.to_owned(),
        column => format!("{what} (column {column})"),
    }
}
