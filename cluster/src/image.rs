//! The sled image: a rebuildable copy of the state on disk that makes a start fast. Never the only copy of anything.
//!
//! One tree; key = kind byte ‖ encoded key; key `[0]` holds the head (scalars, applied log id, membership, state hash).
//! A background thread coalesces many entries into one atomic batch, always of one view of the state, so the tree is
//! the state as of some index, or it does not load. Whatever does not load (missing, damaged, panicking inside sled,
//! wrong hash) is deleted and rebuilt from snapshot file and log: "empty" means rebuild, never "new node".

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use jarvis_domain::codec::{decode, encode};
use jarvis_domain::state::State;
use jarvis_domain::table::RecordKey;
use serde::{Deserialize, Serialize};

use crate::raft::{LogId, StoredMembership};
use crate::shared::{Live, Shared, lock};

/// Between two batches. Longer coalesces more and replays more of the log at start; seconds of log replay in well
/// under a second.
const ROUND: Duration = Duration::from_secs(3);
/// Changed records at which a batch is written without waiting for its time: bounds what is noted (rule 10), about 20 MiB.
const HURRY_RECORDS: usize = 256 * 1024;
/// A round lasts at least so many times what the last batch took, so that the image takes a twentieth of a core at most…
const REST: u32 = 20;
/// … and at most so long: what is replayed after a kill stays about a second's work.
const LONGEST_ROUND: Duration = Duration::from_secs(10);
/// sled's page cache: the image is written in order of change and read once, at start.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;
/// Records in one sled batch while everything is rewritten; the head comes with the last.
const HEAD_KEY: [u8; 1] = [0];

#[derive(Serialize, Deserialize)]
struct ImageHead {
    #[serde(with = "serde_bytes")]
    core: Vec<u8>,
    last_applied: Option<LogId>,
    membership: StoredMembership,
    hash: [u8; 32],
}

/// Where apply says what changed. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct ImageSender {
    inner: Option<Arc<Inner>>,
}

#[derive(Default)]
struct Inner {
    asked: Mutex<Asked>,
    wake: Condvar,
    /// Nobody writes an image any more.
    gone: AtomicBool,
}

/// Says that nobody takes changes any more, however the thread ended.
struct Gone<'a>(&'a Inner);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.0.gone.store(true, Ordering::Release);
    }
}

/// What the thread was asked for. Locked after the state, never before it.
#[derive(Default)]
struct Asked {
    /// Everything changed.
    rewrite: bool,
    /// Much changed: do not wait for the round.
    hurry: bool,
    stop: bool,
}

impl ImageSender {
    /// No image at all (simulation).
    pub(crate) fn disabled() -> Self {
        Self::default()
    }

    /// Entries were applied: what changed is noted in the state until the thread takes it.
    pub(crate) fn noted(&self, state: &mut State) {
        match &self.inner {
            Some(inner) if !inner.gone.load(Ordering::Acquire) => {
                if state.dirty_len() >= HURRY_RECORDS {
                    lock(&inner.asked).hurry = true;
                    inner.wake.notify_all();
                }
            }
            _ => drop(state.take_dirty()),
        }
    }

    /// Another state stands in the old one's place; called under its lock.
    pub(crate) fn replaced(&self) {
        if let Some(inner) = &self.inner {
            lock(&inner.asked).rewrite = true;
        }
    }

    /// Writes what is pending and ends the thread.
    pub(crate) fn stop(&self) {
        if let Some(inner) = &self.inner {
            lock(&inner.asked).stop = true;
            inner.wake.notify_all();
        }
    }
}

/// A loaded image.
pub(crate) struct Loaded {
    pub(crate) state: State,
    pub(crate) last_applied: Option<LogId>,
    pub(crate) membership: StoredMembership,
}

/// The image of one node.
pub(crate) struct Image {
    path: PathBuf,
    db: sled::Db,
}

impl Image {
    /// Opens the image and loads what is in it. `Ok((image, None))` when there was nothing usable.
    ///
    /// # Errors
    /// When not even a new, empty image can be made.
    pub(crate) fn open(path: &Path) -> std::io::Result<(Self, Option<Loaded>)> {
        match guarded(path, load) {
            Ok((db, Some(loaded))) => {
                return Ok((
                    Self {
                        path: path.to_owned(),
                        db,
                    },
                    Some(loaded),
                ));
            }
            Ok((db, None)) => drop(db),
            Err(reason) => {
                tracing::warn!(path = %path.display(), reason, "the disk image is rebuilt")
            }
        }
        if path.exists() {
            std::fs::remove_dir_all(path)?;
        }
        let db = guarded(path, open_db).map_err(std::io::Error::other)?;
        Ok((
            Self {
                path: path.to_owned(),
                db,
            },
            None,
        ))
    }

    /// Starts the writing thread. Unless `fresh`, the tree holds an older state of the same log already.
    pub(crate) fn start(
        self,
        fresh: bool,
        shared: Arc<Shared>,
    ) -> std::io::Result<(ImageSender, std::thread::JoinHandle<()>)> {
        let inner = Arc::new(Inner::default());
        lock(&inner.asked).rewrite = fresh;
        let sender = ImageSender {
            inner: Some(inner.clone()),
        };
        let thread = std::thread::Builder::new()
            .name("image".to_owned())
            .spawn(move || self.run(&inner, &shared))?;
        Ok((sender, thread))
    }

    fn run(self, inner: &Inner, shared: &Shared) {
        let _gone = Gone(inner);
        let mut written = None;
        let mut round = ROUND;
        loop {
            let stop = {
                let asked = lock(&inner.asked);
                let (mut asked, _) = inner
                    .wake
                    .wait_timeout_while(asked, round, |asked| !asked.stop && !asked.hurry)
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                asked.hurry = false;
                asked.stop
            };
            let (view, dirty, rewrite) = {
                let mut live = shared.live();
                let rewrite = std::mem::take(&mut lock(&inner.asked).rewrite);
                let dirty = live.state.take_dirty();
                let view = Live {
                    state: live.state.clone(),
                    last_applied: live.last_applied,
                    membership: live.membership.clone(),
                };
                (view, dirty, rewrite)
            };
            let applied = view.last_applied;
            let began = shared.clock.monotonic();
            if (rewrite || written != Some(applied))
                && let Err(error) = self.write(&view, &dirty, rewrite)
            {
                // Without an image the next start is slower, nothing else.
                tracing::error!(path = %self.path.display(), %error, "the disk image can not be written; it is given up until the next start");
                return;
            }
            written = Some(applied);
            let took = shared.clock.monotonic().saturating_sub(began);
            round = (took * REST).clamp(ROUND, LONGEST_ROUND);
            if stop {
                return;
            }
        }
    }

    fn write(&self, view: &Live, dirty: &BTreeSet<RecordKey>, rewrite: bool) -> sled::Result<()> {
        let state = &view.state;
        let mut batch = sled::Batch::default();
        if rewrite {
            self.db.clear()?;
            for (kind, key, value) in state.records() {
                batch.insert(place(kind, &key), value);
            }
        }
        for (kind, key) in dirty {
            match state.record(*kind, key) {
                Some(value) => batch.insert(place(*kind, key), value),
                None => batch.remove(place(*kind, key)),
            }
        }
        let head = ImageHead {
            core: state.core_bytes(),
            last_applied: view.last_applied,
            membership: view.membership.clone(),
            hash: state.hash(),
        };
        batch.insert(&HEAD_KEY, encode(&head));
        self.db.apply_batch(batch)?;
        self.db.flush()?;
        Ok(())
    }
}

fn place(kind: u8, key: &[u8]) -> Vec<u8> {
    let mut place = Vec::with_capacity(key.len() + 1);
    place.push(kind);
    place.extend_from_slice(key);
    place
}

fn open_db(path: &Path) -> Result<sled::Db, String> {
    sled::Config::new()
        .path(path)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(None)
        .open()
        .map_err(|error| error.to_string())
}

fn load(path: &Path) -> Result<(sled::Db, Option<Loaded>), String> {
    let db = open_db(path)?;
    let Some(head) = db.get(HEAD_KEY).map_err(|error| error.to_string())? else {
        return Ok((db, None));
    };
    let head: ImageHead = decode(&head).map_err(|error| error.to_string())?;
    let mut state = State::load_core(&head.core).map_err(|error| error.to_string())?;
    for item in db.iter() {
        let (key, value) = item.map_err(|error| error.to_string())?;
        if let Some((&kind, key)) = key.split_first().filter(|(kind, _)| **kind != 0) {
            state
                .load_record(kind, key, &value)
                .map_err(|error| error.to_string())?;
        }
    }
    let state = state.loaded();
    if state.hash() != head.hash {
        return Err("its content does not match its hash".to_owned());
    }
    Ok((
        db,
        Some(Loaded {
            state,
            last_applied: head.last_applied,
            membership: head.membership,
        }),
    ))
}

/// sled can panic on a damaged file: what happens in there stays in a thread of its own.
fn guarded<T: Send + 'static>(
    path: &Path,
    work: fn(&Path) -> Result<T, String>,
) -> Result<T, String> {
    let path = path.to_owned();
    let thread = std::thread::Builder::new()
        .name("image-open".to_owned())
        .spawn(move || work(&path));
    match thread.map(std::thread::JoinHandle::join) {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err("sled panicked on it".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
