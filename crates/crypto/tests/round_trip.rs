//! What is sealed opens again, twice the same is never the same, and nothing prints a secret
//! (X1, X2, X3, X6, I1).

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use jarvis_crypto::keyring::{Keyring, UnwrapError};
use jarvis_crypto::seal::key_file::{self, KeyFileError};
use jarvis_crypto::seal::passphrase::{self, Argon2Parameters};
use jarvis_crypto::{
    CredentialKey, CredentialKind, CredentialSecret, RandomSource, RequestMac, RootKey,
    SecretBytes, credential, envelope, tokens,
};
use proptest::prelude::*;

const VAULT_ID: [u8; 16] = [0x22; 16];
const NAME: &str = "db/example";
const PLAINTEXT: &[u8] = b"example-not-a-secret";
const CONTEXT: &[u8] = b"example-cluster/slot-1";

const SYSTEM: RandomSource = RandomSource::operating_system();

fn secret(bytes: &[u8]) -> SecretBytes {
    SecretBytes::new(bytes.to_vec())
}

fn keyring() -> Keyring {
    let root = RootKey::generate().expect("randomness");
    let mut keyring = Keyring::new(VAULT_ID, root);
    let wrapped = keyring.generate_epoch(1).expect("wrapped");
    assert!(!keyring.has_epoch(1), "not before it is agreed on");
    keyring.load_epoch(1, &wrapped).expect("loaded");
    assert!(keyring.has_epoch(1));
    keyring
}

#[test]
fn x1_the_same_value_twice_has_two_version_ids_and_two_ciphertexts() {
    let keyring = keyring();
    let seal = || envelope::seal(&keyring, 1, NAME, PLAINTEXT).expect("sealed");
    let (first, second) = (seal(), seal());
    assert_ne!(first.version_id, second.version_id);
    assert_ne!(first.ciphertext, second.ciphertext);
    assert_eq!(
        first.ciphertext.len(),
        PLAINTEXT.len() + envelope::OVERHEAD_BYTES
    );
}

#[test]
fn a_simulation_with_the_same_seed_makes_the_same_bytes() {
    let made = |seed: u8| {
        let next = std::sync::atomic::AtomicU8::new(seed);
        let random = RandomSource::danger_seeded_for_simulation(move |bytes| {
            bytes.fill_with(|| next.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        });
        let root = || RootKey::from_secret(secret(&[0x11; 32])).expect("32 bytes");
        let file =
            key_file::KeyFile::from_secret(secret(&[0x12; 32]), random.clone()).expect("32 bytes");
        let slot = file.wrap_root(&root(), CONTEXT).expect("wrapped");
        let mut keyring = Keyring::with_random(VAULT_ID, root(), random.clone());
        let wrapped = keyring.generate_epoch(1).expect("wrapped");
        keyring.load_epoch(1, &wrapped).expect("loaded");
        let sealed = envelope::seal(&keyring, 1, NAME, PLAINTEXT).expect("sealed");
        let (id, _, text) = tokens::generate(&random).expect("generated");
        (slot, wrapped, sealed, id, text)
    };
    assert_eq!(made(1), made(1));
    assert_ne!(made(1), made(2));
}

#[test]
fn x1_the_longest_value_and_the_longest_name_fit() {
    let keyring = keyring();
    let name = "n".repeat(envelope::MAX_NAME_BYTES);
    let value = vec![0x5A; envelope::MAX_PLAINTEXT_BYTES];
    let sealed = envelope::seal(&keyring, 1, &name, &value).expect("sealed");
    let opened = envelope::open(&keyring, &name, &sealed.version_id, 1, &sealed.ciphertext);
    assert_eq!(opened, Ok(SecretBytes::new(value)));
}

#[test]
fn x2_a_new_root_key_takes_over_the_epochs() {
    let old = keyring();
    let sealed = envelope::seal(&old, 1, NAME, PLAINTEXT).expect("sealed");
    let new_root = RootKey::generate().expect("randomness");
    let wrapped = old
        .rewrap_epoch(1, &new_root)
        .expect("wrapped")
        .expect("epoch 1 is held");
    assert_eq!(old.rewrap_epoch(2, &new_root), Ok(None));

    let mut new = Keyring::new(VAULT_ID, new_root);
    new.load_epoch(1, &wrapped).expect("loaded");
    let opened = envelope::open(&new, NAME, &sealed.version_id, 1, &sealed.ciphertext);
    assert_eq!(opened, Ok(secret(PLAINTEXT)));
}

#[test]
fn x3_the_root_key_survives_the_join_exchange() {
    let root = RootKey::generate().expect("randomness");
    let blob = root.wrap("example", CONTEXT, PLAINTEXT).expect("wrapped");
    let joined = RootKey::from_secret(root.to_secret()).expect("32 bytes");
    assert_eq!(
        joined.unwrap("example", CONTEXT, &blob),
        Ok(secret(PLAINTEXT))
    );
    let stranger = RootKey::generate().expect("randomness");
    assert_eq!(
        stranger.unwrap("example", CONTEXT, &blob),
        Err(UnwrapError::Authentication)
    );
    assert!(RootKey::from_secret(secret(&[0; 33])).is_err());
}

#[test]
fn x3_either_of_two_slots_unseals() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let root = RootKey::generate().expect("randomness");
    let parameters = Argon2Parameters::new(64, 1, 1).expect("within the bounds");
    let words = secret("zwölf Zeichen".as_bytes());

    let path = folder.path().join("master.key");
    let made = key_file::create(&path).expect("created");
    let file_slot = made.wrap_root(&root, CONTEXT).expect("wrapped");
    let word_slot =
        passphrase::wrap_root(&words, &root, CONTEXT, parameters, &SYSTEM).expect("wrapped");

    let by_file = key_file::load(&path)
        .expect("loaded")
        .unwrap_root(&file_slot, CONTEXT)
        .expect("opened");
    let by_words = passphrase::unwrap_root(&words, &word_slot, CONTEXT).expect("opened");
    assert_eq!(by_file.to_secret(), root.to_secret());
    assert_eq!(by_words.to_secret(), root.to_secret());
}

#[test]
fn x6_a_new_key_file_is_private_and_never_overwritten() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("master.key");
    key_file::create(&path).expect("created");
    let metadata = fs::metadata(&path).expect("exists");
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
    assert_eq!(metadata.len(), 32);
    let before = fs::read(&path).expect("read");

    let error = key_file::create(&path).expect_err("it exists");
    assert!(matches!(error, KeyFileError::Exists { .. }), "{error}");
    assert_eq!(fs::read(&path).expect("read"), before);

    let link = folder.path().join("link.key");
    symlink(folder.path().join("nowhere"), &link).expect("linked");
    assert!(key_file::create(&link).is_err(), "a planted link");
    assert!(!folder.path().join("nowhere").exists());
}

#[test]
fn x6_an_exposed_key_file_is_refused_with_the_command_that_mends_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("master.key");
    key_file::create(&path).expect("created");
    fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("mode set");
    let error = key_file::load(&path).expect_err("others can read it");
    let command = format!("chmod 600 {}", path.display());
    assert!(error.to_string().ends_with(&command), "{error}");

    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("mode set");
    assert!(key_file::load(&path).is_ok());
}

#[test]
fn x6_a_key_file_of_the_wrong_length_or_kind_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for length in [0_usize, 31, 33, 64] {
        let path = folder.path().join(format!("{length}.key"));
        fs::write(&path, vec![0x77_u8; length]).expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("mode set");
        let error = key_file::load(&path).expect_err("not 32 bytes");
        assert!(matches!(error, KeyFileError::WrongLength { .. }), "{error}");
    }
    let error = key_file::load(folder.path()).expect_err("a folder");
    assert!(matches!(error, KeyFileError::NotAFile { .. }), "{error}");
    let error = key_file::load(&folder.path().join("missing.key")).expect_err("missing");
    assert!(matches!(error, KeyFileError::Read { .. }), "{error}");
}

#[test]
fn i1_a_new_token_parses_verifies_and_is_unique() {
    let (id, token_secret, text) = tokens::generate(&SYSTEM).expect("randomness");
    assert_eq!(text.len(), tokens::TOKEN_TEXT_BYTES);
    let printed = std::str::from_utf8(text.expose()).expect("ASCII");
    assert_eq!(tokens::parse(printed), Some((id, token_secret.clone())));

    let hash = tokens::hash(&token_secret);
    assert!(tokens::verify(&token_secret, &hash));
    let (other_id, other_secret, _) = tokens::generate(&SYSTEM).expect("randomness");
    assert!(!tokens::verify(&other_secret, &hash));
    assert_ne!(id, other_id);
}

#[test]
fn a11_every_node_with_the_root_key_derives_the_same_secret_and_it_works_as_a_token() {
    let root = RootKey::generate().expect("randomness");
    let id = credential::new_id(&SYSTEM).expect("randomness");
    let of = |root: &RootKey| {
        CredentialKey::new(root).secret(CredentialKind::Token, &id, "admin", "key-1")
    };
    let joined = RootKey::from_secret(root.to_secret()).expect("32 bytes");
    let (first, again) = (of(&root), of(&joined));
    let text = tokens::text(&id, &first);
    assert_eq!(text, tokens::text(&id, &again));
    let printed = std::str::from_utf8(text.expose()).expect("ASCII");
    let (parsed_id, parsed_secret) = tokens::parse(printed).expect("a token");
    assert_eq!(parsed_id, id);
    assert!(tokens::verify(&parsed_secret, &again.hash()));

    let stranger = of(&RootKey::generate().expect("randomness"));
    assert!(!tokens::verify(&parsed_secret, &stranger.hash()));
}

#[test]
fn a11_two_credentials_never_share_a_secret() {
    let key = CredentialKey::new(&RootKey::generate().expect("randomness"));
    let (token, join) = (CredentialKind::Token, CredentialKind::JoinToken);
    let mut secrets = vec![
        key.secret(token, &[1; 16], "admin", "key-1"),
        key.secret(token, &[2; 16], "admin", "key-1"),
        key.secret(join, &[1; 16], "admin", "key-1"),
        key.secret(token, &[1; 16], "admin", "key-2"),
        key.secret(token, &[1; 16], "backend", "key-1"),
        // Only where one part ends and the next begins.
        key.secret(token, &[1; 16], "admink", "ey-1"),
        key.secret(token, &[1; 16], "", "adminkey-1"),
        key.secret(token, &[1; 16], "adminkey-1", ""),
    ];
    for _ in 0..2 {
        secrets.push(CredentialSecret::generate(&SYSTEM).expect("randomness"));
    }
    for (position, secret) in secrets.iter().enumerate() {
        for other in &secrets[..position] {
            assert_ne!(secret.expose(), other.expose());
        }
    }
}

#[test]
fn a11_requests_that_differ_only_in_where_a_part_ends_differ() {
    let root = RootKey::generate().expect("randomness");
    let mac = RequestMac::new(&root);
    let lists: [&[&[u8]]; 6] = [
        &[],
        &[b""],
        &[b"", b""],
        &[b"ab"],
        &[b"a", b"b"],
        &[b"ab", b""],
    ];
    for (position, list) in lists.iter().enumerate() {
        assert_eq!(mac.mac(list), RequestMac::new(&root).mac(list));
        for other in &lists[..position] {
            assert_ne!(mac.mac(list), mac.mac(other));
        }
    }
}

#[test]
fn debug_of_every_secret_type_prints_no_byte() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let keyring = keyring();
    let file = key_file::create(&folder.path().join("master.key")).expect("created");
    let mac = RequestMac::new(keyring.root());
    let value = secret(PLAINTEXT);
    assert_eq!(format!("{value:?} {value:#?}"), "SecretBytes SecretBytes");
    assert_eq!(format!("{:?}", keyring.root()), "RootKey");
    assert_eq!(format!("{keyring:?} {keyring:#?}"), "Keyring Keyring");
    assert_eq!(format!("{file:?}"), "KeyFile");
    assert_eq!(format!("{mac:?}"), "RequestMac");
    let key = CredentialKey::new(keyring.root());
    let repeatable = key.secret(CredentialKind::Token, &[1; 16], "admin", "key-1");
    assert_eq!(
        format!("{key:?} {repeatable:?} {repeatable:#?}"),
        "CredentialKey CredentialSecret CredentialSecret"
    );

    let sealed = envelope::seal(&keyring, 1, NAME, PLAINTEXT).expect("sealed");
    assert_eq!(
        format!("{sealed:?}"),
        "Sealed { epoch: 1, ciphertext_length: 36, .. }"
    );
}

#[test]
fn equality_of_secrets_compares_content_and_length() {
    assert_eq!(secret(b"example"), secret(b"example"));
    assert_ne!(secret(b"example"), secret(b"examplE"));
    assert_ne!(secret(b"example"), secret(b"exampl"));
    assert!(secret(b"").is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn x1_any_value_under_any_name_opens_again(
        name in "[A-Za-z0-9_./-]{0,512}",
        value in prop::collection::vec(any::<u8>(), 0..512),
    ) {
        let keyring = keyring();
        let sealed = envelope::seal(&keyring, 1, &name, &value).expect("sealed");
        let opened =
            envelope::open(&keyring, &name, &sealed.version_id, sealed.epoch, &sealed.ciphertext);
        prop_assert_eq!(opened, Ok(SecretBytes::new(value)));
    }
}
