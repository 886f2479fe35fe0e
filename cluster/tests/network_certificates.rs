//! What the cluster CA signs, what it refuses, and what is read back from its certificates (X5, I1).

#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

use std::time::Duration;

use jarvis_cluster::tls::{
    ClusterCa, TlsError, Validity, certificate_pem, client_identity, csr_for_key, fingerprint,
    new_key_and_csr, not_after, peer_identity, peer_name, serial, spki_sha256,
};
use zeroize::Zeroizing;

const CLUSTER: [u8; 16] = [0x5c; 16];
const NOW: i64 = 1_800_000_000;
const VALIDITY: Validity = Validity {
    not_before_unix_s: NOW,
    not_after_unix_s: NOW + 86_400,
};

#[test]
fn a_node_certificate_names_its_node_and_its_cluster() {
    let ca = ClusterCa::create(CLUSTER, NOW).unwrap();
    let (_, request) = new_key_and_csr().unwrap();
    let certificate = ca.issue_peer(CLUSTER, 42, &request, VALIDITY).unwrap();
    assert_eq!(peer_identity(&certificate, &CLUSTER), Ok(42));
    assert_eq!(
        peer_identity(&certificate, &[0; 16]),
        Err(TlsError::NotANode)
    );
    assert_eq!(client_identity(&certificate), Err(TlsError::NotAClient));
    assert_eq!(not_after(&certificate), Ok(NOW + 86_400));
    assert_eq!(
        peer_name(&CLUSTER, 42),
        format!("n42.{}.jarvis", "5c".repeat(16))
    );
}

#[test]
fn the_kinds_of_certificates_can_not_be_mistaken_for_each_other() {
    let ca = ClusterCa::create(CLUSTER, NOW).unwrap();
    let (_, request) = new_key_and_csr().unwrap();
    let client = ca
        .issue_client("python-services", &request, VALIDITY)
        .unwrap();
    assert_eq!(
        client_identity(&client),
        Ok(String::from("python-services"))
    );
    assert_eq!(peer_identity(&client, &CLUSTER), Err(TlsError::NotANode));

    let names = vec![String::from("secrets.example"), String::from("127.0.0.1")];
    let server = ca.issue_server(names, &request, VALIDITY).unwrap();
    assert_eq!(peer_identity(&server, &CLUSTER), Err(TlsError::NotANode));
    for name in [
        peer_name(&CLUSTER, 1),
        format!("{}.", peer_name(&CLUSTER, 1).to_uppercase()),
    ] {
        let outcome = ca.issue_server(vec![name], &request, VALIDITY);
        assert!(matches!(outcome, Err(TlsError::Name { .. })), "{outcome:?}");
    }
}

#[test]
fn names_that_make_no_certificate_are_refused() {
    let ca = ClusterCa::create(CLUSTER, NOW).unwrap();
    let (_, request) = new_key_and_csr().unwrap();
    for client_id in ["", "two words", "bell\u{7}", "h\u{e9}l\u{e8}ne"] {
        let outcome = ca.issue_client(client_id, &request, VALIDITY);
        assert!(
            matches!(outcome, Err(TlsError::Name { .. })),
            "{client_id:?}"
        );
    }
    assert!(ca.issue_server(Vec::new(), &request, VALIDITY).is_err());
    assert!(
        ca.issue_server(vec![String::from(".")], &request, VALIDITY)
            .is_err()
    );
}

#[test]
fn hostile_requests_are_refused() {
    let ca = ClusterCa::create(CLUSTER, NOW).unwrap();
    let (_, request) = new_key_and_csr().unwrap();
    let issue = |request: &[u8]| ca.issue_peer(CLUSTER, 1, request, VALIDITY);

    assert!(matches!(
        issue(b"nothing"),
        Err(TlsError::RequestRefused { .. })
    ));
    let too_large = issue(&vec![0; 1 << 20]);
    assert!(matches!(too_large, Err(TlsError::RequestTooLarge { .. })));
    // Whoever changes a signed request breaks its signature: possession of the key is proved.
    let mut forged = request.clone();
    let position = forged
        .windows(6)
        .position(|window| window == b"jarvis")
        .unwrap();
    forged[position] = b'J';
    assert!(matches!(
        issue(&forged),
        Err(TlsError::RequestRefused { .. })
    ));
    assert!(issue(&request).is_ok());
}

#[test]
fn renewal_keeps_the_key_and_changes_the_serial() {
    let ca = ClusterCa::create(CLUSTER, NOW).unwrap();
    let (key, request) = new_key_and_csr().unwrap();
    let first = ca.issue_peer(CLUSTER, 1, &request, VALIDITY).unwrap();
    let again = csr_for_key(&key).unwrap();
    let second = ca.issue_peer(CLUSTER, 1, &again, VALIDITY).unwrap();
    assert_eq!(spki_sha256(&first), spki_sha256(&second));
    assert_ne!(serial(&first), serial(&second));
    assert_eq!(serial(&first).unwrap().len(), 32);
}

#[test]
fn a_stored_ca_signs_as_before_and_only_with_its_own_key() {
    let ca = ClusterCa::create(CLUSTER, NOW).unwrap();
    let stored = ClusterCa::load(&ca.cert_der, ca.key_pkcs8.clone()).unwrap();
    assert_eq!(stored.cert_pem, ca.cert_pem);
    assert_eq!(fingerprint(&stored.cert_der), fingerprint(&ca.cert_der));
    let (other_key, request) = new_key_and_csr().unwrap();
    assert!(stored.issue_peer(CLUSTER, 1, &request, VALIDITY).is_ok());
    let mismatch = ClusterCa::load(&ca.cert_der, other_key);
    assert_eq!(mismatch.map(|_| ()), Err(TlsError::KeyMismatch));
    let nonsense = ClusterCa::load(&ca.cert_der, Zeroizing::new(vec![1, 2, 3]));
    assert!(matches!(nonsense, Err(TlsError::Key { .. })));
}

#[test]
fn the_ca_shows_no_key() {
    let ca = ClusterCa::create(CLUSTER, NOW).unwrap();
    assert_eq!(format!("{ca:?}"), "ClusterCa");
}

#[test]
fn pem_has_short_lines_between_its_markers() {
    let ca = ClusterCa::create(CLUSTER, NOW).unwrap();
    let pem = certificate_pem(&ca.cert_der);
    assert_eq!(pem, ca.cert_pem);
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----\n"));
    assert!(pem.ends_with("\n-----END CERTIFICATE-----\n"));
    assert!(pem.lines().all(|line| line.len() <= 64));
}

#[test]
fn moments_that_no_certificate_can_express_are_refused() {
    let ca = ClusterCa::create(CLUSTER, NOW).unwrap();
    let (_, request) = new_key_and_csr().unwrap();
    let endless = Validity::starting(NOW, Duration::from_secs(u64::MAX));
    let outcome = ca.issue_peer(CLUSTER, 1, &request, endless);
    assert!(matches!(outcome, Err(TlsError::Moment { .. })));
}
