//! `export`: values on standard output; on a terminal only when asked twice (L5).

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use jarvis_wire::SecretText;
use jarvis_wire::secrets::{Encoding, SecretValue};
use serde::Serialize;
use zeroize::Zeroizing;

use super::client::Client;
use super::collect::{SelectArgs, fetch_all, value_text, with_environment_names};
use super::env_file;
use super::error::CliError;
use super::output::print;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// One NAME="value" line per secret, as `import` reads it
    Env,
    /// {"secrets":[{"name","value"}]}; binary values with "encoding":"base64"
    Json,
}

/// `export [--prefix P | --names A,B] [-o env|json] [--reveal]`
#[derive(Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    select: SelectArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Env)]
    output: Output,
    /// Print also when the output is a terminal
    #[arg(long)]
    reveal: bool,
}

#[derive(Serialize)]
struct Exported<'a> {
    secrets: Vec<ExportedSecret<'a>>,
}

#[derive(Serialize)]
struct ExportedSecret<'a> {
    name: &'a str,
    value: &'a SecretText,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<Encoding>,
}

pub(crate) async fn run(client: &Client, args: ExportArgs) -> Result<ExitCode, CliError> {
    if std::io::stdout().is_terminal() && !args.reveal {
        return Err(CliError::Usage(
            "this would show every value on the screen: redirect it into a file, or add --reveal"
                .into(),
        ));
    }
    let secrets = fetch_all(client, &args.select).await?;
    let text = match args.output {
        Output::Env => env_text(&secrets)?,
        Output::Json => json_text(&secrets)?,
    };
    print(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn env_text(secrets: &[SecretValue]) -> Result<Zeroizing<String>, CliError> {
    let mut text = Zeroizing::new(String::new());
    for (variable, secret) in with_environment_names(secrets, "")? {
        text.push_str(&env_file::render(&variable, &value_text(secret)?));
        text.push('\n');
    }
    Ok(text)
}

fn json_text(secrets: &[SecretValue]) -> Result<Zeroizing<String>, CliError> {
    let secrets = secrets
        .iter()
        .map(|secret| ExportedSecret {
            name: &secret.name,
            value: &secret.value,
            encoding: secret.encoding,
        })
        .collect();
    let mut text = super::output::json_text(&Exported { secrets })?;
    text.push('\n');
    Ok(Zeroizing::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(name: &str, value: &str) -> SecretValue {
        SecretValue {
            name: name.into(),
            value: SecretText::new(value),
            encoding: None,
            kid: "k".into(),
            version: 1,
            created_at: "t".into(),
            expires_at: "t".into(),
            stale: None,
        }
    }

    #[test]
    fn l3_an_exported_file_imports_as_the_same_values() {
        let secrets = [
            secret("database_url", "postgres://x?a=b#c"),
            secret("key", "a\n\"b\" $c\\"),
        ];
        let text = env_text(&secrets).unwrap();
        let file = env_file::parse(text.as_bytes());
        assert!(file.bad.is_empty());
        for (entry, secret) in file.entries.iter().zip(&secrets) {
            assert_eq!(entry.name, secret.name);
            assert_eq!(entry.value.as_str(), secret.value.expose());
        }
    }

    #[test]
    fn l3_exported_json_keeps_the_names() {
        let text = json_text(&[secret("db/main", "x")]).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"secrets": [{"name": "db/main", "value": "x"}]})
        );
    }
}
