//! Members of the cluster, join tokens, seal slots and the keyring's wrapped form: what the log knows about nodes.

use serde::{Deserialize, Serialize};

use crate::NodeId;
use crate::time::Millis;

/// Most members ever recorded as live: five voters and as many learners.
pub const MAX_MEMBERS: usize = 16;
/// Most seal slots.
pub const MAX_SLOTS: usize = 64;
/// Most key epochs alive at once.
pub const MAX_EPOCHS: usize = 64;
/// Longest wrapped key or certificate in a record, bytes.
pub const MAX_BLOB_BYTES: usize = 64 * 1024;
/// Longest name of a node, bytes: one label of a host name (RFC 1035).
pub const MAX_NODE_NAME_BYTES: usize = 63;
/// Longest address of a node, bytes: `https://`, a host name (RFC 1035), a colon and a port.
pub const MAX_ADDRESS_BYTES: usize = 8 + 253 + 1 + 5;

/// The cluster's fixed facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Drawn at `cluster init`; every certificate and signature names it.
    pub cluster_id: [u8; 16],
    /// Drawn at `cluster init`; part of every value's associated data.
    pub vault_id: [u8; 16],
    /// Raised by a recovery or a restore, so that nodes from before can not come back.
    pub recovery_epoch: u64,
    /// The cluster CA's certificate, DER.
    #[serde(with = "serde_bytes")]
    pub ca_certificate: Vec<u8>,
    /// The CA's private key, wrapped by the root key.
    #[serde(with = "serde_bytes")]
    pub ca_key_wrapped: Vec<u8>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// A name for people.
    pub name: String,
    /// Where peers reach it.
    pub peer_address: String,
    /// Where clients reach it (a URL).
    pub api_address: String,
    /// SHA-256 of the public key of its peer certificate: a known id must show this key.
    pub peer_key: [u8; 32],
    /// Its Ed25519 public key for signing the trail.
    pub audit_key: [u8; 32],
    /// The highest feature level it understands.
    pub level: u32,
    /// When it joined.
    pub joined: Millis,
}

/// Why the description of a node is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    /// The name.
    #[error("a node's name has 1 to {MAX_NODE_NAME_BYTES} letters, digits, '-', '_' or '.'")]
    Name,
    /// The address for peers.
    #[error("a node's peer address is host:port or [ipv6]:port, with a port from 1")]
    PeerAddress,
    /// The address for clients.
    #[error("a node's API address is http:// or https://, a host, and the port if it is another")]
    ApiAddress,
    /// A key that nobody can hold.
    #[error("a node has a key for its peers and one that signs the trail: neither is all zeros")]
    NoKey,
}

impl Member {
    /// Whether this can describe a node: a name for people, addresses that can be dialled, and keys. Nothing is resolved
    /// and no key is tried: apply is pure (rule 1), and who holds the keys is for the handshake and for verification.
    ///
    /// # Errors
    /// [`MemberError`] for the first thing wrong.
    pub fn validate(&self) -> Result<(), MemberError> {
        let fits = (1..=MAX_NODE_NAME_BYTES).contains(&self.name.len());
        if !fits || !self.name.bytes().all(is_host_byte) {
            return Err(MemberError::Name);
        }
        if self.peer_address.len() > MAX_ADDRESS_BYTES || !is_host_and_port(&self.peer_address) {
            return Err(MemberError::PeerAddress);
        }
        let url = self.api_address.as_str();
        let authority = url
            .strip_prefix("http://")
            .or_else(|| url.strip_prefix("https://"))
            .unwrap_or_default();
        if url.len() > MAX_ADDRESS_BYTES || !(is_host(authority) || is_host_and_port(authority)) {
            return Err(MemberError::ApiAddress);
        }
        if self.peer_key == [0; 32] || self.audit_key == [0; 32] {
            return Err(MemberError::NoKey);
        }
        Ok(())
    }
}

fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    // Digits only: a number may be parsed with a sign before it.
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    is_host(host) && digits && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// A host name, an IPv4 address, or an IPv6 address in brackets (with a scope, where it has one).
fn is_host(text: &str) -> bool {
    let bracketed = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match bracketed {
        Some(ipv6) => {
            let legal = |byte: u8| byte.is_ascii_hexdigit() || b":.%".contains(&byte);
            !ipv6.is_empty() && ipv6.bytes().all(legal)
        }
        None => !text.is_empty() && text.bytes().all(is_host_byte),
    }
}

const fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// A join token: who holds it may add a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// Uses left.
    pub uses: u32,
    /// When it stops working.
    pub expires: Millis,
    /// Peer keys that consumed it, with the node id each got: repeating a join is harmless.
    pub consumed: Vec<([u8; 32], NodeId)>,
}

/// One way of unwrapping the root key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealSlot {
    /// `key_file` or `passphrase`.
    pub kind: String,
    /// The node a key-file slot belongs to; it goes when the node is removed.
    pub node: Option<NodeId>,
    /// The wrapped root key, opaque here.
    #[serde(with = "serde_bytes")]
    pub blob: Vec<u8>,
    /// When it was added.
    pub created: Millis,
}

/// One key epoch in its wrapped form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// The epoch key, wrapped by the root key.
    #[serde(with = "serde_bytes")]
    pub wrapped: Vec<u8>,
    /// When it was added.
    pub created: Millis,
    /// How many live versions use it; it can be retired at zero.
    pub versions: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> Member {
        Member {
            name: "n1".to_owned(),
            peer_address: "n1.example.net:9081".to_owned(),
            api_address: "https://n1.example.net:8081".to_owned(),
            peer_key: [1; 32],
            audit_key: [2; 32],
            level: 1,
            joined: 0,
        }
    }

    #[test]
    fn addresses_that_can_be_dialled_pass() {
        for address in ["127.0.0.1:9081", "n1:1", "[::1]:65535", "[fe80::1%2]:9081"] {
            let peer_address = address.to_owned();
            let api_address = format!("http://{address}");
            let member = Member {
                peer_address,
                api_address,
                ..member()
            };
            assert_eq!(member.validate(), Ok(()), "{address}");
        }
        for host in ["n1", "[::1]", "10.0.0.1"] {
            let api_address = format!("https://{host}");
            let member = Member {
                api_address,
                ..member()
            };
            assert_eq!(member.validate(), Ok(()), "{host}");
        }
    }

    #[test]
    fn addresses_that_can_not_be_dialled_are_told_apart() {
        let long = format!("{}:9081", "a".repeat(MAX_ADDRESS_BYTES));
        for address in [
            "",
            "n1",
            ":9081",
            "n1:",
            "n1:0",
            "n1:+80",
            "n1:65536",
            "[::1]",
            "[]:9081",
            "::1:9081",
            "n1 :9081",
            "n1/x:9081",
            "a@n1:9081",
            &long,
        ] {
            let peer_address = address.to_owned();
            let member = Member {
                peer_address,
                ..member()
            };
            assert_eq!(
                member.validate(),
                Err(MemberError::PeerAddress),
                "{address}"
            );
        }
        let long = format!("http://{long}");
        for url in [
            "",
            "n1:8081",
            "http://",
            "ftp://n1",
            "http://n1:0",
            "http://n1/",
            "http://a b",
            "HTTP://n1",
            &long,
        ] {
            let api_address = url.to_owned();
            let member = Member {
                api_address,
                ..member()
            };
            assert_eq!(member.validate(), Err(MemberError::ApiAddress), "{url}");
        }
    }

    #[test]
    fn names_and_keys_are_looked_at() {
        for name in ["", "a b", "a\n", "ä", &"a".repeat(64)] {
            let name = name.to_owned();
            let member = Member { name, ..member() };
            assert_eq!(member.validate(), Err(MemberError::Name), "{}", member.name);
        }
        let longest = Member {
            name: "a".repeat(63),
            ..member()
        };
        assert_eq!(longest.validate(), Ok(()));
        let without_peer_key = Member {
            peer_key: [0; 32],
            ..member()
        };
        let without_audit_key = Member {
            audit_key: [0; 32],
            ..member()
        };
        for member in [without_peer_key, without_audit_key] {
            assert_eq!(member.validate(), Err(MemberError::NoKey));
        }
    }
}
