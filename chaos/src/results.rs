//! Results accumulate: one line of JSON for each run, with the commit and the command, in `docs/results/<tier>.jsonl`.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::verdict::ExitVerdict;

/// One run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When it ended, RFC 3339, UTC.
    pub date: String,
    /// What was tested; `unknown` outside of a checkout.
    pub commit: String,
    /// `run`, `sim`, `mutants`, `check`, or a tier's name.
    pub what: String,
    /// The command, to have it again.
    pub command: String,
    /// How long it took.
    pub seconds: u64,
    /// `held`, `violated` or `vacuous`.
    pub verdict: String,
    /// Operations, faults by class, seeds: whatever there is to count.
    pub counts: BTreeMap<String, u64>,
}

impl Line {
    /// A line about this process's command; nothing is counted yet.
    #[must_use]
    pub fn new(what: &str, verdict: ExitVerdict, took: Duration) -> Self {
        Self {
            date: now(),
            commit: commit(),
            what: what.to_owned(),
            command: command(),
            seconds: took.as_secs(),
            verdict: verdict.word().to_owned(),
            counts: BTreeMap::new(),
        }
    }

    /// Adds to a count.
    pub fn count(&mut self, what: impl Into<String>, number: u64) {
        *self.counts.entry(what.into()).or_insert(0) += number;
    }
}

/// Appends a line; the file and its folder are made if there are none.
///
/// # Errors
/// When it can not be written.
pub fn append(path: &Path, line: &Line) -> anyhow::Result<()> {
    let cannot = || format!("the result can not be appended to {}", path.display());
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        fs::create_dir_all(folder).with_context(cannot)?;
    }
    let mut text = serde_json::to_string(line).with_context(cannot)?;
    text.push('\n');
    let file = OpenOptions::new().create(true).append(true).open(path);
    // One write: lines of two programs do not mix.
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(cannot)
}

/// The commit that lies in this folder, with a `+` where files differ from it; `unknown` if that can not be told.
#[must_use]
pub fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    let changes = git(&["status", "--porcelain", "--untracked-files=no"]);
    let is_clean = changes.is_some_and(|changes| changes.is_empty());
    format!("{commit}{}", if is_clean { "" } else { "+" })
}

/// Now, for people.
#[must_use]
pub fn now() -> String {
    let now = OffsetDateTime::now_utc();
    let now = now.replace_nanosecond(0).unwrap_or(now);
    now.format(&Rfc3339).unwrap_or_default()
}

/// This process's own command line; a token in it is not shown.
fn command() -> String {
    let mut words: Vec<String> = Vec::new();
    let mut is_token = false;
    for word in std::env::args() {
        let shown = if is_token {
            "…".to_owned()
        } else if word.starts_with("--token=") {
            "--token=…".to_owned()
        } else {
            word.clone()
        };
        is_token = word == "--token";
        words.push(shown);
    }
    if let Some(program) = words.first_mut() {
        let name = program.rsplit('/').next().unwrap_or_default().to_owned();
        *program = name;
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_accumulate_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results/change.jsonl");
        let mut line = Line::new("run", ExitVerdict::Held, Duration::from_secs(61));
        line.count("operations", 40);
        line.count("operations", 2);
        append(&path, &line).unwrap();
        append(&path, &line).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<Line> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines, [line.clone(), line]);
        assert_eq!(lines[0].counts["operations"], 42);
        assert_eq!((lines[0].seconds, lines[0].verdict.as_str()), (61, "held"));
        assert!(lines[0].date.ends_with('Z'), "{}", lines[0].date);
    }
}
