//! What a server answered, and what to call it in a report.

use hyper::StatusCode;
use serde::Deserialize;

/// Error codes are short words; whatever is longer is cut, so that reports stay readable.
const ERROR_CODE_BYTES: usize = 60;

/// An answer that was received to its end.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Empty after a success, which needs no explanation, unless it was asked for. What is very
    /// long is cut.
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// Whether the same request may succeed a moment later: the server is at fault, or busy.
    pub(super) fn may_pass_later(&self) -> bool {
        self.status.is_server_error() || self.status == StatusCode::TOO_MANY_REQUESTS
    }

    /// A short name to count refusals by: the status and the error code of the body (A7).
    pub(super) fn label(&self) -> String {
        #[derive(Deserialize)]
        struct Refusal {
            error: String,
        }
        let status = self.status.as_u16();
        match serde_json::from_slice::<Refusal>(&self.body) {
            Ok(refusal) => format!("{status} {}", printable_start(&refusal.error)),
            Err(_) => status.to_string(),
        }
    }
}

/// The start of a text from the server, fit for a terminal.
fn printable_start(text: &str) -> String {
    text.chars()
        .map(|character| {
            if character.is_ascii_graphic() {
                character
            } else {
                ' '
            }
        })
        .take(ERROR_CODE_BYTES)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: StatusCode, body: &str) -> Answer {
        let body = body.as_bytes().to_vec();
        Answer { status, body }
    }

    #[test]
    fn a_refusal_is_counted_by_its_code_and_not_by_its_words() {
        let refused = answer(
            StatusCode::SERVICE_UNAVAILABLE,
            r#"{"error":"no_leader","message":"x"}"#,
        );
        assert_eq!(refused.label(), "503 no_leader");
        assert!(refused.may_pass_later());
        let other = answer(StatusCode::BAD_REQUEST, "no JSON");
        assert_eq!(other.label(), "400");
        assert!(!other.may_pass_later());
        assert!(answer(StatusCode::TOO_MANY_REQUESTS, "").may_pass_later());
    }

    #[test]
    fn a_code_is_fit_for_a_terminal() {
        let error = format!("a\u{1b}[2J{}", "x".repeat(100));
        let body = serde_json::json!({ "error": error }).to_string();
        let label = answer(StatusCode::FORBIDDEN, &body).label();
        assert!(label.starts_with("403 a [2Jx"), "{label:?}");
        assert_eq!(label.len(), "403 ".len() + ERROR_CODE_BYTES);
    }
}
