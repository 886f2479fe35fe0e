//! Proposals: many commands, one entry (DESIGN 2 and 7).
//!
//! ```text
//!  submit ─▶ queue ─▶ flusher: one batch in flight (accesses) or two (writes); the next gathers meanwhile
//!                        │ register the waiter, then propose under one envelope
//!                        ▼
//!            leader here? raft.client_write : one hop to the leader
//!                        │ NotLeader, connection lost, leader gone: again, under the same envelope (rule 8)
//!                        ▼
//!            own apply fulfils the waiter with decisions and record handles
//! ```
//!
//! A batch that never reached a leader fails definitely ([`ProposeError::NoLeader`]); one that may have is
//! [`ProposeError::UnknownOutcome`]. Nothing is ever proposed again under another envelope.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jarvis_domain::NodeId;
use jarvis_domain::codec::encode_sized;
use jarvis_domain::command::{ClusterCommand, Command};
use jarvis_domain::outcome::Reply;
use jarvis_domain::window::Envelope;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::leader::Leadership;
use crate::protocol::Proposed;
use crate::shared::{Replies, Shared};

/// Commands in one batch (DESIGN 7): apply of one entry stays below a few milliseconds.
const MAX_BATCH_COMMANDS: usize = 512;
/// Rounds of the scheduler that a batch waits for others at most. An entry costs about the same whatever it holds.
const GATHER_ROUNDS: usize = 8;
/// Encoded bytes in one batch: an append request stays below 1 MiB, or one entry.
const MAX_BATCH_BYTES: usize = 1024 * 1024;
/// Encoded bytes of one entry: safely below what the write-ahead log and an append frame take (16 and 20 MiB).
const MAX_ENTRY_BYTES: usize = 12 * 1024 * 1024;
/// Bytes accepted and not yet answered, per node; beyond it the API answers 429 (rule 10).
const MAX_IN_FLIGHT_BYTES: usize = 16 * 1024 * 1024;
/// Commands waiting per lane; bytes bound the big ones, this the small ones.
const QUEUE_COMMANDS: usize = 16 * 1024;
/// Between two tries while there is no leader to be found.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// One try's deadline at the leader; a lost answer is noticed then and asked for again.
const TRY_DEADLINE: Duration = Duration::from_millis(2_000);

/// Why a command has no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// No leader was found in time; the command did not happen and will not.
    #[error("no leader was found in time; nothing happened")]
    NoLeader,
    /// The command reached a leader, and its fate is not known.
    #[error("the outcome is unknown: the command may or may not have happened")]
    UnknownOutcome,
    /// One command is longer than an entry may be; nothing happened.
    #[error("the command is longer than an entry of the log may be; nothing happened")]
    TooLarge,
    /// Too much is in flight on this node.
    #[error("too many requests in flight on this node")]
    Busy,
    /// The node is shutting down.
    #[error("the node is shutting down")]
    Shutdown,
}

struct Pending {
    command: Command,
    bytes: usize,
    deadline: Instant,
    answer: Option<oneshot::Sender<Result<Reply, ProposeError>>>,
}

/// One queue of commands of a kind.
#[derive(Clone)]
pub(crate) struct Lane {
    queue: mpsc::Sender<Pending>,
    in_flight: Arc<AtomicUsize>,
}

/// Both lanes' common parts.
pub(crate) struct Proposer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) leadership: Leadership,
    pub(crate) next_seq: AtomicU64,
}

impl Lane {
    /// Starts a lane with so many batches in flight.
    pub(crate) fn start(
        proposer: Arc<Proposer>,
        in_flight: Arc<AtomicUsize>,
        batches: usize,
    ) -> Self {
        let (queue, commands) = mpsc::channel(QUEUE_COMMANDS);
        tokio::spawn(flush(proposer, commands, batches));
        Self { queue, in_flight }
    }

    /// Proposes one command and waits for its reply, at most until the deadline.
    pub(crate) async fn submit(
        &self,
        command: Command,
        bytes: usize,
        deadline: Instant,
    ) -> Result<Reply, ProposeError> {
        let _room = Room::take(&self.in_flight, bytes).ok_or(ProposeError::Busy)?;
        let (answer, reply) = oneshot::channel();
        let pending = Pending {
            command,
            bytes,
            deadline,
            answer: Some(answer),
        };
        self.queue.try_send(pending).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ProposeError::Busy,
            mpsc::error::TrySendError::Closed(_) => ProposeError::Shutdown,
        })?;
        // The flusher is gone: whether it had proposed this is not known.
        reply.await.unwrap_or(Err(ProposeError::UnknownOutcome))
    }
}

/// A share of the bytes in flight, given back when dropped.
struct Room<'a> {
    in_flight: &'a AtomicUsize,
    bytes: usize,
}

impl<'a> Room<'a> {
    fn take(in_flight: &'a AtomicUsize, bytes: usize) -> Option<Self> {
        let before = in_flight.fetch_add(bytes, Ordering::Relaxed);
        let room = Self { in_flight, bytes };
        (before + bytes <= MAX_IN_FLIGHT_BYTES).then_some(room)
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

async fn flush(proposer: Arc<Proposer>, mut commands: mpsc::Receiver<Pending>, batches: usize) {
    let slots = Arc::new(Semaphore::new(batches));
    let mut held: Option<Pending> = None;
    loop {
        let first = match held.take() {
            Some(pending) => pending,
            None => match commands.recv().await {
                Some(pending) => pending,
                None => return,
            },
        };
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        gather(&commands).await;
        let mut bytes = first.bytes;
        let mut batch = vec![first];
        while batch.len() < MAX_BATCH_COMMANDS && !must_be_alone(&batch[0].command) {
            match commands.try_recv() {
                Ok(pending)
                    if bytes + pending.bytes > MAX_BATCH_BYTES
                        || must_be_alone(&pending.command) =>
                {
                    held = Some(pending);
                    break;
                }
                Ok(pending) => {
                    bytes += pending.bytes;
                    batch.push(pending);
                }
                Err(_) => break,
            }
        }
        let proposer = proposer.clone();
        tokio::spawn(async move {
            run(&proposer, batch).await;
            drop(slot);
        });
    }
}

/// Others that are ready to run get the chance to join the batch, as long as each round of the scheduler brings somebody.
async fn gather(commands: &mpsc::Receiver<Pending>) {
    for round in 0..GATHER_ROUNDS {
        let waiting = commands.len();
        tokio::task::yield_now().await;
        if round > 0 && commands.len() == waiting {
            return;
        }
    }
}

/// A join takes the index of its entry as the new node's id (rule 11).
fn must_be_alone(command: &Command) -> bool {
    matches!(command, Command::Cluster(cluster) if matches!(**cluster, ClusterCommand::Join { .. }))
}

/// Proposes one batch until it is decided or every deadline in it has passed.
async fn run(proposer: &Proposer, mut batch: Vec<Pending>) {
    let now = Instant::now();
    batch.retain_mut(|pending| {
        let late = pending.deadline <= now;
        if late {
            answer(pending, Err(ProposeError::NoLeader));
        }
        !late
            && pending
                .answer
                .as_ref()
                .is_some_and(|answer| !answer.is_closed())
    });
    if batch.is_empty() {
        return;
    }
    let shared = &proposer.shared;
    let envelope = Envelope {
        node: shared.node_id,
        incarnation: shared.incarnation,
        seq: proposer.next_seq.fetch_add(1, Ordering::Relaxed),
    };
    let commands = encoded(&batch);
    if commands.len() > MAX_ENTRY_BYTES {
        batch
            .iter_mut()
            .for_each(|pending| answer(pending, Err(ProposeError::TooLarge)));
        return;
    }
    let mut attempt = Attempt {
        proposer,
        envelope,
        commands,
        reached: false,
    };
    let asked = shared.clock.monotonic();
    let mut waiter = shared.wait_for(envelope.seq);
    let decided = attempt.until_decided(&mut waiter, &mut batch).await;
    shared.forget(envelope.seq);
    match decided {
        Some(replies) if replies.len() == batch.len() => {
            shared.refreshed(asked);
            for (pending, reply) in batch.iter_mut().zip(replies.iter()) {
                answer(pending, Ok(reply.clone()));
            }
        }
        _ => {
            let error = attempt.error();
            batch
                .iter_mut()
                .for_each(|pending| answer(pending, Err(error)));
        }
    }
}

/// The commands of a batch as an entry holds them.
fn encoded(batch: &[Pending]) -> Bytes {
    let commands: Vec<&Command> = batch.iter().map(|pending| &pending.command).collect();
    let counted: usize = batch.iter().map(|pending| pending.bytes).sum();
    // They count generously, and the log keeps these bytes for a while: half of it is near what they take.
    Bytes::from(encode_sized(&commands, counted / 2))
}

struct Attempt<'a> {
    proposer: &'a Proposer,
    envelope: Envelope,
    commands: Bytes,
    /// Whether any leader may have appended it.
    reached: bool,
}

impl Attempt<'_> {
    async fn until_decided(
        &mut self,
        waiter: &mut oneshot::Receiver<Replies>,
        batch: &mut Vec<Pending>,
    ) -> Option<Replies> {
        loop {
            let deadline = self.expire(batch)?;
            let leadership = &self.proposer.leadership;
            let Some(leader) = leadership.leader() else {
                tokio::select! {
                    replies = &mut *waiter => return replies.ok(),
                    () = leadership.changed(RETRY_PAUSE) => continue,
                }
            };
            let left = deadline
                .saturating_duration_since(Instant::now())
                .min(TRY_DEADLINE);
            let proposed = tokio::select! {
                biased;
                replies = &mut *waiter => return replies.ok(),
                proposed = leadership.propose(leader, self.envelope, self.commands.clone(), left) => proposed,
            };
            match proposed {
                Tried::Answer(Proposed::Applied { index }) => {
                    self.reached = true;
                    return self.own_apply(waiter, index, leader, deadline).await;
                }
                Tried::Answer(Proposed::NotLeader { .. }) | Tried::NotDelivered => {
                    leadership.changed(RETRY_PAUSE).await;
                }
                Tried::Answer(Proposed::Refused { reason }) => {
                    tracing::error!(reason, "the leader refuses this node's proposals");
                    return None;
                }
                Tried::Answer(Proposed::Unknown) | Tried::Lost => {
                    self.reached = true;
                    leadership.changed(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// Fails what is late; the earliest deadline of what is left. Who was told that nothing happened must not be in what is
    /// proposed next: as long as no leader has seen the batch, it goes on without them.
    fn expire(&mut self, batch: &mut Vec<Pending>) -> Option<Instant> {
        let (now, error) = (Instant::now(), self.error());
        for pending in batch.iter_mut().filter(|pending| pending.deadline <= now) {
            answer(pending, Err(error));
        }
        if !self.reached {
            let before = batch.len();
            batch.retain(|pending| pending.answer.is_some());
            if batch.len() < before {
                self.commands = encoded(batch);
            }
        }
        batch
            .iter()
            .filter(|pending| pending.answer.is_some())
            .map(|pending| pending.deadline)
            .min()
    }

    /// It is applied on the leader: own apply will fulfil the waiter, unless a snapshot took this node past the index.
    async fn own_apply(
        &self,
        waiter: &mut oneshot::Receiver<Replies>,
        index: u64,
        leader: NodeId,
        deadline: Instant,
    ) -> Option<Replies> {
        tokio::select! {
            biased;
            replies = &mut *waiter => replies.ok(),
            () = self.proposer.shared.reached(index) => {
                // Apply publishes first and tells the waiters next.
                tokio::task::yield_now().await;
                if let Ok(replies) = waiter.try_recv() {
                    return Some(replies);
                }
                self.proposer.leadership.fetch_replies(leader, self.envelope, deadline).await
            }
            () = tokio::time::sleep_until(deadline) => None,
        }
    }

    const fn error(&self) -> ProposeError {
        if self.reached {
            ProposeError::UnknownOutcome
        } else {
            ProposeError::NoLeader
        }
    }
}

fn answer(pending: &mut Pending, result: Result<Reply, ProposeError>) {
    if let Some(sender) = pending.answer.take() {
        // Whoever asked may be gone; the decision stands in the log either way.
        let _ = sender.send(result);
    }
}

/// What came of one try.
pub(crate) enum Tried {
    /// The leader answered.
    Answer(Proposed),
    /// It can not have arrived.
    NotDelivered,
    /// It may have arrived.
    Lost,
}
