//! One bucket: so many per second, as many at once.

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

type Limiter<C> = RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// A rate and its burst.
pub(super) struct Bucket<C: Clock> {
    limiter: Limiter<C>,
}

impl<C: Clock + Clone> Bucket<C> {
    /// A full bucket.
    pub(super) fn new(quota: Quota, clock: &C) -> Self {
        Self {
            limiter: RateLimiter::direct_with_clock(quota, clock.clone()),
        }
    }

    /// Takes one out; `false` if it is empty.
    pub(super) fn take(&self) -> bool {
        self.limiter.check().is_ok()
    }
}
