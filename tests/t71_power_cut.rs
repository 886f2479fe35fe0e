//! Power cuts: of one node, and of all three at once, while clients write. Everything acknowledged is there afterwards,
//! the trails verify and are the same bytes, and no head that was ever told is gone (C7, X4; rules 6 and 7).
//!
//! ```text
//!   <loop device 1>  /cluster/n1, n2      <loop device 2>  /cluster/n3
//!   one node:   device 2 is cut; its node ends by itself; the others go on; remount, start, check
//!   all nodes:  both devices are cut right after an acknowledgement; remount, start, check
//! ```
//! Snapshots are made as often as possible, so that cuts fall between the trail's sync, the snapshot file and the purge.
//! Before the cuts of each kind, writes go on until every node has made a snapshot and purged its log: a slow machine
//! makes the story longer, not emptier. `JARVIS_POWER_CUTS` says how many cuts of each kind are made.

#![allow(
    clippy::unwrap_used,
    reason = "a test that can not go on has failed; its helpers are not marked as tests"
)]

use std::sync::Arc;
use std::time::Duration;

use jarvis_harness::checks::{self, Heads};
use jarvis_harness::volumes::{Volume, cut_power};
use jarvis_harness::workload::{Ledger, Writers};
use jarvis_harness::{Cluster, Programs, files, phase, programs, within};
use tempfile::TempDir;

/// What Cargo built.
const JARVIS: Programs = programs!();

/// The node with a disk of its own.
const ALONE: usize = 2;
/// Cuts of each kind, unless the environment says otherwise.
const DEFAULT_CUTS: usize = 5;
/// Far more than the story writes; the files are sparse.
const VOLUME_MEBIBYTES: u64 = 512;

/// Acknowledged writes before a cut: between once and some times a round of snapshots, and never in step with it.
const WRITES_BEFORE_CUT: usize = 60;
const MORE_WRITES_PER_CUT: usize = 37;
/// Acknowledged writes while one node is gone.
const WRITES_WITHOUT_IT: usize = 30;
/// A snapshot is due when as much log was written as the last one is long: up to two thousand writes, each behind a sync,
/// on a machine that may be busy with something else.
const PURGED_WITHIN: Duration = Duration::from_secs(240);

#[test]
#[ignore = "needs root: run by .ci/run"]
fn t71_what_was_acknowledged_survives_power_cuts() {
    let mut rig = match Rig::build() {
        Ok(rig) => rig,
        Err(reason) => {
            eprintln!("!!! SKIPPED: power cuts were NOT tested: {reason}");
            return;
        }
    };
    let cuts = cuts();
    let ledger = Arc::new(Ledger::default());
    let mut heads = Heads::default();
    rig.cluster.start();
    purge_everywhere(&rig.cluster, &ledger);
    for cut in 0..cuts {
        phase(&format!("power cut {} of {cuts} of one node", cut + 1));
        rig.cut_one(cut, &ledger);
        checks::nothing_is_lost(&rig.cluster, &ledger, &mut heads);
    }
    purge_everywhere(&rig.cluster, &ledger);
    for cut in 0..cuts {
        phase(&format!("power cut {} of {cuts} of all nodes", cut + 1));
        rig.cut_all(cut, &ledger);
        checks::nothing_is_lost(&rig.cluster, &ledger, &mut heads);
    }
    rig.cluster.stop();
    phase(&format!(
        "{} acknowledged writes survived {} power cuts",
        ledger.count(),
        2 * cuts
    ));
}

/// Writes until each node has made a snapshot and let go of some of the log behind the one before it. Otherwise no cut
/// could fall between snapshot and purge.
fn purge_everywhere(cluster: &Cluster, ledger: &Arc<Ledger>) {
    phase("every node makes snapshots and purges its log behind them");
    let before: Vec<_> = cluster.nodes.iter().map(files::snapshots).collect();
    let segments: Vec<_> = cluster.nodes.iter().map(files::first_sequence).collect();
    let writers = Writers::start(ledger, &cluster.admins(), Duration::ZERO);
    for ((node, before), segment) in cluster.nodes.iter().zip(before).zip(segments) {
        let what = format!("{} has a new snapshot and purged its log", node.name);
        within(PURGED_WITHIN, &what, || {
            let snapshots = files::snapshots(node);
            let is_new = snapshots
                .last()
                .is_some_and(|newest| !before.contains(newest));
            let purged = is_new && snapshots.len() == 2 && files::first_sequence(node) > segment;
            purged.then_some(())
        });
    }
    writers.stop();
}

/// The nodes and their disks, in the order in which they must go.
struct Rig {
    cluster: Cluster,
    /// Mounted in the place of one node's folder.
    own: Volume,
    /// Holds everything else.
    main: Volume,
    folder: TempDir,
}

impl Rig {
    fn build() -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut main = Volume::make(&folder.path().join("main.img"), VOLUME_MEBIBYTES)?;
        let mut own = Volume::make(&folder.path().join("own.img"), VOLUME_MEBIBYTES)?;
        let disk = main_mount_point(&folder);
        std::fs::create_dir(&disk).map_err(|error| error.to_string())?;
        main.mount(&disk)?;
        let cluster = JARVIS.cluster(&disk.join("cluster"), folder.path());
        own.take_over(
            &cluster.nodes[ALONE].data_dir,
            &folder.path().join("staging"),
        )?;
        Ok(Self {
            cluster,
            own,
            main,
            folder,
        })
    }

    /// One node loses power: it ends by itself, since it can not sync (rule 6), and the others go on without it.
    fn cut_one(&mut self, cut: usize, ledger: &Arc<Ledger>) {
        let writers = self.write(cut, ledger);
        cut_power(&[&self.own]);
        let node = &mut self.cluster.nodes[ALONE];
        let status = node.wait_for_end();
        assert!(!status.success(), "{} went on without a disk", node.name);
        ledger.wait_for_more(WRITES_WITHOUT_IT);

        self.own.unmount();
        self.own.mount(&node.data_dir).unwrap();
        node.start();
        node.wait_ready();
        writers.stop();
    }

    /// All nodes lose power at once.
    fn cut_all(&mut self, cut: usize, ledger: &Arc<Ledger>) {
        let writers = self.write(cut, ledger);
        cut_power(&[&self.own, &self.main]);
        self.cluster.kill();
        writers.stop();

        self.own.unmount();
        self.main.unmount();
        self.main.mount(&main_mount_point(&self.folder)).unwrap();
        self.own.mount(&self.cluster.nodes[ALONE].data_dir).unwrap();
        self.cluster.start();
    }

    /// Starts the writers and returns right after an acknowledgement.
    fn write(&self, cut: usize, ledger: &Arc<Ledger>) -> Writers {
        let writers = Writers::start(ledger, &self.cluster.admins(), Duration::ZERO);
        ledger.wait_for_more(WRITES_BEFORE_CUT + cut * MORE_WRITES_PER_CUT);
        writers
    }
}

fn main_mount_point(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("disk")
}

fn cuts() -> usize {
    let asked = std::env::var("JARVIS_POWER_CUTS").ok();
    asked.map_or(DEFAULT_CUTS, |text| {
        text.parse()
            .expect("JARVIS_POWER_CUTS is a number of power cuts")
    })
}
