//! `[tls]`: the API's certificate (X5). Peer certificates are the cluster CA's business and have no
//! keys here.

use std::path::PathBuf;

use super::error::ConfigError;
use super::reader::Table;

/// The API listener's TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiTls {
    /// Certificate chain, PEM.
    pub cert_path: PathBuf,
    /// Its private key, PEM, mode 600.
    pub key_path: PathBuf,
    /// CA of client certificates, PEM; missing: the cluster's own CA. A certificate's SAN is a client id (I1).
    pub client_ca_path: Option<PathBuf>,
}

/// `[tls]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// `None`: plain HTTP.
    pub api: Option<ApiTls>,
}

impl TlsConfig {
    pub(super) fn read(table: &mut Table<'_>) -> Result<Self, ConfigError> {
        let cert_path = table.path("cert_path")?;
        let key_path = table.path("key_path")?;
        let client_ca_path = table.path("client_ca_path")?;
        match (cert_path, key_path, client_ca_path) {
            (Some(cert_path), Some(key_path), client_ca_path) => Ok(Self {
                api: Some(ApiTls {
                    cert_path,
                    key_path,
                    client_ca_path,
                }),
            }),
            (None, None, None) => Ok(Self::default()),
            (Some(_), None, _) => Err(incomplete("cert_path", "key_path", "server.key")),
            (None, Some(_), _) => Err(incomplete("key_path", "cert_path", "server.pem")),
            (None, None, Some(_)) => Err(incomplete("client_ca_path", "cert_path", "server.pem")),
        }
    }
}

fn incomplete(given: &str, missing: &str, file: &str) -> ConfigError {
    ConfigError::Conflict {
        problem: format!("[tls] has {given} but no {missing}"),
        mend: format!("add {missing} = \"/etc/jarvis-secretsd/tls/{file}\" to [tls]"),
    }
}
