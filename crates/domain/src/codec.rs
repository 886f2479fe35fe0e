//! The one place where replicated bytes are made and read.
//!
//! Format: one version byte, then bincode 2 (standard configuration: little endian, variable-length integers). The format
//! of a released version byte is frozen; golden vectors in the tests hold it. Decoding is bounded by the input's own
//! length and by [`MAX_DECODED_BYTES`], and must consume every byte.

use bincode::enc::write::Writer;
use bincode::error::EncodeError;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Version byte of the only format so far.
const FORMAT: u8 = 1;

/// Upper bound of one decoded object: a snapshot record or a proposal batch is far smaller (rule 10).
pub const MAX_DECODED_BYTES: usize = 32 * 1024 * 1024;

/// Room for a value of unknown length: most messages fit.
const FIRST_BYTES: usize = 64;

/// Why bytes could not be read or made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The version byte is none this build knows.
    #[error("unknown format version {found}: written by a newer release; upgrade this node")]
    UnknownFormat {
        /// The byte that was found.
        found: u8,
    },
    /// The bytes are not a value of the expected type.
    #[error("malformed bytes: {reason}")]
    Malformed {
        /// What the decoder said.
        reason: String,
    },
}

/// Encodes a value.
///
/// # Panics
/// Never for the types of this crate: encoding to memory fails only for types serde can not express.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    encode_sized(value, FIRST_BYTES)
}

/// As [`encode`], for a value that takes about so many bytes: their memory is taken once instead of growing step by step.
/// The number decides nothing else.
///
/// # Panics
/// As [`encode`].
pub fn encode_sized<T: Serialize + ?Sized>(value: &T, bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes);
    encode_onto(value, &mut out);
    out
}

/// As [`encode`], at the end of a buffer that is used again and again.
pub(crate) fn encode_onto<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    out.push(FORMAT);
    try_encode_onto(value, out).expect("types of this crate always encode");
}

/// Encodes a value that may hold a part which can not be written (a state handle).
///
/// # Errors
/// [`CodecError::Malformed`] for such a value.
pub fn try_encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError> {
    let mut bytes = vec![FORMAT];
    try_encode_onto(value, &mut bytes)?;
    Ok(bytes)
}

/// Lets bincode write where the bytes are wanted, without a buffer of its own.
struct Onto<'a>(&'a mut Vec<u8>);

impl Writer for Onto<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

fn try_encode_onto<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
    bincode::serde::encode_into_writer(value, Onto(out), bincode::config::standard()).map_err(
        |error| CodecError::Malformed {
            reason: error.to_string(),
        },
    )
}

/// Decodes a value; all bytes must be used.
///
/// # Errors
/// [`CodecError`] for an unknown version, damage, or trailing bytes. Never panics, whatever the input.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (&format, body) = bytes.split_first().ok_or_else(|| CodecError::Malformed {
        reason: "no bytes".to_owned(),
    })?;
    if format != FORMAT {
        return Err(CodecError::UnknownFormat { found: format });
    }
    let configuration = bincode::config::standard().with_limit::<MAX_DECODED_BYTES>();
    let (value, used) =
        bincode::serde::decode_from_slice(body, configuration).map_err(|error| {
            CodecError::Malformed {
                reason: error.to_string(),
            }
        })?;
    if used != body.len() {
        return Err(CodecError::Malformed {
            reason: format!("{} trailing bytes", body.len() - used),
        });
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_survives_the_round_trip() {
        let value = (7_u64, "name".to_owned(), vec![1_u8, 2, 3]);
        assert_eq!(
            decode::<(u64, String, Vec<u8>)>(&encode(&value)).unwrap(),
            value
        );
    }

    #[test]
    fn a_wrong_guess_of_the_length_changes_nothing() {
        let value = vec!["name".to_owned(); 100];
        for bytes in [0, 1, 10_000] {
            assert_eq!(encode_sized(&value, bytes), encode(&value));
        }
    }

    #[test]
    fn the_format_is_frozen() {
        assert_eq!(
            encode(&(300_u64, "ab", true)),
            [1, 251, 44, 1, 2, b'a', b'b', 1]
        );
    }

    #[test]
    fn unknown_formats_and_trailing_bytes_are_refused() {
        assert_eq!(
            decode::<u8>(&[9, 1]),
            Err(CodecError::UnknownFormat { found: 9 })
        );
        assert!(matches!(
            decode::<u8>(&[1, 1, 1]),
            Err(CodecError::Malformed { .. })
        ));
        assert!(matches!(
            decode::<u8>(&[]),
            Err(CodecError::Malformed { .. })
        ));
    }

    #[test]
    fn a_length_that_lies_does_not_allocate() {
        let mut bytes = vec![FORMAT, 253];
        bytes.extend_from_slice(&u64::MAX.to_le_bytes());
        assert!(decode::<Vec<u8>>(&bytes).is_err());
    }
}
