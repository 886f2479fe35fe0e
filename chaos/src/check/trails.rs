//! The trails of a cluster whose disks are not here: fetched through the API, as they lie on each node.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::time::Instant;

use crate::checker::audit::Sources;
use crate::workload::World;
use crate::workload::api::Ask;

/// What the server gives at once.
const PAGE: u64 = 1_000;
/// A longer trail is better verified where it lies: `jarvis-secrets audit verify`.
const MOST_EVENTS: u64 = 500_000;
/// A follower writes its trail a moment after the leader.
const REACHED_WITHIN: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(15);

/// Copies the trail of each node up to the last event that an answer named.
///
/// # Errors
/// Why that can not be done.
pub(super) async fn fetch(world: &World, folder: &Path) -> anyhow::Result<Sources> {
    let upto = world.journal.look(|history| {
        let told = history.operations.iter();
        told.filter_map(|operation| operation.answer.audit_seq)
            .max()
    });
    let Some(upto) = upto else {
        bail!("no answer named an event");
    };
    if upto > MOST_EVENTS {
        bail!("the trail has {upto} events; verify it where it lies: jarvis-secrets audit verify");
    }
    let mut sources = Sources::default();
    for place in 0..world.api.count() {
        let id = world.api.id(place);
        let trail = folder.join(format!("trail-{id}"));
        fs::create_dir_all(&trail).context("no folder for a trail")?;
        let file = File::create(trail.join("audit.jsonl")).context("no file for a trail")?;
        copy(world, place, upto, file).await?;
        sources.folders.insert(id, trail);
    }
    Ok(sources)
}

async fn copy(world: &World, place: usize, upto: u64, mut file: File) -> anyhow::Result<()> {
    let id = world.api.id(place);
    let began = Instant::now();
    let mut next = 1;
    while next <= upto {
        let ask = Ask::get(format!("/audit?from_seq={next}&limit={PAGE}"));
        let ask = ask.token(&world.credentials.admin).patience(PATIENCE);
        let told = match world.api.send(place, &ask).await {
            Ok(told) if told.is_done() => told,
            Ok(told) => bail!(
                "node {id} does not show its trail: {}",
                told.text_of("message")
            ),
            Err(silence) => bail!("node {id} does not show its trail: {}", silence.word()),
        };
        for line in told.text.lines() {
            let event: Value = serde_json::from_str(line).context("a line that is no JSON")?;
            let seq = event["seq"].as_u64().unwrap_or(0);
            if seq != next {
                // Retired: the chain can not be checked from genesis.
                bail!("node {id} shows event {seq} instead of {next}");
            }
            file.write_all(line.as_bytes())?;
            file.write_all(b"\n")?;
            next += 1;
        }
        if next <= upto && began.elapsed() > REACHED_WITHIN {
            bail!("the trail of node {id} ends before event {upto}");
        }
        if told.text.lines().count() < usize::try_from(PAGE).unwrap_or(usize::MAX) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
    Ok(())
}
