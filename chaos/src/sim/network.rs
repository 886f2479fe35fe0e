//! The simulated network: turmoil's TCP behind the node's own seam (DESIGN 8).
//!
//! turmoil's TCP does not send again what a partition swallowed, so a connection that lived through one would stay
//! deaf until its silence ends it, half a minute later. Real TCP repairs or resets it within seconds; [`Wires::reset`]
//! does the latter when a partition heals.
//!
//! When a process ends, [`Wires::unplug`] takes its connections away before its tasks end. Left to the tasks they would end
//! in the order in which tokio drops those, which follows from a counter of the whole process: no two runs of a seed would
//! be the same.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};

use jarvis_cluster::env::{BoxFuture, BoxStream, Listener, Net};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

use super::lock;
use super::trace::Trace;

/// Ends of connections that are over are forgotten when there are so many more than at the last time.
const FORGET_AFTER: usize = 512;

/// Every open end of a connection of the simulation.
pub(super) struct Wires {
    ends: Mutex<Ends>,
    trace: Arc<Trace>,
    /// Whether bytes belong to what must repeat.
    are_repeatable: bool,
}

#[derive(Default)]
struct Ends {
    all: Vec<End>,
    forget_at: usize,
}

struct End {
    local: &'static str,
    remote: String,
    cut: Weak<Cut>,
}

/// How a process ends, as its peers notice it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Farewell {
    /// The system closes its connections: the others hear it at once.
    Reset,
    /// Its machine has no power: nobody hears anything.
    Silence,
}

impl Wires {
    /// None yet. `are_repeatable`: the same seed sends the same bytes.
    pub(super) fn new(trace: Arc<Trace>, are_repeatable: bool) -> Self {
        Self {
            ends: Mutex::default(),
            trace,
            are_repeatable,
        }
    }

    /// Resets every connection between two hosts.
    pub(super) fn reset(&self, one: &str, other: &str) {
        for (local, remote, cut) in self.live() {
            let is_between = (local == one && remote == other) || (local == other && remote == one);
            if is_between {
                cut.make();
            }
        }
    }

    /// Ends every connection of a host whose process ends. Its own ends are just gone: nothing of what it still does
    /// reaches the network. Call it outside of a step.
    pub(super) fn unplug(&self, host: &str, farewell: Farewell) {
        for (local, remote, cut) in self.live() {
            if local == host {
                cut.take();
            } else if remote == host && farewell == Farewell::Reset {
                cut.make();
            }
        }
    }

    /// The open ends in the order in which they were opened.
    fn live(&self) -> Vec<(&'static str, String, Arc<Cut>)> {
        let ends = lock(&self.ends);
        let live = ends.all.iter();
        live.filter_map(|end| Some((end.local, end.remote.clone(), end.cut.upgrade()?)))
            .collect()
    }

    fn open(
        &self,
        stream: TcpStream,
        local: &'static str,
        remote: String,
    ) -> io::Result<BoxStream> {
        let way = format!("{}>{}", stream.local_addr()?, stream.peer_addr()?);
        let cut = Arc::new(Cut::new(stream));
        let mut ends = lock(&self.ends);
        if ends.all.len() >= ends.forget_at {
            ends.all.retain(|end| end.cut.strong_count() > 0);
            ends.forget_at = ends.all.len() + FORGET_AFTER;
        }
        ends.all.push(End {
            local,
            remote,
            cut: Arc::downgrade(&cut),
        });
        drop(ends);
        Ok(Box::new(Wire {
            cut,
            way,
            trace: self.are_repeatable.then(|| Arc::clone(&self.trace)),
        }))
    }
}

/// The network as one host sees it.
pub(super) struct SimNet {
    /// This host's name.
    pub(super) host: &'static str,
    /// Where connections are registered.
    pub(super) wires: Arc<Wires>,
}

impl Net for SimNet {
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxStream>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            let remote = address.rsplit_once(':').map_or(address, |(host, _)| host);
            self.wires.open(stream, self.host, remote.to_owned())
        })
    }

    fn bind<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let listener = SimListener {
                listener: TcpListener::bind(address).await?,
                host: self.host,
                wires: Arc::clone(&self.wires),
            };
            let listener: Box<dyn Listener> = Box::new(listener);
            Ok(listener)
        })
    }
}

struct SimListener {
    listener: TcpListener,
    host: &'static str,
    wires: Arc<Wires>,
}

impl Listener for SimListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, SocketAddr)>> {
        Box::pin(async move {
            let (stream, origin) = self.listener.accept().await?;
            let remote = turmoil::reverse_lookup(origin.ip()).unwrap_or_default();
            Ok((self.wires.open(stream, self.host, remote)?, origin))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One end of a connection that can be reset from outside.
struct Wire {
    cut: Arc<Cut>,
    /// Both ends, for the trace.
    way: String,
    trace: Option<Arc<Trace>>,
}

/// A stream, whether it was reset, and who must hear of it.
struct Cut {
    state: Mutex<CutState>,
}

struct CutState {
    made: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// `None` once the process is over.
    stream: Option<TcpStream>,
}

impl Cut {
    fn new(stream: TcpStream) -> Self {
        Self {
            state: Mutex::new(CutState {
                made: false,
                reader: None,
                writer: None,
                stream: Some(stream),
            }),
        }
    }

    fn make(&self) {
        let (reader, writer) = {
            let mut state = lock(&self.state);
            state.made = true;
            (state.reader.take(), state.writer.take())
        };
        for waker in [reader, writer].into_iter().flatten() {
            waker.wake();
        }
    }

    /// Outside of the simulation's steps a stream ends without a word to the other side.
    fn take(&self) {
        let stream = lock(&self.state).stream.take();
        drop(stream);
    }
}

impl CutState {
    fn live(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        match &mut self.stream {
            Some(stream) if !self.made => Ok(Pin::new(stream)),
            _ => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = lock(&self.cut.state);
        state.reader = Some(context.waker().clone());
        match state.live() {
            Ok(stream) => stream.poll_read(context, buffer),
            Err(reset) => Poll::Ready(Err(reset)),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = lock(&self.cut.state);
        state.writer = Some(context.waker().clone());
        let written = match state.live() {
            Ok(stream) => stream.poll_write(context, bytes),
            Err(reset) => Poll::Ready(Err(reset)),
        };
        if let (Poll::Ready(Ok(count)), Some(trace)) = (&written, &self.trace) {
            let now = turmoil::sim_elapsed().unwrap_or_default();
            trace.sent(now, &self.way, bytes.get(..*count).unwrap_or(bytes));
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match lock(&self.cut.state).live() {
            Ok(stream) => stream.poll_flush(context),
            Err(reset) => Poll::Ready(Err(reset)),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = lock(&self.cut.state);
        state.writer = Some(context.waker().clone());
        match state.live() {
            Ok(stream) => stream.poll_shutdown(context),
            Err(reset) => Poll::Ready(Err(reset)),
        }
    }
}
