//! From a program without bugs to the same program with them.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use crate::verdict::ExitVerdict;

/// As `.cargo/config.toml` sets it, which the variable replaces; and the bugs.
const FLAGS: &str = "--cfg tokio_unstable --cfg jarvis_mutants";
/// Nobody measures what is built here: minutes less for a few percent of speed.
const QUICKER: [(&str, &str); 2] = [
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
];

/// Builds this program with the bugs and becomes it, with the arguments of this one. Returns only if that fails.
pub(super) fn become_the_build_with_mutants() -> anyhow::Result<ExitVerdict> {
    let root = workspace()?;
    let target = target_dir(root)?;
    eprintln!(
        "this program has no bugs to switch on; building the one that has them in {}",
        target.display()
    );
    let built = build(root, &target)
        .status()
        .context("cargo can not be started, and the program with the bugs is built by it")?;
    ensure!(
        built.success(),
        "the program with the bugs was not built: {built}"
    );
    let program = target.join("release/jarvis-chaos");
    let error = Command::new(&program)
        .args(std::env::args_os().skip(1))
        .exec();
    bail!("{} can not be started: {error}", program.display())
}

fn build(root: &Path, target: &Path) -> Command {
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build
        .current_dir(root)
        .args([
            "build",
            "--release",
            "--package",
            "jarvis-chaos",
            "--target-dir",
        ])
        .arg(target)
        .env("RUSTFLAGS", flags(std::env::var_os("RUSTFLAGS")))
        // It would replace the other one.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .envs(QUICKER);
    build
}

/// Whatever somebody builds with, and the bugs.
fn flags(own: Option<OsString>) -> OsString {
    let mut flags = own.unwrap_or_default();
    flags.push(" ");
    flags.push(FLAGS);
    flags
}

/// Where this program was built from.
fn workspace() -> anyhow::Result<&'static Path> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.filter(|root| root.join("Cargo.toml").is_file())
        .context(
            "the sources that this program was built from are not there any more, and the program with the bugs is built \
             from them. Run this from a checkout: cargo run --release -p jarvis-chaos -- mutants",
        )
}

/// A folder of its own below the usual one: a program with bugs must never stand where others are looked for.
fn target_dir(root: &Path) -> anyhow::Result<PathBuf> {
    let usual =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    std::path::absolute(usual.join("mutants")).context("the working directory is gone")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_has_its_own_folder_and_both_flags() {
        let root = workspace().unwrap();
        let target = target_dir(root).unwrap();
        assert!(target.is_absolute() && target.ends_with("mutants"));
        let build = build(root, &target);
        assert!(build.get_args().any(|argument| *argument == *target));
        let mut variables = build.get_envs();
        let flags = variables.find(|(name, _)| *name == "RUSTFLAGS");
        let flags = flags.and_then(|(_, flags)| flags).unwrap();
        let flags = flags.to_string_lossy();
        assert!(flags.contains("--cfg tokio_unstable") && flags.contains("--cfg jarvis_mutants"));
    }
}
