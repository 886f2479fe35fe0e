//! One address of the cluster.

use std::net::IpAddr;

use reqwest::Url;

use super::call::Call;
use crate::cli::error::CliError;

/// A base address, parsed once.
pub(super) struct Endpoint {
    base: Url,
    loopback: bool,
}

impl Endpoint {
    /// Reads an address: `http` or `https`, a host, perhaps a port and a path prefix.
    pub(super) fn parse(text: &str) -> Result<Self, CliError> {
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
        let base = Url::parse(text).map_err(|error| refuse(&error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(refuse("neither http nor https"));
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(refuse("a query or fragment has no meaning here"));
        }
        let loopback = base.host_str().is_some_and(is_loopback);
        Ok(Self { base, loopback })
    }

    pub(super) fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    pub(super) fn is_loopback(&self) -> bool {
        self.loopback
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
        for (url, loopback) in [
            ("http://127.0.0.1:1", true),
            ("http://127.9.9.9:1", true),
            ("http://localhost:1", true),
            ("http://[::1]:1", true),
            ("http://10.0.0.1:1", false),
            ("http://localhost.example:1", false),
        ] {
            assert_eq!(
                Endpoint::parse(url).unwrap().is_loopback(),
                loopback,
                "{url}"
            );
        }
    }

    #[test]
    fn l5_a_password_in_an_address_is_refused_without_showing_it() {
        let Err(error) = Endpoint::parse("http://user:example-not-a-secret@127.0.0.1:1") else {
            panic!("accepted");
        };
        assert!(!error.to_string().contains("example"));
        assert!(Endpoint::parse("127.0.0.1:8081").is_err());
        assert!(Endpoint::parse("ftp://127.0.0.1").is_err());
    }
}
