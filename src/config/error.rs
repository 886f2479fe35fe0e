//! Why a configuration was refused: always which key, which value, what is legal, and a line that
//! mends it.

use std::fmt;
use std::path::PathBuf;

/// Why [`super::Config::load`] refused. Configuration holds no secret, so values are shown.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file that `--config` names is not there.
    #[error(
        "there is no configuration file {}; copy config.toml.example there, or name another one with --config",
        .path.display()
    )]
    Missing {
        /// The file looked for.
        path: PathBuf,
    },
    /// A file or folder could not be read.
    #[error("{} cannot be read: {source}", .path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Longer than any configuration is.
    #[error("{} is longer than {limit} bytes; that is no configuration file", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// Not TOML; the message holds line, column and the text there.
    #[error("{} is not valid TOML: {message}", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The parser's message.
        message: String,
    },
    /// A table, or a key outside of any table, that does not exist (F).
    #[error("unknown table or key outside of a table: `{name}` ({at}); {advice}")]
    UnknownTable {
        /// As written.
        name: String,
        /// File and line.
        at: String,
        /// What could be meant.
        advice: String,
    },
    /// A key that does not exist in its table (F).
    #[error("unknown key `{key}` in [{table}] ({at}); {advice}")]
    UnknownKey {
        /// The table's name.
        table: &'static str,
        /// As written.
        key: String,
        /// File and line.
        at: String,
        /// What could be meant.
        advice: String,
    },
    /// An override of a key that does not exist (F).
    #[error(
        "environment variable {variable} overrides nothing: no key of [{table}] has that name (in capitals); {advice}"
    )]
    UnknownVariable {
        /// As set.
        variable: String,
        /// The table that its name begins with.
        table: &'static str,
        /// What could be meant.
        advice: String,
    },
    /// A value that its key does not take.
    #[error(transparent)]
    BadValue(#[from] Box<BadValue>),
    /// Values that are legal each by itself, but not together.
    #[error("{problem}; {mend}")]
    Conflict {
        /// Which keys, with their values, and why not.
        problem: String,
        /// What mends it, with an example line.
        mend: String,
    },
    /// The data directory holds the vault of the old single-instance daemon (F7).
    #[error(
        "{shown} is the vault of the old daemon, which this version does not read. Nothing was changed. \
         Put it aside, start, and load its secrets again from their environment file:\n  \
         mv {shown} {shown}.old\n  jarvis-secrets import FILE.env",
        shown = .path.display()
    )]
    OldVault {
        /// The old vault file.
        path: PathBuf,
    },
    /// The audit directory holds an `audit.jsonl` that this product did not write (F7).
    #[error(
        "{shown} was not written by this version, and it must not be mixed with the signed trail. \
         Nothing was changed. Put it aside:\n  mv {shown} {shown}.old",
        shown = .path.display()
    )]
    ForeignAudit {
        /// The file that was there before.
        path: PathBuf,
    },
}

/// The details of [`ConfigError::BadValue`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadValue {
    /// The table's name.
    pub table: &'static str,
    /// The key's name.
    pub key: String,
    /// The value as written, shortened.
    pub value: String,
    /// File and line, or the environment variable.
    pub at: String,
    /// What the key takes.
    pub legal: String,
    /// A line that is legal.
    pub example: String,
}

impl fmt::Display for BadValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            table,
            key,
            value,
            at,
            legal,
            example,
        } = self;
        write!(
            formatter,
            "[{table}] {key} cannot be {value} ({at}): it takes {legal}. Example, in [{table}]: {example}"
        )
    }
}

impl std::error::Error for BadValue {}
