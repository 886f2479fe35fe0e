//! `completions`: a completion script for a shell, on standard output (L3).

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::aot::{Shell, generate};

use super::error::CliError;
use super::output::print;

/// `completions SHELL`
#[derive(Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run<C: CommandFactory>(args: &CompletionsArgs) -> Result<ExitCode, CliError> {
    let mut command = C::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    generate(args.shell, &mut command, name, &mut script);
    print(&script)?;
    Ok(ExitCode::SUCCESS)
}
