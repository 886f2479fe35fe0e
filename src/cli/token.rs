//! `token create | list | revoke` (I1).

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use jarvis_wire::ErrorCode;
use jarvis_wire::tokens::{CreateToken, CreatedToken, RevokedToken, TokenList};

use super::client::{Call, Client};
use super::duration::parse_secs;
use super::error::CliError;
use super::list::TableOrJson;
use super::output::{Columns, or_dash, print, print_line};
use super::retry::RepeatArgs;

/// After revoking what is not there: names of secrets would not help.
const UNKNOWN_TOKEN: &str =
    "`jarvis-secrets token list` shows the tokens; one that is revoked or over is not among them";

/// The verbs of `token`.
#[derive(Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token for a client; it is shown this once
    Create(CreateArgs),
    /// List tokens, without their secrets
    List(ListArgs),
    /// End a token; every request that starts afterwards is refused
    Revoke(RevokeArgs),
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// The server's answer as it is
    Json,
    /// The token and nothing else
    Raw,
}

/// `token create CLIENT [--ttl 90d] [-o json|raw]`
#[derive(Args)]
pub(crate) struct CreateArgs {
    /// The client that it is for
    #[arg(value_name = "CLIENT")]
    subject: String,
    /// How long it lives, such as 12h or 90d; for ever when missing
    #[arg(long = "ttl", value_name = "DURATION", value_parser = parse_secs)]
    ttl_secs: Option<u64>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Json)]
    output: Output,
    #[command(flatten)]
    repeat: RepeatArgs,
}

/// `token list [-o table|json]`
#[derive(Args)]
pub(crate) struct ListArgs {
    /// How to print
    #[arg(short, long, value_enum, default_value_t = TableOrJson::Table)]
    output: TableOrJson,
}

/// `token revoke ID`
#[derive(Args)]
pub(crate) struct RevokeArgs {
    /// The token's public part: what `token list` shows
    id: String,
    #[command(flatten)]
    repeat: RepeatArgs,
}

pub(crate) async fn run(client: &Client, command: TokenCommand) -> Result<ExitCode, CliError> {
    match command {
        TokenCommand::Create(args) => create(client, args).await?,
        TokenCommand::List(args) => list(client, args).await?,
        TokenCommand::Revoke(args) => revoke(client, args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(client: &Client, args: CreateArgs) -> Result<(), CliError> {
    let body = CreateToken {
        client: args.subject,
        ttl_secs: args.ttl_secs,
    };
    let call = Call::post(["tokens"])
        .json(&body)?
        .repeating(args.repeat.idempotency_key);
    let answer = client.call(&call).await?;
    let created: CreatedToken = answer.decode()?;
    eprintln!("the server keeps only a hash of this token: it is not shown again");
    match args.output {
        Output::Raw => print_line(created.token.expose()),
        Output::Json => print(answer.bytes()).and_then(|()| print(b"\n")),
    }
}

async fn list(client: &Client, args: ListArgs) -> Result<(), CliError> {
    let answer = client.call(&Call::get(["tokens"])).await?;
    if args.output == TableOrJson::Json {
        return print(answer.bytes()).and_then(|()| print(b"\n"));
    }
    let list: TokenList = answer.decode()?;
    let mut columns = Columns::new(["ID", "CLIENT", "CREATED", "EXPIRES"]);
    for token in list.tokens {
        columns.row([
            token.id,
            token.client,
            token.created_at,
            or_dash(token.expires_at),
        ]);
    }
    print(columns.render().as_bytes())
}

async fn revoke(client: &Client, args: RevokeArgs) -> Result<(), CliError> {
    let id = public_part(&args.id)?;
    let call = Call::delete(["tokens", id]).repeating(args.repeat.idempotency_key);
    let answer = client.call(&call).await;
    let answer = answer.map_err(|error| error.advising(ErrorCode::NotFound, UNKNOWN_TOKEN))?;
    let revoked: RevokedToken = answer.decode()?;
    print_line(&format!("{} is revoked", revoked.id))
}

/// The id; a whole token given by mistake is cut to it, so that its secret is not sent as a path.
fn public_part(text: &str) -> Result<&str, CliError> {
    let id = match text.strip_prefix("jv1.") {
        Some(rest) => rest.split('.').next().unwrap_or(rest),
        None => text,
    };
    let plausible = !id.is_empty()
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if plausible {
        Ok(id)
    } else {
        Err(CliError::Usage(
            "that is no token id; `jarvis-secrets token list` shows them".into(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i1_a_whole_token_is_cut_to_its_public_part() {
        assert_eq!(public_part("abc-1_2").unwrap(), "abc-1_2");
        assert_eq!(public_part("jv1.abc.example-not-a-secret").unwrap(), "abc");
        for bad in ["", "a/b", "a.b", "jv1."] {
            let error = public_part(bad).unwrap_err().to_string();
            assert!(error.contains("no token id"), "{bad}");
        }
    }
}
