//! The kept connections for calls: one per peer and lane, dialed when first needed.
//!
//! A dial runs in a task of its own with its own deadline; callers wait for it as long as their own
//! deadlines allow. Otherwise a caller with 50 ms could never reach a peer that is 60 ms away. For the
//! same reason a call that times out leaves its connection to the next one: it is dialed anew only once
//! it ended, or has answered nobody for a while.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::network::calls::{CallConnection, MAX_CALL_DEADLINE};
use crate::network::handshake::{self, Purpose};
use crate::network::{Lane, PeerError, Shared};

type Key = (u64, Lane);
type Dialed = Result<Arc<CallConnection>, PeerError>;

/// The connections of one node. As many as members times lanes.
#[derive(Default)]
pub(crate) struct Pool {
    slots: Mutex<BTreeMap<Key, Slot>>,
}

enum Slot {
    /// A task dials; it publishes the outcome and replaces this slot.
    Dialing(watch::Receiver<Option<Dialed>>),
    /// May have ended meanwhile. One that is replaced here ends with its last call.
    Open(Arc<CallConnection>),
}

/// One request over the kept connection.
pub(super) async fn call(
    shared: &Arc<Shared>,
    peer: u64,
    address: &str,
    lane: Lane,
    kind: u8,
    body: Bytes,
    deadline: Duration,
) -> Result<Bytes, PeerError> {
    let deadline = deadline.min(MAX_CALL_DEADLINE);
    let asked = async {
        let connection = connection(shared, peer, address, lane).await?;
        connection.call(kind, body, deadline).await
    };
    timeout(deadline, asked)
        .await
        .unwrap_or(Err(PeerError::Timeout))
}

/// The kept connection, or a new one.
async fn connection(shared: &Arc<Shared>, peer: u64, address: &str, lane: Lane) -> Dialed {
    let mut dialing = {
        let mut slots = shared.pool.slots();
        match slots.get(&(peer, lane)) {
            Some(Slot::Open(connection)) if connection.is_usable() => {
                return Ok(Arc::clone(connection));
            }
            // An error here means that the dialing task is gone without an outcome.
            Some(Slot::Dialing(dialing)) if dialing.has_changed().is_ok() => dialing.clone(),
            _ => {
                if *shared.closing.borrow() {
                    return Err(PeerError::Closed);
                }
                let (publish, dialing) = watch::channel(None);
                slots.insert((peer, lane), Slot::Dialing(dialing.clone()));
                tokio::spawn(dial(
                    Arc::clone(shared),
                    peer,
                    address.to_owned(),
                    lane,
                    publish,
                ));
                dialing
            }
        }
    };
    let outcome = dialing
        .wait_for(Option::is_some)
        .await
        .map(|outcome| outcome.clone());
    match outcome {
        Ok(Some(dialed)) => dialed,
        Ok(None) | Err(_) => Err(PeerError::Closed),
    }
}

async fn dial(
    shared: Arc<Shared>,
    peer: u64,
    address: String,
    lane: Lane,
    publish: watch::Sender<Option<Dialed>>,
) {
    let pipe = handshake::dial(&shared, peer, &address, lane, Purpose::Calls).await;
    let mut dialed = pipe.map(|pipe| Arc::new(CallConnection::start(pipe, lane)));
    {
        let mut slots = shared.pool.slots();
        // Under the lock of the slots, so that a shutdown either sees this connection or is seen here.
        if *shared.closing.borrow() {
            dialed = Err(PeerError::Closed);
        }
        let ours = matches!(slots.get(&(peer, lane)), Some(Slot::Dialing(dialing))
            if publish.subscribe().same_channel(dialing));
        match &dialed {
            Ok(connection) if ours => {
                slots.insert((peer, lane), Slot::Open(Arc::clone(connection)));
            }
            // The peer was disconnected while this was dialing: what it reached is not kept.
            Ok(_) => dialed = Err(PeerError::Closed),
            Err(error) => {
                tracing::debug!(peer, address, ?lane, %error, "dialing a peer failed");
                if ours {
                    slots.remove(&(peer, lane));
                }
            }
        }
    }
    publish.send_replace(Some(dialed));
}

impl Pool {
    /// Ends the connections with one peer, and those being dialed.
    pub(super) fn disconnect(&self, peer: u64) {
        self.slots().retain(|key, slot| {
            if key.0 == peer {
                slot.close();
            }
            key.0 != peer
        });
    }

    /// Ends all connections.
    pub(super) fn close(&self) {
        let mut slots = self.slots();
        for slot in slots.values() {
            slot.close();
        }
        slots.clear();
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<Key, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn close(&self) {
        if let Slot::Open(connection) = self {
            connection.close();
        }
    }
}
