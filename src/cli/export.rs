//! `export`: values on standard output; on a terminal only when asked twice (L5).

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use jarvis_wire::SecretText;
use jarvis_wire::secrets::{Encoding, SecretValue};
use serde::Serialize;
use zeroize::Zeroizing;

use super::client::Client;
use super::collect::{SelectArgs, environment_name, fetch_all, value_text, with_environment_names};
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

/// `export [--prefix P | --names A,B] [-o env|json] [--keep-names] [--reveal]`
#[derive(Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    select: SelectArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Env)]
    output: Output,
    /// Keep the names instead of making variables of them: for `import`, not for a shell
    #[arg(long)]
    keep_names: bool,
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
        Output::Env => {
            if let Some(warning) = changed_names(&secrets, args.keep_names) {
                eprintln!("jarvis-secrets: {warning}");
            }
            env_text(&secrets, args.keep_names)?
        }
        Output::Json => json_text(&secrets)?,
    };
    print(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn env_text(secrets: &[SecretValue], keep_names: bool) -> Result<Zeroizing<String>, CliError> {
    let named: Vec<(String, &SecretValue)> = if keep_names {
        let kept = secrets.iter().map(|secret| (secret.name.clone(), secret));
        kept.collect()
    } else {
        with_environment_names(secrets, "")?
    };
    let mut text = Zeroizing::new(String::new());
    for (key, secret) in named {
        text.push_str(&env_file::render(&key, &value_text(secret)?));
        text.push('\n');
    }
    Ok(text)
}

/// What to say when `import` would not give these secrets their names back: it lowers keys.
fn changed_names(secrets: &[SecretValue], keep_names: bool) -> Option<String> {
    let read_back = |name: &str| {
        if keep_names {
            name.to_ascii_lowercase()
        } else {
            environment_name(name).to_ascii_lowercase()
        }
    };
    let changed = |secret: &&SecretValue| read_back(&secret.name) != secret.name;
    let count = secrets.iter().filter(changed).count();
    let first = &secrets.iter().find(changed)?.name;
    let mend = if keep_names {
        "-o json keeps capitals too"
    } else {
        "--keep-names keeps them"
    };
    Some(format!(
        "`import` reads {count} of these {total} names back as others, such as {first} as {other}; {mend}",
        total = secrets.len(),
        other = read_back(first)
    ))
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
        let text = env_text(&secrets, false).unwrap();
        let file = env_file::parse(text.as_bytes());
        assert!(file.bad.is_empty());
        for (entry, secret) in file.entries.iter().zip(&secrets) {
            assert_eq!(entry.name, secret.name);
            assert_eq!(entry.value.as_str(), secret.value.expose());
        }
        assert_eq!(changed_names(&secrets, false), None);
    }

    #[test]
    fn l3_names_are_kept_for_an_import_if_asked_and_otherwise_it_is_said() {
        let secrets = [
            secret("db/main.pass-word", "x"),
            secret("a/b", "y"),
            secret("a.b", "z"),
        ];
        // As variables the last two would be one.
        assert!(env_text(&secrets, false).is_err());
        let text = env_text(&secrets, true).unwrap();
        let file = env_file::parse(text.as_bytes());
        let names: Vec<&str> = file.entries.iter().map(|entry| &*entry.name).collect();
        assert_eq!(names, ["db/main.pass-word", "a/b", "a.b"]);

        assert_eq!(changed_names(&secrets, true), None);
        let said = changed_names(&secrets[..1], false).unwrap();
        assert!(
            said.contains("db/main.pass-word as db_main_pass_word")
                && said.contains("--keep-names"),
            "{said}"
        );
        let said = changed_names(&[secret("Mixed", "x"), secret("a", "y")], true).unwrap();
        assert!(
            said.contains("1 of these 2") && said.contains("Mixed as mixed"),
            "{said}"
        );
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
