//! A new cluster: made by `jarvis-secretsd dev`, which takes the same path as any real one, then taken over node by node.
//!
//! ```text
//! <work>/cluster/   dev's directory: dev.json, one folder per node       <work>/logs/   what dev and the nodes say
//! ```
//! Between the two every node is told to dial its peers through the proxies.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::Signal;
use serde::Deserialize;
use tokio::time::Instant;

use super::network::Network;
use super::process::{Process, bare};

/// Settings of all nodes, through the environment.
///
/// Elections of 300 to 600 ms are what the documentation names for noisy hosts: three nodes, their clients and their
/// network share a laptop here. Small snapshots purge the log about every hundred entries. Requests give up sooner than by
/// default, so that clients behind a cut come back within the run.
pub(crate) const SETTINGS: [(&str, &str); 8] = [
    ("RUST_LOG", "info,openraft=error"),
    ("JARVIS_SECRETSD_RAFT_HEARTBEAT_MS", "100"),
    ("JARVIS_SECRETSD_RAFT_ELECTION_MIN_MS", "300"),
    ("JARVIS_SECRETSD_RAFT_ELECTION_MAX_MS", "600"),
    ("JARVIS_SECRETSD_RAFT_SNAPSHOT_WAL_BYTES", "32KiB"),
    ("JARVIS_SECRETSD_RAFT_WAL_SEGMENT_BYTES", "64KiB"),
    ("JARVIS_SECRETSD_LIMITS_REQUEST_DEADLINE_MS", "2500"),
    // The disks of these runs are small: full is full, not "nearly".
    ("JARVIS_SECRETSD_AUDIT_MIN_FREE_BYTES", "0"),
];

/// The policy, with or without the one permission that comes and goes. Who is not named in it may do nothing.
pub(crate) fn policy(with_permission: bool) -> String {
    let rule = if with_permission {
        r#"
    allow:
      - { name: "jarvis-chaos/*", verbs: [read] }"#
    } else {
        " {}"
    };
    format!(
        r#"default_deny: true
clients:
  admin:
    allow: ["*"]
  chaos-client:
    allow:
      - {{ name: "jarvis-chaos/*", verbs: [read, write, list, delete] }}
  chaos-stale:
    allow:
      - {{ name: "jarvis-chaos/*", verbs: [read, list], stale_max_ms: {STALE_MAX_MS} }}
  {PERMITTED}:{rule}
"#
    )
}

/// The client whose permission comes and goes.
pub(crate) const PERMITTED: &str = "chaos-permitted";
/// The bound in the policy above.
pub(crate) const STALE_MAX_MS: u64 = 5_000;

/// Four nodes have to join one after the other, on a machine that may build something meanwhile.
const READY_LIMIT: Duration = Duration::from_secs(120);
/// `dev` promises ten seconds.
const END_LIMIT: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Another program can take a port between the look and its use.
const START_TRIES: u32 = 5;

/// From an API's port to its node's port for peers, as `dev` has it.
const PEER_OFFSET: u16 = 1_000;
/// Below the range that the system gives to outgoing connections, so that a node that is down finds its ports again.
const FIRST_PORT: u32 = 20_000;
const PLACES: u32 = 1_000;
const PORTS_PER_PLACE: u32 = 10;

/// `dev.json`.
#[derive(Deserialize)]
pub(crate) struct Handle {
    ready: bool,
    pub(crate) root_token: String,
    pub(crate) nodes: Vec<NodeHandle>,
}

/// One node in `dev.json`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct NodeHandle {
    pub(crate) id: u64,
    pub(crate) api: String,
    pub(crate) peer: SocketAddr,
    pub(crate) data_dir: PathBuf,
    pub(crate) config: PathBuf,
}

/// Makes a cluster in `<work>/cluster`; nothing of it runs afterwards.
///
/// # Errors
/// When `dev` does not manage, with what it said.
pub(crate) async fn form(daemon: &Path, work: &Path, nodes: u16) -> anyhow::Result<Handle> {
    let (dir, log) = (work.join("cluster"), work.join("logs/dev.log"));
    make_folder(&dir)?;
    fs::write(dir.join("policy.yaml"), policy(false)).context("the policy can not be written")?;
    for attempt in 0..START_TRIES {
        let port = free_ports(nodes, attempt)?;
        let mut command = bare(daemon);
        command
            .arg("dev")
            .arg("--data")
            .arg(&dir)
            .args(["--nodes", &nodes.to_string()])
            .args(["--port", &port.to_string()])
            .arg("--no-restart")
            .envs(SETTINGS);
        let mut dev = Process::start(&mut command, &log)
            .with_context(|| format!("{} does not start", daemon.display()))?;
        let began = Instant::now();
        loop {
            if let Some(handle) = read_handle(&dir) {
                return take_over(dev, handle).await;
            }
            if dev.ended().is_some() {
                break;
            }
            if began.elapsed() > READY_LIMIT {
                bail!(
                    "dev is not ready after {} s:\n{}",
                    READY_LIMIT.as_secs(),
                    said(&log)
                );
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        // Nothing was written then.
        if !said(&log).contains("are taken") {
            bail!("dev ended by itself:\n{}", said(&log));
        }
    }
    bail!("{START_TRIES} times somebody else took ports that had been free");
}

async fn take_over(mut dev: Process, handle: Handle) -> anyhow::Result<Handle> {
    dev.signal(Signal::TERM).context("dev takes no signal")?;
    if dev.end(END_LIMIT).await.is_none() {
        bail!("dev does not end within {} s", END_LIMIT.as_secs());
    }
    Ok(handle)
}

/// Replaced atomically, so it is whole or not there.
fn read_handle(dir: &Path) -> Option<Handle> {
    let text = fs::read(dir.join("dev.json")).ok()?;
    let handle: Handle = serde_json::from_slice(&text).ok()?;
    handle.ready.then_some(handle)
}

/// From now on the nodes dial each other through the proxies.
///
/// # Errors
/// When a configuration is not what `dev` writes.
pub(crate) fn dial_through(nodes: &[NodeHandle], network: &Network) -> anyhow::Result<()> {
    for (from, node) in nodes.iter().enumerate() {
        let overrides = nodes.iter().enumerate().filter_map(|(to, peer)| {
            let proxy = network.address(from, to)?;
            Some(format!("\"{}\" = \"{proxy}\"", peer.peer))
        });
        let overrides: Vec<String> = overrides.collect();
        let text = fs::read_to_string(&node.config)
            .with_context(|| format!("{} can not be read", node.config.display()))?;
        let text = with_overrides(&text, &overrides.join(", "))
            .with_context(|| format!("{} has no table [cluster]", node.config.display()))?;
        fs::write(&node.config, text)
            .with_context(|| format!("{} can not be written", node.config.display()))?;
    }
    Ok(())
}

fn with_overrides(config: &str, overrides: &str) -> Option<String> {
    const TABLE: &str = "[cluster]\n";
    let (before, after) = config.split_once(TABLE)?;
    Some(format!(
        "{before}{TABLE}dial_overrides = {{ {overrides} }}\n{after}"
    ))
}

/// A folder for its owner alone (X6).
///
/// # Errors
/// When it can not be made.
pub(crate) fn make_folder(path: &Path) -> anyhow::Result<()> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.with_context(|| format!("the folder {} can not be made", path.display()))
}

/// The first of so many free ports in a row, with as many free ones for peers above them.
fn free_ports(nodes: u16, attempt: u32) -> anyhow::Result<u16> {
    // Another program of this kind begins at another place.
    let own = std::process::id()
        .wrapping_mul(7)
        .wrapping_add(attempt * 131);
    for turn in 0..PLACES {
        let place = own.wrapping_add(turn) % PLACES;
        let first = FIRST_PORT + place * PORTS_PER_PLACE;
        let first = u16::try_from(first).context("ports end at 65,535")?;
        if (first..first + nodes).all(|port| is_free(port) && is_free(port + PEER_OFFSET)) {
            return Ok(first);
        }
    }
    bail!("there are no {nodes} free ports in a row from {FIRST_PORT} on");
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// The end of what a process said.
pub(crate) fn said(log: &Path) -> String {
    const SHOWN_LINES: usize = 30;
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_stand_in_the_table_of_the_cluster() {
        let config = "[server]\nbind_addr = \"a\"\n\n[cluster]\nnode_name = \"n1\"\n";
        let with = with_overrides(config, "\"a:1\" = \"b:2\"").unwrap();
        let expected = "[cluster]\ndial_overrides = { \"a:1\" = \"b:2\" }\nnode_name = \"n1\"\n";
        assert!(with.ends_with(expected), "{with}");
        assert!(with_overrides("[server]\n", "").is_none());
    }

    #[test]
    fn the_two_policies_differ_in_one_permission() {
        let (with, without) = (policy(true), policy(false));
        assert!(with.ends_with(
            "  chaos-permitted:\n    allow:\n      - { name: \"jarvis-chaos/*\", verbs: [read] }\n"
        ));
        assert!(without.ends_with("  chaos-permitted: {}\n"));
        let common = without.trim_end_matches(" {}\n");
        assert!(with.starts_with(common));
    }

    #[test]
    fn ports_are_free_and_below_those_of_outgoing_connections() {
        let first = free_ports(5, 0).unwrap();
        assert!(first >= 20_000 && first + 5 + PEER_OFFSET < 32_000);
    }
}
