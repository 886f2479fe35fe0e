//! Names: of secrets (A14) and of clients (A8). Parsed once into types that can not be wrong.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest secret name in bytes (A14).
pub const MAX_SECRET_NAME_BYTES: usize = 512;

/// Longest client id in bytes: it stands in every audit line.
pub const MAX_CLIENT_ID_BYTES: usize = 128;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No characters at all.
    #[error("a name must not be empty")]
    Empty,
    /// Too many bytes.
    #[error("a name has at most {limit} bytes, this one has {found}")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
        /// The length found.
        found: usize,
    },
    /// `//`, or a slash at the start or the end.
    #[error("a name must not have an empty segment (no leading, trailing or doubled '/')")]
    EmptySegment,
    /// `.` or `..` as a segment.
    #[error("a name must not have '.' or '..' as a segment")]
    DotSegment,
    /// Anything but `[A-Za-z0-9_.-]` and the separator.
    #[error("a name may hold only letters, digits, '_', '.', '-' and '/' as separator")]
    Character,
}

/// A secret's name: 1–512 bytes, segments of `[A-Za-z0-9_.-]` joined by `/` (A14). Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretName(Arc<str>);

impl SecretName {
    /// Parses a name.
    ///
    /// # Errors
    /// [`NameError`] says which rule of A14 is broken.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check_length(text, MAX_SECRET_NAME_BYTES)?;
        for segment in text.split('/') {
            match segment {
                "" => return Err(NameError::EmptySegment),
                "." | ".." => return Err(NameError::DotSegment),
                _ if segment.bytes().all(is_name_byte) => {}
                _ => return Err(NameError::Character),
            }
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A client's id: 1–128 bytes of `[A-Za-z0-9_.:@-]` (A8). A name, not a proof (I2). Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(Arc<str>);

impl ClientId {
    /// Parses a client id.
    ///
    /// # Errors
    /// [`NameError`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check_length(text, MAX_CLIENT_ID_BYTES)?;
        if text
            .bytes()
            .all(|byte| is_name_byte(byte) || byte == b':' || byte == b'@')
        {
            Ok(Self(text.into()))
        } else {
            Err(NameError::Character)
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_length(text: &str, limit: usize) -> Result<(), NameError> {
    match text.len() {
        0 => Err(NameError::Empty),
        found if found > limit => Err(NameError::TooLong { limit, found }),
        _ => Ok(()),
    }
}

const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')
}

impl Borrow<str> for SecretName {
    /// Orders as its text does.
    fn borrow(&self) -> &str {
        &self.0
    }
}

macro_rules! text_type {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                /// Parses the text where it lies: a log entry holds hundreds of names.
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $name;

                    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                        formatter.write_str("a string")
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        $name::parse(text).map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    };
}
text_type!(SecretName);
text_type!(ClientId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a14_good_names_pass() {
        let longest = "a".repeat(512);
        for name in [
            "a",
            "db/main/password",
            "A-b_c.9",
            "...",
            "a/...",
            longest.as_str(),
        ] {
            assert_eq!(SecretName::parse(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn a14_each_bad_name_is_told_apart() {
        assert_eq!(SecretName::parse(""), Err(NameError::Empty));
        assert_eq!(
            SecretName::parse(&"a".repeat(513)),
            Err(NameError::TooLong {
                limit: 512,
                found: 513
            })
        );
        for name in ["/a", "a/", "a//b", "/"] {
            assert_eq!(
                SecretName::parse(name),
                Err(NameError::EmptySegment),
                "{name}"
            );
        }
        for name in [".", "..", "a/./b", "a/.."] {
            assert_eq!(
                SecretName::parse(name),
                Err(NameError::DotSegment),
                "{name}"
            );
        }
        for name in ["a b", "ä", "a\0", "a\n", "a%2Fb", "*"] {
            assert_eq!(SecretName::parse(name), Err(NameError::Character), "{name}");
        }
    }

    #[test]
    fn a_name_that_is_wrong_does_not_decode() {
        let bytes = crate::codec::encode("a//b");
        assert!(crate::codec::decode::<SecretName>(&bytes).is_err());
        let error = crate::codec::decode::<ClientId>(&bytes).unwrap_err();
        let reason = NameError::Character.to_string();
        assert!(error.to_string().contains(&reason), "{error}");
        assert!(crate::codec::decode::<SecretName>(&[1, 2, b'a', 0xff]).is_err());
    }

    #[test]
    fn a_name_reads_back_as_it_was_written() {
        let names = (
            SecretName::parse("db/main").unwrap(),
            ClientId::parse("a@b").unwrap(),
        );
        let bytes = crate::codec::encode(&names);
        assert_eq!(
            crate::codec::decode::<(SecretName, ClientId)>(&bytes).unwrap(),
            names
        );
        // A text that is not borrowed from its source.
        let owned = serde::de::value::StringDeserializer::<serde::de::value::Error>::new(
            "db/main".to_owned(),
        );
        assert_eq!(SecretName::deserialize(owned).unwrap(), names.0);
    }
}
