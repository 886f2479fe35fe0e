//! One address of the cluster: a URL, or a unix socket of this machine (A13).

use std::net::IpAddr;
use std::os::unix::net::SocketAddr;
use std::path::PathBuf;

use reqwest::Url;

use super::call::Call;
use crate::cli::error::CliError;

/// What a unix socket's address begins with; its absolute path follows, taken as it is.
const SOCKET_PREFIX: &str = "unix://";
/// Stands for a socket in URLs, and so in `Host`, where the bare client header needs a loopback literal (I2).
const SOCKET_BASE: &str = "http://127.0.0.1/";

/// A base address, parsed once.
pub(super) struct Endpoint {
    /// For messages.
    address: String,
    base: Url,
    way: Way,
}

/// How requests reach an address.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Loopback: never through a proxy (F8).
    Direct,
    /// Everything else: the environment's proxies apply.
    Outward,
    /// This unix socket, without TLS: whoever may open it is decided by its file mode.
    Socket(PathBuf),
}

impl Endpoint {
    /// Reads an address: `http` or `https`, a host, perhaps a port and a path prefix; or `unix://` and an absolute path.
    pub(super) fn parse(text: &str) -> Result<Self, CliError> {
        let path = text.strip_prefix(SOCKET_PREFIX);
        if let Some(path) = path.filter(|path| path.starts_with('/')) {
            return Self::socket(text, path);
        }
        if text.contains('@') {
            // Without the text itself: it may hold a password.
            return Err(CliError::Usage(
                "a server address must not hold a user or password; use a token".into(),
            ));
        }
        let refuse = |why: &str| {
            CliError::Usage(format!(
                "'{text}' is not a server address ({why}): write http://host:8081"
            ))
        };
        if text.starts_with("unix:") {
            return Err(not_a_socket(text, "no absolute path after unix://"));
        }
        let base = Url::parse(text).map_err(|error| refuse(&error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(refuse("neither http, https nor unix"));
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(refuse("a query or fragment has no meaning here"));
        }
        let way = if base.host_str().is_some_and(is_loopback) {
            Way::Direct
        } else {
            Way::Outward
        };
        Ok(Self {
            address: base.as_str().trim_end_matches('/').to_owned(),
            base,
            way,
        })
    }

    fn socket(text: &str, path: &str) -> Result<Self, CliError> {
        if path.ends_with('/') {
            return Err(not_a_socket(text, "it names a folder"));
        }
        if SocketAddr::from_pathname(path).is_err() {
            return Err(not_a_socket(
                text,
                "the system takes paths of at most 107 bytes",
            ));
        }
        let base = Url::parse(SOCKET_BASE)
            .map_err(|error| not_a_socket(text, &format!("no URL can stand for it: {error}")))?;
        Ok(Self {
            address: text.to_owned(),
            base,
            way: Way::Socket(PathBuf::from(path)),
        })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn way(&self) -> &Way {
        &self.way
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.base.scheme() == "https"
    }

    /// The call's address; a `/` within a segment becomes `%2F` (A3).
    pub(super) fn url_of(&self, call: &Call) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(call.segments());
        }
        if !call.query_pairs().is_empty() {
            url.query_pairs_mut().extend_pairs(call.query_pairs());
        }
        url
    }
}

fn not_a_socket(text: &str, why: &str) -> CliError {
    CliError::Usage(format!(
        "'{text}' is not the address of a unix socket ({why}): write unix:///run/jarvis-secretsd/api.sock"
    ))
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a3_a_slash_in_a_name_travels_as_percent_2f() {
        let endpoint = Endpoint::parse("http://127.0.0.1:8081/").unwrap();
        let url = endpoint.url_of(&Call::get(["secret", "db/main"]).query("version", 2));
        assert_eq!(
            url.as_str(),
            "http://127.0.0.1:8081/secret/db%2Fmain?version=2"
        );
    }

    #[test]
    fn f8_a_path_prefix_is_kept() {
        let endpoint = Endpoint::parse("https://secrets.example/jarvis").unwrap();
        let url = endpoint.url_of(&Call::get(["healthz"]));
        assert_eq!(url.as_str(), "https://secrets.example/jarvis/healthz");
        assert!(endpoint.is_encrypted());
    }

    #[test]
    fn f8_loopback_is_recognised_in_all_its_forms() {
        for (url, way) in [
            ("http://127.0.0.1:1", Way::Direct),
            ("http://127.9.9.9:1", Way::Direct),
            ("http://localhost:1", Way::Direct),
            ("http://[::1]:1", Way::Direct),
            ("http://10.0.0.1:1", Way::Outward),
            ("http://localhost.example:1", Way::Outward),
        ] {
            assert_eq!(Endpoint::parse(url).unwrap().way(), &way, "{url}");
        }
    }

    #[test]
    fn a13_a_unix_socket_is_named_by_its_absolute_path() {
        for path in ["/run/jarvis-secretsd/api.sock", "/tmp/a b/user@1?x#y.sock"] {
            let text = format!("unix://{path}");
            let endpoint = Endpoint::parse(&text).unwrap();
            assert_eq!(endpoint.way(), &Way::Socket(PathBuf::from(path)));
            assert_eq!(endpoint.address(), text);
            assert!(!endpoint.is_encrypted());
            let url = endpoint.url_of(&Call::get(["secret", "db/main"]));
            assert_eq!(url.as_str(), "http://127.0.0.1/secret/db%2Fmain");
        }
    }

    #[test]
    fn a13_what_can_not_be_a_socket_is_refused_with_an_example() {
        let long = format!("unix:///{}", "x".repeat(107));
        for (text, why) in [
            ("unix://api.sock", "no absolute path"),
            ("unix://run/api.sock", "no absolute path"),
            ("unix:/run/api.sock", "no absolute path"),
            ("unix:api.sock", "no absolute path"),
            ("unix://", "no absolute path"),
            ("unix:///", "folder"),
            ("unix:///run/", "folder"),
            (long.as_str(), "107 bytes"),
        ] {
            let Err(error) = Endpoint::parse(text) else {
                panic!("{text} was accepted");
            };
            let message = error.to_string();
            assert!(message.contains(why), "{text}: {message}");
            assert!(message.contains("unix:///run/"), "{text}: {message}");
        }
        assert!(Endpoint::parse(&long[..long.len() - 1]).is_ok());
    }

    #[test]
    fn l5_a_password_in_an_address_is_refused_without_showing_it() {
        let Err(error) = Endpoint::parse("http://user:example-not-a-secret@127.0.0.1:1") else {
            panic!("accepted");
        };
        assert!(!error.to_string().contains("example"));
        let Err(error) = Endpoint::parse("unix://user:example-not-a-secret@a/api.sock") else {
            panic!("accepted");
        };
        assert!(!error.to_string().contains("example"));
        assert!(Endpoint::parse("127.0.0.1:8081").is_err());
        assert!(Endpoint::parse("ftp://127.0.0.1").is_err());
    }
}
