//! When a connection sends its next request.
//!
//! Closed loop: at once. Open loop: request number `n` of the whole run belongs to the instant
//! `begin + n / rate`, whatever happened before; connection `i` of `c` sends the numbers `i`,
//! `i + c`, `i + 2c`, and so on. A late request starts at once, and its latency counts from where
//! it belonged, so that a stall of the server is seen by every request it delayed (no coordinated
//! omission).

use std::time::{Duration, Instant};

use super::clock;

const NANOSECONDS_PER_SECOND: u128 = 1_000_000_000;

/// The times of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) begin: Instant,
    /// Requests that start earlier are warm-up.
    pub(super) measured_from: Instant,
    /// No request belongs to this instant or a later one.
    pub(super) end: Instant,
    /// How long after the end late requests of an open loop are still sent.
    pub(super) grace: Duration,
}

/// The schedule of one connection.
pub(super) enum Pace {
    Closed,
    Open {
        rate: u32,
        connections: u32,
        index: u32,
        sent: u64,
    },
}

impl Pace {
    pub(super) fn new(rate: Option<u32>, connections: u32, index: u32) -> Self {
        match rate {
            None => Self::Closed,
            Some(rate) => Self::Open {
                rate,
                connections,
                index,
                sent: 0,
            },
        }
    }

    /// Waits for the next start: the instant that the latency counts from, or `None` when the run
    /// is over.
    pub(super) async fn next_start(&mut self, window: &Window) -> Option<Instant> {
        match self {
            Self::Closed => Some(clock::now()).filter(|start| *start < window.end),
            Self::Open {
                rate,
                connections,
                index,
                sent,
            } => {
                let intended = window.begin + offset(*rate, *connections, *index, *sent);
                let now = clock::now();
                if intended >= window.end || now > window.end + window.grace {
                    return None;
                }
                if intended > now {
                    clock::sleep_until(intended).await;
                }
                *sent += 1;
                Some(intended)
            }
        }
    }

    /// How many requests belonged into the window and were never sent.
    pub(super) fn unsent(&self, window: &Window) -> u64 {
        match self {
            Self::Closed => 0,
            Self::Open {
                rate,
                connections,
                index,
                sent,
            } => {
                let whole = (window.end - window.begin).as_nanos() * u128::from(*rate);
                let numbers = whole.div_ceil(NANOSECONDS_PER_SECOND);
                let own = numbers
                    .saturating_sub(u128::from(*index))
                    .div_ceil(u128::from(*connections));
                u64::try_from(own).unwrap_or(u64::MAX).saturating_sub(*sent)
            }
        }
    }
}

/// Where request `sent` of a connection belongs, counted from the begin of the run.
fn offset(rate: u32, connections: u32, index: u32, sent: u64) -> Duration {
    let number = u128::from(sent) * u128::from(connections) + u128::from(index);
    let nanoseconds = number * NANOSECONDS_PER_SECOND / u128::from(rate);
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window_of(duration: Duration) -> Window {
        let begin = clock::now();
        Window {
            begin,
            measured_from: begin,
            end: begin + duration,
            grace: Duration::ZERO,
        }
    }

    #[test]
    fn connections_take_turns_without_drift() {
        assert_eq!(offset(1_000, 4, 0, 0), Duration::ZERO);
        assert_eq!(offset(1_000, 4, 1, 0), Duration::from_millis(1));
        assert_eq!(offset(1_000, 4, 1, 1), Duration::from_millis(5));
        assert_eq!(offset(3, 1, 0, 3_000_000), Duration::from_secs(1_000_000));
    }

    #[test]
    fn what_was_not_sent_is_counted_exactly_once() {
        let window = window_of(Duration::from_secs(1));
        let unsent: u64 = (0..3)
            .map(|index| Pace::new(Some(100), 3, index).unsent(&window))
            .sum();
        assert_eq!(unsent, 100);
        let pace = Pace::Open {
            rate: 100,
            connections: 1,
            index: 0,
            sent: 40,
        };
        assert_eq!(pace.unsent(&window), 60);
        assert_eq!(Pace::new(None, 3, 0).unsent(&window), 0);
    }

    #[tokio::test]
    async fn a_late_request_counts_from_where_it_belonged() {
        let begin = clock::now();
        let window = Window {
            begin,
            measured_from: begin,
            end: begin + Duration::from_secs(60),
            grace: Duration::ZERO,
        };
        let mut pace = Pace::new(Some(1_000_000), 1, 0);
        assert_eq!(pace.next_start(&window).await, Some(begin));
        assert_eq!(
            pace.next_start(&window).await,
            Some(begin + Duration::from_micros(1))
        );
    }

    #[tokio::test]
    async fn nothing_starts_after_the_end() {
        let window = window_of(Duration::ZERO);
        assert_eq!(Pace::new(None, 1, 0).next_start(&window).await, None);
        assert_eq!(Pace::new(Some(10), 1, 0).next_start(&window).await, None);
    }
}
