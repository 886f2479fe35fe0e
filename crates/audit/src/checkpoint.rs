//! Checkpoints: a node's Ed25519 signature over how far the trail reached and what it contained (X4).
//!
//! A checkpoint names the cluster and its recovery epoch, so that one made in another cluster, or before a
//! recovery that dropped a tail, proves nothing here. Signatures are made outside apply and proposed as commands;
//! they are checked by the verifier only.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

/// Domain string at the start of the signed bytes.
const DOMAIN: &[u8; 20] = b"jarvis/v1/checkpoint";
/// Length of the signed bytes: domain, cluster id, recovery epoch, index, seq, head.
pub const SIGNED_BYTES: usize = 20 + 16 + 8 + 8 + 8 + 32;

/// What a node vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// Cluster id.
    pub cluster: [u8; 16],
    /// Raised by every recovery from a lost quorum.
    pub recovery_epoch: u64,
    /// Log index that was applied.
    pub index: u64,
    /// Sequence number of the last event at that index.
    pub seq: u64,
    /// Chain head after that event.
    pub head: [u8; 32],
}

/// The signature does not fit the checkpoint and the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the checkpoint's signature is not valid")]
pub struct InvalidSignature;

/// The exact bytes that are signed; integers are big-endian.
#[must_use]
pub fn signed_bytes(checkpoint: &Checkpoint) -> [u8; SIGNED_BYTES] {
    let mut bytes = [0; SIGNED_BYTES];
    let (domain, rest) = bytes.split_at_mut(20);
    let (cluster, rest) = rest.split_at_mut(16);
    let (recovery_epoch, rest) = rest.split_at_mut(8);
    let (index, rest) = rest.split_at_mut(8);
    let (seq, head) = rest.split_at_mut(8);
    domain.copy_from_slice(DOMAIN);
    cluster.copy_from_slice(&checkpoint.cluster);
    recovery_epoch.copy_from_slice(&checkpoint.recovery_epoch.to_be_bytes());
    index.copy_from_slice(&checkpoint.index.to_be_bytes());
    seq.copy_from_slice(&checkpoint.seq.to_be_bytes());
    head.copy_from_slice(&checkpoint.head);
    bytes
}

/// Signs a checkpoint with the node's key.
#[must_use]
pub fn sign(key: &SigningKey, checkpoint: &Checkpoint) -> [u8; 64] {
    key.sign(&signed_bytes(checkpoint)).to_bytes()
}

/// Checks a signature, strictly (no weak keys, one form per signature).
///
/// # Errors
/// [`InvalidSignature`], also when `public_key` is not a usable key.
pub fn verify(
    public_key: &[u8; 32],
    checkpoint: &Checkpoint,
    signature: &[u8; 64],
) -> Result<(), InvalidSignature> {
    let key = VerifyingKey::from_bytes(public_key).map_err(|_| InvalidSignature)?;
    key.verify_strict(&signed_bytes(checkpoint), &Signature::from_bytes(signature))
        .map_err(|_| InvalidSignature)
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::{Checkpoint, InvalidSignature, sign, signed_bytes, verify};

    const EXAMPLE: Checkpoint = Checkpoint {
        cluster: [0x11; 16],
        recovery_epoch: 2,
        index: 345,
        seq: 12,
        head: [0x22; 32],
    };

    #[test]
    fn the_signed_bytes_are_frozen() {
        let expected = format!(
            "{}{}{}{}{}{}",
            hex::encode("jarvis/v1/checkpoint"),
            "11".repeat(16),
            "0000000000000002",
            "0000000000000159",
            "000000000000000c",
            "22".repeat(32),
        );
        assert_eq!(hex::encode(signed_bytes(&EXAMPLE)), expected);
    }

    #[test]
    fn a_signature_holds_for_its_own_checkpoint_and_key_only() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let public_key = key.verifying_key().to_bytes();
        let signature = sign(&key, &EXAMPLE);
        assert_eq!(verify(&public_key, &EXAMPLE, &signature), Ok(()));
        let later = Checkpoint {
            recovery_epoch: 3,
            ..EXAMPLE
        };
        assert_eq!(
            verify(&public_key, &later, &signature),
            Err(InvalidSignature)
        );
        let other = SigningKey::from_bytes(&[8; 32]).verifying_key().to_bytes();
        assert_eq!(verify(&other, &EXAMPLE, &signature), Err(InvalidSignature));
    }
}
