//! Reads `config.toml` key by key, so that every error can name the key, the value, the line and
//! what is legal.
//!
//! A [`Document`] is taken apart table by table; a [`Table`] key by key. What nobody took at the
//! end is an unknown key (F): nothing is ever ignored silently. An override of the [`Environment`]
//! wins over the file.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::environment::Environment;
use super::error::{BadValue, ConfigError};
use super::units;

/// Longest part of a value that an error repeats, in characters: one line of a terminal.
const MAX_SHOWN_CHARACTERS: usize = 120;

/// A parsed file of which no table has been taken yet.
pub(crate) struct Document<'a> {
    values: BTreeMap<String, Found>,
    known_tables: Vec<&'static str>,
    environment: &'a Environment,
}

impl<'a> Document<'a> {
    pub(crate) fn parse(
        path: &Path,
        text: &str,
        environment: &'a Environment,
    ) -> Result<Self, ConfigError> {
        let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
            path: path.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        let values = found_in(table.get_ref(), path, text);
        Ok(Self {
            values,
            known_tables: Vec::new(),
            environment,
        })
    }

    /// Whether the file has that table.
    pub(crate) fn has_table(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Takes a table out; a missing one is empty.
    pub(crate) fn table(&mut self, name: &'static str) -> Result<Table<'a>, ConfigError> {
        self.known_tables.push(name);
        let values = match self.values.remove(name) {
            None => BTreeMap::new(),
            Some(Found {
                value: RawValue::Map(values),
                ..
            }) => values,
            Some(found) => {
                return Err(ConfigError::UnknownTable {
                    name: name.to_owned(),
                    at: found.at.to_string(),
                    advice: format!("it is a table: write [{name}] on a line of its own"),
                });
            }
        };
        Ok(Table {
            name,
            values,
            known_keys: Vec::new(),
            environment: self.environment,
        })
    }

    /// Refuses what no table has taken.
    pub(crate) fn finish(self) -> Result<(), ConfigError> {
        match self.values.into_iter().next() {
            None => Ok(()),
            Some((name, found)) => Err(ConfigError::UnknownTable {
                advice: advice(&name, &self.known_tables, "tables"),
                name,
                at: found.at.to_string(),
            }),
        }
    }
}

/// One table of the file, with the environment's overrides.
pub(crate) struct Table<'a> {
    name: &'static str,
    values: BTreeMap<String, Found>,
    known_keys: Vec<&'static str>,
    environment: &'a Environment,
}

impl Table<'_> {
    /// `true` or `false`.
    pub(crate) fn boolean(
        &mut self,
        key: &'static str,
        default: bool,
    ) -> Result<bool, ConfigError> {
        let Some(found) = self.take(key) else {
            return Ok(default);
        };
        match (&found.value, found.is_from_environment()) {
            (RawValue::Boolean(value), _) => Ok(*value),
            (RawValue::Text(text), true) if text == "true" => Ok(true),
            (RawValue::Text(text), true) if text == "false" => Ok(false),
            _ => Err(self.bad(key, &found, "true or false", &format!("{key} = {default}"))),
        }
    }

    /// A whole number within the range.
    pub(crate) fn integer(
        &mut self,
        key: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Result<u64, ConfigError> {
        let Some(found) = self.take(key) else {
            return Ok(default);
        };
        match found.number() {
            Some(number) if range.contains(&number) => Ok(number),
            _ => {
                let legal = format!("a whole number from {} to {}", range.start(), range.end());
                Err(self.bad(key, &found, &legal, &format!("{key} = {default}")))
            }
        }
    }

    /// A number of bytes within the range: a whole number, or text with a binary unit.
    pub(crate) fn bytes(
        &mut self,
        key: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Result<u64, ConfigError> {
        let Some(found) = self.take(key) else {
            return Ok(default);
        };
        let number = match &found.value {
            RawValue::Text(text) => units::parse_bytes(text),
            _ => found.number(),
        };
        match number {
            Some(number) if range.contains(&number) => Ok(number),
            _ => {
                let legal = format!(
                    "bytes from {} to {}, as a number or like \"64KiB\"",
                    range.start(),
                    range.end()
                );
                Err(self.bad(key, &found, &legal, &format!("{key} = {default}")))
            }
        }
    }

    /// A whole number of milliseconds within the range, as a duration.
    pub(crate) fn milliseconds(
        &mut self,
        key: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Result<Duration, ConfigError> {
        self.integer(key, default, range).map(Duration::from_millis)
    }

    /// A duration as text with a unit, within the range.
    pub(crate) fn duration(
        &mut self,
        key: &'static str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Result<Duration, ConfigError> {
        let legal = format!(
            "a duration from {} to {} with a unit (ms, s, m, h, d, w)",
            units::format_duration(*range.start()),
            units::format_duration(*range.end())
        );
        let example = format!("{key} = \"{}\"", units::format_duration(default));
        let parsed = self.parsed(key, &legal, &example, |text| {
            units::parse_duration(text).filter(|duration| range.contains(duration))
        })?;
        Ok(parsed.unwrap_or(default))
    }

    /// A path; empty text is not one.
    pub(crate) fn path(&mut self, key: &'static str) -> Result<Option<PathBuf>, ConfigError> {
        let example = format!("{key} = \"/var/lib/jarvis-secretsd/{key}\"");
        self.parsed(key, "a path", &example, |text| {
            (!text.trim().is_empty()).then(|| PathBuf::from(text))
        })
    }

    /// Text that `parse` understands.
    pub(crate) fn parsed<T>(
        &mut self,
        key: &'static str,
        legal: &str,
        example: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(found) = self.take(key) else {
            return Ok(None);
        };
        let value = match &found.value {
            RawValue::Text(text) => parse(text),
            _ => None,
        };
        match value {
            Some(value) => Ok(Some(value)),
            None => Err(self.bad(key, &found, legal, example)),
        }
    }

    /// A list of texts that `parse` understands; in the environment separated by commas.
    pub(crate) fn list<T>(
        &mut self,
        key: &'static str,
        legal: &str,
        example: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, ConfigError> {
        let Some(found) = self.take(key) else {
            return Ok(Vec::new());
        };
        let items: Option<Vec<T>> = match &found.value {
            RawValue::Text(text) if found.is_from_environment() => {
                text.split(',').map(|item| parse(item.trim())).collect()
            }
            RawValue::List(items) => items
                .iter()
                .map(|item| match item {
                    RawValue::Text(text) => parse(text),
                    _ => None,
                })
                .collect(),
            _ => None,
        };
        items.ok_or_else(|| self.bad(key, &found, legal, example))
    }

    /// A table of text to text, both sides understood by `parse`; in the environment
    /// `from=to,from=to`.
    pub(crate) fn text_map(
        &mut self,
        key: &'static str,
        legal: &str,
        example: &str,
        parse: impl Fn(&str) -> Option<String>,
    ) -> Result<BTreeMap<String, String>, ConfigError> {
        let Some(found) = self.take(key) else {
            return Ok(BTreeMap::new());
        };
        let pair = |from: &str, to: &str| Some((parse(from.trim())?, parse(to.trim())?));
        let map: Option<BTreeMap<String, String>> = match &found.value {
            RawValue::Text(text) if found.is_from_environment() => text
                .split(',')
                .map(|item| item.split_once('=').and_then(|(from, to)| pair(from, to)))
                .collect(),
            RawValue::Map(entries) => entries
                .iter()
                .map(|(from, entry)| match &entry.value {
                    RawValue::Text(to) => pair(from, to),
                    _ => None,
                })
                .collect(),
            _ => None,
        };
        map.ok_or_else(|| self.bad(key, &found, legal, example))
    }

    /// Takes a key's value: the environment's if it has one, the file's otherwise.
    pub(crate) fn take(&mut self, key: &'static str) -> Option<Found> {
        self.known_keys.push(key);
        let in_file = self.values.remove(key);
        match self.environment.override_of(self.name, key) {
            Some((variable, text)) => Some(Found {
                value: RawValue::Text(text.to_owned()),
                at: Origin::Environment(variable),
            }),
            None => in_file,
        }
    }

    /// Whether the environment says something else than the file about a key.
    pub(crate) fn is_overridden(&self, key: &str) -> bool {
        self.environment.override_of(self.name, key).is_some()
    }

    /// The error for a value that a key does not take.
    pub(crate) fn bad(
        &self,
        key: &'static str,
        found: &Found,
        legal: &str,
        example: &str,
    ) -> ConfigError {
        ConfigError::BadValue(Box::new(BadValue {
            table: self.name,
            key: key.to_owned(),
            value: found.value.to_string(),
            at: found.at.to_string(),
            legal: legal.to_owned(),
            example: example.to_owned(),
        }))
    }

    /// Refuses what nobody took; gives back the keys that exist.
    pub(crate) fn finish(self) -> Result<Vec<&'static str>, ConfigError> {
        match self.values.into_iter().next() {
            None => Ok(self.known_keys),
            Some((key, found)) => Err(ConfigError::UnknownKey {
                table: self.name,
                advice: advice(&key, &self.known_keys, "keys"),
                key,
                at: found.at.to_string(),
            }),
        }
    }
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) value: RawValue,
    pub(crate) at: Origin,
}

impl Found {
    pub(crate) fn is_from_environment(&self) -> bool {
        matches!(self.at, Origin::Environment(_))
    }

    fn number(&self) -> Option<u64> {
        match &self.value {
            RawValue::Integer(number) => u64::try_from(*number).ok(),
            RawValue::Text(text) if self.is_from_environment() => text.trim().parse().ok(),
            _ => None,
        }
    }
}

/// Where a value stands.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    File { path: PathBuf, line: usize },
    Environment(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(formatter, "line {line} of {}", path.display()),
            Self::Environment(variable) => write!(formatter, "environment variable {variable}"),
        }
    }
}

/// A TOML value without its lifetime.
#[derive(Debug, Clone)]
pub(crate) enum RawValue {
    Text(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<RawValue>),
    Map(BTreeMap<String, Found>),
    /// A kind of value that no key takes (float, date, number beyond 64 bits), as written.
    Other(String),
}

impl fmt::Display for RawValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) if text.chars().count() > MAX_SHOWN_CHARACTERS => {
                let start: String = text.chars().take(MAX_SHOWN_CHARACTERS).collect();
                write!(formatter, "{start:?}…")
            }
            Self::Text(text) => write!(formatter, "{text:?}"),
            Self::Integer(number) => write!(formatter, "{number}"),
            Self::Boolean(value) => write!(formatter, "{value}"),
            Self::List(items) => write!(formatter, "a list of {} items", items.len()),
            Self::Map(_) => formatter.write_str("a table"),
            Self::Other(text) => formatter.write_str(text),
        }
    }
}

fn found_in(table: &DeTable<'_>, path: &Path, text: &str) -> BTreeMap<String, Found> {
    table
        .iter()
        .map(|(key, value)| {
            let line = line_of(text, key.span().start);
            let at = Origin::File {
                path: path.to_owned(),
                line,
            };
            let found = Found {
                value: raw_value(value.get_ref(), path, text),
                at,
            };
            (key.get_ref().to_string(), found)
        })
        .collect()
}

fn raw_value(value: &DeValue<'_>, path: &Path, text: &str) -> RawValue {
    match value {
        DeValue::String(string) => RawValue::Text(string.to_string()),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) => RawValue::Integer(number),
            Err(_) => RawValue::Other(integer.to_string()),
        },
        DeValue::Boolean(boolean) => RawValue::Boolean(*boolean),
        DeValue::Float(float) => RawValue::Other(float.to_string()),
        DeValue::Datetime(datetime) => RawValue::Other(datetime.to_string()),
        DeValue::Array(items) => RawValue::List(
            items
                .iter()
                .map(|item| raw_value(item.get_ref(), path, text))
                .collect(),
        ),
        DeValue::Table(table) => RawValue::Map(found_in(table, path, text)),
    }
}

/// The 1-based line of a byte offset.
fn line_of(text: &str, offset: usize) -> usize {
    let end = offset.min(text.len());
    1 + text.as_bytes()[..end]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
}

/// What could be meant by a name that is none of those.
pub(super) fn advice(written: &str, known: &[&'static str], kind: &str) -> String {
    let nearest = known.iter().min_by_key(|name| edit_distance(written, name));
    let list = known.join(", ");
    match nearest {
        Some(name) if edit_distance(written, name) <= MAX_TYPING_ERRORS => {
            format!("did you mean `{name}`? The {kind} here: {list}")
        }
        _ => format!("the {kind} here: {list}"),
    }
}

/// A name this many edits away is still taken for a typing error: more would guess wildly with
/// names of this length.
const MAX_TYPING_ERRORS: usize = 3;

/// Levenshtein's distance in bytes; both sides are short.
fn edit_distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (at, byte) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, other) in right.bytes().enumerate() {
            let substituted = diagonal + usize::from(byte != other);
            diagonal = row[column + 1];
            row[column + 1] = substituted.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_one() {
        assert_eq!(line_of("a\nb\nc", 0), 1);
        assert_eq!(line_of("a\nb\nc", 4), 3);
        assert_eq!(line_of("a", 99), 1);
    }

    #[test]
    fn edits_are_counted() {
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("bind_adr", "bind_addr"), 1);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
    }

    #[test]
    fn a_long_value_is_shortened_in_errors() {
        let shown = RawValue::Text("x".repeat(5_000)).to_string();
        assert!(shown.len() < 200, "{shown}");
    }
}
