//! Who else on this machine could read or change the vault's files (X6).
//!
//! Directories are 700; keys, log, store and audit are 600. Others never have a right. Group rights
//! are accepted where the group is the process's own, or where the file system is mounted
//! read-only: that is how Kubernetes makes volumes and mounted secrets. Anything else is refused at
//! start with the command that mends it; for a folder that is not the node's alone, such as
//! `/var/log`, that is another folder, since closing it would hurt others. What does not exist yet
//! passes; it will be made with the right mode.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Config;

const GROUP_BITS: u32 = 0o070;
const OTHER_BITS: u32 = 0o007;

/// Most entries that a check at start looks at: a data directory holds some hundred segments; more
/// is not one.
const MAX_ENTRIES: usize = 100_000;

/// What lies in a data directory or in an audit directory, or beside a node that `dev` runs. Only
/// advice rests on it, so that a name that is missing here does no harm.
const OWN_NAMES: [&str; 26] = [
    "LOCK",
    "api.key",
    "api.pem",
    "api.sock",
    "audit",
    "audit.head",
    "audit.jsonl",
    "audit.key",
    "ca.crt.der",
    "ca.pem",
    "config.toml",
    "first.bin",
    "image",
    "incarnation",
    "journal",
    LOST_AND_FOUND,
    "master.key",
    "node.json",
    "node.log",
    "peer.crt.der",
    "peer.key.der",
    "policy.yaml",
    "root-token",
    "snapshots",
    "vault.json",
    "wal",
];
/// Segments of the trail; what is being written; what the advice of other refusals puts aside.
const OWN_ENDINGS: [&str; 4] = [".jsonl", ".jsonl.gz", ".tmp", ".old"];
/// The file system's own, root's alone, at the top of a volume.
const LOST_AND_FOUND: &str = "lost+found";

/// Why a path was refused.
#[derive(Debug, thiserror::Error)]
pub enum FileModeError {
    /// Somebody else has rights.
    #[error(
        "{shown} has mode {mode:03o} (group {group}), and others could use it. Mend it: chmod {wanted:o} '{shown}'",
        shown = .path.display()
    )]
    TooOpen {
        /// The file or directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Its group's number.
        group: u32,
        /// The mode it should have.
        wanted: u32,
    },
    /// Others use this folder too, and have rights in it.
    #[error(
        "{shown} has mode {mode:03o}, so that others could use what a node keeps there, and it is not the node's alone: \
         it holds {stranger:?}. Leave it as it is, and name a folder of the node's own in [paths]: {key} = \"{shown}/jarvis-secretsd\"",
        shown = .path.display()
    )]
    Shared {
        /// Which key of `[paths]` leads there.
        key: &'static str,
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Something in it that no node wrote.
        stranger: String,
    },
    /// It could not be looked at.
    #[error("the rights of {} can not be checked: {source}", .path.display())]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A directory holds far more than a node ever writes.
    #[error("{} holds more than {MAX_ENTRIES} files; that is no data directory", .path.display())]
    TooMany {
        /// The directory.
        path: PathBuf,
    },
}

/// Checks everything that a configuration names: data and audit directory with all they hold, the
/// master key, the API's private key.
///
/// # Errors
/// [`FileModeError`] for the first path that others could use.
pub fn check(config: &Config) -> Result<(), FileModeError> {
    let paths = &config.paths;
    for (key, directory) in [
        ("vault_path", &paths.data_dir),
        ("audit_path", &paths.audit_dir),
    ] {
        refuse_shared(key, directory)?;
        check_tree(directory)?;
    }
    check_path(&paths.master_key_path)?;
    match &config.tls.api {
        Some(api) => check_path(&api.key_path),
        None => Ok(()),
    }
}

/// Refuses a directory in which others have rights *and* things of their own, before the command
/// that closes it is advised.
fn refuse_shared(key: &'static str, directory: &Path) -> Result<(), FileModeError> {
    let Err(FileModeError::TooOpen { path, mode, .. }) = check_path(directory) else {
        return Ok(());
    };
    match stranger_in(directory) {
        Some(stranger) => Err(FileModeError::Shared {
            key,
            path,
            mode,
            stranger,
        }),
        None => Ok(()),
    }
}

/// The first name in a directory that is none of a node's. A directory that can not be listed is
/// left to the check of everything in it.
fn stranger_in(directory: &Path) -> Option<String> {
    fs::read_dir(directory)
        .ok()?
        .take(MAX_ENTRIES)
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !is_own(name))
        .min()
}

fn is_own(name: &str) -> bool {
    OWN_NAMES.contains(&name) || OWN_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Checks a directory and everything below it. Sockets and other special files are left out: their
/// directory guards them. Symbolic links are not followed.
///
/// # Errors
/// [`FileModeError`] for the first path that others could use.
pub fn check_tree(directory: &Path) -> Result<(), FileModeError> {
    let unreadable = |path: &Path, source| FileModeError::Unreadable {
        path: path.to_owned(),
        source,
    };
    check_path(directory)?;
    let mut looked_at = 0;
    let mut pending = VecDeque::from([directory.to_owned()]);
    while let Some(folder) = pending.pop_front() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            // Nothing of a node lies where it may not look.
            Err(error)
                if error.kind() == ErrorKind::PermissionDenied
                    && folder.ends_with(LOST_AND_FOUND) =>
            {
                continue;
            }
            Err(error) => return Err(unreadable(&folder, error)),
        };
        for entry in entries {
            let entry = entry.map_err(|error| unreadable(&folder, error))?;
            looked_at += 1;
            if looked_at > MAX_ENTRIES {
                return Err(FileModeError::TooMany {
                    path: directory.to_owned(),
                });
            }
            let path = entry.path();
            let kind = entry
                .file_type()
                .map_err(|error| unreadable(&path, error))?;
            if kind.is_dir() || kind.is_file() {
                check_path(&path)?;
            }
            if kind.is_dir() {
                pending.push_back(path);
            }
        }
    }
    Ok(())
}

/// Checks one file or directory; a symbolic link stands for what it leads to (Kubernetes mounts
/// secrets so).
///
/// # Errors
/// [`FileModeError`] if others could use it.
pub fn check_path(path: &Path) -> Result<(), FileModeError> {
    let unreadable = |source| FileModeError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unreadable(error)),
    };
    let mode = metadata.mode() & 0o777;
    let own_group = rustix::process::getegid().as_raw();
    let is_group_ours = metadata.gid() == own_group;
    if is_allowed(mode, is_group_ours, || is_read_only_mount(path)) {
        return Ok(());
    }
    let wanted = if metadata.is_dir() { 0o700 } else { 0o600 };
    Err(FileModeError::TooOpen {
        path: path.to_owned(),
        mode,
        group: metadata.gid(),
        wanted,
    })
}

fn is_allowed(mode: u32, is_group_ours: bool, is_read_only: impl FnOnce() -> bool) -> bool {
    if mode & OTHER_BITS != 0 {
        return false;
    }
    mode & GROUP_BITS == 0 || is_group_ours || is_read_only()
}

/// A mount that can not be asked counts as writable.
fn is_read_only_mount(path: &Path) -> bool {
    rustix::fs::statvfs(path)
        .is_ok_and(|mount| mount.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn x6_the_table_of_modes() {
        let (writable, read_only) = (|| false, || true);
        assert!(is_allowed(0o600, false, writable));
        assert!(is_allowed(0o700, false, writable));
        assert!(is_allowed(0o400, false, writable));
        assert!(is_allowed(0o660, true, writable));
        assert!(is_allowed(0o440, false, read_only));
        assert!(!is_allowed(0o640, false, writable));
        assert!(!is_allowed(0o604, true, read_only));
        assert!(!is_allowed(0o644, true, writable));
    }

    #[test]
    fn x6_a_file_that_others_can_read_is_refused_with_the_command_that_mends_it() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("master.key");
        fs::write(&key, "example-not-a-secret").unwrap();
        set_mode(&key, 0o604);
        let message = check_path(&key).unwrap_err().to_string();
        assert!(message.contains("604"), "{message}");
        assert!(
            message.contains(&format!("chmod 600 '{}'", key.display())),
            "{message}"
        );

        set_mode(&key, 0o600);
        check_path(&key).unwrap();
    }

    #[test]
    fn x6_the_group_of_the_process_may_have_rights() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("master.key");
        fs::write(&key, "example-not-a-secret").unwrap();
        set_mode(&key, 0o660);
        assert_eq!(
            fs::metadata(&key).unwrap().gid(),
            rustix::process::getegid().as_raw()
        );
        check_path(&key).unwrap();
    }

    #[test]
    fn x6_a_whole_tree_is_checked_and_a_directory_wants_700() {
        let folder = tempfile::tempdir().unwrap();
        set_mode(folder.path(), 0o700);
        let wal = folder.path().join("wal");
        fs::create_dir(&wal).unwrap();
        set_mode(&wal, 0o700);
        let segment = wal.join("1.wal");
        fs::write(&segment, "").unwrap();
        set_mode(&segment, 0o600);
        check_tree(folder.path()).unwrap();

        set_mode(&segment, 0o666);
        assert!(
            check_tree(folder.path())
                .unwrap_err()
                .to_string()
                .contains("1.wal")
        );
        set_mode(&segment, 0o600);
        set_mode(&wal, 0o705);
        let message = check_tree(folder.path()).unwrap_err().to_string();
        assert!(message.contains("chmod 700"), "{message}");
    }

    #[test]
    fn x6_a_folder_of_others_is_not_to_be_closed_but_left() {
        let folder = tempfile::tempdir().unwrap();
        let logs = folder.path().join("log");
        fs::create_dir(&logs).unwrap();
        set_mode(&logs, 0o755);
        // Empty, or with what a node wrote: the command that mends it.
        refuse_shared("audit_path", &logs).unwrap();
        for own in [
            "audit.jsonl",
            "0000000000000001-0123456789abcdef.jsonl.gz",
            "audit.head",
            "audit.jsonl.old",
        ] {
            fs::write(logs.join(own), "").unwrap();
        }
        refuse_shared("audit_path", &logs).unwrap();
        assert!(matches!(
            check_tree(&logs),
            Err(FileModeError::TooOpen { .. })
        ));

        fs::write(logs.join("syslog"), "").unwrap();
        let message = refuse_shared("audit_path", &logs).unwrap_err().to_string();
        let instead = format!("audit_path = \"{}/jarvis-secretsd\"", logs.display());
        assert!(message.contains(&instead), "{message}");
        assert!(message.contains("\"syslog\""), "{message}");
        assert!(!message.contains("chmod"), "{message}");
        // Closed to others it may hold what its owner likes.
        set_mode(&logs, 0o700);
        refuse_shared("audit_path", &logs).unwrap();
    }

    #[test]
    fn what_does_not_exist_yet_passes() {
        refuse_shared("vault_path", Path::new("/none/such")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        check_path(&folder.path().join("absent")).unwrap();
        check_tree(&folder.path().join("absent")).unwrap();
    }
}
