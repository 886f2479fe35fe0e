//! The command line as a user runs it: arguments, an environment, standard input; then exit code and both outputs.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Programs;
use crate::process::bare;

/// A shell session: variables and a folder.
#[derive(Debug, Clone)]
pub struct Cli {
    program: &'static str,
    variables: Vec<(String, String)>,
    folder: Option<PathBuf>,
}

/// What one command said.
#[derive(Debug)]
pub struct Said {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub bytes: Vec<u8>,
    /// Standard output as text.
    pub out: String,
    /// Standard error.
    pub err_bytes: Vec<u8>,
    /// Standard error as text.
    pub err: String,
}

impl Cli {
    pub(crate) fn new(programs: Programs) -> Self {
        Self {
            program: programs.cli,
            variables: Vec::new(),
            folder: None,
        }
    }

    /// The same session with one more variable; the last one of a name counts.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut session = self.clone();
        session.variables.push((name.to_owned(), value.to_owned()));
        session
    }

    /// The same session in a folder.
    #[must_use]
    pub fn within(&self, folder: &Path) -> Self {
        let mut session = self.clone();
        session.folder = Some(folder.to_owned());
        session
    }

    /// Runs a command with nothing on standard input.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Said {
        self.piped(arguments, b"")
    }

    /// Runs a command with these bytes on standard input.
    #[track_caller]
    pub fn piped(&self, arguments: &[&str], input: &[u8]) -> Said {
        let mut command = self.command(arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        // A command that does not read its input closes it, and inputs here fit into a pipe.
        let _not_read = pipe.write_all(input);
        drop(pipe);
        let output = child.wait_with_output().unwrap();
        Said {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            bytes: output.stdout,
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            err_bytes: output.stderr,
        }
    }

    /// Runs a command that must succeed, and gives back its standard output.
    #[track_caller]
    pub fn done(&self, arguments: &[&str]) -> String {
        self.run(arguments).expect(0).out
    }

    /// A command that is not run yet, for who wants to stop it on its way.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bare(self.program);
        command.args(arguments).envs(self.variables.iter().cloned());
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command
    }
}

impl Said {
    /// Checks the exit code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "standard output:\n{}\nstandard error:\n{}",
            self.out,
            self.err
        );
        self
    }

    /// Checks that standard error says something.
    #[track_caller]
    pub fn complains(self, about: &str) -> Self {
        assert!(
            self.err.contains(about),
            "'{about}' is missing in: {}",
            self.err
        );
        self
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_str(&self.out) {
            Ok(json) => json,
            Err(error) => panic!("no JSON ({error}): {}", self.out),
        }
    }
}
