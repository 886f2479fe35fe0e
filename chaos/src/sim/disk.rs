//! A machine's disk: the simulated one, with faults in front of it, and with rule 7 checked behind it.
//!
//! ```text
//!   node ──▶ MachineDisk ──▶ SimDisk (volatile half, durable half)
//!              │ slow, failing, or without power in the middle of a sync
//!              └ looks at each file that goes: is what must outlive it durable?
//! ```

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jarvis_disk::{Disk, DiskFile, SimDisk};

use super::lock;
use super::plan::Pace;
use crate::dice::Dice;

/// Where every machine keeps everything.
pub(super) const DATA_DIR: &str = "/data";
/// Where it keeps its trail.
pub(super) const AUDIT_DIR: &str = "/data/audit";
/// Its log.
pub(super) const WAL_DIR: &str = "/data/wal";
/// Its snapshots.
pub(super) const SNAPSHOT_DIR: &str = "/data/snapshots";
/// The events of stale reads that the log does not have yet.
pub(super) const JOURNAL_DIR: &str = "/data/journal";

/// How a snapshot that this node made is called before it is whole.
const BUILDING: &str = "building.part";

/// One machine's disk. It outlives processes.
pub(super) struct MachineDisk {
    platter: Arc<SimDisk>,
    state: Arc<Mutex<State>>,
}

struct State {
    dice: Dice,
    pace: Pace,
    /// Syncs take so long, ms, because something is wrong.
    stall_ms: Option<(u64, u64)>,
    /// Syncs fail.
    is_failing: bool,
    failed_syncs: u64,
    /// After so many more syncs the power goes in the middle of one.
    cut_after: Option<u64>,
    /// It went, and nobody has noticed yet.
    is_dead: bool,
    /// What broke rule 7.
    breaches: Vec<String>,
    /// Snapshots that got their names, and segments of the log that went behind them.
    snapshots: u64,
    purged: u64,
}

impl MachineDisk {
    /// An empty disk.
    pub(super) fn new(pace: Pace, dice: Dice) -> Self {
        Self {
            platter: SimDisk::new(),
            state: Arc::new(Mutex::new(State {
                dice,
                pace,
                stall_ms: None,
                is_failing: false,
                failed_syncs: 0,
                cut_after: None,
                is_dead: false,
                breaches: Vec::new(),
                snapshots: 0,
                purged: 0,
            })),
        }
    }

    /// The disk below, to look at: without faults, and without anybody noticing.
    pub(super) fn platter(&self) -> &SimDisk {
        &self.platter
    }

    /// Syncs take so many ms from now on; `None`: as usual.
    pub(super) fn stall(&self, stall_ms: Option<(u64, u64)>) {
        lock(&self.state).stall_ms = stall_ms;
    }

    /// Syncs fail from now on, or work again.
    pub(super) fn fail(&self, is_failing: bool) {
        lock(&self.state).is_failing = is_failing;
    }

    /// Whether syncs fail.
    pub(super) fn is_failing(&self) -> bool {
        lock(&self.state).is_failing
    }

    /// How many did.
    pub(super) fn failed_syncs(&self) -> u64 {
        lock(&self.state).failed_syncs
    }

    /// The power goes in the middle of the sync after so many; `None`: it does not.
    pub(super) fn cut_after(&self, syncs: Option<u64>) {
        lock(&self.state).cut_after = syncs;
    }

    /// Whether the power went in the middle of a sync.
    pub(super) fn is_dead(&self) -> bool {
        lock(&self.state).is_dead
    }

    /// The power goes. Of what is not synced a part got through if it is torn, otherwise nothing.
    pub(super) fn lose_power(&self, is_torn: bool) {
        let mut state = lock(&self.state);
        state.is_dead = false;
        state.cut_after = None;
        let dice = &mut state.dice;
        if is_torn {
            self.platter
                .crash_torn(|_, unsynced| dice.place(unsynced + 1));
        } else {
            self.platter.crash();
        }
    }

    /// What broke rule 7 since the last look.
    pub(super) fn take_breaches(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.state).breaches)
    }

    /// Snapshots made or received, and segments of the log that were purged behind them.
    pub(super) fn compactions(&self) -> (u64, u64) {
        let state = lock(&self.state);
        (state.snapshots, state.purged)
    }

    fn wrap(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(MachineFile {
            file,
            state: Arc::clone(&self.state),
        })
    }

    /// Rule 7: the trail is durable before the snapshot that stands for it, and the snapshot before it has its name.
    fn look_at_snapshot(&self, part: &Path) {
        let mut breaches = Vec::new();
        if self.platter.has_unsynced_bytes(part).unwrap_or(false) {
            breaches.push(format!("{} is named and not synced", part.display()));
        }
        if part.file_name().is_some_and(|name| name == BUILDING) {
            let trail = self.platter.unsynced(Path::new(AUDIT_DIR));
            if !trail.is_empty() {
                breaches.push(format!(
                    "a snapshot is made while the trail it stands for is not synced: {trail:?}"
                ));
            }
        }
        let mut state = lock(&self.state);
        state.snapshots += 1;
        state.breaches.append(&mut breaches);
    }

    /// Rule 7: what is purged is in a snapshot that is durable.
    fn look_at_purge(&self, segment: &Path) {
        let is_newest = |files: Vec<PathBuf>| files.last().is_none_or(|newest| newest == segment);
        let segments = self.platter.list(Path::new(WAL_DIR)).unwrap_or_default();
        if is_newest(segments) {
            // The torn beginning of a segment, which a start clears away.
            return;
        }
        let is_snapshot = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "snap");
        let dir = Path::new(SNAPSHOT_DIR);
        let mut snapshots = self.platter.list(dir).unwrap_or_default();
        snapshots.retain(is_snapshot);
        let mut unsynced = self.platter.unsynced(dir);
        unsynced.retain(is_snapshot);
        let mut state = lock(&self.state);
        state.purged += 1;
        if snapshots.is_empty() {
            let breach = format!("{} goes, and there is no snapshot", segment.display());
            state.breaches.push(breach);
        } else if !unsynced.is_empty() {
            let breach = format!("{} goes before {unsynced:?} is durable", segment.display());
            state.breaches.push(breach);
        }
    }
}

impl fmt::Debug for MachineDisk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MachineDisk")
            .finish_non_exhaustive()
    }
}

impl State {
    fn check_power(&self) -> io::Result<()> {
        if self.is_dead {
            return Err(io::Error::other("simulated: the power is gone"));
        }
        Ok(())
    }

    /// Whether this sync happens.
    fn check_sync(&mut self) -> io::Result<()> {
        self.check_power()?;
        if let Some(left) = &mut self.cut_after {
            if *left == 0 {
                self.is_dead = true;
                return Err(io::Error::other("simulated: the power goes"));
            }
            *left -= 1;
        }
        if self.is_failing {
            self.failed_syncs += 1;
            return Err(io::Error::other("simulated: the sync fails"));
        }
        Ok(())
    }
}

impl Disk for MachineDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        lock(&self.state).check_power()?;
        self.platter.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        lock(&self.state).check_power()?;
        self.platter.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        lock(&self.state).check_power()?;
        self.platter.exists(path)
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        lock(&self.state).check_power()?;
        Ok(self.wrap(self.platter.create_new(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        lock(&self.state).check_power()?;
        Ok(self.wrap(self.platter.open(path)?))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        lock(&self.state).check_power()?;
        self.platter.read(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        lock(&self.state).check_power()?;
        if to.extension().is_some_and(|ending| ending == "snap") {
            self.look_at_snapshot(from);
        }
        self.platter.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        lock(&self.state).check_power()?;
        if path.parent() == Some(Path::new(WAL_DIR)) {
            self.look_at_purge(path);
        }
        self.platter.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        lock(&self.state).check_sync()?;
        self.platter.sync_dir(dir)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        lock(&self.state).check_power()?;
        self.platter.free_bytes(path)
    }

    fn sync_delay(&self) -> Duration {
        let mut state = lock(&self.state);
        let (low, high) = match (state.stall_ms, state.pace) {
            (Some(stall_ms), _) => stall_ms,
            (None, Pace::UpTo(most_ms)) => (1, most_ms),
            (None, Pace::Instant) => return Duration::ZERO,
        };
        Duration::from_millis(state.dice.between(low, high))
    }
}

#[derive(Debug)]
struct MachineFile {
    file: Box<dyn DiskFile>,
    state: Arc<Mutex<State>>,
}

impl fmt::Debug for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("State").finish_non_exhaustive()
    }
}

impl DiskFile for MachineFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        lock(&self.state).check_power()?;
        self.file.append(bytes)
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        lock(&self.state).check_power()?;
        self.file.read_exact_at(offset, buffer)
    }

    fn len(&self) -> io::Result<u64> {
        lock(&self.state).check_power()?;
        self.file.len()
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        lock(&self.state).check_power()?;
        self.file.truncate(len)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        lock(&self.state).check_sync()?;
        self.file.sync_data()
    }

    fn reopen(&self) -> io::Result<Box<dyn DiskFile>> {
        lock(&self.state).check_power()?;
        Ok(Box::new(Self {
            file: self.file.reopen()?,
            state: Arc::clone(&self.state),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> MachineDisk {
        let disk = MachineDisk::new(Pace::Instant, Dice::new(1));
        for dir in [WAL_DIR, SNAPSHOT_DIR, AUDIT_DIR] {
            disk.create_dir_all(Path::new(dir)).unwrap();
        }
        disk
    }

    fn file(disk: &MachineDisk, path: &str, is_synced: bool) {
        let mut file = disk.create_new(Path::new(path)).unwrap();
        file.append(b"bytes").unwrap();
        if is_synced {
            file.sync_data().unwrap();
            disk.sync_dir(Path::new(path).parent().unwrap()).unwrap();
        }
    }

    #[test]
    fn the_power_goes_in_the_middle_of_a_sync_and_takes_what_was_to_be_synced() {
        let disk = disk();
        file(&disk, "/data/wal/1.wal", true);
        let mut open = disk.open(Path::new("/data/wal/1.wal")).unwrap();
        disk.cut_after(Some(1));
        open.append(b"-kept").unwrap();
        open.sync_data().unwrap();
        open.append(b"-torn").unwrap();
        assert!(open.sync_data().is_err() && disk.is_dead());
        assert!(open.append(b"late").is_err() && disk.list(Path::new(WAL_DIR)).is_err());
        disk.lose_power(false);
        assert!(!disk.is_dead());
        assert_eq!(
            disk.read(Path::new("/data/wal/1.wal")).unwrap(),
            b"bytes-kept"
        );
    }

    #[test]
    fn syncs_fail_or_take_time_as_they_are_told_to() {
        let disk = disk();
        disk.fail(true);
        let mut open = disk.create_new(Path::new("/data/wal/1.wal")).unwrap();
        assert!(open.sync_data().is_err());
        assert_eq!((disk.failed_syncs(), disk.is_failing()), (1, true));
        disk.fail(false);
        open.sync_data().unwrap();
        assert_eq!(disk.sync_delay(), Duration::ZERO);
        disk.stall(Some((500, 500)));
        assert_eq!(disk.sync_delay(), Duration::from_millis(500));
    }

    #[test]
    fn rule_7_a_snapshot_before_its_trail_or_its_own_bytes_is_noticed() {
        let part = Path::new("/data/snapshots/building.part");
        let named = Path::new("/data/snapshots/1.snap");
        for (is_synced, is_trail_synced, breaches) in
            [(true, true, 0), (false, true, 1), (true, false, 1)]
        {
            let disk = disk();
            file(&disk, "/data/audit/audit.jsonl", is_trail_synced);
            file(&disk, part.to_str().unwrap(), is_synced);
            disk.rename(part, named).unwrap();
            assert_eq!(disk.take_breaches().len(), breaches);
            assert_eq!(disk.compactions(), (1, 0));
        }
    }

    #[test]
    fn rule_7_a_purge_before_its_snapshot_is_durable_is_noticed() {
        for (snapshot, breaches) in [(Some(true), 0), (Some(false), 1), (None, 1)] {
            let disk = disk();
            file(&disk, "/data/wal/1.wal", true);
            file(&disk, "/data/wal/2.wal", true);
            if let Some(is_synced) = snapshot {
                file(&disk, "/data/snapshots/1.snap", is_synced);
            }
            disk.remove(Path::new("/data/wal/1.wal")).unwrap();
            assert_eq!(disk.take_breaches().len(), breaches);
            // The newest one is no purge.
            disk.remove(Path::new("/data/wal/2.wal")).unwrap();
            assert!(disk.take_breaches().is_empty());
        }
    }
}
