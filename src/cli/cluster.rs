//! `cluster init | join-token | join | status | transfer-leader` (L2).
//!
//! `init` and `join` prepare the node on this machine and need no running server here; the rest are requests.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use jarvis_wire::cluster::{
    ClusterStatus, CreateJoinToken, CreatedJoinToken, DEFAULT_JOIN_TOKEN_USES, LeaderTransferred,
    TransferLeader,
};
use zeroize::Zeroizing;

use super::client::{Call, Client};
use super::duration::parse_secs;
use super::error::CliError;
use super::list::TableOrJson;
use super::output::{Columns, or_dash, print, print_line};
use super::retry::RepeatArgs;

/// Longest join token read from a pipe: ids, a secret and a fingerprint are a few hundred bytes.
const MAX_JOIN_TOKEN_BYTES: u64 = 4_096;

/// The verbs of `cluster`.
#[derive(Subcommand)]
pub(crate) enum ClusterCommand {
    /// Show every node: role, term, log, lag, seal, version
    Status(StatusArgs),
    /// Found a new cluster with the node on this machine
    Init(InitArgs),
    /// Make a token with which a new node may join
    JoinToken(JoinTokenArgs),
    /// Prepare the node on this machine to join a cluster; the join token is --token, or - for standard input
    Join(JoinArgs),
    /// Let another node lead
    TransferLeader(TransferArgs),
}

/// `cluster status [-o table|json]`
#[derive(Args)]
pub(crate) struct StatusArgs {
    /// How to print
    #[arg(short, long, value_enum, default_value_t = TableOrJson::Table)]
    output: TableOrJson,
}

/// `cluster init --config FILE`
#[derive(Args)]
pub(crate) struct InitArgs {
    /// The node's configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// `cluster join --config FILE --token TOKEN`
#[derive(Args)]
pub(crate) struct JoinArgs {
    /// The new node's configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// `cluster join-token [--uses N] [--ttl 1h]`
#[derive(Args)]
pub(crate) struct JoinTokenArgs {
    /// How many nodes may join with it
    #[arg(long, value_name = "N", default_value_t = DEFAULT_JOIN_TOKEN_USES)]
    uses: u32,
    /// How long it lives, such as 30m or 1h
    #[arg(long = "ttl", value_name = "DURATION", value_parser = parse_secs, default_value = "1h")]
    ttl_secs: u64,
    /// Print the server's JSON instead of the token alone
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    repeat: RepeatArgs,
}

/// `cluster transfer-leader [--to ID]`
#[derive(Args)]
pub(crate) struct TransferArgs {
    /// The node that shall lead; the furthest voter when missing
    #[arg(long, value_name = "ID")]
    to: Option<u64>,
    #[command(flatten)]
    repeat: RepeatArgs,
}

/// `given_token` is the `--token` of the command line: for `join` it is the join token, and never the environment's.
pub(crate) async fn run(
    client: impl Fn() -> Result<Client, CliError>,
    given_token: Option<&str>,
    command: ClusterCommand,
) -> Result<ExitCode, CliError> {
    match command {
        ClusterCommand::Status(args) => status(&client()?, &args).await?,
        ClusterCommand::Init(args) => init(&args)?,
        ClusterCommand::JoinToken(args) => join_token(&client()?, args).await?,
        ClusterCommand::Join(args) => join(&args, given_token).await?,
        ClusterCommand::TransferLeader(args) => transfer_leader(&client()?, args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn init(args: &InitArgs) -> Result<(), CliError> {
    let report =
        crate::setup::init(&args.config).map_err(|error| CliError::Other(error.to_string()))?;
    print_line(&report.to_string())
}

async fn join(args: &JoinArgs, given_token: Option<&str>) -> Result<(), CliError> {
    let token = given_join_token(given_token)?;
    let report = crate::setup::join(&args.config, &token)
        .await
        .map_err(|error| CliError::Other(error.to_string()))?;
    print_line(&report.to_string())
}

fn given_join_token(given: Option<&str>) -> Result<Zeroizing<String>, CliError> {
    let missing = "give the join token with --token, or pipe it: `cluster join-token` on a running cluster makes one";
    let text = match given {
        Some(token) if token != "-" => Zeroizing::new(token.to_owned()),
        _ if std::io::stdin().is_terminal() => return Err(CliError::Usage(missing.into())),
        _ => {
            let mut text = Zeroizing::new(String::new());
            std::io::stdin()
                .lock()
                .take(MAX_JOIN_TOKEN_BYTES)
                .read_to_string(&mut text)
                .map_err(|error| CliError::file("read", "standard input", &error))?;
            text
        }
    };
    match text.trim() {
        "" => Err(CliError::Usage(missing.into())),
        token => Ok(Zeroizing::new(token.to_owned())),
    }
}

async fn join_token(client: &Client, args: JoinTokenArgs) -> Result<(), CliError> {
    let body = CreateJoinToken {
        uses: args.uses,
        ttl_secs: args.ttl_secs,
    };
    let call = Call::post(["cluster", "join-token"])
        .json(&body)?
        .repeating(args.repeat.idempotency_key);
    let answer = client.call(&call).await?;
    let created: CreatedJoinToken = answer.decode()?;
    if args.json {
        return print(answer.bytes()).and_then(|()| print(b"\n"));
    }
    let nodes = if created.uses == 1 { "node" } else { "nodes" };
    eprintln!(
        "good for {} {nodes} until {}; it is not shown again",
        created.uses, created.expires_at
    );
    print_line(created.join_token.expose())
}

async fn transfer_leader(client: &Client, args: TransferArgs) -> Result<(), CliError> {
    let call = Call::post(["cluster", "transfer-leader"])
        .json(&TransferLeader { to: args.to })?
        .repeating(args.repeat.idempotency_key);
    let transferred: LeaderTransferred = client.call(&call).await?.decode()?;
    print_line(&format!("node {} leads", transferred.leader))
}

async fn status(client: &Client, args: &StatusArgs) -> Result<(), CliError> {
    let answer = client.call(&Call::get(["cluster", "status"])).await?;
    match args.output {
        TableOrJson::Json => print(answer.bytes()).and_then(|()| print(b"\n")),
        TableOrJson::Table => {
            let status: ClusterStatus = answer.decode()?;
            eprintln!("{}", headline(&status));
            print(table(status).as_bytes())
        }
    }
}

fn headline(status: &ClusterStatus) -> String {
    let leader = match status.leader {
        Some(leader) => format!("node {leader} leads"),
        None => "no leader is known".to_owned(),
    };
    let (cluster, term) = (&status.cluster_id, status.term);
    let (epoch, level) = (status.recovery_epoch, status.level);
    format!("cluster {cluster}: {leader} in term {term}; level {level}, recovery epoch {epoch}")
}

fn table(status: ClusterStatus) -> String {
    let mut columns = Columns::new([
        "NODE", "ROLE", "VOTER", "TERM", "LAST_LOG", "APPLIED", "LAG", "SEALED", "VERSION", "API",
        "PEER",
    ]);
    let yes_or_no = |yes: bool| String::from(if yes { "yes" } else { "no" });
    for node in status.nodes {
        columns.row([
            node.id.to_string(),
            node.role.as_str().to_owned(),
            yes_or_no(node.voter),
            or_dash(node.term),
            or_dash(node.last_log),
            or_dash(node.applied),
            or_dash(node.lag),
            or_dash(node.sealed.map(yes_or_no)),
            or_dash(node.version),
            node.api,
            node.peer,
        ]);
    }
    columns.render()
}

#[cfg(test)]
mod tests {
    use jarvis_wire::cluster::{NodeRole, NodeStatus};

    use super::*;

    fn node(id: u64) -> NodeStatus {
        NodeStatus {
            id,
            role: NodeRole::Follower,
            voter: true,
            term: Some(4),
            last_log: Some(120),
            applied: Some(119),
            lag: Some(1),
            sealed: Some(false),
            version: Some("0.1.0".into()),
            api: "http://127.0.0.1:8082".into(),
            peer: "127.0.0.1:9082".into(),
            reachable: true,
        }
    }

    #[test]
    fn l2_status_has_a_line_per_node_and_dashes_for_one_that_does_not_answer() {
        let lost = NodeStatus {
            role: NodeRole::Unreachable,
            term: None,
            last_log: None,
            applied: None,
            lag: None,
            sealed: None,
            version: None,
            reachable: false,
            ..node(9)
        };
        let status = ClusterStatus {
            cluster_id: "00ff".into(),
            recovery_epoch: 0,
            level: 1,
            leader: None,
            term: 4,
            nodes: vec![node(1), lost],
        };
        assert!(headline(&status).contains("no leader is known in term 4"));
        let text = table(status);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        let cells: Vec<_> = lines[1].split_whitespace().collect();
        assert_eq!(
            cells[..8],
            ["1", "follower", "yes", "4", "120", "119", "1", "no"]
        );
        let cells: Vec<_> = lines[2].split_whitespace().collect();
        assert_eq!(
            cells[..9],
            ["9", "unreachable", "yes", "-", "-", "-", "-", "-", "-"]
        );
    }

    #[test]
    fn l2_the_join_token_comes_from_the_command_line_without_its_newline() {
        assert_eq!(
            given_join_token(Some("example-join-token\n"))
                .unwrap()
                .as_str(),
            "example-join-token"
        );
    }
}
