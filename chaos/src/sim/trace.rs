//! What happened in a run: as one number, which is the same for the same seed, and on demand in lines that people read.
//!
//! Into the number goes everything: each piece of bytes that any node or client sends, with its time and both ends; each
//! entry applied anywhere; each request and what came of it; each fault. Where peers talk TLS their bytes are left out:
//! keys come from the operating system there.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use super::lock;

/// Multiplies well (from the fractional part of the golden ratio).
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Topic {
    /// Faults begin and end; processes start and stop; who leads.
    Story,
    /// A client's request and its answer.
    Request,
    /// A node's state moved on.
    State,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) at: Duration,
    pub(super) topic: Topic,
    pub(super) text: String,
}

impl fmt::Display for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:>9.3} s  {}", self.at.as_secs_f64(), self.text)
    }
}

/// A run's record of itself.
pub(super) struct Trace {
    inner: Mutex<Inner>,
}

struct Inner {
    digest: u64,
    events: u64,
    lines: Option<Vec<Line>>,
}

impl Trace {
    /// An empty one; lines are kept if somebody wants to read them.
    pub(super) fn new(keeps_lines: bool) -> Self {
        Self {
            inner: Mutex::new(Inner {
                digest: FACTOR,
                events: 0,
                lines: keeps_lines.then(Vec::new),
            }),
        }
    }

    /// Something happened.
    pub(super) fn tell(&self, at: Duration, topic: Topic, text: String) {
        let mut inner = lock(&self.inner);
        inner.mix(micros(at));
        inner.mix_bytes(text.as_bytes());
        inner.events += 1;
        if let Some(lines) = &mut inner.lines {
            lines.push(Line { at, topic, text });
        }
    }

    /// Bytes were sent: part of the number, and of no line.
    pub(super) fn sent(&self, at: Duration, way: &str, bytes: &[u8]) {
        let mut inner = lock(&self.inner);
        inner.mix(micros(at));
        inner.mix_bytes(way.as_bytes());
        inner.mix_bytes(bytes);
        inner.events += 1;
    }

    /// The number: equal for equal runs.
    pub(super) fn digest(&self) -> u64 {
        lock(&self.inner).digest
    }

    /// What went into it.
    pub(super) fn events(&self) -> u64 {
        lock(&self.inner).events
    }

    /// The lines, if they were kept.
    pub(super) fn lines(&self) -> Vec<Line> {
        lock(&self.inner).lines.clone().unwrap_or_default()
    }
}

impl Inner {
    fn mix(&mut self, word: u64) {
        self.digest = mixed(self.digest, word);
    }

    fn mix_bytes(&mut self, bytes: &[u8]) {
        self.digest = mixed_bytes(self.digest, bytes);
    }
}

/// A number that stands for these bytes; good against accidents.
pub(super) fn digest(bytes: &[u8]) -> u64 {
    mixed_bytes(FACTOR, bytes)
}

const fn mixed(digest: u64, word: u64) -> u64 {
    let digest = (digest.rotate_left(29) ^ word).wrapping_mul(FACTOR);
    digest ^ (digest >> 32)
}

fn mixed_bytes(digest: u64, bytes: &[u8]) -> u64 {
    let start = mixed(digest, bytes.len() as u64);
    bytes.chunks(8).fold(start, |digest, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        mixed(digest, u64::from_le_bytes(word))
    })
}

fn micros(at: Duration) -> u64 {
    u64::try_from(at.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_depends_on_every_byte_and_time_and_on_their_order() {
        let at = Duration::from_millis;
        let of = |events: &[(u64, &str)]| {
            let trace = Trace::new(false);
            for (ms, bytes) in events {
                trace.sent(at(*ms), "a>b", bytes.as_bytes());
            }
            assert_eq!(trace.events(), events.len() as u64);
            trace.digest()
        };
        let base = of(&[(1, "abcdefghij"), (2, "k")]);
        assert_eq!(base, of(&[(1, "abcdefghij"), (2, "k")]));
        for other in [
            [(1, "abcdefghiJ"), (2, "k")],
            [(1, "abcdefghij"), (3, "k")],
            [(2, "k"), (1, "abcdefghij")],
            [(1, "abcdefghijk"), (2, "")],
        ] {
            assert_ne!(base, of(&other), "{other:?}");
        }
    }

    #[test]
    fn lines_are_kept_for_who_wants_them_only() {
        for keeps in [false, true] {
            let trace = Trace::new(keeps);
            trace.tell(
                Duration::from_millis(1_500),
                Topic::Story,
                "it rains".to_owned(),
            );
            assert_eq!(trace.lines().len(), usize::from(keeps));
            for line in trace.lines() {
                assert_eq!(line.to_string(), "    1.500 s  it rains");
            }
        }
    }
}
