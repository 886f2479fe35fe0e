//! The disk, as the rest of the product may see it.
//!
//! Everything durable (write-ahead log, snapshot files, audit segments, journals) goes through [`Disk`], so that the
//! same code runs on a real file system ([`RealDisk`]) and on a simulated one ([`SimDisk`]) that has a volatile and
//! a durable half and can lose power.
//!
//! Invariants every implementation keeps:
//! - bytes appended are durable only after [`DiskFile::sync_data`] returned `Ok`;
//! - a file's *name* (creation, rename, removal) is durable only after [`Disk::sync_dir`] of its folder returned `Ok`;
//! - files are created with mode 600 and folders with mode 700 (X6).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

mod real;
mod sim;

pub use real::RealDisk;
pub use sim::SimDisk;

/// A shared handle to a disk.
pub type DiskHandle = Arc<dyn Disk>;

/// Files and folders. All calls block; callers on an async runtime use them from their own thread, except in
/// simulation, where they cost no real time.
pub trait Disk: Send + Sync + std::fmt::Debug + 'static {
    /// Creates a folder (mode 700) and its missing parents, and syncs the parent folders.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// The plain files directly inside `dir`, sorted by name. A missing folder is an empty list.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    /// Whether a file of that name exists.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Creates a new, empty file (mode 600). `AlreadyExists` if there is one.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens an existing file for reading and appending. `NotFound` if there is none.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// The whole content of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Renames within one folder, replacing the target. Atomic; durable after [`Disk::sync_dir`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Bytes free for this process on the file system that holds `path`.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
    /// How long the next sync takes beyond the call itself: zero where a call blocks for as long as it takes. A simulated
    /// disk can not block the one thread that everything runs on; it says here what the write-ahead log waits for instead.
    fn sync_delay(&self) -> Duration {
        Duration::ZERO
    }
}

/// One open file. Writes go to the end only.
pub trait DiskFile: Send + std::fmt::Debug {
    /// Appends all of `bytes`.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Fills `buffer` from `offset`; `UnexpectedEof` when the file is shorter.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts the file back to `len` bytes (used on damaged or regenerated tails only).
    fn truncate(&mut self, len: u64) -> io::Result<()>;
    /// fdatasync: returns only when everything appended so far is on stable storage (rule 6).
    fn sync_data(&mut self) -> io::Result<()>;
    /// An independent handle to the same file, for concurrent reads.
    fn reopen(&self) -> io::Result<Box<dyn DiskFile>>;
}

/// Writes `bytes` to `path` so that a crash leaves either the old file or the new one: temporary file, fdatasync,
/// rename, sync of the folder.
///
/// # Errors
/// Any failure of the underlying disk; the old file is then still in place.
pub fn write_atomic(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path
        .parent()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    let temporary = parent.join(name);
    if disk.exists(&temporary)? {
        disk.remove(&temporary)?;
    }
    let mut file = disk.create_new(&temporary)?;
    file.append(bytes)?;
    file.sync_data()?;
    drop(file);
    disk.rename(&temporary, path)?;
    disk.sync_dir(parent)
}
