//! A disk in memory that can lose power.
//!
//! ```text
//!   append ──► volatile bytes ──sync_data──► durable bytes
//!   create, rename, remove ──► volatile names ──sync_dir──► durable names
//!   crash: every volatile half is replaced by its durable half; open handles turn stale
//! ```
//!
//! Invariants: nothing that was not synced survives [`SimDisk::crash`]; nothing that was synced is lost by it;
//! iteration order is the order of names, so that a run can be repeated.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Disk, DiskFile};

/// Free bytes reported while no capacity is set: far more than any test writes.
const UNBOUNDED_FREE_BYTES: u64 = 1 << 50;

/// A simulated disk. Clones of its `Arc` are the same disk; processes come and go, the disk stays.
pub struct SimDisk {
    world: Arc<Mutex<World>>,
}

impl SimDisk {
    /// A new, empty disk of unbounded capacity.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            world: Arc::default(),
        })
    }

    /// Loses power: everything that was not synced is gone, and handles opened before fail from now on.
    pub fn crash(&self) {
        self.crash_torn(|_, _| 0);
    }

    /// Loses power in the middle of writing: of each file's unsynced tail (its length is the second argument) the
    /// first `keep(path, length)` bytes had reached the platter.
    pub fn crash_torn(&self, mut keep: impl FnMut(&Path, usize) -> usize) {
        let mut world = lock(&self.world);
        world.generation += 1;
        world.names = world.durable_names.clone();
        for (path, inode) in &world.names {
            let mut inode = lock(inode);
            let unsynced = inode.bytes.len() - inode.durable_prefix;
            let kept = if inode.durable_rest.is_empty() && unsynced > 0 {
                keep(path, unsynced).min(unsynced)
            } else {
                0
            };
            inode.lose_power(kept);
        }
    }

    /// From now on every sync fails (`true`) or works again (`false`). A failed sync makes nothing durable.
    pub fn fail_syncs(&self, fail: bool) {
        lock(&self.world).syncs_left = fail.then_some(0);
    }

    /// The next `count` syncs work, all later ones fail, until [`SimDisk::fail_syncs`]`(false)`.
    pub fn fail_syncs_after(&self, count: u64) {
        lock(&self.world).syncs_left = Some(count);
    }

    /// Bounds the sum of all file lengths; an append beyond it fails with `StorageFull` and writes nothing.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        lock(&self.world).capacity = bytes;
    }

    /// How many file syncs succeeded so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        lock(&self.world).syncs
    }

    /// How many folder syncs succeeded so far.
    #[must_use]
    pub fn dir_syncs(&self) -> u64 {
        lock(&self.world).dir_syncs
    }

    /// The plain files directly inside `dir` as a loss of power would leave them, by name, with their lengths in bytes.
    #[must_use]
    pub fn durable_files(&self, dir: &Path) -> Vec<(PathBuf, usize)> {
        let world = lock(&self.world);
        let files = world.durable_names.iter();
        let files = files.filter(|(path, _)| path.parent() == Some(dir));
        files
            .map(|(path, inode)| (path.clone(), lock(inode).durable_len()))
            .collect()
    }

    /// What a loss of power would leave of a file.
    ///
    /// # Errors
    /// `NotFound` if it would not leave the file.
    pub fn read_durable(&self, path: &Path) -> io::Result<Vec<u8>> {
        let world = lock(&self.world);
        let inode = world.durable_names.get(path);
        let inode = inode.ok_or(io::ErrorKind::NotFound)?;
        let inode = lock(inode);
        let mut bytes = inode.bytes[..inode.durable_prefix].to_vec();
        bytes.extend_from_slice(&inode.durable_rest);
        Ok(bytes)
    }

    /// Whether a loss of power would change what a file holds.
    ///
    /// # Errors
    /// `NotFound` if there is no such file.
    pub fn has_unsynced_bytes(&self, path: &Path) -> io::Result<bool> {
        let inode = lock(&self.world).inode(path)?;
        let is_durable = lock(&inode).is_durable();
        Ok(!is_durable)
    }

    /// The files directly inside `dir`, by name, of which a loss of power would take the name, or change
    /// what they hold.
    #[must_use]
    pub fn unsynced(&self, dir: &Path) -> Vec<PathBuf> {
        let world = lock(&self.world);
        let files = world.names.iter();
        let files = files.filter(|(path, _)| path.parent() == Some(dir));
        let unsynced = files.filter(|(path, inode)| {
            let is_named = world
                .durable_names
                .get(*path)
                .is_some_and(|durable| Arc::ptr_eq(durable, inode));
            !is_named || !lock(inode).is_durable()
        });
        unsynced.map(|(path, _)| path.clone()).collect()
    }

    /// Flips the bits `xor` of one byte, as a decaying medium does: a sync does not mend it.
    ///
    /// # Errors
    /// `NotFound` if there is no such file, `InvalidInput` if it is not that long.
    pub fn corrupt(&self, path: &Path, offset: u64, xor: u8) -> io::Result<()> {
        let inode = lock(&self.world).inode(path)?;
        let mut inode = lock(&inode);
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let byte = inode.bytes.get_mut(at).ok_or(io::ErrorKind::InvalidInput)?;
        *byte ^= xor;
        Ok(())
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SimDisk").finish_non_exhaustive()
    }
}

impl Disk for SimDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut world = lock(&self.world);
        for folder in dir.ancestors() {
            if world.names.contains_key(folder) {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            world.folders.insert(folder.to_path_buf());
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let world = lock(&self.world);
        Ok(world
            .names
            .keys()
            .filter(|path| path.parent() == Some(dir))
            .cloned()
            .collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let world = lock(&self.world);
        Ok(world.names.contains_key(path) || world.folders.contains(path))
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut world = lock(&self.world);
        world.check_folder_of(path)?;
        if world.names.contains_key(path) || world.folders.contains(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = Arc::new(Mutex::new(Inode::default()));
        world.names.insert(path.to_path_buf(), Arc::clone(&inode));
        let generation = world.generation;
        Ok(Box::new(SimFile {
            world: Arc::clone(&self.world),
            inode,
            generation,
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let world = lock(&self.world);
        let inode = world.inode(path)?;
        let generation = world.generation;
        Ok(Box::new(SimFile {
            world: Arc::clone(&self.world),
            inode,
            generation,
        }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let inode = lock(&self.world).inode(path)?;
        let bytes = lock(&inode).bytes.clone();
        Ok(bytes)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = lock(&self.world);
        world.check_folder_of(to)?;
        let inode = world.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        world.names.insert(to.to_path_buf(), inode);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = lock(&self.world).names.remove(path);
        removed
            .map(drop)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = lock(&self.world);
        if !world.folders.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        world.spend_sync()?;
        let World {
            names,
            durable_names,
            ..
        } = &mut *world;
        durable_names.retain(|path, _| path.parent() != Some(dir));
        for (path, inode) in names.iter().filter(|(path, _)| path.parent() == Some(dir)) {
            durable_names.insert(path.clone(), Arc::clone(inode));
        }
        world.dir_syncs += 1;
        Ok(())
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        let world = lock(&self.world);
        Ok(match world.capacity {
            Some(capacity) => capacity.saturating_sub(world.used_bytes()),
            None => UNBOUNDED_FREE_BYTES,
        })
    }
}

/// Everything the disk holds. Lock order: the world before an inode.
#[derive(Default)]
struct World {
    /// Counts crashes; a handle of an older generation is stale.
    generation: u64,
    names: BTreeMap<PathBuf, Arc<Mutex<Inode>>>,
    durable_names: BTreeMap<PathBuf, Arc<Mutex<Inode>>>,
    /// Folders are durable at once: `create_dir_all` syncs their parents.
    folders: BTreeSet<PathBuf>,
    /// Syncs that still succeed; `None` is no limit.
    syncs_left: Option<u64>,
    capacity: Option<u64>,
    syncs: u64,
    dir_syncs: u64,
}

impl World {
    fn inode(&self, path: &Path) -> io::Result<Arc<Mutex<Inode>>> {
        self.names
            .get(path)
            .cloned()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn check_folder_of(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(parent) if self.folders.contains(parent) => Ok(()),
            Some(parent) if parent.as_os_str().is_empty() || parent == Path::new("/") => Ok(()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn spend_sync(&mut self) -> io::Result<()> {
        match self.syncs_left {
            Some(0) => Err(io::Error::other("simulated sync failure")),
            Some(left) => {
                self.syncs_left = Some(left - 1);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn used_bytes(&self) -> u64 {
        self.names
            .values()
            .map(|inode| lock(inode).bytes.len() as u64)
            .sum()
    }
}

/// One file's bytes. What a crash leaves is `bytes[..durable_prefix]` followed by `durable_rest`.
#[derive(Default)]
struct Inode {
    /// What readers see.
    bytes: Vec<u8>,
    /// How far `bytes` equals what is durable.
    durable_prefix: usize,
    /// What is durable beyond the prefix: bytes cut by a truncation that was not synced yet.
    durable_rest: Vec<u8>,
}

impl Inode {
    fn sync(&mut self) {
        self.durable_prefix = self.bytes.len();
        self.durable_rest.clear();
    }

    fn truncate(&mut self, len: usize) {
        if len < self.durable_prefix {
            let mut rest = self.bytes[len..self.durable_prefix].to_vec();
            rest.append(&mut self.durable_rest);
            self.durable_rest = rest;
            self.durable_prefix = len;
        }
        self.bytes.resize(len, 0);
    }

    fn durable_len(&self) -> usize {
        self.durable_prefix + self.durable_rest.len()
    }

    fn is_durable(&self) -> bool {
        self.durable_prefix == self.bytes.len() && self.durable_rest.is_empty()
    }

    fn lose_power(&mut self, kept: usize) {
        self.bytes.truncate(self.durable_prefix + kept);
        self.bytes.append(&mut self.durable_rest);
        self.durable_prefix = self.bytes.len();
    }
}

/// A handle of one process; stale after a crash.
struct SimFile {
    world: Arc<Mutex<World>>,
    inode: Arc<Mutex<Inode>>,
    generation: u64,
}

impl SimFile {
    /// The locked disk, if this handle was opened since the last crash.
    fn live_world(&self) -> io::Result<MutexGuard<'_, World>> {
        let world = lock(&self.world);
        if world.generation == self.generation {
            Ok(world)
        } else {
            Err(io::Error::other("handle from before the simulated crash"))
        }
    }
}

impl fmt::Debug for SimFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SimFile").finish_non_exhaustive()
    }
}

impl DiskFile for SimFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let world = self.live_world()?;
        if let Some(capacity) = world.capacity
            && world.used_bytes().saturating_add(bytes.len() as u64) > capacity
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        lock(&self.inode).bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let _world = self.live_world()?;
        let inode = lock(&self.inode);
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(buffer.len());
        let bytes = inode
            .bytes
            .get(start..end)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let _world = self.live_world()?;
        Ok(lock(&self.inode).bytes.len() as u64)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        let _world = self.live_world()?;
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
        lock(&self.inode).truncate(len);
        Ok(())
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let mut world = self.live_world()?;
        world.spend_sync()?;
        lock(&self.inode).sync();
        world.syncs += 1;
        Ok(())
    }

    fn reopen(&self) -> io::Result<Box<dyn DiskFile>> {
        let _world = self.live_world()?;
        Ok(Box::new(Self {
            world: Arc::clone(&self.world),
            inode: Arc::clone(&self.inode),
            generation: self.generation,
        }))
    }
}

/// A panic of one test thread must not hide the disk from the others: every critical section here is complete.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
