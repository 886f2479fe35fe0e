//! The audit trail as apply makes it: one JSON line per event, chained (X4, C3).
//!
//! A line is `{"seq":…,"time":…,"index":…,"event":…,"outcome":…,…,"hash":"…"}` and a newline. With B the bytes before
//! `,"hash"`, `hash_n = SHA-256(hash_{n-1} ‖ B)`, `hash_0` = 32 zero bytes. A segment closes after
//! [`SEGMENT_EVENTS`] events or [`SEGMENT_BYTES`] bytes and is
//! known by its first sequence number and the chain's head after its last event, which commits to every byte so far.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::limits::{SEGMENT_BYTES, SEGMENT_EVENTS};
use crate::time::{Millis, rfc3339};

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

/// One event on its way into the trail.
pub(crate) struct Line<'a> {
    body: String,
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
        let mut body = String::with_capacity(320);
        let (seq, time) = (position.seq, rfc3339(time));
        write_all(
            &mut body,
            format_args!(
                r#"{{"seq":{seq},"time":"{time}","index":{index},"event":"{event}","outcome":"{outcome}""#
            ),
        );
        Self {
            body,
            position,
            lines,
        }
    }

    /// Adds a text member; it is escaped.
    pub(crate) fn text(mut self, key: &str, value: &str) -> Self {
        write_all(&mut self.body, format_args!(r#","{key}":"#));
        push_json_string(&mut self.body, value);
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
    pub(crate) fn number(mut self, key: &str, value: u64) -> Self {
        write_all(&mut self.body, format_args!(r#","{key}":{value}"#));
        self
    }

    /// Adds a list of numbers.
    pub(crate) fn numbers(mut self, key: &str, values: impl IntoIterator<Item = u64>) -> Self {
        let list: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
        write_all(
            &mut self.body,
            format_args!(r#","{key}":[{}]"#, list.join(",")),
        );
        self
    }

    /// Ends the event: chains it and puts the line out. Returns its sequence number.
    pub(crate) fn end(self) -> u64 {
        let Self {
            body,
            position,
            lines,
        } = self;
        position.head = chain_hash(&position.head, body.as_bytes());
        let before = lines.bytes.len();
        lines.bytes.extend_from_slice(body.as_bytes());
        lines.bytes.extend_from_slice(br#","hash":""#);
        lines
            .bytes
            .extend_from_slice(hex::encode(position.head).as_bytes());
        lines.bytes.extend_from_slice(b"\"}\n");
        position.open_bytes += (lines.bytes.len() - before) as u64;
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

fn push_json_string(out: &mut String, value: &str) {
    if value
        .bytes()
        .all(|byte| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\')
    {
        out.push('"');
        out.push_str(value);
        out.push('"');
    } else {
        out.push_str(&serde_json::Value::from(value).to_string());
    }
}

fn write_all(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    out.write_fmt(arguments)
        .expect("writing to a String does not fail");
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
