//! `config.toml`: every setting of a node, read once at start into types that can not be wrong
//! (F1–F7).
//!
//! - An unknown table or key is an error that names it and its line; nothing is ignored silently.
//! - A bad value is an error that names the key, the value, what is legal, and a line that mends
//!   it.
//! - `JARVIS_SECRETSD_<TABLE>_<KEY>` in the environment wins over the file, and a misspelt one is an
//!   error as well; `RUST_LOG` wins over `[logging] level`.
//! - The keys of the old single-instance daemon keep their names and still start a node (F7).
//!
//! One file per table; [`file_modes`] checks what lies on the disk (X6); `reader` is the machinery
//! below.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use jarvis_domain::limits::VaultLimits;

mod audit;
mod cluster;
mod crypto;
mod environment;
mod error;
pub mod file_modes;
mod limits;
mod logging;
mod paths;
mod raft;
mod reader;
mod seal;
mod security;
mod server;
#[cfg(test)]
mod tests;
mod tls;
pub mod units;

pub use self::audit::AuditConfig;
pub use self::cluster::ClusterConfig;
pub use self::crypto::{Aead, CryptoConfig, KeyDerivation, SigningAlgorithm};
pub use self::environment::Environment;
pub use self::error::{BadValue, ConfigError};
pub use self::limits::LimitsConfig;
pub use self::logging::LoggingConfig;
pub use self::paths::PathsConfig;
pub use self::raft::RaftConfig;
pub use self::seal::{SealConfig, SealKind};
pub use self::security::SecurityConfig;
pub use self::server::{Network, ServerConfig};
pub use self::tls::{ApiTls, TlsConfig};

use self::reader::Document;

/// Where the configuration lies unless `--config` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/jarvis-secretsd/config.toml";

/// Longest configuration file, bytes: far more than all keys with their comments.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What AES-GCM adds to a value, bytes.
const CIPHER_TAG_BYTES: u64 = 16;

/// Every setting of a node. Immutable; made by [`Config::load`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `[server]`
    pub server: ServerConfig,
    /// `[paths]`
    pub paths: PathsConfig,
    /// `[security]`
    pub security: SecurityConfig,
    /// `[crypto]`
    pub crypto: CryptoConfig,
    /// `[logging]`
    pub logging: LoggingConfig,
    /// `[cluster]`
    pub cluster: ClusterConfig,
    /// `[tls]`
    pub tls: TlsConfig,
    /// `[seal]`
    pub seal: SealConfig,
    /// `[raft]`
    pub raft: RaftConfig,
    /// `[limits]`
    pub limits: LimitsConfig,
    /// `[audit]`
    pub audit: AuditConfig,
}

/// A configuration that was accepted, and what should be said about it once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// For the log at start: legal, but hardly meant, or the old daemon's way.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads the file at `path`, or at [`DEFAULT_PATH`] if there is one, with the overrides of
    /// `environment` (in production [`Environment::of_process`]).
    ///
    /// # Errors
    /// [`ConfigError`] says which key, where, and how to mend it; also what the old daemon left in
    /// the data directory is refused here (F7).
    pub fn load(path: Option<&Path>, environment: &Environment) -> Result<Loaded, ConfigError> {
        let named_or_default = path.unwrap_or(Path::new(DEFAULT_PATH));
        let text = match read_file(named_or_default) {
            Err(ConfigError::Missing { .. }) if path.is_none() => None,
            read => Some(read?),
        };
        let is_missing = text.is_none();
        let mut loaded = Self::parse(named_or_default, &text.unwrap_or_default(), environment)?;
        loaded.config.paths.refuse_old_files()?;
        if is_missing {
            loaded.warnings.push(format!(
                "there is no {DEFAULT_PATH}; every setting has its default"
            ));
        }
        Ok(loaded)
    }

    /// Reads configuration text; `path` is only named in errors. Looks at no file.
    ///
    /// # Errors
    /// [`ConfigError`], as [`Config::load`].
    pub fn parse(
        path: &Path,
        text: &str,
        environment: &Environment,
    ) -> Result<Loaded, ConfigError> {
        let (loaded, _) = parse_with_keys(path, text, environment)?;
        Ok(loaded)
    }

    /// The scheme of the API's addresses, `http` or `https`.
    #[must_use]
    pub const fn api_scheme(&self) -> &'static str {
        if self.tls.api.is_some() {
            "https"
        } else {
            "http"
        }
    }

    /// What `[limits]` and `[security]` say about the vault itself: the seed of a new cluster,
    /// replicated afterwards.
    #[must_use]
    pub fn vault_limits(&self) -> VaultLimits {
        let milliseconds =
            |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        VaultLimits {
            max_vault_bytes: self.limits.max_vault_bytes,
            max_ciphertext_bytes: self.limits.max_value_bytes + CIPHER_TAG_BYTES,
            max_versions: self.limits.max_versions,
            undelete_ms: milliseconds(self.limits.undelete),
            rotation_ms: milliseconds(self.security.rotation),
        }
    }
}

/// Every key that exists, as (table, key).
type Keys = Vec<(&'static str, &'static str)>;

fn parse_with_keys(
    path: &Path,
    text: &str,
    environment: &Environment,
) -> Result<(Loaded, Keys), ConfigError> {
    let mut document = Document::parse(path, text, environment)?;
    let has_cluster = document.has_table("cluster");
    let mut warnings = Vec::new();
    let mut keys = Keys::new();

    macro_rules! read {
        ($name:literal, $table:ident, $read:expr) => {{
            let mut owned = document.table($name)?;
            let $table = &mut owned;
            let config = $read?;
            keys.extend(owned.finish()?.into_iter().map(|key| ($name, key)));
            config
        }};
    }
    let paths = read!("paths", table, PathsConfig::read(table, &mut warnings));
    let mut config = Config {
        server: read!("server", table, ServerConfig::read(table, &paths.data_dir)),
        security: read!("security", table, SecurityConfig::read(table)),
        crypto: read!("crypto", table, CryptoConfig::read(table)),
        logging: read!("logging", table, LoggingConfig::read(table, environment)),
        cluster: read!("cluster", table, ClusterConfig::read(table, environment)),
        tls: read!("tls", table, TlsConfig::read(table)),
        seal: read!("seal", table, SealConfig::read(table)),
        raft: read!("raft", table, RaftConfig::read(table)),
        limits: read!("limits", table, LimitsConfig::read(table)),
        audit: read!("audit", table, AuditConfig::read(table)),
        paths,
    };
    config.cluster.configured |= has_cluster;
    document.finish()?;
    warnings.extend(environment.check(&keys)?);
    check_exposure(&config)?;
    warn_about(&config, &mut warnings);
    Ok((Loaded { config, warnings }, keys))
}

/// What must not be reachable from elsewhere by accident (F6, I2).
fn check_exposure(config: &Config) -> Result<(), ConfigError> {
    let ServerConfig {
        bind_addr,
        danger_plain_http,
        ..
    } = &config.server;
    if config.server.is_loopback() {
        return Ok(());
    }
    if config.security.trust_client_header {
        return Err(ConfigError::Conflict {
            problem: format!(
                "[security] trust_client_header = true believes every caller's name, but [server] \
                 bind_addr = \"{bind_addr}\" can be reached from other machines"
            ),
            mend: "set trust_client_header = false and use tokens, or bind_addr = \"127.0.0.1:8081\"; \
                   a unix socket (allow_unix_socket) may stay"
                .to_owned(),
        });
    }
    if config.tls.api.is_none() && !danger_plain_http {
        return Err(ConfigError::Conflict {
            problem: format!(
                "[server] bind_addr = \"{bind_addr}\" can be reached from other machines, but there is \
                 no [tls] certificate: secrets and tokens would travel in the clear"
            ),
            mend:
                "add cert_path and key_path to [tls]; or bind_addr = \"127.0.0.1:8081\"; or, where \
                   something in front encrypts, danger_plain_http = true in [server]"
                    .to_owned(),
        });
    }
    Ok(())
}

fn warn_about(config: &Config, warnings: &mut Vec<String>) {
    let ServerConfig { bind_addr, .. } = &config.server;
    let is_exposed = !config.server.is_loopback();
    if is_exposed && config.tls.api.is_none() {
        warnings.push(format!(
            "danger_plain_http: {bind_addr} takes tokens and answers secrets without encryption"
        ));
    }
    if is_exposed && config.security.deny_network_remote {
        warnings.push(format!(
            "deny_network_remote refuses everybody who is not on this machine, although {bind_addr} \
             can be reached from elsewhere"
        ));
    }
    if bind_addr.ip().is_unspecified() && config.cluster.advertise_api_addr.is_none() {
        warnings.push(format!(
            "{bind_addr} is every address; clients are told {} (set [cluster] advertise_api_addr)",
            config.cluster.advertised_api(*bind_addr)
        ));
    }
    if config.security.rbac_policy_path.is_none() {
        warnings.push(
            "no [security] rbac_policy_path: a new cluster starts with a policy that allows \
             the client admin everything, and others nothing"
                .to_owned(),
        );
    }
}

fn read_file(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(ConfigError::Missing {
                path: path.to_owned(),
            });
        }
        Err(error) => return Err(unreadable(error)),
    };
    let mut text = String::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(ConfigError::TooLarge {
            path: path.to_owned(),
            limit: MAX_FILE_BYTES,
        });
    }
    Ok(text)
}
