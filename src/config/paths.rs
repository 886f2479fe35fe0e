//! `[paths]`: the data directory, the audit directory, the file seal's key (F2).
//!
//! The keys are those of the old daemon, where `vault_path` and `audit_path` were files. A path
//! that still looks like the old file means its folder (F7); what the old daemon left there is
//! never overwritten, but refused with the command that puts it aside.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::reader::Table;

const DEFAULT_DATA_DIR: &str = "/var/lib/jarvis-secretsd";
const AUDIT_DIR_NAME: &str = "audit";
const MASTER_KEY_NAME: &str = "master.key";
const OLD_VAULT_NAME: &str = "vault.json";
const OPEN_AUDIT_NAME: &str = "audit.jsonl";
/// How every line of this product's trail begins (X4).
const AUDIT_LINE_START: &[u8] = b"{\"seq\":";
/// Endings by which a path is taken for the old daemon's audit file instead of a directory.
const OLD_AUDIT_ENDINGS: [&str; 3] = ["jsonl", "json", "log"];

/// `[paths]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathsConfig {
    /// Everything this node keeps: log, snapshots, image, journal, certificates.
    pub data_dir: PathBuf,
    /// The signed trail: `audit.jsonl` and its closed segments.
    pub audit_dir: PathBuf,
    /// The key file of this node's file seal (X3).
    pub master_key_path: PathBuf,
    /// The path of an old vault file, if the configuration still names one.
    old_vault: Option<PathBuf>,
}

impl PathsConfig {
    pub(super) fn read(
        table: &mut Table<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Self, ConfigError> {
        let vault_path = table.path("vault_path")?;
        let audit_path = table.path("audit_path")?;
        let master_key_path = table.path("master_key_path")?;

        let vault_path = vault_path.unwrap_or_else(|| PathBuf::from(DEFAULT_DATA_DIR));
        let (data_dir, old_vault) = if has_ending(&vault_path, &["json"]) {
            let folder = folder_of(&vault_path);
            warnings.push(means_folder("vault_path", &vault_path, &folder));
            (folder, Some(vault_path))
        } else {
            (vault_path, None)
        };
        let audit_dir = match audit_path {
            Some(path) if has_ending(&path, &OLD_AUDIT_ENDINGS) => {
                let folder = folder_of(&path);
                warnings.push(means_folder("audit_path", &path, &folder));
                folder
            }
            Some(path) => path,
            None => data_dir.join(AUDIT_DIR_NAME),
        };
        let master_key_path = master_key_path.unwrap_or_else(|| data_dir.join(MASTER_KEY_NAME));
        Ok(Self {
            data_dir,
            audit_dir,
            master_key_path,
            old_vault,
        })
    }

    /// Refuses what the old daemon left behind, before anything is written there (F7).
    pub(super) fn refuse_old_files(&self) -> Result<(), ConfigError> {
        let in_data_dir = self.data_dir.join(OLD_VAULT_NAME);
        for path in self.old_vault.iter().chain([&in_data_dir]) {
            if exists(path)? {
                return Err(ConfigError::OldVault { path: path.clone() });
            }
        }
        let trail = self.audit_dir.join(OPEN_AUDIT_NAME);
        if is_foreign_trail(&trail)? {
            return Err(ConfigError::ForeignAudit { path: trail });
        }
        Ok(())
    }
}

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    path.extension()
        .is_some_and(|ending| endings.iter().any(|known| ending == *known))
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn means_folder(key: &str, written: &Path, folder: &Path) -> String {
    format!(
        "[paths] {key} names a file, {}, as the old daemon had it; its folder {} is used. \
         Write {key} = \"{}\" to silence this.",
        written.display(),
        folder.display(),
        folder.display()
    )
}

fn exists(path: &Path) -> Result<bool, ConfigError> {
    path.try_exists().map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

/// Whether the file holds something, and its first line is not one of ours. A shorter start than a
/// whole line's is ours too if it fits: a crash may have cut it.
fn is_foreign_trail(path: &Path) -> Result<bool, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(unreadable(error)),
    };
    let mut start = Vec::new();
    file.take(AUDIT_LINE_START.len() as u64)
        .read_to_end(&mut start)
        .map_err(unreadable)?;
    Ok(!AUDIT_LINE_START.starts_with(&start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(folder: &Path) -> PathsConfig {
        PathsConfig {
            data_dir: folder.to_owned(),
            audit_dir: folder.join("audit"),
            master_key_path: folder.join("master.key"),
            old_vault: None,
        }
    }

    #[test]
    fn f7_an_old_vault_in_the_data_directory_is_refused_with_the_command() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path());
        paths.refuse_old_files().unwrap();

        std::fs::write(folder.path().join("vault.json"), "{}").unwrap();
        let message = paths.refuse_old_files().unwrap_err().to_string();
        assert!(message.contains("vault.json"), "{message}");
        assert!(message.contains("jarvis-secrets import"), "{message}");
    }

    #[test]
    fn f7_an_old_vault_of_another_name_is_refused_too() {
        let folder = tempfile::tempdir().unwrap();
        let old = folder.path().join("store.json");
        std::fs::write(&old, "{}").unwrap();
        let paths = PathsConfig {
            old_vault: Some(old),
            ..paths(folder.path())
        };
        assert!(matches!(
            paths.refuse_old_files(),
            Err(ConfigError::OldVault { .. })
        ));
    }

    #[test]
    fn f7_an_audit_log_of_the_old_daemon_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path());
        std::fs::create_dir(&paths.audit_dir).unwrap();
        let trail = paths.audit_dir.join("audit.jsonl");
        for (content, foreign) in [
            ("", false),
            ("{\"se", false),
            ("{\"seq\":1,\"time\":\"…\"}\n", false),
            ("{\"timestamp\":\"…\"}\n", true),
            ("plain text\n", true),
        ] {
            std::fs::write(&trail, content).unwrap();
            let refused = matches!(
                paths.refuse_old_files(),
                Err(ConfigError::ForeignAudit { .. })
            );
            assert_eq!(refused, foreign, "{content:?}");
        }
    }
}
