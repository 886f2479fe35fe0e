//! `delete`, `undelete`, `destroy`: the three ends of a name (A9).

use std::process::ExitCode;

use clap::Args;
use jarvis_wire::ErrorCode;
use jarvis_wire::secrets::{DeletedSecret, DestroySecret};

use super::client::{Answer, Call, Client};
use super::error::CliError;
use super::output::print;
use super::retry::RepeatArgs;
use super::versions::{check_name, explain};

/// After undeleting what is not deleted: a version as `--cas` would not help.
const NOT_DELETED: &str = "`jarvis-secrets versions NAME` shows what there is";

/// `delete NAME [--cas N]`
#[derive(Args)]
pub(crate) struct DeleteArgs {
    /// The secret's name
    name: String,
    /// Delete only if this is the current version
    #[arg(long, value_name = "N")]
    cas: Option<u64>,
    #[command(flatten)]
    repeat: RepeatArgs,
}

/// `undelete NAME`
#[derive(Args)]
pub(crate) struct UndeleteArgs {
    /// The secret's name
    name: String,
    #[command(flatten)]
    repeat: RepeatArgs,
}

/// `destroy NAME [--versions 1,2] --yes`
#[derive(Args)]
pub(crate) struct DestroyArgs {
    /// The secret's name
    name: String,
    /// Only these versions, separated by commas
    #[arg(long, value_name = "N", value_delimiter = ',')]
    versions: Vec<u64>,
    /// Confirm that it can not be undone
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    repeat: RepeatArgs,
}

pub(crate) async fn delete(client: &Client, args: DeleteArgs) -> Result<ExitCode, CliError> {
    check_name(&args.name)?;
    let call = Call::delete(["secret", &args.name])
        .query_if("cas", args.cas)
        .repeating(args.repeat.idempotency_key);
    let answer = send(client, &args.name, &call).await?;
    let deleted: DeletedSecret = answer.decode()?;
    eprintln!(
        "{name} is deleted; `jarvis-secrets undelete {name}` brings it back until {until}",
        name = deleted.name,
        until = deleted.undelete_until
    );
    finish(&answer)
}

pub(crate) async fn undelete(client: &Client, args: UndeleteArgs) -> Result<ExitCode, CliError> {
    check_name(&args.name)?;
    let call =
        Call::post(["secret", &args.name, "undelete"]).repeating(args.repeat.idempotency_key);
    let answer = send(client, &args.name, &call).await;
    let answer = answer.map_err(|error| error.advising(ErrorCode::Conflict, NOT_DELETED))?;
    finish(&answer)
}

pub(crate) async fn destroy(client: &Client, args: DestroyArgs) -> Result<ExitCode, CliError> {
    check_name(&args.name)?;
    let what = match args.versions.as_slice() {
        [] => format!("{} with all its versions", args.name),
        [one] => format!("version {one} of {}", args.name),
        several => format!("{} versions of {}", several.len(), args.name),
    };
    if !args.yes {
        return Err(CliError::Usage(format!(
            "this destroys {what} for good; add --yes if that is meant, or use delete, which can be undone"
        )));
    }
    let versions = Some(args.versions).filter(|versions| !versions.is_empty());
    let call = Call::post(["secret", &args.name, "destroy"])
        .json(&DestroySecret { versions })?
        .repeating(args.repeat.idempotency_key);
    finish(&send(client, &args.name, &call).await?)
}

async fn send(client: &Client, name: &str, call: &Call) -> Result<Answer, CliError> {
    match client.call(call).await {
        Ok(answer) => Ok(answer),
        Err(error) => Err(explain(client, name, error).await),
    }
}

fn finish(answer: &Answer) -> Result<ExitCode, CliError> {
    print(answer.bytes())?;
    print(b"\n")?;
    Ok(ExitCode::SUCCESS)
}
