//! Why `dev` ended.

use std::io;
use std::path::PathBuf;

use crate::cli::error::CliError;
use crate::config::ConfigError;
use crate::setup::SetupError;

/// Why `dev` ended. Each says what was done until then, and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// Ports that something else uses.
    #[error(
        "these addresses are taken: {taken}. Nothing was written; choose other ports with --port"
    )]
    Taken {
        /// Each with what it is for.
        taken: String,
    },
    /// The last port would be beyond 65535.
    #[error(
        "from port {port} there is no room for APIs and, 1000 above them, peers; choose a lower --port"
    )]
    NoRoom {
        /// The first port.
        port: u16,
    },
    /// The environment sets for all nodes what must differ between them.
    #[error("{names} would give every node the same setting; unset it, and use --data and --port")]
    Overridden {
        /// The variables.
        names: String,
    },
    /// The handle can not be read.
    #[error("{} is no handle of a cluster; move it away, or choose another --data", .path.display())]
    BadHandle {
        /// The file.
        path: PathBuf,
    },
    /// The cluster found is not the one asked for.
    #[error("{} holds a cluster with {found}, and {asked} was asked for; leave {flag} out, or choose another --data", .path.display())]
    Differs {
        /// The directory.
        path: PathBuf,
        /// What the cluster has.
        found: String,
        /// What the flag says.
        asked: String,
        /// The flag.
        flag: &'static str,
    },
    /// The directory was moved: its configurations name another place.
    #[error("the handle names {}, which is not there; was the directory moved? Move it back, or choose another --data", .path.display())]
    Moved {
        /// The missing file.
        path: PathBuf,
    },
    /// A start was interrupted before the cluster had its token on disk.
    #[error("{} holds an unfinished cluster without its root token; remove {}/n1 to n5, or choose another --data", .path.display(), .path.display())]
    Unfinished {
        /// The directory.
        path: PathBuf,
    },
    /// TOML and JSON hold Unicode only.
    #[error("{} is not valid UTF-8; choose another --data", .path.display())]
    NotUnicode {
        /// The directory.
        path: PathBuf,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A node's configuration was refused.
    #[error("node {node}: {source}")]
    Config {
        /// The node.
        node: String,
        /// Why.
        source: Box<ConfigError>,
    },
    /// A node could not be prepared.
    #[error("node {node}: {source}")]
    Setup {
        /// The node.
        node: String,
        /// Why.
        source: Box<SetupError>,
    },
    /// A node's process could not be started.
    #[error("node {node} can not be started: {source}")]
    Spawn {
        /// The node.
        node: String,
        /// Why.
        source: io::Error,
    },
    /// A node ended before the cluster served.
    #[error("node {node} ended ({status}) before the cluster served. The end of {}:\n{tail}", .log.display())]
    Ended {
        /// The node.
        node: String,
        /// How.
        status: String,
        /// Its log.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// Nodes did not serve in time.
    #[error("{nodes} did not get ready within {seconds} s; see {}", .log.display())]
    NotReady {
        /// Their names.
        nodes: String,
        /// How long was waited.
        seconds: u64,
        /// The first one's log.
        log: PathBuf,
    },
    /// The cluster refused a request of `dev`.
    #[error(transparent)]
    Request(#[from] CliError),
    /// Signals can not be listened for.
    #[error("signals can not be listened for: {source}")]
    Signals {
        /// Why.
        source: io::Error,
    },
}
