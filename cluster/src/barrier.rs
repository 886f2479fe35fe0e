//! The read-index barrier, coalesced: however many wait, one question at a time goes to the leader.
//!
//! A round serves everyone who asked before it began; who asks while one is under way waits for the next. It leaves no
//! log entry. It backs the second look at a credential (DESIGN 2) and the freshness of stale reads.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::leader::Leadership;

/// Waiters at once; more are refused as busy by timing out (rule 10).
const QUEUE: usize = 4_096;
/// One question's deadline.
const ASK_DEADLINE: Duration = Duration::from_millis(1_000);
/// Between two tries without a leader.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// A handle to the barrier task.
#[derive(Clone)]
pub(crate) struct Barrier {
    queue: mpsc::Sender<Waiting>,
}

struct Waiting {
    deadline: Instant,
    done: oneshot::Sender<()>,
}

impl Barrier {
    pub(crate) fn start(leadership: Leadership) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(rounds(leadership, waiting));
        Self { queue }
    }

    /// Waits until this node has applied everything acknowledged before this call. `false` when the deadline passed.
    pub(crate) async fn pass(&self, deadline: Instant) -> bool {
        let (done, passed) = oneshot::channel();
        if self.queue.try_send(Waiting { deadline, done }).is_err() {
            return false;
        }
        matches!(timeout_at(deadline, passed).await, Ok(Ok(())))
    }
}

async fn rounds(leadership: Leadership, mut waiting: mpsc::Receiver<Waiting>) {
    while let Some(first) = waiting.recv().await {
        let mut round = vec![first];
        while let Ok(another) = waiting.try_recv() {
            round.push(another);
        }
        while !round.is_empty() {
            let asked = leadership.shared.clock.monotonic();
            if once(&leadership).await {
                leadership.shared.refreshed(asked);
                for waiter in round.drain(..) {
                    // Whoever asked may have given up.
                    let _ = waiter.done.send(());
                }
            } else {
                let now = Instant::now();
                round.retain(|waiter| waiter.deadline > now && !waiter.done.is_closed());
                leadership.changed(RETRY_PAUSE).await;
            }
        }
    }
}

async fn once(leadership: &Leadership) -> bool {
    let Some(index) = leadership.read_index(ASK_DEADLINE).await else {
        return false;
    };
    let reached = leadership.shared.reached(index);
    tokio::time::timeout(ASK_DEADLINE, reached).await.is_ok()
}
