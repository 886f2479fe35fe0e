//! `[crypto]`: the algorithms, by name (F4). There is one of each: naming another one is refused
//! instead of ignored.

use super::error::ConfigError;
use super::reader::Table;

/// How values are encrypted at rest (X1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aead {
    /// AES-256-GCM.
    Aes256Gcm,
}

/// What `jwt_signing_key` generates and signatures use (R3, X4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningAlgorithm {
    /// Ed25519.
    Ed25519,
}

/// How keys come from passphrases (X3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyDerivation {
    /// argon2id.
    Argon2id,
}

/// `[crypto]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CryptoConfig {
    /// `aead`.
    pub aead: Aead,
    /// `jwt_sign_algo`.
    pub jwt_sign_algo: SigningAlgorithm,
    /// `kdf`.
    pub kdf: KeyDerivation,
}

impl CryptoConfig {
    pub(super) fn read(table: &mut Table<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            aead: only(table, "aead", "aes-gcm-256", Aead::Aes256Gcm)?,
            jwt_sign_algo: only(table, "jwt_sign_algo", "ed25519", SigningAlgorithm::Ed25519)?,
            kdf: only(table, "kdf", "argon2id", KeyDerivation::Argon2id)?,
        })
    }
}

fn only<T: Copy>(
    table: &mut Table<'_>,
    key: &'static str,
    name: &str,
    value: T,
) -> Result<T, ConfigError> {
    let legal = format!("only \"{name}\"");
    let example = format!("{key} = \"{name}\"");
    table.parsed(key, &legal, &example, |text| (text == name).then_some(()))?;
    Ok(value)
}
