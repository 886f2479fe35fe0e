//! A disk whose syncs of the write-ahead log take as long as they are told to.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use jarvis_disk::{Disk, DiskFile, DiskHandle, SimDisk};

/// How long each sync of the log takes. Clones are the same setting.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stall {
    shared: Arc<(Mutex<Duration>, Condvar)>,
}

impl Stall {
    /// From the next sync on. One under way that would take longer is let go at once.
    pub(crate) fn set(&self, each_sync: Duration) {
        let (setting, changed) = &*self.shared;
        *setting.lock().unwrap() = each_sync;
        changed.notify_all();
    }

    fn wait(&self) {
        let (setting, changed) = &*self.shared;
        let guard = setting.lock().unwrap();
        let stall = *guard;
        if !stall.is_zero() {
            let unchanged = |now: &mut Duration| *now >= stall;
            let (_guard, _) = changed.wait_timeout_while(guard, stall, unchanged).unwrap();
        }
    }
}

/// A disk in memory, so that nobody else's syncs are in the way; only the log is slow.
#[derive(Debug)]
pub(crate) struct StallingDisk {
    inner: DiskHandle,
    stall: Stall,
}

impl StallingDisk {
    pub(crate) fn handle(stall: Stall) -> DiskHandle {
        let inner = SimDisk::new();
        Arc::new(Self { inner, stall })
    }

    fn file(&self, path: &Path, inner: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        if path.extension().is_some_and(|extension| extension == "wal") {
            let stall = self.stall.clone();
            Box::new(StallingFile { inner, stall })
        } else {
            inner
        }
    }
}

impl Disk for StallingDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.inner.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.inner.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.inner.exists(path)
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.file(path, self.inner.create_new(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.file(path, self.inner.open(path)?))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.inner.read(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.inner.free_bytes(path)
    }
}

#[derive(Debug)]
struct StallingFile {
    inner: Box<dyn DiskFile>,
    stall: Stall,
}

impl DiskFile for StallingFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.inner.append(bytes)
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.inner.read_exact_at(offset, buffer)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.inner.truncate(len)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.stall.wait();
        self.inner.sync_data()
    }

    fn reopen(&self) -> io::Result<Box<dyn DiskFile>> {
        let (inner, stall) = (self.inner.reopen()?, self.stall.clone());
        Ok(Box::new(Self { inner, stall }))
    }
}
