//! The one place where the peer network uses bincode: the messages of the handshake.
//!
//! Frames after the handshake have fixed heads and opaque bodies; their content belongs to whoever
//! sends them.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::network::PeerError;

/// The largest handshake message: a hello with two host names of 255 bytes fits many times.
pub(super) const MAX_HANDSHAKE_BYTES: usize = 4 * 1024;

/// Encodes a handshake message.
pub(super) fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, PeerError> {
    let bytes = bincode::serde::encode_to_vec(message, configuration()).map_err(|error| {
        PeerError::Refused {
            reason: format!("the hello can not be encoded: {error}"),
        }
    })?;
    if bytes.len() > MAX_HANDSHAKE_BYTES {
        return Err(PeerError::TooLarge {
            bytes: bytes.len(),
            limit: MAX_HANDSHAKE_BYTES,
        });
    }
    Ok(bytes)
}

/// Decodes a handshake message; bytes behind it are an error.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, PeerError> {
    match bincode::serde::decode_from_slice(bytes, configuration()) {
        Ok((message, used)) if used == bytes.len() => Ok(message),
        _ => Err(PeerError::Refused {
            reason: String::from("the hello can not be read: another protocol version?"),
        }),
    }
}

fn configuration() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<MAX_HANDSHAKE_BYTES>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_frozen() {
        let message = (
            250_u8,
            250_u64,
            251_u64,
            70_000_u64,
            1_u64 << 32,
            "ab",
            true,
        );
        let frozen = concat!(
            "fa",                 // a byte is a byte
            "fa",                 // numbers up to 250
            "fbfb00",             // two bytes, little endian
            "fc70110100",         // four
            "fd0000000001000000", // eight
            "026162",
            "01",
        );
        assert_eq!(hex::encode(encode(&message).unwrap()), frozen);
    }

    #[test]
    fn a_message_with_something_behind_it_is_refused() {
        let mut bytes = encode(&(7_u16, String::from("n1"))).unwrap();
        assert_eq!(
            decode::<(u16, String)>(&bytes).unwrap(),
            (7, String::from("n1"))
        );
        bytes.push(0);
        assert!(decode::<(u16, String)>(&bytes).is_err());
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_memory_is_taken() {
        // A string that claims 2^32 bytes: marker 253 = a u64 follows.
        let bytes = [253, 0, 0, 0, 0, 1, 0, 0, 0];
        assert!(decode::<String>(&bytes).is_err());
    }
}
