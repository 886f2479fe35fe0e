//! After everything has healed, all nodes come to the same state, and say so, within thirty seconds.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::workload::World;
use crate::workload::api::Ask;

/// What is promised.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(2);

/// What all nodes agree on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Agreed {
    pub(crate) index: u64,
    pub(crate) state_hash: String,
    pub(crate) audit_seq: u64,
    pub(crate) audit_head: String,
    pub(crate) after_ms: u64,
}

/// Why there is no agreement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Disagreement {
    /// Two nodes have different states, or trails, at one index.
    Different(String),
    /// They did not get to one index in time.
    NotInTime(String),
    /// The endpoint is off, or not for this client.
    NotTold(String),
}

/// Waits until all nodes are ready, agree on state and trail, and have brought the events of their stale reads into the
/// log (those lie in the data directories `folders`, where these are known).
pub(crate) async fn converge(world: &World, folders: &[PathBuf]) -> Result<Agreed, Disagreement> {
    let began = Instant::now();
    let mut last = "no node was asked".to_owned();
    while began.elapsed() < LIMIT {
        match look(world, folders).await {
            Look::Agreed(mut agreed) => {
                let after = began.elapsed().as_millis();
                agreed.after_ms = u64::try_from(after).unwrap_or(u64::MAX);
                return Ok(agreed);
            }
            Look::NotYet(why) => last = why,
            Look::Never(why) => return Err(why),
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Err(Disagreement::NotInTime(format!(
        "not within {} s: {last}",
        LIMIT.as_secs()
    )))
}

enum Look {
    Agreed(Agreed),
    NotYet(String),
    Never(Disagreement),
}

async fn look(world: &World, folders: &[PathBuf]) -> Look {
    for place in 0..world.api.count() {
        if !world.api.is_well(place, "/readyz", PATIENCE).await {
            return Look::NotYet(format!("node {} is not ready", world.api.id(place)));
        }
    }
    if let Some(folder) = folders.iter().find(|folder| has_journal(folder)) {
        let folder = folder.display();
        return Look::NotYet(format!("stale reads in {folder} are not in the log yet"));
    }
    let ask = Ask::get("/debug/state-hash");
    let ask = ask.token(&world.credentials.admin).patience(PATIENCE);
    let mut first: Option<(u64, Agreed)> = None;
    for place in 0..world.api.count() {
        let id = world.api.id(place);
        let told = match world.api.send(place, &ask).await {
            Ok(told) if told.is_done() => told,
            Ok(told) if matches!(told.status, 403 | 404) => {
                return Look::Never(Disagreement::NotTold(told.text_of("message").to_owned()));
            }
            Ok(told) => return Look::NotYet(format!("node {id} says {}", told.code())),
            Err(silence) => return Look::NotYet(format!("node {id}: {}", silence.word())),
        };
        let number = |member: &str| told.number_of(member).unwrap_or(0);
        let state = Agreed {
            index: number("index"),
            state_hash: told.text_of("hash").to_owned(),
            audit_seq: number("audit_seq"),
            audit_head: told.text_of("audit_head").to_owned(),
            after_ms: 0,
        };
        match &first {
            None => first = Some((id, state)),
            Some((_, known)) if *known == state => {}
            Some((other, known)) if known.index == state.index => {
                let what = format!(
                    "nodes {other} and {id} differ at index {}: {known:?}, {state:?}",
                    state.index
                );
                return Look::Never(Disagreement::Different(what));
            }
            Some((other, known)) => {
                return Look::NotYet(format!(
                    "node {other} is at index {}, node {id} at {}",
                    known.index, state.index
                ));
            }
        }
    }
    match first {
        Some((_, agreed)) => Look::Agreed(agreed),
        None => Look::NotYet("there is no node".to_owned()),
    }
}

/// Whether events of stale reads wait there for the log.
fn has_journal(data: &Path) -> bool {
    let entries = std::fs::read_dir(data.join("journal"));
    let mut paths = entries.into_iter().flatten().flatten();
    paths.any(|entry| {
        let is_journal = entry.path().extension().is_some_and(|end| end == "journal");
        is_journal && entry.metadata().is_ok_and(|metadata| metadata.len() > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_that_wait_for_the_log_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!has_journal(folder.path()));
        let journal = folder.path().join("journal");
        std::fs::create_dir(&journal).unwrap();
        std::fs::write(journal.join("7.journal"), b"").unwrap();
        assert!(!has_journal(folder.path()));
        std::fs::write(journal.join("8.journal"), b"{}\n").unwrap();
        assert!(has_journal(folder.path()));
    }
}
