//! What an attempt means for the call: done, refused, or try elsewhere. Pure, apart from reading a transport's error.

use std::error::Error;
use std::io;

use jarvis_wire::ErrorCode;
use zeroize::Zeroizing;

use super::call::Answer;
use super::endpoint::Way;
use crate::cli::error::ServerError;

/// Most characters of a foreign error page that stand in a message: a list of readiness checks fits.
const MAX_FOREIGN_TEXT: usize = 1_000;

/// What an attempt means for the call.
pub(super) enum Verdict {
    /// The answer.
    Done(Answer),
    /// A definite error; no other address would say otherwise.
    Refused(ServerError),
    /// Another address, or the same one later, may do better.
    Elsewhere(Failure),
}

/// Why an attempt brought nothing.
pub(super) enum Failure {
    /// No connection: the request never left.
    Unreachable(String),
    /// The connection broke or timed out after the request may have left.
    Broken(String),
    /// A server that can not serve at the moment.
    Server(ServerError),
}

impl Failure {
    /// A request that did not get its answer.
    pub(super) fn of_transport(error: &reqwest::Error, way: &Way) -> Self {
        if !error.is_connect() && !error.is_builder() {
            return Self::broken(error);
        }
        let trouble = match (way, innermost(error).downcast_ref::<io::Error>()) {
            (Way::Socket(_), Some(cause)) => trouble_with_socket(cause.kind()),
            _ => None,
        };
        Self::Unreachable(trouble.map_or_else(|| deepest_cause(error), str::to_owned))
    }

    /// An answer that did not arrive whole.
    pub(super) fn broken(error: &reqwest::Error) -> Self {
        let cause = if error.is_timeout() {
            "no answer in time".to_owned()
        } else {
            deepest_cause(error)
        };
        Self::Broken(cause)
    }

    /// Whether a write may have been carried out all the same.
    pub(super) fn may_have_happened(&self) -> bool {
        match self {
            Self::Unreachable(_) => false,
            Self::Broken(_) => true,
            Self::Server(error) => error.code == ErrorCode::UnknownOutcome,
        }
    }

    /// Whether waiting for an election is worth while; a dead or sealed node needs more than that.
    pub(super) fn may_pass_soon(&self) -> bool {
        match self {
            Self::Unreachable(_) => false,
            Self::Broken(_) => true,
            Self::Server(error) => error.code != ErrorCode::Sealed,
        }
    }

    /// Whether a server said it.
    pub(super) fn was_told(&self) -> bool {
        matches!(self, Self::Server(_))
    }

    /// The one to report of two: what a server said explains more than a neighbour that is down or silent.
    pub(super) fn or_clearer(self, next: Self) -> Self {
        match (self, next) {
            (said @ Self::Server(_), Self::Unreachable(_) | Self::Broken(_)) => said,
            (_, next) => next,
        }
    }

    /// The failure in words.
    pub(super) fn cause(self) -> String {
        match self {
            Self::Unreachable(cause) | Self::Broken(cause) => cause,
            Self::Server(error) => format!("{}: {}", error.code, error.message),
        }
    }
}

/// Reads an answer.
pub(super) fn judge(status: u16, body: Zeroizing<Vec<u8>>) -> Verdict {
    if (200..300).contains(&status) {
        return Verdict::Done(Answer::new(body));
    }
    match server_error(status, &body) {
        Told::ByServer(error) if is_passing(error.code) => {
            Verdict::Elsewhere(Failure::Server(error))
        }
        Told::ByServer(error) => Verdict::Refused(error),
        // A load balancer that lost its server in the middle of the request.
        Told::BySomebodyElse(error) if matches!(status, 502 | 504) => {
            Verdict::Elsewhere(Failure::Broken(error.message))
        }
        // A load balancer without a server.
        Told::BySomebodyElse(error) if status == 503 => {
            Verdict::Elsewhere(Failure::Server(ServerError {
                code: ErrorCode::NoLeader,
                ..error
            }))
        }
        Told::BySomebodyElse(error) => Verdict::Refused(error),
    }
}

/// Whether the error was decided in the replicated log, where the idempotency key is looked up first: then it holds for
/// every attempt under that key, and not for the last one only.
pub(super) fn is_about_the_key(error: &ServerError) -> bool {
    matches!(
        error.code,
        ErrorCode::Conflict
            | ErrorCode::IdempotencyKeyReused
            | ErrorCode::NotFound
            | ErrorCode::NotAuthorized
            | ErrorCode::QuotaExceeded
    )
}

/// The innermost reason of a transport's error: "Connection refused", "invalid peer certificate", ….
pub(super) fn deepest_cause(error: &reqwest::Error) -> String {
    innermost(error).to_string()
}

fn innermost(error: &reqwest::Error) -> &(dyn Error + 'static) {
    let mut cause: &(dyn Error + 'static) = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause
}

/// What the system's own words leave open about a unix socket (A13).
fn trouble_with_socket(kind: io::ErrorKind) -> Option<&'static str> {
    match kind {
        io::ErrorKind::NotFound => Some(
            "there is no such socket: the node is down, or [server] allow_unix_socket names another path",
        ),
        io::ErrorKind::PermissionDenied => Some(
            "this user may not open the socket: it is for the node's own user, so run as that one or as root",
        ),
        io::ErrorKind::ConnectionRefused => {
            Some("nobody listens on this socket: the node is down, or still starting")
        }
        _ => None,
    }
}

fn is_passing(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NoLeader | ErrorCode::Sealed | ErrorCode::UnknownOutcome
    )
}

enum Told {
    ByServer(ServerError),
    BySomebodyElse(ServerError),
}

fn server_error(status: u16, body: &[u8]) -> Told {
    let json = serde_json::from_slice::<serde_json::Value>(body).unwrap_or_default();
    let text = |field: &str| json.get(field).and_then(serde_json::Value::as_str);
    let code = text("error").map(|code| ErrorCode::parse(code).unwrap_or(nearest_code(status)));
    let request_id = text("request_id").map(str::to_owned);
    let actual_version = json
        .get("actual_version")
        .and_then(serde_json::Value::as_u64);
    match (code, text("message")) {
        (Some(code), message) => Told::ByServer(ServerError {
            code,
            message: message.unwrap_or("the server gave no reason").to_owned(),
            request_id,
            actual_version,
            advice: None,
        }),
        (None, _) => Told::BySomebodyElse(ServerError {
            code: nearest_code(status),
            message: foreign_text(status, body),
            request_id,
            actual_version,
            advice: None,
        }),
    }
}

fn nearest_code(status: u16) -> ErrorCode {
    match status {
        401 => ErrorCode::Unauthenticated,
        403 => ErrorCode::NotAuthorized,
        404 => ErrorCode::NotFound,
        409 => ErrorCode::Conflict,
        413 => ErrorCode::TooLarge,
        429 => ErrorCode::RateLimited,
        503 => ErrorCode::NoLeader,
        504 => ErrorCode::UnknownOutcome,
        507 => ErrorCode::QuotaExceeded,
        400..500 => ErrorCode::InvalidRequest,
        _ => ErrorCode::Internal,
    }
}

fn foreign_text(status: u16, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let shown: String = text
        .chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .take(MAX_FOREIGN_TEXT)
        .collect();
    match shown.trim() {
        "" => format!("HTTP status {status} without an explanation"),
        shown => format!("HTTP status {status}: {shown}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, body: &str) -> Verdict {
        judge(status, Zeroizing::new(body.as_bytes().to_vec()))
    }

    #[test]
    fn a7_no_leader_sealed_and_unknown_are_tried_elsewhere_and_the_rest_is_definite() {
        for code in ErrorCode::ALL {
            let body = format!(r#"{{"error":"{code}","message":"m","request_id":"r"}}"#);
            let elsewhere = matches!(of(code.http_status(), &body), Verdict::Elsewhere(_));
            let passing = matches!(
                code,
                ErrorCode::NoLeader | ErrorCode::Sealed | ErrorCode::UnknownOutcome
            );
            assert_eq!(elsewhere, passing, "{code}");
        }
    }

    #[test]
    fn a7_what_a_server_said_is_told_whatever_its_neighbours_do_afterwards() {
        let body = r#"{"error":"no_leader","message":"m","request_id":"r"}"#;
        for silent in [
            Failure::Unreachable("Connection refused".into()),
            Failure::Broken("no answer in time".into()),
        ] {
            let Verdict::Elsewhere(said) = of(503, body) else {
                panic!("final")
            };
            assert!(said.or_clearer(silent).was_told());
        }
        let silent = Failure::Broken("no answer in time".into());
        let Verdict::Elsewhere(said) = of(503, body) else {
            panic!("final")
        };
        assert!(silent.or_clearer(said).was_told());
    }

    #[test]
    fn a7_a_conflict_keeps_its_actual_version() {
        let body = r#"{"error":"conflict","message":"m","request_id":"r","actual_version":9}"#;
        let Verdict::Refused(error) = of(409, body) else {
            panic!("not refused")
        };
        assert_eq!(error.actual_version, Some(9));
        assert_eq!(error.request_id.as_deref(), Some("r"));
    }

    #[test]
    fn a13_a_socket_that_can_not_be_opened_is_explained() {
        for (kind, advice) in [
            (io::ErrorKind::NotFound, "allow_unix_socket"),
            (
                io::ErrorKind::PermissionDenied,
                "run as that one or as root",
            ),
            (io::ErrorKind::ConnectionRefused, "the node is down"),
        ] {
            assert!(trouble_with_socket(kind).unwrap().contains(advice));
        }
        assert_eq!(trouble_with_socket(io::ErrorKind::TimedOut), None);
    }

    #[test]
    fn l5_a_code_of_a_later_server_falls_back_on_its_status() {
        let Verdict::Refused(error) = of(403, r#"{"error":"approval_needed","message":"m"}"#)
        else {
            panic!("not refused")
        };
        assert_eq!(error.code, ErrorCode::NotAuthorized);
    }

    #[test]
    fn c4_a_load_balancer_without_servers_is_waited_for_and_a_lost_answer_is_unknown() {
        let Verdict::Elsewhere(none) = of(503, "<h1>No server is available</h1>") else {
            panic!("final")
        };
        assert!(!none.may_have_happened());
        let Verdict::Elsewhere(lost) = of(504, "") else {
            panic!("final")
        };
        assert!(lost.may_have_happened());
        assert!(matches!(of(500, "oops"), Verdict::Refused(_)));
    }
}
