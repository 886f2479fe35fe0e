//! What happens to processes. This lane owns them, so it is also the one that sees who dies by itself, and starts it again
//! as a service manager would.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tokio::time::Instant;

use super::{Done, NS_PER_MS, Rig, disks};
use crate::blackbox::cluster::Cluster;
use crate::blackbox::faults::FaultKind;
use crate::blackbox::schedule::Step;
use crate::dice::Dice;
use crate::workload::api::Ask;

/// Between two looks at the processes.
const LOOK: Duration = Duration::from_millis(50);
/// A start takes far less, also where a whole log has to be replayed on a busy machine.
const ALIVE_LIMIT: Duration = Duration::from_secs(60);
/// A node that just answers is ready when there is a leader and it has heard of it; other faults may prevent that.
const READY_LIMIT: Duration = Duration::from_secs(15);
const HEALTH_PATIENCE: Duration = Duration::from_secs(1);
/// A refused transfer may work a moment later: the one asked for has to be caught up.
const TRANSFER_TRIES: u32 = 4;
const TRANSFER_PATIENCE: Duration = Duration::from_secs(4);
/// Starts of a node that ends by itself again and again.
const START_TRIES: u32 = 3;

pub(super) async fn run(rig: Arc<Rig>, mut cluster: Cluster, steps: Vec<Step>) -> Cluster {
    for step in steps {
        watch_until(&rig, &mut cluster, step.at_ms * NS_PER_MS).await;
        let start_ns = rig.now_ns();
        let done = match rig.still_fits(&step) {
            Ok(()) => perform(&rig, &mut cluster, &step).await,
            Err(reason) => Done::skipped(reason),
        };
        rig.record(step.kind, start_ns, done);
    }
    watch_until(&rig, &mut cluster, rig.end_ns).await;
    cluster
}

async fn perform(rig: &Rig, cluster: &mut Cluster, step: &Step) -> Done {
    let mut dice = Dice::new(step.luck);
    let any = rig.any(&mut dice);
    match step.kind {
        FaultKind::KillOne => kill(rig, cluster, vec![any], step).await,
        FaultKind::KillMinority => {
            let minority = rig.several(&mut dice, rig.nodes() / 2);
            kill(rig, cluster, minority, step).await
        }
        FaultKind::KillAll => {
            let all = cluster.all();
            kill(rig, cluster, all, step).await
        }
        FaultKind::PauseOne => pause(rig, cluster, any, step).await,
        FaultKind::KillLeader | FaultKind::PauseLeader => match rig.leader().await {
            Some(leader) if step.kind == FaultKind::KillLeader => {
                kill(rig, cluster, vec![leader], step).await
            }
            Some(leader) => pause(rig, cluster, leader, step).await,
            None => Done::skipped("nobody led"),
        },
        FaultKind::TransferLeader => transfer(rig).await,
        FaultKind::RollingRestart => rolling_restart(rig, cluster).await,
        _ => disks::perform(rig, cluster, step, any).await,
    }
}

async fn kill(rig: &Rig, cluster: &mut Cluster, places: Vec<usize>, step: &Step) -> Done {
    rig.down(&places);
    cluster.kill(&places).await;
    watch_for(rig, cluster, step.hold_ms).await;
    start(rig, cluster, &places).await;
    Done::installed(places)
}

async fn pause(rig: &Rig, cluster: &mut Cluster, place: usize, step: &Step) -> Done {
    if let Err(error) = cluster.signal(place, Signal::STOP) {
        return Done::skipped(error.to_string());
    }
    rig.down(&[place]);
    watch_for(rig, cluster, step.hold_ms).await;
    let resumed = cluster.signal(place, Signal::CONT);
    wait_until_alive(rig, cluster, place).await;
    rig.up(&[place]);
    Done::if_seen(
        vec![place],
        resumed.is_ok(),
        "the process had ended meanwhile",
    )
}

/// The first that takes it: a leader hands over, or passes the request on.
async fn transfer(rig: &Rig) -> Done {
    let Some(before) = rig.leader().await else {
        return Done::skipped("nobody led");
    };
    let token = &rig.world.credentials.admin;
    let ask = Ask::post("/cluster/transfer-leader", json!({}));
    let ask = ask.token(token).patience(TRANSFER_PATIENCE);
    let mut last = String::new();
    for attempt in 0..TRANSFER_TRIES as usize {
        let place = (before + attempt) % rig.nodes();
        match rig.world.api.send(place, &ask).await {
            Ok(told) if told.is_done() => {
                let leader = told.number_of("leader");
                let has_moved = leader.is_some_and(|leader| leader != rig.world.api.id(before));
                return Done::if_seen(vec![before], has_moved, "the same node leads");
            }
            Ok(told) => last = told.code().to_owned(),
            Err(silence) => last = silence.word().to_owned(),
        }
        tokio::time::sleep(LOOK * 4).await;
    }
    Done::skipped(format!("refused: {last}"))
}

async fn rolling_restart(rig: &Rig, cluster: &mut Cluster) -> Done {
    let places = cluster.all();
    for place in &places {
        rig.down(&[*place]);
        if let Err(what) = cluster.stop(*place).await {
            rig.problem(what);
            cluster.kill(&[*place]).await;
        }
        start(rig, cluster, &[*place]).await;
        let began = Instant::now();
        while began.elapsed() < READY_LIMIT
            && !rig
                .world
                .api
                .is_well(*place, "/readyz", HEALTH_PATIENCE)
                .await
        {
            watch_for(rig, cluster, 100).await;
        }
    }
    Done::installed(places)
}

/// Starts nodes that do not run, and waits until each answers.
pub(super) async fn start(rig: &Rig, cluster: &mut Cluster, places: &[usize]) {
    for place in places {
        if let Err(error) = cluster.start(*place) {
            rig.problem(error.to_string());
        }
    }
    for place in places {
        wait_until_alive(rig, cluster, *place).await;
        rig.up(&[*place]);
    }
}

/// Starts all nodes, as when a machine room gets its power back.
pub(crate) async fn start_all(rig: &Rig, cluster: &mut Cluster) {
    let places = cluster.all();
    start(rig, cluster, &places).await;
}

async fn wait_until_alive(rig: &Rig, cluster: &mut Cluster, place: usize) {
    let began = Instant::now();
    let mut starts = 1;
    while began.elapsed() < ALIVE_LIMIT {
        if rig
            .world
            .api
            .is_well(place, "/livez", HEALTH_PATIENCE)
            .await
        {
            return;
        }
        if cluster.has_died(place, rig.now_ns()) {
            starts += 1;
            if starts > START_TRIES || cluster.start(place).is_err() {
                break;
            }
        }
        tokio::time::sleep(LOOK).await;
    }
    let id = cluster.members[place].id;
    rig.problem(format!(
        "node {id} did not come back within {} s",
        began.elapsed().as_secs()
    ));
}

pub(super) async fn watch_for(rig: &Rig, cluster: &mut Cluster, ms: u64) {
    let until_ns = rig.now_ns() + ms * NS_PER_MS;
    watch_until(rig, cluster, until_ns).await;
}

/// Waits; whoever dies by itself meanwhile is started again.
async fn watch_until(rig: &Rig, cluster: &mut Cluster, until_ns: u64) {
    let until = rig.world.journal.instant(until_ns);
    loop {
        for place in cluster.find_deaths(rig.now_ns()) {
            eprintln!("!!! node {} ended by itself", cluster.members[place].id);
            rig.down(&[place]);
            start(rig, cluster, &[place]).await;
        }
        let now = Instant::now();
        if now >= until {
            return;
        }
        tokio::time::sleep_until(until.min(now + LOOK)).await;
    }
}
