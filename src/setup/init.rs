//! `cluster init`: identities, keys and the first command of a new cluster.

use std::fmt;
use std::path::Path;

use jarvis_cluster::env::Env;
use jarvis_cluster::tls::{self, ClusterCa, Validity};
use jarvis_crypto::{Keyring, RandomSource, RootKey};
use jarvis_domain::FOUNDER;
use jarvis_domain::name::ClientId;
use jarvis_domain::policy::Policy;

use crate::config::Config;
use crate::policy_file;
use crate::setup::{
    Files, Founding, Identity, PEER_CERTIFICATE_LIFETIME, SetupError, api_names, key_file, load,
    member, refuse_existing, wants_api_certificate, write_api_certificate,
};

/// The policy of a cluster that was given none: one administrator, nobody else.
const BARE_POLICY: &str = "default_deny: true\nclients:\n  admin:\n    allow: [\"*\"]\n";

/// What `cluster init` made.
pub struct InitReport {
    /// The first token, for client `admin`; it is shown once and kept nowhere.
    pub root_token: String,
    /// The cluster CA's certificate, for clients that use TLS.
    pub ca_pem: String,
    /// The cluster's id, hex.
    pub cluster_id: String,
    /// The founding node's id.
    pub node_id: u64,
    /// What should be mended before anybody uses the cluster.
    pub warning: Option<String>,
}

impl fmt::Display for InitReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "cluster {} begins with node {}",
            self.cluster_id, self.node_id
        )?;
        writeln!(
            formatter,
            "the first token (client admin; shown this once, keep it safe):"
        )?;
        writeln!(formatter, "  {}", self.root_token)?;
        if let Some(warning) = &self.warning {
            writeln!(formatter, "WARNING: {warning}")?;
        }
        write!(
            formatter,
            "start the node now: jarvis-secretsd server --config …"
        )
    }
}

impl fmt::Debug for InitReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("InitReport")
            .field("cluster_id", &self.cluster_id)
            .finish_non_exhaustive()
    }
}

/// Makes a new cluster whose first node has this configuration.
///
/// # Errors
/// [`SetupError`]; a folder in which a node lives is never touched.
pub fn init(path: &Path) -> Result<InitReport, SetupError> {
    begin(&load(path)?)
}

/// As [`init`], for a configuration that is loaded already.
///
/// # Errors
/// As [`init`].
pub fn begin(config: &Config) -> Result<InitReport, SetupError> {
    let files = Files::of(config);
    files.create_folder()?;
    refuse_existing(&files, config)?;
    let (policy, policy_source) = seed_policy(config)?;

    let now_s = i64::try_from(Env::production().clock.wall_ms() / 1_000).unwrap_or(i64::MAX);
    let (cluster_id, vault_id) = (random_id()?, random_id()?);
    let crypto = |error: &dyn fmt::Display| SetupError::Crypto(error.to_string());
    let root = RootKey::generate().map_err(|error| crypto(&error))?;
    let key_file = key_file(config)?;
    let ca = ClusterCa::create(cluster_id, now_s).map_err(|error| crypto(&error))?;
    let ca_key_wrapped = root
        .wrap("ca-key", &cluster_id, &ca.key_pkcs8)
        .map_err(|error| crypto(&error))?;
    let keyring = Keyring::new(vault_id, root);

    let validity = Validity::starting(now_s, PEER_CERTIFICATE_LIFETIME);
    let (peer_key, request) = tls::new_key_and_csr().map_err(|error| crypto(&error))?;
    let certificate = ca
        .issue_peer(cluster_id, FOUNDER, &request, validity)
        .map_err(|error| crypto(&error))?;
    let peer_spki = tls::spki_sha256(&certificate).map_err(|error| crypto(&error))?;
    let audit_key = files.audit_key()?.verifying_key().to_bytes();
    if let Some(api) = wants_api_certificate(config) {
        let (key, request) = tls::new_key_and_csr().map_err(|error| crypto(&error))?;
        let served = ca
            .issue_server(api_names(config), &request, validity)
            .map_err(|error| crypto(&error))?;
        write_api_certificate(api, (&served, &ca.cert_der), &key)?;
    }

    let admin = ClientId::parse("admin").map_err(|error| crypto(&error))?;
    let warning = (!policy.decide_admin(&admin).is_allow()).then(|| powerless(config));
    let founding = Founding {
        cluster_id,
        ca_certificate: ca.cert_der.clone(),
        ca_key_wrapped,
        member: member(config, peer_spki, audit_key),
        limits: config.vault_limits(),
        policy,
        policy_source,
    };
    let founded = founding.make(&keyring, &key_file, &RandomSource::operating_system())?;
    files.write("peer.key.der", &peer_key)?;
    files.write("peer.crt.der", &certificate)?;
    files.write("ca.crt.der", &ca.cert_der)?;
    files.write("ca.pem", ca.cert_pem.as_bytes())?;
    // Last: from here on a node lives here.
    let cluster_id = hex::encode(cluster_id);
    let identity = Identity {
        node_id: FOUNDER,
        cluster_id: cluster_id.clone(),
        recovery_epoch: 0,
    };
    files.begin_life(&identity, &founded.first)?;
    let root_token = String::from_utf8_lossy(founded.root_token.expose()).into_owned();
    Ok(InitReport {
        root_token,
        ca_pem: ca.cert_pem,
        cluster_id,
        node_id: FOUNDER,
        warning,
    })
}

/// Nobody could ever change such a policy, or make a token; an old one may have had no administrator (F7).
fn powerless(config: &Config) -> String {
    let policy = config.security.rbac_policy_path.as_deref();
    format!(
        "{policy} lets the client admin administer nothing, and the first token is admin's: it can do nothing. Add\n    \
         admin:\n      allow: [\"*\"]\n  under its clients, remove {data}, and begin again",
        policy = policy.unwrap_or(Path::new("the policy")).display(),
        data = config.paths.data_dir.display(),
    )
}

/// What clients are told to use.
pub(crate) fn api_url(config: &Config) -> String {
    format!(
        "{}://{}",
        config.api_scheme(),
        config.cluster.advertised_api(config.server.bind_addr)
    )
}

fn seed_policy(config: &Config) -> Result<(Policy, String), SetupError> {
    let (path, text) = match &config.security.rbac_policy_path {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|source| SetupError::File {
                path: path.clone(),
                source,
            })?;
            (path.clone(), text)
        }
        None => (
            Path::new("the built-in policy").to_owned(),
            BARE_POLICY.to_owned(),
        ),
    };
    let policy = policy_file::parse(&text).map_err(|error| SetupError::Policy {
        path,
        reason: error.to_string(),
    })?;
    Ok((policy, text))
}

fn random_id() -> Result<[u8; 16], SetupError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| SetupError::Crypto(error.to_string()))?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use crate::config::Environment;

    use super::*;

    #[test]
    fn f7_a_policy_without_an_administrator_is_told_before_anybody_needs_one() {
        for (policy, is_told) in [
            ("clients:\n  backend:\n    allow: [a]\n", true),
            ("clients:\n  admin:\n    allow: [{ name: \"*\" }]\n", true),
            ("clients:\n  admin:\n    allow: [\"*\"]\n", false),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("policy.yaml");
            std::fs::write(&path, policy).unwrap();
            let text = format!(
                "[paths]\nvault_path = {:?}\n[security]\nrbac_policy_path = {path:?}\n",
                folder.path().join("data")
            );
            let environment = Environment::default();
            let loaded = Config::parse(Path::new("config.toml"), &text, &environment).unwrap();
            let report = begin(&loaded.config).unwrap();
            assert_eq!(report.warning.is_some(), is_told, "{policy}");
            assert_eq!(report.to_string().contains("WARNING: "), is_told);
        }
    }
}
