//! A cluster that runs and is somebody's: only secrets below `jarvis-chaos/` are touched, and they are destroyed at the end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::json;

use super::{CheckArgs, Judged, trails};
use crate::blackbox::{Disagreement, Gate, converge, mostly_served};
use crate::checker::Verdict;
use crate::checker::audit::Sources;
use crate::dice::Dice;
use crate::history::{FORMAT, Header, History};
use crate::results;
use crate::verdict::ExitVerdict;
use crate::workload::api::{Api, Ask, Endpoint, escaped, secret_path};
use crate::workload::journal::Journal;
use crate::workload::judge::{Scope, judge};
use crate::workload::{Credentials, Crew, Finale, Workload, World, finale, prepare, token_for};

/// Rounds of listing and destroying: each takes a page of names.
const MAX_CLEANING_ROUNDS: u32 = 100;

/// What is left when the clients have ended.
struct Lived {
    world: Arc<World>,
    finale: Finale,
    agreed: Vec<String>,
    sources: Option<Sources>,
    not_checked: Vec<String>,
}

pub(super) fn check(args: &CheckArgs) -> anyhow::Result<Judged> {
    if !(args.minutes > 0.0 && args.minutes <= 60.0) {
        bail!("--minutes is between 0 and 60: the history is kept in memory");
    }
    let folder = work_folder(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime can not start")?;
    let lived = runtime.block_on(Box::pin(live(args, &folder)))?;
    drop(runtime);
    let history = lived.world.journal.finish();
    let history = history.context("the history could not be written whole")?;
    Ok(judged(lived, &history, folder))
}

fn work_folder(args: &CheckArgs) -> anyhow::Result<PathBuf> {
    let folder = args.work.clone().unwrap_or_else(|| {
        let name = format!("jarvis-chaos-check-{}", std::process::id());
        std::env::temp_dir().join(name)
    });
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("the folder {} can not be made", folder.display()))?;
    Ok(folder)
}

async fn live(args: &CheckArgs, folder: &std::path::Path) -> anyhow::Result<Lived> {
    let endpoints = (1..).zip(&args.url).map(|(id, url)| Endpoint {
        id,
        base: url.trim_end_matches('/').to_owned(),
    });
    let api = Api::new(endpoints.collect(), args.cacert.as_deref())?;
    let Some(token) = args.token.clone() else {
        bail!("give --token, or JARVIS_SECRETS_TOKEN");
    };
    let tag = tag();
    let mut not_checked = vec![
        "secrecy: the nodes' files are not here".to_owned(),
        "stale reads: they need a rule of the policy".to_owned(),
    ];
    // A client that no policy names may do nothing.
    let stranger = token_for(&api, &token, &format!("jarvis-chaos-{tag}")).await;
    let is_admin = stranger.is_ok();
    if let Err(error) = &stranger {
        not_checked.push(format!("denials and revocations: {error}"));
    }
    let workloads: Vec<Workload> = Workload::ALL
        .into_iter()
        .filter(|workload| match workload {
            Workload::Canary | Workload::Staleness => false,
            Workload::Denial | Workload::Revocation => is_admin,
            _ => true,
        })
        .collect();
    let header = Header {
        format: FORMAT,
        nodes: api.ids(),
        command: "jarvis-chaos check".to_owned(),
        commit: "unknown: somebody's cluster".to_owned(),
        request_prefix: format!("chaos-{tag}-"),
        started_at: Some(results::now()),
        ..Header::default()
    };
    let journal = Journal::begin(&folder.join("history.jsonl"), header);
    let journal = journal.context("the history can not be written; is --work used already?")?;
    let credentials = Credentials {
        admin: token,
        client: args.client.clone(),
        stranger: stranger.ok(),
        ..Credentials::default()
    };
    let root = format!("jarvis-chaos/check-{tag}");
    let world = World::new(api, journal, credentials, root, seed_of(&tag));
    prepare(&world, &workloads).await?;
    eprintln!(
        "clients work for {:.0} s below {}",
        args.minutes * 60.0,
        world.root
    );
    let crew = Crew::start(&world, &workloads, args.rate);
    tokio::time::sleep(Duration::from_secs_f64(args.minutes * 60.0)).await;
    crew.stop().await?;
    let finale = finale(&world).await?;
    let agreed = match converge(&world, &[]).await {
        Ok(_) => Vec::new(),
        Err(Disagreement::NotTold(why)) => {
            not_checked.push(format!("equal states: {why}"));
            Vec::new()
        }
        Err(Disagreement::Different(what) | Disagreement::NotInTime(what)) => vec![what],
    };
    let sources = match trails::fetch(&world, folder).await {
        Ok(sources) => Some(sources),
        Err(why) => {
            not_checked.push(format!("audit: {why}"));
            None
        }
    };
    if !args.keep {
        clean_up(&world).await;
    }
    Ok(Lived {
        world,
        finale,
        agreed,
        sources,
        not_checked,
    })
}

fn judged(lived: Lived, history: &History, folder: PathBuf) -> Judged {
    let reports = judge(history, lived.sources.as_ref(), Scope::WhatIsThere);
    let gates = vec![
        mostly_served(history),
        Gate::promises("all nodes agree within 30 s", &lived.agreed),
        Gate::promises(
            "every key can be written and read at the end",
            &lived.finale.failures,
        ),
    ];
    let verdict = ExitVerdict::from(Verdict::of_all(&reports));
    let verdict = gates
        .iter()
        .map(|gate| gate.verdict)
        .fold(verdict, ExitVerdict::worst);
    Judged {
        verdict,
        operations: history.operations.len() as u64,
        reports,
        gates,
        not_checked: lived.not_checked,
        history: folder.join("history.jsonl"),
    }
}

/// Destroys what was written and revokes the token that was made; says what stays behind.
async fn clean_up(world: &World) {
    let credentials = &world.credentials;
    let path = format!(
        "/secrets?prefix={}&deleted=true&limit=200",
        escaped(&world.root)
    );
    let list = Ask::get(path).token(&credentials.admin);
    let mut destroyed = 0;
    let mut after: Option<String> = None;
    for _ in 0..MAX_CLEANING_ROUNDS {
        let mut list = list.clone();
        if let Some(after) = &after {
            list.path.push_str(&format!("&after={}", escaped(after)));
        }
        let Ok(told) = world.api.send(0, &list).await else {
            break;
        };
        let names = told.body["secrets"].as_array().cloned().unwrap_or_default();
        for name in names.iter().filter_map(|secret| secret["name"].as_str()) {
            let path = format!("{}/destroy", secret_path(name));
            let ask = Ask::post(path, json!({})).token(&credentials.admin);
            let told = world.api.send(0, &ask).await;
            if told.is_ok_and(|told| told.is_done()) {
                destroyed += 1;
            } else {
                eprintln!("{name} stays behind");
            }
        }
        after = told.body["next"].as_str().map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    // `jv1.<id>.<secret>`: the id is public.
    let stranger = credentials.stranger.as_deref().unwrap_or_default();
    if let Some(id) = stranger.split('.').nth(1) {
        let ask = Ask::delete(format!("/tokens/{id}")).token(&credentials.admin);
        if !world
            .api
            .send(0, &ask)
            .await
            .is_ok_and(|told| told.is_done())
        {
            eprintln!("the token {id} stays behind; it ends in a day");
        }
    }
    eprintln!("{destroyed} secrets below {} were destroyed", world.root);
}

/// Names of two checks of one cluster never meet.
fn tag() -> String {
    let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos();
    let now = u64::try_from(now & i128::from(u64::MAX >> 1)).unwrap_or(0);
    Dice::stream(now, &std::process::id().to_string()).text(10)
}

fn seed_of(tag: &str) -> u64 {
    Dice::stream(0, tag).draw()
}
