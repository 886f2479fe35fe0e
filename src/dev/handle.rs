//! `dev.json`: the handle for scripts.
//!
//! Order, ports and directories of the list never change; `pid` is the last one while a node is
//! down. Replaced whole, mode 600: it holds the root token.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use jarvis_disk::{RealDisk, write_atomic};
use jarvis_wire::SecretText;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::DevError;

const FILE_NAME: &str = "dev.json";

/// A handle of five nodes takes about 2 KiB.
const MAX_BYTES: u64 = 1 << 20;

/// The cluster, as scripts see it. Its `Debug` shows no token.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Handle {
    /// Whether the cluster serves and the import, if any, is done.
    pub(super) ready: bool,
    /// Bound to client `admin`, without an end.
    pub(super) root_token: SecretText,
    /// The cluster CA's certificate, PEM.
    pub(super) ca_cert: PathBuf,
    /// In the order of their names.
    pub(super) nodes: Vec<HandleNode>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HandleNode {
    /// Opaque (rule 11).
    pub(super) id: u64,
    /// Base address of its API.
    pub(super) api: String,
    /// Where its peers reach it.
    pub(super) peer: String,
    /// Its process, or its last one.
    pub(super) pid: u32,
    /// All of its files.
    pub(super) data_dir: PathBuf,
    /// Its configuration.
    pub(super) config: PathBuf,
    /// What it prints.
    pub(super) log: PathBuf,
}

impl Handle {
    /// Where the handle of a directory lies.
    pub(super) fn path(dir: &Path) -> PathBuf {
        dir.join(FILE_NAME)
    }

    /// Reads the handle of a directory; `None` if there is none.
    ///
    /// # Errors
    /// [`DevError::BadHandle`], which never quotes the file: it holds a token.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, DevError> {
        let path = Self::path(dir);
        let mut text = Zeroizing::new(String::new());
        let read =
            File::open(&path).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text));
        match read {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(DevError::File { path, source }),
            Ok(_) => {}
        }
        match serde_json::from_str::<Self>(&text) {
            Ok(handle) if !handle.nodes.is_empty() => Ok(Some(handle)),
            _ => Err(DevError::BadHandle { path }),
        }
    }

    /// Replaces the handle of a directory.
    ///
    /// # Errors
    /// [`DevError::File`]
    pub(super) fn write(&self, dir: &Path) -> Result<(), DevError> {
        let path = Self::path(dir);
        let written = serde_json::to_vec_pretty(self)
            .map_err(std::io::Error::other)
            .map(Zeroizing::new)
            .and_then(|json| write_atomic(&RealDisk, &path, &json));
        written.map_err(|source| DevError::File { path, source })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn handle(dir: &Path) -> Handle {
        Handle {
            ready: true,
            root_token: SecretText::new("example-not-a-secret"),
            ca_cert: dir.join("ca.pem"),
            nodes: vec![HandleNode {
                id: 1,
                api: "http://127.0.0.1:8081".to_owned(),
                peer: "127.0.0.1:9081".to_owned(),
                pid: 4242,
                data_dir: dir.join("n1"),
                config: dir.join("n1/config.toml"),
                log: dir.join("n1/node.log"),
            }],
        }
    }

    #[test]
    fn design_10_the_handle_is_private_and_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Handle::read(folder.path()).unwrap().is_none());
        let written = handle(folder.path());
        written.write(folder.path()).unwrap();
        written.write(folder.path()).unwrap();

        let path = Handle::path(folder.path());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let read = Handle::read(folder.path()).unwrap().unwrap();
        assert_eq!(read.nodes, written.nodes);
        assert_eq!(read.root_token.expose(), "example-not-a-secret");

        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for field in ["ready", "root_token", "ca_cert", "nodes"] {
            assert!(json.get(field).is_some(), "{field}");
        }
        for field in ["id", "api", "peer", "pid", "data_dir", "config", "log"] {
            assert!(json["nodes"][0].get(field).is_some(), "{field}");
        }
    }

    #[test]
    fn rule_12_neither_an_error_nor_debug_quotes_the_token() {
        let folder = tempfile::tempdir().unwrap();
        let text = r#"{"ready": 1, "root_token": "example-not-a-secret"}"#;
        std::fs::write(Handle::path(folder.path()), text).unwrap();
        let error = Handle::read(folder.path()).unwrap_err().to_string();
        assert!(!error.contains("example"), "{error}");
        assert!(!format!("{:?}", handle(folder.path())).contains("example"));
    }
}
