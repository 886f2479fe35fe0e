//! `set`: one value, from standard input or a file; from the command line only with a warning (L5).

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use jarvis_wire::SecretText;
use jarvis_wire::secrets::{Encoding, WriteSecret};
use zeroize::Zeroizing;

use super::client::{Call, Client};
use super::error::CliError;
use super::output::print;
use super::retry::RepeatArgs;
use super::versions::{check_name, explain};

/// Largest value that a server can be configured to take (A14); reading stops there.
const MAX_VALUE_BYTES: u64 = 1024 * 1024;

/// `set NAME [@FILE] [--file FILE] [--value V] [--cas N] …`
#[derive(Args)]
pub(crate) struct SetArgs {
    /// The secret's name
    name: String,
    /// Where the value is: @FILE, or - for standard input (the default)
    #[arg(value_name = "@FILE", conflicts_with_all = ["file", "value"])]
    source: Option<String>,
    /// Take the bytes of this file as they are
    #[arg(long, value_name = "FILE", conflicts_with = "value")]
    file: Option<PathBuf>,
    /// The value itself; anyone who can list processes sees it
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    value: Option<String>,
    /// Write only if this is the current version; 0 = the name must not exist yet
    #[arg(long, value_name = "N")]
    cas: Option<u64>,
    /// What the secret is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Who to ask about it
    #[arg(long, value_name = "TEXT")]
    owner: Option<String>,
    /// What kind of thing it is
    #[arg(long = "type", value_name = "TEXT")]
    secret_type: Option<String>,
    #[command(flatten)]
    repeat: RepeatArgs,
}

pub(crate) async fn run(client: &Client, args: SetArgs) -> Result<ExitCode, CliError> {
    check_name(&args.name)?;
    let bytes = read_value(&args)?;
    let (value, encoding) = encoded(&bytes);
    let body = WriteSecret {
        name: args.name,
        value,
        encoding,
        cas: args.cas,
        description: args.description,
        owner: args.owner,
        secret_type: args.secret_type,
    };
    let call = Call::post(["secret"])
        .json(&body)?
        .repeating(args.repeat.idempotency_key);
    match client.call(&call).await {
        Ok(answer) => print(answer.bytes()).and_then(|()| print(b"\n"))?,
        Err(error) => return Err(explain(client, &body.name, error).await),
    }
    Ok(ExitCode::SUCCESS)
}

/// A value for JSON: as text where it is text, otherwise as base64.
pub(crate) fn encoded(bytes: &[u8]) -> (SecretText, Option<Encoding>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (SecretText::new(text), None),
        Err(_) => (
            SecretText::new(STANDARD.encode(bytes)),
            Some(Encoding::Base64),
        ),
    }
}

fn read_value(args: &SetArgs) -> Result<Zeroizing<Vec<u8>>, CliError> {
    if let Some(value) = &args.value {
        eprintln!(
            "jarvis-secrets: warning: `ps` and the shell's history show a value given with --value; \
             prefer standard input or @FILE"
        );
        return Ok(Zeroizing::new(value.as_bytes().to_vec()));
    }
    if let Some(path) = &args.file {
        return read_file(path);
    }
    match args.source.as_deref() {
        None | Some("-") => read_standard_input(&args.name),
        Some(source) => match source.strip_prefix('@') {
            Some(path) if !path.is_empty() => read_file(Path::new(path)),
            // Not repeated in the message: it may be the value.
            _ => Err(CliError::Usage(
                "the second argument must be @FILE or -; a value comes from standard input, a file, or --value".into(),
            )),
        },
    }
}

fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let file = File::open(path).map_err(|error| CliError::file("open", path.display(), &error))?;
    read_bounded(file, &path.display().to_string())
}

fn read_standard_input(name: &str) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let input = std::io::stdin();
    if input.is_terminal() {
        let typed = rpassword::prompt_password(format!("Value for {name} (not shown): "))
            .map_err(|error| CliError::file("read", "the terminal", &error))?;
        return Ok(Zeroizing::new(typed.into_bytes()));
    }
    let mut bytes = read_bounded(input.lock(), "standard input")?;
    strip_final_newline(&mut bytes);
    Ok(bytes)
}

fn read_bounded(source: impl Read, what: &str) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let mut bytes = Zeroizing::new(Vec::new());
    source
        .take(MAX_VALUE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| CliError::file("read", what, &error))?;
    if bytes.len() as u64 > MAX_VALUE_BYTES {
        return Err(CliError::Usage(format!(
            "{what} holds more than a value's {MAX_VALUE_BYTES} bytes"
        )));
    }
    Ok(bytes)
}

/// One newline at the end belongs to the pipe, not to the value (L1).
fn strip_final_newline(bytes: &mut Vec<u8>) {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l1_exactly_one_final_newline_is_stripped() {
        for (piped, value) in [
            ("x\n", "x"),
            ("x", "x"),
            ("x\n\n", "x\n"),
            ("\n", ""),
            ("", ""),
        ] {
            let mut bytes = piped.as_bytes().to_vec();
            strip_final_newline(&mut bytes);
            assert_eq!(bytes, value.as_bytes(), "{piped:?}");
        }
    }

    #[test]
    fn a2_bytes_that_are_no_text_travel_as_base64() {
        let (text, encoding) = encoded("zażółć".as_bytes());
        assert_eq!((text.expose(), encoding), ("zażółć", None));
        let (text, encoding) = encoded(&[0xff, 0x00]);
        assert_eq!((text.expose(), encoding), ("/wA=", Some(Encoding::Base64)));
    }

    #[test]
    fn a14_reading_stops_at_the_largest_value() {
        let largest = std::io::repeat(b'x').take(MAX_VALUE_BYTES);
        assert_eq!(
            read_bounded(largest, "it").unwrap().len() as u64,
            MAX_VALUE_BYTES
        );
        assert!(read_bounded(std::io::repeat(b'x'), "it").is_err());
    }
}
