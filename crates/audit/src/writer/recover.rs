//! Opening: finds the open segment of a position wherever it is now, cuts it back, and clears away what is newer.
//!
//! After the position was taken its open segment may have grown, been closed (renamed) and been compressed. All
//! checks come before the first change, and the changes are ordered so that a crash between any two of them leaves
//! a folder that the same position opens again:
//!
//! 1. `audit.head` is lowered to the position; 2. the open segment is put in place and cut;
//! 3. segments that the position does not know and temporary files are removed; 4. the folder is synced.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use jarvis_disk::{Disk, DiskFile, DiskHandle, write_atomic};

use super::{SegmentWriter, remove_if_there};
use crate::compress::gunzip;
use crate::error::AuditError;
use crate::head::HeadFile;
use crate::line::{self, Walked};
use crate::names::{HEAD_NAME, OPEN_NAME, SegmentName, TEMPORARY_SUFFIX};
use crate::position::{Head, Position};

pub(super) fn recover(
    disk: DiskHandle,
    dir: &Path,
    position: Position,
) -> Result<SegmentWriter, AuditError> {
    position.check()?;
    disk.create_dir_all(dir).map_err(AuditError::io(dir))?;
    let recorded = HeadFile::load(&*disk, dir).map_err(AuditError::io(dir))?;
    let before_open = head_before_open(&position, recorded);
    let found = find_open(&*disk, dir, &position, before_open)?;

    let now = found.walked.head.map(|head| HeadFile {
        seq: found.walked.last_seq,
        head,
        bytes: position.open_bytes,
    });
    match now {
        Some(now) if recorded != Some(now) => {
            now.write(&*disk, dir).map_err(AuditError::io(dir))?
        }
        Some(_) => {}
        None => remove_if_there(&*disk, &dir.join(HEAD_NAME)).map_err(AuditError::io(dir))?,
    }
    let open = place(&*disk, dir, &position, &found).map_err(AuditError::io(dir))?;
    let missing = settle(&*disk, dir, &position).map_err(AuditError::io(dir))?;
    remove_temporary(&*disk, dir).map_err(AuditError::io(dir))?;
    disk.sync_dir(dir).map_err(AuditError::io(dir))?;
    Ok(SegmentWriter {
        disk,
        dir: dir.to_path_buf(),
        position,
        missing,
        unsynced: Vec::new(),
        open,
        last_seq: found.walked.last_seq,
        head: found.walked.head,
        recorded: now,
        open_dirty: false,
        dir_dirty: false,
        broken: false,
    })
}

/// The first `bytes` bytes of the segment that starts at `first_seq`, whether it is still open, closed, or
/// compressed by now: what the sender of a snapshot needs while the trail moves on.
///
/// # Errors
/// `NotFound` when no file starts there; `UnexpectedEof` when it is shorter.
pub fn read_prefix(disk: &dyn Disk, dir: &Path, first_seq: u64, bytes: u64) -> io::Result<Vec<u8>> {
    if bytes == 0 {
        return Ok(Vec::new());
    }
    let mut shorter = false;
    // Twice: the segment may be renamed or compressed between listing and reading.
    for _ in 0..2 {
        for place in places(disk, dir, first_seq)? {
            let mut content = match read_place(disk, dir, &place) {
                Ok(content) => content,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if matches!(place, Place::Open) && line::seq_of(&content) != Some(first_seq) {
                continue;
            }
            if content.len() as u64 >= bytes {
                content.truncate(usize::try_from(bytes).unwrap_or(usize::MAX));
                return Ok(content);
            }
            shorter = true;
        }
    }
    Err(io::Error::from(if shorter {
        io::ErrorKind::UnexpectedEof
    } else {
        io::ErrorKind::NotFound
    }))
}

/// Removes closed segments that the position does not know and second copies; tells which known ones are absent
/// or have the wrong length. Those are left in place, as evidence, until their content is fetched.
pub(super) fn settle(
    disk: &dyn Disk,
    dir: &Path,
    position: &Position,
) -> io::Result<BTreeSet<u64>> {
    for path in disk.list(dir)? {
        let Some((name, _)) = parse(&path) else {
            continue;
        };
        let known = position
            .closed_at(name.first_seq)
            .is_some_and(|(segment, _)| SegmentName::of(&segment) == name);
        if !known {
            remove_if_there(disk, &path)?;
        }
    }
    let mut missing = BTreeSet::new();
    for segment in &position.closed {
        let name = SegmentName::of(segment);
        let plain_path = dir.join(name.plain());
        if has_compressed(disk, &dir.join(name.compressed()), segment.bytes)? {
            remove_if_there(disk, &plain_path)?;
        } else if !has_plain(disk, &plain_path, segment.bytes)? {
            missing.insert(segment.first_seq);
        }
    }
    Ok(missing)
}

/// A file that may hold the open segment of a position.
enum Place {
    Open,
    Plain(SegmentName),
    Compressed(SegmentName),
}

impl Place {
    fn file_name(&self) -> String {
        match self {
            Self::Open => OPEN_NAME.to_owned(),
            Self::Plain(name) => name.plain(),
            Self::Compressed(name) => name.compressed(),
        }
    }
}

/// The open segment as the position knows it.
struct Found {
    /// `None` when the position needs no bytes of it.
    place: Option<Place>,
    bytes: Vec<u8>,
    walked: Walked,
}

fn find_open(
    disk: &dyn Disk,
    dir: &Path,
    position: &Position,
    before: Option<Head>,
) -> Result<Found, AuditError> {
    let (first_seq, want) = (position.open_first_seq, position.open_bytes);
    if want == 0 {
        return Ok(Found {
            place: None,
            bytes: Vec::new(),
            walked: Walked {
                lines: 0,
                last_seq: first_seq - 1,
                head: before,
            },
        });
    }
    let mut failure = None;
    let mut have = 0;
    for place in places(disk, dir, first_seq).map_err(AuditError::io(dir))? {
        let file_name = place.file_name();
        let mut bytes = match read_place(disk, dir, &place) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => {
                failure = Some(AuditError::Io {
                    path: dir.join(file_name),
                    source,
                });
                continue;
            }
        };
        if matches!(place, Place::Open) && line::seq_of(&bytes).is_some_and(|seq| seq != first_seq)
        {
            continue;
        }
        let length = bytes.len() as u64;
        if length < want {
            have = have.max(length);
            continue;
        }
        bytes.truncate(usize::try_from(want).unwrap_or(usize::MAX));
        match line::walk(before, first_seq, &bytes) {
            Ok(walked) => {
                return Ok(Found {
                    place: Some(place),
                    bytes,
                    walked,
                });
            }
            Err(fault) => failure = Some(AuditError::damaged(file_name, fault)),
        }
    }
    Err(failure.unwrap_or(AuditError::Behind { have, want }))
}

/// Where the segment that starts at `first_seq` may be, most likely first.
fn places(disk: &dyn Disk, dir: &Path, first_seq: u64) -> io::Result<Vec<Place>> {
    let mut places = vec![Place::Open];
    for path in disk.list(dir)? {
        match parse(&path) {
            Some((name, false)) if name.first_seq == first_seq => places.push(Place::Plain(name)),
            Some((name, true)) if name.first_seq == first_seq => {
                places.push(Place::Compressed(name))
            }
            _ => {}
        }
    }
    Ok(places)
}

fn read_place(disk: &dyn Disk, dir: &Path, place: &Place) -> io::Result<Vec<u8>> {
    let bytes = disk.read(&dir.join(place.file_name()))?;
    match place {
        Place::Open | Place::Plain(_) => Ok(bytes),
        Place::Compressed(_) => gunzip(&bytes),
    }
}

/// Puts the open segment in place with exactly the position's bytes, durably, and opens it.
fn place(
    disk: &dyn Disk,
    dir: &Path,
    position: &Position,
    found: &Found,
) -> io::Result<Box<dyn DiskFile>> {
    let open_path = dir.join(OPEN_NAME);
    match &found.place {
        None if !disk.exists(&open_path)? => {
            let mut file = disk.create_new(&open_path)?;
            file.sync_data()?;
            return Ok(file);
        }
        None | Some(Place::Open) => {}
        Some(Place::Plain(name)) => {
            disk.rename(&dir.join(name.plain()), &open_path)?;
            // Before it is cut: a closed name must never stand over a cut file.
            disk.sync_dir(dir)?;
        }
        Some(Place::Compressed(_)) => write_atomic(disk, &open_path, &found.bytes)?,
    }
    let mut file = disk.open(&open_path)?;
    if file.len()? > position.open_bytes {
        file.truncate(position.open_bytes)?;
    }
    file.sync_data()?;
    Ok(file)
}

/// The chain head before the open segment: from the position, or from `audit.head` when all else is retired.
fn head_before_open(position: &Position, recorded: Option<HeadFile>) -> Option<Head> {
    position.head_before_open().or_else(|| {
        let recorded = recorded?;
        (recorded.seq + 1 == position.open_first_seq).then_some(recorded.head)
    })
}

fn has_plain(disk: &dyn Disk, path: &Path, bytes: u64) -> io::Result<bool> {
    match disk.open(path) {
        Ok(file) => Ok(file.len()? == bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the compressed form is there and its trailer (RFC 1952: length modulo 2^32) tells the right length.
fn has_compressed(disk: &dyn Disk, path: &Path, bytes: u64) -> io::Result<bool> {
    let file = match disk.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut trailer = [0; 4];
    let Some(offset) = file.len()?.checked_sub(trailer.len() as u64) else {
        return Ok(false);
    };
    file.read_exact_at(offset, &mut trailer)?;
    Ok(u64::from(u32::from_le_bytes(trailer)) == bytes & u64::from(u32::MAX))
}

fn remove_temporary(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    for path in disk.list(dir)? {
        let temporary = file_name(&path).is_some_and(|name| name.ends_with(TEMPORARY_SUFFIX));
        if temporary {
            remove_if_there(disk, &path)?;
        }
    }
    Ok(())
}

fn parse(path: &Path) -> Option<(SegmentName, bool)> {
    SegmentName::parse(file_name(path)?)
}

fn file_name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}
