//! What clients ask for: one after the other, of any node, through the API.
//!
//! All clients are tasks of one host of the simulation. Each does one thing at a time, and never repeats a request inside
//! of an operation. A *turn* is a short series of operations that belong together: read, then append; make a token, use it
//! elsewhere at once, revoke it, use it again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use tokio::time::sleep;

use super::cluster::{Cluster, Order, Stage, Tokens};
use super::random::fork;
use crate::dice::Dice;
use crate::history::{Kind, Operation};

mod asker;
mod finale;
mod turns;

use asker::{Asker, Question};

/// Between two turns of a client, ms.
const THINK_MS: (u64, u64) = (5, 90);
/// How often the operator looks for orders.
const LOOK: Duration = Duration::from_millis(20);
/// Between two tries to prepare.
const RETRY: Duration = Duration::from_millis(100);
/// The number of the client that does what operators do.
const OPERATOR: u64 = 90;
/// And of the one that watches a follower which hears a deposed leader.
const WATCHER: u64 = 80;

/// A kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Reads, writes and compare-and-set of a few keys.
    Register,
    /// The same, with deletions.
    Deletes,
    /// New names, and lists of them.
    Set,
    /// A sequence that grows by compare-and-set.
    Append,
    /// Several writes at once, which keep a sum.
    Batch,
    /// Somebody asks who may nothing.
    Denials,
    /// Tokens are made, used, revoked, and used again.
    Revocation,
    /// A client loses its rule in the policy and gets it back.
    Policy,
    /// Reads that may be answered without a majority.
    Stale,
    /// One request twice, at two nodes, under one idempotency key.
    Repeats,
    /// Key epochs begin, and values move into them.
    Epochs,
}

impl Work {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Register,
        Self::Deletes,
        Self::Set,
        Self::Append,
        Self::Batch,
        Self::Denials,
        Self::Revocation,
        Self::Policy,
        Self::Stale,
        Self::Repeats,
        Self::Epochs,
    ];

    /// How a report calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Deletes => "deletes",
            Self::Set => "set",
            Self::Append => "append",
            Self::Batch => "batch",
            Self::Denials => "denials",
            Self::Revocation => "revocation",
            Self::Policy => "policy",
            Self::Stale => "stale",
            Self::Repeats => "repeats",
            Self::Epochs => "epochs",
        }
    }

    /// In so many of a hundred seeds it is there.
    pub(super) const fn percent(self) -> u64 {
        match self {
            Self::Register => 100,
            Self::Deletes => 25,
            Self::Policy | Self::Epochs => 35,
            Self::Denials => 50,
            Self::Set
            | Self::Append
            | Self::Batch
            | Self::Revocation
            | Self::Stale
            | Self::Repeats => 60,
        }
    }

    /// How often it is chosen among what a run has.
    const fn weight(self) -> u64 {
        match self {
            Self::Register => 10,
            Self::Stale => 6,
            Self::Set | Self::Append | Self::Batch | Self::Repeats => 4,
            Self::Revocation | Self::Policy => 3,
            Self::Deletes | Self::Denials => 2,
            Self::Epochs => 1,
        }
    }
}

/// The host of all clients: prepares, works, stops when told to, and looks at every key in the end.
pub(super) async fn run(cluster: Arc<Cluster>) -> turmoil::Result {
    let mut dice = Dice::stream(cluster.plan.seed, "clients");
    wait_for(&cluster, Stage::Preparing).await;
    let mut operator = Asker::new(Arc::clone(&cluster), OPERATOR, fork(&mut dice));
    prepare(&mut operator).await;
    wait_for(&cluster, Stage::Working).await;
    for number in 0..cluster.plan.clients as u64 {
        let asker = Asker::new(Arc::clone(&cluster), number, fork(&mut dice));
        tokio::spawn(work(asker));
    }
    if cluster.plan.works.contains(&Work::Stale) {
        let asker = Asker::new(Arc::clone(&cluster), WATCHER, fork(&mut dice));
        tokio::spawn(watch(asker));
    }
    while cluster.stage() == Stage::Working {
        match cluster.next_order() {
            Some(Order::Transfer(place)) => {
                let question =
                    Question::post("transfer-leader", "/cluster/transfer-leader", json!({}));
                operator.ask(place, question).await;
            }
            Some(Order::Seal(place)) => {
                let question = Question::post("seal", "/sys/seal", json!({}));
                operator.ask(place, question).await;
            }
            None => sleep(LOOK).await,
        }
    }
    wait_for(&cluster, Stage::Finale).await;
    finale::run(&cluster, fork(&mut dice)).await;
    std::future::pending().await
}

async fn wait_for(cluster: &Cluster, stage: Stage) {
    while cluster.stage() < stage {
        sleep(LOOK).await;
    }
}

/// Makes the tokens of the clients that are not the administrator.
async fn prepare(operator: &mut Asker) {
    let mut made = Vec::new();
    for client in ["ha", "mallory", "fickle"] {
        let token = loop {
            let place = operator.any_place();
            if let Some(token) = operator.make_token(place, client).await {
                break token;
            }
            sleep(RETRY).await;
        };
        made.push(token);
    }
    if let [ha, mallory, fickle] = made.as_slice() {
        operator.cluster.set_tokens(Tokens {
            ha: ha.clone(),
            mallory: mallory.clone(),
            fickle: fickle.clone(),
        });
    }
}

/// One client, until it is told to stop.
async fn work(mut asker: Asker) {
    let works: Vec<Work> = asker.cluster.plan.works.iter().copied().collect();
    let works: Vec<Work> = works
        .into_iter()
        .filter(|work| takes_part(*work, asker.process))
        .collect();
    let total: u64 = works.iter().map(|work| work.weight()).sum();
    let mut memory = Memory::default();
    while asker.cluster.stage() == Stage::Working {
        let mut drawn = asker.dice.below(total);
        let chosen = works.iter().find(|work| {
            let is_it = drawn < work.weight();
            drawn = drawn.saturating_sub(work.weight());
            is_it
        });
        if let Some(work) = chosen {
            turns::turn(*work, &mut asker, &mut memory).await;
        }
        let pause = asker.dice.between(THINK_MS.0, THINK_MS.1);
        sleep(Duration::from_millis(pause)).await;
    }
}

/// Looks at a follower that hears a deposed leader, while there is one.
async fn watch(mut asker: Asker) {
    while asker.cluster.stage() == Stage::Working {
        match asker.cluster.deposed() {
            Some((leader, follower)) => turns::watch(&mut asker, follower, leader).await,
            None => sleep(LOOK).await,
        }
    }
}

/// What only one client may do, so that its order is known: the policy, and key epochs.
const fn takes_part(work: Work, process: u64) -> bool {
    match work {
        Work::Policy => process == 0,
        Work::Epochs => process == 1,
        _ => true,
    }
}

/// What a client remembers between its turns.
#[derive(Debug, Default)]
struct Memory {
    /// The version last seen of each key: what it compares with.
    seen: BTreeMap<String, u64>,
    /// Whether the policy it last applied has the rule.
    has_taken_rule: bool,
    /// Key epochs begun.
    epochs: u64,
}

/// An operation of this kind on this key.
fn operation(kind: Kind, key: impl Into<String>) -> Operation {
    Operation {
        kind,
        key: key.into(),
        ..Operation::default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_of_work_has_a_name_and_somebody_who_does_it() {
        let names: BTreeSet<&str> = Work::ALL.iter().map(|work| work.name()).collect();
        assert_eq!(names.len(), Work::ALL.len());
        for work in Work::ALL {
            assert_eq!(serde_json::to_value(work).unwrap(), work.name());
            assert!(work.weight() > 0 && (0..2).any(|process| takes_part(work, process)));
        }
        assert_eq!(Work::Register.percent(), 100);
    }
}
