//! `audit.head`: how far the trail reached at the last sync.
//!
//! The writer replaces it atomically after the segments are on stable storage, and lowers it *before* it cuts a
//! trail back, so at every moment the trail reaches at least as far as this file says. It is not signed: it finds
//! accidents and careless cuts; against a forger stand the signed checkpoints.

use std::io;
use std::path::Path;

use jarvis_disk::{Disk, write_atomic};
use serde::{Deserialize, Serialize};

use crate::line::decode_array;
use crate::names::HEAD_NAME;
use crate::position::Head;

/// Longest `audit.head` that is read; ours is about 120 bytes.
const MAX_HEAD_FILE_BYTES: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeadFile {
    /// Sequence number of the last synced event.
    pub(crate) seq: u64,
    /// Chain head after it.
    pub(crate) head: Head,
    /// Length of the open segment at that moment.
    pub(crate) bytes: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadJson {
    seq: u64,
    head: String,
    bytes: u64,
}

impl HeadFile {
    pub(crate) fn write(&self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        let json = HeadJson {
            seq: self.seq,
            head: hex::encode(self.head),
            bytes: self.bytes,
        };
        let mut bytes = serde_json::to_vec(&json)?;
        bytes.push(b'\n');
        write_atomic(disk, &dir.join(HEAD_NAME), &bytes)
    }

    /// Reads the file through the disk seam; `None` when there is none or it makes no sense.
    pub(crate) fn load(disk: &dyn Disk, dir: &Path) -> io::Result<Option<Self>> {
        let path = dir.join(HEAD_NAME);
        if !disk.exists(&path)? {
            return Ok(None);
        }
        Ok(Self::parse(&disk.read(&path)?).ok())
    }

    /// Reads the file from a plain folder. `InvalidData` when it makes no sense.
    pub(crate) fn read(dir: &Path) -> io::Result<Option<Self>> {
        match std::fs::read(dir.join(HEAD_NAME)) {
            Ok(bytes) => Self::parse(&bytes).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn parse(bytes: &[u8]) -> io::Result<Self> {
        let nonsense = |reason: &'static str| io::Error::new(io::ErrorKind::InvalidData, reason);
        if bytes.len() > MAX_HEAD_FILE_BYTES {
            return Err(nonsense("too long"));
        }
        let json: HeadJson = serde_json::from_slice(bytes)?;
        let head = decode_array(json.head.as_bytes())
            .ok_or_else(|| nonsense("head is not 64 hex digits"))?;
        Ok(Self {
            seq: json.seq,
            head,
            bytes: json.bytes,
        })
    }
}
