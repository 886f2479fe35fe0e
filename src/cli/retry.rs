//! The exact safe repetition of a write whose outcome is unknown (A11).
//!
//! The line is made from the arguments as they were given, quoted for a shell, with the idempotency key added; values
//! and tokens that stood on the command line are left out by name.

use std::ffi::OsString;

use clap::Args;

/// For commands that make one write.
#[derive(Args)]
pub(crate) struct RepeatArgs {
    /// Repeat an earlier write under its key; a new key is drawn when missing
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
}

/// Flags whose value must not be shown again, and what stands there instead.
const HIDDEN: [(&str, &str); 2] = [
    ("--value", "'<the same value>'"),
    ("--token", "'<the same token>'"),
];

/// The sentence and the command to print after an unknown outcome. Without a key the command is repeatable as it is.
pub(crate) fn advice(arguments: &[OsString], idempotency_key: Option<&str>) -> String {
    let command = command_line(arguments, idempotency_key);
    match idempotency_key {
        Some(_) => format!(
            "Repeat it with the same input within 10 minutes; it happens at most once:\n  {command}"
        ),
        None => format!("Run it again; what is done already is left alone:\n  {command}"),
    }
}

fn command_line(arguments: &[OsString], idempotency_key: Option<&str>) -> String {
    let mut words = vec!["jarvis-secrets".to_owned()];
    let mut key_given = false;
    let mut given = arguments.iter().skip(1).map(|word| word.to_string_lossy());
    while let Some(word) = given.next() {
        key_given |= word == "--idempotency-key" || word.starts_with("--idempotency-key=");
        match HIDDEN.iter().find(|(flag, _)| is_flag(&word, flag)) {
            Some((flag, placeholder)) => {
                words.push((*flag).to_owned());
                words.push((*placeholder).to_owned());
                if word == *flag {
                    given.next();
                }
            }
            None => words.push(quoted(&word)),
        }
    }
    if let Some(key) = idempotency_key
        && !key_given
    {
        words.push("--idempotency-key".to_owned());
        words.push(quoted(key));
    }
    words.join(" ")
}

fn is_flag(word: &str, flag: &str) -> bool {
    word.strip_prefix(flag)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
}

fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,@%+".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &[&str], key: Option<&str>) -> String {
        let arguments: Vec<OsString> = words.iter().map(OsString::from).collect();
        command_line(&arguments, key)
    }

    #[test]
    fn a11_the_repetition_carries_the_key_once() {
        assert_eq!(
            line(
                &["/usr/bin/jarvis-secrets", "set", "db/password"],
                Some("abc")
            ),
            "jarvis-secrets set db/password --idempotency-key abc"
        );
        let again = ["jarvis-secrets", "set", "a", "--idempotency-key", "abc"];
        assert_eq!(
            line(&again, Some("abc")),
            "jarvis-secrets set a --idempotency-key abc"
        );
    }

    #[test]
    fn rule_12_values_and_tokens_are_not_repeated_on_the_screen() {
        for words in [
            &[
                "p",
                "--token",
                "example-not-a-secret",
                "set",
                "a",
                "--value",
                "example-not-a-secret",
            ][..],
            &[
                "p",
                "--token=example-not-a-secret",
                "set",
                "a",
                "--value=example-not-a-secret",
            ][..],
        ] {
            let text = line(words, None);
            assert!(!text.contains("example"), "{text}");
            assert!(text.contains("--value '<the same value>'"), "{text}");
        }
    }

    #[test]
    fn l5_words_are_quoted_for_a_shell() {
        assert_eq!(
            line(&["p", "set", "a", "--description", "it's $5"], None),
            r"jarvis-secrets set a --description 'it'\''s $5'"
        );
        assert_eq!(quoted(""), "''");
    }
}
