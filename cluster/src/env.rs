//! The seams between a node and the machine it runs on (DESIGN 8).
//!
//! Everything a node takes from outside passes through [`Env`]: dial and bind, the wall clock and
//! the monotonic clock, randomness, the disk. There is one production environment
//! ([`Env::production`]) and one simulated one, which lives with the simulator. Nothing else in the
//! product knows that simulation exists.
//!
//! Invariants:
//! - the wall clock is read nowhere else (`clippy.toml` bans `SystemTime::now` and `Instant::now`);
//! - timers are tokio's, so that a paused or simulated runtime drives them;
//! - futures are boxed here, so that an `Env` is one concrete type for the whole product.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

mod overrides;
mod production;

pub use overrides::DialOverrides;
pub(crate) use production::SystemRandom;

/// What a node may use of the machine. Cloning is cheap: every part is shared.
#[derive(Clone)]
pub struct Env {
    /// Connections out and in.
    pub net: Arc<dyn Net>,
    /// Wall time and elapsed time.
    pub clock: Arc<dyn Clock>,
    /// Random bytes, also for Raft's election timeouts. Seeded in simulation, so nothing secret may come from it there.
    pub random: Arc<dyn Random>,
    /// Files and folders.
    pub disk: jarvis_disk::DiskHandle,
    /// Whether this is a simulation. Only then may peers talk without TLS, and only then is blocking work done in place.
    pub simulated: bool,
}

impl Env {
    /// The real machine: TCP, the system's clocks and random source, the real file system.
    ///
    /// Elapsed time ([`Clock::monotonic`]) counts from this call.
    #[must_use]
    pub fn production() -> Env {
        Env {
            net: Arc::new(production::TcpNet),
            clock: Arc::new(production::SystemClock::start()),
            random: Arc::new(production::SystemRandom),
            disk: jarvis_disk::RealDisk::handle(),
            simulated: false,
        }
    }

    /// The same environment with some addresses dialed elsewhere (proxies in chaos tests).
    #[must_use]
    pub fn with_dial_overrides(mut self, map: BTreeMap<String, String>) -> Env {
        self.net = Arc::new(DialOverrides {
            inner: self.net,
            map,
        });
        self
    }

    /// Does work that blocks or takes long where it does not stall the runtime that sends heartbeats. In simulation it
    /// is done in place: it costs no virtual time there, and threads would make a run irreproducible.
    ///
    /// # Errors
    /// When the work panicked, or the runtime is ending.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        if self.simulated {
            return Ok(work());
        }
        tokio::task::spawn_blocking(work)
            .await
            .map_err(io::Error::other)
    }
}

/// A future on the heap that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A connection: bytes in both directions.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// A connection of any kind.
pub type BoxStream = Box<dyn ByteStream>;

/// Connections out and in.
pub trait Net: Send + Sync {
    /// Connects to `address` (`host:port`). Has no deadline of its own: the caller sets one.
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxStream>>;

    /// Listens on `address` (`host:port`; port 0 takes any free one).
    fn bind<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>>;
}

/// A listening socket.
pub trait Listener: Send {
    /// Waits for the next connection. Dropping the future loses none.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxStream, SocketAddr)>>;

    /// The address that is listened on, with the real port.
    ///
    /// # Errors
    /// What the operating system answers.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// Wall time and elapsed time.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch as this machine believes; may jump.
    fn wall_ms(&self) -> u64;

    /// Time since some fixed moment; never runs backwards, does not jump.
    fn monotonic(&self) -> Duration;
}

/// Random bytes.
pub trait Random: Send + Sync {
    /// Fills the whole buffer.
    fn fill(&self, buffer: &mut [u8]);
}
