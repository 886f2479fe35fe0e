//! `jarvis-secretsd dev`: a cluster of real processes on this machine, and the handle for scripts.
//!
//! ```text
//! DIR/dev.json      the handle: token, addresses, process ids (mode 600)
//! DIR/root-token    the first token, for client admin          DIR/ca.pem       the cluster CA
//! DIR/policy.yaml   seeds the policy                           DIR/n1 … n5      one node each
//! ```
//! Each node is this program again, `server --config DIR/nI/config.toml`, and takes the same path
//! into the cluster as any other: `cluster init` for the first, a join token for the rest.
//!
//! Invariants: nothing is written before the ports are known to be free; `ready` is true only while
//! all that was asked for is there (`--import` too); a node never outlives this process, since its
//! standard input is a pipe from here; standard input and a terminal are never needed.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::Target;
use crate::cli::client::Client;
use crate::cli::import::{ImportOptions, import_file};

mod error;
mod establish;
mod follow;
mod handle;
mod node_config;
mod plan;
mod process;
mod screen;
mod supervisor;

pub use self::error::DevError;

use self::plan::Plan;
use self::screen::Screen;
use self::supervisor::Supervisor;

/// The client that the first token stands for.
const ADMIN: &str = "admin";

/// `dev [--nodes 3] [--data DIR] [--port 8081] [--import FILE.env] [--no-restart] [--tls]`
#[derive(Debug, Clone, Default, Args)]
pub struct DevArgs {
    /// How many nodes: 1, 3 or 5 [default: 3, or as many as DIR holds]
    #[arg(long, value_name = "N", value_parser = parse_nodes)]
    pub nodes: Option<u16>,
    /// Where everything is kept; a cluster found there goes on [default: a new temporary directory]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Port of the first API; the next ones follow, peers from 1000 above [default: 8081, or as in DIR]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Write the entries of this env file into the vault
    #[arg(long, value_name = "FILE.env")]
    pub import: Option<PathBuf>,
    /// Leave a node that died as it is
    #[arg(long)]
    pub no_restart: bool,
    /// Serve the API with TLS; the cluster's CA makes the certificates
    #[arg(long)]
    pub tls: bool,
}

/// Runs a cluster until SIGINT or SIGTERM, which end it within ten seconds. Wants a current-thread
/// runtime: nodes are started from the thread that runs it.
pub async fn run(args: DevArgs) -> ExitCode {
    crate::cli::install_crypto_provider();
    crate::hardening::restrict_files();
    let screen = Screen::start();
    for warning in crate::hardening::forbid_core_dumps() {
        screen.say(warning);
    }
    let result = dev(&args, &screen).await;
    screen.finish();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = format!("jarvis-secretsd dev: {error}\n");
            // Nobody may be there to read it.
            let _unread = std::io::stderr().lock().write_all(text.as_bytes());
            ExitCode::FAILURE
        }
    }
}

async fn dev(args: &DevArgs, screen: &Screen) -> Result<(), DevError> {
    let mut stop = StopSignals::listen()?;
    let plan = Plan::make(args).await?;
    screen.say(format!("data: {}", plan.dir.display()));
    let mut supervisor = Supervisor::new(&plan, !args.no_restart, screen)?;
    let result = tokio::select! {
        result = Box::pin(serve(args, plan, &mut supervisor, screen)) => result,
        () = stop.wait() => Ok(()),
    };
    screen.say("stopping");
    supervisor.stop().await;
    result
}

/// Brings the cluster up and keeps it up; ends only by an error.
async fn serve(
    args: &DevArgs,
    mut plan: Plan,
    supervisor: &mut Supervisor<'_>,
    screen: &Screen,
) -> Result<(), DevError> {
    let names: Vec<String> = plan.nodes.iter().map(|node| node.name.clone()).collect();
    match plan.found.take() {
        Some(handle) => supervisor.resume(handle).await?,
        None => establish::establish(&plan, supervisor).await?,
    }
    let client = supervisor.client()?;
    if let Some(file) = &args.import {
        screen.say(format!("importing {}", file.display()));
        let options = ImportOptions::default();
        let report = tokio::select! {
            report = import_file(&client, file, &options) => report?,
            // A node that dies meanwhile is started again: the import goes on through the others.
            result = supervisor.supervise() => return result,
        };
        screen.say(without_names_that_went_well(&report.to_string()));
    }
    supervisor.publish()?;
    screen.say(supervisor.table());
    tokio::select! {
        result = supervisor.supervise() => result,
        never = follow::follow(Arc::new(client), names, screen) => match never {},
    }
}

/// What shows the cluster's root token at these addresses.
fn client_of(urls: Vec<String>, token: &str, ca_cert: PathBuf) -> Result<Client, DevError> {
    let target = Target {
        urls,
        client_id: Some(ADMIN.to_owned()),
        token: Some(token.to_owned()),
        cacert: Some(ca_cert),
        cert: None,
        key: None,
    };
    Ok(Client::new(&target)?)
}

/// The problems and the sums of an import's report.
fn without_names_that_went_well(report: &str) -> String {
    report
        .lines()
        .filter(|line| !line.starts_with("created ") && !line.starts_with("updated "))
        .collect::<Vec<_>>()
        .join("\n")
}

fn parse_nodes(text: &str) -> Result<u16, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        "5" => Ok(5),
        _ => Err("a cluster has 1, 3 or 5 nodes".to_owned()),
    }
}

/// What ends `dev`.
struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    fn listen() -> Result<Self, DevError> {
        let listen = |kind| signal(kind).map_err(|source| DevError::Signals { source });
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        dev: DevArgs,
    }

    #[test]
    fn design_10_every_flag_has_a_default() {
        let line = Line::try_parse_from(["dev"]).unwrap();
        assert_eq!(line.dev.nodes, None);
        assert!(line.dev.data.is_none() && !line.dev.no_restart && !line.dev.tls);
        for good in ["1", "3", "5"] {
            assert!(Line::try_parse_from(["dev", "--nodes", good]).is_ok());
        }
        for bad in [["--nodes", "2"], ["--nodes", "0"], ["--port", "0"]] {
            assert!(Line::try_parse_from([&["dev"][..], &bad].concat()).is_err());
        }
    }

    #[test]
    fn an_import_that_went_well_is_one_line() {
        let report = "created    a\nupdated    b\nbad        line 3: no\n1 created, 1 updated\n";
        assert_eq!(
            without_names_that_went_well(report),
            "bad        line 3: no\n1 created, 1 updated"
        );
    }
}
