//! Clients: each asks one thing at a time, of any machine that has a node running.

use std::ops::Range;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::dice::Dice;
use crate::history::{Ask, KEYS};
use crate::machine::{Cluster, HOSTS};
use crate::software::Request;

/// A client's pause between two operations, ms: a run then stays well below the events of one audit segment.
const THINK_MS: Range<u64> = 40..160;

/// One client.
pub(crate) struct Client {
    dice: Dice,
    next_at: Duration,
    waiting: Option<Waiting>,
    /// The version last seen of each key: what it compares with.
    seen: [u64; KEYS],
}

struct Waiting {
    key: usize,
    done: oneshot::Receiver<Option<u64>>,
}

impl Client {
    /// A client that has seen nothing.
    pub(crate) const fn new(dice: Dice) -> Self {
        Self {
            dice,
            next_at: Duration::ZERO,
            waiting: None,
            seen: [0; KEYS],
        }
    }

    /// Whether an operation is under way.
    pub(crate) const fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Notices an answer, or that there will be none.
    pub(crate) fn listen(&mut self, now: Duration) {
        let Some(waiting) = &mut self.waiting else {
            return;
        };
        match waiting.done.try_recv() {
            Err(oneshot::error::TryRecvError::Empty) => return,
            Ok(Some(version)) => self.seen[waiting.key] = version,
            Ok(None) | Err(oneshot::error::TryRecvError::Closed) => {}
        }
        self.waiting = None;
        self.next_at = now + self.dice.millis(&THINK_MS);
    }

    /// Asks for the next thing when it is time.
    pub(crate) fn ask(&mut self, now: Duration, cluster: &Cluster) {
        if self.is_waiting() || now < self.next_at {
            return;
        }
        self.next_at = now + self.dice.millis(&THINK_MS);
        let key = self.dice.below(KEYS);
        let ask = match self.dice.below(4) {
            0 => Ask::Put { cas: None },
            1 => Ask::Put {
                cas: Some(self.seen[key]),
            },
            _ => Ask::Get,
        };
        let (done, answer) = oneshot::channel();
        let host = self.dice.below(HOSTS.len());
        if cluster.machines[host].send(Request { key, ask, done }) {
            self.waiting = Some(Waiting { key, done: answer });
        }
    }
}
