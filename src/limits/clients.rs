//! What is known of each client: its requests in flight and its buckets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use governor::Quota;
use governor::clock::Clock;

use super::bucket::Bucket;
use super::reason::Reason;

/// Clients tracked at a time: as many as there are connections by default, about half a kilobyte
/// each. Beyond it the one that has been idle longest is forgotten.
pub(super) const MAX_CLIENTS: usize = 4_096;

/// Every client seen lately.
pub(super) struct Clients<C: Clock> {
    max_in_flight: usize,
    requests: Option<Quota>,
    forbidden: Quota,
    clock: C,
    /// Counts uses: orders clients by how long they have been idle, without a clock.
    uses: u64,
    tracked: BTreeMap<Box<str>, Client<C>>,
}

struct Client<C: Clock> {
    in_flight: Arc<AtomicUsize>,
    /// `None` where there is no such limit, the default.
    requests: Option<Bucket<C>>,
    forbidden: Bucket<C>,
    last_use: u64,
}

/// One request in flight; dropping it makes room for the client's next.
#[derive(Debug)]
#[must_use = "the request counts as in flight only while this is held"]
pub struct ClientPermit {
    in_flight: Arc<AtomicUsize>,
}

impl<C: Clock + Clone> Clients<C> {
    pub(super) fn new(
        max_in_flight: usize,
        requests: Option<Quota>,
        forbidden: Quota,
        clock: C,
    ) -> Self {
        Self {
            max_in_flight,
            requests,
            forbidden,
            clock,
            uses: 0,
            tracked: BTreeMap::new(),
        }
    }

    pub(super) fn enter(&mut self, name: &str) -> Result<ClientPermit, Reason> {
        let max_in_flight = self.max_in_flight;
        let client = self.client(name)?;
        // Raised only here, under the caller's lock; others can only lower it meanwhile.
        if client.in_flight.load(Ordering::Relaxed) >= max_in_flight {
            return Err(Reason::ClientConcurrency);
        }
        if client
            .requests
            .as_ref()
            .is_some_and(|bucket| !bucket.take())
        {
            return Err(Reason::ClientRate);
        }
        client.in_flight.fetch_add(1, Ordering::Relaxed);
        Ok(ClientPermit {
            in_flight: Arc::clone(&client.in_flight),
        })
    }

    pub(super) fn forbidden(&mut self, name: &str) -> Result<(), Reason> {
        if self.client(name)?.forbidden.take() {
            Ok(())
        } else {
            Err(Reason::ForbiddenFlood)
        }
    }

    fn client(&mut self, name: &str) -> Result<&mut Client<C>, Reason> {
        self.uses += 1;
        let uses = self.uses;
        if !self.tracked.contains_key(name) {
            self.make_room()?;
            let client = Client {
                in_flight: Arc::default(),
                requests: self.requests.map(|quota| Bucket::new(quota, &self.clock)),
                forbidden: Bucket::new(self.forbidden, &self.clock),
                last_use: uses,
            };
            self.tracked.insert(name.into(), client);
        }
        let client = self.tracked.get_mut(name).ok_or(Reason::TooManyClients)?;
        client.last_use = uses;
        Ok(client)
    }

    /// Forgets the client that has been idle longest, if all places are taken.
    fn make_room(&mut self) -> Result<(), Reason> {
        if self.tracked.len() < MAX_CLIENTS {
            return Ok(());
        }
        let idlest = self
            .tracked
            .iter()
            .filter(|(_, client)| client.in_flight.load(Ordering::Relaxed) == 0)
            .min_by_key(|(_, client)| client.last_use)
            .map(|(name, _)| name.clone())
            .ok_or(Reason::TooManyClients)?;
        self.tracked.remove(&idlest);
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.tracked.len()
    }
}

impl Drop for ClientPermit {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
