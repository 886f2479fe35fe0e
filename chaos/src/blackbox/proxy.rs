//! One userspace proxy for each directed pair of peers: what a network does to bytes on their way.
//!
//! ```text
//! node i ──dials──▶ proxy(i, j) ──dials──▶ node j
//!            bytes i→j obey way(i, j), bytes j→i obey way(j, i), whoever dialled
//! ```
//! A cut holds bytes back and hands them on when it ends, as TCP does that retransmits: nobody is told, nothing is lost
//! inside of a connection that survives. The end of a connection is held back, too: a dead peer behind a cut looks alive.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::dice::Dice;

/// Bytes handed on at once.
const PARCEL_BYTES: usize = 16 * 1024;
/// Parcels on their way in one direction of one connection; beyond it the sender has to wait, as at a full window.
const MAX_PARCELS: usize = 64;
/// After a failed accept (too many open files): the next one may work.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(50);

/// What happens to bytes in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Nothing passes.
    pub(crate) is_cut: bool,
    /// Every parcel takes at least this long.
    pub(crate) delay_ms: u64,
    /// And up to this much longer; order is kept.
    pub(crate) jitter_ms: u64,
    /// At most so many bytes pass in a second; 0: as many as there are.
    pub(crate) bytes_per_s: u64,
}

/// One direction between two peers.
#[derive(Debug)]
pub(crate) struct Way {
    rule: watch::Sender<Rule>,
    /// Counts up: all connections are reset.
    resets: watch::Sender<u64>,
    /// Counts up: this direction of all connections is closed.
    closes: watch::Sender<u64>,
    bytes: AtomicU64,
    held: AtomicU64,
    closed: AtomicU64,
    seed: u64,
}

impl Way {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rule: watch::Sender::default(),
            resets: watch::Sender::default(),
            closes: watch::Sender::default(),
            bytes: AtomicU64::new(0),
            held: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            seed,
        }
    }

    /// Changes the rule; bytes that are under way obey it, too.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Rule)) {
        self.rule.send_modify(change);
    }

    /// Resets all connections between the two.
    pub(crate) fn reset(&self) {
        self.resets.send_modify(|count| *count += 1);
    }

    /// Closes this direction of all connections between the two.
    pub(crate) fn half_close(&self) {
        self.closes.send_modify(|count| *count += 1);
    }

    /// Bytes that passed.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Parcels, connections and ends that a cut held back.
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Connections that were reset or half-closed.
    pub(crate) fn closed(&self) -> u64 {
        self.closed.load(Ordering::Relaxed)
    }

    async fn until_open(&self) {
        let mut rule = self.rule.subscribe();
        if rule.borrow_and_update().is_cut {
            self.held.fetch_add(1, Ordering::Relaxed);
            // This way holds the sender.
            let _open = rule.wait_for(|rule| !rule.is_cut).await;
        }
    }
}

/// Where a node that dials another one arrives.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Listens, and carries to `target`: `there` is the direction of whoever dials, `back` the other one.
    pub(crate) async fn open(
        target: SocketAddr,
        there: Arc<Way>,
        back: Arc<Way>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(accept(listener, target, there, back));
        Ok(Self { address, task })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, there: Arc<Way>, back: Arc<Way>) {
    let mut number = 0;
    loop {
        match listener.accept().await {
            Ok((dialled, _)) => {
                number += 1;
                let carry = carry(
                    dialled,
                    target,
                    Arc::clone(&there),
                    Arc::clone(&back),
                    number,
                );
                tokio::spawn(carry);
            }
            Err(_) => tokio::time::sleep(PAUSE_AFTER_FAILURE).await,
        }
    }
}

/// The life of one connection.
async fn carry(
    mut dialled: TcpStream,
    target: SocketAddr,
    there: Arc<Way>,
    back: Arc<Way>,
    number: u64,
) {
    let mut resets = (there.resets.subscribe(), back.resets.subscribe());
    // A connection takes both directions.
    there.until_open().await;
    back.until_open().await;
    let Ok(mut reached) = TcpStream::connect(target).await else {
        let _gone_already = dialled.set_zero_linger();
        return;
    };
    let _unusual = dialled.set_nodelay(true);
    let _unusual = reached.set_nodelay(true);
    let is_reset = {
        let (from_dialler, to_dialler) = dialled.split();
        let (from_target, to_target) = reached.split();
        let dice = |way: &Way| Dice::stream(way.seed, &number.to_string());
        let both = async {
            tokio::try_join!(
                pump(from_dialler, to_target, &there, &back, dice(&there)),
                pump(from_target, to_dialler, &back, &there, dice(&back)),
            )
        };
        tokio::select! {
            _ = both => false,
            _ = resets.0.changed() => true,
            _ = resets.1.changed() => true,
        }
    };
    if is_reset {
        there.closed.fetch_add(1, Ordering::Relaxed);
        let _gone_already = dialled.set_zero_linger();
        let _gone_already = reached.set_zero_linger();
    }
}

/// Bytes on their way, and when they arrive at the earliest.
struct Parcel {
    bytes: Vec<u8>,
    due: Instant,
}

/// One direction of one connection; ends well when its source does.
///
/// # Errors
/// The receiver is gone, and nothing keeps the sender from hearing of it.
async fn pump(
    source: ReadHalf<'_>,
    sink: WriteHalf<'_>,
    way: &Way,
    back: &Way,
    dice: Dice,
) -> io::Result<()> {
    let (queue, parcels) = mpsc::channel(MAX_PARCELS);
    let given = async {
        let given = give(sink, way, parcels).await;
        if given.is_err() {
            back.until_open().await;
        }
        given
    };
    let taken = async {
        take(source, way, dice, queue).await;
        Ok::<(), io::Error>(())
    };
    tokio::try_join!(taken, given).map(|_| ())
}

async fn take(mut source: ReadHalf<'_>, way: &Way, mut dice: Dice, queue: mpsc::Sender<Parcel>) {
    loop {
        let mut bytes = vec![0; PARCEL_BYTES];
        // A reset is an end: it, too, has to wait behind a cut.
        let count = source.read(&mut bytes).await.unwrap_or(0);
        if count == 0 {
            return;
        }
        bytes.truncate(count);
        let rule = *way.rule.borrow();
        let delay_ms = rule.delay_ms + dice.between(0, rule.jitter_ms);
        let due = Instant::now() + Duration::from_millis(delay_ms);
        if queue.send(Parcel { bytes, due }).await.is_err() {
            return;
        }
    }
}

async fn give(
    mut sink: WriteHalf<'_>,
    way: &Way,
    mut parcels: mpsc::Receiver<Parcel>,
) -> io::Result<()> {
    let mut closes = way.closes.subscribe();
    let mut is_closed = false;
    loop {
        let parcel = tokio::select! {
            biased;
            _ = closes.changed(), if !is_closed => {
                is_closed = true;
                way.closed.fetch_add(1, Ordering::Relaxed);
                sink.shutdown().await?;
                continue;
            }
            parcel = parcels.recv() => parcel,
        };
        let Some(parcel) = parcel else {
            way.until_open().await;
            return if is_closed {
                Ok(())
            } else {
                sink.shutdown().await
            };
        };
        tokio::time::sleep_until(parcel.due).await;
        way.until_open().await;
        if is_closed {
            continue;
        }
        sink.write_all(&parcel.bytes).await?;
        let count = parcel.bytes.len() as u64;
        way.bytes.fetch_add(count, Ordering::Relaxed);
        let bytes_per_s = way.rule.borrow().bytes_per_s;
        if let Some(micros) = (count * 1_000_000).checked_div(bytes_per_s) {
            tokio::time::sleep(Duration::from_micros(micros)).await;
        }
    }
}

#[cfg(test)]
mod tests;
