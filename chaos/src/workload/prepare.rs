//! What must be there before clients can work: tokens, a secret to probe with, the accounts.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use serde_json::json;

use super::api::{Api, Ask};
use super::client::{Client, Writing};
use super::{Workload, World, batch};

/// A cluster that has just been started, or whose leader has just changed, answers within this many attempts.
const ATTEMPTS: u32 = 40;
const PAUSE: Duration = Duration::from_millis(500);

/// Makes a token for a client. Not a part of the record.
///
/// # Errors
/// When the cluster refuses, or does not answer for long.
pub(crate) async fn token_for(api: &Api, admin: &str, client: &str) -> anyhow::Result<String> {
    let ask = Ask::post("/tokens", json!({"client": client, "ttl_secs": 86_400})).token(admin);
    let mut last = String::new();
    for attempt in 0..ATTEMPTS as usize {
        let place = attempt % api.count();
        match api.send(place, &ask).await {
            Ok(told) if told.is_done() => return Ok(told.text_of("token").to_owned()),
            Ok(told) if matches!(told.status, 401 | 403) => {
                bail!(
                    "node {} does not make a token for {client}: {}; give the token of an administrator",
                    api.id(place),
                    told.text_of("message")
                );
            }
            Ok(told) => last = format!("{} {}", told.status, told.code()),
            Err(silence) => last = silence.word().to_owned(),
        }
        tokio::time::sleep(PAUSE).await;
    }
    bail!("no node made a token for {client}: the last answer was {last}");
}

/// Writes what the workloads begin with; each attempt is an operation of its own.
///
/// # Errors
/// When the cluster does not take it.
pub(crate) async fn prepare(world: &Arc<World>, workloads: &[Workload]) -> anyhow::Result<()> {
    let mut client = Client::new(world);
    let probe = format!("{}/probe", world.root);
    let mut is_there = false;
    for _ in 0..ATTEMPTS {
        let (place, value) = (client.choose(), client.value());
        let written = client
            .write(place, &probe, &value, &Writing::default())
            .await;
        is_there = written.is_ok();
        if is_there {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    if !is_there {
        bail!("the cluster takes no writes: nothing can be judged");
    }
    if !workloads.contains(&Workload::Batch) {
        return Ok(());
    }
    for _ in 0..ATTEMPTS {
        let opened = batch::open_accounts(&mut client).await;
        // An attempt whose answer was lost may have opened them.
        if opened.is_ok() || opened.failed_with("conflict") {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    bail!("the cluster takes no batches: nothing can be judged");
}
