//! A log seen from outside, by whoever holds its bytes: what whole groups say, without opening the log.
//!
//! Opening a log cuts its torn end and begins a segment; watching changes nothing. A simulator follows the durable half of
//! a disk with it while the node writes.

use super::Record;
use super::frame::{self, Frame, SEGMENT_HEADER_BYTES, SegmentHeader};

/// The folder entries that are segments end like this; their names sort as the segments follow each other.
pub const EXTENSION: &str = "wal";

/// How many bytes of the segment before it belong to the log, as a segment's header says: what follows them there was
/// written again. `None` if the header is not whole.
#[must_use]
pub fn previous_final_bytes(segment: &[u8]) -> Option<u64> {
    let header = SegmentHeader::decode(segment).ok()?;
    Some(header.previous_final_bytes)
}

/// The records of the whole groups that begin at byte `from` of a segment or later (0: of all), in order, and where the
/// last of them ends. A group that is not whole ends the reading.
#[must_use]
pub fn records(segment: &[u8], from: usize) -> (Vec<Record>, usize) {
    let Ok(header) = SegmentHeader::decode(segment) else {
        return (Vec::new(), from);
    };
    let mut at = from.max(SEGMENT_HEADER_BYTES);
    let mut records = Vec::new();
    while at < segment.len()
        && let Ok(group) = frame::decode_group(segment, header.sequence, at)
    {
        records.extend(group.frames.into_iter().filter_map(Frame::to_record));
        at = group.end;
    }
    (records, at)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use jarvis_disk::{Disk, SimDisk};

    use super::*;
    use crate::wal::{Driver, Wal, WalOptions};

    #[test]
    fn what_was_written_is_seen_group_by_group_without_opening_it() {
        let disk = SimDisk::new();
        let dir = Path::new("/data/wal");
        let options = WalOptions::new(Arc::new(|| Duration::ZERO));
        let fatal = Arc::new(|error: std::io::Error| panic!("{error}"));
        let opened = Wal::open(disk.clone(), dir, options, Driver::Inline, fatal);
        let (wal, _) = opened.expect("open");
        let entry = |index| Record::Entry {
            index,
            payload: Bytes::from(vec![7; 10]),
        };
        wal.submit(vec![entry(1), entry(2)], Box::new(|_| {}));
        let files = disk.durable_files(dir);
        let newest = &files.last().expect("a segment").0;
        let is_entry = |record: &Record| matches!(record, Record::Entry { .. });
        let (first, end) = records(&disk.read(newest).expect("read"), 0);
        assert_eq!(
            first.into_iter().filter(is_entry).collect::<Vec<_>>(),
            [entry(1), entry(2)]
        );
        wal.submit(vec![entry(3)], Box::new(|_| {}));
        let bytes = disk.read(newest).expect("read");
        assert_eq!(records(&bytes, end), (vec![entry(3)], bytes.len()));
        // Half a group is none.
        assert_eq!(records(&bytes[..bytes.len() - 1], end), (vec![], end));
        assert_eq!(previous_final_bytes(&bytes), Some(0));
        assert_eq!(records(&bytes[..10], 0), (vec![], 0));
    }
}
