//! Failing and slow syncs, and a wrong clock, in a node that runs: a small library between it and the system, compiled
//! when a run begins, and told what to do through a file.
//!
//! It needs a C compiler and a node that is linked dynamically; no root. A pause of a whole second before each sync and
//! an error in its place are exact; what it can not do is lose what the kernel already has: that is a power cut's.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The library's source.
const SOURCE: &str = include_str!("shim.c");
/// What tells a node's library where its file is.
const CONTROL_VARIABLE: &str = "JARVIS_CHAOS_CONTROL";
/// The compilers that are tried, in this order.
const COMPILERS: [&str; 3] = ["cc", "gcc", "clang"];

/// The members of `struct control`: each has eight bytes.
const ATTACHED: u64 = 0;
const FAIL: u64 = 8;
const SLOW_MS: u64 = 16;
const FAILED: u64 = 24;
const SLOWED: u64 = 32;
const CLOCK_MS: u64 = 40;
const CONTROL_BYTES: u64 = 48;

/// The compiled library.
#[derive(Debug, Clone)]
pub(crate) struct Shim {
    library: PathBuf,
}

/// What one node's library is told.
#[derive(Debug)]
pub(crate) struct Control {
    file: File,
    path: PathBuf,
    library: PathBuf,
}

impl Shim {
    /// Compiles the library into a folder.
    ///
    /// # Errors
    /// Why this machine can not.
    pub(crate) fn compile(folder: &Path) -> Result<Self, String> {
        let (source, library) = (folder.join("shim.c"), folder.join("shim.so"));
        let text = library.to_string_lossy().into_owned();
        if text.contains([' ', ':']) {
            return Err(format!(
                "LD_PRELOAD takes no path with a blank or a colon, such as {text}; give another --work"
            ));
        }
        std::fs::write(&source, SOURCE).map_err(|error| error.to_string())?;
        let mut complaints = Vec::new();
        for compiler in COMPILERS {
            let mut command = Command::new(compiler);
            command.args(["-shared", "-fPIC", "-O2", "-o"]);
            let output = command.arg(&library).arg(&source).arg("-ldl").output();
            match output {
                Ok(output) if output.status.success() => return Ok(Self { library }),
                Ok(output) => {
                    let said = String::from_utf8_lossy(&output.stderr).into_owned();
                    let first = said.lines().next().unwrap_or_default();
                    complaints.push(format!("{compiler}: {first}"));
                }
                Err(error) => complaints.push(format!("{compiler}: {error}")),
            }
        }
        Err(format!(
            "there is no C compiler that works ({})",
            complaints.join("; ")
        ))
    }

    /// A file for one node; nothing is wrong yet.
    ///
    /// # Errors
    /// When it can not be made.
    pub(crate) fn control(&self, path: PathBuf) -> io::Result<Control> {
        let file = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(&path)?;
        file.set_len(CONTROL_BYTES)?;
        Ok(Control {
            file,
            path,
            library: self.library.clone(),
        })
    }
}

impl Control {
    /// What a node's environment needs.
    pub(crate) fn environment(&self) -> [(&'static str, PathBuf); 2] {
        [
            ("LD_PRELOAD", self.library.clone()),
            (CONTROL_VARIABLE, self.path.clone()),
        ]
    }

    /// Whether a process has loaded it.
    pub(crate) fn is_attached(&self) -> bool {
        self.read(ATTACHED) > 0
    }

    /// From now on syncs of the log fail, or do not.
    ///
    /// # Errors
    /// When the file can not be written.
    pub(crate) fn fail_syncs(&self, fail: bool) -> io::Result<()> {
        self.write(FAIL, i64::from(fail))
    }

    /// From now on every sync of the log takes this much longer.
    ///
    /// # Errors
    /// When the file can not be written.
    pub(crate) fn slow_syncs(&self, by_ms: u64) -> io::Result<()> {
        self.write(SLOW_MS, i64::try_from(by_ms).unwrap_or(i64::MAX))
    }

    /// From now on the wall clock is wrong by this much.
    ///
    /// # Errors
    /// When the file can not be written.
    pub(crate) fn step_clock(&self, by_ms: i64) -> io::Result<()> {
        self.write(CLOCK_MS, by_ms)
    }

    /// Syncs that failed so far.
    pub(crate) fn failed(&self) -> i64 {
        self.read(FAILED)
    }

    /// Syncs that took longer so far.
    pub(crate) fn slowed(&self) -> i64 {
        self.read(SLOWED)
    }

    /// Nothing is wrong any more.
    ///
    /// # Errors
    /// When the file can not be written.
    pub(crate) fn heal(&self) -> io::Result<()> {
        self.fail_syncs(false)?;
        self.slow_syncs(0)?;
        self.step_clock(0)
    }

    fn write(&self, at: u64, number: i64) -> io::Result<()> {
        self.file.write_all_at(&number.to_ne_bytes(), at)
    }

    /// 0 where it can not be read: then nothing is known of it.
    fn read(&self, at: u64) -> i64 {
        let mut bytes = [0; 8];
        match self.file.read_exact_at(&mut bytes, at) {
            Ok(()) => i64::from_ne_bytes(bytes),
            Err(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any program that asks for the time, and one that syncs, stand for a node.
    #[test]
    fn a_program_under_the_library_has_the_clock_and_the_disk_it_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let shim = match Shim::compile(folder.path()) {
            Ok(shim) => shim,
            Err(reason) => {
                eprintln!("!!! SKIPPED: the library was NOT tested: {reason}");
                return;
            }
        };
        let control = shim.control(folder.path().join("control")).unwrap();
        assert!(!control.is_attached());
        let year = || {
            let mut command = Command::new("date");
            let output = command.arg("+%Y").envs(control.environment()).output();
            let text = String::from_utf8(output.unwrap().stdout).unwrap();
            text.trim().parse::<i64>().unwrap()
        };
        let today = year();
        assert!(control.is_attached());
        control.step_clock(400 * 86_400_000).unwrap();
        assert!(year() > today);

        let log = folder.path().join("wal");
        std::fs::create_dir(&log).unwrap();
        let sync = || {
            let mut command = Command::new("dd");
            command
                .args(["if=/dev/zero", "bs=1", "count=1", "conv=fdatasync"])
                .arg(format!("of={}", log.join("1.wal").display()))
                .envs(control.environment());
            command.output().unwrap().status.success()
        };
        assert!(sync());
        control.slow_syncs(1).unwrap();
        assert!(sync());
        assert_eq!((control.slowed(), control.failed()), (1, 0));
        control.fail_syncs(true).unwrap();
        assert!(!sync());
        assert_eq!(control.failed(), 1);
        control.heal().unwrap();
        assert!(sync());
        assert_eq!(year(), today);
    }
}
