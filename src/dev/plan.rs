//! What will run where: decided, and checked, before anything is written.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::handle::{Handle, HandleNode};
use super::{DevArgs, DevError, node_config};

const DEFAULT_NODES: u16 = 3;
const DEFAULT_PORT: u16 = 8_081;
/// From an API's port to its node's port for peers.
const PEER_OFFSET: u16 = 1_000;

/// The nodes of an earlier `dev` end when it is killed, but not at once: so long their ports are
/// waited for before they count as taken.
const PORTS_OF_AN_EARLIER_RUN: Duration = Duration::from_secs(5);
/// Between two looks at the ports.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Most temporary directories that are tried before the last error is believed.
const MAX_TEMPORARY_TRIES: u32 = 100;

/// What will run where.
pub(super) struct Plan {
    /// Everything lies in here; absolute.
    pub(super) dir: PathBuf,
    /// The nodes, in the order of their names.
    pub(super) nodes: Vec<PlannedNode>,
    /// The cluster that the directory holds; `None`: a new one is made.
    pub(super) found: Option<Handle>,
    /// Whether the APIs have TLS.
    pub(super) tls: bool,
}

/// One node, before it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlannedNode {
    /// `n1` to `n5`.
    pub(super) name: String,
    /// Where its API listens.
    pub(super) api: SocketAddr,
    /// Where it listens for peers.
    pub(super) peer: SocketAddr,
    /// All of its files.
    pub(super) data_dir: PathBuf,
    /// Its configuration.
    pub(super) config: PathBuf,
    /// What it prints.
    pub(super) log: PathBuf,
}

impl Plan {
    /// Decides, checks, and then makes the directory.
    ///
    /// # Errors
    /// [`DevError`]; after [`DevError::Taken`] nothing was written.
    pub(super) async fn make(args: &DevArgs) -> Result<Self, DevError> {
        node_config::check_environment(|name| std::env::var(name).ok())?;
        if let Some(file) = &args.import {
            can_read(file)?;
        }
        let found = match &args.data {
            Some(dir) => Handle::read(dir)?,
            None => None,
        };
        match (found, &args.data) {
            (Some(handle), Some(dir)) => Self::of_found(args, dir, handle).await,
            _ => Self::of_new(args),
        }
    }

    async fn of_found(args: &DevArgs, dir: &Path, handle: Handle) -> Result<Self, DevError> {
        let dir = absolute(dir)?;
        let nodes = planned(&dir, &handle.nodes)?;
        let first = handle.nodes.first().map(|node| node.api.as_str());
        let tls = first.is_some_and(|api| api.starts_with("https:"));
        refuse_differences(args, &dir, &nodes, tls)?;
        if let Some(node) = nodes.iter().find(|node| !node.config.exists()) {
            return Err(DevError::Moved {
                path: node.config.clone(),
            });
        }
        let patience = Instant::now() + PORTS_OF_AN_EARLIER_RUN;
        while let Err(taken) = check_ports(&nodes) {
            if Instant::now() >= patience {
                return Err(taken);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(Self {
            dir,
            nodes,
            found: Some(handle),
            tls,
        })
    }

    fn of_new(args: &DevArgs) -> Result<Self, DevError> {
        let count = args.nodes.unwrap_or(DEFAULT_NODES);
        let port = args.port.unwrap_or(DEFAULT_PORT);
        let nodes_in = |dir: &Path| -> Result<Vec<PlannedNode>, DevError> {
            let ports = ports(port, count).ok_or(DevError::NoRoom { port })?;
            Ok(ports
                .into_iter()
                .zip(0..)
                .map(|((api, peer), index)| PlannedNode::in_directory(dir, index, api, peer))
                .collect())
        };
        check_ports(&nodes_in(Path::new(""))?)?;
        let dir = match &args.data {
            Some(dir) => make_directory(dir)?,
            None => make_temporary_directory()?,
        };
        Ok(Self {
            nodes: nodes_in(&dir)?,
            dir,
            found: None,
            tls: args.tls,
        })
    }

    /// Base address of a node's API.
    pub(super) fn url(&self, node: &PlannedNode) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", node.api)
    }

    /// The base addresses of all APIs, in order.
    pub(super) fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| self.url(node)).collect()
    }
}

impl PlannedNode {
    /// The node with this place in the list, from 0, on loopback.
    pub(super) fn in_directory(dir: &Path, index: usize, api: u16, peer: u16) -> Self {
        let name = format!("n{}", index + 1);
        let data_dir = dir.join(&name);
        Self {
            name,
            api: SocketAddr::from((Ipv4Addr::LOCALHOST, api)),
            peer: SocketAddr::from((Ipv4Addr::LOCALHOST, peer)),
            config: data_dir.join("config.toml"),
            log: data_dir.join("node.log"),
            data_dir,
        }
    }
}

/// The ports of APIs and peers; `None` if there are not enough.
fn ports(first: u16, count: u16) -> Option<Vec<(u16, u16)>> {
    (0..count)
        .map(|index| {
            let api = first.checked_add(index)?;
            Some((api, api.checked_add(PEER_OFFSET)?))
        })
        .collect()
}

/// The nodes of a handle.
fn planned(dir: &Path, nodes: &[HandleNode]) -> Result<Vec<PlannedNode>, DevError> {
    let plan = |(index, node): (usize, &HandleNode)| {
        let (_, api) = node.api.split_once("://")?;
        Some(PlannedNode {
            name: format!("n{}", index + 1),
            api: api.parse().ok()?,
            peer: node.peer.parse().ok()?,
            data_dir: node.data_dir.clone(),
            config: node.config.clone(),
            log: node.log.clone(),
        })
    };
    let planned: Option<Vec<_>> = nodes.iter().enumerate().map(plan).collect();
    planned.ok_or_else(|| DevError::BadHandle {
        path: Handle::path(dir),
    })
}

/// What is found goes on as it is; a flag that says otherwise is not ignored.
fn refuse_differences(
    args: &DevArgs,
    dir: &Path,
    nodes: &[PlannedNode],
    tls: bool,
) -> Result<(), DevError> {
    let differs = |flag, found: String, asked: String| DevError::Differs {
        path: dir.to_owned(),
        found,
        asked,
        flag,
    };
    if let Some(asked) = args
        .nodes
        .filter(|asked| usize::from(*asked) != nodes.len())
    {
        let found = format!("--nodes {}", nodes.len());
        return Err(differs("--nodes", found, format!("--nodes {asked}")));
    }
    let first = nodes.first().map_or(0, |node| node.api.port());
    if let Some(asked) = args.port.filter(|asked| *asked != first) {
        let found = format!("--port {first}");
        return Err(differs("--port", found, format!("--port {asked}")));
    }
    if args.tls && !tls {
        return Err(differs(
            "--tls",
            "plain HTTP".to_owned(),
            "--tls".to_owned(),
        ));
    }
    Ok(())
}

/// Tries every address at once, so that the error names all that are taken.
fn check_ports(nodes: &[PlannedNode]) -> Result<(), DevError> {
    let taken: Vec<String> = nodes
        .iter()
        .flat_map(|node| {
            [
                (node.api, "API", &node.name),
                (node.peer, "peers", &node.name),
            ]
        })
        .filter_map(|(address, purpose, name)| {
            let error = TcpListener::bind(address).err()?;
            let why = match error.kind() {
                ErrorKind::AddrInUse => String::new(),
                _ => format!(": {error}"),
            };
            Some(format!("{address} ({purpose} of {name}{why})"))
        })
        .collect();
    if taken.is_empty() {
        return Ok(());
    }
    Err(DevError::Taken {
        taken: taken.join(", "),
    })
}

fn can_read(file: &Path) -> Result<(), DevError> {
    match std::fs::File::open(file) {
        Ok(_) => Ok(()),
        Err(source) => Err(DevError::File {
            path: file.to_owned(),
            source,
        }),
    }
}

fn absolute(path: &Path) -> Result<PathBuf, DevError> {
    path.canonicalize().map_err(|source| DevError::File {
        path: path.to_owned(),
        source,
    })
}

/// For the owner alone (X6); one that is there already keeps its rights, its nodes have their own.
fn make_directory(path: &Path) -> Result<PathBuf, DevError> {
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.map_err(|source| DevError::File {
        path: path.to_owned(),
        source,
    })?;
    absolute(path)
}

/// A new directory that nobody else can have prepared: making it fails if the name exists.
fn make_temporary_directory() -> Result<PathBuf, DevError> {
    let parent = std::env::temp_dir();
    let stem = format!("jarvis-secretsd-dev-{}", std::process::id());
    let mut tries = 0;
    loop {
        let path = match tries {
            0 => parent.join(&stem),
            _ => parent.join(format!("{stem}-{tries}")),
        };
        match std::fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return absolute(&path),
            Err(error)
                if error.kind() == ErrorKind::AlreadyExists && tries < MAX_TEMPORARY_TRIES =>
            {
                tries += 1;
            }
            Err(source) => return Err(DevError::File { path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free_port() -> u16 {
        for _ in 0..100 {
            let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let port = probe.local_addr().unwrap().port();
            drop(probe);
            let nodes = ports(port, 1).map(|all| {
                all.into_iter()
                    .map(|(api, peer)| PlannedNode::in_directory(Path::new(""), 0, api, peer))
                    .collect::<Vec<_>>()
            });
            if nodes.is_some_and(|nodes| check_ports(&nodes).is_ok()) {
                return port;
            }
        }
        panic!("no free ports");
    }

    fn args(data: &Path, port: u16) -> DevArgs {
        DevArgs {
            nodes: Some(1),
            data: Some(data.to_owned()),
            port: Some(port),
            ..DevArgs::default()
        }
    }

    #[test]
    fn design_10_apis_and_peers_have_consecutive_ports() {
        assert_eq!(
            ports(8_081, 3).unwrap(),
            [(8_081, 9_081), (8_082, 9_082), (8_083, 9_083)]
        );
        assert!(ports(64_535, 1).is_some());
        assert!(ports(64_536, 1).is_none());
        assert!(ports(64_533, 5).is_none());
    }

    #[tokio::test]
    async fn design_10_a_taken_port_is_named_and_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let port = free_port();
        let _peer = TcpListener::bind((Ipv4Addr::LOCALHOST, port + PEER_OFFSET)).unwrap();
        let error = Plan::make(&args(&data, port)).await.err().unwrap();
        let message = error.to_string();
        assert!(
            message.contains(&format!("127.0.0.1:{} (peers of n1)", port + PEER_OFFSET)),
            "{message}"
        );
        assert!(!message.contains("API of"), "{message}");
        assert!(!data.exists());
    }

    #[tokio::test]
    async fn design_10_a_directory_with_other_files_is_fine() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("notes.txt"), "mine").unwrap();
        let port = free_port();
        let plan = Plan::make(&args(folder.path(), port)).await.unwrap();
        assert!(plan.found.is_none());
        assert_eq!(plan.urls(), [format!("http://127.0.0.1:{port}")]);
        assert!(plan.nodes[0].config.is_absolute());
    }

    #[tokio::test]
    async fn design_10_a_cluster_that_is_found_keeps_its_ports() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().canonicalize().unwrap();
        let port = free_port();
        let node = PlannedNode::in_directory(&dir, 0, port, port + PEER_OFFSET);
        std::fs::create_dir(&node.data_dir).unwrap();
        let handle = Handle {
            ready: true,
            root_token: jarvis_wire::SecretText::new("example-not-a-secret"),
            ca_cert: dir.join("ca.pem"),
            nodes: vec![HandleNode {
                id: 1,
                api: format!("http://{}", node.api),
                peer: node.peer.to_string(),
                pid: 1,
                data_dir: node.data_dir.clone(),
                config: node.config.clone(),
                log: node.log.clone(),
            }],
        };
        handle.write(&dir).unwrap();
        let only_data = DevArgs {
            data: Some(dir.clone()),
            ..DevArgs::default()
        };
        let moved = Plan::make(&only_data).await.err().unwrap();
        assert!(matches!(moved, DevError::Moved { .. }));

        std::fs::write(&node.config, "").unwrap();
        let plan = Plan::make(&only_data).await.unwrap();
        assert_eq!(plan.nodes, [node]);
        assert!(plan.found.is_some());

        let three = DevArgs {
            nodes: Some(3),
            ..only_data
        };
        let message = Plan::make(&three).await.err().unwrap().to_string();
        assert!(message.contains("leave --nodes out"), "{message}");
    }
}
