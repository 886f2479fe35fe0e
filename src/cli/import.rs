//! `import`: an env file into the vault, entry by entry (L3).
//!
//! Each entry is read first and compared, so that a second run changes nothing; each write is a compare-and-set on what
//! was read, so that a change by somebody else in between is never overwritten.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use jarvis_wire::ErrorCode;
use jarvis_wire::secrets::{SecretValue, WriteSecret};
use zeroize::Zeroizing;

use super::client::{Call, Client};
use super::collect::value_bytes;
use super::env_file::{self, BadLine, Duplicate, Entry};
use super::error::{CliError, REFUSED};
use super::output::print;
use super::versions::{check_name, explain};

/// Largest file read: 16 values of the largest size; an env file is a few kilobytes.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// `import FILE [--prefix P] [--dry-run]`
#[derive(Args)]
pub(crate) struct ImportArgs {
    /// The env file
    file: PathBuf,
    /// Put this text before every name, such as team/
    #[arg(long, value_name = "TEXT", default_value = "")]
    prefix: String,
    /// Say what would be done, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// How to import.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// Put before every (lowered) key; empty for none.
    pub prefix: String,
    /// Compare only, write nothing.
    pub dry_run: bool,
}

/// What an import did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Names that did not exist.
    pub created: Vec<String>,
    /// Names that got a new version.
    pub updated: Vec<String>,
    /// Names that had this value already.
    pub unchanged: Vec<String>,
    /// Names that were refused, each with the reason.
    pub refused: Vec<(String, String)>,
    /// Lines that are no entries.
    pub bad: Vec<BadLine>,
    /// Entries that a later line replaced.
    pub duplicates: Vec<Duplicate>,
    /// Whether nothing was written on purpose.
    pub dry_run: bool,
}

enum Change {
    Created,
    Updated,
    Unchanged,
}

pub(crate) async fn run(client: &Client, args: ImportArgs) -> Result<ExitCode, CliError> {
    let options = ImportOptions {
        prefix: args.prefix,
        dry_run: args.dry_run,
    };
    let report = import_file(client, &args.file, &options).await?;
    print(report.to_string().as_bytes())?;
    Ok(if report.is_complete() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(REFUSED)
    })
}

/// Imports a file. Bad lines and refused names are reported and the rest goes on.
///
/// # Errors
/// Where the file can not be read, or where no further request could succeed (no server, sealed, bad credential). What
/// was written until then stays, and running it again is safe.
pub async fn import_file(
    client: &Client,
    path: &Path,
    options: &ImportOptions,
) -> Result<ImportReport, CliError> {
    let file = env_file::parse(&read(path)?);
    let mut report = ImportReport {
        bad: file.bad,
        duplicates: file.duplicates,
        dry_run: options.dry_run,
        ..ImportReport::default()
    };
    for entry in &file.entries {
        let name = format!("{}{}", options.prefix, entry.name);
        match import_entry(client, &name, entry, options.dry_run).await {
            Ok(Change::Created) => report.created.push(name),
            Ok(Change::Updated) => report.updated.push(name),
            Ok(Change::Unchanged) => report.unchanged.push(name),
            // The command is repeatable as a whole; a key would belong to one entry only.
            Err(CliError::UnknownOutcome { cause, .. }) => {
                let cause = format!("at {name}: {cause}");
                return Err(CliError::UnknownOutcome {
                    idempotency_key: None,
                    cause,
                });
            }
            Err(error) if error.concerns_every_request() => return Err(error),
            Err(error) => report.refused.push((name, error.to_string())),
        }
    }
    Ok(report)
}

async fn import_entry(
    client: &Client,
    name: &str,
    entry: &Entry,
    dry_run: bool,
) -> Result<Change, CliError> {
    check_name(name)?;
    let current = current(client, name).await?;
    if let Some(secret) = &current
        && value_bytes(secret)?.as_slice() == entry.value.as_bytes()
    {
        return Ok(Change::Unchanged);
    }
    if !dry_run {
        write(
            client,
            name,
            entry,
            current.as_ref().map_or(0, |secret| secret.version),
        )
        .await?;
    }
    Ok(if current.is_some() {
        Change::Updated
    } else {
        Change::Created
    })
}

async fn current(client: &Client, name: &str) -> Result<Option<SecretValue>, CliError> {
    match client.call(&Call::get(["secret", name])).await {
        Ok(answer) => answer.decode().map(Some),
        Err(error) if error.server_code() == Some(ErrorCode::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn write(client: &Client, name: &str, entry: &Entry, cas: u64) -> Result<(), CliError> {
    let value = jarvis_wire::SecretText::new(entry.value.as_str());
    let body = WriteSecret {
        cas: Some(cas),
        ..WriteSecret::new(name, value)
    };
    match client.call(&Call::post(["secret"]).json(&body)?).await {
        Ok(_) => Ok(()),
        Err(error) => Err(explain(client, name, error).await),
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let problem = |error: &std::io::Error| CliError::file("read", path.display(), error);
    let size = std::fs::metadata(path)
        .map_err(|error| problem(&error))?
        .len();
    if size > MAX_FILE_BYTES {
        let path = path.display();
        return Err(CliError::Usage(format!(
            "{path} has {size} bytes, and {MAX_FILE_BYTES} is the most: is it an env file?"
        )));
    }
    std::fs::read(path)
        .map(Zeroizing::new)
        .map_err(|error| problem(&error))
}

impl ImportReport {
    /// Whether every line of the file is in the vault now, or would be.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.bad.is_empty() && self.refused.is_empty()
    }
}

impl std::fmt::Display for ImportReport {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for name in &self.created {
            writeln!(formatter, "created    {name}")?;
        }
        for name in &self.updated {
            writeln!(formatter, "updated    {name}")?;
        }
        for twice in &self.duplicates {
            let Duplicate {
                name,
                replaced_line,
                line,
            } = twice;
            writeln!(
                formatter,
                "duplicate  line {replaced_line}: {name}, line {line} counts"
            )?;
        }
        for bad in &self.bad {
            writeln!(formatter, "bad        line {}: {}", bad.line, bad.reason)?;
        }
        for (name, reason) in &self.refused {
            writeln!(formatter, "refused    {name}: {reason}")?;
        }
        writeln!(
            formatter,
            "{}{} created, {} updated, {} unchanged, {} duplicates, {} bad lines, {} refused",
            if self.dry_run { "dry run: " } else { "" },
            self.created.len(),
            self.updated.len(),
            self.unchanged.len(),
            self.duplicates.len(),
            self.bad.len(),
            self.refused.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::env_file::BadReason;

    #[test]
    fn l3_the_report_names_what_changed_and_what_is_wrong() {
        let report = ImportReport {
            created: vec!["a".into()],
            unchanged: vec!["b".into()],
            bad: vec![BadLine {
                line: 3,
                reason: BadReason::NoAssignment,
            }],
            duplicates: vec![Duplicate {
                name: "a".into(),
                replaced_line: 1,
                line: 5,
            }],
            ..ImportReport::default()
        };
        let text = report.to_string();
        assert!(text.contains("created    a\n"), "{text}");
        assert!(text.contains("line 3: there is no '='\n"), "{text}");
        assert!(text.contains("line 1: a, line 5 counts\n"), "{text}");
        assert!(text.ends_with(
            "1 created, 0 updated, 1 unchanged, 1 duplicates, 1 bad lines, 0 refused\n"
        ));
        assert!(!report.is_complete());
    }

    #[test]
    fn l3_the_shipped_example_has_no_bad_line_and_one_duplicate() {
        let file = env_file::parse(include_bytes!("../../examples/team.env"));
        assert!(file.bad.is_empty(), "{:?}", file.bad);
        assert_eq!(file.duplicates.len(), 1);
        assert!(file.entries.len() >= 40, "{}", file.entries.len());
        assert!(file.entries.iter().any(|entry| entry.value.is_empty()));
        assert!(file.entries.iter().any(|entry| entry.value.contains('\n')));
        assert!(file.entries.iter().any(|entry| !entry.value.is_ascii()));
    }
}
