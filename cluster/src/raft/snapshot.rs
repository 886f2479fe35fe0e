//! Snapshot files: the last two, full, checksummed (DESIGN 4).
//!
//! ```text
//! magic ‖ head (length-prefixed) ‖ records (length-prefixed) … ‖ 0 ‖ SHA-256 of everything before it
//! ```
//!
//! A file appears under its name only after fdatasync, rename, sync of the folder, and a read-back that checks it (rule 7).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use jarvis_disk::{Disk, DiskFile, DiskHandle};
use jarvis_domain::codec::{decode, encode};
use jarvis_domain::state::{LoadError, State};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::raft::{LogId, SnapshotMeta, StoredMembership};
use crate::shared::lock;

const MAGIC: &[u8; 8] = b"JVSNAP01";
/// Written and read in pieces of this size.
const CHUNK_BYTES: usize = 1024 * 1024;
/// Longest single record: a version of 1 MiB with its names fits many times over (rule 10).
const MAX_RECORD_BYTES: usize = 32 * 1024 * 1024;
/// How many files are kept: the newest, and one to fall back on.
pub(crate) const KEPT: usize = 2;

/// A complete snapshot file on this node's disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SnapshotFile {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// How long it is.
    pub(crate) bytes: u64,
}

/// What stands at the start of a snapshot file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) last_log_id: Option<LogId>,
    pub(crate) membership: StoredMembership,
    /// The state's scalars; the trail's position is among them.
    #[serde(with = "serde_bytes")]
    pub(crate) core: Vec<u8>,
    /// The bytes of the open audit segment at that index.
    #[serde(with = "serde_bytes")]
    pub(crate) open_segment: Vec<u8>,
}

impl Head {
    pub(crate) fn meta(&self) -> SnapshotMeta {
        SnapshotMeta {
            last_log_id: self.last_log_id,
            last_membership: self.membership.clone(),
        }
    }
}

/// Why a snapshot file can not be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The disk failed.
    #[error("snapshot file {path}: {source}")]
    Disk {
        /// The file.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// The content is not what was written.
    #[error("snapshot file {path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The state in it can not be used.
    #[error("snapshot file {path}: {source}")]
    State {
        /// The file.
        path: PathBuf,
        /// Why.
        source: LoadError,
    },
}

/// The folder of snapshot files.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotStore {
    disk: DiskHandle,
    dir: PathBuf,
    /// The newest file that was checked, so that Raft's question for it costs nothing.
    newest: Arc<Mutex<Option<(SnapshotFile, SnapshotMeta)>>>,
    /// Numbers incoming files: two transfers never share one.
    incoming: Arc<AtomicU64>,
}

impl SnapshotStore {
    /// Opens the folder; files that were cut off half-way are removed.
    pub(crate) fn open(disk: DiskHandle, dir: PathBuf) -> io::Result<Self> {
        disk.create_dir_all(&dir)?;
        let store = Self {
            disk,
            dir,
            newest: Arc::default(),
            incoming: Arc::default(),
        };
        for path in store.disk.list(&store.dir)? {
            if path
                .extension()
                .is_some_and(|extension| extension == "part" || extension == "tmp")
            {
                store.disk.remove(&path)?;
            }
        }
        Ok(store)
    }

    /// Complete files, newest first.
    pub(crate) fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = self.disk.list(&self.dir)?;
        files.retain(|path| {
            path.extension()
                .is_some_and(|extension| extension == "snap")
        });
        files.sort();
        files.reverse();
        Ok(files)
    }

    /// Log indexes of the complete files, newest first.
    pub(crate) fn indexes(&self) -> io::Result<Vec<u64>> {
        let stem = |path: &PathBuf| path.file_stem()?.to_str()?.parse().ok();
        Ok(self.files()?.iter().filter_map(stem).collect())
    }

    /// Length of the newest file.
    pub(crate) fn newest_bytes(&self) -> io::Result<Option<u64>> {
        match self.files()?.first() {
            Some(path) => self.disk.open(path)?.len().map(Some),
            None => Ok(None),
        }
    }

    /// Writes a snapshot of a state, checks it, and lets go of all but the newest two.
    pub(crate) fn write(&self, head: &Head, state: &State) -> Result<SnapshotFile, SnapshotError> {
        let part = self.dir.join("building.part");
        let path = self.path_of(head.last_log_id);
        let disk_error = |source| SnapshotError::Disk {
            path: part.clone(),
            source,
        };
        if self.disk.exists(&part).map_err(disk_error)? {
            self.disk.remove(&part).map_err(disk_error)?;
        }
        let mut writer = Writer::create(&*self.disk, &part).map_err(disk_error)?;
        writer.record(&encode(head)).map_err(disk_error)?;
        for (kind, key, value) in state.records() {
            writer
                .record(&encode(&Record { kind, key, value }))
                .map_err(disk_error)?;
        }
        writer.finish().map_err(disk_error)?;
        verify(&*self.disk, &part)?;
        self.publish(&part, &path)
    }

    /// Where an incoming snapshot is collected; the caller appends and then calls [`Self::adopt`].
    pub(crate) fn incoming(&self) -> io::Result<(PathBuf, Box<dyn DiskFile>)> {
        let number = self.incoming.fetch_add(1, Ordering::Relaxed);
        let part = self.dir.join(format!("incoming-{number}.part"));
        let file = self.disk.create_new(&part)?;
        Ok((part, file))
    }

    /// Lets go of a collected file that was not adopted. One that was has another name by now.
    pub(crate) fn discard(&self, part: &Path) {
        match self.disk.remove(part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                // It goes with the next start.
                tracing::warn!(path = %part.display(), %error, "an incoming snapshot can not be removed");
            }
            _ => {}
        }
    }

    /// Checks a collected file and gives it its name in this folder; a file from elsewhere is copied.
    pub(crate) fn adopt(&self, file: &Path) -> Result<SnapshotFile, SnapshotError> {
        let disk_error = |source| SnapshotError::Disk {
            path: file.to_owned(),
            source,
        };
        verify(&*self.disk, file)?;
        let meta = Reader::open(&*self.disk, file)?.head()?.meta();
        let path = self.path_of(meta.last_log_id);
        if path == file {
            let bytes = self
                .disk
                .open(file)
                .and_then(|file| file.len())
                .map_err(disk_error)?;
            return Ok(SnapshotFile { path, bytes });
        }
        if file.parent() == Some(self.dir.as_path()) {
            return self.publish(file, &path);
        }
        let (part, mut copy) = self.incoming().map_err(disk_error)?;
        copy.append(&self.disk.read(file).map_err(disk_error)?)
            .map_err(disk_error)?;
        copy.sync_data().map_err(disk_error)?;
        self.publish(&part, &path)
    }

    /// Refuses a collected file that is damaged or is not the snapshot it was announced as.
    pub(crate) fn check(&self, file: &Path, announced: &SnapshotMeta) -> Result<(), SnapshotError> {
        verify(&*self.disk, file)?;
        let meta = Reader::open(&*self.disk, file)?.head()?.meta();
        if meta == *announced {
            return Ok(());
        }
        let reason = "it is another snapshot than the one announced".to_owned();
        Err(SnapshotError::Damaged {
            path: file.to_owned(),
            reason,
        })
    }

    /// The newest file that was checked in this process, if it is still there.
    pub(crate) fn checked(&self) -> Option<(SnapshotFile, SnapshotMeta)> {
        let newest = lock(&self.newest).clone()?;
        self.disk
            .exists(&newest.0.path)
            .unwrap_or(false)
            .then_some(newest)
    }

    /// The newest file that is whole.
    pub(crate) fn newest(&self) -> Result<Option<(SnapshotFile, Head)>, SnapshotError> {
        let files = self.files().map_err(|source| SnapshotError::Disk {
            path: self.dir.clone(),
            source,
        })?;
        let mut damaged = Vec::new();
        for path in files {
            match verify(&*self.disk, &path)
                .and_then(|bytes| Ok((bytes, Reader::open(&*self.disk, &path)?.head()?)))
            {
                Ok((bytes, head)) => {
                    self.put_aside(&damaged)?;
                    let file = SnapshotFile { path, bytes };
                    *lock(&self.newest) = Some((file.clone(), head.meta()));
                    return Ok(Some((file, head)));
                }
                Err(SnapshotError::Damaged { reason, .. }) => {
                    tracing::warn!(path = %path.display(), reason, "a snapshot file is damaged");
                    damaged.push(path);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Damaged files must not count among the two that are kept; they are renamed once an older one serves.
    fn put_aside(&self, damaged: &[PathBuf]) -> Result<(), SnapshotError> {
        for path in damaged {
            tracing::warn!(path = %path.display(), "the damaged snapshot file is put aside; the older one serves");
            let aside = path.with_extension("damaged");
            self.disk
                .rename(path, &aside)
                .map_err(|source| SnapshotError::Disk {
                    path: aside,
                    source,
                })?;
        }
        Ok(())
    }

    /// Loads the state of a file.
    pub(crate) fn load(&self, path: &Path) -> Result<(Head, State), SnapshotError> {
        verify(&*self.disk, path)?;
        let mut reader = Reader::open(&*self.disk, path)?;
        let head = reader.head()?;
        let state_error = |source| SnapshotError::State {
            path: path.to_owned(),
            source,
        };
        let mut state = State::load_core(&head.core).map_err(state_error)?;
        while let Some(record) = reader.next()? {
            let Record { kind, key, value } = reader.decode(&record)?;
            state.load_record(kind, &key, &value).map_err(state_error)?;
        }
        Ok((head, state.loaded()))
    }

    /// Reads a piece of a file for sending.
    pub(crate) fn read_at(&self, path: &Path, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; length];
        self.disk.open(path)?.read_exact_at(offset, &mut buffer)?;
        Ok(buffer)
    }

    fn path_of(&self, last: Option<LogId>) -> PathBuf {
        let index = last.map_or(0, |id| id.index());
        self.dir.join(format!("{index:020}.snap"))
    }

    fn publish(&self, part: &Path, path: &Path) -> Result<SnapshotFile, SnapshotError> {
        let disk_error = |source| SnapshotError::Disk {
            path: path.to_owned(),
            source,
        };
        self.disk.rename(part, path).map_err(disk_error)?;
        self.disk.sync_dir(&self.dir).map_err(disk_error)?;
        let bytes = self
            .disk
            .open(path)
            .and_then(|file| file.len())
            .map_err(disk_error)?;
        for old in self.files().map_err(disk_error)?.into_iter().skip(KEPT) {
            match self.disk.remove(&old) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(disk_error(error));
                }
                _ => {}
            }
        }
        let file = SnapshotFile {
            path: path.to_owned(),
            bytes,
        };
        let meta = Reader::open(&*self.disk, path)?.head()?.meta();
        let mut newest = lock(&self.newest);
        if newest
            .as_ref()
            .is_none_or(|(_, known)| known.last_log_id <= meta.last_log_id)
        {
            *newest = Some((file.clone(), meta));
        }
        Ok(file)
    }
}

#[derive(Serialize, Deserialize)]
struct Record {
    kind: u8,
    #[serde(with = "serde_bytes")]
    key: Vec<u8>,
    #[serde(with = "serde_bytes")]
    value: Vec<u8>,
}

struct Writer {
    file: Box<dyn DiskFile>,
    buffer: Vec<u8>,
    hasher: Sha256,
}

impl Writer {
    fn create(disk: &dyn Disk, path: &Path) -> io::Result<Self> {
        let mut writer = Self {
            file: disk.create_new(path)?,
            buffer: Vec::new(),
            hasher: Sha256::new(),
        };
        writer.put(MAGIC)?;
        Ok(writer)
    }

    fn record(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.put(&length.to_be_bytes())?;
        self.put(bytes)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.append(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        self.put(&0_u32.to_be_bytes())?;
        let digest = self.hasher.clone().finalize();
        self.buffer.extend_from_slice(&digest);
        self.flush()?;
        if jarvis_mutants::active!(SnapshotNotSynced) {
            return Ok(());
        }
        self.file.sync_data()
    }
}

/// Checks magic and checksum; returns the file's length.
fn verify(disk: &dyn Disk, path: &Path) -> Result<u64, SnapshotError> {
    let disk_error = |source| SnapshotError::Disk {
        path: path.to_owned(),
        source,
    };
    let damaged = |reason: &str| SnapshotError::Damaged {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let file = disk.open(path).map_err(disk_error)?;
    let length = file.len().map_err(disk_error)?;
    let Some(content) = length
        .checked_sub(32)
        .filter(|content| *content >= MAGIC.len() as u64)
    else {
        return Err(damaged("shorter than any snapshot"));
    };
    let mut hasher = Sha256::new();
    let mut offset = 0;
    while offset < content {
        let take = (content - offset).min(CHUNK_BYTES as u64) as usize;
        let mut buffer = vec![0; take];
        file.read_exact_at(offset, &mut buffer)
            .map_err(disk_error)?;
        if offset == 0 && !buffer.starts_with(MAGIC) {
            return Err(damaged("no snapshot file, or of an unknown format"));
        }
        hasher.update(&buffer);
        offset += take as u64;
    }
    let mut expected = [0; 32];
    file.read_exact_at(content, &mut expected)
        .map_err(disk_error)?;
    if hasher.finalize()[..] != expected {
        return Err(damaged("the checksum does not match"));
    }
    Ok(length)
}

struct Reader {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    buffer: Vec<u8>,
    used: usize,
    offset: u64,
    end: u64,
}

impl Reader {
    fn open(disk: &dyn Disk, path: &Path) -> Result<Self, SnapshotError> {
        let disk_error = |source| SnapshotError::Disk {
            path: path.to_owned(),
            source,
        };
        let file = disk.open(path).map_err(disk_error)?;
        let end = file.len().map_err(disk_error)?.saturating_sub(32);
        let mut reader = Self {
            file,
            path: path.to_owned(),
            buffer: Vec::new(),
            used: 0,
            offset: 0,
            end,
        };
        let magic = reader.take(MAGIC.len())?;
        if magic == MAGIC {
            Ok(reader)
        } else {
            Err(reader.damaged("no snapshot file"))
        }
    }

    fn head(&mut self) -> Result<Head, SnapshotError> {
        let bytes = self.next()?.ok_or_else(|| self.damaged("no head"))?;
        self.decode(&bytes)
    }

    fn next(&mut self) -> Result<Option<Vec<u8>>, SnapshotError> {
        let length = self.take(4)?;
        let length =
            u32::from_be_bytes(length.as_slice().try_into().expect("four bytes were taken"))
                as usize;
        match length {
            0 => Ok(None),
            length if length > MAX_RECORD_BYTES => Err(self.damaged("a record is too long")),
            length => self.take(length).map(Some),
        }
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>, SnapshotError> {
        while self.buffer.len() - self.used < length {
            let more = (self.end - self.offset).min(CHUNK_BYTES as u64) as usize;
            if more == 0 {
                return Err(self.damaged("it ends inside a record"));
            }
            self.buffer.drain(..self.used);
            self.used = 0;
            let start = self.buffer.len();
            self.buffer.resize(start + more, 0);
            self.file
                .read_exact_at(self.offset, &mut self.buffer[start..])
                .map_err(|source| SnapshotError::Disk {
                    path: self.path.clone(),
                    source,
                })?;
            self.offset += more as u64;
        }
        let taken = self.buffer[self.used..self.used + length].to_vec();
        self.used += length;
        Ok(taken)
    }

    fn decode<T: serde::de::DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, SnapshotError> {
        decode(bytes).map_err(|error| self.damaged(&error.to_string()))
    }

    fn damaged(&self, reason: &str) -> SnapshotError {
        SnapshotError::Damaged {
            path: self.path.clone(),
            reason: reason.to_owned(),
        }
    }
}
