//! Real processes for tests: nodes, clusters, the command line, a client, faults from outside, and witnesses.
//!
//! ```text
//! programs!() ─▶ Programs ─┬─ plan, node ─▶ one daemon with its own configuration    Node, Plan
//!                          ├─ dev ───────▶ a cluster that `dev` keeps running         DevCluster
//!                          ├─ cluster ───▶ three nodes that the test runs itself      Cluster, Member
//!                          └─ cli ───────▶ the command line                           Cli
//! ```
//!
//! Invariants:
//! - nothing of the server is linked: a request is text, an answer is a status, headers and JSON, a trail is a file;
//! - nothing waits blindly: [`eventually`] looks for a condition and gives up at its limit;
//! - every process ends with its owner, ports are free ones, files lie in temporary folders;
//! - nothing is repeated silently: one request is one request;
//! - everything panics with what happened, and a cluster then tells how its nodes are.
//!
//! Read in this order: [`wait`], [`http`], [`command_line`], [`node`], [`dev`], [`cluster`]; then the witnesses [`trail`],
//! [`checks`] and [`canary`], the load in [`workload`], and what hurts: [`files`] and [`volumes`].

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "part of test programs: real processes live in real time, and a panic with what happened is the verdict"
)]

use std::path::Path;

pub mod wait;

pub mod command_line;
pub mod http;

pub mod cluster;
pub mod dev;
pub mod node;

pub mod canary;
pub mod checks;
pub mod trail;
pub mod workload;

pub mod files;
pub mod volumes;

mod diagnosis;
mod ports;
mod process;

pub use cluster::{Cluster, Member};
pub use command_line::{Cli, Said};
pub use dev::{DevCluster, DevOptions};
pub use http::{Answer, Caller, Failure, Request, read_answer, secret_path};
pub use node::{Node, Plan, Stopped, Tables};
pub use wait::{eventually, within};

/// The programs under test, as absolute paths.
#[derive(Debug, Clone, Copy)]
pub struct Programs {
    /// `jarvis-secretsd`.
    pub daemon: &'static str,
    /// `jarvis-secrets`.
    pub cli: &'static str,
}

/// The [`Programs`] that Cargo built for the integration test in which this stands.
#[macro_export]
macro_rules! programs {
    () => {
        $crate::Programs {
            daemon: env!("CARGO_BIN_EXE_jarvis-secretsd"),
            cli: env!("CARGO_BIN_EXE_jarvis-secrets"),
        }
    };
}

impl Programs {
    /// A folder and two ports for one daemon that may be started, perhaps more than once.
    #[must_use]
    pub fn plan(self) -> Plan {
        Plan::new(self)
    }

    /// One daemon with this policy and these settings, ready to serve.
    #[must_use]
    #[track_caller]
    pub fn node(self, policy: &str, tables: Tables<'_>) -> Node {
        Node::start(self, policy, tables)
    }

    /// A new cluster under a running `dev`, ready to serve.
    #[must_use]
    #[track_caller]
    pub fn dev(self, options: &DevOptions) -> DevCluster {
        DevCluster::start(self, options)
    }

    /// A new cluster of three in `dir`, not running; `logs` is a folder outside of it for what the nodes say.
    #[must_use]
    #[track_caller]
    pub fn cluster(self, dir: &Path, logs: &Path) -> Cluster {
        Cluster::make(self, dir, logs)
    }

    /// The command line, with nothing in its environment but the search path.
    #[must_use]
    pub fn cli(self) -> Cli {
        Cli::new(self)
    }
}

/// Tells the reader of a test's output where it is.
pub fn phase(text: &str) {
    println!("== {text}");
}
