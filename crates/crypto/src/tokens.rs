//! Bearer tokens (I1): `jv1.<id, 32 hex digits>.<secret, 43 characters of base64url>`.
//!
//! The id is public and names the record; State holds SHA-256 of the secret and nothing else. A
//! plain hash is enough because the secret is 256 random bits. There is exactly one spelling of a
//! token: no upper-case hex, no padding.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::credential::CredentialSecret;
use crate::random::{RandomError, RandomSource};
use crate::secret_bytes::SecretBytes;

/// The length of a token's id in bytes.
pub const TOKEN_ID_BYTES: usize = 16;

/// The length of a token's secret in bytes.
pub const TOKEN_SECRET_BYTES: usize = 32;

const PREFIX: &str = "jv1.";
const ID_CHARACTERS: usize = 2 * TOKEN_ID_BYTES;
const SECRET_CHARACTERS: usize = 43; // 256 bits, six to a character

/// The length of the whole text in bytes; every token has it.
pub const TOKEN_TEXT_BYTES: usize = PREFIX.len() + ID_CHARACTERS + 1 + SECRET_CHARACTERS;

/// The decoder wants room for whole groups of three: 11 groups for 43 characters.
const DECODE_BUFFER_BYTES: usize = 33;

/// A fresh token: its id, its secret, and the text that its holder sends.
///
/// # Errors
/// [`RandomError`] when the operating system gives no random bytes.
pub fn generate(
    random: &RandomSource,
) -> Result<([u8; TOKEN_ID_BYTES], SecretBytes, SecretBytes), RandomError> {
    let id = random.array::<TOKEN_ID_BYTES>()?;
    let mut secret = Zeroizing::new([0_u8; TOKEN_SECRET_BYTES]);
    random.fill(secret.as_mut_slice())?;
    let text = render(&id, &secret);
    Ok((id, SecretBytes::new(secret.to_vec()), text))
}

/// The text of a token whose id and secret are there already.
#[must_use]
pub fn text(id: &[u8; TOKEN_ID_BYTES], secret: &CredentialSecret) -> SecretBytes {
    render(id, secret.expose())
}

/// The id and the secret of a token's text; `None` if it is not a token in its one spelling.
#[must_use]
pub fn parse(text: &str) -> Option<([u8; TOKEN_ID_BYTES], SecretBytes)> {
    if text.len() != TOKEN_TEXT_BYTES {
        return None;
    }
    let (id_text, secret_text) = text.strip_prefix(PREFIX)?.split_once('.')?;
    Some((parse_id(id_text)?, parse_secret(secret_text)?))
}

/// What State keeps of a secret: its SHA-256.
#[must_use]
pub fn hash(secret: &SecretBytes) -> [u8; 32] {
    Sha256::digest(secret.expose()).into()
}

/// Whether `secret` is the one whose hash is `expected`, compared in constant time.
#[must_use]
pub fn verify(secret: &SecretBytes, expected: &[u8; 32]) -> bool {
    let actual = hash(secret);
    bool::from(actual.as_slice().ct_eq(expected.as_slice()))
}

fn render(id: &[u8; TOKEN_ID_BYTES], secret: &[u8; TOKEN_SECRET_BYTES]) -> SecretBytes {
    let mut encoded = Zeroizing::new([0_u8; SECRET_CHARACTERS]);
    URL_SAFE_NO_PAD
        .encode_slice(secret, encoded.as_mut_slice())
        .expect("43 characters hold 32 bytes of unpadded base64");
    // The full capacity at once: growing later would leave a part of the text in freed memory.
    let mut text = Vec::with_capacity(TOKEN_TEXT_BYTES);
    text.extend_from_slice(PREFIX.as_bytes());
    text.extend_from_slice(hex::encode(id).as_bytes());
    text.push(b'.');
    text.extend_from_slice(encoded.as_slice());
    SecretBytes::new(text)
}

fn parse_id(text: &str) -> Option<[u8; TOKEN_ID_BYTES]> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let mut id = [0; TOKEN_ID_BYTES];
    hex::decode_to_slice(text, &mut id).ok()?;
    Some(id)
}

fn parse_secret(text: &str) -> Option<SecretBytes> {
    if text.len() != SECRET_CHARACTERS {
        return None;
    }
    let mut decoded = Zeroizing::new([0_u8; DECODE_BUFFER_BYTES]);
    let length = URL_SAFE_NO_PAD
        .decode_slice(text, decoded.as_mut_slice())
        .ok()?;
    if length != TOKEN_SECRET_BYTES {
        return None;
    }
    Some(SecretBytes::new(decoded[..length].to_vec()))
}
