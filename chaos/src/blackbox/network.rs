//! The network between the peers: all its ways, and the shapes in which it breaks.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::proxy::{Proxy, Rule, Way};
use crate::dice::Dice;

/// All directed pairs of peers.
#[derive(Debug)]
pub(crate) struct Network {
    /// `ways[from][to]`; those from a node to itself are used by nobody.
    ways: Vec<Vec<Arc<Way>>>,
    proxies: Vec<Vec<Option<Proxy>>>,
}

/// Directed pairs: what the first one says does not reach the second one.
pub(crate) type Pairs = Vec<(usize, usize)>;

impl Network {
    /// Opens a proxy for each directed pair of these peers.
    ///
    /// # Errors
    /// When a port can not be had.
    pub(crate) async fn open(peers: &[SocketAddr], seed: u64) -> io::Result<Self> {
        let count = peers.len();
        let mut dice = Dice::stream(seed, "network");
        let mut ways: Vec<Vec<Arc<Way>>> = Vec::with_capacity(count);
        for _ in 0..count {
            let row = (0..count).map(|_| Arc::new(Way::new(dice.draw())));
            ways.push(row.collect());
        }
        let mut proxies = Vec::with_capacity(count);
        for (from, ways_there) in ways.iter().enumerate() {
            let mut row = Vec::with_capacity(count);
            for (to, there) in ways_there.iter().enumerate() {
                if from == to {
                    row.push(None);
                    continue;
                }
                let (there, back) = (Arc::clone(there), Arc::clone(&ways[to][from]));
                row.push(Some(Proxy::open(peers[to], there, back).await?));
            }
            proxies.push(row);
        }
        Ok(Self { ways, proxies })
    }

    /// Where `from` has to dial to reach `to`.
    pub(crate) fn address(&self, from: usize, to: usize) -> Option<SocketAddr> {
        let proxy = self.proxies[from][to].as_ref();
        proxy.map(|proxy| proxy.address)
    }

    /// What happens to what `from` says to `to`.
    pub(crate) fn way(&self, from: usize, to: usize) -> &Way {
        &self.ways[from][to]
    }

    /// Cuts these ways, or opens them again.
    pub(crate) fn cut(&self, pairs: &[(usize, usize)], is_cut: bool) {
        for (from, to) in pairs {
            self.way(*from, *to).change(|rule| rule.is_cut = is_cut);
        }
    }

    /// Everything passes at once again.
    pub(crate) fn heal(&self) {
        for way in self.ways.iter().flatten() {
            way.change(|rule| *rule = Rule::default());
        }
    }

    /// Bytes that passed between peers.
    pub(crate) fn bytes(&self) -> u64 {
        self.ways.iter().flatten().map(|way| way.bytes()).sum()
    }

    /// What cuts held back so far.
    pub(crate) fn held(&self) -> u64 {
        self.ways.iter().flatten().map(|way| way.held()).sum()
    }

    /// Connections that were reset or half-closed so far.
    pub(crate) fn closed(&self) -> u64 {
        self.ways.iter().flatten().map(|way| way.closed()).sum()
    }
}

/// One node and the others hear nothing of each other.
pub(crate) fn isolated(nodes: usize, node: usize) -> Pairs {
    between(&[node], &others(nodes, &[node]))
}

/// These and the others hear nothing of each other.
pub(crate) fn split(nodes: usize, minority: &[usize]) -> Pairs {
    between(minority, &others(nodes, minority))
}

/// Nothing reaches the node.
pub(crate) fn deaf(nodes: usize, node: usize) -> Pairs {
    let others = others(nodes, &[node]);
    others.into_iter().map(|other| (other, node)).collect()
}

/// Nothing of the node is heard.
pub(crate) fn mute(nodes: usize, node: usize) -> Pairs {
    let others = others(nodes, &[node]);
    others.into_iter().map(|other| (node, other)).collect()
}

/// Two halves that both hear only the one in the middle; `order` says who that is (its middle), and who is where.
pub(crate) fn bridge(order: &[usize]) -> Pairs {
    let middle = order.len() / 2;
    between(&order[..middle], &order[middle + 1..])
}

/// In this order, each hears only its neighbours.
pub(crate) fn ring(order: &[usize]) -> Pairs {
    let count = order.len();
    let mut pairs = Pairs::new();
    for (place, node) in order.iter().enumerate() {
        for (other_place, other) in order.iter().enumerate() {
            let distance = place.abs_diff(other_place);
            if distance > 1 && distance < count - 1 {
                pairs.push((*node, *other));
            }
        }
    }
    pairs
}

fn others(nodes: usize, these: &[usize]) -> Vec<usize> {
    (0..nodes).filter(|node| !these.contains(node)).collect()
}

fn between(these: &[usize], those: &[usize]) -> Pairs {
    let mut pairs = Pairs::new();
    for one in these {
        for other in those {
            pairs.push((*one, *other));
            pairs.push((*other, *one));
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_what_they_are_called() {
        assert_eq!(isolated(3, 1), [(1, 0), (0, 1), (1, 2), (2, 1)]);
        assert_eq!(deaf(3, 0), [(1, 0), (2, 0)]);
        assert_eq!(mute(3, 0), [(0, 1), (0, 2)]);
        assert_eq!(bridge(&[2, 0, 1]), [(2, 1), (1, 2)]);
        assert_eq!(split(5, &[0, 3]).len(), 2 * 2 * 3);
        assert_eq!(bridge(&[0, 1, 2, 3, 4]).len(), 2 * 2 * 2);
        let ring = ring(&[0, 1, 2, 3, 4]);
        assert_eq!(ring.len(), 5 * 2);
        for node in 0..5 {
            let heard = (0..5).filter(|other| !ring.contains(&(*other, node)));
            assert_eq!(heard.count(), 3, "each sees a majority, itself included");
        }
    }

    #[tokio::test]
    async fn every_directed_pair_has_a_way_of_its_own() {
        let peers = [9, 10, 11].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let network = Network::open(&peers, 1).await.unwrap();
        let mut addresses = Vec::new();
        for from in 0..3 {
            for to in 0..3 {
                assert_eq!(network.address(from, to).is_some(), from != to);
                addresses.extend(network.address(from, to));
            }
        }
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), 6);
        assert_eq!(
            (network.bytes(), network.held(), network.closed()),
            (0, 0, 0)
        );
        network.cut(&[(0, 1)], true);
        network.heal();
    }
}
