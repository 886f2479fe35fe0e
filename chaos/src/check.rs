//! `jarvis-chaos check`: judges what is there. Either a cluster that runs (`--url`), by the workloads without any fault;
//! or a history that somebody recorded (`--history`).

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;

use crate::blackbox::Gate;
use crate::checker::audit::Sources;
use crate::checker::{Report, Verdict};
use crate::history::History;
use crate::results::{self, Line};
use crate::verdict::ExitVerdict;
use crate::workload::judge::{Scope, judge};

mod live;
mod trails;

/// `check --url URL,… --token TOKEN`, or `check --history FILE`. No `Debug`: it holds a token.
#[derive(Clone, Args)]
pub struct CheckArgs {
    /// A history to judge, instead of a cluster
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    /// With --history: a node's folder of the trail, to judge it as well; again for each node
    #[arg(long, value_name = "NODE=DIR", value_parser = parse_trail)]
    pub trail: Vec<(u64, PathBuf)>,
    /// Addresses of the nodes, with commas between them
    #[arg(
        long,
        value_name = "URL",
        value_delimiter = ',',
        env = "JARVIS_SECRETS_URL"
    )]
    pub url: Vec<String>,
    /// An administrator's token; better in the environment, where `ps` does not show it
    #[arg(
        long,
        value_name = "TOKEN",
        env = "JARVIS_SECRETS_TOKEN",
        hide_env_values = true
    )]
    pub token: Option<String>,
    /// The client that this token is for
    #[arg(long, value_name = "ID", default_value = "admin")]
    pub client: String,
    /// The CA of https addresses, PEM
    #[arg(long, value_name = "FILE", env = "JARVIS_SECRETS_CACERT")]
    pub cacert: Option<PathBuf>,
    /// How long clients work
    #[arg(long, value_name = "M", default_value_t = 0.5)]
    pub minutes: f64,
    /// Requests a second, all clients together
    #[arg(long, value_name = "R", default_value_t = 60)]
    pub rate: u32,
    /// Leave the secrets below jarvis-chaos/ that were written
    #[arg(long)]
    pub keep: bool,
    /// Where the history is kept [default: a new temporary directory]
    #[arg(long, value_name = "DIR")]
    pub work: Option<PathBuf>,
    /// Print one JSON object instead of a table
    #[arg(long)]
    pub json: bool,
    /// Append a line of JSON to this file
    #[arg(long, value_name = "FILE")]
    pub results: Option<PathBuf>,
}

/// What a check came to.
#[derive(Debug, Serialize)]
struct Judged {
    verdict: ExitVerdict,
    operations: u64,
    reports: Vec<Report>,
    gates: Vec<Gate>,
    /// What could not be looked at, and why.
    not_checked: Vec<String>,
    history: PathBuf,
}

/// Judges it, and prints what came of it.
///
/// # Errors
/// When nothing could be judged at all.
pub fn run(args: &CheckArgs) -> anyhow::Result<ExitVerdict> {
    let began = tokio::time::Instant::now();
    let judged = match &args.history {
        Some(path) => recorded(path, &args.trail)?,
        None if args.url.is_empty() => bail!("give --url and --token, or --history"),
        None => live::check(args)?,
    };
    if args.json {
        let text = serde_json::to_string(&judged);
        println!(
            "{}",
            text.context("the outcome can not be written as JSON")?
        );
    } else {
        show(&judged);
    }
    if let Some(path) = &args.results {
        let took: Duration = began.elapsed();
        let mut line = Line::new("check", judged.verdict, took);
        line.count("operations", judged.operations);
        results::append(path, &line)?;
    }
    Ok(judged.verdict)
}

/// A history from a file.
fn recorded(path: &Path, trails: &[(u64, PathBuf)]) -> anyhow::Result<Judged> {
    let cannot = || format!("{} can not be judged", path.display());
    let file = File::open(path).with_context(cannot)?;
    let history = History::read(BufReader::new(file)).with_context(cannot)?;
    let sources = Sources {
        folders: trails.iter().cloned().collect(),
        ..Sources::default()
    };
    let sources = (!trails.is_empty()).then_some(&sources);
    let mut not_checked = vec!["secrecy: a history has no files to search".to_owned()];
    if sources.is_none() {
        not_checked.push("audit: give --trail NODE=DIR for each node".to_owned());
    }
    let reports = judge(&history, sources, Scope::WhatIsThere);
    Ok(Judged {
        verdict: ExitVerdict::from(Verdict::of_all(&reports)),
        operations: history.operations.len() as u64,
        reports,
        gates: Vec::new(),
        not_checked,
        history: path.to_owned(),
    })
}

fn show(judged: &Judged) {
    for report in &judged.reports {
        println!("{report}");
    }
    for gate in &judged.gates {
        println!("gate, {}: {}, {}", gate.name, gate.verdict, gate.note);
    }
    for gap in &judged.not_checked {
        println!("not checked: {gap}");
    }
    println!("history: {}", judged.history.display());
    println!("verdict: {}", judged.verdict);
}

fn parse_trail(text: &str) -> Result<(u64, PathBuf), String> {
    let example = || format!("'{text}' is not NODE=DIR, such as 1=/var/lib/jarvis-secretsd/audit");
    let (node, folder) = text.split_once('=').ok_or_else(example)?;
    Ok((node.parse().map_err(|_| example())?, PathBuf::from(folder)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{FORMAT, Header, Kind, Operation, Outcome};

    fn recorded_with(value_read: &str) -> anyhow::Result<Judged> {
        let operation = |id, kind, value: &str, span: (u64, u64)| {
            let mut operation = Operation {
                id,
                kind,
                key: "a".to_owned(),
                start_ns: span.0,
                end_ns: Some(span.1),
                outcome: Outcome::Ok,
                ..Operation::default()
            };
            operation.answer.version = Some(1);
            if kind == Kind::Write {
                operation.value = Some(value.to_owned());
            } else {
                operation.answer.value = Some(value.to_owned());
            }
            operation
        };
        let history = History {
            header: Header {
                format: FORMAT,
                ..Header::default()
            },
            operations: vec![
                operation(1, Kind::Write, "v1", (1, 2)),
                operation(2, Kind::Read, value_read, (3, 4)),
            ],
            ..History::default()
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        history.write(File::create(&path).unwrap()).unwrap();
        recorded(&path, &[])
    }

    #[test]
    fn a_history_that_holds_is_held_and_one_corrupted_by_hand_is_violated() {
        assert_eq!(recorded_with("v1").unwrap().verdict, ExitVerdict::Held);
        let corrupted = recorded_with("v2").unwrap();
        assert_eq!(corrupted.verdict, ExitVerdict::Violated);
        assert_eq!(corrupted.verdict.exit_code(), 1);
    }

    #[test]
    fn a_file_that_is_no_history_is_not_judged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        std::fs::write(&path, "{\"type\":\"op\"").unwrap();
        assert!(recorded(&path, &[]).is_err());
        assert!(recorded(&folder.path().join("none"), &[]).is_err());
    }

    #[test]
    fn a_trail_is_a_node_and_a_folder() {
        let parsed = parse_trail("3=/d/audit").unwrap();
        assert_eq!(parsed, (3, PathBuf::from("/d/audit")));
        assert!(parse_trail("/d/audit").unwrap_err().contains("1=/var"));
        assert!(parse_trail("x=/d").is_err());
    }
}
