//! Frozen byte formats (X1, X2, X3): what was written once must open for ever.
//!
//! The expected bytes were computed by another implementation, `vectors.py` beside this file, from
//! the formulas in the module documentation. Where sealing draws
//! randomness only opening is compared. A change of a constant here is a change of the format.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use jarvis_crypto::keyring::Keyring;
use jarvis_crypto::seal::{SlotBlob, SlotKind, key_file, passphrase};
use jarvis_crypto::{
    CredentialKey, CredentialKind, RequestMac, RootKey, SecretBytes, envelope, tokens,
};

const ROOT_KEY: [u8; 32] = [0x11; 32];
const VAULT_ID: [u8; 16] = [0x22; 16];
const EPOCH: u32 = 7;
const NAME: &str = "db/example";
const VERSION_ID: [u8; 32] = [0x55; 32];
const PLAINTEXT: &[u8] = b"example-not-a-secret";
const SLOT_CONTEXT: &[u8] = b"example-cluster/slot-1";
const PASSPHRASE: &[u8] = b"example passphrase, not a secret";

/// Purpose "example", context "context", salt of 32 × 0x66.
const WRAPPED: &str = concat!(
    "01",
    "6666666666666666666666666666666666666666666666666666666666666666",
    "08c8c3fe84edbc5e6b2db890737a63a74b54b1f8ef80557a9bbae770c2993818ee0f12b2",
);

/// The epoch key of 32 × 0x44, salt of 32 × 0x33.
const WRAPPED_EPOCH: &str = concat!(
    "01",
    "3333333333333333333333333333333333333333333333333333333333333333",
    "3b19ef04e6677a44b8d3134834f5e180255f23c8a9013b5f9c047866265cf073",
    "8269746680adf359792000f5e777b0a0",
);

const VALUE: &str = "9c35ab0fd19851c77629f5956cf399bc9795e809d2261b18ee4a8246b2b622c110208a90";
const EMPTY_VALUE: &str = "0ec118dcc9250c4a37d0d9ab484a5ebf";

/// A key file of 32 × 0x77, salt of 32 × 0x88.
const KEY_FILE_SLOT: &str = concat!(
    "0101",
    "8888888888888888888888888888888888888888888888888888888888888888",
    "eef95f4037c2d347325ab3a623360c5eed082b33919786ccc8e88eeaab6b034f",
    "f6847366b7a41acca3efbb9846828846",
);

/// 64 KiB, two passes, one lane, salt of 32 × 0x99.
const PASSPHRASE_SLOT: &str = concat!(
    "0102",
    "000000400000000200000001",
    "9999999999999999999999999999999999999999999999999999999999999999",
    "36609cd8c247ea2b8e8c205bac531341c9b876dfd0ad7f97b516ec4761ee3a4c",
    "c4ab75705376f34df79f8d0842099b88",
);

const REQUEST_MAC: &str = "2746aa775aca18d600b42ec3e72275451439b0ae516e6b778134fdf17fc1f5c6";
const REQUEST_MAC_OF_NOTHING: &str =
    "26bb079b6a4d70b6fe3863416eb441d3805f2b35d7ba541a9729eec3d33c560f";

/// Id of 16 × 0xaa, client "admin", idempotency key "example-key".
const REPEATABLE_TOKEN: &str = "f561d6e6603a39772bc27db15286f87e3e9d3e02039a2c657471dcc5ac40cff5";
const REPEATABLE_JOIN_TOKEN: &str =
    "1bb452e689a6c729ef591ebcce202ac0f0755a37adea2c5ceed1c4b900b87cf6";

/// Id of 16 × 0xaa, secret of 32 × 0xbb.
const TOKEN: &str = concat!(
    "jv1.",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ".u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7s",
);
const TOKEN_HASH: &str = "4ca14526b2751b640d549ce7caf8ac39438592211a0ec370064d57666a682ad6";

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text).expect("the constants are hex")
}

fn secret(bytes: &[u8]) -> SecretBytes {
    SecretBytes::new(bytes.to_vec())
}

fn root() -> RootKey {
    RootKey::from_secret(secret(&ROOT_KEY)).expect("32 bytes")
}

fn keyring() -> Keyring {
    let mut keyring = Keyring::new(VAULT_ID, root());
    keyring
        .load_epoch(EPOCH, &bytes(WRAPPED_EPOCH))
        .expect("the frozen epoch key opens");
    keyring
}

#[test]
fn x2_a_secret_wrapped_by_the_first_release_still_opens() {
    let opened = root().unwrap("example", b"context", &bytes(WRAPPED));
    assert_eq!(opened, Ok(secret(PLAINTEXT)));
}

#[test]
fn x2_an_epoch_key_of_the_first_release_still_loads() {
    assert_eq!(keyring().epochs(), [EPOCH]);
}

#[test]
fn x1_a_value_sealed_by_the_first_release_still_opens() {
    let opened = envelope::open(&keyring(), NAME, &VERSION_ID, EPOCH, &bytes(VALUE));
    assert_eq!(opened, Ok(secret(PLAINTEXT)));
}

#[test]
fn a2_an_empty_value_of_the_first_release_still_opens() {
    let opened = envelope::open(&keyring(), NAME, &VERSION_ID, EPOCH, &bytes(EMPTY_VALUE));
    assert_eq!(opened, Ok(secret(b"")));
}

#[test]
fn x3_a_key_file_slot_of_the_first_release_still_unseals() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("master.key");
    fs::write(&path, [0x77_u8; 32]).expect("written");
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("mode set");

    let blob = bytes(KEY_FILE_SLOT);
    assert_eq!(
        SlotBlob::parse(&blob).map(|slot| slot.kind()),
        Ok(SlotKind::KeyFile)
    );
    let opened = key_file::load(&path)
        .expect("the file loads")
        .unwrap_root(&blob, SLOT_CONTEXT)
        .expect("the slot opens");
    assert_eq!(opened.to_secret(), secret(&ROOT_KEY));
}

#[test]
fn x3_a_passphrase_slot_of_the_first_release_still_unseals() {
    let blob = bytes(PASSPHRASE_SLOT);
    assert_eq!(
        SlotBlob::parse(&blob).map(|slot| slot.kind()),
        Ok(SlotKind::Passphrase)
    );
    let opened =
        passphrase::unwrap_root(&secret(PASSPHRASE), &blob, SLOT_CONTEXT).expect("the slot opens");
    assert_eq!(opened.to_secret(), secret(&ROOT_KEY));
}

#[test]
fn a11_the_fingerprint_of_a_request_never_changes() {
    let mac = RequestMac::new(&root());
    assert_eq!(hex::encode(mac.mac(&[b"PUT", b"db/example"])), REQUEST_MAC);
    assert_eq!(hex::encode(mac.mac(&[])), REQUEST_MAC_OF_NOTHING);
}

#[test]
fn a11_the_secret_of_a_repeated_request_never_changes() {
    let key = CredentialKey::new(&root());
    for (kind, expected) in [
        (CredentialKind::Token, REPEATABLE_TOKEN),
        (CredentialKind::JoinToken, REPEATABLE_JOIN_TOKEN),
    ] {
        let again = key.secret(kind, &[0xaa; 16], "admin", "example-key");
        assert_eq!(hex::encode(again.expose()), expected, "{kind:?}");
    }
}

#[test]
fn i1_a_token_of_the_first_release_is_still_accepted() {
    let (id, token_secret) = tokens::parse(TOKEN).expect("the frozen token parses");
    assert_eq!(id, [0xaa; 16]);
    assert_eq!(token_secret, secret(&[0xbb; 32]));
    let hash = tokens::hash(&token_secret);
    assert_eq!(hex::encode(hash), TOKEN_HASH);
    assert!(tokens::verify(&token_secret, &hash));
}
