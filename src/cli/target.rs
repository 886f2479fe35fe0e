//! Where to connect and as whom: from flags first, then from the environment (F8).
//!
//! The environment is read here and not by the argument parser, so that an empty variable counts as unset and so that
//! `--help` never shows a token.

use std::fmt;
use std::path::PathBuf;

use clap::Args;

use super::error::CliError;

/// Used when neither `--url` nor `JARVIS_SECRETS_URL` names an address: the daemon's default port (A).
const DEFAULT_URL: &str = "http://127.0.0.1:8081";

/// Most addresses of one cluster: five nodes, and room for load balancers.
const MAX_URLS: usize = 16;

/// The flags that every command takes.
#[derive(Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionArgs {
    /// Server address, http(s)://host:port or unix:///path/of/socket; several separated by commas are tried in turn
    /// [env: JARVIS_SECRETS_URL]
    #[arg(long, global = true, value_name = "URL", value_delimiter = ',')]
    pub(crate) url: Vec<String>,
    /// The client's name [env: JARVIS_CLIENT_ID]
    #[arg(long, global = true, value_name = "ID")]
    pub(crate) client: Option<String>,
    /// Bearer token; prefer the environment, `ps` shows this one [env: JARVIS_SECRETS_TOKEN]
    #[arg(long, global = true, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// Certificate authority of the servers, PEM [env: JARVIS_SECRETS_CACERT]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) cacert: Option<PathBuf>,
    /// Client certificate, PEM [env: JARVIS_SECRETS_CERT]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) cert: Option<PathBuf>,
    /// Key of the client certificate, PEM [env: JARVIS_SECRETS_KEY]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
}

/// A cluster's addresses and the credential to show there.
#[derive(Clone, Default)]
pub struct Target {
    /// One or several addresses of the same cluster: base URLs, or `unix://` and an absolute path (A13). Never empty when
    /// made from the command line. A path with a comma can not be named: commas separate.
    pub urls: Vec<String>,
    /// Sent as `X-Jarvis-Client`: a name, not a proof (A8, I2).
    pub client_id: Option<String>,
    /// Bearer token (I1).
    pub token: Option<String>,
    /// PEM file of the authorities to trust, instead of the system's.
    pub cacert: Option<PathBuf>,
    /// PEM file of the client certificate; goes with `key`.
    pub cert: Option<PathBuf>,
    /// PEM file of the client certificate's key; goes with `cert`.
    pub key: Option<PathBuf>,
}

impl Target {
    /// Flags win over the environment; an empty value counts as missing.
    pub(crate) fn resolve(
        flags: &ConnectionArgs,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, CliError> {
        let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
        let text = |flag: &Option<String>, name: &str| {
            flag.clone()
                .filter(|value| !value.is_empty())
                .or_else(|| variable(name))
        };
        let file = |flag: &Option<PathBuf>, name: &str| {
            flag.clone().or_else(|| variable(name).map(PathBuf::from))
        };

        let named = if flags.url.is_empty() {
            variable("JARVIS_SECRETS_URL")
                .map(|list| split_urls(&list))
                .unwrap_or_default()
        } else {
            flags.url.iter().flat_map(|list| split_urls(list)).collect()
        };
        let urls = if named.is_empty() {
            vec![DEFAULT_URL.to_owned()]
        } else {
            named
        };
        if urls.len() > MAX_URLS {
            return Err(CliError::Usage(format!(
                "at most {MAX_URLS} addresses, not {}",
                urls.len()
            )));
        }
        let target = Self {
            urls,
            client_id: text(&flags.client, "JARVIS_CLIENT_ID"),
            token: text(&flags.token, "JARVIS_SECRETS_TOKEN"),
            cacert: file(&flags.cacert, "JARVIS_SECRETS_CACERT"),
            cert: file(&flags.cert, "JARVIS_SECRETS_CERT"),
            key: file(&flags.key, "JARVIS_SECRETS_KEY"),
        };
        if target.cert.is_some() != target.key.is_some() {
            return Err(CliError::Usage(
                "a client certificate and its key go together: give both --cert and --key".into(),
            ));
        }
        Ok(target)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Target")
            .field("urls", &self.urls)
            .field("client_id", &self.client_id)
            .field("token", &self.token.as_ref().map(|_| "hidden"))
            .field("cacert", &self.cacert)
            .field("cert", &self.cert)
            .field("key", &self.key)
            .finish()
    }
}

fn split_urls(list: &str) -> Vec<String> {
    list.split(',')
        .map(str::trim)
        .filter(|url| !url.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_flags() -> ConnectionArgs {
        ConnectionArgs {
            url: vec![],
            client: None,
            token: None,
            cacert: None,
            cert: None,
            key: None,
        }
    }

    #[test]
    fn f8_without_anything_the_local_daemon_is_meant() {
        let target = Target::resolve(&no_flags(), |_| None).unwrap();
        assert_eq!(target.urls, [DEFAULT_URL]);
        assert!(target.token.is_none());
    }

    #[test]
    fn f8_several_addresses_come_from_the_environment_and_an_empty_variable_is_unset() {
        let target = Target::resolve(&no_flags(), |name| match name {
            "JARVIS_SECRETS_URL" => Some("http://a:1, unix:///run/b.sock,".into()),
            "JARVIS_SECRETS_TOKEN" => Some(String::new()),
            _ => None,
        })
        .unwrap();
        assert_eq!(target.urls, ["http://a:1", "unix:///run/b.sock"]);
        assert!(target.token.is_none());
    }

    #[test]
    fn f8_flags_win_over_the_environment() {
        let flags = ConnectionArgs {
            client: Some("backend".into()),
            ..no_flags()
        };
        let target = Target::resolve(&flags, |_| Some("other".into())).unwrap();
        assert_eq!(target.client_id.as_deref(), Some("backend"));
    }

    #[test]
    fn f8_a_certificate_without_its_key_is_refused() {
        let flags = ConnectionArgs {
            cert: Some("c.pem".into()),
            ..no_flags()
        };
        assert!(matches!(
            Target::resolve(&flags, |_| None),
            Err(CliError::Usage(_))
        ));
    }

    #[test]
    fn rule_12_debug_hides_the_token() {
        let target = Target {
            token: Some("example-not-a-secret".into()),
            ..Target::default()
        };
        assert!(!format!("{target:?}").contains("example"));
    }
}
