//! Everything that can go wrong on the command line, what it says, and its exit code (L5).
//!
//! A message is one or two sentences: what happened, what is safe, what to do next. No variant holds a value.

use std::fmt;

use jarvis_wire::ErrorCode;

/// Refused, or any other definite error.
pub(crate) const REFUSED: u8 = 1;
/// The command line or an input file is wrong.
pub(crate) const USAGE: u8 = 2;
const NOT_FOUND: u8 = 3;
const NOT_AUTHORIZED: u8 = 4;
/// Another version than the expected one.
pub(crate) const CONFLICT: u8 = 5;
/// No leader, sealed, or no address reachable.
pub(crate) const UNAVAILABLE: u8 = 6;
const UNKNOWN_OUTCOME: u8 = 7;

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CliError {
    /// The command line or an input is wrong; nothing was sent.
    #[error("{0}")]
    Usage(String),
    /// The server gave a definite error.
    #[error("{0}")]
    Server(ServerError),
    /// No address answered.
    #[error(
        "no server answered at {tried} ({cause}). Nothing was changed; check --url, or wait and try again"
    )]
    Unreachable {
        /// The addresses tried.
        tried: String,
        /// The last failure.
        cause: String,
    },
    /// The one address that was asked did not answer.
    #[error(
        "{address} does not answer ({cause}). Only this address was asked; --url picks another one"
    )]
    AddressUnreachable {
        /// The address.
        address: String,
        /// The failure.
        cause: String,
    },
    /// The write may have happened (A7, A11).
    #[error(
        "the outcome is unknown: it may have happened ({cause}). Repeating it as shown is safe"
    )]
    UnknownOutcome {
        /// The key under which a repetition is the same request; `None` where the command itself is repeatable.
        idempotency_key: Option<String>,
        /// What was seen last.
        cause: String,
    },
    /// The child of `run` could not be started.
    #[error("{message}")]
    Child {
        /// What happened.
        message: String,
        /// 126 or 127, as in a shell.
        code: u8,
    },
    /// Any other definite error.
    #[error("{0}")]
    Other(String),
}

impl CliError {
    /// The exit code that goes with the error; a promise to scripts.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Server(error) => error.exit_code(),
            Self::Unreachable { .. } | Self::AddressUnreachable { .. } => UNAVAILABLE,
            Self::UnknownOutcome { .. } => UNKNOWN_OUTCOME,
            Self::Child { code, .. } => *code,
            Self::Other(_) => REFUSED,
        }
    }

    /// The server's code, where a server answered.
    #[must_use]
    pub fn server_code(&self) -> Option<ErrorCode> {
        match self {
            Self::Server(error) => Some(error.code),
            _ => None,
        }
    }

    /// Whether the next request would fail in the same way, whatever it names.
    #[must_use]
    pub fn concerns_every_request(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::AddressUnreachable { .. }
            | Self::UnknownOutcome { .. } => true,
            Self::Server(error) => matches!(
                error.code,
                ErrorCode::Unauthenticated
                    | ErrorCode::RateLimited
                    | ErrorCode::Internal
                    | ErrorCode::Sealed
                    | ErrorCode::NoLeader
                    | ErrorCode::AuditFull
                    | ErrorCode::UnknownOutcome
                    | ErrorCode::QuotaExceeded
            ),
            Self::Usage(_) | Self::Child { .. } | Self::Other(_) => false,
        }
    }

    /// The same error; where it is a server's with this code, with the verb's own advice in place of the usual one.
    pub(crate) fn advising(self, code: ErrorCode, advice: &'static str) -> Self {
        match self {
            Self::Server(told) if told.code == code => Self::Server(ServerError {
                advice: Some(advice),
                ..told
            }),
            other => other,
        }
    }

    /// A file or stream that could not be used.
    pub(crate) fn file(verb: &str, path: impl fmt::Display, error: &std::io::Error) -> Self {
        Self::Usage(format!("can not {verb} {path}: {error}"))
    }
}

/// A definite error as a server told it (A7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    /// The code.
    pub code: ErrorCode,
    /// The server's sentence.
    pub message: String,
    /// The request's id, for the server's log.
    pub request_id: Option<String>,
    /// With `conflict`: the version found.
    pub actual_version: Option<u64>,
    /// What to do, where the verb knows better than the code alone.
    pub advice: Option<&'static str>,
}

impl ServerError {
    fn exit_code(&self) -> u8 {
        match self.code {
            ErrorCode::NotFound => NOT_FOUND,
            ErrorCode::Unauthenticated | ErrorCode::NotAuthorized => NOT_AUTHORIZED,
            ErrorCode::Conflict | ErrorCode::IdempotencyKeyReused => CONFLICT,
            ErrorCode::Sealed | ErrorCode::NoLeader | ErrorCode::AuditFull => UNAVAILABLE,
            ErrorCode::UnknownOutcome => UNKNOWN_OUTCOME,
            ErrorCode::InvalidRequest
            | ErrorCode::TooLarge
            | ErrorCode::RateLimited
            | ErrorCode::Internal
            | ErrorCode::QuotaExceeded => REFUSED,
        }
    }

    fn usual_advice(&self) -> &'static str {
        match self.code {
            ErrorCode::InvalidRequest => "Nothing was changed; correct the request and try again",
            ErrorCode::Unauthenticated => {
                "Nothing was changed; give a valid token in JARVIS_SECRETS_TOKEN, or a client certificate"
            }
            ErrorCode::NotAuthorized => {
                "Nothing was changed; `jarvis-secrets policy explain CLIENT NAME` shows an administrator the rule"
            }
            ErrorCode::NotFound => "`jarvis-secrets list` shows the names that you may read",
            ErrorCode::Conflict => {
                "Nothing was changed; read the current version, then repeat with its number as --cas"
            }
            ErrorCode::IdempotencyKeyReused => {
                "Nothing was changed; leave --idempotency-key out, and a new key is drawn"
            }
            ErrorCode::TooLarge => {
                "Nothing was changed; make it smaller, or raise [limits] max_value_bytes"
            }
            ErrorCode::RateLimited => "Nothing was changed; wait a moment and try again",
            ErrorCode::Internal => {
                "The server's log has more under the request id; trying again is safe"
            }
            ErrorCode::Sealed => {
                "Nothing was changed; unseal the node with `jarvis-secrets unseal`, or add an unsealed one to --url"
            }
            ErrorCode::NoLeader => {
                "Nothing was changed; a majority of the nodes must be up: see `jarvis-secrets health --all`"
            }
            ErrorCode::AuditFull => {
                "Nothing was changed; the servers need room for the audit trail"
            }
            ErrorCode::UnknownOutcome => "It may have happened; repeating a read is safe",
            ErrorCode::QuotaExceeded => {
                "Nothing was changed; destroy what is not needed, or raise [limits] max_vault_bytes"
            }
        }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}: {}",
            self.code,
            self.message.trim_end_matches('.')
        )?;
        if let Some(version) = self.actual_version {
            write!(formatter, " (the current version is {version})")?;
        }
        if let Some(request_id) = &self.request_id {
            write!(formatter, " [request {request_id}]")?;
        }
        let advice = self.advice.unwrap_or_else(|| self.usual_advice());
        write!(formatter, ". {advice}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: ErrorCode) -> CliError {
        CliError::Server(ServerError {
            code,
            message: "a sentence.".into(),
            request_id: Some("r-1".into()),
            actual_version: None,
            advice: None,
        })
    }

    #[test]
    fn l5_each_kind_of_failure_has_its_exit_code() {
        assert_eq!(server(ErrorCode::QuotaExceeded).exit_code(), 1);
        assert_eq!(CliError::Usage("x".into()).exit_code(), 2);
        assert_eq!(server(ErrorCode::NotFound).exit_code(), 3);
        assert_eq!(server(ErrorCode::Unauthenticated).exit_code(), 4);
        assert_eq!(server(ErrorCode::NotAuthorized).exit_code(), 4);
        assert_eq!(server(ErrorCode::Conflict).exit_code(), 5);
        assert_eq!(server(ErrorCode::Sealed).exit_code(), 6);
        assert_eq!(server(ErrorCode::NoLeader).exit_code(), 6);
        let unknown = CliError::UnknownOutcome {
            idempotency_key: None,
            cause: "x".into(),
        };
        assert_eq!(unknown.exit_code(), 7);
    }

    #[test]
    fn l5_a_verb_s_own_advice_stands_in_place_of_the_usual_one() {
        let error = server(ErrorCode::Unauthenticated);
        let other = error.clone().advising(ErrorCode::NotFound, "type again");
        assert_eq!(other, error);
        let text = error
            .advising(ErrorCode::Unauthenticated, "type again")
            .to_string();
        assert!(
            text.ends_with(". type again") && !text.contains("TOKEN"),
            "{text}"
        );
    }

    #[test]
    fn l5_a_conflict_tells_the_version_and_the_next_step() {
        let error = ServerError {
            code: ErrorCode::Conflict,
            message: "expected version 3".into(),
            request_id: None,
            actual_version: Some(4),
            advice: None,
        };
        let text = error.to_string();
        assert!(
            text.starts_with("conflict: expected version 3 (the current version is 4). "),
            "{text}"
        );
        assert!(text.contains("--cas"));
    }
}
