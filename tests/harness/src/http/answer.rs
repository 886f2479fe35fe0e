//! One answer, whole or not at all.

use std::fmt;
use std::io::Read;

use serde_json::Value;

/// Between the head of a message and its body.
const HEAD_END: &[u8] = b"\r\n\r\n";
/// How much is read at a time.
const CHUNK: usize = 64 * 1024;

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body as it came.
    pub body: Vec<u8>,
    headers: Vec<(String, String)>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// No connection: the request never left.
    Unreachable(String),
    /// No whole answer: it may have happened.
    Broken(String),
}

impl Answer {
    /// A header's value; the name is given in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(json) => json,
            Err(error) => panic!("no JSON ({error}): {} {}", self.status, self.text()),
        }
    }

    /// The code of an error (A7); empty if there is none.
    #[must_use]
    pub fn error(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["error"].as_str().unwrap_or_default().to_owned()
    }

    /// The body of a success.
    ///
    /// # Panics
    /// With any other status, showing the body.
    #[track_caller]
    pub fn done(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        assert!(self.header("x-request-id").is_some());
        self.json()
    }

    /// The body of an error, after checking the whole of its shape (A7).
    ///
    /// # Panics
    /// With any other status or code, or another shape.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) -> Value {
        let body = self.json();
        assert_eq!(
            (self.status, body["error"].as_str()),
            (status, Some(code)),
            "{body}"
        );
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert_eq!(
            self.header("x-request-id"),
            body["request_id"].as_str(),
            "{body}"
        );
        let message = body["message"].as_str().unwrap_or_default();
        assert!(message.len() > 10, "a sentence is missing: {body}");
        let mut fields: Vec<&str> = body
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        fields.sort_unstable();
        let expected: &[&str] = if code == "conflict" {
            &["actual_version", "error", "message", "request_id"]
        } else {
            &["error", "message", "request_id"]
        };
        assert_eq!(fields, expected);
        let may_pass = matches!(status, 429 | 503);
        assert_eq!(self.header("retry-after").is_some(), may_pass, "{body}");
        body
    }

    /// `None` while something of it is missing.
    ///
    /// # Errors
    /// What makes these bytes no answer of the server.
    pub(super) fn whole(bytes: &[u8]) -> Result<Option<Self>, String> {
        let Some(end) = bytes
            .windows(HEAD_END.len())
            .position(|window| window == HEAD_END)
        else {
            return Ok(None);
        };
        let no_answer = || format!("no answer: {}", String::from_utf8_lossy(&bytes[..end]));
        let head = std::str::from_utf8(&bytes[..end]).map_err(|_| no_answer())?;
        let mut lines = head.split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        let status = status_line.split(' ').nth(1).and_then(|it| it.parse().ok());
        let headers: Option<Vec<(String, String)>> = lines
            .map(|line| {
                let (name, value) = line.split_once(':')?;
                Some((name.to_ascii_lowercase(), value.trim().to_owned()))
            })
            .collect();
        let answer = Self {
            status: status.ok_or_else(no_answer)?,
            headers: headers.ok_or_else(no_answer)?,
            body: Vec::new(),
        };
        let body = &bytes[end + HEAD_END.len()..];
        let length: Option<usize> = answer
            .header("content-length")
            .and_then(|text| text.parse().ok());
        match length {
            None => Err(format!(
                "an answer that does not say how long it is: {head}"
            )),
            Some(length) if body.len() < length => Ok(None),
            Some(length) if body.len() > length => {
                Err(format!("more than the answer arrived: {head}"))
            }
            Some(_) => Ok(Some(Self {
                body: body.to_vec(),
                ..answer
            })),
        }
    }
}

impl Failure {
    /// One word for it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Broken(_) => "broken",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(formatter, "unreachable: {why}"),
            Self::Broken(why) => write!(formatter, "broken: {why}"),
        }
    }
}

/// Reads one answer; the connection stays as it is.
///
/// # Panics
/// When none comes.
#[track_caller]
pub fn read_answer(stream: &mut impl Read) -> Answer {
    let mut bytes = Vec::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match Answer::whole(&bytes) {
            Ok(Some(answer)) => return answer,
            Ok(None) => {}
            Err(what) => panic!("{what}"),
        }
        let count = stream.read(&mut chunk).unwrap();
        assert!(
            count > 0,
            "the connection ended before the answer did: {}",
            String::from_utf8_lossy(&bytes)
        );
        bytes.extend_from_slice(&chunk[..count]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &[u8] =
        b"HTTP/1.1 409 Conflict\r\nContent-Length: 20\r\nX-Request-Id: a:b\r\n\r\n{\"error\":\"conflict\"}";

    #[test]
    fn an_answer_is_whole_or_nothing() {
        for end in 0..WHOLE.len() {
            let part = Answer::whole(&WHOLE[..end]);
            assert!(matches!(part, Ok(None)), "{end}: {part:?}");
        }
        let answer = Answer::whole(WHOLE).unwrap().unwrap();
        assert_eq!(answer.status, 409);
        assert_eq!(answer.header("x-request-id"), Some("a:b"));
        assert_eq!(answer.error(), "conflict");
        assert_eq!(answer.json()["error"], "conflict");
        assert_eq!(read_answer(&mut &*WHOLE).body, answer.body);
    }

    #[test]
    fn what_is_no_answer_of_the_server_is_an_error() {
        let longer = [WHOLE, b"x"].concat();
        for bytes in [
            &b"HTTP/1.1 200 OK\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nno colon\r\ncontent-length: 0\r\n\r\n",
            b"SSH-2.0 hello\r\n\r\n",
            &longer,
        ] {
            assert!(Answer::whole(bytes).is_err(), "{bytes:?}");
        }
        let page = Answer::whole(b"HTTP/1.1 502 Bad\r\ncontent-length: 4\r\n\r\noops");
        assert_eq!(page.unwrap().unwrap().error(), "");
    }
}
