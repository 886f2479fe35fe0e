//! `versions`: what is kept of a name; also the one place that explains a name that is not there (A9).

use std::process::ExitCode;

use clap::Args;
use jarvis_wire::ErrorCode;
use jarvis_wire::secrets::{VersionList, VersionState};

use super::client::{Call, Client};
use super::error::{CliError, ServerError};
use super::list::TableOrJson;
use super::output::{Columns, print, print_line};

/// `versions NAME [-o table|json]`
#[derive(Args)]
pub(crate) struct VersionsArgs {
    /// The secret's name
    name: String,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = TableOrJson::Table)]
    output: TableOrJson,
}

pub(crate) async fn run(client: &Client, args: VersionsArgs) -> Result<ExitCode, CliError> {
    check_name(&args.name)?;
    let answer = client
        .call(&Call::get(["secret", &args.name, "versions"]))
        .await?;
    match args.output {
        TableOrJson::Json => print(answer.bytes()).and_then(|()| print(b"\n"))?,
        TableOrJson::Table => {
            let list: VersionList = answer.decode()?;
            if let Some(sentence) = deletion(&list) {
                eprintln!("{sentence}");
            }
            print_line(&table(list))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Refuses a name that no server would take, before anything is sent (A14).
pub(crate) fn check_name(name: &str) -> Result<(), CliError> {
    jarvis_domain::name::SecretName::parse(name)
        .map(|_| ())
        .map_err(|error| CliError::Usage(format!("'{}': {error}", super::output::printable(name))))
}

/// Adds to a `not_found` or `conflict` that the name is deleted, and until when it can be undeleted.
pub(crate) async fn explain(client: &Client, name: &str, error: CliError) -> CliError {
    let CliError::Server(told) = error else {
        return error;
    };
    if !matches!(told.code, ErrorCode::NotFound | ErrorCode::Conflict) {
        return CliError::Server(told);
    }
    let call = Call::get(["secret", name, "versions"]);
    let list = match client.call(&call).await {
        Ok(answer) => answer.decode::<VersionList>().ok(),
        Err(_) => None,
    };
    match list.as_ref().and_then(deletion) {
        // The server may have said so itself.
        Some(sentence) if !told.message.contains("undelete") => {
            let message = format!("{}; {sentence}", told.message.trim_end_matches('.'));
            CliError::Server(ServerError { message, ..told })
        }
        _ => CliError::Server(told),
    }
}

fn deletion(list: &VersionList) -> Option<String> {
    let deleted_at = list.deleted_at.as_ref()?;
    let name = &list.name;
    Some(match &list.undelete_until {
        Some(until) => format!(
            "{name} was deleted at {deleted_at} and can be undeleted until {until}: `jarvis-secrets undelete {name}`"
        ),
        None => format!("{name} was deleted at {deleted_at}"),
    })
}

fn table(list: VersionList) -> String {
    let mut columns = Columns::new(["VERSION", "STATE", "CREATED", "EXPIRES", "KID"]);
    for version in list.versions {
        let state = match version.state {
            VersionState::Current => "current",
            VersionState::Previous => "previous",
        };
        columns.row([
            version.version.to_string(),
            state.to_owned(),
            version.created_at,
            version.expires_at,
            version.kid,
        ]);
    }
    columns.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a9_a_deleted_name_says_until_when_it_can_be_undeleted() {
        let mut list = VersionList {
            name: "db/main".into(),
            versions: vec![],
            deleted_at: None,
            undelete_until: None,
        };
        assert_eq!(deletion(&list), None);
        list.deleted_at = Some("2026-11-22T04:00:00Z".into());
        list.undelete_until = Some("2026-11-29T04:00:00Z".into());
        let sentence = deletion(&list).unwrap();
        assert!(sentence.contains("until 2026-11-29T04:00:00Z"));
        assert!(sentence.contains("`jarvis-secrets undelete db/main`"));
    }

    #[test]
    fn a14_a_bad_name_is_a_usage_error_before_anything_is_sent() {
        assert!(check_name("db/main").is_ok());
        for name in ["", "/a", "a b", ".."] {
            assert!(
                matches!(check_name(name), Err(CliError::Usage(_))),
                "{name}"
            );
        }
    }
}
