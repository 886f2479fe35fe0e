//! From what is on disk to a running node.
//!
//! ```text
//!  lock the folder ─▶ WAL (cut or refuse) ─▶ state: image, else newest whole snapshot, else empty
//!      ─▶ audit segments cut back to that state ─▶ Raft replays the log's tail ─▶ serve peers
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, OnceLock};

use jarvis_audit::AuditError;
use jarvis_audit::writer::SegmentWriter;
use jarvis_disk::write_atomic;
use jarvis_domain::state::State;

use crate::barrier::Barrier;
use crate::clock::AgreedClock;
use crate::directory::{Links, PeerDirectory};
use crate::env::Env;
use crate::image::{Image, ImageSender, Loaded};
use crate::leader::Leadership;
use crate::network::{Me, PeerNetwork, Security};
use crate::node::{Inner, NodeConfig};
use crate::peers::Peers;
use crate::proposer::{Lane, Proposer};
use crate::raft::log_store::LogStore;
use crate::raft::machine::{Machine, Trail, position_of};
use crate::raft::peer_raft::PeerRaftFactory;
use crate::raft::runtime::with_random;
use crate::raft::snapshot::{SnapshotError, SnapshotStore};
use crate::raft::{LogId, StoredMembership};
use crate::shared::{Live, Shared};
use crate::status::Reporter;
use crate::wal::{Driver, Recovered, Wal, WalError, WalOptions};

/// Access batches in flight per node (DESIGN 7).
const ACCESS_BATCHES: usize = 1;
/// Write batches in flight per node (DESIGN 7).
const WRITE_BATCHES: usize = 2;
/// Bytes one fdatasync covers at most (rule 10).
const WAL_GROUP_BYTES: usize = 4 * 1024 * 1024;
/// Bytes the log may have queued before the leader counts as slow.
const WAL_QUEUE_BYTES: usize = 64 * 1024 * 1024;
/// Recent log bytes kept in memory below Raft's own cache.
const WAL_CACHE_BYTES: usize = 4 * 1024 * 1024;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process uses the folder.
    #[error("{path} is in use by another process: two nodes never share a data directory")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The disk failed.
    #[error("{path}: {source}")]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// The log is damaged.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// The log of a node that has lived is gone.
    #[error(
        "{path} belongs to a node that has run before, but its log is gone. Nothing was changed. A node that lost its log may have promised what it no longer knows: it can not come back under its identity. Remove it from the cluster and join a new node with an empty folder, or restore the whole folder"
    )]
    LogLost {
        /// The data directory.
        path: PathBuf,
    },
    /// A snapshot can not be used.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The trail can not be brought to the state's position.
    #[error(
        "the audit trail does not fit the state: {0}. Nothing was changed. Restore this node's folder, or remove the node and join a new one with an empty folder"
    )]
    Audit(AuditError),
    /// Neither a readable snapshot nor a complete log.
    #[error(
        "{path} holds neither a readable snapshot nor a complete log (the log begins after entry {purged}). Nothing was changed. This node can not continue under its identity: remove it from the cluster and join a new node with an empty folder, or restore a backup"
    )]
    NothingToStartFrom {
        /// The data directory.
        path: PathBuf,
        /// Entries up to this one are gone from the log.
        purged: u64,
    },
    /// The peer address can not be listened on.
    #[error("can not listen for peers on {address}: {source}")]
    Bind {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// Raft does not start.
    #[error("raft does not start: {0}")]
    Raft(String),
}

struct Recovery {
    state: State,
    last_applied: Option<LogId>,
    membership: StoredMembership,
    audit: SegmentWriter,
    image: Option<(Image, bool)>,
}

pub(super) async fn start(
    config: NodeConfig,
    env: Env,
    security: Security,
) -> Result<Arc<Inner>, StartError> {
    let data = &config.data_dir;
    let disk_error = |source| StartError::Disk {
        path: data.clone(),
        source,
    };
    env.disk.create_dir_all(data).map_err(disk_error)?;
    let (wal, recovered) = open_wal(&config, &env)?;
    let snapshots =
        SnapshotStore::open(env.disk.clone(), data.join("snapshots")).map_err(disk_error)?;
    let recovery = recover(&config, &env, &recovered, &snapshots)?;
    let incarnation = next_incarnation(&env, data).map_err(disk_error)?;
    let Recovery {
        state,
        last_applied,
        membership,
        audit,
        image,
    } = recovery;

    let clock = AgreedClock::new(env.clock.clone(), state.core.time);
    let live = Live {
        state,
        last_applied,
        membership,
    };
    let shared = Arc::new(Shared::new(config.node_id, incarnation, clock, live));
    let audit = Trail::new(audit);
    let (image, image_thread) = match image {
        Some((image, fresh)) => {
            let (sender, thread) = image.start(fresh, shared.clone()).map_err(disk_error)?;
            (sender, Some(thread))
        }
        None => (ImageSender::disabled(), None),
    };
    let machine = Machine::new(
        shared.clone(),
        audit.clone(),
        (snapshots.clone(), image.clone()),
        env.simulated,
    );

    let directory = PeerDirectory::new(shared.clone());
    let listener = env
        .net
        .bind(&config.peer_bind)
        .await
        .map_err(|source| StartError::Bind {
            address: config.peer_bind.clone(),
            source,
        })?;
    let peer_address = listener.local_addr().map_err(disk_error)?;
    let me = Me {
        cluster_id: config.cluster_id,
        recovery_epoch: config.recovery_epoch,
        node_id: config.node_id,
        level: jarvis_domain::FEATURE_LEVEL,
        peer_address: config.peer_address.clone(),
        api_address: config.api_address.clone(),
    };
    let network = PeerNetwork::new(env.clone(), security, me, directory.clone())
        .map_err(|error| StartError::Raft(error.to_string()))?;
    let links = Links {
        network: network.clone(),
        directory,
    };

    let log = LogStore::new(wal.clone(), &recovered).map_err(disk_error)?;
    let factory = PeerRaftFactory {
        links: links.clone(),
        snapshots: snapshots.clone(),
        simulated: env.simulated,
    };
    let raft_config = crate::raft::config(&hex::encode(config.cluster_id), config.timing)
        .validate()
        .map_err(|error| StartError::Raft(error.to_string()))?;
    let raft = openraft::Raft::new(config.node_id, Arc::new(raft_config), factory, log, machine);
    let raft = with_random(env.random.clone(), raft)
        .await
        .map_err(|error| StartError::Raft(error.to_string()))?;

    let leadership = Leadership {
        raft: raft.clone(),
        links,
        shared: shared.clone(),
    };
    let sealed = Arc::new(AtomicBool::new(true));
    let version: Arc<str> = config.version.as_str().into();
    let reporter = Reporter {
        leadership: leadership.clone(),
        sealed: sealed.clone(),
        version,
    };
    let desk = Arc::new(OnceLock::new());
    let peers = Peers {
        leadership: leadership.clone(),
        reporter: reporter.clone(),
        snapshots: snapshots.clone(),
        audit: audit.clone(),
        simulated: env.simulated,
        desk: desk.clone(),
    };
    let serving = tokio::spawn(network.serve(listener, Arc::new(peers))).abort_handle();
    let proposer = Arc::new(Proposer {
        shared: shared.clone(),
        leadership: leadership.clone(),
        next_seq: AtomicU64::new(1),
    });
    let in_flight = Arc::new(AtomicUsize::new(0));
    Ok(Arc::new(Inner {
        barrier: Barrier::start(leadership.clone()),
        accesses: Lane::start(proposer.clone(), in_flight.clone(), ACCESS_BATCHES),
        writes: Lane::start(proposer, in_flight.clone(), WRITE_BATCHES),
        config,
        env,
        shared,
        raft,
        leadership,
        reporter,
        wal,
        snapshots,
        audit,
        image,
        image_thread: Mutex::new(image_thread),
        sealed,
        trail_synced: AtomicU64::new(0),
        trail_disk_full: AtomicBool::new(false),
        segment_ends: Mutex::default(),
        in_flight,
        desk,
        peer_address,
        tasks: Mutex::new(vec![serving]),
    }))
}

fn open_wal(config: &NodeConfig, env: &Env) -> Result<(Wal, Recovered), StartError> {
    let clock = env.clock.clone();
    let options = WalOptions {
        segment_bytes: config.wal_segment_bytes,
        group_bytes: WAL_GROUP_BYTES,
        queue_bytes: WAL_QUEUE_BYTES,
        cache_bytes: WAL_CACHE_BYTES,
        monotonic: Arc::new(move || clock.monotonic()),
    };
    let driver = if env.simulated {
        Driver::Inline
    } else {
        Driver::Thread
    };
    let on_fatal = config.on_fatal.clone();
    let fatal = move |error: io::Error| {
        on_fatal(format!("the write-ahead log can not be written: {error}"))
    };
    let dir = config.data_dir.join("wal");
    refuse_lost_log(config, env, &dir)?;
    Ok(Wal::open(
        env.disk.clone(),
        &dir,
        options,
        driver,
        Arc::new(fatal),
    )?)
}

/// Rule 11: the number of starts is written only after the log exists, so a node that counted one had a log.
fn refuse_lost_log(config: &NodeConfig, env: &Env, dir: &Path) -> Result<(), StartError> {
    let disk_error = |source| StartError::Disk {
        path: dir.to_owned(),
        source,
    };
    let has_lived = env
        .disk
        .exists(&config.data_dir.join("incarnation"))
        .map_err(disk_error)?;
    let has_log = env
        .disk
        .list(dir)
        .map_err(disk_error)?
        .iter()
        .any(|path| path.extension().is_some_and(|e| e == "wal"));
    if has_lived && !has_log && !jarvis_mutants::active!(NodeIdReused) {
        return Err(StartError::LogLost {
            path: config.data_dir.clone(),
        });
    }
    Ok(())
}

/// Chooses what to start from (DESIGN 4).
fn recover(
    config: &NodeConfig,
    env: &Env,
    recovered: &Recovered,
    snapshots: &SnapshotStore,
) -> Result<Recovery, StartError> {
    let newest = snapshots.newest()?;
    let snapshot_id = newest.as_ref().and_then(|(_, head)| head.last_log_id);
    let mut image = None;
    if !env.simulated {
        let path = config.data_dir.join("image");
        let opened = Image::open(&path).map_err(|source| StartError::Disk { path, source })?;
        if let (opened, Some(loaded)) = opened {
            match from_image(config, env, recovered, (snapshot_id, loaded)) {
                Some(recovery) => {
                    return Ok(Recovery {
                        image: Some((opened, false)),
                        ..recovery
                    });
                }
                None => image = Some((opened, true)),
            }
        } else {
            image = Some((opened.0, true));
        }
    }
    if let Some((file, _)) = newest {
        let (head, state) = snapshots.load(&file.path)?;
        check_log(config, recovered, head.last_log_id)?;
        let audit = open_trail(config, env, &state, &head.open_segment)?;
        let (last_applied, membership) = (head.last_log_id, head.membership);
        return Ok(Recovery {
            state,
            last_applied,
            membership,
            audit,
            image,
        });
    }
    check_log(config, recovered, None)?;
    let state = State::empty();
    let audit = open_trail(config, env, &state, &[])?;
    Ok(Recovery {
        state,
        last_applied: None,
        membership: StoredMembership::default(),
        audit,
        image,
    })
}

/// The image serves if it is not older than the snapshot, the log goes on from it, and the trail reaches it.
fn from_image(
    config: &NodeConfig,
    env: &Env,
    recovered: &Recovered,
    (snapshot_id, loaded): (Option<LogId>, Loaded),
) -> Option<Recovery> {
    let Loaded {
        state,
        last_applied,
        membership,
    } = loaded;
    // Entries are applied before this node's own disk has them: after a power cut the image may be ahead of the log,
    // and must not become the only copy.
    let is_ahead = last_applied.is_some_and(|id| id.index() + 1 > recovered.last_index);
    if is_ahead || last_applied < snapshot_id || check_log(config, recovered, last_applied).is_err()
    {
        return None;
    }
    match SegmentWriter::open(
        env.disk.clone(),
        &config.audit_dir,
        Some(position_of(&state)),
    ) {
        Ok(audit) if !audit.missing_closed().is_empty() => {
            tracing::warn!("the trail lacks closed segments; starting from the snapshot");
            None
        }
        Ok(audit) => Some(Recovery {
            state,
            last_applied,
            membership,
            audit,
            image: None,
        }),
        Err(error) => {
            tracing::warn!(%error, "the trail does not reach the disk image; starting from the snapshot");
            None
        }
    }
}

/// Opens the trail at a state's position; the open segment can be restored from the snapshot.
fn open_trail(
    config: &NodeConfig,
    env: &Env,
    state: &State,
    open_segment: &[u8],
) -> Result<SegmentWriter, StartError> {
    let dir = &config.audit_dir;
    let open = || SegmentWriter::open(env.disk.clone(), dir, Some(position_of(state)));
    match open() {
        Ok(audit) => Ok(audit),
        Err(AuditError::Behind { .. }) => {
            let path = dir.join("audit.jsonl");
            write_atomic(&*env.disk, &path, open_segment)
                .map_err(|source| StartError::Disk { path, source })?;
            open().map_err(StartError::Audit)
        }
        Err(error) => Err(StartError::Audit(error)),
    }
}

/// The log must go on where the state stands. (The log counts from one above Raft's index.)
fn check_log(
    config: &NodeConfig,
    recovered: &Recovered,
    from: Option<LogId>,
) -> Result<(), StartError> {
    let purged = recovered.purged.as_ref().map_or(0, |(upto, _)| *upto);
    let have = from.map_or(0, |id| id.index() + 1);
    if purged > have {
        return Err(StartError::NothingToStartFrom {
            path: config.data_dir.clone(),
            purged: purged - 1,
        });
    }
    Ok(())
}

/// A number that grows with each start, durable before it is used (rule 8).
fn next_incarnation(env: &Env, data: &Path) -> io::Result<u64> {
    let path = data.join("incarnation");
    let last = if env.disk.exists(&path)? {
        let text = String::from_utf8(env.disk.read(&path)?).map_err(io::Error::other)?;
        text.trim().parse::<u64>().map_err(|error| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} is no number: {error}", path.display()),
            )
        })?
    } else {
        0
    };
    write_atomic(&*env.disk, &path, format!("{}\n", last + 1).as_bytes())?;
    Ok(last + 1)
}
