//! The bytes of a segment: its header, frames, and groups of frames.
//!
//! ```text
//!   segment  = header, group, group, …
//!   header   = magic 8 | format u32 | sequence u64 | previous final length u64 | base u64 | last u64 | checksum u32
//!   group    = group frame, record frame, record frame, …      (what one fdatasync covers)
//!   frame    = payload length u32 | kind u8 | index u64 | checksum u32 | payload
//! ```
//!
//! Invariants:
//! - integers are little-endian; a checksum is CRC-32 over the segment's sequence, the frame's offset and everything
//!   in the frame but itself, so that no frame is taken for one at another place;
//! - a group is valid as a whole or not at all: nothing of a torn group was ever acknowledged;
//! - a group frame names its own offset as the length that was durable before it. The first group of a segment names
//!   0, because the header shares its fdatasync, and therefore proves nothing.

use bytes::Bytes;
use crc32fast::Hasher;

use super::Record;

/// Bytes of a segment's header.
pub(super) const SEGMENT_HEADER_BYTES: usize = 48;
/// Bytes of a frame before its payload.
pub(super) const FRAME_HEADER_BYTES: usize = 17;
/// Longest payload. An entry is at most 1 MiB when batched (rule 10), or one large command: 16 MiB leaves room, and a
/// length beyond it is damage, not a reason to allocate.
pub(super) const MAX_PAYLOAD_BYTES: usize = 16 << 20;

/// First bytes of every segment.
const SEGMENT_MAGIC: [u8; 8] = *b"JVSDWAL\n";
/// First bytes of a group frame's payload.
const GROUP_MAGIC: [u8; 8] = *b"JVSDGRP\n";
/// The only format so far.
const FORMAT_VERSION: u32 = 1;
/// Magic, durable length, group length.
const GROUP_PAYLOAD_BYTES: usize = 24;
/// A group without records.
const GROUP_FRAME_BYTES: usize = FRAME_HEADER_BYTES + GROUP_PAYLOAD_BYTES;

/// What a frame holds. The numbers are the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Group = 1,
    Entry = 2,
    Vote = 3,
    TruncateAfter = 4,
    Committed = 5,
    Purge = 6,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        [
            Self::Group,
            Self::Entry,
            Self::Vote,
            Self::TruncateAfter,
            Self::Committed,
            Self::Purge,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
    }
}

/// The header of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// This segment's place in the sequence, from 1.
    pub(super) sequence: u64,
    /// How many bytes of the segment before this one belong to the log; all of them were durable.
    pub(super) previous_final_bytes: u64,
    /// The index before the first live entry when this segment began.
    pub(super) base: u64,
    /// The last live index when this segment began.
    pub(super) last: u64,
}

/// Why a segment header was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// Too short, or the magic or the checksum is wrong.
    Damaged,
    /// Intact, but written by a later release.
    UnknownVersion(u32),
}

impl SegmentHeader {
    /// The header's bytes.
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0_u8; SEGMENT_HEADER_BYTES];
        bytes[0..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.previous_final_bytes.to_le_bytes());
        bytes[28..36].copy_from_slice(&self.base.to_le_bytes());
        bytes[36..44].copy_from_slice(&self.last.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..44]);
        bytes[44..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the header at the start of `bytes`.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let header = bytes
            .get(..SEGMENT_HEADER_BYTES)
            .ok_or(HeaderError::Damaged)?;
        let checksum = crc32fast::hash(&header[..44]);
        if header[..8] != SEGMENT_MAGIC || u32_at(header, 44) != Some(checksum) {
            return Err(HeaderError::Damaged);
        }
        let number = |at| u64_at(header, at).ok_or(HeaderError::Damaged);
        match u32_at(header, 8) {
            Some(FORMAT_VERSION) => Ok(Self {
                sequence: number(12)?,
                previous_final_bytes: number(20)?,
                base: number(28)?,
                last: number(36)?,
            }),
            Some(version) => Err(HeaderError::UnknownVersion(version)),
            None => Err(HeaderError::Damaged),
        }
    }
}

/// One intact frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    /// Where in the segment it starts.
    pub(super) offset: u64,
    /// What it holds.
    pub(super) kind: Kind,
    /// The entry's index, or the kind's own number.
    pub(super) index: u64,
    /// What it carries.
    pub(super) payload: &'a [u8],
}

impl Frame<'_> {
    /// The record in this frame, its payload copied; `None` for a group frame.
    pub(super) fn to_record(self) -> Option<Record> {
        let payload = || Bytes::copy_from_slice(self.payload);
        Some(match self.kind {
            Kind::Group => return None,
            Kind::Entry => Record::Entry {
                index: self.index,
                payload: payload(),
            },
            Kind::Vote => Record::Vote(payload()),
            Kind::TruncateAfter => Record::TruncateAfter {
                last_kept: self.index,
            },
            Kind::Committed => Record::Committed(payload()),
            Kind::Purge => Record::Purge {
                upto: self.index,
                marker: payload(),
            },
        })
    }
}

/// Reads the frame that starts at `bytes[0]` and lies at `offset` of segment `sequence`.
pub(super) fn decode_frame(bytes: &[u8], sequence: u64, offset: u64) -> Option<Frame<'_>> {
    let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
    if length > MAX_PAYLOAD_BYTES {
        return None;
    }
    let kind = Kind::from_byte(*bytes.get(4)?)?;
    let index = u64_at(bytes, 5)?;
    let checksum = u32_at(bytes, 13)?;
    let payload = bytes.get(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + length)?;
    (frame_checksum(sequence, offset, kind, index, payload) == checksum).then_some(Frame {
        offset,
        kind,
        index,
        payload,
    })
}

/// One intact group.
#[derive(Debug)]
pub(super) struct Group<'a> {
    /// Where in the segment it ends.
    pub(super) end: usize,
    /// Its records, without the group frame.
    pub(super) frames: Vec<Frame<'a>>,
}

/// Reads the group that starts at `start` of a segment's bytes.
///
/// # Errors
/// The offset of the first frame that is not intact.
pub(super) fn decode_group(
    segment: &[u8],
    sequence: u64,
    start: usize,
) -> Result<Group<'_>, usize> {
    let group_bytes = decode_group_frame(segment, sequence, start).ok_or(start)?;
    let length = usize::try_from(group_bytes).unwrap_or(usize::MAX);
    let end = start.saturating_add(length).min(segment.len());
    let mut frames = Vec::new();
    let mut offset = start + GROUP_FRAME_BYTES;
    while offset < end {
        let frame = decode_frame(&segment[offset..end], sequence, offset as u64).ok_or(offset)?;
        if frame.kind == Kind::Group {
            return Err(offset);
        }
        offset += FRAME_HEADER_BYTES + frame.payload.len();
        frames.push(frame);
    }
    if offset - start == length {
        Ok(Group { end, frames })
    } else {
        Err(offset)
    }
}

/// Whether a group frame that proves earlier bytes durable starts anywhere at or after `from`. Three independent
/// conditions (magic, own offset, checksum) make a chance hit in other bytes impossible in practice.
pub(super) fn has_group_frame_from(segment: &[u8], sequence: u64, from: usize) -> bool {
    let first = from.max(SEGMENT_HEADER_BYTES + 1);
    let last = segment.len().saturating_sub(GROUP_FRAME_BYTES);
    (first..=last).any(|offset| {
        segment[offset] == GROUP_PAYLOAD_BYTES as u8
            && decode_group_frame(segment, sequence, offset).is_some()
    })
}

/// The length of the group whose frame starts at `start`, if that frame is intact.
fn decode_group_frame(segment: &[u8], sequence: u64, start: usize) -> Option<u64> {
    let header = segment.get(start..start.checked_add(GROUP_FRAME_BYTES)?)?;
    if header[4] != Kind::Group as u8 || header[FRAME_HEADER_BYTES..][..8] != GROUP_MAGIC {
        return None;
    }
    let frame = decode_frame(header, sequence, start as u64)?;
    let durable_before = u64_at(frame.payload, 8)?;
    (durable_before == proven_by_group_at(start as u64))
        .then(|| u64_at(frame.payload, 16))
        .flatten()
}

/// The length of the segment that the existence of a group at `offset` proves durable.
fn proven_by_group_at(offset: u64) -> u64 {
    if offset == SEGMENT_HEADER_BYTES as u64 {
        0
    } else {
        offset
    }
}

/// The length of a group of these records.
pub(super) fn group_bytes<'a>(records: impl IntoIterator<Item = &'a Record>) -> usize {
    GROUP_FRAME_BYTES + records.into_iter().map(frame_bytes).sum::<usize>()
}

/// The length of this record's frame.
pub(super) fn frame_bytes(record: &Record) -> usize {
    FRAME_HEADER_BYTES + record.payload().len()
}

/// Appends one group to `buffer`, whose first byte lies at `buffer_at` of segment `sequence`. Returns the offset of
/// each record's frame.
pub(super) fn encode_group(
    buffer: &mut Vec<u8>,
    buffer_at: u64,
    sequence: u64,
    records: &[Record],
) -> Vec<u64> {
    let start = buffer_at + buffer.len() as u64;
    let mut payload = [0_u8; GROUP_PAYLOAD_BYTES];
    payload[..8].copy_from_slice(&GROUP_MAGIC);
    payload[8..16].copy_from_slice(&proven_by_group_at(start).to_le_bytes());
    payload[16..].copy_from_slice(&(group_bytes(records) as u64).to_le_bytes());
    encode_frame(
        buffer,
        buffer_at,
        sequence,
        Kind::Group,
        records.len() as u64,
        &payload,
    );
    records
        .iter()
        .map(|record| {
            let (kind, index) = kind_and_index(record);
            encode_frame(buffer, buffer_at, sequence, kind, index, record.payload())
        })
        .collect()
}

fn kind_and_index(record: &Record) -> (Kind, u64) {
    match record {
        Record::Entry { index, .. } => (Kind::Entry, *index),
        Record::Vote(_) => (Kind::Vote, 0),
        Record::TruncateAfter { last_kept } => (Kind::TruncateAfter, *last_kept),
        Record::Committed(_) => (Kind::Committed, 0),
        Record::Purge { upto, .. } => (Kind::Purge, *upto),
    }
}

fn encode_frame(
    buffer: &mut Vec<u8>,
    buffer_at: u64,
    sequence: u64,
    kind: Kind,
    index: u64,
    payload: &[u8],
) -> u64 {
    let offset = buffer_at + buffer.len() as u64;
    // Payloads longer than MAX_PAYLOAD_BYTES are refused before they are queued.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    buffer.extend_from_slice(&length.to_le_bytes());
    buffer.push(kind as u8);
    buffer.extend_from_slice(&index.to_le_bytes());
    let checksum = frame_checksum(sequence, offset, kind, index, payload);
    buffer.extend_from_slice(&checksum.to_le_bytes());
    buffer.extend_from_slice(payload);
    offset
}

fn frame_checksum(sequence: u64, offset: u64, kind: Kind, index: u64, payload: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&sequence.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(&(payload.len() as u64).to_le_bytes());
    hasher.update(&[kind as u8]);
    hasher.update(&index.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_le_bytes(field))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let field: [u8; 8] = bytes.get(at..at + 8)?.try_into().ok()?;
    Some(u64::from_le_bytes(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<Record> {
        vec![
            Record::Vote(Bytes::from_static(b"vote")),
            Record::Entry {
                index: 7,
                payload: Bytes::from_static(b"seven"),
            },
            Record::Entry {
                index: 8,
                payload: Bytes::new(),
            },
            Record::TruncateAfter { last_kept: 7 },
            Record::Committed(Bytes::from_static(b"committed")),
            Record::Purge {
                upto: 3,
                marker: Bytes::from_static(b"marker"),
            },
        ]
    }

    fn segment() -> (Vec<u8>, usize) {
        let header = SegmentHeader {
            sequence: 5,
            previous_final_bytes: 100,
            base: 2,
            last: 6,
        }
        .encode();
        let mut bytes = header.to_vec();
        encode_group(&mut bytes, 0, 5, &records());
        let second = bytes.len();
        encode_group(&mut bytes, 0, 5, &records());
        (bytes, second)
    }

    #[test]
    fn groups_are_read_back_as_written() {
        let (bytes, second) = segment();
        let header = SegmentHeader::decode(&bytes).expect("header");
        assert_eq!((header.sequence, header.previous_final_bytes), (5, 100));
        assert_eq!((header.base, header.last), (2, 6));
        let group = decode_group(&bytes, 5, SEGMENT_HEADER_BYTES).expect("first group");
        assert_eq!(group.end, second);
        assert_eq!(group.end - SEGMENT_HEADER_BYTES, group_bytes(&records()));
        let read: Vec<_> = group
            .frames
            .iter()
            .filter_map(|frame| frame.to_record())
            .collect();
        assert_eq!(read, records());
    }

    #[test]
    fn a_flip_of_any_byte_of_a_group_is_noticed() {
        let (bytes, second) = segment();
        for at in second..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            assert!(decode_group(&flipped, 5, second).is_err(), "byte {at}");
        }
        for end in second..bytes.len() {
            assert!(
                decode_group(&bytes[..end], 5, second).is_err(),
                "cut at {end}"
            );
        }
    }

    #[test]
    fn a_flip_of_any_byte_of_a_segment_header_is_noticed() {
        let (bytes, _) = segment();
        for at in 0..SEGMENT_HEADER_BYTES {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            assert_eq!(
                SegmentHeader::decode(&flipped),
                Err(HeaderError::Damaged),
                "byte {at}"
            );
        }
        assert_eq!(
            SegmentHeader::decode(&bytes[..47]),
            Err(HeaderError::Damaged)
        );
    }

    #[test]
    fn a_later_format_is_named_and_not_called_damage() {
        let (mut bytes, _) = segment();
        bytes[8..12].copy_from_slice(&2_u32.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..44]);
        bytes[44..48].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(
            SegmentHeader::decode(&bytes),
            Err(HeaderError::UnknownVersion(2))
        );
    }

    #[test]
    fn a_group_proves_only_at_its_own_place() {
        let (bytes, second) = segment();
        assert!(has_group_frame_from(&bytes, 5, SEGMENT_HEADER_BYTES));
        assert!(has_group_frame_from(&bytes, 5, second));
        assert!(!has_group_frame_from(&bytes, 5, second + 1));
        assert!(!has_group_frame_from(&bytes, 6, 0), "of another segment");
        assert!(
            !has_group_frame_from(&bytes[..second], 5, 0),
            "the first group proves nothing"
        );
        let mut moved = bytes[..second].to_vec();
        moved.push(0);
        moved.extend_from_slice(&bytes[second..]);
        assert!(!has_group_frame_from(&moved, 5, 0), "at another offset");
    }
}
