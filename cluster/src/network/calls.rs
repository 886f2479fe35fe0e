//! Requests and answers, multiplexed by request id over one connection.
//!
//! Bodies of the frames after their length:
//! ```text
//!   request  id u64 | deadline in ms u32 | kind u8 | body
//!   answer   id u64 | status u8 (0 body, 1 error text) | body
//! ```
//! All numbers are big-endian. Answers come in any order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::network::frame::{FrameReader, FrameSender, Head, Pipe};
use crate::network::{Lane, PeerError};

/// Calls in flight on one connection; further ones wait, within their deadline. The server handles as
/// many at once.
pub(super) const MAX_CALLS: usize = 1_024;

/// Nobody waits longer for an answer, whatever deadline a request names.
pub(super) const MAX_CALL_DEADLINE: Duration = Duration::from_secs(60);

/// Calls have waited this long on a connection without any answer: it may be dead without a sign of it.
/// Far above a heartbeat's budget of 50 ms. A machine without a core to spare misses that often, and a
/// handshake after each late answer would cost it what it lacks: then no heartbeat would ever be in time.
const DEAF_AFTER: Duration = Duration::from_secs(1);

const STATUS_BODY: u8 = 0;
const STATUS_ERROR: u8 = 1;

/// Id, deadline and kind.
const REQUEST_HEAD_BYTES: usize = 8 + 4 + 1;

/// Id and status.
const ANSWER_HEAD_BYTES: usize = 8 + 1;

/// A request as the server reads it.
pub(super) struct Request {
    pub(super) id: u64,
    /// How long the caller waits; at most [`MAX_CALL_DEADLINE`].
    pub(super) deadline: Duration,
    pub(super) kind: u8,
    pub(super) body: Bytes,
}

impl Request {
    /// `None` when the frame is too short to be a request.
    pub(super) fn read(mut frame: Bytes) -> Option<Self> {
        if frame.len() < REQUEST_HEAD_BYTES {
            return None;
        }
        let id = frame.get_u64();
        let deadline = Duration::from_millis(u64::from(frame.get_u32())).min(MAX_CALL_DEADLINE);
        let kind = frame.get_u8();
        Some(Self {
            id,
            deadline,
            kind,
            body: frame,
        })
    }

    fn head(id: u64, deadline: Duration, kind: u8) -> Head {
        let deadline_ms = u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX);
        Head::default()
            .with(&id.to_be_bytes())
            .with(&deadline_ms.to_be_bytes())
            .with(&[kind])
    }
}

/// The head and body of an answer.
pub(super) fn answer(id: u64, outcome: Result<Bytes, String>) -> (Head, Bytes) {
    let (status, body) = match outcome {
        Ok(body) => (STATUS_BODY, body),
        Err(message) => (STATUS_ERROR, Bytes::from(message)),
    };
    (
        Head::default().with(&id.to_be_bytes()).with(&[status]),
        body,
    )
}

/// The dialing end of a connection for calls.
///
/// One task reads and writes. When either direction fails, all calls in flight fail with `Closed`, and
/// the connection takes no more.
pub(super) struct CallConnection {
    queue: FrameSender,
    pending: Arc<Pending>,
    next_id: AtomicU64,
    slots: Semaphore,
    task: AbortHandle,
}

impl CallConnection {
    /// Starts the task. Called on a runtime.
    pub(super) fn start(pipe: Pipe, lane: Lane) -> Self {
        let (reader, queue, writer) = pipe.queued(lane);
        let pending = Arc::new(Pending::default());
        let in_task = Arc::clone(&pending);
        let task = tokio::spawn(async move {
            tokio::select! {
                biased;
                () = writer.run() => {}
                () = read_answers(reader, &in_task) => {}
            }
            in_task.fail_all();
        })
        .abort_handle();
        let slots = Semaphore::new(MAX_CALLS);
        Self {
            queue,
            pending,
            next_id: AtomicU64::new(1),
            slots,
            task,
        }
    }

    /// Whether calls can still succeed, as far as is known: it has not ended, and it answers.
    pub(super) fn is_usable(&self) -> bool {
        let waiting = self.pending.waiting();
        let unanswered = waiting
            .as_ref()
            .map(|waiting| waiting.unanswered(Instant::now()));
        unanswered.is_some_and(|unanswered| unanswered < DEAF_AFTER)
    }

    /// Sends a request and waits for its answer. The caller sets the deadline by dropping the future;
    /// `deadline` tells the server how long that will be.
    pub(super) async fn call(
        &self,
        kind: u8,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, PeerError> {
        let _slot = self.slots.acquire().await.map_err(|_| PeerError::Closed)?;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        let _entry = self.pending.enter(id, sender)?;
        self.queue
            .send(Request::head(id, deadline, kind), body)
            .await?;
        answer.await.unwrap_or(Err(PeerError::Closed))
    }

    /// Ends the connection now; calls in flight fail with `Closed`.
    pub(super) fn close(&self) {
        self.task.abort();
        self.pending.fail_all();
    }
}

impl Drop for CallConnection {
    fn drop(&mut self) {
        self.close();
    }
}

async fn read_answers(mut reader: FrameReader, pending: &Pending) {
    loop {
        match reader.next().await {
            Ok(Some(frame)) => {
                if !pending.deliver(frame) {
                    tracing::warn!("the peer sent an answer that can not be read");
                    return;
                }
            }
            Ok(None) | Err(PeerError::Closed) => return,
            Err(error) => {
                tracing::warn!(%error, "the peer broke the protocol");
                return;
            }
        }
    }
}

type Caller = oneshot::Sender<Result<Bytes, PeerError>>;

/// Who waits, and for how long nobody has been answered.
#[derive(Default)]
struct Waiting {
    /// At most [`MAX_CALLS`] entries.
    callers: BTreeMap<u64, Caller>,
    /// Since when there are callers, or the last answer came; `None` while nobody waits.
    since: Option<Instant>,
    /// Time spent waiting since the last answer, before `since`. An idle connection owes nothing.
    before: Duration,
}

impl Waiting {
    fn enter(&mut self, id: u64, caller: Caller, now: Instant) {
        self.callers.insert(id, caller);
        self.since.get_or_insert(now);
    }

    /// An answer came, whether or not its caller still waits.
    fn answered(&mut self, id: u64, now: Instant) -> Option<Caller> {
        let caller = self.callers.remove(&id);
        self.before = Duration::ZERO;
        self.since = (!self.callers.is_empty()).then_some(now);
        caller
    }

    /// A caller has its answer, or gives up.
    fn leave(&mut self, id: u64, now: Instant) {
        self.callers.remove(&id);
        if self.callers.is_empty() {
            self.before = self.unanswered(now);
            self.since = None;
        }
    }

    /// How long callers have waited since the last answer.
    fn unanswered(&self, now: Instant) -> Duration {
        let under_way = self.since.map(|since| now.saturating_duration_since(since));
        self.before + under_way.unwrap_or_default()
    }
}

/// The calls in flight.
struct Pending {
    /// `None` once the connection has ended.
    waiting: Mutex<Option<Waiting>>,
}

impl Default for Pending {
    fn default() -> Self {
        Self {
            waiting: Mutex::new(Some(Waiting::default())),
        }
    }
}

impl Pending {
    fn waiting(&self) -> MutexGuard<'_, Option<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, id: u64, caller: Caller) -> Result<Entry<'_>, PeerError> {
        let mut waiting = self.waiting();
        waiting
            .as_mut()
            .ok_or(PeerError::Closed)?
            .enter(id, caller, Instant::now());
        Ok(Entry { pending: self, id })
    }

    /// False when the frame is no answer. An answer that nobody waits for any more is dropped.
    fn deliver(&self, mut frame: Bytes) -> bool {
        if frame.len() < ANSWER_HEAD_BYTES {
            return false;
        }
        let id = frame.get_u64();
        let outcome = match frame.get_u8() {
            STATUS_BODY => Ok(frame),
            STATUS_ERROR => Err(remote_error(&frame)),
            _ => return false,
        };
        let sender = self
            .waiting()
            .as_mut()
            .and_then(|waiting| waiting.answered(id, Instant::now()));
        if let Some(sender) = sender {
            // The caller may give up at this very moment.
            let _ = sender.send(outcome);
        }
        true
    }

    fn fail_all(&self) {
        let ended = self.waiting().take().unwrap_or_default();
        for sender in ended.callers.into_values() {
            // The caller may give up at this very moment.
            let _ = sender.send(Err(PeerError::Closed));
        }
    }
}

/// One call in flight; leaves the table when the call ends or is given up.
struct Entry<'a> {
    pending: &'a Pending,
    id: u64,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = self.pending.waiting().as_mut() {
            waiting.leave(self.id, Instant::now());
        }
    }
}

/// A peer's error text.
pub(super) fn remote_error(text: &[u8]) -> PeerError {
    /// A message is for people and logs; nobody reads further.
    const MAX_TEXT_BYTES: usize = 1_024;
    let text = &text[..text.len().min(MAX_TEXT_BYTES)];
    PeerError::Remote {
        message: String::from_utf8_lossy(text).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_comes_back_as_it_was_written() {
        let head = Request::head(7, Duration::from_millis(250), 3);
        let mut frame = head_bytes(head);
        frame.extend_from_slice(b"body");
        let request = Request::read(Bytes::from(frame)).unwrap();
        assert_eq!((request.id, request.kind), (7, 3));
        assert_eq!(request.deadline, Duration::from_millis(250));
        assert_eq!(request.body, Bytes::from_static(b"body"));
    }

    #[test]
    fn a_short_frame_is_no_request_and_no_answer() {
        assert!(Request::read(Bytes::from_static(&[0; REQUEST_HEAD_BYTES - 1])).is_none());
        assert!(!Pending::default().deliver(Bytes::from_static(&[0; ANSWER_HEAD_BYTES - 1])));
    }

    #[test]
    fn a_long_deadline_is_cut() {
        let frame = head_bytes(Request::head(1, Duration::from_secs(100_000_000), 0));
        assert_eq!(
            Request::read(Bytes::from(frame)).unwrap().deadline,
            MAX_CALL_DEADLINE
        );
    }

    #[test]
    fn when_the_connection_ends_every_call_learns_it() {
        let pending = Pending::default();
        let (sender, mut answer) = oneshot::channel();
        let _entry = pending.enter(1, sender).unwrap();
        pending.fail_all();
        assert_eq!(answer.try_recv().unwrap(), Err(PeerError::Closed));
        let (late, _answer) = oneshot::channel();
        assert!(pending.enter(2, late).is_err());
    }

    #[test]
    fn a_late_answer_is_forgiven_and_silence_is_not() {
        let mut waiting = Waiting::default();
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let caller = || oneshot::channel().0;
        // A caller that gives up is not the connection's fault alone, and an idle hour is not either.
        waiting.enter(1, caller(), at(0));
        waiting.leave(1, at(40));
        assert_eq!(waiting.unanswered(at(3_600_000)), Duration::from_millis(40));
        // One answer, late or not, and everything is forgotten.
        waiting.enter(2, caller(), at(3_600_000));
        waiting.enter(3, caller(), at(3_600_010));
        assert!(waiting.answered(1, at(3_600_020)).is_none());
        assert_eq!(waiting.unanswered(at(3_600_020)), Duration::ZERO);
        assert!(waiting.answered(2, at(3_600_030)).is_some());
        waiting.leave(2, at(3_600_030));
        assert_eq!(waiting.unanswered(at(3_600_050)), Duration::from_millis(20));
        waiting.leave(3, at(3_600_050));
        // Calls that are given up one after the other add up.
        for call in 0..20 {
            waiting.enter(10 + call, caller(), at(4_000_000 + 50 * call));
            waiting.leave(10 + call, at(4_000_050 + 50 * call));
        }
        assert!(waiting.unanswered(at(4_001_000)) >= DEAF_AFTER);
    }

    fn head_bytes(head: Head) -> Vec<u8> {
        head.as_slice().to_vec()
    }
}
