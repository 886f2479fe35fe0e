//! Frames on a connection: a length of four bytes (big-endian), then that many bytes.
//!
//! Two lengths are signals without a body: [`PING`] (the sender lives) and [`END`] (the sender has
//! said everything). A connection that ends without `END` was cut, so a stream cut short is never
//! taken for a whole one.
//!
//! One writer per connection drains its queue, gathers small frames in a buffer and flushes once per
//! drained batch. The queue is bounded in frames and in bytes; whoever sends waits for room.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Sleep, sleep, timeout};

use crate::env::BoxStream;
use crate::network::{Lane, PeerError};

/// The sender has said everything.
const END: u32 = u32::MAX;

/// The sender lives and has nothing to say.
const PING: u32 = u32::MAX - 1;

/// Bytes of a frame's length.
const LENGTH_BYTES: usize = 4;

/// An idle writer pings this often: three times within [`SILENCE`], so that one late ping is no end.
const PING_AFTER: Duration = Duration::from_secs(10);

/// A connection that brought nothing for this long is dead, whatever TCP believes.
const SILENCE: Duration = Duration::from_secs(30);

/// One write of at most a frame must make it within this time: 20 MiB at 2 MiB/s.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// A reader takes at least this much room per read: a page of small frames per system call.
const READ_BYTES: usize = 16 * 1024;

/// Larger bodies are written from where they lie; smaller ones are cheaper to copy than to write
/// apart: the head would then cost a TLS record, a system call and a wake-up of the peer by itself.
/// A batch of a few hundred commands is below.
const COPY_BYTES: usize = 64 * 1024;

/// The writer's buffer is written out at this size.
const BUFFER_BYTES: usize = 64 * 1024;

/// Frames drained per flush.
const BATCH_FRAMES: usize = 256;

/// Frames that may wait in a queue: as many as calls may run at once on one connection.
const QUEUE_FRAMES: usize = 1_024;

/// Bytes that may wait in a queue: more than the largest frame, so that it can always enter.
const QUEUE_BYTES: usize = 32 * 1024 * 1024;

const _: () = assert!(Lane::Append.frame_limit() <= QUEUE_BYTES);
const _: () = assert!(Lane::Forward.frame_limit() <= QUEUE_BYTES);

/// The longest head: a request's id, deadline and kind.
const HEAD_BYTES: usize = 13;

/// The first bytes of a frame, which the network itself writes: empty on streams.
#[derive(Clone, Copy, Default)]
pub(super) struct Head {
    bytes: [u8; HEAD_BYTES],
    length: usize,
}

impl Head {
    /// Appends a field. The fields of one head never exceed [`HEAD_BYTES`].
    pub(super) fn with(mut self, field: &[u8]) -> Self {
        let end = self.length + field.len();
        self.bytes[self.length..end].copy_from_slice(field);
        self.length = end;
        self
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Both halves of a connection during the handshake, when one side speaks at a time.
pub(super) struct Pipe {
    reader: FrameReader,
    writer: WriteHalf<BoxStream>,
}

impl Pipe {
    pub(super) fn new(stream: BoxStream, limit: usize) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self {
            reader: FrameReader::new(reader, limit),
            writer,
        }
    }

    /// Another limit for the frames from here on.
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.reader.limit = limit;
    }

    /// The next frame. The caller sets the deadline.
    pub(super) async fn receive(&mut self) -> Result<Bytes, PeerError> {
        self.reader.next().await?.ok_or(PeerError::Closed)
    }

    /// Writes one frame at once. The caller sets the deadline and keeps `body` below the limit.
    pub(super) async fn send(&mut self, body: &[u8]) -> Result<(), PeerError> {
        let length = frame_length(body.len(), self.reader.limit)?;
        let mut frame = Vec::with_capacity(LENGTH_BYTES + body.len());
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(body);
        self.writer
            .write_all(&frame)
            .await
            .map_err(|_| PeerError::Closed)?;
        self.writer.flush().await.map_err(|_| PeerError::Closed)
    }

    /// Ends our direction in order, so that the last frame is not lost to a reset.
    pub(super) async fn close(mut self) {
        // The other side may be gone already; then there is nothing left to end.
        let _ = timeout(WRITE_DEADLINE, self.writer.shutdown()).await;
    }

    /// From the handshake to traffic: a reader, and a queue with its writer.
    pub(super) fn queued(mut self, lane: Lane) -> (FrameReader, FrameSender, FrameWriter) {
        self.reader.limit = lane.frame_limit();
        let (items, queue) = mpsc::channel(QUEUE_FRAMES);
        let budget = Arc::new(Semaphore::new(QUEUE_BYTES));
        let sender = FrameSender {
            items,
            budget: Arc::clone(&budget),
            limit: lane.frame_limit(),
        };
        let writer = FrameWriter {
            io: self.writer,
            queue,
            budget,
            buffer: Vec::new(),
        };
        (self.reader, sender, writer)
    }
}

/// Takes frames off a connection.
pub(super) struct FrameReader {
    io: ReadHalf<BoxStream>,
    buffer: BytesMut,
    limit: usize,
    /// Runs out [`SILENCE`] after the last byte, however often `next` is called meanwhile.
    silence: Pin<Box<Sleep>>,
}

/// What stood at the front of a buffer.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    Frame(Bytes),
    Ping,
    End,
    /// Not whole yet: this many bytes are missing at least.
    Missing(usize),
}

impl FrameReader {
    fn new(io: ReadHalf<BoxStream>, limit: usize) -> Self {
        Self {
            io,
            buffer: BytesMut::new(),
            limit,
            silence: Box::pin(sleep(SILENCE)),
        }
    }

    /// The next frame; `None` once the other side has said everything. Dropping the future loses
    /// nothing.
    ///
    /// # Errors
    /// `TooLarge` for a frame over the limit; `Closed` when the connection ended or fell silent.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, PeerError> {
        loop {
            match take(&mut self.buffer, self.limit)? {
                Taken::Frame(frame) => return Ok(Some(frame)),
                Taken::End => return Ok(None),
                Taken::Ping => {}
                Taken::Missing(bytes) => self.fill(bytes).await?,
            }
        }
    }

    async fn fill(&mut self, missing: usize) -> Result<(), PeerError> {
        self.buffer.reserve(missing.max(READ_BYTES));
        let read = tokio::select! {
            biased;
            read = self.io.read_buf(&mut self.buffer) => read,
            () = self.silence.as_mut() => {
                tracing::debug!("the peer is silent: connection given up");
                return Err(PeerError::Closed);
            }
        };
        match read {
            Ok(0) => Err(PeerError::Closed),
            Ok(_) => {
                self.silence.set(sleep(SILENCE));
                Ok(())
            }
            Err(error) => {
                tracing::debug!(%error, "reading from the peer failed");
                Err(PeerError::Closed)
            }
        }
    }
}

/// Takes one frame or signal off the buffer. The limit is checked on the length alone, before any
/// memory is taken for the body.
fn take(buffer: &mut BytesMut, limit: usize) -> Result<Taken, PeerError> {
    let Some(prefix) = buffer.first_chunk::<LENGTH_BYTES>() else {
        return Ok(Taken::Missing(LENGTH_BYTES - buffer.len()));
    };
    let length = u32::from_be_bytes(*prefix);
    if length == PING || length == END {
        buffer.advance(LENGTH_BYTES);
        return Ok(if length == PING {
            Taken::Ping
        } else {
            Taken::End
        });
    }
    let bytes = usize::try_from(length).unwrap_or(usize::MAX);
    if bytes > limit {
        return Err(PeerError::TooLarge { bytes, limit });
    }
    let whole = LENGTH_BYTES + bytes;
    if buffer.len() < whole {
        return Ok(Taken::Missing(whole - buffer.len()));
    }
    buffer.advance(LENGTH_BYTES);
    Ok(Taken::Frame(buffer.split_to(bytes).freeze()))
}

/// The length field of a frame within its limit.
fn frame_length(bytes: usize, limit: usize) -> Result<u32, PeerError> {
    match u32::try_from(bytes) {
        Ok(length) if bytes <= limit => Ok(length),
        _ => Err(PeerError::TooLarge { bytes, limit }),
    }
}

/// Puts frames into a connection's queue. Clones share the queue and its bounds.
#[derive(Clone)]
pub(super) struct FrameSender {
    items: mpsc::Sender<Item>,
    budget: Arc<Semaphore>,
    limit: usize,
}

enum Item {
    Frame {
        length: u32,
        head: Head,
        body: Bytes,
        /// The room this frame takes in the queue.
        _room: OwnedSemaphorePermit,
    },
    /// Everything is said; answered once it is written out.
    End(oneshot::Sender<()>),
}

impl FrameSender {
    /// Queues one frame; waits while the queue is full, which lasts no longer than its writer lives.
    ///
    /// # Errors
    /// `TooLarge`, or `Closed` when the writer has ended.
    pub(super) async fn send(&self, head: Head, body: Bytes) -> Result<(), PeerError> {
        let length = frame_length(head.length + body.len(), self.limit)?;
        let _room = Arc::clone(&self.budget)
            .acquire_many_owned(length)
            .await
            .map_err(|_| PeerError::Closed)?;
        let frame = Item::Frame {
            length,
            head,
            body,
            _room,
        };
        self.items.send(frame).await.map_err(|_| PeerError::Closed)
    }

    /// Says that everything is said, and waits until all of it is written out.
    ///
    /// # Errors
    /// `Closed` when the writer has ended before.
    pub(super) async fn finish(&self) -> Result<(), PeerError> {
        let (written, done) = oneshot::channel();
        self.items
            .send(Item::End(written))
            .await
            .map_err(|_| PeerError::Closed)?;
        done.await.map_err(|_| PeerError::Closed)
    }
}

/// Writes a connection's queue out. Run by exactly one task; when it ends, its queue closes.
pub(super) struct FrameWriter {
    io: WriteHalf<BoxStream>,
    queue: mpsc::Receiver<Item>,
    budget: Arc<Semaphore>,
    buffer: Vec<u8>,
}

impl FrameWriter {
    /// Until everything is said, every sender is gone, or a write fails.
    pub(super) async fn run(mut self) {
        match self.write_queue().await {
            // The other direction may still be in use: it ends with the connection.
            Ok(Ending::Said) => {}
            Ok(Ending::Abandoned) => {
                // The peer may be gone already; then there is nothing left to end.
                let _ = timeout(WRITE_DEADLINE, self.io.shutdown()).await;
            }
            Err(error) => tracing::debug!(%error, "writing to the peer failed"),
        }
    }

    async fn write_queue(&mut self) -> Result<Ending, PeerError> {
        let mut batch = Vec::with_capacity(BATCH_FRAMES);
        loop {
            match timeout(PING_AFTER, self.queue.recv_many(&mut batch, BATCH_FRAMES)).await {
                Ok(0) => return Ok(Ending::Abandoned),
                Ok(_) => {}
                Err(_) => self.buffer.extend_from_slice(&PING.to_be_bytes()),
            }
            for item in batch.drain(..) {
                match item {
                    Item::Frame {
                        length,
                        head,
                        body,
                        _room,
                    } => {
                        self.put(length, head, &body).await?;
                    }
                    Item::End(written) => {
                        self.buffer.extend_from_slice(&END.to_be_bytes());
                        self.flush().await?;
                        // Nobody waits if the stream was dropped meanwhile.
                        let _ = written.send(());
                        return Ok(Ending::Said);
                    }
                }
            }
            self.flush().await?;
        }
    }

    async fn put(&mut self, length: u32, head: Head, body: &[u8]) -> Result<(), PeerError> {
        self.buffer.extend_from_slice(&length.to_be_bytes());
        self.buffer.extend_from_slice(head.as_slice());
        if body.len() > COPY_BYTES {
            self.write_buffer().await?;
            return within_deadline(self.io.write_all(body)).await;
        }
        self.buffer.extend_from_slice(body);
        if self.buffer.len() >= BUFFER_BYTES {
            self.write_buffer().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), PeerError> {
        self.write_buffer().await?;
        within_deadline(self.io.flush()).await
    }

    async fn write_buffer(&mut self) -> Result<(), PeerError> {
        if !self.buffer.is_empty() {
            within_deadline(self.io.write_all(&self.buffer)).await?;
            self.buffer.clear();
        }
        Ok(())
    }
}

/// Whoever waits for room must learn that nothing will be written any more.
impl Drop for FrameWriter {
    fn drop(&mut self) {
        self.budget.close();
    }
}

enum Ending {
    /// `END` was written.
    Said,
    /// All senders were dropped without it.
    Abandoned,
}

async fn within_deadline(
    write: impl Future<Output = std::io::Result<()>>,
) -> Result<(), PeerError> {
    match timeout(WRITE_DEADLINE, write).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(PeerError::Closed),
        Err(_) => Err(PeerError::Timeout),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(limit: usize) -> (Pipe, Pipe) {
        let (left, right) = tokio::io::duplex(64 * 1024);
        (
            Pipe::new(Box::new(left), limit),
            Pipe::new(Box::new(right), limit),
        )
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_before_its_memory_is_taken() {
        let mut buffer = BytesMut::new();
        buffer.extend_from_slice(&(Lane::Append.frame_limit() as u32 + 1).to_be_bytes());
        let capacity = buffer.capacity();
        let limit = Lane::Append.frame_limit();
        assert_eq!(
            take(&mut buffer, limit),
            Err(PeerError::TooLarge {
                bytes: limit + 1,
                limit
            })
        );
        assert_eq!(buffer.capacity(), capacity);
    }

    #[test]
    fn a_frame_comes_out_only_when_it_is_whole() {
        let mut buffer = BytesMut::new();
        assert_eq!(take(&mut buffer, 8), Ok(Taken::Missing(4)));
        buffer.extend_from_slice(&[0, 0, 0, 3, 1, 2]);
        assert_eq!(take(&mut buffer, 8), Ok(Taken::Missing(1)));
        buffer.extend_from_slice(&[3]);
        assert_eq!(
            take(&mut buffer, 8),
            Ok(Taken::Frame(Bytes::from_static(&[1, 2, 3])))
        );
        buffer.extend_from_slice(&PING.to_be_bytes());
        assert_eq!(take(&mut buffer, 8), Ok(Taken::Ping));
        buffer.extend_from_slice(&END.to_be_bytes());
        assert_eq!(take(&mut buffer, 8), Ok(Taken::End));
    }

    #[test]
    fn the_signals_keep_their_bytes() {
        assert_eq!(PING.to_be_bytes(), [0xff, 0xff, 0xff, 0xfe]);
        assert_eq!(END.to_be_bytes(), [0xff, 0xff, 0xff, 0xff]);
    }

    #[tokio::test]
    async fn small_and_large_frames_arrive_in_order() {
        let (near, far) = pair(1024);
        let (_, sender, writer) = near.queued(Lane::Append);
        let (mut reader, _far_sender, _far_writer) = far.queued(Lane::Append);
        let writing = tokio::spawn(writer.run());
        let bodies: Vec<Bytes> = [0, 1, COPY_BYTES, COPY_BYTES + 1, 300_000, 7]
            .into_iter()
            .map(|length| Bytes::from(vec![length as u8; length]))
            .collect();
        let sent = bodies.clone();
        let sending = tokio::spawn(async move {
            for body in sent {
                sender.send(Head::default(), body).await.unwrap();
            }
            sender.finish().await.unwrap();
        });
        for body in &bodies {
            assert_eq!(reader.next().await.unwrap().as_ref(), Some(body));
        }
        assert_eq!(reader.next().await, Ok(None));
        sending.await.unwrap();
        writing.await.unwrap();
    }

    #[tokio::test]
    async fn a_cut_connection_is_not_an_end() {
        let (near, far) = pair(1024);
        let (mut reader, _sender, _writer) = near.queued(Lane::Control);
        drop(far);
        assert_eq!(reader.next().await, Err(PeerError::Closed));
    }

    #[tokio::test]
    async fn the_sender_refuses_what_the_lane_does_not_carry() {
        let (near, _far) = pair(1024);
        let (_reader, sender, _writer) = near.queued(Lane::Control);
        let limit = Lane::Control.frame_limit();
        let body = Bytes::from(vec![0; limit + 1]);
        assert_eq!(
            sender.send(Head::default(), body).await,
            Err(PeerError::TooLarge {
                bytes: limit + 1,
                limit
            })
        );
    }
}
