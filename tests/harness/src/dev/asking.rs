//! What a test asks a cluster: requests, health, agreement, trails, the command line.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::DevCluster;
use crate::http::{Answer, Failure, Request};
use crate::{Cli, eventually, trail};

/// The client of the first token; also believed by its header, as everything in `dev`.
const ADMIN: &str = "admin";
/// Health is answered at once, or the node is not well.
const HEALTH_PATIENCE: Duration = Duration::from_secs(1);

/// Answer of `GET /debug/state-hash`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StateHash {
    /// The last applied log index.
    pub index: u64,
    /// Over all records.
    pub hash: String,
    /// The last event.
    pub audit_seq: u64,
    /// The chain head after it.
    pub audit_head: String,
}

/// Asking.
impl DevCluster {
    /// Sends a request once, as it is.
    ///
    /// # Errors
    /// [`Failure`]; an answer of any status is none.
    pub fn send(&self, index: usize, request: &Request) -> Result<Answer, Failure> {
        request.send(self.api(index))
    }

    /// The answer to a request, as it is; the node must give one.
    #[track_caller]
    pub fn ask(&self, index: usize, request: &Request) -> Answer {
        match self.send(index, request) {
            Ok(answer) => answer,
            Err(failure) => panic!("node {index} does not answer: {failure}"),
        }
    }

    /// The answer to the administrator's request, as it is.
    #[track_caller]
    pub fn ask_as_admin(&self, index: usize, request: Request) -> Answer {
        self.ask(index, &request.client(ADMIN))
    }

    /// Writes a value as administrator; answers the version.
    #[track_caller]
    pub fn put(&self, index: usize, name: &str, value: &str) -> u64 {
        let written = self.ask_as_admin(index, Request::write(name, value)).done();
        written["version"].as_u64().expect("a version")
    }

    /// Reads a value as administrator.
    #[track_caller]
    pub fn get(&self, index: usize, name: &str) -> Value {
        self.ask_as_admin(index, Request::read(name, "")).done()
    }

    /// Puts another policy in force.
    #[track_caller]
    pub fn apply_policy(&self, index: usize, yaml: &str) {
        let request = Request::put("/policy", &json!({ "policy": yaml }));
        let applied = self.ask_as_admin(index, request).done();
        assert_eq!(applied["changed"], true, "{applied}");
    }

    /// Whether a path without credential answers 200.
    #[must_use]
    pub fn is_well(&self, index: usize, path: &str) -> bool {
        let request = Request::get(path).patience(HEALTH_PATIENCE);
        matches!(self.send(index, &request), Ok(answer) if answer.status == 200)
    }

    /// Waits until every node is ready (C10).
    #[track_caller]
    pub fn wait_until_ready(&self) {
        eventually("all nodes are ready", || {
            self.all()
                .all(|index| self.is_well(index, "/readyz"))
                .then_some(())
        });
    }

    /// The node that says that it leads.
    #[must_use]
    pub fn leader(&self) -> Option<usize> {
        self.all().find(|index| self.is_well(*index, "/leader"))
    }

    /// Waits for a leader.
    #[track_caller]
    pub fn wait_for_leader(&self) -> usize {
        eventually("a node leads", || self.leader())
    }

    /// Waits until another node leads; this one may still believe that it does.
    #[track_caller]
    pub fn wait_for_leader_other_than(&self, old: usize) -> usize {
        eventually("another node leads", || {
            self.all()
                .filter(|index| *index != old)
                .find(|index| self.is_well(*index, "/leader"))
        })
    }

    /// `GET /cluster/status`.
    #[must_use]
    #[track_caller]
    pub fn status(&self, index: usize) -> Value {
        self.ask_as_admin(index, Request::get("/cluster/status"))
            .done()
    }

    /// Waits until every node has applied all that the leader has in its log.
    #[track_caller]
    pub fn wait_until_caught_up(&self) {
        eventually("no node lags", || {
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
    #[track_caller]
    pub fn wait_until_states_agree(&self) -> StateHash {
        let states = eventually("all nodes are at one index", || {
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
        let answer = self.ask_as_admin(index, Request::get("/debug/state-hash"));
        serde_json::from_value(answer.done()).expect("the answer of the contract")
    }
}

/// The trail, and the command line.
impl DevCluster {
    /// Every event on a node's disk.
    #[must_use]
    #[track_caller]
    pub fn events(&self, index: usize) -> Vec<Value> {
        trail::events(&self.node(index).data_dir)
    }

    /// Waits until the node has written an event of this request; answers all events then.
    #[track_caller]
    pub fn events_up_to(&self, index: usize, request_id: &str) -> Vec<Value> {
        let what = format!("node {index} has the event of {request_id}");
        eventually(&what, || {
            let events = self.events(index);
            let is_there = events.iter().any(|event| event["request_id"] == request_id);
            is_there.then_some(events)
        })
    }

    /// `jarvis-secrets audit verify` on a node's disk; answers its report (X4).
    #[track_caller]
    pub fn verify_trail(&self, index: usize) -> Value {
        trail::verify(self.programs, &self.node(index).data_dir)
    }

    /// The command line, as the administrator, with every node's address.
    #[must_use]
    pub fn cli(&self) -> Cli {
        let nodes = self.handle.nodes.iter();
        let urls: Vec<&str> = nodes.map(|node| node.api.as_str()).collect();
        let home = self.folder.path().join("home");
        Cli::new(self.programs)
            .with("HOME", &home.display().to_string())
            .with("JARVIS_SECRETS_URL", &urls.join(","))
            .with("JARVIS_CLIENT_ID", ADMIN)
            .with("JARVIS_SECRETS_TOKEN", self.root_token())
    }
}
