//! The simulated network: turmoil's TCP behind the node's own seam (DESIGN 8).
//!
//! turmoil's TCP does not send again what a partition swallowed, so a connection that lived through one would stay
//! deaf until its silence ends it, half a minute later. Real TCP repairs or resets it within seconds; [`Wires::reset`]
//! does the latter when a partition heals.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};

use jarvis_cluster::env::{BoxFuture, BoxStream, Listener, Net};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

use crate::lock;

/// Every open end of a connection of the simulation.
#[derive(Default)]
pub(crate) struct Wires {
    ends: Mutex<Vec<End>>,
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

    fn open(&self, stream: TcpStream, local: &'static str, remote: String) -> BoxStream {
        let cut = Arc::new(Cut::default());
        lock(&self.ends).push(End {
            local,
            remote,
            cut: Arc::downgrade(&cut),
        });
        Box::new(Wire { stream, cut })
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
            Ok(self.wires.open(stream, self.host, remote.to_owned()))
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
            Ok((self.wires.open(stream, self.host, remote), origin))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One end of a connection that can be reset from outside.
struct Wire {
    stream: TcpStream,
    cut: Arc<Cut>,
}

/// Whether a connection was reset, and who must hear of it.
#[derive(Default)]
struct Cut {
    state: Mutex<CutState>,
}

#[derive(Default)]
struct CutState {
    made: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Cut {
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

    fn check_reader(&self, context: &Context<'_>) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.reader = Some(context.waker().clone());
        state.check()
    }

    fn check_writer(&self, context: &Context<'_>) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.writer = Some(context.waker().clone());
        state.check()
    }
}

impl CutState {
    fn check(&self) -> io::Result<()> {
        if self.made {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        if let Err(reset) = wire.cut.check_reader(context) {
            return Poll::Ready(Err(reset));
        }
        Pin::new(&mut wire.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        if let Err(reset) = wire.cut.check_writer(context) {
            return Poll::Ready(Err(reset));
        }
        Pin::new(&mut wire.stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        if let Err(reset) = wire.cut.check_writer(context) {
            return Poll::Ready(Err(reset));
        }
        Pin::new(&mut wire.stream).poll_shutdown(context)
    }
}
