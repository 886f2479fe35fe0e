//! `[cluster]`: this node's name and its peer listener (F6).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::environment::Environment;
use super::error::ConfigError;
use super::reader::Table;
use super::server::parse_socket_addr;

const DEFAULT_PEER_ADDR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9081);
/// The node's name if neither the file nor `HOSTNAME` gives one.
const DEFAULT_NODE_NAME: &str = "node";
/// Longest node name: one label of a host name (RFC 1035).
const MAX_NODE_NAME_BYTES: usize = 63;
/// Longest `host:port`: a host name (RFC 1035) and the longest port.
const MAX_ADDRESS_BYTES: usize = 253 + 6;

/// `[cluster]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// A name for people; the identity is the node id (rule 11). `HOSTNAME` by default.
    pub node_name: String,
    /// Where peers reach this node; always mutually authenticated TLS (X5).
    pub peer_addr: SocketAddr,
    /// `host:port` told to peers, where it differs from `peer_addr`.
    pub advertise_peer_addr: Option<String>,
    /// `host:port` of the API told to clients and shown in status, where it differs from
    /// `bind_addr`.
    pub advertise_api_addr: Option<String>,
    /// Dial the address on the right instead of the peer address on the left (proxies between
    /// peers).
    pub dial_overrides: BTreeMap<String, String>,
    /// Whether the table was there, or the environment named the node or the address that its peers
    /// dial: a node of which nothing of the kind is said may begin a cluster of its own (F7). A
    /// listener (`peer_addr`) alone says nothing about others.
    pub configured: bool,
}

impl ClusterConfig {
    pub(super) fn read(
        table: &mut Table<'_>,
        environment: &Environment,
    ) -> Result<Self, ConfigError> {
        let node_name = table.parsed(
            "node_name",
            "1 to 63 letters, digits, '-', '_' or '.'",
            "node_name = \"n1\"",
            parse_node_name,
        )?;
        let peer_addr = table.parsed(
            "peer_addr",
            "an address and a port",
            "peer_addr = \"127.0.0.1:9081\"",
            parse_socket_addr,
        )?;
        let config = Self {
            node_name: node_name.unwrap_or_else(|| name_from(environment)),
            peer_addr: peer_addr.unwrap_or(DEFAULT_PEER_ADDR),
            advertise_peer_addr: advertised(table, "advertise_peer_addr", 9081)?,
            advertise_api_addr: advertised(table, "advertise_api_addr", 8081)?,
            dial_overrides: table.text_map(
                "dial_overrides",
                "a table from one host:port to another",
                "dial_overrides = { \"n2:9081\" = \"127.0.0.1:19082\" }",
                parse_host_port,
            )?,
            configured: table.is_overridden("node_name")
                || table.is_overridden("advertise_peer_addr"),
        };
        if config.peer_addr.ip().is_unspecified() && config.advertise_peer_addr.is_none() {
            return Err(ConfigError::Conflict {
                problem: format!(
                    "[cluster] peer_addr = \"{}\" listens on every address, and peers can not dial that",
                    config.peer_addr
                ),
                mend:
                    "say where peers reach this node, for example advertise_peer_addr = \"n1:9081\""
                        .to_owned(),
            });
        }
        Ok(config)
    }

    /// What peers are told to dial: the advertised address, or where the listener really is.
    #[must_use]
    pub fn advertised_peer(&self, bound: SocketAddr) -> String {
        self.advertise_peer_addr
            .clone()
            .unwrap_or_else(|| bound.to_string())
    }

    /// What clients are told: the advertised address, where the listener really is, or, if that is
    /// every address, the node's name with the port.
    #[must_use]
    pub fn advertised_api(&self, bound: SocketAddr) -> String {
        match &self.advertise_api_addr {
            Some(address) => address.clone(),
            None if bound.ip().is_unspecified() => format!("{}:{}", self.node_name, bound.port()),
            None => bound.to_string(),
        }
    }
}

fn advertised(
    table: &mut Table<'_>,
    key: &'static str,
    port: u16,
) -> Result<Option<String>, ConfigError> {
    let example = format!("{key} = \"n1.example.net:{port}\"");
    table.parsed(
        key,
        "a host name or address, and a port from 1",
        &example,
        parse_host_port,
    )
}

fn name_from(environment: &Environment) -> String {
    environment
        .get("HOSTNAME")
        .and_then(parse_node_name)
        .unwrap_or_else(|| DEFAULT_NODE_NAME.to_owned())
}

fn parse_node_name(text: &str) -> Option<String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let fits = (1..=MAX_NODE_NAME_BYTES).contains(&text.len());
    (fits && text.bytes().all(legal)).then(|| text.to_owned())
}

/// `host:port` or `[ipv6]:port`; the host is resolved at each dial, never here.
fn parse_host_port(text: &str) -> Option<String> {
    if text.len() > MAX_ADDRESS_BYTES {
        return None;
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        let dialable = address.port() > 0 && !address.ip().is_unspecified();
        return dialable.then(|| text.to_owned());
    }
    let (host, port) = text.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let dialable = port > 0 && !host.is_empty() && host.bytes().all(legal);
    dialable.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advertised_address_can_be_dialled() {
        for good in [
            "n1:9081",
            "10.0.0.1:9081",
            "[2001:db8::1]:9081",
            "a.b-c.example:1",
        ] {
            assert_eq!(parse_host_port(good).as_deref(), Some(good));
        }
        for bad in [
            "",
            "n1",
            "n1:",
            ":9081",
            "n1:0",
            "0.0.0.0:9081",
            "[::]:9081",
            "http://n1:1",
            "n 1:1",
        ] {
            assert_eq!(parse_host_port(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_listener_on_every_address_is_advertised_by_name() {
        let config = ClusterConfig {
            node_name: "n1".to_owned(),
            peer_addr: DEFAULT_PEER_ADDR,
            advertise_peer_addr: None,
            advertise_api_addr: None,
            dial_overrides: BTreeMap::new(),
            configured: false,
        };
        assert_eq!(
            config.advertised_api("0.0.0.0:8081".parse().unwrap()),
            "n1:8081"
        );
        assert_eq!(
            config.advertised_api("127.0.0.1:4711".parse().unwrap()),
            "127.0.0.1:4711"
        );
    }
}
