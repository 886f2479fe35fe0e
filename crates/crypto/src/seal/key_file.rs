//! The seal that needs nobody: a file with 32 random bytes on each node (X3, X6).
//!
//! ```text
//! blob = version ‖ kind ‖ salt ‖ ciphertext
//! key  = HKDF-SHA256(key file, salt, "jarvis/v1/seal/key-file")
//! ```
//!
//! The file is written once, mode 600, and is durable before anyone wraps a root key with it. It
//! is never overwritten: the only copy of a cluster's root key may hang on it.

use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{Binding, SlotBlob, SlotKind, SlotUnwrapError, SlotWrapError};
use crate::keyring::{KeyLengthError, RootKey};
use crate::message_key::{KEY_BYTES, KeyBytes};
use crate::random::{RandomError, RandomSource};
use crate::secret_bytes::SecretBytes;

/// The length of a key file in bytes.
pub const KEY_FILE_BYTES: usize = KEY_BYTES;

const DOMAIN: &str = "jarvis/v1/seal/key-file";

/// Read and write for the owner alone (X6).
const PRIVATE_MODE: u32 = 0o600;
const PERMISSION_BITS: u32 = 0o7777;
const OTHER_BITS: u32 = 0o007;
const GROUP_BITS: u32 = 0o070;

/// The key of a key file, in memory.
pub struct KeyFile {
    key: KeyBytes,
    /// For the salts of what it wraps.
    random: RandomSource,
}

/// A key file could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// No randomness; no file was made.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// There is a file already. It was left alone.
    #[error(
        "the key file {} exists already and is never overwritten: load it, or move it away if no \
         cluster needs it",
        shell_word(.path)
    )]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file could not be made durable, and was removed again.
    #[error(
        "the key file {} can not be written: check its folder and the disk",
        shell_word(.path)
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file could not be opened or read.
    #[error(
        "the key file {} can not be read: check [paths] master_key_path and the file's owner",
        shell_word(.path)
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A folder, a device, a socket.
    #[error(
        "the key file {} is not a regular file: check [paths] master_key_path",
        shell_word(.path)
    )]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Others than the process may read it.
    #[error(
        "the key file {} has mode {mode:03o}, so that others can read it; mend it with: \
         chmod 600 {}",
        shell_word(.path),
        shell_word(.path)
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not 32 bytes long.
    #[error(
        "the key file {} has {length} bytes instead of {KEY_FILE_BYTES}; bring it back from a \
         backup, or, if this node never served, put it aside with: mv {} {}.old",
        shell_word(.path),
        shell_word(.path),
        shell_word(.path)
    )]
    WrongLength {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        length: u64,
    },
}

/// Makes a key file that did not exist before. When this returns, the file and its entry in the
/// folder are on the disk.
///
/// # Errors
/// [`KeyFileError::Exists`], [`KeyFileError::Write`] or [`KeyFileError::Random`].
pub fn create(path: &Path) -> Result<KeyFile, KeyFileError> {
    let random = RandomSource::operating_system();
    let key = KeyBytes::generate(&random)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true) // O_EXCL: neither a file nor a link that someone planted
        .mode(PRIVATE_MODE)
        .open(path)
        .map_err(|source| create_error(path, source))?;
    if let Err(source) = write_durably(&mut file, path, &key) {
        // The first error is the one to report; a file that stays is refused by its length.
        std::fs::remove_file(path).ok();
        return Err(KeyFileError::Write {
            path: path.to_owned(),
            source,
        });
    }
    Ok(KeyFile { key, random })
}

/// Reads a key file, unless others can read it too.
///
/// # Errors
/// [`KeyFileError`]; where a command mends it, the message holds that command.
pub fn load(path: &Path) -> Result<KeyFile, KeyFileError> {
    let read_error = |source| KeyFileError::Read {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(read_error)?;
    // Of the open file, not of the path: what is checked is what is read.
    let metadata = file.metadata().map_err(read_error)?;
    check(path, &file, &metadata)?;
    let mut key = KeyBytes::zeroed();
    file.read_exact(key.expose_mut().as_mut_slice())
        .map_err(read_error)?;
    Ok(KeyFile {
        key,
        random: RandomSource::operating_system(),
    })
}

impl KeyFile {
    /// A key that came another way than from a file of this machine.
    ///
    /// # Errors
    /// [`KeyLengthError`] unless there are exactly 32 bytes.
    pub fn from_secret(secret: SecretBytes, random: RandomSource) -> Result<Self, KeyLengthError> {
        let length = secret.len();
        let key = KeyBytes::from_slice(secret.expose()).ok_or(KeyLengthError { length })?;
        Ok(Self { key, random })
    }

    /// Wraps the root key under this file. `context` names the cluster and the slot, and must be
    /// given again to open it.
    ///
    /// # Errors
    /// [`SlotWrapError::Random`].
    pub fn wrap_root(&self, root: &RootKey, context: &[u8]) -> Result<Vec<u8>, SlotWrapError> {
        let salt = self.random.array::<KEY_BYTES>()?;
        Ok(binding(context).encrypt(self.key.expose(), &salt, root))
    }

    /// Opens what [`Self::wrap_root`] made with the same file and context.
    ///
    /// # Errors
    /// [`SlotUnwrapError`].
    pub fn unwrap_root(&self, blob: &[u8], context: &[u8]) -> Result<RootKey, SlotUnwrapError> {
        let body = SlotBlob::body_of(blob, SlotKind::KeyFile, 0)?;
        let (salt, ciphertext) = body
            .split_first_chunk::<KEY_BYTES>()
            .ok_or(SlotUnwrapError::Truncated { length: blob.len() })?;
        binding(context).decrypt(self.key.expose(), salt, ciphertext)
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyFile")
    }
}

fn binding(context: &[u8]) -> Binding<'_> {
    Binding {
        domain: DOMAIN,
        kind: SlotKind::KeyFile,
        parameters: &[],
        context,
    }
}

fn create_error(path: &Path, source: io::Error) -> KeyFileError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::AlreadyExists => KeyFileError::Exists { path },
        _ => KeyFileError::Write { path, source },
    }
}

fn write_durably(file: &mut File, path: &Path, key: &KeyBytes) -> io::Result<()> {
    file.write_all(key.expose().as_slice())?;
    file.sync_all()?;
    File::open(folder_of(path))?.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn check(path: &Path, file: &File, metadata: &Metadata) -> Result<(), KeyFileError> {
    let path = path.to_owned();
    if !metadata.is_file() {
        return Err(KeyFileError::NotAFile { path });
    }
    let mode = metadata.mode() & PERMISSION_BITS;
    let own_group = metadata.gid() == rustix::process::getegid().as_raw();
    if !is_private(mode, own_group || is_mounted_read_only(file)) {
        return Err(KeyFileError::Exposed { path, mode });
    }
    let length = metadata.len();
    if length != KEY_FILE_BYTES as u64 {
        return Err(KeyFileError::WrongLength { path, length });
    }
    Ok(())
}

/// X6: nothing for others, and group bits only where they give nothing away: the group is the
/// process's own, or the mount is read-only, as Kubernetes makes them.
fn is_private(mode: u32, group_is_trusted: bool) -> bool {
    let forbidden = if group_is_trusted {
        OTHER_BITS
    } else {
        OTHER_BITS | GROUP_BITS
    };
    mode & forbidden == 0
}

fn is_mounted_read_only(file: &File) -> bool {
    rustix::fs::fstatvfs(file)
        .is_ok_and(|mount| mount.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

/// A path as one may paste it into a shell.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-".contains(character);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x6_group_bits_pass_only_with_a_trusted_group_and_other_bits_never() {
        for (mode, with_trusted_group, with_any_group) in [
            (0o600, true, true),
            (0o400, true, true),
            (0o640, true, false),
            (0o660, true, false),
            (0o604, false, false),
            (0o601, false, false),
            (0o644, false, false),
            (0o777, false, false),
        ] {
            assert_eq!(is_private(mode, true), with_trusted_group, "{mode:o}");
            assert_eq!(is_private(mode, false), with_any_group, "{mode:o}");
        }
    }

    #[test]
    fn a_path_in_a_command_survives_the_shell() {
        assert_eq!(shell_word(Path::new("/etc/a-b_c.key")), "/etc/a-b_c.key");
        assert_eq!(shell_word(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }

    #[test]
    fn a_bare_file_name_lies_in_the_current_folder() {
        assert_eq!(folder_of(Path::new("master.key")), Path::new("."));
        assert_eq!(folder_of(Path::new("/x/master.key")), Path::new("/x"));
    }
}
