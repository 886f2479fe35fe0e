//! What apply shows to the rest of the node: the state as of now, who waits for what, and what was just decided.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jarvis_domain::NodeId;
use jarvis_domain::outcome::Reply;
use jarvis_domain::state::State;
use jarvis_domain::window::Envelope;
use tokio::sync::{oneshot, watch};

use crate::clock::AgreedClock;
use crate::raft::{LogId, StoredMembership};

/// Batches whose replies are kept for origins that got past them by a snapshot. An origin keeps at most four in flight.
const RECENT_BATCHES: usize = 64;

/// The replies of one batch.
pub(crate) type Replies = Arc<Vec<Reply>>;

/// What apply works on. Whoever needs it for longer than a look takes a view: a clone shares all records, and only while one
/// is held must apply copy what it changes.
pub(crate) struct Live {
    pub(crate) state: State,
    pub(crate) last_applied: Option<LogId>,
    pub(crate) membership: StoredMembership,
}

/// Shared between apply and everyone else on the node.
pub(crate) struct Shared {
    pub(crate) node_id: NodeId,
    pub(crate) incarnation: u64,
    pub(crate) clock: AgreedClock,
    live: Mutex<Live>,
    applied: watch::Sender<u64>,
    /// Monotonic ms, plus one, at which this node asked for something it has since applied; 0 = never.
    fresh_since: AtomicU64,
    waiters: Mutex<BTreeMap<u64, oneshot::Sender<Replies>>>,
    recent: Mutex<VecDeque<(Envelope, Replies)>>,
}

impl Shared {
    pub(crate) fn new(node_id: NodeId, incarnation: u64, clock: AgreedClock, live: Live) -> Self {
        let (applied, _) = watch::channel(live.state.core.applied.index);
        Self {
            node_id,
            incarnation,
            clock,
            live: Mutex::new(live),
            applied,
            fresh_since: AtomicU64::new(0),
            waiters: Mutex::default(),
            recent: Mutex::default(),
        }
    }

    /// The state as of the last applied entry: cheap, and possibly behind the cluster.
    pub(crate) fn view(&self) -> State {
        lock(&self.live).state.clone()
    }

    /// Looks at the state without cloning it; keep it short, apply waits meanwhile.
    pub(crate) fn with_view<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&lock(&self.live).state)
    }

    /// For apply and the disk image only. Held for one entry at most, and never while the disk works.
    pub(crate) fn live(&self) -> MutexGuard<'_, Live> {
        lock(&self.live)
    }

    /// Waits until the state reached an index, and its audit lines are written.
    pub(crate) async fn reached(&self, index: u64) {
        let mut applied = self.applied.subscribe();
        // The sender lives as long as `self`: waiting can not fail.
        let _ = applied
            .wait_for(|applied| *applied >= index)
            .await
            .map(|_| ());
    }

    /// What this node asked for at that monotonic time (a read index, a proposal) it has now applied: its state is as
    /// fresh as the cluster was then.
    pub(crate) fn refreshed(&self, asked: Duration) {
        let asked = u64::try_from(asked.as_millis()).unwrap_or(u64::MAX - 1);
        self.fresh_since.fetch_max(asked + 1, Ordering::AcqRel);
    }

    /// A bound on how old the published state is.
    pub(crate) fn age(&self) -> Option<Duration> {
        let since = self.fresh_since.load(Ordering::Acquire).checked_sub(1)?;
        Some(
            self.clock
                .monotonic()
                .saturating_sub(Duration::from_millis(since)),
        )
    }

    /// Tells that everything up to the state's index is applied and its lines are written; afterwards replies may go out.
    pub(crate) fn announce(&self) {
        let index = self.with_view(|state| state.core.applied.index);
        self.applied.send_replace(index);
    }

    /// Registers interest in a batch of this process, before it is proposed.
    pub(crate) fn wait_for(&self, seq: u64) -> oneshot::Receiver<Replies> {
        let (sender, receiver) = oneshot::channel();
        lock(&self.waiters).insert(seq, sender);
        receiver
    }

    /// Gives up waiting.
    pub(crate) fn forget(&self, seq: u64) {
        lock(&self.waiters).remove(&seq);
    }

    /// A batch was decided here: tell who waits, and keep the replies a while for its origin.
    pub(crate) fn decided(&self, envelope: Envelope, replies: Replies) {
        if envelope.node == self.node_id
            && envelope.incarnation == self.incarnation
            && let Some(waiter) = lock(&self.waiters).remove(&envelope.seq)
        {
            // The waiter may have given up; then nobody needs the replies.
            let _ = waiter.send(replies.clone());
        }
        let mut recent = lock(&self.recent);
        if recent.len() >= RECENT_BATCHES {
            recent.pop_front();
        }
        recent.push_back((envelope, replies));
    }

    /// The replies of a batch, if it was decided here not long ago.
    pub(crate) fn recent(&self, envelope: Envelope) -> Option<Replies> {
        lock(&self.recent)
            .iter()
            .rev()
            .find(|(known, _)| *known == envelope)
            .map(|(_, replies)| replies.clone())
    }
}

/// Locks; a poisoned lock is taken over, since every critical section here leaves its data whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
