//! One run, from an empty folder to a verdict.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::task::JoinSet;

use super::cluster::Cluster;
use super::convergence::{Agreed, Disagreement, converge};
use super::faults::Wanted;
use super::formation::{self, Handle, PERMITTED, STALE_MAX_MS, policy};
use super::judgement::{judged, search};
use super::nemesis::{self, Rig, seconds};
use super::network::Network;
use super::outcome::Outcome;
use super::planning::{Planned, Planning};
use super::watch::Watch;
use crate::checker::Report;
use crate::checker::admission::PERMISSION;
use crate::checker::secrecy::Canary;
use crate::history::{FORMAT, Header};
use crate::report;
use crate::results;
use crate::workload::api::{Api, Endpoint};
use crate::workload::journal::Journal;
use crate::workload::{
    Credentials, Crew, Finale, Permission, Workload, World, finale, prepare, token_for,
};

/// The record, in the work folder.
pub(crate) const HISTORY: &str = "history.jsonl";
/// The page for people, beside it.
pub(super) const REPORT: &str = "report.html";
/// A node on this machine that was just started.
const ALIVE_LIMIT: Duration = Duration::from_secs(60);
const HEALTH_PATIENCE: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const NS_PER_MS: u64 = 1_000_000;

/// What a run is made of.
pub(crate) struct Setup {
    pub(crate) daemon: PathBuf,
    pub(crate) work: PathBuf,
    pub(crate) nodes: u16,
    pub(crate) run_ms: u64,
    pub(crate) seed: u64,
    pub(crate) wanted: Wanted,
    pub(crate) rate: u32,
    pub(crate) keep: bool,
    pub(crate) command: String,
    pub(crate) commit: String,
}

/// What is left when all processes have ended.
pub(super) struct Lived {
    /// The file systems stay mounted as long as this is there.
    pub(super) cluster: Cluster,
    pub(super) rig: Arc<Rig>,
    pub(super) planned: Planned,
    pub(super) finale: Finale,
    pub(super) agreed: Result<Agreed, Disagreement>,
    /// How nodes ended that were asked to.
    pub(super) bad_ends: Vec<String>,
    pub(super) canaries: Vec<Canary>,
    pub(super) secrecy: Vec<Report>,
}

/// Plays it.
///
/// # Errors
/// When it could not be played or judged at all.
pub(crate) fn play(setup: &Setup) -> anyhow::Result<Outcome> {
    // Nodes end with the thread that started them: all of it happens on this one.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime can not start")?;
    let lived = runtime.block_on(Box::pin(live(setup)))?;
    drop(runtime);
    eprintln!("judging");
    let history = lived.rig.world.journal.finish();
    let history = history.context("the history could not be written whole")?;
    let outcome = judged(setup, &lived, &history);
    let page = report::page(&history, &outcome, &lived.rig.ground.lost(history.end_ns()));
    fs::write(setup.work.join(REPORT), page).context("the report can not be written")?;
    drop(lived);
    if outcome.kept.is_none() {
        tidy(&setup.work);
    }
    Ok(outcome)
}

/// Everything that happens while processes run.
async fn live(setup: &Setup) -> anyhow::Result<Lived> {
    let (work, seed) = (&setup.work, setup.seed);
    eprintln!(
        "seed {seed}: forming a cluster of {} in {}",
        setup.nodes,
        work.display()
    );
    formation::make_folder(&work.join("logs"))?;
    let handle = formation::form(&setup.daemon, work, setup.nodes).await?;
    let peers: Vec<_> = handle.nodes.iter().map(|node| node.peer).collect();
    let network = Network::open(&peers, seed)
        .await
        .context("no port for a proxy")?;
    formation::dial_through(&handle.nodes, &network)?;
    let mut planning = Planning::of(setup);
    let shim = planning.shim(work);
    let mut cluster = Cluster::of(&setup.daemon, &handle.nodes, work, shim.as_ref())?;
    planning.volumes(work, &mut cluster);
    let api = api(&handle)?;
    for place in cluster.all() {
        cluster.start(place)?;
    }
    wait_until_alive(&api, &mut cluster).await?;
    planning.check_attached(&cluster);
    let planned = planning.draw();

    let world = world(setup, &handle, api).await?;
    prepare(&world, &Workload::ALL).await?;
    let mut watchers = JoinSet::new();
    let watch = Watch::start(&world, &mut watchers);
    let controls = cluster.members.iter().map(|member| member.control.clone());
    let begins_ns = world.journal.now_ns();
    let end_ns = begins_ns + setup.run_ms * NS_PER_MS;
    let rig = Rig::new(&world, watch, network, controls.collect(), end_ns);
    eprintln!(
        "{} faults are planned, {} requests a second",
        planned.schedule.count(),
        setup.rate
    );
    let crew = Crew::start(&world, &Workload::ALL, setup.rate);
    let schedule = planned.schedule.clone().later(begins_ns / NS_PER_MS);
    let mut cluster = nemesis::run(&rig, cluster, schedule).await?;

    eprintln!("{:>8.1} s  healing", seconds(world.journal.now_ns()));
    rig.heal();
    crew.stop().await?;
    nemesis::start_all(&rig, &mut cluster).await;
    let folders: Vec<PathBuf> = cluster
        .members
        .iter()
        .map(|member| member.data_dir.clone())
        .collect();
    let mut agreed = converge(&world, &folders).await;
    let finale = finale(&world).await?;
    // What was written meanwhile has to be the same everywhere, too.
    if agreed.is_ok() {
        agreed = converge(&world, &folders).await;
    }
    let canaries = world.canaries();
    let secrecy = vec![secrecy_of_processes(&cluster, &canaries)];
    watchers.shutdown().await;
    cluster.find_deaths(world.journal.now_ns());
    let bad_ends = cluster.stop_all().await;
    Ok(Lived {
        cluster,
        rig,
        planned,
        finale,
        agreed,
        bad_ends,
        canaries,
        secrecy,
    })
}

fn api(handle: &Handle) -> anyhow::Result<Api> {
    let endpoints = handle.nodes.iter().map(|node| Endpoint {
        id: node.id,
        base: node.api.trim_end_matches('/').to_owned(),
    });
    Api::new(endpoints.collect(), None)
}

async fn wait_until_alive(api: &Api, cluster: &mut Cluster) -> anyhow::Result<()> {
    let began = tokio::time::Instant::now();
    for place in cluster.all() {
        while !api.is_well(place, "/readyz", HEALTH_PATIENCE).await {
            if cluster.has_died(place, 0) || began.elapsed() > ALIVE_LIMIT {
                let log = &cluster.members[place].log;
                bail!(
                    "node {} does not serve:\n{}",
                    api.id(place),
                    formation::said(log)
                );
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
    Ok(())
}

/// Clients with their tokens, and the record, whose time begins here.
async fn world(setup: &Setup, handle: &Handle, api: Api) -> anyhow::Result<Arc<World>> {
    let admin = handle.root_token.clone();
    let stranger = token_for(&api, &admin, "chaos-stranger").await?;
    let stale = token_for(&api, &admin, "chaos-stale").await?;
    let permission = Permission {
        label: format!("{PERMISSION}{PERMITTED}:probe"),
        token: token_for(&api, &admin, PERMITTED).await?,
        with: policy(true),
        without: policy(false),
    };
    let credentials = Credentials {
        admin,
        client: "chaos-client".to_owned(),
        stranger: Some(stranger),
        stale: Some((stale, STALE_MAX_MS)),
        permission: Some(permission),
    };
    let header = Header {
        format: FORMAT,
        seed: setup.seed,
        nodes: api.ids(),
        command: setup.command.clone(),
        commit: setup.commit.clone(),
        request_prefix: format!("chaos-{}-{}-", setup.seed, std::process::id()),
        started_at: Some(results::now()),
    };
    let journal = Journal::begin(&setup.work.join(HISTORY), header);
    let journal = journal.context("the history can not be written")?;
    let root = format!("jarvis-chaos/{}", setup.seed);
    Ok(World::new(api, journal, credentials, root, setup.seed))
}

/// Arguments and environments of the nodes, as far as the system shows them to us.
fn secrecy_of_processes(cluster: &Cluster, canaries: &[Canary]) -> Report {
    let pids = cluster.pids();
    let places = pids.iter().flat_map(|pid| {
        ["cmdline", "environ"].map(|file| PathBuf::from(format!("/proc/{pid}/{file}")))
    });
    // A node hides its environment from everybody but root: then nobody else can find anything there either.
    let places: Vec<PathBuf> = places.filter(|place| File::open(place).is_ok()).collect();
    search(canaries, &places)
}

/// What held is worth its record and its report; the nodes' files hold keys and tokens.
fn tidy(work: &Path) {
    for entry in fs::read_dir(work).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name == HISTORY || name == REPORT {
            continue;
        }
        let path = entry.path();
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        if let Err(error) = removed {
            eprintln!("{} stays behind: {error}", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_held_leaves_its_record_and_its_report() {
        let folder = tempfile::tempdir().unwrap();
        for file in [HISTORY, REPORT, "shim.so"] {
            fs::write(folder.path().join(file), "x").unwrap();
        }
        fs::create_dir(folder.path().join("cluster")).unwrap();
        tidy(folder.path());
        let left = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 2);
    }
}
