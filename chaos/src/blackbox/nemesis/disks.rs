//! What happens to disks: a failed sync, a power cut, no room left.

use std::time::Duration;

use super::process::{start, watch_for};
use super::{Done, Rig};
use crate::blackbox::cluster::{Cluster, STOPPED_ITSELF, in_words};
use crate::blackbox::faults::FaultKind;
use crate::blackbox::schedule::Step;
use crate::blackbox::volumes::{self, Volume};

/// A node whose log can not be synced ends at the next write that it takes part in.
const MUST_STOP_WITHIN: Duration = Duration::from_secs(6);
/// A node whose disk is full may end, or refuse what needs room.
const ENDS_SOON: Duration = Duration::from_millis(300);
/// The kernel lets go of a killed process's files within a moment.
const UNMOUNT_TRIES: u32 = 100;
const UNMOUNT_PAUSE: Duration = Duration::from_millis(50);

pub(super) async fn perform(rig: &Rig, cluster: &mut Cluster, step: &Step, any: usize) -> Done {
    match step.kind {
        FaultKind::SyncError => sync_error(rig, cluster, any).await,
        FaultKind::DiskFull => disk_full(rig, cluster, any, step).await,
        FaultKind::PowerCutAll => {
            let all = cluster.all();
            power_cut(rig, cluster, all, step).await
        }
        _ => power_cut(rig, cluster, vec![any], step).await,
    }
}

/// Rule 6: going on could acknowledge what is not on disk.
async fn sync_error(rig: &Rig, cluster: &mut Cluster, place: usize) -> Done {
    let Some(control) = cluster.members[place].control.clone() else {
        return Done::skipped("the node has no library between it and the system");
    };
    let before = control.failed();
    rig.down(&[place]);
    if let Err(error) = control.fail_syncs(true) {
        return Done::skipped(format!("its library can not be told: {error}"));
    }
    let ended = cluster.wait_for_end(place, MUST_STOP_WITHIN).await;
    let healed = control.fail_syncs(false);
    if let Err(error) = healed {
        rig.problem(format!("syncs can not be made to work again: {error}"));
    }
    let id = cluster.members[place].id;
    let failed = control.failed() - before;
    match ended {
        Some(status) => {
            if status.code() != Some(STOPPED_ITSELF) {
                let how = in_words(status);
                rig.problem(format!(
                    "a sync of node {id}'s log failed, and it ended with {how} instead of exit code {STOPPED_ITSELF}"
                ));
            }
            start(rig, cluster, &[place]).await;
            Done::installed(vec![place])
        }
        None if failed == 0 => {
            rig.up(&[place]);
            Done::if_seen(vec![place], false, "nothing was synced meanwhile")
        }
        None => {
            rig.problem(format!(
                "{failed} syncs of node {id}'s log failed, and it went on for {} s",
                MUST_STOP_WITHIN.as_secs()
            ));
            cluster.kill(&[place]).await;
            start(rig, cluster, &[place]).await;
            Done::installed(vec![place])
        }
    }
}

async fn disk_full(rig: &Rig, cluster: &mut Cluster, place: usize, step: &Step) -> Done {
    let filled = with_volume(cluster, place, |volume| volume.fill()).await;
    if let Err(reason) = filled {
        return Done::skipped(reason);
    }
    rig.down(&[place]);
    let hold = Duration::from_millis(step.hold_ms);
    let mut ended = cluster.wait_for_end(place, hold).await;
    let relieved = with_volume(cluster, place, |volume| volume.relieve()).await;
    if let Err(reason) = relieved {
        rig.problem(format!("a full disk can not be relieved: {reason}"));
    }
    if ended.is_none() {
        ended = cluster.wait_for_end(place, ENDS_SOON).await;
    }
    let Some(status) = ended else {
        rig.up(&[place]);
        return Done::installed(vec![place]).note("it refused what needed room");
    };
    let how = in_words(status);
    if status.code() != Some(STOPPED_ITSELF) {
        let id = cluster.members[place].id;
        rig.problem(format!(
            "the disk of node {id} was full, and it ended with {how} instead of exit code {STOPPED_ITSELF}"
        ));
    }
    start(rig, cluster, &[place]).await;
    Done::installed(vec![place]).note("it stopped")
}

async fn power_cut(rig: &Rig, cluster: &mut Cluster, places: Vec<usize>, step: &Step) -> Done {
    let has_none = |place: &usize| cluster.members[*place].volume.is_none();
    if places.iter().any(has_none) {
        return Done::skipped("not every node has a file system of its own");
    }
    let mut volumes = Vec::new();
    for place in &places {
        volumes.extend(cluster.members[*place].volume.take());
    }
    rig.down(&places);
    let cut = blocking(move || {
        let all: Vec<&Volume> = volumes.iter().collect();
        let cut = volumes::cut_power(&all);
        (volumes, cut)
    });
    let (volumes, cut) = match cut.await {
        Ok(done) => done,
        Err(reason) => return Done::skipped(reason),
    };
    // They would end by themselves; a machine without power does not wait for that.
    cluster.kill(&places).await;
    watch_for(rig, cluster, step.hold_ms).await;
    match blocking(move || mount_again(volumes)).await {
        Ok((volumes, mounted)) => {
            put_back(cluster, &places, volumes);
            if let Err(reason) = mounted {
                rig.problem(format!("a file system can not be mounted again: {reason}"));
            }
        }
        Err(reason) => rig.problem(reason),
    }
    start(rig, cluster, &places).await;
    match cut {
        Ok(()) => Done::installed(places),
        Err(reason) => Done::if_seen(places, false, &reason),
    }
}

fn mount_again(mut volumes: Vec<Volume>) -> (Vec<Volume>, Result<(), String>) {
    let mut result = Ok(());
    for volume in &mut volumes {
        let mut unmounted = volume.unmount();
        for _ in 0..UNMOUNT_TRIES {
            if unmounted.is_ok() {
                break;
            }
            std::thread::sleep(UNMOUNT_PAUSE);
            unmounted = volume.unmount();
        }
        result = result.and(unmounted.and_then(|()| volume.mount()));
    }
    (volumes, result)
}

fn put_back(cluster: &mut Cluster, places: &[usize], volumes: Vec<Volume>) {
    for (place, volume) in places.iter().zip(volumes) {
        cluster.members[*place].volume = Some(volume);
    }
}

/// Works on a node's file system on a thread that may wait.
async fn with_volume(
    cluster: &mut Cluster,
    place: usize,
    work: fn(&Volume) -> Result<(), String>,
) -> Result<(), String> {
    let Some(volume) = cluster.members[place].volume.take() else {
        return Err("the node has no file system of its own".to_owned());
    };
    let (volume, worked) = blocking(move || {
        let worked = work(&volume);
        (volume, worked)
    })
    .await?;
    cluster.members[place].volume = Some(volume);
    worked
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| error.to_string())
}
