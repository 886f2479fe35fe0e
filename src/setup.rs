//! Making a cluster and joining one: what `cluster init` and `cluster join` leave in the data directory.
//!
//! ```text
//! <data>/node.json       who this node is
//! <data>/peer.key.der    its key for peers            <data>/peer.crt.der   its certificate
//! <data>/ca.crt.der      the cluster CA               <data>/ca.pem         the same, for clients
//! <data>/audit.key       signs the trail              <master_key_path>     unwraps this node's seal slot
//! <data>/first.bin       what the first start still has to propose: the cluster's beginning, or this node's slot
//! ```
//!
//! Nothing here holds a key of the vault in the clear: the root key is wrapped by the key file before it is written.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use jarvis_crypto::secret_bytes::SecretBytes;
use jarvis_disk::{DiskHandle, RealDisk, write_atomic};
use jarvis_domain::apply::InitError;
use jarvis_domain::codec::{CodecError, decode, encode};
use jarvis_domain::command::Init;
use jarvis_domain::member::Member;
use jarvis_domain::name::ClientId;
use jarvis_domain::token::TokenId;
use serde::{Deserialize, Serialize};

use crate::config::{Config, ConfigError, Environment};

mod founding;
mod init;
mod join;

pub use founding::{Founded, Founding};
pub(crate) use init::api_url;
pub use init::{InitReport, begin, init};
pub(crate) use join::{JoinAnswer, JoinQuestion};
pub use join::{JoinReport, JoinToken, join};

/// How long a peer certificate is valid: a year; renewal is a matter of the cluster's operation.
pub(crate) const PEER_CERTIFICATE_LIFETIME: std::time::Duration =
    std::time::Duration::from_secs(365 * 86_400);

/// Why a cluster could not be made or joined.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The configuration can not be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A node lives here already.
    #[error(
        "{path} already holds node {node}; nothing was changed. Start it with `jarvis-secretsd server --config …`, or choose another data directory"
    )]
    Exists {
        /// The data directory.
        path: PathBuf,
        /// The node in it.
        node: u64,
    },
    /// There is a log here, but not the file that says who this node is.
    #[error(
        "{path} holds a log but no node.json; nothing was changed. Restore node.json, or move the folder away and join as a new node"
    )]
    Orphaned {
        /// The data directory.
        path: PathBuf,
    },
    /// A file could not be written or read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The policy that seeds the cluster can not be used.
    #[error("{path}: {reason}")]
    Policy {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        reason: String,
    },
    /// No cluster can begin like this.
    #[error(
        "no cluster can begin with this configuration: {0}. No node lives here yet: mend the configuration, then run the same command again"
    )]
    Beginning(#[from] InitError),
    /// A key could not be made or used.
    #[error("{0}")]
    Crypto(String),
    /// The join token is none.
    #[error(
        "this is not a join token: make one with `jarvis-secrets cluster join-token` on a running node"
    )]
    BadJoinToken,
    /// No member admitted this node.
    #[error(
        "no member admitted this node: {reason}. Nothing was changed here that a repetition would not use again: run the same command once more when the cause is mended"
    )]
    NotAdmitted {
        /// What the last one said.
        reason: String,
    },
}

/// Who this node is: `node.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Its id (rule 11).
    pub node_id: u64,
    /// Its cluster, hex.
    pub cluster_id: String,
    /// See the design's recovery epochs.
    pub recovery_epoch: u64,
}

impl Identity {
    /// The cluster id as bytes.
    #[must_use]
    pub fn cluster(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        // `Files::identity` refuses a file whose id is not 16 bytes of hex.
        let _ = hex::decode_to_slice(&self.cluster_id, &mut bytes);
        bytes
    }
}

/// What the first start still has to propose.
#[derive(Serialize, Deserialize)]
pub enum First {
    /// The cluster's beginning and its first token.
    Begin {
        /// The first command.
        init: Box<Init>,
        /// The first token: id, hash of its secret half, and whom it stands for.
        token: (TokenId, [u8; 32], ClientId),
    },
    /// This node's own seal slot, wrapped by its key file.
    Slot(Vec<u8>),
}

/// The files of one node.
#[derive(Debug, Clone)]
pub struct Files {
    disk: DiskHandle,
    data: PathBuf,
}

impl Files {
    /// The files of a configuration, on this machine's disk.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self::on(RealDisk::handle(), config.paths.data_dir.clone())
    }

    /// The files in this folder of a disk.
    #[must_use]
    pub const fn on(disk: DiskHandle, data: PathBuf) -> Self {
        Self { disk, data }
    }

    /// Who this node is; `None` if nobody lives here yet.
    ///
    /// # Errors
    /// [`SetupError`] when the file is damaged, or missing beside a log.
    pub fn identity(&self) -> Result<Option<Identity>, SetupError> {
        let path = self.data.join("node.json");
        if !self.exists("node.json")? {
            let orphaned = self.exists("wal")?;
            return if orphaned {
                Err(SetupError::Orphaned {
                    path: self.data.clone(),
                })
            } else {
                Ok(None)
            };
        }
        let bytes = self.read("node.json")?;
        let damaged = |reason: String| SetupError::File {
            path: path.clone(),
            source: io::Error::other(reason),
        };
        let identity: Identity =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        let mut cluster = [0; 16];
        hex::decode_to_slice(&identity.cluster_id, &mut cluster)
            .map_err(|error| damaged(format!("cluster_id: {error}")))?;
        Ok(Some(identity))
    }

    /// What the first start still has to propose.
    ///
    /// # Errors
    /// [`SetupError`] when the file is damaged.
    pub fn first(&self) -> Result<Option<First>, SetupError> {
        if !self.exists("first.bin")? {
            return Ok(None);
        }
        let bytes = self.read("first.bin")?;
        decode(&bytes)
            .map(Some)
            .map_err(|error: CodecError| self.file_error("first.bin", io::Error::other(error)))
    }

    /// The first start has proposed it.
    ///
    /// # Errors
    /// [`SetupError`] when the file can not be removed.
    pub fn first_is_done(&self) -> Result<(), SetupError> {
        match self.disk.remove(&self.data.join("first.bin")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.file_error("first.bin", error))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn read(&self, name: &str) -> Result<Vec<u8>, SetupError> {
        let path = self.data.join(name);
        self.disk
            .read(&path)
            .map_err(|source| self.file_error(name, source))
    }

    pub(crate) fn exists(&self, name: &str) -> Result<bool, SetupError> {
        let path = self.data.join(name);
        self.disk
            .exists(&path)
            .map_err(|source| self.file_error(name, source))
    }

    /// Writes a file with mode 600, whole or not at all.
    ///
    /// # Errors
    /// [`SetupError`]; the old file, if there was one, is then still in place.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), SetupError> {
        write_atomic(&*self.disk, &self.data.join(name), bytes)
            .map_err(|source| self.file_error(name, source))
    }

    /// Makes the folder (mode 700) if it is not there.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn create_folder(&self) -> Result<(), SetupError> {
        self.disk
            .create_dir_all(&self.data)
            .map_err(|source| self.file_error("", source))
    }

    /// Says who lives here, and what it proposes at its first start. Whatever else a node needs is written before: from
    /// here on one lives here.
    ///
    /// # Errors
    /// [`SetupError`]; then nobody lives here yet.
    pub fn begin_life(&self, identity: &Identity, first: &First) -> Result<(), SetupError> {
        self.write("first.bin", &encode(first))?;
        let json = serde_json::to_vec_pretty(identity)
            .map_err(|error| SetupError::Crypto(error.to_string()))?;
        self.write("node.json", &json)
    }

    /// The key that signs the trail; made the first time.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn audit_key(&self) -> Result<SigningKey, SetupError> {
        if !self.exists("audit.key")? {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).map_err(|error| SetupError::Crypto(error.to_string()))?;
            self.write("audit.key", &seed)?;
        }
        let seed = SecretBytes::new(self.read("audit.key")?);
        let seed: &[u8; 32] = seed
            .expose()
            .try_into()
            .map_err(|_| self.file_error("audit.key", io::Error::other("it must hold 32 bytes")))?;
        Ok(SigningKey::from_bytes(seed))
    }

    fn file_error(&self, name: &str, source: io::Error) -> SetupError {
        SetupError::File {
            path: self.data.join(name),
            source,
        }
    }
}

/// Refuses to touch a folder in which a node lives.
fn refuse_existing(files: &Files, config: &Config) -> Result<(), SetupError> {
    match files.identity()? {
        Some(identity) => Err(SetupError::Exists {
            path: config.paths.data_dir.clone(),
            node: identity.node_id,
        }),
        None => Ok(()),
    }
}

fn load(path: &Path) -> Result<Config, SetupError> {
    Ok(Config::load(Some(path), &Environment::of_process())?.config)
}

/// The key file of this node; made if there is none.
fn key_file(config: &Config) -> Result<jarvis_crypto::seal::key_file::KeyFile, SetupError> {
    let path = &config.paths.master_key_path;
    let key = if path.exists() {
        jarvis_crypto::seal::key_file::load(path)
    } else {
        jarvis_crypto::seal::key_file::create(path)
    };
    key.map_err(|error| SetupError::Crypto(error.to_string()))
}

/// What a key-file slot is bound to.
#[must_use]
pub fn slot_context(cluster_id: &[u8; 16], node_id: u64) -> Vec<u8> {
    let mut context = cluster_id.to_vec();
    context.extend_from_slice(&node_id.to_be_bytes());
    context
}

/// What a cluster-wide slot (passphrase) is bound to.
#[must_use]
pub fn shared_slot_context(cluster_id: &[u8; 16]) -> Vec<u8> {
    cluster_id.to_vec()
}

/// How a node of this configuration describes itself.
#[must_use]
pub fn member(config: &Config, peer_key: [u8; 32], audit_key: [u8; 32]) -> Member {
    Member {
        name: config.cluster.node_name.clone(),
        peer_address: config.cluster.advertised_peer(config.cluster.peer_addr),
        api_address: api_url(config),
        peer_key,
        audit_key,
        level: jarvis_domain::FEATURE_LEVEL,
        joined: 0,
    }
}

/// The names an API certificate made by the cluster CA carries.
fn api_names(config: &Config) -> Vec<String> {
    let mut names = vec![
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ];
    let bind = config.server.bind_addr.ip();
    if !bind.is_unspecified() {
        names.push(bind.to_string());
    }
    if let Some(advertised) = &config.cluster.advertise_api_addr {
        let host = advertised
            .rsplit_once(':')
            .map_or(advertised.as_str(), |(host, _)| host);
        names.push(host.trim_matches(['[', ']']).to_owned());
    }
    names.push(config.cluster.node_name.clone());
    names.sort();
    names.dedup();
    names
}

/// Whether the API wants a certificate that is not there yet: then the cluster CA makes one.
fn wants_api_certificate(config: &Config) -> Option<&crate::config::ApiTls> {
    config
        .tls
        .api
        .as_ref()
        .filter(|api| !api.cert_path.exists() && !api.key_path.exists())
}

fn write_api_certificate(
    api: &crate::config::ApiTls,
    (certificate, ca): (&[u8], &[u8]),
    key: &[u8],
) -> Result<(), SetupError> {
    use jarvis_cluster::tls::certificate_pem;
    let write = |path: &Path, bytes: &[u8]| {
        write_atomic(&RealDisk, path, bytes).map_err(|source| SetupError::File {
            path: path.to_owned(),
            source,
        })
    };
    let chain = certificate_pem(certificate) + &certificate_pem(ca);
    write(&api.cert_path, chain.as_bytes())?;
    write(&api.key_path, pkcs8_pem(key).expose())
}

/// A PKCS#8 key as PEM text.
fn pkcs8_pem(der: &[u8]) -> SecretBytes {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
    for line in body.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|byte| char::from(*byte)));
        pem.push('\n');
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    SecretBytes::new(pem.into_bytes())
}

impl fmt::Debug for First {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Begin { .. } => "First::Begin",
            Self::Slot(_) => "First::Slot",
        })
    }
}
