//! Hostile and damaged input, each case with its name: nothing opens, nothing panics, and nothing
//! asks for more memory than its bound (X1, X2, X3, I1).

use jarvis_crypto::envelope::{self, OpenError, SealError, Sealed};
use jarvis_crypto::keyring::{Keyring, KeyringError, UnwrapError, WrapError};
use jarvis_crypto::seal::passphrase::{self, Argon2Parameters, ParameterError};
use jarvis_crypto::seal::{SlotBlob, SlotUnwrapError, SlotWrapError, key_file};
use jarvis_crypto::{RandomSource, RootKey, SecretBytes, tokens};
use proptest::prelude::*;

const VAULT_ID: [u8; 16] = [0x22; 16];
const NAME: &str = "db/example";
const PLAINTEXT: &[u8] = b"example-not-a-secret";
const CONTEXT: &[u8] = b"example-cluster/slot-1";

fn secret(bytes: &[u8]) -> SecretBytes {
    SecretBytes::new(bytes.to_vec())
}

/// What is wrapped here is wrapped as everywhere.
const SYSTEM: RandomSource = RandomSource::operating_system();

fn root_of(byte: u8) -> RootKey {
    RootKey::from_secret(secret(&[byte; 32])).expect("32 bytes")
}

/// A keyring with the epochs 1 and 2.
fn keyring() -> Keyring {
    let mut keyring = Keyring::new(VAULT_ID, root_of(0x11));
    for epoch in [1, 2] {
        let wrapped = keyring.generate_epoch(epoch).expect("wrapped");
        keyring.load_epoch(epoch, &wrapped).expect("loaded");
    }
    keyring
}

fn sealed(keyring: &Keyring) -> Sealed {
    envelope::seal(keyring, 1, NAME, PLAINTEXT).expect("sealed")
}

fn open(keyring: &Keyring, name: &str, sealed: &Sealed) -> Result<SecretBytes, OpenError> {
    envelope::open(
        keyring,
        name,
        &sealed.version_id,
        sealed.epoch,
        &sealed.ciphertext,
    )
}

/// Every copy of `bytes` with one bit of one byte flipped.
fn flipped(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes.len()).map(move |position| {
        let mut copy = bytes.to_vec();
        copy[position] ^= 1;
        copy
    })
}

#[test]
fn x1_value_with_a_flipped_byte() {
    let keyring = keyring();
    let sealed = sealed(&keyring);
    for ciphertext in flipped(&sealed.ciphertext) {
        let damaged = Sealed {
            ciphertext,
            ..sealed.clone()
        };
        assert_eq!(
            open(&keyring, NAME, &damaged),
            Err(OpenError::Authentication)
        );
    }
}

#[test]
fn x1_value_with_a_swapped_name() {
    let keyring = keyring();
    let sealed = sealed(&keyring);
    for name in ["db/exampl", "db/example2", "db/examplE", ""] {
        assert_eq!(
            open(&keyring, name, &sealed),
            Err(OpenError::Authentication)
        );
    }
}

#[test]
fn x1_value_with_a_swapped_version_id() {
    let keyring = keyring();
    let (first, second) = (sealed(&keyring), sealed(&keyring));
    let swapped = Sealed {
        version_id: second.version_id,
        ..first
    };
    assert_eq!(
        open(&keyring, NAME, &swapped),
        Err(OpenError::Authentication)
    );
}

#[test]
fn x1_value_with_a_swapped_epoch() {
    let keyring = keyring();
    let swapped = Sealed {
        epoch: 2,
        ..sealed(&keyring)
    };
    assert_eq!(
        open(&keyring, NAME, &swapped),
        Err(OpenError::Authentication)
    );
}

#[test]
fn x1_value_of_an_epoch_whose_key_is_the_same_but_whose_number_is_not() {
    // Only the associated data tells these two apart: the epoch must be part of it.
    let (wrapped_one, wrapped_two) = {
        let root = root_of(0x11);
        let context = |epoch: u32| [VAULT_ID.as_slice(), &epoch.to_be_bytes()].concat();
        let wrap = |epoch| {
            root.wrap("epoch-key", &context(epoch), &[0x44; 32])
                .expect("wrapped")
        };
        (wrap(1), wrap(2))
    };
    let mut keyring = Keyring::new(VAULT_ID, root_of(0x11));
    keyring.load_epoch(1, &wrapped_one).expect("loaded");
    keyring.load_epoch(2, &wrapped_two).expect("loaded");
    let swapped = Sealed {
        epoch: 2,
        ..sealed(&keyring)
    };
    assert_eq!(
        open(&keyring, NAME, &swapped),
        Err(OpenError::Authentication)
    );
}

#[test]
fn x1_value_of_another_vault_with_the_same_keys() {
    let root = root_of(0x11);
    let load = |vault_id: [u8; 16]| {
        let context = [vault_id.as_slice(), &1_u32.to_be_bytes()].concat();
        let wrapped = root
            .wrap("epoch-key", &context, &[0x44; 32])
            .expect("wrapped");
        let mut keyring = Keyring::new(vault_id, root_of(0x11));
        keyring.load_epoch(1, &wrapped).expect("loaded");
        keyring
    };
    let (own, other) = (load(VAULT_ID), load([0x23; 16]));
    let foreign = sealed(&other);
    assert_eq!(open(&other, NAME, &foreign), Ok(secret(PLAINTEXT)));
    assert_eq!(open(&own, NAME, &foreign), Err(OpenError::Authentication));
}

#[test]
fn x1_value_that_was_truncated_or_emptied_or_grew() {
    let keyring = keyring();
    let whole = sealed(&keyring);
    for length in 0..whole.ciphertext.len() {
        let cut = Sealed {
            ciphertext: whole.ciphertext[..length].to_vec(),
            ..whole.clone()
        };
        let expected = if length < envelope::OVERHEAD_BYTES {
            OpenError::Truncated { length }
        } else {
            OpenError::Authentication
        };
        assert_eq!(open(&keyring, NAME, &cut), Err(expected));
    }
    let length = envelope::MAX_PLAINTEXT_BYTES + envelope::OVERHEAD_BYTES + 1;
    let grown = Sealed {
        ciphertext: vec![0; length],
        ..whole
    };
    assert_eq!(
        open(&keyring, NAME, &grown),
        Err(OpenError::TooLarge { length })
    );
}

#[test]
fn x2_value_of_an_epoch_that_is_not_loaded() {
    let mut keyring = keyring();
    let sealed = sealed(&keyring);
    assert!(keyring.drop_epoch(1));
    assert!(!keyring.drop_epoch(1));
    assert_eq!(
        open(&keyring, NAME, &sealed),
        Err(OpenError::UnknownEpoch { epoch: 1 })
    );
    assert_eq!(
        envelope::seal(&keyring, 1, NAME, PLAINTEXT),
        Err(SealError::UnknownEpoch { epoch: 1 })
    );
}

#[test]
fn a14_value_or_name_beyond_the_bound_is_not_sealed() {
    let keyring = keyring();
    let length = envelope::MAX_PLAINTEXT_BYTES + 1;
    assert_eq!(
        envelope::seal(&keyring, 1, NAME, &vec![0; length]),
        Err(SealError::TooLarge { length })
    );
    let name = "n".repeat(envelope::MAX_NAME_BYTES + 1);
    assert_eq!(
        envelope::seal(&keyring, 1, &name, PLAINTEXT),
        Err(SealError::NameTooLong { length: name.len() })
    );
}

#[test]
fn x2_wrapped_secret_with_a_flipped_byte() {
    let root = root_of(0x11);
    let blob = root.wrap("example", CONTEXT, PLAINTEXT).expect("wrapped");
    for (position, damaged) in flipped(&blob).enumerate() {
        let expected = if position == 0 {
            UnwrapError::UnknownVersion { version: 0 }
        } else {
            UnwrapError::Authentication
        };
        assert_eq!(root.unwrap("example", CONTEXT, &damaged), Err(expected));
    }
}

#[test]
fn x2_wrapped_secret_with_another_purpose_context_or_root() {
    let root = root_of(0x11);
    let blob = root
        .wrap("example", b"context", PLAINTEXT)
        .expect("wrapped");
    let refused = Err(UnwrapError::Authentication);
    assert_eq!(root.unwrap("other", b"context", &blob), refused);
    assert_eq!(root.unwrap("example", b"contexT", &blob), refused);
    assert_eq!(root.unwrap("example", b"", &blob), refused);
    // The concatenation is the same; the key is not.
    assert_eq!(root.unwrap("examplec", b"ontext", &blob), refused);
    assert_eq!(
        root_of(0x12).unwrap("example", b"context", &blob),
        Err(UnwrapError::Authentication)
    );
}

#[test]
fn x2_wrapped_secret_that_was_truncated_or_emptied_or_grew() {
    let root = root_of(0x11);
    let blob = root.wrap("example", CONTEXT, b"").expect("wrapped");
    for length in 0..blob.len() {
        assert_eq!(
            root.unwrap("example", CONTEXT, &blob[..length]),
            Err(UnwrapError::Truncated { length })
        );
    }
    let mut grown = blob;
    grown.resize(2 << 20, 0);
    assert_eq!(
        root.unwrap("example", CONTEXT, &grown),
        Err(UnwrapError::TooLarge {
            length: grown.len()
        })
    );
}

#[test]
fn x2_wrapping_more_than_the_bound_is_refused() {
    let root = root_of(0x11);
    let length = (1 << 20) + 1;
    assert_eq!(
        root.wrap("example", CONTEXT, &vec![0; length]),
        Err(WrapError::TooLarge { length })
    );
    assert_eq!(
        root.wrap(&"p".repeat(65), CONTEXT, PLAINTEXT),
        Err(WrapError::PurposeTooLong { length: 65 })
    );
}

#[test]
fn x2_epoch_key_under_another_number_or_vault_or_in_place_of_another() {
    let mut keyring = keyring();
    let wrapped = keyring.generate_epoch(3).expect("wrapped");
    let refused = |epoch| {
        Err(KeyringError::Unwrap {
            epoch,
            source: UnwrapError::Authentication,
        })
    };
    assert_eq!(keyring.load_epoch(4, &wrapped), refused(4));
    let mut other_vault = Keyring::new([0x23; 16], root_of(0x11));
    assert_eq!(other_vault.load_epoch(3, &wrapped), refused(3));

    assert_eq!(keyring.load_epoch(3, &wrapped), Ok(()));
    assert_eq!(keyring.load_epoch(3, &wrapped), Ok(()));
    let another = keyring.generate_epoch(3).expect("wrapped");
    assert_eq!(
        keyring.load_epoch(3, &another),
        Err(KeyringError::Conflict { epoch: 3 })
    );
    assert_eq!(keyring.epochs(), [1, 2, 3]);
}

#[test]
fn x3_slots_with_a_flipped_byte_or_a_cut() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = key_file::create(&folder.path().join("master.key")).expect("created");
    let blob = file.wrap_root(&root_of(0x11), CONTEXT).expect("wrapped");
    for damaged in flipped(&blob) {
        assert!(file.unwrap_root(&damaged, CONTEXT).is_err());
    }
    for length in 0..blob.len() {
        assert_eq!(
            file.unwrap_root(&blob[..length], CONTEXT).err(),
            Some(SlotUnwrapError::Truncated { length })
        );
    }
    let mut grown = blob.clone();
    grown.push(0);
    assert_eq!(
        file.unwrap_root(&grown, CONTEXT).err(),
        Some(SlotUnwrapError::TooLarge {
            length: grown.len()
        })
    );
    assert_eq!(
        file.unwrap_root(&blob, b"another slot").err(),
        Some(SlotUnwrapError::Authentication)
    );
}

#[test]
fn x3_slot_of_an_unknown_version_or_kind() {
    assert_eq!(
        SlotBlob::parse(&[2, 1, 0]),
        Err(SlotUnwrapError::UnknownVersion { version: 2 })
    );
    assert_eq!(
        SlotBlob::parse(&[1, 9, 0]),
        Err(SlotUnwrapError::UnknownKind { kind: 9 })
    );
    assert_eq!(
        SlotBlob::parse(&[]),
        Err(SlotUnwrapError::Truncated { length: 0 })
    );
}

#[test]
fn x3_slot_of_one_kind_taken_for_another() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = key_file::create(&folder.path().join("master.key")).expect("created");
    let blob = file.wrap_root(&root_of(0x11), CONTEXT).expect("wrapped");
    let error = passphrase::unwrap_root(&secret(b"example passphrase"), &blob, CONTEXT)
        .expect_err("another kind");
    assert!(matches!(error, SlotUnwrapError::WrongKind { .. }));
    assert!(error.to_string().contains("key_file"), "{error}");
}

#[test]
fn x3_passphrase_that_is_wrong_or_short_or_endless() {
    let parameters = Argon2Parameters::new(64, 1, 1).expect("within the bounds");
    let right = secret(b"example passphrase");
    let blob = passphrase::wrap_root(&right, &root_of(0x11), CONTEXT, parameters, &SYSTEM)
        .expect("wrapped");
    for wrong in [b"example passphrasE".as_slice(), b"", &[0; 4_096]] {
        assert_eq!(
            passphrase::unwrap_root(&secret(wrong), &blob, CONTEXT).err(),
            Some(SlotUnwrapError::Authentication)
        );
    }
    for (refused, characters) in [
        (b"eleven char".to_vec(), 11),
        ("é".repeat(11).into_bytes(), 11),
        (vec![b'x'; 1_025], 1_025),
    ] {
        assert_eq!(
            passphrase::wrap_root(
                &secret(&refused),
                &root_of(0x11),
                CONTEXT,
                parameters,
                &SYSTEM
            ),
            Err(SlotWrapError::PassphraseLength { characters })
        );
    }
}

#[test]
fn x3_passphrase_slot_that_asks_for_all_memory_or_endless_time() {
    let parameters = Argon2Parameters::new(64, 1, 1).expect("within the bounds");
    let passphrase_text = secret(b"example passphrase");
    let root = root_of(0x11);
    let blob = passphrase::wrap_root(&passphrase_text, &root, CONTEXT, parameters, &SYSTEM)
        .expect("wrapped");
    for (memory_kib, passes, lanes) in [
        (u32::MAX, 1, 1),
        ((1 << 20) + 1, 1, 1),
        (64, 11, 1),
        (64, u32::MAX, 1),
        (64, 0, 1),
        (64, 1, 0),
        (64, 1, 17),
        (64, 1, u32::MAX),
        (7, 1, 1),
        (15, 1, 2),
        (0, 0, 0),
    ] {
        let mut hostile = blob.clone();
        hostile[2..6].copy_from_slice(&memory_kib.to_be_bytes());
        hostile[6..10].copy_from_slice(&passes.to_be_bytes());
        hostile[10..14].copy_from_slice(&lanes.to_be_bytes());
        let source = ParameterError {
            memory_kib,
            passes,
            lanes,
        };
        assert_eq!(
            passphrase::unwrap_root(&passphrase_text, &hostile, CONTEXT).err(),
            Some(SlotUnwrapError::Parameters { source })
        );
    }
    // Within the bounds, but not what the slot was made with.
    let mut weaker = blob;
    weaker[2..6].copy_from_slice(&32_u32.to_be_bytes());
    assert_eq!(
        passphrase::unwrap_root(&passphrase_text, &weaker, CONTEXT).err(),
        Some(SlotUnwrapError::Authentication)
    );
}

#[test]
fn i1_token_in_any_other_spelling() {
    let id = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let token_secret = "u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7u7s";
    assert!(tokens::parse(&format!("jv1.{id}.{token_secret}")).is_some());
    for refused in [
        String::new(),
        "jv1..".to_owned(),
        format!("jv2.{id}.{token_secret}"),
        format!("JV1.{id}.{token_secret}"),
        format!("jv1.{}.{token_secret}", id.to_uppercase()),
        format!("jv1.{id}.{token_secret} "),
        format!(" jv1.{id}.{token_secret}"),
        format!("jv1.{id}.{token_secret}="),
        format!("jv1.{id}0.{}", &token_secret[1..]),
        format!("jv1.{}.a{token_secret}", &id[1..]),
        // Two spare bits of the last character are set.
        format!("jv1.{id}.{}t", &token_secret[..42]),
        format!("jv1.{id}.{}+", &token_secret[..42]),
        format!("jv1.{}g.{token_secret}", &id[1..]),
        format!("jv1.{id}{token_secret}."),
        "é".repeat(40),
    ] {
        assert!(tokens::parse(&refused).is_none(), "{refused}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_refused_without_a_panic(blob in prop::collection::vec(any::<u8>(), 0..256)) {
        let root = root_of(0x11);
        prop_assert!(root.unwrap("example", CONTEXT, &blob).is_err());
        let mut keyring = Keyring::new(VAULT_ID, root);
        prop_assert!(keyring.load_epoch(1, &blob).is_err());
        prop_assert!(SlotBlob::parse(&blob).is_err() || blob[0] == 1);
        let text = String::from_utf8_lossy(&blob);
        prop_assert!(tokens::parse(&text).is_none());
    }
}
