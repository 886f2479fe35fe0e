//! One address of a server: parsed once, dialled often.
//!
//! The bench does its own dialling (no proxy, no pool) so that its cost per request stays small.

use std::io;
use std::path::Path;
use std::sync::Arc;

use hyper::Uri;
use hyper::header::HeaderValue;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::cli::Target;
use crate::cli::error::CliError;

/// A connected byte stream, with or without TLS.
pub(super) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// Where one node listens.
pub(super) struct Endpoint {
    url: String,
    host: String,
    port: u16,
    authority: HeaderValue,
    /// Present for `https`.
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Endpoint {
    /// All addresses of the target.
    ///
    /// # Errors
    /// `Usage` for no address, an address that is not `http(s)://host[:port]` (unix sockets are not
    /// measured), `https` without `--cacert`, or unreadable certificate files.
    pub(super) fn all(target: &Target) -> Result<Vec<Arc<Self>>, CliError> {
        if target.urls.is_empty() {
            return Err(CliError::Usage("give at least one --url".to_owned()));
        }
        let wants_tls = target.urls.iter().any(|url| url.starts_with("https:"));
        let connector = if wants_tls {
            Some(tls_connector(target)?)
        } else {
            None
        };
        target
            .urls
            .iter()
            .map(|url| Self::parse(url, connector.as_ref()).map(Arc::new))
            .collect()
    }

    fn parse(url: &str, connector: Option<&TlsConnector>) -> Result<Self, CliError> {
        if url.starts_with("unix:") {
            return Err(CliError::Usage(format!(
                "{url:?} is a unix socket, and the bench measures TCP: give http(s)://host[:port]"
            )));
        }
        let malformed = || CliError::Usage(format!("{url:?} is not http(s)://host[:port]"));
        let uri: Uri = url.parse().map_err(|_| malformed())?;
        let authority = uri.authority().ok_or_else(malformed)?;
        if uri.path().len() > 1 || uri.query().is_some() || authority.as_str().contains('@') {
            return Err(malformed());
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let (default_port, tls) = match uri.scheme_str() {
            Some("http") => (80, None),
            Some("https") => {
                let connector = connector.ok_or_else(malformed)?.clone();
                let name = ServerName::try_from(host.clone()).map_err(|_| malformed())?;
                (443, Some((connector, name)))
            }
            _ => return Err(malformed()),
        };
        Ok(Self {
            url: url.to_owned(),
            port: authority.port_u16().unwrap_or(default_port),
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| malformed())?,
            host,
            tls,
        })
    }

    /// The address as it was given.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// What belongs into the `Host` header.
    pub(super) fn authority(&self) -> HeaderValue {
        self.authority.clone()
    }

    /// Connects, and ends the TLS handshake if there is one. Has no deadline of its own.
    pub(super) async fn connect(&self) -> io::Result<Box<dyn ByteStream>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some((connector, name)) => {
                let encrypted = connector.connect(name.clone(), stream).await?;
                Ok(Box::new(encrypted))
            }
        }
    }
}

fn tls_connector(target: &Target) -> Result<TlsConnector, CliError> {
    let authority_file = target.cacert.as_deref().ok_or_else(|| {
        CliError::Usage("the bench needs --cacert for an https address".to_owned())
    })?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authority_file)? {
        roots
            .add(certificate)
            .map_err(|error| unusable(authority_file, &error))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| CliError::Other(format!("TLS 1.3 is not available: {error}")))?
        .with_root_certificates(roots);
    let config = match (target.cert.as_deref(), target.key.as_deref()) {
        (None, None) => builder.with_no_client_auth(),
        (Some(certificate_file), Some(key_file)) => {
            let key = PrivateKeyDer::from_pem_file(key_file)
                .map_err(|error| unusable(key_file, &error))?;
            builder
                .with_client_auth_cert(certificates(certificate_file)?, key)
                .map_err(|error| unusable(certificate_file, &error))?
        }
        _ => {
            return Err(CliError::Usage(
                "--cert and --key belong together".to_owned(),
            ));
        }
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

/// All certificates of a PEM file, at least one.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, CliError> {
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>())
        .map_err(|error| unusable(file, &error))?;
    if certificates.is_empty() {
        return Err(CliError::Usage(format!(
            "{} holds no certificate",
            file.display()
        )));
    }
    Ok(certificates)
}

fn unusable(file: &Path, error: &dyn std::fmt::Display) -> CliError {
    CliError::Usage(format!("{} can not be used: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        let endpoint = Endpoint::parse("http://127.0.0.1:8081", None).unwrap();
        assert_eq!(endpoint.host, "127.0.0.1");
        assert_eq!(endpoint.port, 8081);
        assert_eq!(endpoint.authority(), "127.0.0.1:8081");
        assert_eq!(endpoint.url(), "http://127.0.0.1:8081");
        assert_eq!(
            Endpoint::parse("http://node.example/", None).unwrap().port,
            80
        );
        assert_eq!(
            Endpoint::parse("http://[::1]:8081", None).unwrap().host,
            "::1"
        );
    }

    #[test]
    fn each_bad_address_is_refused() {
        for url in [
            "",
            "127.0.0.1:8081",
            "ftp://a",
            "http://a/path",
            "http://a/?b",
            "http://u@a",
        ] {
            assert!(Endpoint::parse(url, None).is_err(), "{url:?} was accepted");
        }
        assert!(
            Endpoint::parse("https://a", None).is_err(),
            "https without a CA was accepted"
        );
        let Err(error) = Endpoint::parse("unix:///run/api.sock", None) else {
            panic!("a unix socket was accepted");
        };
        assert!(error.to_string().contains("unix socket"));
    }
}
