//! The audit trail as apply makes it: one JSON line per event, chained (X4, C3).
//!
//! A line is `{"seq":…,"time":…,"index":…,"event":…,"outcome":…,…,"hash":"…"}` and a newline. With B the bytes before
//! `,"hash"`, `hash_n = SHA-256(hash_{n-1} ‖ B)`, `hash_0` = 32 zero bytes. A segment closes after
//! [`SEGMENT_EVENTS`] events or [`SEGMENT_BYTES`] bytes and is
//! known by its first sequence number and the chain's head after its last event, which commits to every byte so far.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::limits::{SEGMENT_BYTES, SEGMENT_EVENTS};
use crate::time::{Millis, rfc3339_digits};

/// The chain's head: SHA-256.
pub type Head = [u8; 32];

/// The next link of the chain.
#[must_use]
pub fn chain_hash(previous: &Head, body: &[u8]) -> Head {
    let mut hasher = Sha256::new();
    hasher.update(previous);
    hasher.update(body);
    hasher.finalize().into()
}

/// Where the trail stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrailPosition {
    /// Sequence number of the last event; 0 before the first.
    pub seq: u64,
    /// The chain's head after it.
    pub head: Head,
    /// First sequence number of the open segment.
    pub open_first_seq: u64,
    /// Bytes in the open segment.
    pub open_bytes: u64,
}

impl TrailPosition {
    /// Before the first event.
    #[must_use]
    pub const fn genesis() -> Self {
        Self {
            seq: 0,
            head: [0; 32],
            open_first_seq: 1,
            open_bytes: 0,
        }
    }
}

/// A closed segment of the trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedSegment {
    /// First event in it.
    pub first_seq: u64,
    /// Last event in it.
    pub last_seq: u64,
    /// The chain's head after its last event: its name.
    pub head: Head,
    /// Uncompressed length.
    pub bytes: u64,
}

/// Lines made by one entry, to be written behind apply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines {
    /// Whole lines.
    pub bytes: Vec<u8>,
    /// Segments that end inside `bytes`: (offset in `bytes` behind the closing line, the segment).
    pub closes: Vec<(usize, ClosedSegment)>,
}

/// Room for one more line: most of them fit.
const LINE_BYTES: usize = 448;

/// One event on its way into the trail. It is written where it will stand, so that it must be ended.
#[must_use = "an event is in the trail once it is ended"]
pub(crate) struct Line<'a> {
    /// Where its body begins in `lines`.
    start: usize,
    position: &'a mut TrailPosition,
    lines: &'a mut Lines,
}

impl<'a> Line<'a> {
    /// Starts the next event.
    pub(crate) fn begin(
        position: &'a mut TrailPosition,
        lines: &'a mut Lines,
        (time, index): (Millis, u64),
        event: &str,
        outcome: &str,
    ) -> Self {
        position.seq += 1;
        let start = lines.bytes.len();
        let out = &mut lines.bytes;
        out.reserve(LINE_BYTES);
        out.extend_from_slice(br#"{"seq":"#);
        push_number(out, position.seq);
        out.extend_from_slice(br#","time":""#);
        out.extend_from_slice(&rfc3339_digits(time));
        out.extend_from_slice(br#"","index":"#);
        push_number(out, index);
        out.extend_from_slice(br#","event":""#);
        out.extend_from_slice(event.as_bytes());
        out.extend_from_slice(br#"","outcome":""#);
        out.extend_from_slice(outcome.as_bytes());
        out.push(b'"');
        Self {
            start,
            position,
            lines,
        }
    }

    /// Adds a text member; it is escaped.
    pub(crate) fn text(self, key: &str, value: &str) -> Self {
        push_key(&mut self.lines.bytes, key);
        push_json_string(&mut self.lines.bytes, value);
        self
    }

    /// Adds a text member if there is one.
    pub(crate) fn maybe(self, key: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(key, value),
            None => self,
        }
    }

    /// Adds a number.
    pub(crate) fn number(self, key: &str, value: u64) -> Self {
        push_key(&mut self.lines.bytes, key);
        push_number(&mut self.lines.bytes, value);
        self
    }

    /// Adds a list of numbers.
    pub(crate) fn numbers(self, key: &str, values: impl IntoIterator<Item = u64>) -> Self {
        let out = &mut self.lines.bytes;
        push_key(out, key);
        out.push(b'[');
        for (position, value) in values.into_iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            push_number(out, value);
        }
        out.push(b']');
        self
    }

    /// Ends the event: chains it and completes the line. Returns its sequence number.
    pub(crate) fn end(self) -> u64 {
        let Self {
            start,
            position,
            lines,
        } = self;
        position.head = chain_hash(&position.head, &lines.bytes[start..]);
        let mut digits = [0_u8; 64];
        hex::encode_to_slice(position.head, &mut digits).expect("32 bytes are 64 digits");
        lines.bytes.extend_from_slice(br#","hash":""#);
        lines.bytes.extend_from_slice(&digits);
        lines.bytes.extend_from_slice(b"\"}\n");
        position.open_bytes += (lines.bytes.len() - start) as u64;
        let events = position.seq + 1 - position.open_first_seq;
        if events >= SEGMENT_EVENTS || position.open_bytes >= SEGMENT_BYTES {
            let segment = ClosedSegment {
                first_seq: position.open_first_seq,
                last_seq: position.seq,
                head: position.head,
                bytes: position.open_bytes,
            };
            lines.closes.push((lines.bytes.len(), segment));
            position.open_first_seq = position.seq + 1;
            position.open_bytes = 0;
        }
        position.seq
    }
}

fn push_key(out: &mut Vec<u8>, key: &str) {
    out.extend_from_slice(br#",""#);
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(br#"":"#);
}

fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0_u8; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

fn push_json_string(out: &mut Vec<u8>, value: &str) {
    if value
        .bytes()
        .all(|byte| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\')
    {
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(serde_json::Value::from(value).to_string().as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x4_a_line_is_json_and_its_hash_is_recomputable() {
        let (mut position, mut lines) = (TrailPosition::genesis(), Lines::default());
        Line::begin(&mut position, &mut lines, (0, 7), "secret.read", "allow")
            .text("client", "back\"end\n")
            .number("version", 3)
            .end();
        let text = String::from_utf8(lines.bytes).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["client"], "back\"end\n");
        let body = text.split(r#","hash":""#).next().unwrap();
        assert_eq!(
            value["hash"],
            hex::encode(chain_hash(&[0; 32], body.as_bytes()))
        );
        assert_eq!(position.seq, 1);
    }

    #[test]
    fn the_bytes_of_a_line_are_frozen() {
        let (mut position, mut lines) = (TrailPosition::genesis(), Lines::default());
        position.seq = u64::MAX - 2;
        Line::begin(
            &mut position,
            &mut lines,
            (1_795_316_400_123, 0),
            "secret.destroy",
            "ok",
        )
        .text("plain", "a b")
        .text("escaped", "\"\\\u{1}ä")
        .maybe("absent", None)
        .number("largest", u64::MAX)
        .numbers("none", [])
        .numbers("some", [0, 10, 200])
        .end();
        let text = String::from_utf8(lines.bytes).unwrap();
        let (body, _) = text.split_once(r#","hash":""#).unwrap();
        assert_eq!(
            body,
            concat!(
                r#"{"seq":18446744073709551614,"time":"2026-11-22T03:00:00.123Z","index":0,"#,
                r#""event":"secret.destroy","outcome":"ok","plain":"a b","#,
                r#""escaped":"\"\\\u0001ä","largest":18446744073709551615,"none":[],"some":[0,10,200]"#,
            )
        );
    }

    #[test]
    fn a_segment_closes_after_its_events() {
        let (mut position, mut lines) = (TrailPosition::genesis(), Lines::default());
        for _ in 0..SEGMENT_EVENTS + 1 {
            Line::begin(&mut position, &mut lines, (0, 7), "x", "ok").end();
        }
        assert_eq!(lines.closes.len(), 1);
        let (offset, segment) = lines.closes[0];
        assert_eq!((segment.first_seq, segment.last_seq), (1, SEGMENT_EVENTS));
        assert_eq!(offset as u64, segment.bytes);
        assert_eq!(position.open_first_seq, SEGMENT_EVENTS + 1);
        assert_eq!(
            position.open_bytes,
            lines.bytes.len() as u64 - segment.bytes
        );
    }
}
