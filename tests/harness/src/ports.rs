//! Ports for nodes: an API's, and 1000 above it the one for peers, as `dev` has it.
//!
//! ```text
//! 20 000        21 000        22 000        23 000      …      31 000        32 000
//!   │ 100 places  │ their peers │ 100 places  │ their peers …    │ their peers │
//! ```
//! All lie below the range that the system gives to outgoing connections, so a node that is down for a while finds its
//! own ports again. A place is handed out once in a process: tests that run side by side never meet. Another test
//! program begins at another place; what it has taken in spite of that is seen by a look, and `dev` looks again.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// From an API's port to its node's port for peers.
pub(crate) const PEER_OFFSET: u16 = 1_000;
/// Most nodes of a cluster.
const MOST_NODES: u16 = 5;

const FIRST_PORT: u32 = 20_000;
/// One after the other: APIs, then their peers.
const BANDS: u32 = 6;
const PORTS_PER_BAND: u32 = 2 * PEER_OFFSET as u32;
/// More than a cluster has nodes.
const PORTS_PER_PLACE: u32 = 10;
const PLACES_PER_BAND: u32 = PEER_OFFSET as u32 / PORTS_PER_PLACE;
const PLACES: u32 = BANDS * PLACES_PER_BAND;
/// From the first place of one process to that of the next: no divisor of the number of places.
const STRIDE: u32 = 97;

/// The first of so many free ports in a row, with as many free ones for peers above them.
///
/// # Panics
/// When there are none.
#[track_caller]
pub(crate) fn reserve(nodes: u16) -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    assert!(nodes <= MOST_NODES, "a cluster of {nodes} nodes");
    let own = (std::process::id() % PLACES) * STRIDE;
    for _ in 0..PLACES {
        let first = first_port(own.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)));
        if (first..first + nodes).all(|port| is_free(port) && is_free(port + PEER_OFFSET)) {
            return first;
        }
    }
    panic!("no {nodes} free ports in a row from {FIRST_PORT} on");
}

fn first_port(turn: u32) -> u16 {
    let place = turn % PLACES;
    let band = FIRST_PORT + place / PLACES_PER_BAND * PORTS_PER_BAND;
    let port = band + place % PLACES_PER_BAND * PORTS_PER_PLACE;
    u16::try_from(port).expect("the last band ends at 32,000")
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_places_share_a_port_and_all_lie_below_outgoing_connections() {
        let mut seen = BTreeSet::new();
        for place in 0..PLACES {
            let first = first_port(place);
            for port in first..first + MOST_NODES {
                assert!(seen.insert(port), "{port}");
                assert!(seen.insert(port + PEER_OFFSET), "{port}'s peer");
            }
        }
        assert!(seen.last().is_some_and(|last| *last < 32_000));
        assert_eq!(first_port(PLACES), first_port(0));
    }
}
