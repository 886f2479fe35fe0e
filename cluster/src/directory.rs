//! Who the peers are and where: the membership as the network asks about it, and the dial table.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use jarvis_domain::NodeId;

use crate::network::{Directory, PeerNetwork, Verdict};
use crate::shared::{Shared, lock};

/// The dial table: addresses heard in authenticated hellos heal a changed address (DESIGN 6).
pub(crate) struct PeerDirectory {
    shared: Arc<Shared>,
    learned: Mutex<BTreeMap<NodeId, String>>,
}

impl PeerDirectory {
    pub(crate) fn new(shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self {
            shared,
            learned: Mutex::default(),
        })
    }

    /// Where to dial a node: what it said last, else what the log says.
    pub(crate) fn address(&self, node: NodeId) -> Option<String> {
        if let Some(address) = lock(&self.learned).get(&node) {
            return Some(address.clone());
        }
        self.shared.with_view(|state| {
            state
                .members
                .get(&node)
                .map(|member| member.peer_address.clone())
        })
    }
}

impl Directory for PeerDirectory {
    fn verdict(&self, node_id: u64, spki_sha256: [u8; 32]) -> Verdict {
        self.shared.with_view(|state| {
            if state.core.removed.contains(&node_id) {
                return Verdict::Removed;
            }
            match state.members.get(&node_id) {
                Some(member) if member.peer_key == spki_sha256 => Verdict::Known,
                Some(_) => Verdict::WrongKey,
                None => Verdict::Unknown,
            }
        })
    }

    fn learned(&self, node_id: u64, peer_address: &str, _api_address: &str) {
        if !peer_address.is_empty() {
            lock(&self.learned).insert(node_id, peer_address.to_owned());
        }
    }
}

/// The network and the addresses for it.
#[derive(Clone)]
pub(crate) struct Links {
    pub(crate) network: PeerNetwork,
    pub(crate) directory: Arc<PeerDirectory>,
}
