//! The command line as a user runs it: arguments, an environment, standard input; then exit code and both outputs.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// The command line.
const PROGRAM: &str = env!("CARGO_BIN_EXE_jarvis-secrets");

/// A shell session: variables and a folder.
#[derive(Clone)]
pub(crate) struct Cli {
    variables: Vec<(String, String)>,
    folder: Option<PathBuf>,
}

/// What one command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Cli {
    /// Nothing of the environment of the test reaches a command, but for the search path.
    pub(crate) fn new() -> Self {
        let path = std::env::var("PATH").unwrap_or_default();
        Self {
            variables: vec![("PATH".to_owned(), path)],
            folder: None,
        }
    }

    /// The same session with one more variable; the last one of a name counts.
    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        let mut session = self.clone();
        session.variables.push((name.to_owned(), value.to_owned()));
        session
    }

    /// The same session in a folder.
    pub(crate) fn within(&self, folder: &Path) -> Self {
        let mut session = self.clone();
        session.folder = Some(folder.to_owned());
        session
    }

    /// Runs a command with nothing on standard input.
    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        self.piped(arguments, b"")
    }

    /// Runs a command with these bytes on standard input.
    pub(crate) fn piped(&self, arguments: &[&str], input: &[u8]) -> Said {
        let mut command = Command::new(PROGRAM);
        command
            .args(arguments)
            .env_clear()
            .envs(self.variables.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let mut child = command.spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        // A command that does not read its input closes it, and inputs here fit into a pipe.
        let _ = pipe.write_all(input);
        drop(pipe);
        let output = child.wait_with_output().unwrap();
        Said {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            bytes: output.stdout,
        }
    }

    /// Runs a command that must succeed, and gives back its standard output.
    #[track_caller]
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        self.run(arguments).expect(0).out
    }
}

impl Said {
    /// Checks the exit code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
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
    pub(crate) fn complains(self, about: &str) -> Self {
        assert!(
            self.err.contains(about),
            "'{about}' is missing in: {}",
            self.err
        );
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        match serde_json::from_str(&self.out) {
            Ok(json) => json,
            Err(error) => panic!("no JSON ({error}): {}", self.out),
        }
    }
}
