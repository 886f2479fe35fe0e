//! From an HTTP request to what a verb needs: connection, credential, name, query, JSON body, idempotency key.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Query, Request};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, FORWARDED, HOST, ORIGIN, VIA};
use axum::http::request::Parts;
use http_body_util::BodyExt;
use jarvis_domain::command::Caller;
use jarvis_domain::name::SecretName;
use jarvis_wire::error::ErrorCode;
use jarvis_wire::{CLIENT_HEADER, IDEMPOTENCY_KEY_HEADER};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use crate::api::layers::{PermitSlot, RequestId};
use crate::api::{ApiError, App};
use crate::service::{ClientCertificate, Presented, SecretBytes, limited};

/// A whole body must arrive within this time: a value of 1 MiB over a slow line does.
const BODY_DEADLINE: Duration = Duration::from_secs(20);
/// Of a body that is too large so much more is read and thrown away, so that the client can read the answer (A7).
const DRAIN_BYTES: u64 = 8 * 1024 * 1024;
/// And for so long.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);
/// Of the parser's words no more than this is repeated, bytes: an unknown field's name is the client's.
const MAX_SHOWN_ERROR_BYTES: usize = 400;
/// Longest path of a field that is repeated, bytes: more than any of ours has.
const MAX_SHOWN_PATH_BYTES: usize = 64;
/// Longest idempotency key, bytes.
const MAX_KEY_BYTES: usize = jarvis_domain::limits::MAX_IDEMPOTENCY_KEY_BYTES;

/// How a request came in; set by the listener.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Which listener.
    pub listener: Listener,
    /// The other end; `None` on a unix socket.
    pub remote: Option<SocketAddr>,
    /// The client certificate, if one was verified.
    pub certificate: Option<ClientCertificate>,
}

/// Which listener a connection came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// TCP on a loopback address.
    Loopback,
    /// TCP elsewhere.
    Network,
    /// The unix socket.
    Unix,
}

/// The caller of a request.
pub(super) async fn caller(app: &App, parts: &Parts) -> Result<Caller, ApiError> {
    let presented = presented(app, parts)?;
    let caller = app.service.identify(presented).await?;
    let permit = app.limits.enter(caller.client.as_str()).map_err(limited)?;
    if let Some(slot) = parts.extensions.get::<PermitSlot>() {
        // A request asks for its caller once.
        let _ = slot.0.set(permit);
    }
    Ok(caller)
}

/// The caller, if the request brought any credential.
pub(super) async fn maybe_caller(app: &App, parts: &Parts) -> Result<Option<Caller>, ApiError> {
    let presented = presented(app, parts)?;
    let has_none = presented.bearer.is_none()
        && presented.certificate.is_none()
        && !(presented.header.is_some() && presented.header_is_believed);
    if has_none {
        Ok(None)
    } else {
        Ok(Some(app.service.identify(presented).await?))
    }
}

fn presented(app: &App, parts: &Parts) -> Result<Presented, ApiError> {
    let connection = parts.extensions.get::<Connection>();
    let header = text_header(&parts.headers, CLIENT_HEADER)?;
    let trusts = app.service.config().security.trust_client_header;
    Ok(Presented {
        bearer: bearer(&parts.headers)?,
        header_is_believed: trusts
            && connection.is_some_and(|connection| believes(connection, &parts.headers)),
        header,
        certificate: connection.and_then(|connection| connection.certificate.clone()),
        request_id: parts
            .extensions
            .get::<RequestId>()
            .map(|id| id.0.to_string())
            .unwrap_or_default(),
    })
}

/// I2: a bare header is believed only on a local listener, for a request that nobody passed on.
fn believes(connection: &Connection, headers: &HeaderMap) -> bool {
    let passed_on = [FORWARDED, VIA, ORIGIN]
        .iter()
        .any(|name| headers.contains_key(name))
        || headers
            .keys()
            .any(|name| name.as_str().starts_with("x-forwarded-"));
    if passed_on {
        return false;
    }
    match connection.listener {
        Listener::Unix => true,
        Listener::Network => false,
        Listener::Loopback => headers
            .get(HOST)
            .and_then(|host| host.to_str().ok())
            .is_some_and(is_loopback_literal),
    }
}

fn is_loopback_literal(host: &str) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    host.trim_matches(['[', ']'])
        .parse::<std::net::IpAddr>()
        .is_ok_and(|address| address.is_loopback())
}

fn bearer(headers: &HeaderMap) -> Result<Option<SecretBytes>, ApiError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let malformed = || {
        ApiError::new(
            ErrorCode::Unauthenticated,
            "the Authorization header is not `Bearer jv1.…`",
        )
    };
    if values.next().is_some() {
        return Err(malformed());
    }
    let text = value.to_str().map_err(|_| malformed())?;
    let (scheme, token) = text.split_once(' ').ok_or_else(malformed)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(malformed());
    }
    Ok(Some(SecretBytes::new(token.trim().as_bytes().to_vec())))
}

/// One header's text. The name is one of ours, in lower case.
pub(super) fn text_header(
    headers: &HeaderMap,
    name: &'static str,
) -> Result<Option<String>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(ApiError::invalid(format!(
            "the header {name} is there more than once"
        )));
    }
    let text = value
        .to_str()
        .map_err(|_| ApiError::invalid(format!("the header {name} is not plain text")))?;
    Ok(Some(text.to_owned()))
}

/// The secret's name in the path.
pub(super) async fn name(app: &App, parts: &mut Parts) -> Result<SecretName, ApiError> {
    let Path(text) = Path::<String>::from_request_parts(parts, app)
        .await
        .map_err(|_| ApiError::invalid("the name in the path is not valid UTF-8"))?;
    parse_name(&text)
}

pub(super) fn parse_name(text: &str) -> Result<SecretName, ApiError> {
    SecretName::parse(text).map_err(|error| ApiError::invalid(format!("bad secret name: {error}")))
}

/// The query, parsed.
pub(super) async fn query<T: DeserializeOwned>(parts: &mut Parts) -> Result<T, ApiError> {
    let Query(query) = Query::<T>::from_request_parts(parts, &())
        .await
        .map_err(|error| ApiError::invalid(format!("bad query: {}", error.body_text())))?;
    Ok(query)
}

/// Reads a whole body within its bound and deadline.
pub(super) async fn body(body: Body, limit: u64) -> Result<SecretBytes, ApiError> {
    let deadline = Instant::now() + BODY_DEADLINE;
    let slow = || ApiError::invalid("the body did not arrive in time; nothing was changed");
    let mut body = body;
    let mut bytes = Vec::new();
    loop {
        let frame = timeout_at(deadline, body.frame())
            .await
            .map_err(|_| slow())?;
        let Some(frame) = frame else {
            return Ok(SecretBytes::new(bytes));
        };
        let frame =
            frame.map_err(|_| ApiError::invalid("the body ended early; nothing was changed"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if bytes.len() as u64 + data.len() as u64 > limit {
            drain(&mut body).await;
            let message = format!("the body is longer than {limit} bytes; nothing was changed");
            return Err(ApiError::new(ErrorCode::TooLarge, message));
        }
        bytes.extend_from_slice(&data);
    }
}

/// Lets a client that is still sending finish, within bounds: refusing at once would reset its connection.
pub(super) async fn drain(body: &mut Body) {
    let deadline = Instant::now() + DRAIN_DEADLINE;
    let mut left = DRAIN_BYTES;
    while let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await {
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

/// Parses a JSON body.
pub(super) fn json<T: DeserializeOwned>(bytes: &SecretBytes) -> Result<T, ApiError> {
    let text = if bytes.is_empty() {
        b"{}"
    } else {
        bytes.expose()
    };
    // serde would take an array for a structure, field by field: `[]` would be a request with every default.
    let begins = text.iter().find(|byte| !byte.is_ascii_whitespace());
    if begins == Some(&b'[') {
        return Err(ApiError::invalid(
            "the JSON body can not be used: an array has the wrong type, an object is expected",
        ));
    }
    // serde_json's message can quote the value it stumbled over: only where, and of which kind, is told.
    serde_json::from_slice(text).map_err(|error| {
        let problem = match error.classify() {
            serde_json::error::Category::Data => {
                describe_data_error(&error, field_of_error::<T>(text).as_deref())
            }
            serde_json::error::Category::Eof => "it ends early".to_owned(),
            _ => "it is not JSON".to_owned(),
        };
        let (line, column) = (error.line(), error.column());
        ApiError::invalid(format!(
            "the JSON body can not be used: {problem} (line {line}, column {column})"
        ))
    })
}

/// Unknown and missing fields are named; anything else could hold a value, of which only the field and what it expects
/// are told.
fn describe_data_error(error: &serde_json::Error, field: Option<&str>) -> String {
    let text = error.to_string();
    let begins_with = |starts: &[&str]| starts.iter().any(|start| text.starts_with(start));
    if begins_with(&["missing field", "unknown field", "duplicate field"])
        && text.len() < MAX_SHOWN_ERROR_BYTES
    {
        return text.split(" at line").next().unwrap_or_default().to_owned();
    }
    let field = match field {
        Some(field) => format!("the field `{field}`"),
        None => "a field".to_owned(),
    };
    let is_serde_s = begins_with(&["invalid type", "invalid value", "unknown variant"]);
    // What is expected comes last, whatever the value holds.
    let expected = text
        .rsplit_once(", expected ")
        .map(|(_, expected)| expected);
    match expected.filter(|_| is_serde_s) {
        Some(expected) => {
            let expected = expected.split(" at line").next().unwrap_or_default();
            let expected = in_plain_words(expected);
            format!("{field} has the wrong type or value, expected is {expected}")
        }
        None => format!("{field} has the wrong type"),
    }
}

/// What serde expects, without the names of Rust's types.
fn in_plain_words(expected: &str) -> &str {
    match expected {
        "u32" | "u64" => "a whole number, not negative",
        "a boolean" => "true or false",
        "a sequence" => "an array",
        expected if expected.starts_with("struct ") => "an object",
        expected => expected,
    }
}

/// The path of the field at which reading stopped, such as `writes[0].cas`: a second reading that remembers its way, which
/// costs too much for every request. A path holds names and numbers, no values; names that are none of ours are not told.
fn field_of_error<T: DeserializeOwned>(text: &[u8]) -> Option<String> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let error = serde_path_to_error::deserialize::<_, T>(&mut reader).err()?;
    let path = error.path().to_string();
    let is_plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.[]".contains(&byte);
    let is_name = path.len() <= MAX_SHOWN_PATH_BYTES
        && path.starts_with(|first: char| first.is_ascii_lowercase())
        && path.bytes().all(is_plain);
    is_name.then_some(path)
}

/// The header as `/openapi.json` describes it; [`idempotency`] reads it.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "it is made for its description only")]
pub(super) struct IdempotencyKey {
    /// Makes the request safe to repeat within 10 minutes, at any node: the same client, key and request get the first
    /// outcome. Another request under the key gets `idempotency_key_reused`. 1 to 128 characters.
    #[param(rename = "Idempotency-Key", required = false)]
    key: String,
}

/// The idempotency key and the keyed MAC of the request as received (A11).
pub(super) fn idempotency(
    app: &App,
    parts: &Parts,
    body: &[u8],
) -> Result<Option<(String, [u8; 32])>, ApiError> {
    let Some(key) = text_header(&parts.headers, IDEMPOTENCY_KEY_HEADER)? else {
        return Ok(None);
    };
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Err(ApiError::invalid(format!(
            "an Idempotency-Key has 1 to {MAX_KEY_BYTES} characters"
        )));
    }
    let target = parts
        .uri
        .path_and_query()
        .map_or("", |target| target.as_str());
    let mac =
        app.service
            .request_mac(&[parts.method.as_str().as_bytes(), target.as_bytes(), body])?;
    Ok(Some((key, mac)))
}

/// Everything a handler with a JSON body needs.
pub(super) struct Asked<T> {
    pub(super) caller: Caller,
    pub(super) body: T,
    pub(super) key: Option<(String, [u8; 32])>,
}

/// Takes a request apart: caller first, so that strangers can not make the server read bodies.
pub(super) async fn asked<T: DeserializeOwned>(
    app: &App,
    request: Request,
    limit: u64,
) -> Result<Asked<T>, ApiError> {
    let (parts, content) = request.into_parts();
    let caller = match caller(app, &parts).await {
        Ok(caller) => caller,
        Err(error) => {
            drain(&mut { content }).await;
            return Err(error);
        }
    };
    let bytes = body(content, limit).await?;
    let key = idempotency(app, &parts, bytes.expose())?;
    let body = json(&bytes)?;
    Ok(Asked { caller, body, key })
}

#[cfg(test)]
mod tests {
    use jarvis_wire::secrets::{BatchWrite, DestroySecret, WriteSecret};

    use super::*;

    fn complaint<T: DeserializeOwned>(body: &str) -> String {
        match json::<T>(&SecretBytes::new(body.as_bytes().to_vec())) {
            Ok(_) => panic!("accepted: {body}"),
            Err(error) => error.0.message,
        }
    }

    #[test]
    fn a7_the_field_is_named_and_what_it_expects_and_never_its_value() {
        for (body, parts) in [
            (
                r#"{"name":"a","value":"b","cas":"17"}"#,
                ["`cas`", "a whole number"],
            ),
            (
                r#"{"name":"a","value":"b","cas":-17}"#,
                ["`cas`", "a whole number"],
            ),
            (r#"{"name":"a","value":17}"#, ["`value`", "a string"]),
            (r#"{"name":"a","value":{"x":17}}"#, ["`value`", "a string"]),
            (
                r#"{"name":"a","value":"b","encoding":"17"}"#,
                ["`encoding`", "`utf8` or `base64`"],
            ),
            (
                r#"{"name":"a","value":"b","encoding":"17, expected is 17"}"#,
                ["`encoding`", "`utf8` or `base64`"],
            ),
            (r#"17"#, ["a field", "an object"]),
            (r#"{"name":"a"}"#, ["missing field `value`", "line 1"]),
            (r#"{"name":"a","x":1}"#, ["unknown field `x`", "line 1"]),
        ] {
            let said = complaint::<WriteSecret>(body);
            for part in parts {
                assert!(said.contains(part), "'{part}' is missing: {said}");
            }
            assert!(!said.contains("17") || said.contains("column 17"), "{said}");
        }
        let said = complaint::<BatchWrite>(r#"{"writes":[{"name":"a","value":"b"},{"name":5}]}"#);
        assert!(said.contains("`writes[1].name`"), "{said}");
        let said = complaint::<DestroySecret>(r#"{"versions":["example-not-a-secret"]}"#);
        assert!(said.contains("`versions[0]`"), "{said}");
        assert!(!said.contains("example"), "{said}");
    }
}
