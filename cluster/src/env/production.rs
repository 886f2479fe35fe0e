//! The real machine. The one place of the product that reads the system's clocks.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::{TcpListener, TcpStream};

use crate::env::{BoxFuture, BoxStream, Clock, Listener, Net, Random};

/// TCP without Nagle's delay: the writers coalesce by themselves and flush when a frame must go.
pub(super) struct TcpNet;

impl Net for TcpNet {
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxStream>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let stream: BoxStream = Box::new(stream);
            Ok(stream)
        })
    }

    fn bind<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let listener: Box<dyn Listener> = Box::new(TcpBound(TcpListener::bind(address).await?));
            Ok(listener)
        })
    }
}

struct TcpBound(TcpListener);

impl Listener for TcpBound {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, SocketAddr)>> {
        Box::pin(async move {
            let (stream, remote) = self.0.accept().await?;
            // Fails only if the other side is gone already; the first read will tell.
            let _ = stream.set_nodelay(true);
            let stream: BoxStream = Box::new(stream);
            Ok((stream, remote))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// The system's wall clock, and tokio's instant for elapsed time.
pub(super) struct SystemClock {
    started: tokio::time::Instant,
}

impl SystemClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the one clock of the product"
    )]
    pub(super) fn start() -> Self {
        Self {
            started: tokio::time::Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the one clock of the product"
    )]
    fn wall_ms(&self) -> u64 {
        // A clock set before 1970 reads as 1970: agreed time ignores a lone clock anyway (rule 5).
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| {
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            })
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// The operating system's random source.
pub(crate) struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer)
            .expect("the kernel's random source answers once the machine has started");
    }
}
