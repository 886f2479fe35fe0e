//! `run -- CMD`: values into the child's environment, and nowhere else (L3).
//!
//! The command takes this process's place (`exec`), so that signals, the terminal and the exit code are the child's own.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use clap::Args;

use super::client::Client;
use super::collect::{SelectArgs, fetch_all, value_bytes, with_environment_names};
use super::error::CliError;

/// What a shell answers for a command that it does not find.
const COMMAND_NOT_FOUND: u8 = 127;
/// What a shell answers for a command that it can not start.
const COMMAND_NOT_STARTED: u8 = 126;

/// `run [--prefix P | --names A,B] [--strip-prefix] -- CMD ARGS…`
#[derive(Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    select: SelectArgs,
    /// Leave the --prefix out of the variables' names
    #[arg(long, requires = "prefix")]
    strip_prefix: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

pub(crate) async fn run(client: &Client, args: RunArgs) -> Result<ExitCode, CliError> {
    let Some((program, arguments)) = args.command.split_first() else {
        return Err(CliError::Usage("name a command after --".into()));
    };
    let secrets = fetch_all(client, &args.select).await?;
    let strip = args
        .select
        .prefix
        .as_deref()
        .filter(|_| args.strip_prefix)
        .unwrap_or("");
    let mut command = Command::new(program);
    command.args(arguments);
    for (variable, secret) in with_environment_names(&secrets, strip)? {
        let value = value_bytes(secret)?;
        if value.contains(&0) {
            return Err(CliError::Usage(format!(
                "{} holds a zero byte, which no environment can; choose others with --names",
                secret.name
            )));
        }
        command.env(variable, OsStr::from_bytes(&value));
    }
    Err(not_started(program, &command.exec()))
}

fn not_started(program: &OsStr, error: &std::io::Error) -> CliError {
    let code = match error.kind() {
        ErrorKind::NotFound => COMMAND_NOT_FOUND,
        _ => COMMAND_NOT_STARTED,
    };
    let message = format!("can not start {}: {error}", program.to_string_lossy());
    CliError::Child { message, code }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l3_a_command_that_can_not_start_answers_as_a_shell_would() {
        let missing = std::io::Error::from(ErrorKind::NotFound);
        assert_eq!(not_started(OsStr::new("nope"), &missing).exit_code(), 127);
        let forbidden = std::io::Error::from(ErrorKind::PermissionDenied);
        assert_eq!(not_started(OsStr::new("nope"), &forbidden).exit_code(), 126);
    }
}
