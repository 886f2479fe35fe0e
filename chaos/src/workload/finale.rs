//! After everything has healed: every key is written and read once more, through every node.
//!
//! What the checkers need at the end of a history comes from here: a list of every folder, a read of every sequence.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinSet;

use super::client::{Client, Reading, Writing};
use super::{World, append, batch};
use crate::history::{History, Kind, Operation};

/// Clients that share the work.
const CLIENTS: usize = 6;
/// A healed cluster answers; a leader may still change once.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(300);
/// Failures that are told; the rest is counted by nobody, since one is enough.
const MAX_FAILURES: usize = 5;

/// What the end of a run saw.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Finale {
    /// Names that were looked at.
    pub(crate) keys: u64,
    /// What could not be written or read, though all had healed.
    pub(crate) failures: Vec<String>,
}

/// What is done with a name.
enum Task {
    /// Written through one node, read through each.
    Register(String),
    /// Read through each node.
    Value(String),
    /// Read, appended to, read through each node.
    Sequence(String),
    /// Read through one node.
    Element(String),
    /// Listed through each node.
    Folder(String),
    /// Moved around and listed through each node.
    Accounts,
}

/// Looks at every name of the run, on every node.
pub(crate) async fn finale(world: &Arc<World>) -> anyhow::Result<Finale> {
    let tasks = world.journal.look(|history| tasks(history, &world.root));
    let keys = tasks.len() as u64;
    let mut clients = JoinSet::new();
    let mut shares: Vec<Vec<Task>> = (0..CLIENTS).map(|_| Vec::new()).collect();
    for (number, task) in tasks.into_iter().enumerate() {
        shares[number % CLIENTS].push(task);
    }
    for share in shares {
        let mut client = Client::new(world);
        clients.spawn(async move {
            let mut failures = Vec::new();
            for (number, task) in share.into_iter().enumerate() {
                let place = number % client.world.api.count();
                if let Err(failure) = look(&mut client, place, &task).await {
                    failures.push(failure);
                }
                // A cluster that does not answer would take hours to say so for every name.
                if failures.len() >= MAX_FAILURES {
                    break;
                }
            }
            failures
        });
    }
    let mut finale = Finale {
        keys,
        ..Finale::default()
    };
    while let Some(failures) = clients.join_next().await {
        finale.failures.extend(failures?);
    }
    finale.failures.truncate(MAX_FAILURES);
    Ok(finale)
}

/// All names that clients wrote, or may have, and the folders they lie in.
fn tasks(history: &History, root: &str) -> Vec<Task> {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    let mut has_accounts = false;
    for operation in &history.operations {
        let writes = matches!(operation.kind, Kind::Write | Kind::Cas | Kind::Append);
        if writes && operation.may_have_happened() {
            names.insert(operation.key.as_str());
        }
        has_accounts |= operation.kind == Kind::Batch && operation.may_have_happened();
    }
    let mut folders: BTreeSet<String> = BTreeSet::new();
    let mut tasks = Vec::new();
    for name in names {
        let inside = name.strip_prefix(root).unwrap_or(name);
        let inside = inside.trim_start_matches('/');
        let task = match inside.split('/').next().unwrap_or_default() {
            "append" => Task::Sequence(name.to_owned()),
            "canary" => Task::Value(name.to_owned()),
            "set" => {
                let folder = name.rsplit_once('/').map_or(name, |(folder, _)| folder);
                folders.insert(format!("{folder}/"));
                Task::Element(name.to_owned())
            }
            _ => Task::Register(name.to_owned()),
        };
        tasks.push(task);
    }
    tasks.extend(folders.into_iter().map(Task::Folder));
    if has_accounts {
        tasks.push(Task::Accounts);
    }
    tasks
}

async fn look(client: &mut Client, place: usize, task: &Task) -> Result<(), String> {
    let places = 0..client.world.api.count();
    match task {
        Task::Register(key) => {
            surely(client, place, &Asking::Write(key), Operation::is_ok).await?;
            for place in places {
                surely(client, place, &Asking::Read(key), Operation::is_ok).await?;
            }
        }
        Task::Value(key) => {
            for place in places {
                surely(client, place, &Asking::Read(key), is_answered).await?;
            }
        }
        Task::Element(key) => surely(client, place, &Asking::Read(key), is_answered).await?,
        Task::Sequence(key) => {
            surely(client, place, &Asking::Append(key), is_appended).await?;
            for place in places {
                surely(client, place, &Asking::ReadSequence(key), Operation::is_ok).await?;
            }
        }
        Task::Folder(folder) => {
            for place in places {
                surely(client, place, &Asking::List(folder), Operation::is_ok).await?;
            }
        }
        Task::Accounts => {
            move_something(client).await?;
            let folder = batch::folder(&client.world);
            for place in places {
                surely(client, place, &Asking::List(&folder), Operation::is_ok).await?;
            }
        }
    }
    Ok(())
}

async fn move_something(client: &mut Client) -> Result<(), String> {
    for _ in 0..ATTEMPTS {
        let moved = batch::transfer(client).await;
        if moved.is_some_and(|moved| moved.is_ok()) {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err("nothing can be moved between the accounts after all has healed".to_owned())
}

/// A question that can be asked again.
enum Asking<'a> {
    Write(&'a str),
    Read(&'a str),
    Append(&'a str),
    ReadSequence(&'a str),
    List(&'a str),
}

/// Asks until the answer is good; each attempt is an operation of its own.
async fn surely(
    client: &Client,
    place: usize,
    asking: &Asking<'_>,
    is_good: fn(&Operation) -> bool,
) -> Result<(), String> {
    let mut told = String::new();
    for _ in 0..ATTEMPTS {
        let operation = ask(client, place, asking).await;
        if is_good(&operation) {
            return Ok(());
        }
        told = operation.to_string();
        tokio::time::sleep(PAUSE).await;
    }
    Err(format!(
        "after all has healed there is no good answer: {told}"
    ))
}

async fn ask(client: &Client, place: usize, asking: &Asking<'_>) -> Operation {
    match asking {
        Asking::Write(key) => {
            let value = client.value();
            client.write(place, key, &value, &Writing::default()).await
        }
        Asking::Read(key) => client.read(place, key, &Reading::default()).await,
        Asking::Append(key) => {
            let read = append::read(client, place, key).await;
            let Some((elements, version)) = append::known(&read) else {
                return read;
            };
            let element = client.value();
            client
                .append(place, key, &elements, &element, version)
                .await
        }
        Asking::ReadSequence(key) => append::read(client, place, key).await,
        Asking::List(folder) => client.list(place, folder, None).await,
    }
}

fn is_appended(operation: &Operation) -> bool {
    operation.kind == Kind::Append && operation.is_ok()
}

/// A value, or certainly none: a name whose write was never acknowledged may not be there.
fn is_answered(operation: &Operation) -> bool {
    operation.is_ok() || operation.failed_with("not_found")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Outcome;

    #[test]
    fn every_name_has_its_task_and_every_folder_is_listed() {
        let operation = |kind, key: &str, outcome| Operation {
            kind,
            key: key.to_owned(),
            outcome,
            ..Operation::default()
        };
        let history = History {
            operations: vec![
                operation(Kind::Write, "r/register/0-1", Outcome::Ok),
                operation(Kind::Cas, "r/register/0-1", Outcome::Info),
                operation(Kind::Write, "r/set/3/v1", Outcome::Info),
                operation(Kind::Write, "r/set/3/v2", Outcome::Ok),
                operation(Kind::Append, "r/append/0", Outcome::Ok),
                operation(Kind::Write, "r/forbidden", Outcome::Fail),
                operation(Kind::Batch, "", Outcome::Ok),
            ],
            ..History::default()
        };
        let tasks = tasks(&history, "r");
        let count = |is: fn(&Task) -> bool| tasks.iter().filter(|task| is(task)).count();
        assert_eq!(count(|task| matches!(task, Task::Register(_))), 1);
        assert_eq!(count(|task| matches!(task, Task::Element(_))), 2);
        assert_eq!(count(|task| matches!(task, Task::Sequence(_))), 1);
        assert_eq!(count(|task| matches!(task, Task::Folder(_))), 1);
        assert_eq!(count(|task| matches!(task, Task::Accounts)), 1);
        assert_eq!(tasks.len(), 6);
    }
}
