//! Replacing the trail by a peer's: what a node does that received a snapshot because it lagged too far behind.
//!
//! Order: fetched closed segments, then the open one in one rename, then what the new position does not know is
//! removed, then `audit.head`. Segments are the same on every node, so until the last step the old position can
//! still be opened too: its open segment is one of the fetched ones.

use jarvis_disk::write_atomic;

use super::recover::settle;
use super::{SegmentWriter, remove_if_there};
use crate::error::AuditError;
use crate::head::HeadFile;
use crate::line;
use crate::names::{OPEN_NAME, SegmentName};
use crate::position::{ClosedSegment, Position, check_content};

impl SegmentWriter {
    /// Takes over a peer's position with the bytes of its open segment and those closed segments (uncompressed)
    /// that were fetched already. The rest shows up in [`Self::missing_closed`].
    ///
    /// # Errors
    /// [`AuditError::BadPosition`] or [`AuditError::Damaged`] when what was received does not fit together; then
    /// nothing was changed. After [`AuditError::Io`] the call must be repeated before anything else.
    pub fn install(
        &mut self,
        position: Position,
        open_bytes: &[u8],
        closed: Vec<(ClosedSegment, Vec<u8>)>,
    ) -> Result<(), AuditError> {
        position.check()?;
        if position.open_bytes != open_bytes.len() as u64 {
            return Err(AuditError::BadPosition {
                reason: "the open segment's length differs from its bytes",
            });
        }
        let walked = line::walk(
            position.head_before_open(),
            position.open_first_seq,
            open_bytes,
        )
        .map_err(|fault| AuditError::damaged(OPEN_NAME, fault))?;
        for (segment, bytes) in &closed {
            check_fetched(&position, segment, bytes)?;
        }

        self.broken = true;
        for (segment, bytes) in &closed {
            self.write_closed(segment, bytes)?;
        }
        let open_path = self.dir.join(OPEN_NAME);
        write_atomic(&*self.disk, &open_path, open_bytes).map_err(AuditError::io(&open_path))?;
        self.open = self
            .disk
            .open(&open_path)
            .map_err(AuditError::io(&open_path))?;
        self.missing =
            settle(&*self.disk, &self.dir, &position).map_err(AuditError::io(&self.dir))?;
        self.disk
            .sync_dir(&self.dir)
            .map_err(AuditError::io(&self.dir))?;
        self.recorded = walked.head.map(|head| HeadFile {
            seq: walked.last_seq,
            head,
            bytes: position.open_bytes,
        });
        if let Some(now) = self.recorded {
            now.write(&*self.disk, &self.dir)
                .map_err(AuditError::io(&self.dir))?;
        }
        self.position = position;
        self.last_seq = walked.last_seq;
        self.head = walked.head;
        self.unsynced.clear();
        self.open_dirty = false;
        self.dir_dirty = false;
        self.broken = false;
        Ok(())
    }

    /// Puts one fetched closed segment (uncompressed) in its place, durably. `false` when the position does not
    /// name it any more.
    ///
    /// # Errors
    /// [`AuditError::Damaged`] when the bytes are not that segment's; [`AuditError::Io`].
    pub fn add_closed(
        &mut self,
        segment: &ClosedSegment,
        bytes: &[u8],
    ) -> Result<bool, AuditError> {
        if self.position.closed_at(segment.first_seq).is_none() {
            return Ok(false);
        }
        check_fetched(&self.position, segment, bytes)?;
        self.write_closed(segment, bytes)?;
        self.missing.remove(&segment.first_seq);
        Ok(true)
    }

    /// Writes the plain form; a compressed one that is there was found wanting, and goes.
    fn write_closed(&self, segment: &ClosedSegment, bytes: &[u8]) -> Result<(), AuditError> {
        let name = SegmentName::of(segment);
        let path = self.dir.join(name.plain());
        write_atomic(&*self.disk, &path, bytes).map_err(AuditError::io(&path))?;
        let compressed_path = self.dir.join(name.compressed());
        if self
            .disk
            .exists(&compressed_path)
            .map_err(AuditError::io(&path))?
        {
            remove_if_there(&*self.disk, &compressed_path).map_err(AuditError::io(&path))?;
            self.disk
                .sync_dir(&self.dir)
                .map_err(AuditError::io(&path))?;
        }
        Ok(())
    }
}

fn check_fetched(
    position: &Position,
    segment: &ClosedSegment,
    bytes: &[u8],
) -> Result<(), AuditError> {
    let (known, previous) =
        position
            .closed_at(segment.first_seq)
            .ok_or(AuditError::BadPosition {
                reason: "a fetched segment is not in the position",
            })?;
    if known != *segment {
        return Err(AuditError::BadPosition {
            reason: "a fetched segment differs from the position's",
        });
    }
    check_content(segment, previous, bytes)
        .map_err(|fault| AuditError::damaged(SegmentName::of(segment).plain(), fault))
}
