//! A connection for one purpose: frames in both directions, in order, with an explicit end.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use crate::network::frame::{FrameReader, FrameSender, Head, Pipe};
use crate::network::{Lane, PeerError};

/// Room in the queue must come within this time: a full queue (32 MiB) that has not moved for so long
/// belongs to a peer that does not read.
const SEND_DEADLINE: Duration = Duration::from_secs(30);

/// A stream of frames. Received frames may share a larger buffer: copy what is kept.
///
/// A task of its own writes what was sent, gathers small frames, and pings while there is nothing to
/// send. Dropping the stream without [`FramedStream::finish`] still writes what was queued, but the
/// other side then sees a cut instead of an end.
pub struct FramedStream {
    sender: FramedSender,
    receiver: FramedReceiver,
}

impl FramedStream {
    /// Starts the writer. Called on a runtime.
    pub(super) fn start(pipe: Pipe, lane: Lane) -> Self {
        let (reader, queue, writer) = pipe.queued(lane);
        tokio::spawn(writer.run());
        Self {
            sender: FramedSender { queue },
            receiver: FramedReceiver { reader },
        }
    }

    /// Queues one frame.
    ///
    /// # Errors
    /// As [`FramedSender::send`].
    pub async fn send(&self, frame: Bytes) -> Result<(), PeerError> {
        self.sender.send(frame).await
    }

    /// The next frame of the other side.
    ///
    /// # Errors
    /// As [`FramedReceiver::recv`].
    pub async fn recv(&mut self) -> Result<Option<Bytes>, PeerError> {
        self.receiver.recv().await
    }

    /// Says that nothing more will be sent. Receiving goes on.
    ///
    /// # Errors
    /// As [`FramedSender::finish`].
    pub async fn finish(&self) -> Result<(), PeerError> {
        self.sender.finish().await
    }

    /// Both directions apart, for two tasks.
    #[must_use]
    pub fn split(self) -> (FramedSender, FramedReceiver) {
        (self.sender, self.receiver)
    }
}

/// The sending half of a stream.
pub struct FramedSender {
    queue: FrameSender,
}

impl FramedSender {
    /// Queues one frame; returns once there is room for it, not once it has arrived.
    ///
    /// # Errors
    /// `TooLarge` over the lane's limit; `Timeout` when the queue did not move for 30 s; `Closed` when
    /// the connection ended or the end was already said.
    pub async fn send(&self, frame: Bytes) -> Result<(), PeerError> {
        let sending = self.queue.send(Head::default(), frame);
        timeout(SEND_DEADLINE, sending)
            .await
            .unwrap_or(Err(PeerError::Timeout))
    }

    /// Says that nothing more will be sent, and waits until all of it is with the operating system.
    /// Only an answer of the other side proves that it arrived.
    ///
    /// # Errors
    /// `Timeout` after 30 s, `Closed` when the connection ended before.
    pub async fn finish(&self) -> Result<(), PeerError> {
        timeout(SEND_DEADLINE, self.queue.finish())
            .await
            .unwrap_or(Err(PeerError::Timeout))
    }
}

/// The receiving half of a stream.
pub struct FramedReceiver {
    reader: FrameReader,
}

impl FramedReceiver {
    /// The next frame, or `None` once the other side has said everything. Dropping the future loses
    /// nothing, so it may stand in a `select!` or under a shorter deadline.
    ///
    /// # Errors
    /// `Closed` when the connection was cut, or brought not even a ping for 30 s; `TooLarge` for a
    /// frame over the lane's limit.
    pub async fn recv(&mut self) -> Result<Option<Bytes>, PeerError> {
        self.reader.next().await
    }
}
