//! The end of a run: every key is read through every node, then written through every node, then read again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::asker::{Answered, Asker, Question};
use super::turns::{ACCOUNTS, DELETED, REGISTERS, REPEATED, SEQUENCE, SET};
use crate::dice::Dice;
use crate::sim::cluster::Cluster;
use crate::sim::random::fork;

/// The numbers of the clients that look, by node.
const LOOKERS: u64 = 100;
/// An operation is tried so often: a leader may still change.
const TRIES: usize = 4;
/// Between two tries.
const RETRY: Duration = Duration::from_millis(300);

/// What is done through each node.
#[derive(Debug, Clone, Copy)]
enum Round {
    Read,
    Write,
}

/// Looks at everything, and tells the cluster what came of it.
pub(super) async fn run(cluster: &Arc<Cluster>, mut dice: Dice) {
    for round in [Round::Read, Round::Write, Round::Read] {
        let mut lookers = Vec::new();
        for place in 0..cluster.machines.len() {
            let asker = Asker::new(Arc::clone(cluster), LOOKERS + place as u64, fork(&mut dice));
            lookers.push(tokio::spawn(look(asker, place, round)));
        }
        for looker in lookers {
            let outcome = looker
                .await
                .unwrap_or_else(|error| Err(format!("a client ended: {error}")));
            if outcome.is_err() {
                return cluster.set_finale(outcome);
            }
        }
    }
    cluster.set_finale(Ok(()));
}

async fn look(asker: Asker, place: usize, round: Round) -> Result<(), String> {
    match round {
        Round::Write => {
            for key in REGISTERS {
                must(&asker, place, |id| {
                    Question::write(key, format!("v{id}"), None)
                })
                .await?;
            }
            must(&asker, place, |id| {
                Question::write(&format!("{SET}{id}"), format!("v{id}"), None)
            })
            .await
        }
        Round::Read => {
            let keys = REGISTERS.into_iter().chain(DELETED).chain(ACCOUNTS);
            for key in keys.chain(REPEATED).chain([SEQUENCE]) {
                must(&asker, place, |_| Question::read(key)).await?;
            }
            for prefix in [SET, "acc/"] {
                must(&asker, place, |_| Question::list(prefix)).await?;
            }
            Ok(())
        }
    }
}

/// Asks until it succeeds; that there is no such key is an answer, too.
async fn must(
    asker: &Asker,
    place: usize,
    question: impl Fn(u64) -> Question,
) -> Result<(), String> {
    let mut last: Option<Answered> = None;
    for _ in 0..TRIES {
        let answered = asker.ask_as(place, &question).await;
        if answered.is_ok() || answered.failed_with("not_found") {
            return Ok(());
        }
        last = Some(answered);
        sleep(RETRY).await;
    }
    let host = asker.cluster.machines[place].host;
    let what = last.map(|answered| {
        let error = answered.told.error.unwrap_or_default();
        format!(
            "{:?} {}: {error}",
            answered.operation.kind, answered.operation.key
        )
    });
    Err(format!(
        "healed and agreed, and yet {host} does not do it in {TRIES} tries: {}",
        what.unwrap_or_default()
    ))
}
