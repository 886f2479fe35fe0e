//! Text that must not be seen by accident: values, passphrases, tokens.
//!
//! It travels as an ordinary JSON string. `Debug` prints the type's name only, the bytes are overwritten when the last
//! holder drops them, and [`SecretText::expose`] is the one loud way to look.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// A string that must not reach a log, an error or a `Debug` (rule 12).
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretText(String);

impl SecretText {
    /// Takes over a string.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Shows the text. Every call is a place to look at when asking where a secret can go.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Hands the string over; whoever takes it wipes it.
    #[must_use]
    pub fn into_exposed(mut self) -> String {
        std::mem::take(&mut self.0)
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no byte in it; an empty value is legal (A2).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretText")
    }
}

impl Drop for SecretText {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_byte_and_json_is_a_plain_string() {
        let text = SecretText::new("example-not-a-secret");
        assert_eq!(format!("{text:?}"), "SecretText");
        let json = serde_json::to_string(&text).unwrap();
        assert_eq!(json, "\"example-not-a-secret\"");
        let back: SecretText = serde_json::from_str(&json).unwrap();
        assert_eq!(back.expose(), "example-not-a-secret");
        assert_eq!(back.into_exposed(), "example-not-a-secret");
    }
}
