//! The simulated network: turmoil's TCP behind the node's own seam (DESIGN 8).
//!
//! turmoil's TCP does not send again what a partition swallowed, so a connection that lived through one would stay
//! deaf until its silence ends it, half a minute later. Real TCP repairs or resets it within seconds; [`Wires::reset`]
//! does the latter when a partition heals.
//!
//! When a machine loses power, [`Wires::unplug`] takes its connections away before its tasks end. Left to the tasks they
//! would end in the order in which tokio drops those, which follows from a counter of the whole process: no two runs of
//! a seed would be the same.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};

use jarvis_cluster::env::{BoxFuture, BoxStream, Listener, Net};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

use crate::lock;
use crate::trace::Trace;

/// Every open end of a connection of the simulation.
#[derive(Default)]
pub(crate) struct Wires {
    ends: Mutex<Vec<End>>,
    /// Everything that was sent.
    pub(crate) trace: Trace,
}

struct End {
    local: &'static str,
    remote: String,
    cut: Weak<Cut>,
}

impl Wires {
    /// Resets every connection between two hosts.
    pub(crate) fn reset(&self, one: &str, other: &str) {
        let mut ends = lock(&self.ends);
        ends.retain(|end| end.cut.strong_count() > 0);
        for end in ends.iter() {
            let between = (end.local == one && end.remote == other)
                || (end.local == other && end.remote == one);
            if between && let Some(cut) = end.cut.upgrade() {
                cut.make();
            }
        }
    }

    /// Ends every connection of a host that loses power. Its own ends are just gone: nothing of what it still does reaches
    /// the network. The other ends are reset.
    pub(crate) fn unplug(&self, host: &str) {
        let mut ends = lock(&self.ends);
        ends.retain(|end| end.cut.strong_count() > 0);
        for end in ends.iter() {
            let Some(cut) = end.cut.upgrade() else {
                continue;
            };
            if end.local == host {
                cut.take();
            } else if end.remote == host {
                cut.make();
            }
        }
    }

    fn open(
        self: &Arc<Self>,
        stream: TcpStream,
        local: &'static str,
        remote: String,
    ) -> io::Result<BoxStream> {
        let way = format!("{}>{}", stream.local_addr()?, stream.peer_addr()?);
        let cut = Arc::new(Cut::new(stream));
        lock(&self.ends).push(End {
            local,
            remote,
            cut: Arc::downgrade(&cut),
        });
        Ok(Box::new(Wire {
            cut,
            way,
            wires: Arc::clone(self),
        }))
    }
}

/// The network as one host sees it.
pub(crate) struct SimNet {
    /// This host's name.
    pub(crate) host: &'static str,
    /// Where connections are registered.
    pub(crate) wires: Arc<Wires>,
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
    wires: Arc<Wires>,
}

/// A stream, whether it was reset, and who must hear of it.
struct Cut {
    state: Mutex<CutState>,
}

struct CutState {
    made: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// `None` once the host has no power any more.
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
        if let Poll::Ready(Ok(length)) = &written {
            self.wires.trace.sent(&self.way, &bytes[..*length]);
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
