//! What `get`, `export` and `run` share: choosing names, fetching values, naming environment variables.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use jarvis_wire::secrets::{Encoding, SecretValue};
use zeroize::Zeroizing;

use super::client::{Call, Client};
use super::error::CliError;
use super::list;
use super::versions::{check_name, explain};

/// Most secrets fetched by one command: each is an audited read, and an environment has its limits too.
const MAX_COLLECTED: usize = 1_000;

/// Which secrets are meant; without either flag, all that the caller may read.
#[derive(Args)]
pub(crate) struct SelectArgs {
    /// Only names that begin with this text
    #[arg(long, value_name = "TEXT")]
    pub(crate) prefix: Option<String>,
    /// Exactly these names, separated by commas
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        conflicts_with = "prefix"
    )]
    pub(crate) names: Vec<String>,
}

/// Fetches the chosen secrets, in the order of their names; any refusal ends it.
pub(crate) async fn fetch_all(
    client: &Client,
    select: &SelectArgs,
) -> Result<Vec<SecretValue>, CliError> {
    let names: Vec<String> = if select.names.is_empty() {
        let listed = list::all(client, select.prefix.as_deref(), false).await?;
        listed
            .into_iter()
            .filter(|secret| secret.deleted_at.is_none())
            .map(|secret| secret.name)
            .collect()
    } else {
        select.names.iter().try_for_each(|name| check_name(name))?;
        select.names.clone()
    };
    if names.is_empty() {
        return Err(CliError::Usage(
            "no secret that you may read matches; see `jarvis-secrets list`".into(),
        ));
    }
    if names.len() > MAX_COLLECTED {
        let count = names.len();
        return Err(CliError::Usage(format!(
            "{count} secrets match and {MAX_COLLECTED} is the most: choose with --prefix or --names"
        )));
    }
    let mut secrets = Vec::with_capacity(names.len());
    for name in &names {
        secrets.push(fetch(client, name).await?);
    }
    Ok(secrets)
}

/// Fetches one secret; a deleted one says until when it can be undeleted.
pub(crate) async fn fetch(client: &Client, name: &str) -> Result<SecretValue, CliError> {
    match client.call(&Call::get(["secret", name])).await {
        Ok(answer) => answer.decode(),
        Err(error) => Err(explain(client, name, error).await),
    }
}

/// The value's bytes.
pub(crate) fn value_bytes(secret: &SecretValue) -> Result<Zeroizing<Vec<u8>>, CliError> {
    match secret.encoding {
        None | Some(Encoding::Utf8) => {
            Ok(Zeroizing::new(secret.value.expose().as_bytes().to_vec()))
        }
        Some(Encoding::Base64) => STANDARD
            .decode(secret.value.expose())
            .map(Zeroizing::new)
            .map_err(|_| {
                CliError::Other(format!(
                    "the server sent no valid base64 for {}",
                    secret.name
                ))
            }),
    }
}

/// The value as text, where it is text.
pub(crate) fn value_text(secret: &SecretValue) -> Result<Zeroizing<String>, CliError> {
    let bytes = value_bytes(secret)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(CliError::Other(format!(
            "{} is binary and does not fit into an env file; take JSON or `get -o raw`",
            secret.name
        ))),
    }
}

/// The variable's name for a secret: upper-cased, `/`, `.` and `-` become `_`.
pub(crate) fn environment_name(name: &str) -> String {
    name.chars()
        .map(|character| match character {
            '/' | '.' | '-' => '_',
            other => other.to_ascii_uppercase(),
        })
        .collect()
}

/// Pairs secrets with their variables' names; two secrets under one variable are an error.
pub(crate) fn with_environment_names<'a>(
    secrets: &'a [SecretValue],
    strip: &str,
) -> Result<Vec<(String, &'a SecretValue)>, CliError> {
    let mut named: Vec<(String, &SecretValue)> = Vec::with_capacity(secrets.len());
    for secret in secrets {
        let rest = secret
            .name
            .strip_prefix(strip)
            .filter(|rest| !rest.is_empty());
        let variable = environment_name(rest.unwrap_or(&secret.name));
        if let Some((_, other)) = named.iter().find(|(taken, _)| *taken == variable) {
            return Err(CliError::Usage(format!(
                "{} and {} would both become {variable}; choose one with --names",
                other.name, secret.name
            )));
        }
        named.push((variable, secret));
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use jarvis_wire::SecretText;

    use super::*;

    fn secret(name: &str, value: &str, encoding: Option<Encoding>) -> SecretValue {
        SecretValue {
            name: name.into(),
            value: SecretText::new(value),
            encoding,
            kid: "k".into(),
            version: 1,
            created_at: "t".into(),
            expires_at: "t".into(),
            stale: None,
        }
    }

    #[test]
    fn l3_a_variable_is_the_name_upper_cased_with_underscores() {
        assert_eq!(
            environment_name("db/main.pass-word_1"),
            "DB_MAIN_PASS_WORD_1"
        );
    }

    #[test]
    fn l3_two_names_for_one_variable_are_an_error_that_names_both() {
        let secrets = [secret("a/b", "1", None), secret("a.b", "2", None)];
        let error = with_environment_names(&secrets, "")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("a/b and a.b would both become A_B"),
            "{error}"
        );
    }

    #[test]
    fn l3_a_stripped_prefix_shortens_the_variable_but_never_to_nothing() {
        let secrets = [secret("team/db", "1", None), secret("team/", "2", None)];
        let named = with_environment_names(&secrets[..1], "team/").unwrap();
        assert_eq!(named[0].0, "DB");
        let named = with_environment_names(&secrets[1..], "team/").unwrap();
        assert_eq!(named[0].0, "TEAM_");
    }

    #[test]
    fn a2_base64_values_come_back_as_their_bytes() {
        let binary = secret("a", "/wA=", Some(Encoding::Base64));
        assert_eq!(value_bytes(&binary).unwrap().as_slice(), [0xff, 0x00]);
        let error = value_text(&binary).unwrap_err().to_string();
        assert!(
            error.contains("binary") && !error.contains("/wA="),
            "{error}"
        );
        assert_eq!(value_text(&secret("a", "x", None)).unwrap().as_str(), "x");
    }
}
