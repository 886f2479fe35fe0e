//! openraft's own storage test suite against our log store and state machine.

use std::sync::Arc;
use std::time::Duration;

use jarvis_audit::SegmentWriter;
use jarvis_domain::state::State;
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use crate::clock::AgreedClock;
use crate::env::Env;
use crate::image::ImageSender;
use crate::raft::log_store::LogStore;
use crate::raft::machine::{Machine, Trail, position_of};
use crate::raft::snapshot::SnapshotStore;
use crate::raft::{StoredMembership, TypeConfig};
use crate::shared::{Live, Shared};
use crate::wal::{Driver, Wal, WalOptions};

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError<TypeConfig>> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let env = Env::production();
        let fatal = Arc::new(|error| panic!("the log failed: {error}"));
        let options = WalOptions::new(Arc::new(|| Duration::ZERO));
        let wal_dir = folder.path().join("wal");
        let (wal, recovered) =
            Wal::open(env.disk.clone(), &wal_dir, options, Driver::Thread, fatal)
                .expect("a new log");
        let log = LogStore::new(wal, &recovered).expect("an empty log");
        let state = State::empty();
        let audit = SegmentWriter::open(
            env.disk.clone(),
            &folder.path().join("audit"),
            Some(position_of(&state)),
        )
        .expect("a new trail");
        let snapshots = SnapshotStore::open(env.disk.clone(), folder.path().join("snapshots"))
            .expect("a new folder");
        let clock = AgreedClock::new(env.clock.clone(), 0);
        let live = Live {
            state,
            last_applied: None,
            membership: StoredMembership::default(),
        };
        let shared = Arc::new(Shared::new(1, 1, clock, live));
        let machine = Machine::new(
            shared,
            Trail::new(audit),
            (snapshots, ImageSender::disabled()),
            false,
        );
        Ok((folder, log, machine))
    }
}

#[test]
fn t10_openraft_storage_suite_passes() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime
        .block_on(Suite::test_all(Builder))
        .expect("every case of the suite");
}
