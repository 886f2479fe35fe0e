//! The `.env` grammar (L3), as a pure parser: bytes in; entries, bad lines and duplicates out.
//!
//! ```text
//! line    = blank | '#' … | ['export' space] KEY [space] '=' [space] value
//! value   = unquoted   ends at " #" or the newline; trimmed
//!         | '…'        literal, within one line
//!         | "…"        knows \n \t \r \" \\ \$ and may span lines; any other backslash stands for itself
//! ```
//! Nothing is interpolated. An empty value is an empty secret. Keys are lowered and must then be legal names (A14). Of
//! entries with one key the last wins, and the earlier ones are reported. After a bad line the parser goes on with the
//! next line, also when the bad one opened a quote. No error holds a part of a value.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jarvis_domain::name::SecretName;
use zeroize::Zeroizing;

/// What a file holds.
#[derive(Debug, Default)]
pub struct EnvFile {
    /// The entries that count, in the order of their lines; each name once.
    pub entries: Vec<Entry>,
    /// What could not be read, in the order of the lines.
    pub bad: Vec<BadLine>,
    /// Entries that a later line replaced.
    pub duplicates: Vec<Duplicate>,
}

/// One name and its value.
pub struct Entry {
    /// The key, lowered.
    pub name: String,
    /// The value after unquoting.
    pub value: Zeroizing<String>,
    /// Number of the line where it starts, from 1.
    pub line: usize,
    /// Number of the line where it ends.
    last_line: usize,
}

impl fmt::Debug for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Entry")
            .field("name", &self.name)
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}

/// A line that is not an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: BadReason,
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadReason {
    /// Neither blank, nor a comment, nor an assignment.
    #[error("there is no '='")]
    NoAssignment,
    /// The key is no legal name.
    #[error(
        "the key is empty, too long, or holds other characters than letters, digits, '_', '.', '-' and '/'"
    )]
    BadKey,
    /// A single quote that its line does not close.
    #[error("the single quote is not closed on this line")]
    OpenSingleQuote,
    /// A double quote that the file does not close.
    #[error("the double quote is never closed")]
    OpenDoubleQuote,
    /// Something other than a comment behind the closing quote.
    #[error("there is text after the closing quote")]
    TextAfterQuote,
    /// Bytes that are no text.
    #[error("it is not UTF-8")]
    NotUtf8,
}

/// An entry that a later one replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicate {
    /// The name of both.
    pub name: String,
    /// Line of the entry that was replaced.
    pub replaced_line: usize,
    /// Line of the entry that counts instead.
    pub line: usize,
}

/// Reads a whole file. Never fails: what can not be read is in [`EnvFile::bad`].
#[must_use]
pub fn parse(bytes: &[u8]) -> EnvFile {
    let not_utf8 = lines_that_are_not_utf8(bytes);
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let lines: Vec<&str> = text.split('\n').collect();

    let mut found = Vec::new();
    let mut bad = Vec::new();
    let mut index = 0;
    while index < lines.len() {
        let line = index + 1;
        match statement(&lines, index) {
            Ok(None) => index += 1,
            Ok(Some(entry)) => {
                index = entry.last_line;
                match not_utf8.range(entry.line..=entry.last_line).next() {
                    Some(&line) => bad.push(BadLine {
                        line,
                        reason: BadReason::NotUtf8,
                    }),
                    None => found.push(entry),
                }
            }
            Err(reason) => {
                bad.push(BadLine { line, reason });
                index += 1;
            }
        }
    }
    let (entries, duplicates) = last_wins(found);
    EnvFile {
        entries,
        bad,
        duplicates,
    }
}

/// Writes an entry that [`parse`] reads back as the same text: `NAME="…"`, escaped, on one line.
#[must_use]
pub fn render(key: &str, value: &str) -> Zeroizing<String> {
    // Twice the value and a little more: growing would leave copies of it behind.
    let mut line = Zeroizing::new(String::with_capacity(key.len() + 2 * value.len() + 3));
    line.push_str(key);
    line.push_str("=\"");
    for character in value.chars() {
        match character {
            '\n' => line.push_str("\\n"),
            '\t' => line.push_str("\\t"),
            '\r' => line.push_str("\\r"),
            '"' | '\\' | '$' => {
                line.push('\\');
                line.push(character);
            }
            _ => line.push(character),
        }
    }
    line.push('"');
    line
}

/// Reads what starts at one line: nothing, or an entry.
fn statement(lines: &[&str], index: usize) -> Result<Option<Entry>, BadReason> {
    let line = lines[index].trim_start_matches(is_space);
    if line.trim_end_matches(is_space).is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (key, rest) = without_export(line)
        .split_once('=')
        .ok_or(BadReason::NoAssignment)?;
    let name = key.trim_matches(is_space).to_ascii_lowercase();
    if SecretName::parse(&name).is_err() {
        return Err(BadReason::BadKey);
    }
    let start = rest.trim_start_matches(is_space);
    let (value, last) = if let Some(quoted) = start.strip_prefix('\'') {
        (single_quoted(quoted)?, index)
    } else if let Some(quoted) = start.strip_prefix('"') {
        double_quoted(quoted, lines, index)?
    } else {
        (unquoted(rest), index)
    };
    Ok(Some(Entry {
        name,
        value,
        line: index + 1,
        last_line: last + 1,
    }))
}

/// Drops `export` when a space follows it; `export=1` is an entry named `export`.
fn without_export(line: &str) -> &str {
    match line.strip_prefix("export") {
        Some(rest) if rest.starts_with([' ', '\t']) => {
            let assignment = rest.trim_start_matches(is_space);
            if assignment.starts_with('=') {
                line
            } else {
                assignment
            }
        }
        _ => line,
    }
}

fn unquoted(rest: &str) -> Zeroizing<String> {
    let value = rest
        .split_once(" #")
        .map_or(rest, |(value, _comment)| value);
    Zeroizing::new(value.trim_matches(is_space).to_owned())
}

fn single_quoted(quoted: &str) -> Result<Zeroizing<String>, BadReason> {
    let (value, after) = quoted.split_once('\'').ok_or(BadReason::OpenSingleQuote)?;
    nothing_after(after)?;
    Ok(Zeroizing::new(value.to_owned()))
}

/// Reads from behind the opening quote; the second part of the result is the index of the line with the closing one.
fn double_quoted(
    first: &str,
    lines: &[&str],
    index: usize,
) -> Result<(Zeroizing<String>, usize), BadReason> {
    let mut value = Zeroizing::new(String::with_capacity(first.len()));
    let mut line = first;
    let mut current = index;
    loop {
        if let Some(after) = double_quoted_line(line, &mut value) {
            nothing_after(after)?;
            return Ok((value, current));
        }
        value.push('\n');
        current += 1;
        line = lines
            .get(current)
            .copied()
            .ok_or(BadReason::OpenDoubleQuote)?;
    }
}

/// Adds one line's part of a value; `Some` is what stands behind the closing quote.
fn double_quoted_line<'a>(line: &'a str, value: &mut String) -> Option<&'a str> {
    let mut rest = line.chars();
    while let Some(character) = rest.next() {
        match character {
            '"' => return Some(rest.as_str()),
            '\\' => {
                let mut ahead = rest.clone();
                let known = ahead.next().and_then(escaped);
                match known {
                    Some(meant) => {
                        value.push(meant);
                        rest = ahead;
                    }
                    None => value.push('\\'),
                }
            }
            _ => value.push(character),
        }
    }
    None
}

/// What a backslash and this character mean together.
fn escaped(character: char) -> Option<char> {
    match character {
        'n' => Some('\n'),
        't' => Some('\t'),
        'r' => Some('\r'),
        '"' | '\\' | '$' => Some(character),
        _ => None,
    }
}

fn nothing_after(after: &str) -> Result<(), BadReason> {
    let after = after.trim_matches(is_space);
    if after.is_empty() || after.starts_with('#') {
        Ok(())
    } else {
        Err(BadReason::TextAfterQuote)
    }
}

/// Spaces, tabs, and the carriage return of a file from another system.
fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r')
}

fn lines_that_are_not_utf8(bytes: &[u8]) -> BTreeSet<usize> {
    let lines = bytes.split(|&byte| byte == b'\n');
    let broken = lines
        .enumerate()
        .filter(|(_, line)| std::str::from_utf8(line).is_err());
    broken.map(|(index, _)| index + 1).collect()
}

fn last_wins(found: Vec<Entry>) -> (Vec<Entry>, Vec<Duplicate>) {
    let last: BTreeMap<String, usize> = found
        .iter()
        .map(|entry| (entry.name.clone(), entry.line))
        .collect();
    let mut entries = Vec::with_capacity(last.len());
    let mut duplicates = Vec::new();
    for entry in found {
        match last.get(&entry.name) {
            Some(&line) if line != entry.line => {
                duplicates.push(Duplicate {
                    name: entry.name,
                    replaced_line: entry.line,
                    line,
                });
            }
            _ => entries.push(entry),
        }
    }
    (entries, duplicates)
}

#[cfg(test)]
mod tests;
