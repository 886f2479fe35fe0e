//! `cluster join`: a new node asks a member to admit it (DESIGN 6).
//!
//! The join token carries the CA's fingerprint, so the newcomer knows whom it talks to; the member knows the newcomer by
//! the token. In this one exchange the newcomer gets its certificate and, once, the root key, which it wraps by its own
//! key file at once. Repeating is harmless: the key pair is kept, and the token remembers whom it admitted.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use jarvis_cluster::env::Env;
use jarvis_cluster::network::{JoinSecurity, PeerNetwork};
use jarvis_cluster::tls;
use jarvis_crypto::RootKey;
use jarvis_crypto::secret_bytes::SecretBytes;
use jarvis_domain::codec::{decode, encode};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::setup::init::api_url;
use crate::setup::{
    Files, First, Identity, SetupError, api_names, key_file, load, refuse_existing, slot_context,
    wants_api_certificate, write_api_certificate,
};

/// What a join token begins with.
const PREFIX: &str = "jj1.";
/// How long one member may take: it has to commit an entry.
const ASK_DEADLINE: Duration = Duration::from_secs(10);
/// Longest join token in characters: a handful of addresses.
const MAX_TOKEN_CHARS: usize = 4_096;

/// What a join token says: `jj1.` and base64url.
#[derive(Serialize, Deserialize)]
pub struct JoinToken {
    /// Proves the right to join; only its hash is in the log.
    pub secret: [u8; 32],
    /// SHA-256 of the cluster CA's certificate.
    pub ca_fingerprint: [u8; 32],
    /// Where members listen for peers.
    pub addresses: Vec<String>,
}

impl JoinToken {
    /// The token as text.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(encode(self)))
    }

    /// Reads a token.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let body = text
            .trim()
            .strip_prefix(PREFIX)
            .filter(|body| body.len() <= MAX_TOKEN_CHARS)?;
        decode(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()
    }
}

impl Drop for JoinToken {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JoinToken")
    }
}

/// What the newcomer says.
#[derive(Serialize, Deserialize)]
pub(crate) struct JoinQuestion {
    pub(crate) secret: [u8; 32],
    pub(crate) name: String,
    pub(crate) peer_address: String,
    pub(crate) api_address: String,
    pub(crate) audit_key: [u8; 32],
    pub(crate) level: u32,
    /// Signing request for its peer certificate.
    pub(crate) request: Vec<u8>,
    /// Signing request and names for its API certificate, if it wants one.
    pub(crate) api_request: Option<(Vec<u8>, Vec<String>)>,
}

/// What the member answers.
#[derive(Serialize, Deserialize)]
pub(crate) struct JoinAnswer {
    pub(crate) node_id: u64,
    pub(crate) cluster_id: [u8; 16],
    pub(crate) recovery_epoch: u64,
    pub(crate) ca_certificate: Vec<u8>,
    pub(crate) certificate: Vec<u8>,
    pub(crate) api_certificate: Option<Vec<u8>>,
    pub(crate) root_key: [u8; 32],
}

impl Drop for JoinAnswer {
    fn drop(&mut self) {
        self.root_key.zeroize();
    }
}

impl Drop for JoinQuestion {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

/// What `cluster join` came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinReport {
    /// This node's id.
    pub node_id: u64,
    /// The cluster's id, hex.
    pub cluster_id: String,
}

impl fmt::Display for JoinReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "this is node {} of cluster {}",
            self.node_id, self.cluster_id
        )?;
        write!(
            formatter,
            "start it now: jarvis-secretsd server --config … ; it catches up and then votes"
        )
    }
}

/// Joins the cluster that a token names.
///
/// # Errors
/// [`SetupError`]; after an error the same command can be repeated.
pub async fn join(path: &Path, token: &str) -> Result<JoinReport, SetupError> {
    let config = load(path)?;
    let files = Files::of(&config);
    files.create_folder()?;
    refuse_existing(&files, &config)?;
    let token = JoinToken::parse(token).ok_or(SetupError::BadJoinToken)?;
    let crypto = |error: &dyn fmt::Display| SetupError::Crypto(error.to_string());

    // Kept before anything is asked: a repetition shows the same key and gets the same id.
    if !files.exists("peer.key.der")? {
        let (key, _) = tls::new_key_and_csr().map_err(|error| crypto(&error))?;
        files.write("peer.key.der", &key)?;
    }
    let peer_key = SecretBytes::new(files.read("peer.key.der")?);
    let request = tls::csr_for_key(peer_key.expose()).map_err(|error| crypto(&error))?;
    let api = match wants_api_certificate(&config) {
        Some(api) => Some((api, tls::new_key_and_csr().map_err(|error| crypto(&error))?)),
        None => None,
    };
    let question = JoinQuestion {
        secret: token.secret,
        name: config.cluster.node_name.clone(),
        peer_address: config.cluster.advertised_peer(config.cluster.peer_addr),
        api_address: api_url(&config),
        audit_key: files.audit_key()?.verifying_key().to_bytes(),
        level: jarvis_domain::FEATURE_LEVEL,
        request,
        api_request: api
            .as_ref()
            .map(|(_, (_, request))| (request.clone(), api_names(&config))),
    };
    let answer = ask(&token, &question, &config.cluster.dial_overrides).await?;

    let root = RootKey::from_secret(SecretBytes::new(answer.root_key.to_vec()))
        .map_err(|error| crypto(&error))?;
    let context = slot_context(&answer.cluster_id, answer.node_id);
    let slot = key_file(&config)?
        .wrap_root(&root, &context)
        .map_err(|error| crypto(&error))?;
    if let (Some((api, (key, _))), Some(certificate)) = (&api, &answer.api_certificate) {
        write_api_certificate(api, (certificate, &answer.ca_certificate), key)?;
    }
    files.write("peer.crt.der", &answer.certificate)?;
    files.write("ca.crt.der", &answer.ca_certificate)?;
    files.write(
        "ca.pem",
        tls::certificate_pem(&answer.ca_certificate).as_bytes(),
    )?;
    let cluster_id = hex::encode(answer.cluster_id);
    let identity = Identity {
        node_id: answer.node_id,
        cluster_id: cluster_id.clone(),
        recovery_epoch: answer.recovery_epoch,
    };
    files.begin_life(&identity, &First::Slot(slot))?;
    Ok(JoinReport {
        node_id: answer.node_id,
        cluster_id,
    })
}

async fn ask(
    token: &JoinToken,
    question: &JoinQuestion,
    overrides: &std::collections::BTreeMap<String, String>,
) -> Result<JoinAnswer, SetupError> {
    let env = Env::production().with_dial_overrides(overrides.clone());
    let security = JoinSecurity::PinnedCa(token.ca_fingerprint);
    let mut reason = "the token names no member".to_owned();
    for address in &token.addresses {
        let body = Bytes::from(encode(question));
        match PeerNetwork::join_call(&env, address, security, body, ASK_DEADLINE).await {
            Ok(answer) => match decode(&answer) {
                Ok(answer) => return Ok(answer),
                Err(error) => reason = format!("{address}: {error}"),
            },
            Err(error) => reason = format!("{address}: {error}"),
        }
    }
    Err(SetupError::NotAdmitted { reason })
}
