//! `list`: names and their dates, never a value (A4).

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use jarvis_wire::secrets::{SecretList, SecretSummary};

use super::client::{Call, Client};
use super::error::CliError;
use super::output::{Columns, json_text, print, print_line};

/// Names asked for at a time: a page of about 300 KB.
const PAGE: u32 = 1_000;

/// How a list is printed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TableOrJson {
    /// One header line, the first column identifies the row
    Table,
    /// The server's JSON
    Json,
}

/// `list [--prefix P] [--deleted] [-o table|json]`
#[derive(Args)]
pub(crate) struct ListArgs {
    /// Only names that begin with this text
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// Also deleted names that can still be undeleted
    #[arg(long)]
    deleted: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = TableOrJson::Table)]
    output: TableOrJson,
}

pub(crate) async fn run(client: &Client, args: ListArgs) -> Result<ExitCode, CliError> {
    let secrets = all(client, args.prefix.as_deref(), args.deleted).await?;
    match args.output {
        TableOrJson::Json => print_line(&json_text(&SecretList {
            secrets,
            next: None,
        })?)?,
        TableOrJson::Table => print(table(secrets, args.deleted).as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Every name that the caller may see, over all pages.
pub(crate) async fn all(
    client: &Client,
    prefix: Option<&str>,
    deleted: bool,
) -> Result<Vec<SecretSummary>, CliError> {
    let mut secrets: Vec<SecretSummary> = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let call = Call::get(["secrets"])
            .query("limit", PAGE)
            .query_if("prefix", prefix)
            .query_if("after", after.as_deref())
            .query_if("deleted", deleted.then_some(true));
        let page: SecretList = client.call(&call).await?.decode()?;
        secrets.extend(page.secrets);
        match page.next {
            None => return Ok(secrets),
            // A page must lead on, or this would never end.
            Some(next) if after.as_ref().is_some_and(|last| *last >= next) => {
                return Err(CliError::Other(
                    "the server's pages do not lead on; try again".into(),
                ));
            }
            Some(next) => after = Some(next),
        }
    }
}

fn table(secrets: Vec<SecretSummary>, deleted: bool) -> String {
    let mut columns = Columns::new(["NAME", "VERSION", "CREATED", "EXPIRES", "STATE"]);
    for secret in secrets {
        let state = match (&secret.deleted_at, &secret.undelete_until) {
            (Some(_), Some(until)) => format!("deleted, undelete until {until}"),
            (Some(_), None) => "deleted".to_owned(),
            (None, _) if secret.is_expired => "due".to_owned(),
            (None, _) => "ok".to_owned(),
        };
        if secret.deleted_at.is_some() && !deleted {
            continue;
        }
        columns.row([
            secret.name,
            secret.version.to_string(),
            secret.created_at,
            secret.expires_at,
            state,
        ]);
    }
    columns.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(name: &str) -> SecretSummary {
        SecretSummary {
            name: name.into(),
            kid: format!("{name}-20261122-030000"),
            version: 1,
            created_at: "2026-11-22T03:00:00Z".into(),
            expires_at: "2027-02-20T03:00:00Z".into(),
            is_expired: false,
            deleted_at: None,
            undelete_until: None,
            description: None,
            owner: None,
            secret_type: None,
        }
    }

    #[test]
    fn l1_a_list_has_one_header_line_and_the_name_in_column_one() {
        let text = table(vec![summary("db/main"), summary("x")], false);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("NAME "));
        assert!(lines[1].starts_with("db/main "));
        assert!(lines[2].ends_with("  ok"));
    }

    #[test]
    fn a9_a_deleted_name_says_until_when_it_can_come_back() {
        let gone = SecretSummary {
            deleted_at: Some("2026-11-22T04:00:00Z".into()),
            undelete_until: Some("2026-11-29T04:00:00Z".into()),
            ..summary("x")
        };
        let text = table(vec![gone], true);
        assert!(
            text.contains("undelete until 2026-11-29T04:00:00Z"),
            "{text}"
        );
    }
}
