//! The seal that people carry in their heads: a passphrase through argon2id (RFC 9106).
//!
//! ```text
//! blob = version ‖ kind ‖ memory KiB u32 BE ‖ passes u32 BE ‖ lanes u32 BE ‖ salt ‖ ciphertext
//! key  = HKDF-SHA256(argon2id(passphrase, salt), salt, "jarvis/v1/seal/passphrase")
//! ```
//!
//! The parameters travel in the blob, so that they can be raised later. They are bounded before
//! any memory is asked for: a hostile blob can not exhaust a node. Both verbs take long and much
//! memory on purpose: call them on a thread of their own.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroizing;

use super::{Binding, SlotBlob, SlotKind, SlotUnwrapError, SlotWrapError};
use crate::keyring::RootKey;
use crate::message_key::{KEY_BYTES, KeyBytes};
use crate::random::RandomSource;
use crate::secret_bytes::SecretBytes;

/// The shortest passphrase in characters.
pub const MIN_PASSPHRASE_CHARACTERS: usize = 12;

/// The longest passphrase in bytes: more than anyone types.
pub const MAX_PASSPHRASE_BYTES: usize = 1_024;

/// The most memory that a slot may ask for, in KiB (1 GiB): what a small node can spare once.
pub const MAX_MEMORY_KIB: u32 = 1 << 20;

/// The most passes that a slot may ask for: over 1 GiB they take some ten seconds.
pub const MAX_PASSES: u32 = 10;

/// The most lanes that a slot may ask for: more than that gain nothing on our machines.
pub const MAX_LANES: u32 = 16;

/// argon2 needs eight blocks of 1 KiB in each lane.
const MIN_MEMORY_KIB_PER_LANE: u32 = 8;

const DOMAIN: &str = "jarvis/v1/seal/passphrase";

/// Three numbers of four bytes.
const PARAMETER_BYTES: usize = 12;

/// How much work a guess costs. The default, 64 MiB and three passes in one lane, is the second
/// recommendation of RFC 9106 with one lane instead of four: about 0.2 s on our machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argon2Parameters {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// argon2id parameters outside their bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "argon2id with {memory_kib} KiB, {passes} passes and {lanes} lanes is outside the bounds: at \
     most {MAX_MEMORY_KIB} KiB and at least {MIN_MEMORY_KIB_PER_LANE} KiB a lane, 1 to \
     {MAX_PASSES} passes, 1 to {MAX_LANES} lanes"
)]
pub struct ParameterError {
    /// The memory asked for, in KiB.
    pub memory_kib: u32,
    /// The passes asked for.
    pub passes: u32,
    /// The lanes asked for.
    pub lanes: u32,
}

impl Argon2Parameters {
    /// Parameters within the bounds. Anything below the default is for tests.
    ///
    /// # Errors
    /// [`ParameterError`] outside the bounds.
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, ParameterError> {
        let lanes_fit = (1..=MAX_LANES).contains(&lanes);
        let passes_fit = (1..=MAX_PASSES).contains(&passes);
        let least_memory_kib = MIN_MEMORY_KIB_PER_LANE.saturating_mul(lanes);
        let memory_fits = (least_memory_kib..=MAX_MEMORY_KIB).contains(&memory_kib);
        if lanes_fit && passes_fit && memory_fits {
            Ok(Self {
                memory_kib,
                passes,
                lanes,
            })
        } else {
            Err(ParameterError {
                memory_kib,
                passes,
                lanes,
            })
        }
    }

    fn encode(self) -> [u8; PARAMETER_BYTES] {
        let mut bytes = [0; PARAMETER_BYTES];
        bytes[0..4].copy_from_slice(&self.memory_kib.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.passes.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.lanes.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8; PARAMETER_BYTES]) -> Result<Self, ParameterError> {
        let &[m0, m1, m2, m3, p0, p1, p2, p3, l0, l1, l2, l3] = bytes;
        Self::new(
            u32::from_be_bytes([m0, m1, m2, m3]),
            u32::from_be_bytes([p0, p1, p2, p3]),
            u32::from_be_bytes([l0, l1, l2, l3]),
        )
    }
}

impl Default for Argon2Parameters {
    fn default() -> Self {
        Self {
            memory_kib: 64 * 1024,
            passes: 3,
            lanes: 1,
        }
    }
}

/// Wraps the root key under a passphrase. The bytes count as they are: the caller strips a final
/// newline. `context` names the cluster and the slot, and must be given again to open it.
///
/// # Errors
/// [`SlotWrapError`].
pub fn wrap_root(
    passphrase: &SecretBytes,
    root: &RootKey,
    context: &[u8],
    parameters: Argon2Parameters,
    random: &RandomSource,
) -> Result<Vec<u8>, SlotWrapError> {
    check_length(passphrase)?;
    let salt = random.array::<KEY_BYTES>()?;
    let input_key = stretch(passphrase, &salt, parameters)
        .map_err(|source| SlotWrapError::Derivation { source })?;
    let encoded = parameters.encode();
    Ok(binding(&encoded, context).encrypt(input_key.expose(), &salt, root))
}

/// Opens what [`wrap_root`] made with the same passphrase and context.
///
/// # Errors
/// [`SlotUnwrapError`].
pub fn unwrap_root(
    passphrase: &SecretBytes,
    blob: &[u8],
    context: &[u8],
) -> Result<RootKey, SlotUnwrapError> {
    let truncated = SlotUnwrapError::Truncated { length: blob.len() };
    let body = SlotBlob::body_of(blob, SlotKind::Passphrase, PARAMETER_BYTES)?;
    let (encoded, rest) = body
        .split_first_chunk::<PARAMETER_BYTES>()
        .ok_or(truncated)?;
    let (salt, ciphertext) = rest.split_first_chunk::<KEY_BYTES>().ok_or(truncated)?;
    let parameters = Argon2Parameters::decode(encoded)
        .map_err(|source| SlotUnwrapError::Parameters { source })?;
    if passphrase.len() > MAX_PASSPHRASE_BYTES {
        return Err(SlotUnwrapError::Authentication); // no slot was made with it
    }
    let input_key = stretch(passphrase, salt, parameters)
        .map_err(|source| SlotUnwrapError::Derivation { source })?;
    binding(encoded, context).decrypt(input_key.expose(), salt, ciphertext)
}

fn binding<'slot>(
    parameters: &'slot [u8; PARAMETER_BYTES],
    context: &'slot [u8],
) -> Binding<'slot> {
    Binding {
        domain: DOMAIN,
        kind: SlotKind::Passphrase,
        parameters,
        context,
    }
}

fn check_length(passphrase: &SecretBytes) -> Result<(), SlotWrapError> {
    let characters = match std::str::from_utf8(passphrase.expose()) {
        Ok(text) => text.chars().count(),
        Err(_) => passphrase.len(),
    };
    if characters < MIN_PASSPHRASE_CHARACTERS || passphrase.len() > MAX_PASSPHRASE_BYTES {
        return Err(SlotWrapError::PassphraseLength { characters });
    }
    Ok(())
}

/// argon2id, version 0x13, into 32 bytes. Its memory is wiped afterwards, and running out of it is
/// an error instead of the end of the process.
fn stretch(
    passphrase: &SecretBytes,
    salt: &[u8; KEY_BYTES],
    parameters: Argon2Parameters,
) -> Result<KeyBytes, argon2::Error> {
    let params = Params::new(
        parameters.memory_kib,
        parameters.passes,
        parameters.lanes,
        Some(KEY_BYTES),
    )?;
    let block_count = params.block_count();
    let mut memory = Zeroizing::new(Vec::<Block>::new());
    memory
        .try_reserve_exact(block_count)
        .map_err(|_| argon2::Error::OutOfMemory)?;
    memory.resize(block_count, Block::new());
    let mut key = KeyBytes::zeroed();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into_with_memory(
        passphrase.expose(),
        salt.as_slice(),
        key.expose_mut().as_mut_slice(),
        memory.as_mut_slice(),
    )?;
    Ok(key)
}
