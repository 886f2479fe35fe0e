//! `audit tail | verify` (X4).

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::client::{Call, Client};
use super::error::{CliError, REFUSED};
use super::list::TableOrJson;
use super::output::{json_text, print, print_line};

/// Most events in one answer of a server.
const MAX_LINES: u64 = 1_000;
/// Folder of the trail within a node's data directory.
const AUDIT_FOLDER: &str = "audit";

/// The verbs of `audit`.
#[derive(Subcommand)]
pub(crate) enum AuditCommand {
    /// Print the newest events, one JSON object per line
    Tail(TailArgs),
    /// Check a node's trail on disk: chain, signatures, segments; also of a running node
    Verify(VerifyArgs),
}

/// `audit tail [-n N]`
#[derive(Args)]
pub(crate) struct TailArgs {
    /// How many events, at most 1000
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20,
        value_parser = clap::value_parser!(u64).range(..=MAX_LINES))]
    lines: u64,
    /// From this sequence number on, instead of the newest
    #[arg(long, value_name = "SEQ")]
    from_seq: Option<u64>,
}

/// `audit verify --data DIR`
#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// A node's data directory, or the audit folder itself
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = TableOrJson::Table)]
    output: TableOrJson,
}

pub(crate) async fn run(
    client: impl Fn() -> Result<Client, CliError>,
    command: AuditCommand,
) -> Result<ExitCode, CliError> {
    match command {
        AuditCommand::Tail(args) => tail(&client()?, &args).await,
        AuditCommand::Verify(args) => verify(&args),
    }
}

async fn tail(client: &Client, args: &TailArgs) -> Result<ExitCode, CliError> {
    let call = match args.from_seq {
        Some(from_seq) => Call::get(["audit"])
            .query("from_seq", from_seq)
            .query("limit", args.lines),
        None => Call::get(["audit"]).query("tail", args.lines),
    };
    print(client.call(&call).await?.bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn verify(args: &VerifyArgs) -> Result<ExitCode, CliError> {
    match jarvis_audit::verify::verify(&trail_folder(&args.data)?) {
        Ok(report) => {
            let text = match args.output {
                TableOrJson::Table => report.to_string(),
                TableOrJson::Json => json_text(&report)?,
            };
            print_line(&text)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(finding) => {
            let text = match args.output {
                TableOrJson::Table => finding.to_string(),
                TableOrJson::Json => finding.to_json(),
            };
            print_line(&text)?;
            Ok(ExitCode::from(REFUSED))
        }
    }
}

/// A data directory holds its trail in a folder of its own; anything else is taken as the trail's folder.
fn trail_folder(data: &Path) -> Result<PathBuf, CliError> {
    std::fs::read_dir(data)
        .map_err(|error| CliError::file("read the folder", data.display(), &error))?;
    let inner = data.join(AUDIT_FOLDER);
    Ok(if inner.is_dir() {
        inner
    } else {
        data.to_owned()
    })
}
