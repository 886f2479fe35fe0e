//! `health` and `metrics`: what a server says of itself, without a credential (A1, A6, C10).

use std::process::ExitCode;

use clap::Args;

use super::client::{Call, Client};
use super::error::{CliError, UNAVAILABLE};
use super::output::{Columns, print, print_line, printable};

/// `health [--ready] [--all]`
#[derive(Args)]
pub(crate) struct HealthArgs {
    /// Ask whether the server is ready, with its checks
    #[arg(long)]
    ready: bool,
    /// Ask every address, and print one line each
    #[arg(long, conflicts_with = "ready")]
    all: bool,
}

pub(crate) async fn run(client: &Client, args: HealthArgs) -> Result<ExitCode, CliError> {
    if args.all {
        return every_address(client).await;
    }
    let call = if args.ready {
        Call::get(["readyz"]).query("verbose", "")
    } else {
        Call::get(["healthz"])
    };
    // No failing over here: the question is about one server, and the first address is the one that is meant.
    match client.call_at(0, &call).await {
        Ok(answer) => {
            print_line(&String::from_utf8_lossy(answer.bytes()))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(CliError::Server(error)) if args.ready => {
            print_line(&printable(&error.message))?;
            Ok(ExitCode::from(UNAVAILABLE))
        }
        Err(error) => Err(only_one_asked(error)),
    }
}

pub(crate) async fn metrics(client: &Client) -> Result<ExitCode, CliError> {
    let answer = client.call_at(0, &Call::get(["metrics"])).await;
    print(answer.map_err(only_one_asked)?.bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Says that the other addresses were not asked: whoever gives several may expect it.
fn only_one_asked(error: CliError) -> CliError {
    match error {
        CliError::Unreachable { tried, cause } => CliError::AddressUnreachable {
            address: tried,
            cause,
        },
        other => other,
    }
}

async fn every_address(client: &Client) -> Result<ExitCode, CliError> {
    let mut columns = Columns::new(["ADDRESS", "LIVE", "READY", "LEADER"]);
    let mut all_ready = true;
    for (index, address) in client.addresses().enumerate() {
        let live = answers(client, index, "livez").await;
        let ready = live && answers(client, index, "readyz").await;
        let leader = live && answers(client, index, "leader").await;
        all_ready &= ready;
        let word = |yes: bool| String::from(if yes { "yes" } else { "no" });
        columns.row([address.to_owned(), word(live), word(ready), word(leader)]);
    }
    print(columns.render().as_bytes())?;
    Ok(if all_ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(UNAVAILABLE)
    })
}

async fn answers(client: &Client, index: usize, path: &str) -> bool {
    client.call_at(index, &Call::get([path])).await.is_ok()
}
