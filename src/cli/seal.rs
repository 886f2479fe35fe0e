//! `seal` and `unseal`: a node's keys, and the ways to open them (X2, X3).
//!
//! Sealing concerns single nodes, so there is no failing over: it is done at every address that was given. What changes
//! the cluster (slots, epochs) goes through any of them.

use std::convert::identity;
use std::io::{BufRead, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use jarvis_wire::seal::{
    AddSlot, EpochRotated, SealSlot, SealStatus, SlotAdded, SlotRemoved, Unseal,
};
use jarvis_wire::{ErrorCode, SecretText};
use zeroize::Zeroizing;

use super::client::{Call, Client, new_idempotency_key};
use super::error::CliError;
use super::output::{Columns, or_dash, print, print_line};
use super::retry::RepeatArgs;

/// Longest passphrase read from a pipe; argon2id takes far more, a person types far less.
const MAX_PASSPHRASE_BYTES: usize = 4_096;
/// After a passphrase that no slot opens with; it needs no token, so that a better one would not help.
const WRONG_PASSPHRASE: &str =
    "Type it again; `jarvis-secrets seal status` shows an administrator the slots";
/// After removing what is not there: names of secrets would not help.
const UNKNOWN_SLOT: &str = "`jarvis-secrets seal status` shows the slots";
/// Rounds of re-encrypting in a row after which as many versions are left as before: then waiting helps no more.
const IDLE_ROUNDS: u32 = 10;
/// After such a round: what stood in its way, an election or another rotation, lasts about as long.
const IDLE_PAUSE: Duration = Duration::from_millis(500);

/// `seal [status | add-passphrase | remove-slot N | rotate-epoch]`
#[derive(Args)]
pub(crate) struct SealArgs {
    #[command(subcommand)]
    command: Option<SealCommand>,
}

#[derive(Subcommand)]
enum SealCommand {
    /// Say of every address whether it is sealed, and list the ways to unseal
    Status,
    /// Add a passphrase as a way to unseal
    AddPassphrase(RepeatArgs),
    /// Remove a way to unseal
    RemoveSlot {
        /// Its name, as `seal status` shows it
        slot: String,
        #[command(flatten)]
        repeat: RepeatArgs,
    },
    /// Begin a new key epoch, and encrypt every version anew under it
    RotateEpoch(RepeatArgs),
}

pub(crate) async fn seal(client: &Client, args: SealArgs) -> Result<ExitCode, CliError> {
    match args.command {
        None => at_every_address(client, &Call::post(["sys", "seal"]), identity).await,
        Some(SealCommand::Status) => status(client).await,
        Some(SealCommand::AddPassphrase(repeat)) => {
            let body = AddSlot {
                kind: "passphrase".into(),
                passphrase: SecretText::from(passphrase(true)?),
            };
            let call = Call::post(["sys", "slots"])
                .json(&body)?
                .repeating(repeat.idempotency_key);
            let added: SlotAdded = client.call(&call).await?.decode()?;
            print_line(&format!(
                "slot {} opens with the new passphrase",
                added.slot
            ))?;
            Ok(ExitCode::SUCCESS)
        }
        Some(SealCommand::RemoveSlot { slot, repeat }) => {
            let call = Call::delete(["sys", "slots", &slot]).repeating(repeat.idempotency_key);
            let answer = client.call(&call).await;
            let answer =
                answer.map_err(|error| error.advising(ErrorCode::NotFound, UNKNOWN_SLOT))?;
            let removed: SlotRemoved = answer.decode()?;
            print_line(&format!("slot {} is removed", removed.slot))?;
            Ok(ExitCode::SUCCESS)
        }
        Some(SealCommand::RotateEpoch(repeat)) => rotate_epoch(client, repeat).await,
    }
}

/// Asks again until nothing is left under older epochs: a request re-encrypts for a few seconds. One key stands for all
/// rounds, so that the repetition of the last one, when its answer is lost, begins no further epoch.
async fn rotate_epoch(client: &Client, repeat: RepeatArgs) -> Result<ExitCode, CliError> {
    let key = match repeat.idempotency_key {
        Some(key) => key,
        None => new_idempotency_key()?,
    };
    let call = Call::post(["sys", "epochs", "rotate"]).repeating(Some(key));
    let mut rounds = Rounds::default();
    loop {
        let rotated: EpochRotated = client.call(&call).await?.decode()?;
        let EpochRotated { epoch, left } = rotated;
        match rounds.after(left) {
            Progress::Done => {
                print_line(&format!("every version is encrypted under epoch {epoch}"))?;
                return Ok(ExitCode::SUCCESS);
            }
            Progress::Good => eprintln!("epoch {epoch}: {left} versions are left"),
            Progress::Idle => tokio::time::sleep(IDLE_PAUSE).await,
            Progress::Stuck => {
                return Err(CliError::Other(format!(
                    "{left} versions stay under older epochs, in {IDLE_ROUNDS} rounds none of them was encrypted anew; all can be read. See the servers' logs, then run the command again: it goes on from here"
                )));
            }
        }
    }
}

/// How rotating gets on.
#[derive(Default)]
struct Rounds {
    left: Option<u64>,
    idle: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Done,
    Good,
    Idle,
    Stuck,
}

impl Rounds {
    /// What a round came to that left so many.
    fn after(&mut self, left: u64) -> Progress {
        let is_idle = self.left.is_some_and(|before| left >= before);
        self.left = Some(left);
        self.idle = if is_idle { self.idle + 1 } else { 0 };
        match (left, self.idle) {
            (0, _) => Progress::Done,
            (_, 0) => Progress::Good,
            (_, IDLE_ROUNDS..) => Progress::Stuck,
            _ => Progress::Idle,
        }
    }
}

pub(crate) async fn unseal(client: &Client) -> Result<ExitCode, CliError> {
    let body = Unseal {
        passphrase: SecretText::from(passphrase(false)?),
    };
    let call = Call::post(["sys", "unseal"]).json(&body)?;
    at_every_address(client, &call, |error| {
        error.advising(ErrorCode::Unauthenticated, WRONG_PASSPHRASE)
    })
    .await
}

/// Makes the call at every address and says what each answered; the first failure is the command's.
async fn at_every_address(
    client: &Client,
    call: &Call,
    explain: fn(CliError) -> CliError,
) -> Result<ExitCode, CliError> {
    let mut failure = None;
    for (index, address) in client.addresses().enumerate() {
        let answer = client.call_at(index, call).await.map_err(explain);
        match answer.and_then(|answer| answer.decode::<SealStatus>()) {
            Ok(status) => print_line(&format!("{address}: {}", word(status.sealed)))?,
            Err(error) => {
                eprintln!("{address}: {error}");
                failure.get_or_insert(error);
            }
        }
    }
    match failure {
        None => Ok(ExitCode::SUCCESS),
        // Sealing and unsealing twice is the same as once, so the command itself is the safe repetition.
        Some(CliError::UnknownOutcome { cause, .. }) => Err(CliError::UnknownOutcome {
            idempotency_key: None,
            cause,
        }),
        Some(error) => Err(error),
    }
}

async fn status(client: &Client) -> Result<ExitCode, CliError> {
    let mut nodes = Columns::new(["ADDRESS", "SEAL"]);
    let mut slots: Option<Vec<SealSlot>> = None;
    let mut failure = None;
    for (index, address) in client.addresses().enumerate() {
        let answer = client.call_at(index, &Call::get(["sys", "seal"])).await;
        match answer.and_then(|answer| answer.decode::<SealStatus>()) {
            Ok(status) => {
                nodes.row([address.to_owned(), word(status.sealed).to_owned()]);
                slots = slots.or(status.slots);
            }
            Err(error) => {
                nodes.row([address.to_owned(), "no answer".to_owned()]);
                failure.get_or_insert(error);
            }
        }
    }
    print(nodes.render().as_bytes())?;
    if let Some(slots) = slots {
        let mut columns = Columns::new(["SLOT", "KIND", "NODE"]);
        for slot in slots {
            columns.row([slot.slot.clone(), slot.kind, or_dash(slot.node)]);
        }
        print(columns.render().as_bytes())?;
    }
    failure.map_or(Ok(ExitCode::SUCCESS), Err)
}

fn word(sealed: bool) -> &'static str {
    if sealed { "sealed" } else { "unsealed" }
}

/// From the terminal without showing it, twice where it is new; otherwise the first line of standard input.
fn passphrase(is_new: bool) -> Result<String, CliError> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return first_line(input.lock());
    }
    let ask = |prompt: &str| {
        rpassword::prompt_password(prompt)
            .map_err(|error| CliError::file("read", "the terminal", &error))
    };
    let typed = Zeroizing::new(ask("Passphrase (not shown): ")?);
    if is_new && *Zeroizing::new(ask("Again: ")?) != *typed {
        return Err(CliError::Usage(
            "the two passphrases differ; nothing was sent".into(),
        ));
    }
    not_empty(&typed)
}

fn first_line(input: impl BufRead) -> Result<String, CliError> {
    let mut bytes = Zeroizing::new(Vec::new());
    input
        .take(MAX_PASSPHRASE_BYTES as u64 + 1)
        .read_until(b'\n', &mut bytes)
        .map_err(|error| CliError::file("read", "standard input", &error))?;
    if bytes.len() > MAX_PASSPHRASE_BYTES {
        return Err(CliError::Usage(format!(
            "a passphrase has at most {MAX_PASSPHRASE_BYTES} bytes"
        )));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => not_empty(text.strip_suffix('\n').unwrap_or(text)),
        Err(_) => Err(CliError::Usage("the passphrase is not UTF-8".into())),
    }
}

fn not_empty(text: &str) -> Result<String, CliError> {
    if text.is_empty() {
        Err(CliError::Usage(
            "the passphrase is empty; nothing was sent".into(),
        ))
    } else {
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x2_rounds_go_on_while_fewer_are_left_and_not_for_ever() {
        let mut rounds = Rounds::default();
        assert_eq!(rounds.after(9), Progress::Good);
        assert_eq!(rounds.after(9), Progress::Idle);
        // Somebody began another epoch: more are left than before, and then fewer again.
        assert_eq!(rounds.after(20), Progress::Idle);
        assert_eq!(rounds.after(7), Progress::Good);
        for _ in 1..IDLE_ROUNDS {
            assert_eq!(rounds.after(7), Progress::Idle);
        }
        assert_eq!(rounds.after(7), Progress::Stuck);
        assert_eq!(rounds.after(0), Progress::Done);
        assert_eq!(Rounds::default().after(0), Progress::Done);
    }

    #[test]
    fn x3_a_piped_passphrase_is_its_first_line() {
        assert_eq!(
            first_line(&b"example phrase\nmore"[..]).unwrap(),
            "example phrase"
        );
        assert_eq!(
            first_line(&b"example phrase"[..]).unwrap(),
            "example phrase"
        );
        for bad in [&b""[..], &b"\n"[..], &b"\xff\n"[..]] {
            assert!(first_line(bad).is_err());
        }
        assert!(first_line(&vec![b'x'; MAX_PASSPHRASE_BYTES + 1][..]).is_err());
    }
}
