//! A deadline that is set for each request and hardly ever comes.
//!
//! A timer of its own for each request would be put into the runtime's wheel and taken out again a
//! hundred thousand times a second. Here one timer lies there until its first deadline, and only
//! then is moved to the one that counts by now.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// One deadline at a time.
pub(super) struct Alarm {
    due: Instant,
    /// Never later than `due`.
    timer: Pin<Box<Sleep>>,
}

impl Alarm {
    /// Due at once; belongs to the runtime that it is made in.
    pub(super) fn new() -> Self {
        let due = Instant::now();
        Self {
            due,
            timer: Box::pin(sleep_until(due)),
        }
    }

    /// From now on it rings so much later.
    pub(super) fn set(&mut self, allowed: Duration) {
        self.due = Instant::now() + allowed;
        if self.due < self.timer.deadline() {
            self.timer.as_mut().reset(self.due);
        }
    }

    /// Waits until it rings. May be dropped and called again.
    pub(super) async fn ring(&mut self) {
        loop {
            self.timer.as_mut().await;
            if Instant::now() >= self.due {
                return;
            }
            self.timer.as_mut().reset(self.due);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn the_last_deadline_counts_whether_it_is_later_or_earlier() {
        let mut alarm = Alarm::new();
        alarm.set(SHORT);
        let first_try = timeout(SHORT / 4, alarm.ring()).await;
        assert!(first_try.is_err(), "it rang too early");

        let start = Instant::now();
        alarm.set(4 * SHORT);
        timeout(LONG, alarm.ring()).await.unwrap();
        assert!(start.elapsed() >= 4 * SHORT, "the old deadline counted");

        alarm.set(2 * LONG);
        assert!(timeout(SHORT, alarm.ring()).await.is_err());
        alarm.set(SHORT);
        timeout(LONG, alarm.ring()).await.unwrap();
    }

    #[tokio::test]
    async fn a_deadline_that_passed_unseen_is_no_ring_of_the_next_one() {
        let mut alarm = Alarm::new();
        alarm.set(Duration::ZERO);
        tokio::time::sleep(SHORT).await;
        alarm.set(LONG);
        assert!(timeout(SHORT, alarm.ring()).await.is_err());
    }
}
