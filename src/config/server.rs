//! `[server]`: where the API listens (F1, A13).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::reader::{RawValue, Table};

/// Where the API listens unless said otherwise: this machine only.
const DEFAULT_BIND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);
/// The socket's name in the data directory for `allow_unix_socket = true`, the old daemon's way to
/// switch it on.
const DEFAULT_SOCKET_NAME: &str = "api.sock";
/// Longest path the kernel takes for a unix socket, bytes (`sun_path` without its final zero).
const MAX_SOCKET_PATH_BYTES: usize = 107;
/// Most runtime threads: far beyond what the WAL's one writer can keep busy.
const MAX_WORKER_THREADS: u64 = 64;

/// `[server]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// TCP address of the API. Port 0 lets the system choose (tests).
    pub bind_addr: SocketAddr,
    /// Unix socket of the API beside the TCP address (A13).
    pub unix_socket: Option<PathBuf>,
    /// Proxies whose `X-Forwarded-For` is believed for the caller's address, which `deny_network_remote` asks for (F1).
    pub trusted_proxies: Vec<Network>,
    /// Plain HTTP off loopback, on purpose (F6): somebody else does the encryption.
    pub danger_plain_http: bool,
    /// Runtime threads, 1..=64; 1 is fastest on two cores (DESIGN 7).
    pub worker_threads: usize,
}

impl ServerConfig {
    pub(super) fn read(table: &mut Table<'_>, data_dir: &Path) -> Result<Self, ConfigError> {
        let bind_addr = table.parsed(
            "bind_addr",
            "an address and a port",
            "bind_addr = \"127.0.0.1:8081\"",
            parse_socket_addr,
        )?;
        Ok(Self {
            bind_addr: bind_addr.unwrap_or(DEFAULT_BIND),
            unix_socket: read_unix_socket(table, data_dir)?,
            trusted_proxies: table.list(
                "trusted_proxies",
                "a list of addresses or networks",
                "trusted_proxies = [\"10.0.0.0/8\"]",
                Network::parse,
            )?,
            danger_plain_http: table.boolean("danger_plain_http", false)?,
            worker_threads: read_worker_threads(table)?,
        })
    }

    /// Whether only this machine can reach the TCP listener.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(self.bind_addr)
    }
}

pub(super) fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// An address with a port; `localhost` is the one host name that needs no resolver.
pub(super) fn parse_socket_addr(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    match text.strip_prefix("localhost:") {
        Some(port) => Some(SocketAddr::new(
            Ipv4Addr::LOCALHOST.into(),
            port.parse().ok()?,
        )),
        None => text.parse().ok(),
    }
}

fn read_worker_threads(table: &mut Table<'_>) -> Result<usize, ConfigError> {
    let threads = table.integer("worker_threads", 1, 1..=MAX_WORKER_THREADS)?;
    Ok(usize::try_from(threads).unwrap_or(1))
}

fn read_unix_socket(
    table: &mut Table<'_>,
    data_dir: &Path,
) -> Result<Option<PathBuf>, ConfigError> {
    const KEY: &str = "allow_unix_socket";
    let Some(found) = table.take(KEY) else {
        return Ok(None);
    };
    let path = match &found.value {
        RawValue::Boolean(false) => return Ok(None),
        RawValue::Boolean(true) => data_dir.join(DEFAULT_SOCKET_NAME),
        RawValue::Text(text) if text == "false" => return Ok(None),
        RawValue::Text(text) if text == "true" => data_dir.join(DEFAULT_SOCKET_NAME),
        RawValue::Text(text) if !text.trim().is_empty() => PathBuf::from(text),
        _ => PathBuf::new(),
    };
    if (1..=MAX_SOCKET_PATH_BYTES).contains(&path.as_os_str().len()) {
        return Ok(Some(path));
    }
    let legal =
        format!("the path of a unix socket of at most {MAX_SOCKET_PATH_BYTES} bytes, or false");
    let example = "allow_unix_socket = \"/run/jarvis-secretsd/api.sock\"";
    Err(table.bad(KEY, &found, &legal, example))
}

/// One address, or a network in CIDR notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u8,
}

impl Network {
    /// Parses `10.0.0.1` or `10.0.0.0/8`, IPv6 likewise. `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.trim().split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().ok()?;
        let longest: u8 = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match prefix {
            Some(prefix) => prefix.parse::<u8>().ok().filter(|bits| *bits <= longest)?,
            None => longest,
        };
        Some(Self {
            address,
            prefix_bits,
        })
    }

    /// Whether the address lies in the network. An IPv4 address written as IPv6 counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differing = network.to_bits() ^ address.to_bits();
                differing.leading_zeros() >= u32::from(self.prefix_bits)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differing = network.to_bits() ^ address.to_bits();
                differing.leading_zeros() >= u32::from(self.prefix_bits)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn networks_contain_their_addresses_only() {
        let network = Network::parse("10.1.0.0/16").unwrap();
        assert!(network.contains(ip("10.1.255.1")));
        assert!(network.contains(ip("::ffff:10.1.0.9")));
        assert!(!network.contains(ip("10.2.0.1")));
        assert!(!network.contains(ip("::1")));
        assert!(
            Network::parse("0.0.0.0/0")
                .unwrap()
                .contains(ip("203.0.113.9"))
        );
        assert!(
            !Network::parse("192.0.2.1")
                .unwrap()
                .contains(ip("192.0.2.2"))
        );
        assert!(
            Network::parse("2001:db8::/32")
                .unwrap()
                .contains(ip("2001:db8:1::1"))
        );
        for bad in [
            "",
            "10.0.0.0/33",
            "host",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "::1/129",
        ] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn loopback_is_recognized_in_every_spelling() {
        for text in [
            "127.0.0.1:1",
            "127.9.9.9:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
            "localhost:1",
        ] {
            assert!(is_loopback(parse_socket_addr(text).unwrap()), "{text}");
        }
        for text in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1"] {
            assert!(!is_loopback(parse_socket_addr(text).unwrap()), "{text}");
        }
    }
}
