//! What happened in a run, one line each, in its order: two runs are the same if their traces are.
//!
//! Every piece of bytes that a node hands to the network is a line: virtual time, both ends, length, and a digest of the
//! bytes. Log entries, votes, stamps and snapshots travel there, so that nothing a node decides stays out of it. What
//! clients were told and what the disks hold in the end stands behind.

use std::path::Path;
use std::sync::Mutex;

use jarvis_disk::Disk;
use sha2::{Digest, Sha256};

use crate::lock;

/// Bytes of a digest that are noted: no two messages of a run have the same by chance.
const DIGEST_BYTES: usize = 16;
/// Where a node keeps files.
const FOLDERS: [&str; 4] = ["/data", "/data/wal", "/data/snapshots", "/data/audit"];

/// The lines so far; `None` where nobody asked for them.
#[derive(Default)]
pub(crate) struct Trace(Mutex<Option<Vec<String>>>);

impl Trace {
    /// From now on everything is noted.
    pub(crate) fn begin(&self) {
        *lock(&self.0) = Some(Vec::new());
    }

    /// Bytes went into the network.
    pub(crate) fn sent(&self, way: &str, bytes: &[u8]) {
        self.note(|| {
            let now = turmoil::sim_elapsed().unwrap_or_default().as_micros();
            format!("{now} {way} {} {}", bytes.len(), digest(bytes))
        });
    }

    /// A disk holds this.
    pub(crate) fn holds(&self, host: &str, disk: &dyn Disk) {
        for folder in FOLDERS {
            for file in disk.list(Path::new(folder)).unwrap_or_default() {
                self.note(|| {
                    let bytes = disk.read(&file).unwrap_or_default();
                    format!(
                        "{host} {} {} {}",
                        file.display(),
                        bytes.len(),
                        digest(&bytes)
                    )
                });
            }
        }
    }

    /// Something else happened.
    pub(crate) fn note(&self, what: impl FnOnce() -> String) {
        if let Some(lines) = &mut *lock(&self.0) {
            lines.push(what());
        }
    }

    /// Everything so far.
    pub(crate) fn take(&self) -> Vec<String> {
        lock(&self.0).take().unwrap_or_default()
    }
}

/// The beginning of SHA-256, hex.
fn digest(bytes: &[u8]) -> String {
    hex::encode(&Sha256::digest(bytes)[..DIGEST_BYTES])
}
