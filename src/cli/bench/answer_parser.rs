//! Answers taken apart as they come in: no more of HTTP/1.1 than it takes to know their status and
//! where they end.
//!
//! ```text
//! status line ─► header lines ─► empty line ─┬─► as many bytes as content-length says ─► end
//!    ▲                               │       ├─► size, chunk, size, chunk, … 0 ─► trailer ─► end
//!    └──────────── 1xx ──────────────┘       └─► neither: up to the end of the connection
//! ```
//!
//! Strict: whatever two readers could take for answers of different lengths is an error (RFC 9112,
//! section 6.3), and so is a byte after the end. A measurement that takes one request's answer for
//! another's is worth nothing.

use std::mem;

use hyper::StatusCode;

use super::answer::Answer;

/// Heads of both engines have a few hundred bytes; this also bounds a trailer.
const MOST_HEAD_BYTES: usize = 64 * 1024;

/// The size of a chunk has at most 16 digits; nobody needs its extensions.
const MOST_SIZE_BYTES: usize = 256;

/// Error codes, log ids and the status of a cluster are far shorter; the rest is read and dropped.
const KEPT_BODY_BYTES: usize = 64 * 1024;

/// Which bodies to keep: copying those that nobody reads would cost the load generator.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    Refusals,
    Everything,
}

/// Why bytes are no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    /// Another protocol or version, or no status.
    #[error("it does not begin with a status line of HTTP/1.1")]
    StatusLine,
    /// Control characters, or a line feed alone.
    #[error("a line holds a control character, or does not end with CR LF")]
    Line,
    /// No colon, or no name before it.
    #[error("a header field has no proper name")]
    Field,
    /// Two lengths, both kinds of length, or none that can be read.
    #[error("the length of the body is unclear")]
    Length,
    /// A size that is none, or bytes after a chunk.
    #[error("a chunk of the body is malformed")]
    Chunk,
    /// Rule 10: nothing is read without a bound.
    #[error("a head, a trailer or a line is too long")]
    TooLong,
    /// They can only belong to a request that nobody sent.
    #[error("bytes follow the end of the answer")]
    Unasked,
}

/// Reads one answer.
pub(super) struct AnswerParser {
    keep: Keep,
    next: Next,
    /// A line whose end has not come yet.
    begun: Vec<u8>,
    /// So many bytes may the lines of this part still have.
    room: usize,
    head: Head,
    body: Vec<u8>,
}

/// What the next byte belongs to.
#[derive(Clone, Copy)]
enum Next {
    Line(Line),
    Content { left: u64 },
    Chunk { left: u64 },
    ContentUntilClose,
    Nothing,
}

#[derive(Clone, Copy)]
enum Line {
    Status,
    Field,
    ChunkSize,
    /// The empty one after a chunk.
    ChunkEnd,
    Trailer,
}

/// What matters of a head.
#[derive(Default)]
struct Head {
    status: StatusCode,
    stays_open: bool,
    length: Option<u64>,
    is_chunked: bool,
}

impl AnswerParser {
    pub(super) fn new(keep: Keep) -> Self {
        Self {
            keep,
            next: Next::Line(Line::Status),
            begun: Vec::new(),
            room: MOST_HEAD_BYTES,
            head: Head::default(),
            body: Vec::new(),
        }
    }

    /// Takes the next bytes of the connection; whether the answer is complete now.
    ///
    /// # Errors
    /// [`Malformed`]; nothing more can be read from the connection then.
    pub(super) fn feed(&mut self, mut input: &[u8]) -> Result<bool, Malformed> {
        while !input.is_empty() {
            match self.next {
                Next::Line(line) => self.take_line(line, &mut input)?,
                Next::Content { left } => {
                    self.next = match left - self.take_content(left, &mut input) {
                        0 => Next::Nothing,
                        left => Next::Content { left },
                    };
                }
                Next::Chunk { left } => {
                    self.next = match left - self.take_content(left, &mut input) {
                        0 => Next::Line(Line::ChunkEnd),
                        left => Next::Chunk { left },
                    };
                }
                Next::ContentUntilClose => {
                    self.take_content(u64::MAX, &mut input);
                }
                Next::Nothing => return Err(Malformed::Unasked),
            }
        }
        Ok(matches!(self.next, Next::Nothing))
    }

    /// Whether the answer is complete when the connection ends here.
    pub(super) fn may_end_here(&self) -> bool {
        matches!(self.next, Next::ContentUntilClose)
    }

    /// The answer, and whether the connection can be used for another one.
    pub(super) fn finish(self) -> (Answer, bool) {
        let answer = Answer {
            status: self.head.status,
            body: self.body,
        };
        (answer, self.head.stays_open)
    }

    /// Takes at most so much of a body; how much it was.
    fn take_content(&mut self, most: u64, input: &mut &[u8]) -> u64 {
        let whole = *input;
        let taken = usize::try_from(most).map_or(whole.len(), |most| most.min(whole.len()));
        let (content, rest) = whole.split_at(taken);
        *input = rest;
        if self.keep == Keep::Everything || !self.head.status.is_success() {
            let room = KEPT_BODY_BYTES.saturating_sub(self.body.len());
            self.body.extend_from_slice(&content[..taken.min(room)]);
        }
        taken as u64
    }

    /// Takes the input up to the end of a line, and reads the line if it is whole.
    fn take_line(&mut self, line: Line, input: &mut &[u8]) -> Result<(), Malformed> {
        let whole = *input;
        let end = whole.iter().position(|byte| *byte == b'\n');
        let (text, rest) = whole.split_at(end.map_or(whole.len(), |end| end + 1));
        *input = rest;
        self.room = self
            .room
            .checked_sub(text.len())
            .ok_or(Malformed::TooLong)?;
        if end.is_none() {
            self.begun.extend_from_slice(text);
            return Ok(());
        }
        if self.begun.is_empty() {
            return self.read_line(line, text);
        }
        let mut begun = mem::take(&mut self.begun);
        begun.extend_from_slice(text);
        self.read_line(line, &begun)
    }

    fn read_line(&mut self, line: Line, text: &[u8]) -> Result<(), Malformed> {
        let text = text.strip_suffix(b"\r\n").ok_or(Malformed::Line)?;
        if text.iter().any(|byte| is_control(*byte)) {
            return Err(Malformed::Line);
        }
        match line {
            Line::Status => {
                self.head = Head::of_status_line(text).ok_or(Malformed::StatusLine)?;
                self.next = Next::Line(Line::Field);
            }
            Line::Field if text.is_empty() => self.end_head()?,
            Line::Field => self.head.read_field(text)?,
            Line::ChunkSize => match chunk_size(text).ok_or(Malformed::Chunk)? {
                0 => {
                    self.room = MOST_HEAD_BYTES;
                    self.next = Next::Line(Line::Trailer);
                }
                left => self.next = Next::Chunk { left },
            },
            Line::ChunkEnd if text.is_empty() => self.expect_chunk(),
            Line::ChunkEnd => return Err(Malformed::Chunk),
            Line::Trailer if text.is_empty() => self.next = Next::Nothing,
            Line::Trailer => {
                field(text)?;
            }
        }
        Ok(())
    }

    /// Decides how long the body is.
    fn end_head(&mut self) -> Result<(), Malformed> {
        let status = self.head.status;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Malformed::StatusLine);
        }
        if status.is_informational() {
            self.next = Next::Line(Line::Status);
            return Ok(());
        }
        if status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
            self.next = Next::Nothing;
            return Ok(());
        }
        match (self.head.is_chunked, self.head.length) {
            (true, Some(_)) => return Err(Malformed::Length),
            (true, None) => self.expect_chunk(),
            (false, Some(0)) => self.next = Next::Nothing,
            (false, Some(left)) => self.next = Next::Content { left },
            (false, None) => {
                self.head.stays_open = false;
                self.next = Next::ContentUntilClose;
            }
        }
        Ok(())
    }

    fn expect_chunk(&mut self) {
        self.room = MOST_SIZE_BYTES;
        self.next = Next::Line(Line::ChunkSize);
    }
}

impl Head {
    /// `HTTP/1.1 200 OK`; the words after the number may be missing.
    fn of_status_line(line: &[u8]) -> Option<Self> {
        let (version, rest) = line.split_at_checked(8)?;
        let stays_open = match version {
            b"HTTP/1.1" => true,
            b"HTTP/1.0" => false,
            _ => return None,
        };
        let (digits, words) = rest.strip_prefix(b" ")?.split_at_checked(3)?;
        let status = StatusCode::from_bytes(digits).ok()?;
        words
            .first()
            .is_none_or(|byte| *byte == b' ')
            .then_some(Self {
                status,
                stays_open,
                ..Self::default()
            })
    }

    fn read_field(&mut self, line: &[u8]) -> Result<(), Malformed> {
        let (name, value) = field(line)?;
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = decimal(value).ok_or(Malformed::Length)?;
            let before = self.length.replace(length);
            if before.is_some_and(|before| before != length) {
                return Err(Malformed::Length);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Malformed::Length);
            }
            self.is_chunked = true;
        } else if name.eq_ignore_ascii_case(b"connection") {
            let mut words = value.split(|byte| *byte == b',');
            let closes = words.any(|word| word.trim_ascii().eq_ignore_ascii_case(b"close"));
            self.stays_open &= !closes;
        }
        Ok(())
    }
}

/// Name and value of a header field.
fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let colon = line.iter().position(|byte| *byte == b':');
    let (name, value) = line.split_at(colon.ok_or(Malformed::Field)?);
    if name.is_empty() || !name.iter().all(|byte| is_name_byte(*byte)) {
        return Err(Malformed::Field);
    }
    Ok((name, value[1..].trim_ascii()))
}

/// A number without sign or spaces.
fn decimal(digits: &[u8]) -> Option<u64> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The number before any extensions.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?.trim_ascii_end();
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

const fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

/// What may stand in the name of a field (RFC 9110, section 5.6.2).
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
