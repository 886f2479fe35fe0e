//! The command line `jarvis-secrets` (L1–L5).
//!
//! One file per verb: parse, call, print. [`client`] is the one place that speaks HTTP and decides what may be tried
//! again; [`error`] is the one list of exit codes. Invariants: a secret's value is never part of an error, is never
//! printed unasked, and is never taken from the command line without a warning (L5); standard output carries the
//! answer, standard error everything else.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::error::CliError;
pub use self::target::Target;

mod audit;
pub mod bench;
mod certificate;
pub mod client;
mod cluster;
mod collect;
mod completions;
mod delete;
mod diff;
mod duration;
pub mod env_file;
pub mod error;
mod export;
mod get;
mod health;
pub mod import;
mod list;
mod man;
mod output;
mod policy;
mod retry;
mod run;
mod seal;
mod set;
mod target;
mod token;
mod versions;

/// Stands at the end of `--help`; the numbers are a promise to scripts (L5).
const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused, or any other definite error: nothing was changed
  2  usage: the command line or an input file is wrong
  3  not found
  4  not authenticated, or not authorized
  5  conflict: another version than the expected one
  6  unavailable: no leader, sealed, or no address reachable
  7  unknown outcome: it may have happened; the message holds the safe repetition
`run` exits with the child's code (126 and 127 as in a shell when it can not be started).

Environment:
  JARVIS_SECRETS_URL     one address or several, separated by commas: http://HOST:PORT, https://HOST:PORT,
                         unix:///PATH/OF/SOCKET
  JARVIS_CLIENT_ID       the client's name
  JARVIS_SECRETS_TOKEN   the bearer token
  JARVIS_SECRETS_CACERT, JARVIS_SECRETS_CERT, JARVIS_SECRETS_KEY   PEM files for TLS";

/// Reads and writes the secrets of a jarvis-secretsd cluster, and administers it.
#[derive(Parser)]
#[command(name = "jarvis-secrets", version, after_help = EXIT_CODES, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    connection: target::ConnectionArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List names, never values
    List(list::ListArgs),
    /// Read a secret; prints JSON unless told otherwise
    Get(get::GetArgs),
    /// Write a secret from standard input or a file
    Set(set::SetArgs),
    /// Delete a name; it can be undeleted for a while
    Delete(delete::DeleteArgs),
    /// Bring a deleted name back
    Undelete(delete::UndeleteArgs),
    /// Destroy versions for good
    Destroy(delete::DestroyArgs),
    /// List the versions of a name
    Versions(versions::VersionsArgs),
    /// Ask a server how it is
    Health(health::HealthArgs),
    /// Print a server's metrics in Prometheus' text format
    Metrics,
    /// Found, grow and inspect the cluster
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Write the entries of an env file; a second run changes nothing
    Import(import::ImportArgs),
    /// Print secrets with their values
    Export(export::ExportArgs),
    /// Run a command with secrets in its environment
    Run(run::RunArgs),
    /// Read, apply and explain the policy
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Create, list and revoke bearer tokens
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Make and revoke client certificates
    #[command(subcommand)]
    Certificate(certificate::CertificateCommand),
    /// Read the audit trail, or verify its files
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Take the keys from the addressed nodes, or manage the ways to unseal
    Seal(seal::SealArgs),
    /// Give the addressed nodes their keys back
    Unseal,
    /// Measure throughput, latency and fail-over
    Bench(Box<bench::BenchArgs>),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
    /// Print the manual page, or write all of them to a folder
    Man(man::ManArgs),
}

/// Makes ring the process's TLS provider. Harmless when there is one already.
pub fn install_crypto_provider() {
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
}

/// Runs one command line (`arguments[0]` is the program) and returns its exit code.
pub async fn main(arguments: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments.iter().cloned()) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too; when the terminal is gone there is nobody left to tell.
            let _unprintable = error.print();
            return if error.use_stderr() {
                ExitCode::from(error::USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match dispatch(cli).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("jarvis-secrets: {error}");
            if let CliError::UnknownOutcome {
                idempotency_key, ..
            } = &error
            {
                eprintln!("{}", retry::advice(&arguments, idempotency_key.as_deref()));
            }
            ExitCode::from(error.exit_code())
        }
    }
}

async fn dispatch(cli: Cli) -> Result<ExitCode, CliError> {
    let connection = cli.connection;
    let target = || Target::resolve(&connection, |name| std::env::var(name).ok());
    let client = || client::Client::new(&target()?);
    match cli.command {
        Command::List(args) => list::run(&client()?, args).await,
        Command::Get(args) => get::run(&client()?, args).await,
        Command::Set(args) => set::run(&client()?, args).await,
        Command::Delete(args) => delete::delete(&client()?, args).await,
        Command::Undelete(args) => delete::undelete(&client()?, args).await,
        Command::Destroy(args) => delete::destroy(&client()?, args).await,
        Command::Versions(args) => versions::run(&client()?, args).await,
        Command::Health(args) => health::run(&client()?, args).await,
        Command::Metrics => health::metrics(&client()?).await,
        Command::Cluster(command) => {
            cluster::run(client, connection.token.as_deref(), command).await
        }
        Command::Import(args) => import::run(&client()?, args).await,
        Command::Export(args) => export::run(&client()?, args).await,
        Command::Run(args) => run::run(&client()?, args).await,
        Command::Policy(command) => policy::run(&client()?, command).await,
        Command::Token(command) => token::run(&client()?, command).await,
        Command::Certificate(command) => certificate::run(&client()?, command).await,
        Command::Audit(command) => audit::run(client, command).await,
        Command::Seal(args) => seal::seal(&client()?, args).await,
        Command::Unseal => seal::unseal(&client()?).await,
        Command::Bench(args) => Box::pin(bench::run(*args, target()?)).await,
        Command::Completions(args) => completions::run::<Cli>(&args),
        Command::Man(args) => man::run::<Cli>(&args),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn l1_the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn l5_help_names_every_exit_code() {
        let help = Cli::command().render_help().to_string();
        for code in 0..=7 {
            assert!(help.contains(&format!("\n  {code}  ")), "{code}");
        }
    }

    #[test]
    fn l1_the_connection_may_stand_after_the_verb() {
        let cli = Cli::try_parse_from([
            "jarvis-secrets",
            "get",
            "a/b",
            "--url",
            "http://127.0.0.1:1",
        ])
        .unwrap();
        assert_eq!(cli.connection.url, ["http://127.0.0.1:1"]);
        assert!(matches!(cli.command, Command::Get(_)));
    }

    #[test]
    fn l3_run_takes_everything_after_the_dashes() {
        let parsed = Cli::try_parse_from(["jarvis-secrets", "run", "--", "env", "--url", "x"]);
        let cli = parsed.unwrap();
        assert!(cli.connection.url.is_empty());
        assert!(matches!(cli.command, Command::Run(_)));
        assert!(Cli::try_parse_from(["jarvis-secrets", "run", "env"]).is_err());
    }

    #[test]
    fn l2_a_join_token_does_not_clash_with_the_bearer_token() {
        let parsed = Cli::try_parse_from([
            "jarvis-secrets",
            "cluster",
            "join",
            "--config",
            "n2.toml",
            "--token",
            "example-join-token",
        ]);
        let cli = parsed.unwrap();
        assert_eq!(cli.connection.token.as_deref(), Some("example-join-token"));
    }
}
