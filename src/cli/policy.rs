//! `policy show | apply | explain` (P2).

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use jarvis_wire::policy::{
    ApplyPolicy, ExplainPolicy, PolicyApplied, PolicyDocument, PolicyExplanation, Verb,
};

use super::client::{Call, Client};
use super::diff::diff;
use super::error::CliError;
use super::output::{print, print_line};
use super::retry::RepeatArgs;

/// The verbs of `policy`.
#[derive(Subcommand)]
pub(crate) enum PolicyCommand {
    /// Print the policy in force, as it was applied
    Show,
    /// Show what a file changes, and put it in force
    Apply(ApplyArgs),
    /// Say what a client may do with a name, and which rule decides
    Explain(ExplainArgs),
}

/// `policy apply FILE [--dry-run] [--allow-no-administrator]`
#[derive(Args)]
pub(crate) struct ApplyArgs {
    /// The policy, YAML
    file: PathBuf,
    /// Check it and show the difference only
    #[arg(long)]
    dry_run: bool,
    /// Accept a policy that lets nobody administer: nobody can ever change it again
    #[arg(long)]
    allow_no_administrator: bool,
    #[command(flatten)]
    repeat: RepeatArgs,
}

/// `policy explain CLIENT NAME [--verb V]`
#[derive(Args)]
pub(crate) struct ExplainArgs {
    /// The client's name
    #[arg(value_name = "CLIENT")]
    subject: String,
    /// The secret's name
    name: String,
    /// What it would do
    #[arg(long, value_enum, default_value_t = VerbArg::Read)]
    verb: VerbArg,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum VerbArg {
    Read,
    Write,
    Rotate,
    List,
    Delete,
    Admin,
}

impl From<VerbArg> for Verb {
    fn from(verb: VerbArg) -> Self {
        match verb {
            VerbArg::Read => Self::Read,
            VerbArg::Write => Self::Write,
            VerbArg::Rotate => Self::Rotate,
            VerbArg::List => Self::List,
            VerbArg::Delete => Self::Delete,
            VerbArg::Admin => Self::Admin,
        }
    }
}

pub(crate) async fn run(client: &Client, command: PolicyCommand) -> Result<ExitCode, CliError> {
    match command {
        PolicyCommand::Show => {
            let current = current(client).await?;
            eprintln!("version {}", current.version);
            print_line(&current.policy)?;
        }
        PolicyCommand::Apply(args) => apply(client, args).await?,
        PolicyCommand::Explain(args) => explain(client, args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn current(client: &Client) -> Result<PolicyDocument, CliError> {
    client.call(&Call::get(["policy"])).await?.decode()
}

async fn apply(client: &Client, args: ApplyArgs) -> Result<(), CliError> {
    let policy = std::fs::read_to_string(&args.file)
        .map_err(|error| CliError::file("read", args.file.display(), &error))?;
    let current = current(client).await?;
    let difference = diff(&current.policy, &policy);
    print(difference.as_bytes())?;
    let body = ApplyPolicy {
        policy,
        cas: Some(current.version),
        dry_run: args.dry_run,
        allow_no_administrator: args.allow_no_administrator,
    };
    let call = Call::put(["policy"])
        .json(&body)?
        .repeating(args.repeat.idempotency_key);
    let applied: PolicyApplied = client.call(&call).await?.decode()?;
    print_line(&match (applied.changed, args.dry_run) {
        (true, true) => format!("dry run: it would replace version {}", current.version),
        (true, false) => format!("version {} is in force", applied.version),
        (false, _) => format!(
            "nothing changes: version {} stays in force",
            applied.version
        ),
    })
}

async fn explain(client: &Client, args: ExplainArgs) -> Result<(), CliError> {
    let verb = Verb::from(args.verb);
    let body = ExplainPolicy {
        client: args.subject,
        name: args.name,
        verb,
    };
    let call = Call::ask(["policy", "explain"]).json(&body)?;
    let explained: PolicyExplanation = client.call(&call).await?.decode()?;
    let decision = if explained.allowed {
        "allowed"
    } else {
        "denied"
    };
    print_line(&format!(
        "{decision}: {} may{} {} {} — {} (policy version {})",
        body.client,
        if explained.allowed { "" } else { " not" },
        verb.as_str(),
        body.name,
        explained.rule,
        explained.policy_version
    ))
}
