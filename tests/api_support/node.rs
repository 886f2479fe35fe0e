//! One daemon as its old users start it: no `[cluster]` table, so it begins a cluster of one by itself (F7).

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;
use tempfile::TempDir;

use super::{Caller, Cli, eventually};

/// The daemon.
const DAEMON: &str = env!("CARGO_BIN_EXE_jarvis-secretsd");
/// Test ports lie below the range from which the system takes ports for outgoing connections.
const FIRST_PORT: u32 = 20_000;
/// So many.
const PORTS: u32 = 12_000;

/// Extra lines for the tables of a configuration: (table, lines).
pub(crate) type Tables<'a> = &'a [(&'a str, &'a str)];

/// A folder and two ports for a node that may be started, perhaps more than once.
pub(crate) struct Plan {
    folder: TempDir,
    pub(crate) api: SocketAddr,
    pub(crate) peer: SocketAddr,
}

/// What a daemon said that did not stay.
#[derive(Debug)]
pub(crate) struct Stopped {
    pub(crate) code: Option<i32>,
    pub(crate) log: String,
}

impl Plan {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let on_loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            folder,
            api: on_loopback(free_port()),
            peer: on_loopback(free_port()),
        }
    }

    /// The folder of everything.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The data directory; it does not exist before the first start.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// A file beside the data directory.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// The text of a configuration: address and paths as the old daemon had them, and these tables.
    pub(crate) fn config(&self, tables: Tables<'_>) -> String {
        let lines_of = |wanted: &str| {
            tables
                .iter()
                .filter(|(table, _)| *table == wanted)
                .map(|(_, lines)| format!("{lines}\n"))
                .collect::<String>()
        };
        let mut text = format!(
            "[server]\nbind_addr = \"{}\"\n{}[paths]\nvault_path = \"{}/vault.json\"\n{}",
            self.api,
            lines_of("server"),
            self.data().display(),
            lines_of("paths")
        );
        let mut written = vec!["server", "paths"];
        for (table, _) in tables {
            if !written.contains(table) {
                written.push(table);
                text.push_str(&format!("[{table}]\n{}", lines_of(table)));
            }
        }
        text
    }

    /// Starts a daemon that is expected to refuse, and waits for its end.
    #[track_caller]
    pub(crate) fn refused(&self, config: &str) -> Stopped {
        let mut process = self.launch(config);
        let status = eventually("the daemon refuses", || process.0.try_wait().unwrap());
        Stopped {
            code: status.code(),
            log: self.log(),
        }
    }

    /// Starts a daemon without waiting for it.
    pub(crate) fn spawn(self, config: &str) -> Node {
        let process = self.launch(config);
        Node {
            plan: self,
            process,
        }
    }

    /// What the daemon said so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder().join("node.log")).unwrap_or_default()
    }

    fn launch(&self, config: &str) -> Process {
        let path = self.file("config.toml", config);
        let log = File::create(self.folder().join("node.log")).unwrap();
        let child = Command::new(DAEMON)
            .arg("--config")
            .arg(path)
            .env_clear()
            // An override leaves the node without a [cluster] table, so that it begins by itself.
            .env("JARVIS_SECRETSD_CLUSTER_PEER_ADDR", self.peer.to_string())
            .current_dir(self.folder())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Process(child)
    }
}

/// A process that does not outlive its test.
struct Process(Child);

impl Process {
    fn end(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// A running daemon; it ends with this value.
pub(crate) struct Node {
    // First, so that it has ended before its folder is removed.
    process: Process,
    plan: Plan,
}

impl Node {
    /// A node with these settings and this policy, ready to serve.
    #[track_caller]
    pub(crate) fn start(policy: &str, tables: Tables<'_>) -> Self {
        let plan = Plan::new();
        let path = plan.file("policy.yaml", policy);
        let seed = format!("rbac_policy_path = \"{}\"", path.display());
        let mut all = vec![("security", seed.as_str())];
        all.extend_from_slice(tables);
        let config = plan.config(&all);
        let mut node = plan.spawn(&config);
        node.wait_until_ready();
        node
    }

    /// Waits until it is unsealed, leads, and has applied what it must.
    #[track_caller]
    pub(crate) fn wait_until_ready(&mut self) {
        eventually("the node is ready", || {
            if let Some(status) = self.process.0.try_wait().unwrap() {
                panic!("the node ended with {status}:\n{}", self.plan.log());
            }
            TcpStream::connect(self.plan.api).ok()?;
            let answer = self.stranger().get("/readyz");
            (answer.status == 200).then_some(())
        });
    }

    /// The folder and the ports.
    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Ends it at once; the plan can start another.
    pub(crate) fn kill(&mut self) {
        self.process.end();
    }

    /// Starts it again on what it left behind.
    #[track_caller]
    pub(crate) fn start_again(&mut self, config: &str) {
        self.process.end();
        self.process = self.plan.launch(config);
        self.wait_until_ready();
    }

    /// The first token, client `admin`.
    pub(crate) fn root_token(&self) -> String {
        let text = fs::read_to_string(self.plan.data().join("root-token")).unwrap();
        text.trim().to_owned()
    }

    /// Asks without any credential.
    pub(crate) fn stranger(&self) -> Caller {
        Caller::stranger(self.plan.api)
    }

    /// Asks with the first token.
    pub(crate) fn admin(&self) -> Caller {
        self.stranger().with_token(&self.root_token())
    }

    /// Asks with a new token of this client.
    #[track_caller]
    pub(crate) fn client(&self, id: &str) -> Caller {
        let created = self.admin().post("/tokens", &json!({"client": id})).done();
        self.stranger()
            .with_token(created["token"].as_str().unwrap())
    }

    /// The command line, with the address and the first token in its environment.
    pub(crate) fn cli(&self) -> Cli {
        Cli::new()
            .with("JARVIS_SECRETS_URL", &format!("http://{}", self.plan.api))
            .with("JARVIS_SECRETS_TOKEN", &self.root_token())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the node's log:\n{}", self.plan.log());
        }
    }
}

/// A port that nobody uses; no two calls in one process give the same, and each process begins elsewhere.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(97);
    for _ in 0..PORTS {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST_PORT + start.wrapping_add(step) % PORTS;
        let port = u16::try_from(port).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port from {FIRST_PORT} on");
}
