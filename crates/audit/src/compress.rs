//! Compression of closed segments, for a thread of its own.
//!
//! A crash, or a removal by retirement in the middle, leaves either the plain file, both, or the compressed one,
//! never a half of either: temporary name, fdatasync, rename, sync of the folder, and only then is the plain file
//! removed. A segment whose content does not fit its name is left alone.

use std::io::{self, Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use jarvis_disk::{Disk, write_atomic};

use crate::line;
use crate::names::SegmentName;

/// Largest uncompressed segment that is read into memory. Apply closes a segment at 4 MiB plus at most one line;
/// more is damage, or a compressed file made to exhaust memory.
pub(crate) const MAX_SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

/// Compresses up to `limit` closed segments in `dir`, oldest first, and says how many. It may run beside the
/// writer and beside readers, but only once at a time for a folder.
///
/// # Errors
/// Failures of the disk, or `InvalidData` for a segment whose content does not fit its name; the other segments
/// are compressed nevertheless, and the first failure is returned.
pub fn compress_closed(disk: &dyn Disk, dir: &Path, limit: usize) -> io::Result<usize> {
    let mut compressed = 0;
    let mut failure = None;
    for path in disk.list(dir)? {
        if compressed == limit {
            break;
        }
        let parsed = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(SegmentName::parse);
        let Some((name, false)) = parsed else {
            continue;
        };
        match compress_one(disk, dir, &name) {
            Ok(()) => compressed += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                failure = failure.or(Some(error));
            }
        }
    }
    failure.map_or(Ok(compressed), Err)
}

fn compress_one(disk: &dyn Disk, dir: &Path, name: &SegmentName) -> io::Result<()> {
    let plain_path = dir.join(name.plain());
    let compressed_path = dir.join(name.compressed());
    let plain = disk.read(&plain_path)?;
    let walked = line::walk(None, name.first_seq, &plain)?;
    if !walked.head.is_some_and(|head| name.matches_head(&head)) {
        let message = "the segment does not end with the head in its name";
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    write_atomic(disk, &compressed_path, &gzip(&plain)?)?;
    match disk.remove(&plain_path) {
        // Retired while we worked: what we have just written must go too.
        Err(error) if error.kind() == io::ErrorKind::NotFound => disk.remove(&compressed_path),
        outcome => outcome,
    }
}

fn gzip(plain: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain)?;
    encoder.finish()
}

/// Uncompresses a whole segment. `InvalidData` beyond [`MAX_SEGMENT_BYTES`].
pub(crate) fn gunzip(compressed: &[u8]) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    let read = MultiGzDecoder::new(compressed)
        .take(MAX_SEGMENT_BYTES + 1)
        .read_to_end(&mut plain)?;
    if read as u64 > MAX_SEGMENT_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the segment is too large",
        ));
    }
    Ok(plain)
}

/// The uncompressed content of a closed segment, whichever form it has at the moment.
///
/// # Errors
/// `NotFound` when it has neither form; `InvalidData` or `InvalidInput` when the compressed form is damaged.
pub(crate) fn read_either(disk: &dyn Disk, dir: &Path, name: &SegmentName) -> io::Result<Vec<u8>> {
    match disk.read(&dir.join(name.plain())) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            gunzip(&disk.read(&dir.join(name.compressed()))?)
        }
        outcome => outcome,
    }
}
