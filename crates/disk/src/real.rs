//! The real file system.
//!
//! Invariants: files are created with mode 600 and folders with mode 700 (X6); every durability promise of
//! [`Disk`] maps to one system call: `fdatasync` for bytes, `fsync` of the folder for names.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use crate::{Disk, DiskFile, DiskHandle};

/// Readable and writable by the owner only (X6).
const FILE_MODE: u32 = 0o600;
/// Searchable, readable and writable by the owner only (X6).
const DIR_MODE: u32 = 0o700;

/// The file system of this machine. It has no state of its own: errors and space are the kernel's.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl RealDisk {
    /// A shared handle to the real file system.
    #[must_use]
    pub fn handle() -> DiskHandle {
        Arc::new(Self)
    }
}

impl Disk for RealDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut missing = Vec::new();
        let mut current = Some(dir);
        while let Some(folder) = current {
            if or_here(folder).is_dir() {
                break;
            }
            missing.push(folder);
            current = folder.parent();
        }
        for folder in missing.into_iter().rev() {
            match DirBuilder::new().mode(DIR_MODE).create(folder) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
                Err(error) => return Err(error),
            }
            if let Some(parent) = folder.parent() {
                self.sync_dir(parent)?;
            }
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(or_here(dir)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                files.push(dir.join(entry.file_name()));
            }
        }
        files.sort();
        Ok(files)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .append(true)
            .create_new(true)
            .mode(FILE_MODE);
        Ok(Box::new(RealFile {
            file: options.open(path)?,
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).append(true).open(path)?;
        Ok(Box::new(RealFile { file }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(or_here(dir))?.sync_all()
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let mut nearest = or_here(path);
        loop {
            match rustix::fs::statvfs(nearest) {
                Ok(stat) => return Ok(stat.f_bavail.saturating_mul(stat.f_frsize)),
                Err(error) => match nearest.parent() {
                    Some(parent) if error == Errno::NOENT && nearest != Path::new(".") => {
                        nearest = or_here(parent);
                    }
                    _ => return Err(error.into()),
                },
            }
        }
    }
}

/// The parent of a relative name is the empty path, which no system call takes: it means the working folder.
fn or_here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    }
}

/// One open file: append-only for writing, positional for reading, so that handles never share a cursor.
#[derive(Debug)]
struct RealFile {
    file: File,
}

impl DiskFile for RealFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn reopen(&self) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile {
            file: self.file.try_clone()?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn appended_bytes_are_read_back_through_every_handle() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("log");
        let disk = RealDisk::handle();
        let mut file = disk.create_new(&path).expect("create");
        file.append(b"one").expect("append");
        let reader = file.reopen().expect("reopen");
        file.append(b"two").expect("append");
        file.sync_data().expect("sync");
        disk.sync_dir(folder.path()).expect("sync folder");

        let mut buffer = [0_u8; 6];
        reader.read_exact_at(0, &mut buffer).expect("read");
        assert_eq!(&buffer, b"onetwo");
        file.truncate(3).expect("truncate");
        file.append(b"!").expect("append after truncation");
        assert_eq!(disk.read(&path).expect("read"), b"one!");
        let beyond = reader
            .read_exact_at(3, &mut buffer)
            .expect_err("shorter than the buffer");
        assert_eq!(beyond.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn x6_files_and_folders_belong_to_the_owner_only() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let deep = folder.path().join("a/b/c");
        let disk = RealDisk::handle();
        disk.create_dir_all(&deep).expect("create folders");
        disk.create_dir_all(&deep)
            .expect("creating again is harmless");
        drop(disk.create_new(&deep.join("file")).expect("create"));
        let mode = |path: &Path| fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
        assert_eq!(mode(&deep), DIR_MODE);
        assert_eq!(mode(&folder.path().join("a")), DIR_MODE);
        assert_eq!(mode(&deep.join("file")), FILE_MODE);
        assert_eq!(disk.list(&deep).expect("list"), vec![deep.join("file")]);
        assert!(
            disk.list(&folder.path().join("a"))
                .expect("list")
                .is_empty(),
            "folders are not files"
        );
    }

    #[test]
    fn a_removed_file_can_still_be_read_by_who_holds_it() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("log");
        let disk = RealDisk::handle();
        let mut file = disk.create_new(&path).expect("create");
        file.append(b"kept").expect("append");
        disk.remove(&path).expect("remove");
        assert!(!disk.exists(&path).expect("exists"));
        let mut buffer = [0_u8; 4];
        file.reopen()
            .expect("reopen")
            .read_exact_at(0, &mut buffer)
            .expect("read");
        assert_eq!(&buffer, b"kept");
    }

    #[test]
    fn missing_things_are_named_as_missing() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let nowhere = folder.path().join("nowhere");
        let disk = RealDisk::handle();
        assert!(disk.list(&nowhere).expect("list").is_empty());
        assert_eq!(
            disk.open(&nowhere).expect_err("open").kind(),
            io::ErrorKind::NotFound
        );
        assert!(
            disk.free_bytes(&nowhere.join("deeper"))
                .expect("free bytes")
                > 0
        );
    }
}
