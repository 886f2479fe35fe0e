//! `man`: the manual page on standard output, or one page per verb in a folder (L3).

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory};

use super::error::CliError;
use super::output::print;

/// `man [--dir DIR]`
#[derive(Args)]
pub(crate) struct ManArgs {
    /// Write a page per verb into this folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(crate) fn run<C: CommandFactory>(args: &ManArgs) -> Result<ExitCode, CliError> {
    match &args.dir {
        Some(dir) => clap_mangen::generate_to(C::command(), dir)
            .map_err(|error| CliError::file("write manual pages into", dir.display(), &error))?,
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(C::command())
                .render(&mut page)
                .map_err(|error| CliError::Other(format!("can not render the page: {error}")))?;
            print(&page)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
