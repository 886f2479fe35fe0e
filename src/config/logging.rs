//! `[logging]`: what is logged, and how (F5). `RUST_LOG` wins over the file.

use tracing_subscriber::filter::{EnvFilter, LevelFilter};

use super::environment::Environment;
use super::error::{BadValue, ConfigError};
use super::reader::Table;

const DEFAULT_LEVEL: &str = "info,openraft=error";
const LEGAL: &str =
    "a level (error, warn, info, debug, trace, off) or directives like \"info,openraft=warn\"";

/// `[logging]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggingConfig {
    /// A filter that `tracing_subscriber::EnvFilter` has parsed once already.
    pub filter: String,
    /// One JSON object per line instead of text.
    pub json: bool,
}

impl LoggingConfig {
    pub(super) fn read(
        table: &mut Table<'_>,
        environment: &Environment,
    ) -> Result<Self, ConfigError> {
        let level = table.parsed("level", LEGAL, "level = \"info\"", parse_filter)?;
        let filter = match environment.get("RUST_LOG") {
            Some(text) if EnvFilter::try_new(text).is_ok() => text.to_owned(),
            Some(text) => return Err(bad_rust_log(text)),
            None => level.unwrap_or_else(|| DEFAULT_LEVEL.to_owned()),
        };
        Ok(Self {
            filter,
            json: table.boolean("json", false)?,
        })
    }
}

/// A bare word that is no level would count as a module's name and silence everything else: refuse
/// it here, where a level is expected. `RUST_LOG` keeps its usual grammar.
fn parse_filter(text: &str) -> Option<String> {
    let is_level = |part: &str| part.parse::<LevelFilter>().is_ok();
    let is_directive = |part: &str| part.contains(['=', '[']);
    let text = text.trim();
    let legal = !text.is_empty()
        && text
            .split(',')
            .map(str::trim)
            .all(|part| is_level(part) || is_directive(part))
        && EnvFilter::try_new(text).is_ok();
    legal.then(|| text.to_owned())
}

fn bad_rust_log(text: &str) -> ConfigError {
    ConfigError::BadValue(Box::new(BadValue {
        table: "logging",
        key: "level".to_owned(),
        value: format!("{text:?}"),
        at: "environment variable RUST_LOG".to_owned(),
        legal: LEGAL.to_owned(),
        example: "level = \"info\"".to_owned(),
    }))
}
