//! What can keep the audit folder from being opened or replaced.

use std::io;
use std::path::{Path, PathBuf};

use crate::line::LineFault;

/// Why a trail could not be opened, extended by fetched segments, or installed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The open segment holds fewer bytes than the position says: the caller starts again from an older snapshot
    /// or fetches the trail from a peer. Nothing on disk was changed.
    #[error("the open audit segment has {have} bytes, the position needs {want}")]
    Behind {
        /// Bytes found, 0 when no file of that segment exists.
        have: u64,
        /// Bytes the position needs.
        want: u64,
    },
    /// Bytes that the position vouches for do not form a chain. Nothing on disk was changed.
    #[error("audit segment {file}, line {line}: {reason}")]
    Damaged {
        /// File name inside the audit folder.
        file: String,
        /// Line number, from 1.
        line: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The position contradicts itself or the bytes handed over with it.
    #[error("audit position is not usable: {reason}")]
    BadPosition {
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// The disk failed.
    #[error("audit file {}: {source}", .path.display())]
    Io {
        /// The file or folder concerned.
        path: PathBuf,
        /// The failure.
        #[source]
        source: io::Error,
    },
}

impl AuditError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            path: path.to_path_buf(),
            source,
        }
    }

    pub(crate) fn damaged(file: impl Into<String>, fault: LineFault) -> Self {
        Self::Damaged {
            file: file.into(),
            line: fault.line,
            reason: fault.reason,
        }
    }
}
