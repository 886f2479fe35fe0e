//! The key that one epoch's values are encrypted under, by way of a key derived per version.

use std::fmt;

use subtle::ConstantTimeEq;

use super::root_key::KeyLengthError;
use crate::message_key::{KEY_BYTES, KeyBytes};
use crate::secret_bytes::SecretBytes;

/// 32 secret bytes, wrapped by the root key wherever they are stored.
pub struct EpochKey(KeyBytes);

impl EpochKey {
    pub(crate) fn from_secret(secret: &SecretBytes) -> Result<Self, KeyLengthError> {
        KeyBytes::from_slice(secret.expose())
            .map(Self)
            .ok_or(KeyLengthError {
                length: secret.len(),
            })
    }

    pub(crate) fn bytes(&self) -> &KeyBytes {
        &self.0
    }

    pub(crate) fn expose(&self) -> &[u8; KEY_BYTES] {
        self.0.expose()
    }
}

impl PartialEq for EpochKey {
    fn eq(&self, other: &Self) -> bool {
        let (own, others) = (self.expose().as_slice(), other.expose().as_slice());
        bool::from(own.ct_eq(others))
    }
}

impl Eq for EpochKey {}

impl fmt::Debug for EpochKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("EpochKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_prints_the_name_of_the_type_and_no_byte() {
        let key = EpochKey::from_secret(&SecretBytes::new(vec![0xAB; 32])).expect("32 bytes");
        assert_eq!(format!("{key:?}"), "EpochKey");
        assert_eq!(format!("{:#?}", key.bytes()), "KeyBytes");
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        let short = SecretBytes::new(vec![0xAB; 31]);
        assert_eq!(
            EpochKey::from_secret(&short),
            Err(KeyLengthError { length: 31 })
        );
    }
}
