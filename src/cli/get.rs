//! `get`: one secret; JSON by default, so that `jq -r .value` keeps working (L1).

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use jarvis_wire::secrets::SecretValue;

use super::client::{Answer, Call, Client};
use super::collect::{environment_name, value_bytes, value_text};
use super::env_file;
use super::error::CliError;
use super::output::{Columns, print, print_line};
use super::versions::{check_name, explain};

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Field names and contents in two columns
    Table,
    /// The server's answer as it is
    Json,
    /// The value's bytes and nothing else
    Raw,
    /// NAME="value", as an env file has it
    Env,
}

/// `get NAME [--version N] [-o table|json|raw|env] [--field F]`
#[derive(Args)]
pub(crate) struct GetArgs {
    /// The secret's name
    name: String,
    /// A version's number instead of the current one
    #[arg(long = "version", value_name = "N")]
    wanted_version: Option<u64>,
    /// Accept an old answer while there is no quorum, where the policy allows it
    #[arg(long)]
    stale: bool,
    /// With --stale: the oldest age to accept, in milliseconds
    #[arg(long, value_name = "MS", requires = "stale")]
    max_age_ms: Option<u64>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Json)]
    output: Output,
    /// Print one field of the answer and nothing else
    #[arg(long, value_name = "FIELD", conflicts_with = "output")]
    field: Option<String>,
}

pub(crate) async fn run(client: &Client, args: GetArgs) -> Result<ExitCode, CliError> {
    check_name(&args.name)?;
    let call = Call::get(["secret", &args.name])
        .query_if("version", args.wanted_version)
        .query_if("consistency", args.stale.then_some("stale"))
        .query_if("max_age_ms", args.max_age_ms);
    let answer = match client.call(&call).await {
        Ok(answer) => answer,
        Err(error) => return Err(explain(client, &args.name, error).await),
    };
    let secret: SecretValue = answer.decode()?;
    if let Some(stale) = secret.stale {
        eprintln!(
            "jarvis-secrets: there is no quorum; this answer may be {} ms old",
            stale.age_ms
        );
    }
    match (args.field, args.output) {
        (Some(field), _) => print_field(&answer, &field)?,
        (None, Output::Json) => print(answer.bytes()).and_then(|()| print(b"\n"))?,
        (None, Output::Raw) => print(&value_bytes(&secret)?)?,
        (None, Output::Env) => {
            let name = environment_name(&secret.name);
            print_line(&env_file::render(&name, &value_text(&secret)?))?;
        }
        (None, Output::Table) => print(table(secret).as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a field as text, or as JSON where it is none.
fn print_field(answer: &Answer, field: &str) -> Result<(), CliError> {
    let json: serde_json::Value = answer.decode()?;
    match json.get(field) {
        Some(serde_json::Value::String(text)) => print_line(text),
        Some(other) => print_line(&other.to_string()),
        None => {
            let known: Vec<_> = json
                .as_object()
                .into_iter()
                .flat_map(|all| all.keys())
                .collect();
            let known = known
                .into_iter()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join(", ");
            Err(CliError::Usage(format!(
                "the answer has no field '{field}'; it has {known}"
            )))
        }
    }
}

fn table(secret: SecretValue) -> String {
    let mut columns = Columns::new(["FIELD", "CONTENT"]);
    let value = secret.value.expose().to_owned();
    columns.row(["name".into(), secret.name]);
    columns.row(["version".into(), secret.version.to_string()]);
    columns.row(["kid".into(), secret.kid]);
    columns.row(["created_at".into(), secret.created_at]);
    columns.row(["expires_at".into(), secret.expires_at]);
    let label = if secret.encoding.is_some() {
        "value (base64)"
    } else {
        "value"
    };
    columns.row([label.into(), value]);
    columns.render()
}
