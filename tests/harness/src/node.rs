//! One daemon as its old users start it: no `[cluster]` table, so it begins a cluster of one by itself (F7).

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::json;
use tempfile::TempDir;

use crate::http::Caller;
use crate::ports::{self, PEER_OFFSET};
use crate::process::{Process, bare};
use crate::{Cli, Programs, eventually};

/// Extra lines for the tables of a configuration: (table, lines).
pub type Tables<'a> = &'a [(&'a str, &'a str)];

/// A folder and two ports for a node that may be started, perhaps more than once.
#[derive(Debug)]
pub struct Plan {
    /// Where its API will listen.
    pub api: SocketAddr,
    /// Where it will listen for peers.
    pub peer: SocketAddr,
    programs: Programs,
    folder: TempDir,
    /// Variables of its environment, beside the bare one.
    variables: Vec<(String, String)>,
}

/// What a daemon said that did not stay.
#[derive(Debug)]
pub struct Stopped {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Both of its outputs.
    pub log: String,
}

impl Plan {
    pub(crate) fn new(programs: Programs) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = ports::reserve(1);
        let on_loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            api: on_loopback(port),
            peer: on_loopback(port + PEER_OFFSET),
            programs,
            folder,
            variables: Vec::new(),
        }
    }

    /// The same plan with one more variable in the daemon's environment.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The folder of everything.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The data directory; it does not exist before the first start.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// Writes a file beside the data directory.
    #[track_caller]
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// The text of a configuration: address and paths as the old daemon had them, and these tables.
    #[must_use]
    pub fn config(&self, tables: Tables<'_>) -> String {
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
    pub fn refused(&self, config: &str) -> Stopped {
        let mut process = self.launch(config);
        let status = eventually("the daemon refuses", || process.ended());
        Stopped {
            code: status.code(),
            log: self.log(),
        }
    }

    /// Starts a daemon without waiting for it.
    #[must_use]
    #[track_caller]
    pub fn spawn(self, config: &str) -> Node {
        Node {
            process: self.launch(config),
            plan: self,
        }
    }

    /// What the daemon said so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder().join("node.log")).unwrap_or_default()
    }

    #[track_caller]
    fn launch(&self, config: &str) -> Process {
        let path = self.file("config.toml", config);
        let log = File::create(self.folder().join("node.log")).unwrap();
        let mut command = bare(self.programs.daemon);
        command
            .arg("--config")
            .arg(path)
            // Where it listens for peers, and nothing else about a cluster: so it begins one by itself.
            .env("JARVIS_SECRETSD_CLUSTER_PEER_ADDR", self.peer.to_string())
            .envs(self.variables.iter().cloned())
            .current_dir(self.folder())
            .stdin(Stdio::null());
        Process::start(&mut command, log)
    }
}

/// A running daemon; it ends with this value.
#[derive(Debug)]
pub struct Node {
    // First, so that it has ended before its folder is removed.
    process: Process,
    plan: Plan,
}

impl Node {
    #[track_caller]
    pub(crate) fn start(programs: Programs, policy: &str, tables: Tables<'_>) -> Self {
        let plan = Plan::new(programs);
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
    pub fn wait_until_ready(&mut self) {
        eventually("the node is ready", || {
            if let Some(status) = self.process.ended() {
                panic!("the node ended with {status}:\n{}", self.plan.log());
            }
            TcpStream::connect(self.plan.api).ok()?;
            let answer = self.stranger().get("/readyz");
            (answer.status == 200).then_some(())
        });
    }

    /// The folder and the ports.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Ends it at once; the plan can start another.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on what it left behind.
    #[track_caller]
    pub fn start_again(&mut self, config: &str) {
        self.process.kill();
        self.process = self.plan.launch(config);
        self.wait_until_ready();
    }

    /// The first token, client `admin`.
    #[must_use]
    #[track_caller]
    pub fn root_token(&self) -> String {
        let text = fs::read_to_string(self.plan.data().join("root-token")).unwrap();
        text.trim().to_owned()
    }

    /// Asks without any credential.
    #[must_use]
    pub fn stranger(&self) -> Caller {
        Caller::stranger(self.plan.api)
    }

    /// Asks with the first token.
    #[must_use]
    #[track_caller]
    pub fn admin(&self) -> Caller {
        self.stranger().with_token(&self.root_token())
    }

    /// Asks with a new token of this client.
    #[must_use]
    #[track_caller]
    pub fn client(&self, id: &str) -> Caller {
        let created = self.admin().post("/tokens", &json!({"client": id})).done();
        self.stranger()
            .with_token(created["token"].as_str().unwrap())
    }

    /// The command line, with the address and the first token in its environment.
    #[must_use]
    #[track_caller]
    pub fn cli(&self) -> Cli {
        Cli::new(self.plan.programs)
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
