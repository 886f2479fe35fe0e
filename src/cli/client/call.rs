//! One request as the verbs describe it, and its answer.

use std::fmt;

use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::cli::error::CliError;

/// What to ask: a method, path segments that are escaped one by one, a query, a JSON body.
pub struct Call {
    method: Method,
    writes: bool,
    segments: Vec<String>,
    query: Vec<(&'static str, String)>,
    body: Option<Zeroizing<Vec<u8>>>,
    idempotency_key: Option<String>,
}

impl Call {
    /// A read.
    #[must_use]
    pub fn get<const N: usize>(segments: [&str; N]) -> Self {
        Self::new(Method::GET, false, &segments)
    }

    /// A question that needs a body: a `POST` that changes nothing and carries no idempotency key.
    #[must_use]
    pub fn ask<const N: usize>(segments: [&str; N]) -> Self {
        Self::new(Method::POST, false, &segments)
    }

    /// A write by `POST`.
    #[must_use]
    pub fn post<const N: usize>(segments: [&str; N]) -> Self {
        Self::new(Method::POST, true, &segments)
    }

    /// A write by `PUT`.
    #[must_use]
    pub fn put<const N: usize>(segments: [&str; N]) -> Self {
        Self::new(Method::PUT, true, &segments)
    }

    /// A write by `DELETE`.
    #[must_use]
    pub fn delete<const N: usize>(segments: [&str; N]) -> Self {
        Self::new(Method::DELETE, true, &segments)
    }

    fn new(method: Method, writes: bool, segments: &[&str]) -> Self {
        Self {
            method,
            writes,
            segments: segments.iter().map(|&segment| segment.to_owned()).collect(),
            query: Vec::new(),
            body: None,
            idempotency_key: None,
        }
    }

    /// Adds `name=value` to the query.
    #[must_use]
    pub fn query(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.query.push((name, value.to_string()));
        self
    }

    /// Adds `name=value` where there is a value.
    #[must_use]
    pub fn query_if(self, name: &'static str, value: Option<impl fmt::Display>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Sets the body.
    ///
    /// # Errors
    /// [`CliError::Other`] if it can not be written as JSON, which the wire's types never cause.
    pub fn json(mut self, body: &impl Serialize) -> Result<Self, CliError> {
        let bytes = serde_json::to_vec(body)
            .map_err(|_| CliError::Other("the request can not be written as JSON".into()))?;
        self.body = Some(Zeroizing::new(bytes));
        Ok(self)
    }

    /// Repeats an earlier write under its key; without one, a new key is drawn.
    #[must_use]
    pub fn repeating(mut self, idempotency_key: Option<String>) -> Self {
        self.idempotency_key = idempotency_key;
        self
    }

    pub(super) fn is_write(&self) -> bool {
        self.writes
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    pub(super) fn segments(&self) -> &[String] {
        &self.segments
    }

    pub(super) fn query_pairs(&self) -> &[(&'static str, String)] {
        &self.query
    }

    pub(super) fn body(&self) -> Option<&[u8]> {
        self.body.as_ref().map(|body| body.as_slice())
    }

    pub(super) fn idempotency_key(&self) -> Option<&str> {
        self.idempotency_key.as_deref()
    }
}

/// The body of a successful answer; wiped when dropped.
pub struct Answer {
    body: Zeroizing<Vec<u8>>,
}

impl Answer {
    pub(super) fn new(body: Zeroizing<Vec<u8>>) -> Self {
        Self { body }
    }

    /// The bytes as they came.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// Reads the JSON.
    ///
    /// # Errors
    /// [`CliError::Other`] says where it differs from what was expected; it never holds a part of the body, since that
    /// could be a value.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, CliError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            CliError::Other(format!(
                "the server's answer is not what this client expects (line {}, column {}); their versions may differ",
                error.line(),
                error.column()
            ))
        })
    }
}
