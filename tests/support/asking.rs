//! What a test asks a cluster: requests, health, agreement, trails, the command line.

use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::client::{Answer, Failure, Request};
use super::super::process::without_settings;
use super::super::trail;
use super::super::wait::wait_until;
use super::{Cluster, RECOVERY_LIMIT};

/// The client of the first token; also believed by its header, as everything in `dev`.
const ADMIN: &str = "admin";
/// Health is answered at once, or the node is not well.
const HEALTH_PATIENCE: Duration = Duration::from_secs(1);

/// Answer of `GET /debug/state-hash`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct StateHash {
    pub(crate) index: u64,
    pub(crate) hash: String,
    pub(crate) audit_seq: u64,
    pub(crate) audit_head: String,
}

/// Asking.
impl Cluster {
    /// Sends a request once, as it is.
    pub(crate) fn send(&self, index: usize, request: &Request) -> Result<Answer, Failure> {
        request.send(self.api(index))
    }

    /// The answer to a request, as it is; the node must give one.
    pub(crate) fn ask(&self, index: usize, request: &Request) -> Answer {
        match self.send(index, request) {
            Ok(answer) => answer,
            Err(failure) => panic!("node {index} does not answer: {failure:?}"),
        }
    }

    /// The answer to the administrator's request, as it is.
    pub(crate) fn ask_as_admin(&self, index: usize, request: Request) -> Answer {
        self.ask(index, &request.client(ADMIN))
    }

    /// Writes a value as administrator; answers the version.
    pub(crate) fn put(&self, index: usize, name: &str, value: &str) -> u64 {
        let written = self.ask_as_admin(index, Request::write(name, value)).ok();
        written["version"].as_u64().expect("a version")
    }

    /// Reads a value as administrator.
    pub(crate) fn get(&self, index: usize, name: &str) -> Value {
        self.ask_as_admin(index, Request::read(name, "")).ok()
    }

    /// Puts another policy in force.
    pub(crate) fn apply_policy(&self, index: usize, yaml: &str) {
        let request = Request::put("/policy", &json!({ "policy": yaml }));
        let applied = self.ask_as_admin(index, request).ok();
        assert_eq!(applied["changed"], true, "{applied}");
    }

    /// Whether a path without credential answers 200.
    pub(crate) fn is_well(&self, index: usize, path: &str) -> bool {
        let request = Request::get(path).patience(HEALTH_PATIENCE);
        matches!(self.send(index, &request), Ok(answer) if answer.status == 200)
    }

    /// Waits until every node is ready (C10).
    pub(crate) fn wait_until_ready(&self) {
        wait_until("all nodes are ready", RECOVERY_LIMIT, || {
            self.all()
                .all(|index| self.is_well(index, "/readyz"))
                .then_some(())
        });
    }

    /// The node that says that it leads.
    pub(crate) fn leader(&self) -> Option<usize> {
        self.all().find(|index| self.is_well(*index, "/leader"))
    }

    /// Waits for a leader.
    pub(crate) fn wait_for_leader(&self) -> usize {
        wait_until("a node leads", RECOVERY_LIMIT, || self.leader())
    }

    /// Waits until another node leads; this one may still believe that it does.
    pub(crate) fn wait_for_leader_other_than(&self, old: usize) -> usize {
        wait_until("another node leads", RECOVERY_LIMIT, || {
            self.all()
                .filter(|index| *index != old)
                .find(|index| self.is_well(*index, "/leader"))
        })
    }

    /// `GET /cluster/status`.
    pub(crate) fn status(&self, index: usize) -> Value {
        self.ask_as_admin(index, Request::get("/cluster/status"))
            .ok()
    }

    /// Waits until every node has applied all that the leader has in its log.
    pub(crate) fn wait_until_caught_up(&self) {
        wait_until("no node lags", RECOVERY_LIMIT, || {
            let status = self.status(0);
            let nodes = status["nodes"].as_array()?;
            let is_level = |node: &Value| node["reachable"] == true && node["lag"] == 0;
            (nodes.len() == self.count() && nodes.iter().all(is_level)).then_some(())
        });
    }

    /// Waits until all nodes have applied the same index, and compares what they made of it.
    ///
    /// # Panics
    /// When two nodes differ at the same index.
    pub(crate) fn wait_until_states_agree(&self) -> StateHash {
        let states = wait_until("all nodes are at one index", RECOVERY_LIMIT, || {
            let states: Vec<StateHash> = self.all().map(|index| self.state_hash(index)).collect();
            let is_level = states.windows(2).all(|pair| pair[0].index == pair[1].index);
            is_level.then_some(states)
        });
        for (index, state) in states.iter().enumerate() {
            assert_eq!(state, &states[0], "nodes 0 and {index} differ");
        }
        states.into_iter().next().expect("a cluster has nodes")
    }

    fn state_hash(&self, index: usize) -> StateHash {
        let answer = self
            .ask_as_admin(index, Request::get("/debug/state-hash"))
            .ok();
        serde_json::from_value(answer).expect("the answer of the contract")
    }
}

/// The trail.
impl Cluster {
    /// Every event on a node's disk.
    pub(crate) fn events(&self, index: usize) -> Vec<Value> {
        trail::events(&self.node(index).data_dir)
    }

    /// Waits until the node has written an event of this request; answers all events then.
    pub(crate) fn events_up_to(&self, index: usize, request_id: &str) -> Vec<Value> {
        let what = format!("node {index} has the event of {request_id}");
        wait_until(&what, RECOVERY_LIMIT, || {
            let events = self.events(index);
            let is_there = events.iter().any(|event| event["request_id"] == request_id);
            is_there.then_some(events)
        })
    }

    /// `jarvis-secrets audit verify` on a node's disk; answers its report (X4).
    pub(crate) fn verify_trail(&self, index: usize) -> Value {
        let data = self.node(index).data_dir.display().to_string();
        let output = self
            .cli(&["audit", "verify", "-o", "json", "--data", &data])
            .output()
            .expect("the command line starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "the trail of node {index}: {text}");
        serde_json::from_str(&text).expect("the report is JSON")
    }

    /// The command line, as the administrator, with every node's address.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Command {
        let urls: Vec<&str> = self
            .handle
            .nodes
            .iter()
            .map(|node| node.api.as_str())
            .collect();
        let mut command = Command::new(env!("CARGO_BIN_EXE_jarvis-secrets"));
        without_settings(&mut command);
        command
            .env("HOME", self.folder.path().join("home"))
            .env("JARVIS_SECRETS_URL", urls.join(","))
            .env("JARVIS_CLIENT_ID", ADMIN)
            .env("JARVIS_SECRETS_TOKEN", self.root_token())
            .args(arguments);
        command
    }
}
