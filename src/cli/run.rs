//! `run -- CMD`: values into the child's environment, and nowhere else (L3).
//!
//! The command takes this process's place (`exec`), so that signals, the terminal and the exit code are the child's own.
//! Who may write a secret chooses values for it, and not what is run: a name that would become `PATH` or `LD_PRELOAD` is
//! refused.

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

/// Variables that choose the program, or the script that a shell runs before it.
const CODE_VARIABLES: [&str; 2] = ["PATH", "BASH_ENV"];
/// Beginnings of those by which a loader puts libraries into every program.
const LOADER_PREFIXES: [&str; 2] = ["LD_", "DYLD_"];

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
        if chooses_code(&variable) {
            return Err(CliError::Usage(format!(
                "{} would become {variable}, which decides what is run here: nothing was started. Choose other secrets \
                 with --prefix or --names, or write this one under another name (app/{} becomes another variable, \
                 without --strip-prefix)",
                secret.name,
                variable.to_ascii_lowercase()
            )));
        }
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

/// Whether a variable decides which code runs, before the command's own first line.
fn chooses_code(variable: &str) -> bool {
    CODE_VARIABLES.contains(&variable)
        || LOADER_PREFIXES
            .iter()
            .any(|prefix| variable.starts_with(prefix))
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
    fn l3_no_secret_chooses_what_is_run() {
        for refused in [
            "PATH",
            "BASH_ENV",
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "DYLD_INSERT_LIBRARIES",
        ] {
            assert!(chooses_code(refused), "{refused}");
        }
        for taken in ["DATABASE_URL", "APP_PATH", "PATHS", "LDAP_PASSWORD", "HOME"] {
            assert!(!chooses_code(taken), "{taken}");
        }
    }

    #[test]
    fn l3_a_command_that_can_not_start_answers_as_a_shell_would() {
        let missing = std::io::Error::from(ErrorKind::NotFound);
        assert_eq!(not_started(OsStr::new("nope"), &missing).exit_code(), 127);
        let forbidden = std::io::Error::from(ErrorKind::PermissionDenied);
        assert_eq!(not_started(OsStr::new("nope"), &forbidden).exit_code(), 126);
    }
}
