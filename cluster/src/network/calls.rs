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

use crate::network::frame::{FrameReader, FrameSender, Head, Pipe};
use crate::network::{Lane, PeerError};

/// Calls in flight on one connection; further ones wait, within their deadline. The server handles as
/// many at once.
pub(super) const MAX_CALLS: usize = 1_024;

/// Nobody waits longer for an answer, whatever deadline a request names.
pub(super) const MAX_CALL_DEADLINE: Duration = Duration::from_secs(60);

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

    /// Whether calls can still succeed, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        self.pending.waiting().is_some()
    }

    /// How many answers have come so far: a connection whose count stands still while a call times out
    /// may be dead without knowing it.
    pub(super) fn answers(&self) -> u64 {
        self.pending.answers.load(Ordering::Relaxed)
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

type Waiting = BTreeMap<u64, oneshot::Sender<Result<Bytes, PeerError>>>;

/// The calls in flight.
struct Pending {
    /// `None` once the connection has ended. At most [`MAX_CALLS`] entries.
    waiting: Mutex<Option<Waiting>>,
    answers: AtomicU64,
}

impl Default for Pending {
    fn default() -> Self {
        Self {
            waiting: Mutex::new(Some(BTreeMap::new())),
            answers: AtomicU64::new(0),
        }
    }
}

impl Pending {
    fn waiting(&self) -> MutexGuard<'_, Option<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(
        &self,
        id: u64,
        sender: oneshot::Sender<Result<Bytes, PeerError>>,
    ) -> Result<Entry<'_>, PeerError> {
        let mut waiting = self.waiting();
        waiting
            .as_mut()
            .ok_or(PeerError::Closed)?
            .insert(id, sender);
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
        self.answers.fetch_add(1, Ordering::Relaxed);
        let sender = self
            .waiting()
            .as_mut()
            .and_then(|waiting| waiting.remove(&id));
        if let Some(sender) = sender {
            // The caller may give up at this very moment.
            let _ = sender.send(outcome);
        }
        true
    }

    fn fail_all(&self) {
        let ended = self.waiting().take();
        for sender in ended.into_iter().flat_map(BTreeMap::into_values) {
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
            waiting.remove(&self.id);
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

    fn head_bytes(head: Head) -> Vec<u8> {
        head.as_slice().to_vec()
    }
}
