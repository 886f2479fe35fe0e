//! `certificate create | revoke`: client certificates of the cluster CA (I1).
//!
//! The key is made here and never sent: the server gets a signing request. No file is ever overwritten.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use jarvis_domain::name::ClientId;
use jarvis_wire::certificates::{CreateCertificate, CreatedCertificate};
use jarvis_wire::tokens::{RevokeCertificate, RevokedCertificate};
use serde::Serialize;
use zeroize::Zeroizing;

use super::client::{Call, Client};
use super::duration::parse_secs;
use super::error::CliError;
use super::output::{json_text, print_line};
use super::retry::RepeatArgs;

/// Only the owner: the key is the credential (X6).
const KEY_MODE: u32 = 0o600;
/// A certificate is public.
const CERTIFICATE_MODE: u32 = 0o644;
/// A folder that is made for a key.
const FOLDER_MODE: u32 = 0o700;
/// Characters per line of a PEM body (RFC 7468).
const PEM_COLUMNS: usize = 64;
const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----\n";
const PEM_END: &str = "-----END PRIVATE KEY-----\n";

/// The verbs of `certificate`.
#[derive(Subcommand)]
pub(crate) enum CertificateCommand {
    /// Make a key and a client certificate for it
    Create(CreateArgs),
    /// End a certificate; every request that starts afterwards is refused
    Revoke(RevokeArgs),
}

/// `certificate create CLIENT --out DIR [--ttl 90d]`
#[derive(Args)]
pub(crate) struct CreateArgs {
    /// The client that it is for
    #[arg(value_name = "CLIENT")]
    subject: String,
    /// Folder for CLIENT.key and CLIENT.crt; made if it is missing
    #[arg(long = "out", value_name = "DIR")]
    folder: PathBuf,
    /// How long it lives, such as 12h or 90d, at most 365d; 90d when missing
    #[arg(long = "ttl", value_name = "DURATION", value_parser = parse_secs)]
    ttl_secs: Option<u64>,
}

/// `certificate revoke --serial S --not-after T`
#[derive(Args)]
pub(crate) struct RevokeArgs {
    /// The serial number, as `certificate create` or `openssl x509 -serial` printed it
    #[arg(long, value_name = "HEX")]
    serial: String,
    /// When the certificate ends, such as 2027-01-31T00:00:00Z: until then the revocation is remembered
    #[arg(long, value_name = "TIME")]
    not_after: String,
    #[command(flatten)]
    repeat: RepeatArgs,
}

/// What `certificate create` prints: where the files are, and what a revocation needs.
#[derive(Serialize)]
struct Made {
    client: String,
    serial: String,
    expires_at: String,
    certificate: String,
    key: String,
}

pub(crate) async fn run(
    client: &Client,
    command: CertificateCommand,
) -> Result<ExitCode, CliError> {
    match command {
        CertificateCommand::Create(args) => create(client, args).await?,
        CertificateCommand::Revoke(args) => revoke(client, args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(client: &Client, args: CreateArgs) -> Result<(), CliError> {
    let files = Files::of(&args.folder, &args.subject)?;
    files.prepare(&args.folder)?;
    let (key, request) = jarvis_cluster::tls::new_key_and_csr()
        .map_err(|error| CliError::Other(format!("no key could be made: {error}")))?;
    let body = CreateCertificate {
        client: args.subject,
        request: STANDARD.encode(request),
        ttl_secs: args.ttl_secs,
    };
    // Issuing changes nothing on the server, and a certificate that got lost on the way is worth nothing without its
    // key, so asking again is harmless.
    let call = Call::ask(["certificates"]).json(&body)?;
    let created: CreatedCertificate = client.call(&call).await?.decode()?;
    files.write(&private_key_pem(&key), &created.certificate)?;
    print_line(&json_text(&Made {
        client: created.client,
        serial: created.serial,
        expires_at: created.expires_at,
        certificate: files.certificate.display().to_string(),
        key: files.key.display().to_string(),
    })?)
}

async fn revoke(client: &Client, args: RevokeArgs) -> Result<(), CliError> {
    let body = RevokeCertificate {
        serial: args.serial,
        not_after: args.not_after,
    };
    let call = Call::post(["certificates", "revoke"])
        .json(&body)?
        .repeating(args.repeat.idempotency_key);
    let revoked: RevokedCertificate = client.call(&call).await?.decode()?;
    print_line(&format!("certificate {} is revoked", revoked.serial))
}

/// The two files of a client.
struct Files {
    key: PathBuf,
    certificate: PathBuf,
}

impl Files {
    /// A client id has no slash, so the names stay within the folder.
    fn of(folder: &Path, client: &str) -> Result<Self, CliError> {
        let client = ClientId::parse(client)
            .map_err(|error| CliError::Usage(format!("CLIENT is no client id: {error}")))?;
        Ok(Self {
            key: folder.join(format!("{client}.key")),
            certificate: folder.join(format!("{client}.crt")),
        })
    }

    /// Finds out before anything is asked for whether the files can be written.
    fn prepare(&self, folder: &Path) -> Result<(), CliError> {
        DirBuilder::new()
            .recursive(true)
            .mode(FOLDER_MODE)
            .create(folder)
            .map_err(|error| CliError::file("make", folder.display(), &error))?;
        for path in [&self.key, &self.certificate] {
            // A dangling link counts as there.
            if path.symlink_metadata().is_ok() {
                return Err(CliError::Usage(format!(
                    "{} exists already and is not overwritten; move it away, or choose another --out",
                    path.display()
                )));
            }
        }
        Ok(())
    }

    /// Both or none: a key alone would stand in the way of the next attempt.
    fn write(&self, key: &str, certificate: &str) -> Result<(), CliError> {
        write_new(&self.key, key, KEY_MODE)?;
        write_new(&self.certificate, certificate, CERTIFICATE_MODE).inspect_err(|_| {
            let _unremoved = std::fs::remove_file(&self.key);
        })
    }
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), CliError> {
    let failed = |error: std::io::Error| CliError::file("write", path.display(), &error);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(|error| {
        let _unremoved = std::fs::remove_file(path);
        failed(error)
    })
}

/// A key (PKCS #8, DER) as PEM text.
fn private_key_pem(der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(der));
    let lines = body.len().div_ceil(PEM_COLUMNS);
    // The whole of it at once: growing would leave copies behind.
    let length = PEM_BEGIN.len() + body.len() + lines + PEM_END.len();
    let mut pem = Zeroizing::new(String::with_capacity(length));
    pem.push_str(PEM_BEGIN);
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(PEM_COLUMNS));
        pem.push_str(line);
        pem.push('\n');
        rest = tail;
    }
    pem.push_str(PEM_END);
    pem
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn i1_both_files_are_written_once_and_the_key_is_the_owners() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("new");
        let files = Files::of(&folder, "backend").unwrap();
        files.prepare(&folder).unwrap();
        files.write("example key", "example certificate").unwrap();
        let mode = std::fs::metadata(&files.key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, KEY_MODE);

        assert!(matches!(files.prepare(&folder), Err(CliError::Usage(_))));
        assert!(files.write("another", "another").is_err());
        let kept = std::fs::read_to_string(&files.key).unwrap();
        assert_eq!(kept, "example key");

        // Only one of them is in the way: the other does not stay behind.
        std::fs::remove_file(&files.key).unwrap();
        assert!(files.write("another", "another").is_err());
        assert!(!files.key.exists());
        let kept = std::fs::read_to_string(&files.certificate).unwrap();
        assert_eq!(kept, "example certificate");
    }

    #[test]
    fn i1_a_client_can_not_name_a_file_elsewhere() {
        for bad in ["", "../x", "a/b", "/etc/x", "two words"] {
            assert!(Files::of(Path::new("d"), bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn i1_the_key_is_pem_without_a_spare_copy() {
        let pem = private_key_pem(&[7; 100]);
        assert!(pem.starts_with(PEM_BEGIN) && pem.ends_with(PEM_END));
        assert!(pem.lines().all(|line| line.len() <= PEM_COLUMNS));
        assert_eq!(pem.len(), PEM_BEGIN.len() + 136 + 3 + PEM_END.len());
    }
}
