//! Stale reads: served by one node while there is no quorum, where a policy rule allows it (C5, P4).
//!
//! What this mode guarantees is one disk instead of a majority: the event is fsynced to this node's own journal before the
//! value leaves, and imported into the log, once, when there is a quorum again (deduplicated by a per-journal
//! high-water mark in the state). A full or failing journal refuses. Age is measured from when this node *asked* for
//! a read index that it later applied; heartbeats prove nothing.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jarvis_cluster::Node;
use jarvis_disk::DiskFile;
use jarvis_domain::command::{Caller, ClusterCommand, Command, JournalEvent};
use jarvis_domain::name::SecretName;
use jarvis_domain::outcome::{Outcome, Rejection};
use jarvis_domain::policy::{Decision, Verb};
use jarvis_domain::token::Credential;
use jarvis_wire::error::ErrorCode;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::service::{GotSecret, Service, ServiceError, refused, secrets};

/// Without a confirmed read index for this long a node counts as cut off (DESIGN 2).
const CUT_OFF_AFTER: Duration = Duration::from_millis(250);
/// How often a node asks for a read index, so that it knows how old its state is.
const FRESHNESS_PERIOD: Duration = Duration::from_millis(100);
/// Events waiting for the log; a day's outage of a busy node. Beyond it stale reads are refused.
const MAX_EVENTS: usize = 100_000;
/// Events imported with one command.
const IMPORT_EVENTS: usize = 256;
/// Between two looks for something to import.
const IMPORT_PERIOD: Duration = Duration::from_millis(500);
/// One import's deadline.
const IMPORT_DEADLINE: Duration = Duration::from_secs(10);
/// Events waiting for one fsync.
const QUEUE: usize = 1_024;

/// The journals of one node: those of earlier starts, and its own.
pub(super) struct Journal {
    queue: mpsc::Sender<(JournalEvent, oneshot::Sender<bool>)>,
    shared: Arc<Shared>,
}

struct Shared {
    dir: PathBuf,
    journal: u64,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// (journal, event), oldest first.
    events: VecDeque<(u64, JournalEvent)>,
    next_seq: u64,
    file: Option<Box<dyn DiskFile>>,
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, journal: u64) -> PathBuf {
        self.dir.join(format!("{journal:020}.journal"))
    }
}

impl Journal {
    /// Reads what earlier starts left, and begins this one's journal.
    pub(super) fn open(node: &Node, data: &Path) -> io::Result<Self> {
        let disk = node.env().disk.clone();
        let dir = data.join("journal");
        disk.create_dir_all(&dir)?;
        let mut waiting = Waiting::default();
        for path in disk.list(&dir)? {
            let journal = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .and_then(|stem| stem.parse::<u64>().ok());
            let Some(journal) = journal else { continue };
            // A last line without its newline was never answered: its read was refused.
            let text = disk.read(&path)?;
            let whole = text
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(&[][..], |end| &text[..end]);
            for line in whole
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
            {
                let Ok(event) = serde_json::from_slice(line) else {
                    tracing::error!(path = %path.display(), "a line of the journal of stale reads is damaged and is left out");
                    continue;
                };
                waiting.events.push_back((journal, event));
            }
        }
        let shared = Arc::new(Shared {
            dir,
            journal: node.incarnation(),
            waiting: Mutex::new(waiting),
        });
        let (queue, events) = mpsc::channel(QUEUE);
        tokio::spawn(write(node.clone(), shared.clone(), events));
        tokio::spawn(import(node.clone(), shared.clone()));
        tokio::spawn(stay_fresh(node.clone()));
        Ok(Self { queue, shared })
    }

    /// Makes an event durable. `false`: full or failing, the read must be refused.
    async fn record(&self, event: JournalEvent) -> bool {
        let (done, recorded) = oneshot::channel();
        self.queue.try_send((event, done)).is_ok() && recorded.await.unwrap_or(false)
    }

    fn is_full(&self) -> bool {
        self.shared.lock().events.len() >= MAX_EVENTS
    }
}

/// Keeps the bound on this node's age current.
async fn stay_fresh(node: Node) {
    loop {
        if node.staleness().is_none_or(|age| age >= FRESHNESS_PERIOD) {
            node.barrier(Instant::now() + Duration::from_secs(1)).await;
        }
        tokio::time::sleep(FRESHNESS_PERIOD).await;
    }
}

/// One fsync for all events that wait.
async fn write(
    node: Node,
    shared: Arc<Shared>,
    mut events: mpsc::Receiver<(JournalEvent, oneshot::Sender<bool>)>,
) {
    while let Some(first) = events.recv().await {
        let mut group = vec![first];
        while let Ok(more) = events.try_recv() {
            group.push(more);
        }
        let (events, answers): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        let (disk, shared) = (node.env().disk.clone(), shared.clone());
        let work = move || append(&*disk, &shared, events);
        let written = node.env().blocking(work).await.flatten();
        if let Err(error) = &written {
            tracing::error!(%error, "the journal of stale reads can not be written; stale reads are refused");
        }
        for answer in answers {
            // Who asked may have gone; the event stands.
            let _ = answer.send(written.is_ok());
        }
    }
}

fn append(
    disk: &dyn jarvis_disk::Disk,
    shared: &Shared,
    mut events: Vec<JournalEvent>,
) -> io::Result<()> {
    let mut waiting = shared.lock();
    if waiting.events.len() + events.len() > MAX_EVENTS {
        return Err(io::Error::new(
            io::ErrorKind::StorageFull,
            "too many events wait for a quorum",
        ));
    }
    let path = shared.path(shared.journal);
    let mut file = match waiting.file.take() {
        Some(file) => file,
        None if disk.exists(&path)? => disk.open(&path)?,
        None => {
            let file = disk.create_new(&path)?;
            disk.sync_dir(&shared.dir)?;
            file
        }
    };
    let mut lines = Vec::new();
    for event in &mut events {
        waiting.next_seq += 1;
        event.seq = waiting.next_seq;
        serde_json::to_writer(&mut lines, event).map_err(io::Error::other)?;
        lines.push(b'\n');
    }
    let before = file.len()?;
    if let Err(error) = file.append(&lines).and_then(|()| file.sync_data()) {
        // Nothing of these events was answered; half a line must not stand before the next one.
        file.truncate(before)?;
        return Err(error);
    }
    waiting.file = Some(file);
    let journal = shared.journal;
    waiting
        .events
        .extend(events.into_iter().map(|event| (journal, event)));
    Ok(())
}

/// Brings waiting events into the log, oldest journal first, and lets go of what is there.
async fn import(node: Node, shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(IMPORT_PERIOD).await;
        let (journal, events) = {
            let waiting = shared.lock();
            let Some((journal, _)) = waiting.events.front() else {
                continue;
            };
            let same = waiting
                .events
                .iter()
                .take_while(|(other, _)| other == journal)
                .take(IMPORT_EVENTS);
            (
                *journal,
                same.map(|(_, event)| event.clone()).collect::<Vec<_>>(),
            )
        };
        let count = events.len();
        let command = Command::Cluster(Box::new(ClusterCommand::ImportJournal { journal, events }));
        let reply = node
            .propose(command, Instant::now() + IMPORT_DEADLINE)
            .await;
        if !matches!(reply, Ok(reply) if matches!(reply.outcome, Outcome::Done)) {
            continue;
        }
        let disk = node.env().disk.clone();
        let mut waiting = shared.lock();
        waiting.events.drain(..count);
        if waiting.events.iter().all(|(other, _)| *other != journal) {
            // Everything of this journal is in the log. Should the removal be lost, the high-water mark skips it.
            waiting.file = None;
            if let Err(error) = disk
                .remove(&shared.path(journal))
                .and_then(|()| disk.sync_dir(&shared.dir))
            {
                tracing::warn!(%error, journal, "an imported journal can not be removed");
            }
        }
    }
}

impl Service {
    /// Reads from this node's own state if it is cut off and a rule allows it; otherwise reads as always.
    ///
    /// # Errors
    /// A7's errors; `no_leader` when the state is older than the rule or the request allows.
    pub async fn get_stale(
        &self,
        caller: Caller,
        name: SecretName,
        version: Option<u64>,
        max_age_ms: Option<u64>,
    ) -> Result<GotSecret, ServiceError> {
        self.refuse_sealed()?;
        let age = self.node.staleness();
        if age.is_some_and(|age| age < CUT_OFF_AFTER) {
            return self.get(caller, name, version).await;
        }
        let state = self.node.view();
        let decision = state.policy_record().map(|record| {
            record
                .policy
                .decide(&caller.client, Verb::Read, name.as_str())
        });
        let Some(Decision::Allow {
            stale_max_ms: allowed @ 1..,
            ..
        }) = decision
        else {
            return self.get(caller, name, version).await;
        };
        let limit = max_age_ms.map_or(allowed, |wanted| wanted.min(allowed));
        let age_ms = age.map_or(u64::MAX, |age| {
            u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
        });
        if age_ms > limit {
            return Err(too_old(limit, &name));
        }
        self.refuse_expired(&caller, &state)?;
        let found = state
            .secrets
            .get(&name)
            .filter(|secret| secret.deleted.is_none())
            .and_then(|secret| {
                let number = version.or_else(|| secret.current())?;
                state.versions.get(&(name.clone(), number)).cloned()
            });
        let event = JournalEvent {
            seq: 0,
            at: self.node.now_ms(),
            client: caller.client.clone(),
            name: name.clone(),
            version: found.as_ref().map(|version| version.number),
            allowed: true,
            served_index: state.core.applied.index,
            age_ms,
            request_id: caller.request_id.clone(),
        };
        if !self.journal.record(event).await {
            return Err(ServiceError::new(
                ErrorCode::AuditFull,
                "this node's journal is full or can not be written, and nothing is shown unaudited; ask another node",
            ));
        }
        // Writing the event took its time: the value must still be young enough.
        if self
            .node
            .staleness()
            .is_none_or(|age| age.as_millis() > u128::from(limit))
        {
            return Err(too_old(limit, &name));
        }
        let Some(version) = found else {
            // As a read through the log says it.
            let rejection = match state.secrets.get(&name) {
                Some(secret) if !secret.versions.is_empty() => secret
                    .deleted
                    .map_or(Rejection::NotFound, Rejection::Deleted),
                _ => Rejection::NotFound,
            };
            return Err(refused(
                rejection,
                caller.client.as_str(),
                &secrets::describe(&name, version),
            ));
        };
        self.open(name, version, state.core.applied.index, Some(age_ms))
    }

    /// Expiry while there is no quorum: by the later of agreed and local time (C5).
    fn refuse_expired(
        &self,
        caller: &Caller,
        state: &jarvis_domain::state::State,
    ) -> Result<(), ServiceError> {
        let now = self.node.cautious_now_ms();
        let holds = match &caller.credential {
            Credential::Token(id) => state
                .tokens
                .get(id)
                .is_some_and(|token| token.expires.is_none_or(|at| at > now)),
            Credential::Certificate { serial, not_after } => {
                !state.revoked.contains(serial) && *not_after > now
            }
            Credential::Header | Credential::System => true,
        };
        if holds {
            return Ok(());
        }
        Err(ServiceError::new(
            ErrorCode::Unauthenticated,
            "the credential is expired or revoked",
        ))
    }

    /// Whether stale reads could be served: keys and some state are here, and the journal takes events.
    #[must_use]
    pub fn can_serve_stale(&self) -> bool {
        !self.vault.is_sealed() && self.node.staleness().is_some() && !self.journal.is_full()
    }
}

fn too_old(limit: u64, name: &SecretName) -> ServiceError {
    ServiceError::new(
        ErrorCode::NoLeader,
        format!(
            "there is no quorum, and what this node knows may be older than the {limit} ms that are allowed for {name}"
        ),
    )
}
