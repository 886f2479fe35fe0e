//! The stage of the stories: one state, the log that leads to it, and short words for commands.
//!
//! Every entry that passes through [`World::entry`] has its audit lines parsed and their hashes computed again, so each
//! story also tests the chain (X4).

use std::collections::BTreeMap;

use jarvis_domain::apply::{Applied, EntryContext, apply, apply_voters};
use jarvis_domain::audit::Lines;
use jarvis_domain::command::{
    Access, Batch, Caller, Change, ClusterCommand, Command, Idempotency, Init, Mutation, Target,
    Write,
};
use jarvis_domain::limits::VaultLimits;
use jarvis_domain::member::{Cluster, Member, SealSlot};
use jarvis_domain::name::{ClientId, SecretName};
use jarvis_domain::outcome::{LogRef, Outcome, Rejection, Reply, Written};
use jarvis_domain::policy::{ClientRules, Glob, Policy, Rule, Verb, VerbSet};
use jarvis_domain::secret::{About, SealedValue};
use jarvis_domain::state::State;
use jarvis_domain::time::Millis;
use jarvis_domain::token::Credential;
use jarvis_domain::window::Envelope;
use jarvis_domain::{FEATURE_LEVEL, NodeId};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// When every story begins: 2026-11-22T03:00:00.000Z.
pub(crate) const START: Millis = 1_795_316_400_000;
/// The founding node.
pub(crate) const FOUNDER: NodeId = 1;
/// What a write of [`write`] counts against the quota, without its name: 16 bytes of ciphertext and the overhead.
pub(crate) const WRITE_COST: u64 = 16 + 256;
/// What a name that was ever written counts, beside its own length.
pub(crate) const NAME_COST: u64 = 256;

/// One state and the log that leads to it.
pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) trail: Trail,
    pub(crate) now: Millis,
    /// Index of the latest entry.
    pub(crate) index: u64,
    proposed: BTreeMap<NodeId, u64>,
}

impl World {
    /// Before the first entry.
    pub(crate) fn empty() -> Self {
        Self {
            state: State::empty(),
            trail: Trail::default(),
            now: START,
            index: 0,
            proposed: BTreeMap::new(),
        }
    }

    /// After `cluster init` with default limits and [`policy`].
    pub(crate) fn begun() -> Self {
        Self::with(VaultLimits::default())
    }

    /// After `cluster init` with these limits.
    pub(crate) fn with(limits: VaultLimits) -> Self {
        let mut world = Self::empty();
        let outcome = world.run(cluster(init(limits)));
        assert!(matches!(outcome, Outcome::Joined { node: FOUNDER }));
        world
    }

    /// Applies the next entry of the log and follows its trail.
    pub(crate) fn entry(&mut self, stamp: Millis, stepped: bool, batch: &Batch) -> Applied {
        let log = self.next_log();
        let context = EntryContext {
            log,
            stamp,
            stepped,
        };
        let applied = apply(&mut self.state, context, batch);
        assert_eq!(self.state.core.applied, log, "the applied index moves");
        self.trail.follow(&applied.lines, &self.state);
        applied
    }

    /// Applies a membership entry.
    pub(crate) fn voters(&mut self, voters: &[NodeId]) {
        let log = self.next_log();
        let lines = apply_voters(&mut self.state, log, voters.iter().copied());
        self.trail.follow(&lines, &self.state);
    }

    fn next_log(&mut self) -> LogRef {
        self.index += 1;
        LogRef {
            term: 1,
            node: FOUNDER,
            index: self.index,
        }
    }

    /// A node's next envelope, incarnation 1.
    pub(crate) fn envelope(&mut self, node: NodeId) -> Envelope {
        let seq = self.proposed.entry(node).or_insert(0);
        *seq += 1;
        Envelope {
            node,
            incarnation: 1,
            seq: *seq,
        }
    }

    /// Commands of a node, as one entry, now.
    pub(crate) fn propose(&mut self, node: NodeId, commands: Vec<Command>) -> Applied {
        let envelope = self.envelope(node);
        let batch = Batch { envelope, commands };
        self.entry(self.now, false, &batch)
    }

    /// One command through the founder; the whole reply.
    pub(crate) fn reply(&mut self, command: Command) -> Reply {
        let mut replies = self.propose(FOUNDER, vec![command]).replies;
        assert_eq!(replies.len(), 1, "one reply per command");
        replies.remove(0)
    }

    /// One command through the founder; what came of it.
    pub(crate) fn run(&mut self, command: Command) -> Outcome {
        self.reply(command).outcome
    }

    /// One command through the founder that must be refused.
    pub(crate) fn refused(&mut self, command: Command) -> Rejection {
        match self.run(command) {
            Outcome::Rejected(rejection) => rejection,
            other => panic!("expected a refusal, got {}", word(&other)),
        }
    }

    /// Writes 16 bytes of ciphertext under epoch 1 as `admin`.
    pub(crate) fn put(&mut self, text: &str) -> Written {
        match self.run(mutation("admin", Change::Write(vec![write(text, None)]))) {
            Outcome::Written(mut written) => written.remove(0),
            other => panic!("expected a version, got {}", word(&other)),
        }
    }

    /// Adds a node with the keys of [`member`]`(tag)`; returns its id.
    pub(crate) fn join(&mut self, tag: u8) -> NodeId {
        let hash = [tag; 32];
        let create = Change::CreateJoinToken {
            id: [tag; 16],
            hash,
            uses: 1,
            ttl_ms: 60_000,
        };
        self.run(mutation("admin", create));
        let join = ClusterCommand::Join {
            token_hash: hash,
            member: member(tag),
        };
        match self.run(cluster(join)) {
            Outcome::Joined { node } => node,
            other => panic!("expected an id, got {}", word(&other)),
        }
    }

    /// Time passes; nothing is applied.
    pub(crate) fn advance(&mut self, by: Millis) {
        self.now = self.now.saturating_add(by);
    }

    /// The events of the latest entry.
    pub(crate) fn events(&self) -> &[Value] {
        &self.trail.last
    }

    /// The numbers of a secret's versions.
    pub(crate) fn versions(&self, text: &str) -> Vec<u64> {
        self.state
            .secrets
            .get(&name(text))
            .map_or_else(Vec::new, |secret| secret.versions.clone())
    }
}

/// Reads along with the trail and computes the chain again, from the format's description alone.
#[derive(Default)]
pub(crate) struct Trail {
    seq: u64,
    head: [u8; 32],
    /// Bytes so far.
    pub(crate) bytes: u64,
    /// The events of the latest entry.
    pub(crate) last: Vec<Value>,
}

impl Trail {
    fn follow(&mut self, lines: &Lines, state: &State) {
        self.last.clear();
        self.bytes += lines.bytes.len() as u64;
        let text = std::str::from_utf8(&lines.bytes).expect("the trail is text");
        for line in text.lines() {
            let (body, _) = line.rsplit_once(r#","hash":""#).expect("a line is hashed");
            let mut hasher = Sha256::new();
            hasher.update(self.head);
            hasher.update(body.as_bytes());
            self.head = hasher.finalize().into();
            self.seq += 1;
            let event: Value = serde_json::from_str(line).expect("a line is JSON");
            assert_eq!(event["seq"], self.seq, "numbers have no gap");
            assert_eq!(event["hash"], hex::encode(self.head), "the chain holds");
            self.last.push(event);
        }
        let position = &state.core.trail;
        assert_eq!((position.seq, position.head), (self.seq, self.head));
    }
}

/// A state saved and loaded again.
pub(crate) fn reload(state: &State) -> State {
    let mut loaded = State::load_core(&state.core_bytes()).expect("the head loads");
    for (kind, key, value) in state.records() {
        loaded
            .load_record(kind, &key, &value)
            .expect("a saved record loads");
    }
    loaded.loaded()
}

/// One word for what came of a command.
pub(crate) fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Value { .. } => "value",
        Outcome::View(_) => "view",
        Outcome::Written(_) => "written",
        Outcome::Deleted(_) => "deleted",
        Outcome::Undeleted { .. } => "undeleted",
        Outcome::Destroyed(_) => "destroyed",
        Outcome::Policy { .. } => "policy",
        Outcome::Created { .. } => "created",
        Outcome::Joined { .. } => "joined",
        Outcome::SlotAdded { .. } => "slot_added",
        Outcome::Done => "done",
        Outcome::Rejected(rejection) => match rejection {
            Rejection::Unauthenticated => "unauthenticated",
            Rejection::NotAuthorized { .. } => "not_authorized",
            Rejection::NotFound => "not_found",
            Rejection::Deleted(_) => "is_deleted",
            Rejection::Conflict { .. } => "conflict",
            Rejection::IdempotencyReused => "key_reused",
            Rejection::IdempotencyFull => "keys_full",
            Rejection::StaleEpoch { .. } => "stale_epoch",
            Rejection::Quota { .. } => "quota",
            Rejection::Invalid { .. } => "invalid",
            Rejection::Repeat => "repeat",
            Rejection::NotReady => "not_ready",
        },
    }
}

/// The words of an entry's replies.
pub(crate) fn words(applied: &Applied) -> Vec<&'static str> {
    applied
        .replies
        .iter()
        .map(|reply| word(&reply.outcome))
        .collect()
}

pub(crate) fn client(id: &str) -> ClientId {
    ClientId::parse(id).expect("a legal client id")
}

pub(crate) fn name(text: &str) -> SecretName {
    SecretName::parse(text).expect("a legal name")
}

/// A caller whose header is believed.
pub(crate) fn caller(id: &str) -> Caller {
    caller_with(id, Credential::Header)
}

pub(crate) fn caller_with(id: &str, credential: Credential) -> Caller {
    Caller {
        client: client(id),
        credential,
        request_id: "request-1".to_owned(),
    }
}

pub(crate) fn access_by(caller: Caller, target: Target) -> Command {
    Command::Access(Access { caller, target })
}

pub(crate) fn mutation_by(caller: Caller, change: Change) -> Command {
    Command::Mutate(Mutation {
        caller,
        idempotency: None,
        change,
    })
}

pub(crate) fn mutation(id: &str, change: Change) -> Command {
    mutation_by(caller(id), change)
}

/// A mutation with an idempotency key; `mac` stands for the request's content.
pub(crate) fn keyed(id: &str, key: &str, mac: u8, change: Change) -> Command {
    let idempotency = Idempotency {
        key: key.to_owned(),
        mac: [mac; 32],
    };
    Command::Mutate(Mutation {
        caller: caller(id),
        idempotency: Some(idempotency),
        change,
    })
}

/// A read of the current version.
pub(crate) fn read(id: &str, text: &str) -> Command {
    read_by(caller(id), text)
}

pub(crate) fn read_by(caller: Caller, text: &str) -> Command {
    read_version(caller, text, None)
}

pub(crate) fn read_version(caller: Caller, text: &str, version: Option<u64>) -> Command {
    let name = name(text);
    access_by(caller, Target::Value { name, version })
}

pub(crate) fn delete(text: &str) -> Command {
    let name = name(text);
    mutation("admin", Change::Delete { name, cas: None })
}

pub(crate) fn undelete(text: &str) -> Command {
    mutation("admin", Change::Undelete { name: name(text) })
}

pub(crate) fn destroy(text: &str, versions: Option<Vec<u64>>) -> Command {
    let name = name(text);
    mutation("admin", Change::Destroy { name, versions })
}

pub(crate) fn cluster(command: ClusterCommand) -> Command {
    Command::Cluster(Box::new(command))
}

pub(crate) fn tick() -> Command {
    cluster(ClusterCommand::Tick)
}

/// A write of 16 bytes of ciphertext under epoch 1.
pub(crate) fn write(text: &str, cas: Option<u64>) -> Write {
    Write {
        name: name(text),
        value: sealed(1, 16, 1),
        cas,
        about: About::default(),
    }
}

/// Something that looks like a ciphertext.
pub(crate) fn sealed(tag: u8, bytes: usize, epoch: u32) -> SealedValue {
    SealedValue {
        version_id: [tag; 32],
        epoch,
        ciphertext: vec![tag; bytes],
        binary: false,
    }
}

pub(crate) fn rule(pattern: &str, verbs: VerbSet) -> Rule {
    Rule {
        name: Glob::parse(pattern).expect("a legal pattern"),
        verbs,
        stale_max_ms: 0,
    }
}

pub(crate) fn verbs(verbs: &[Verb]) -> VerbSet {
    verbs.iter().copied().collect()
}

/// `admin` may everything; `backend` works on `app/*` but for `app/root*`; `reader` reads everything.
pub(crate) fn policy() -> Policy {
    let work = verbs(&[Verb::Read, Verb::Write, Verb::Delete]);
    policy_of([
        ("admin", vec![rule("*", VerbSet::ALL)], vec![]),
        (
            "backend",
            vec![rule("app/*", work)],
            vec![rule("app/root*", VerbSet::ALL)],
        ),
        ("reader", vec![rule("*", VerbSet::READ)], vec![]),
    ])
}

/// A policy from (client, allow, deny).
pub(crate) fn policy_of<const N: usize>(clients: [(&str, Vec<Rule>, Vec<Rule>); N]) -> Policy {
    let clients = clients
        .into_iter()
        .map(|(client, allow, deny)| (client.to_owned(), ClientRules { allow, deny }))
        .collect();
    Policy {
        default_deny: true,
        clients,
    }
}

pub(crate) fn set_policy(policy: Policy, source: &str, cas: Option<u64>) -> Command {
    let source = source.to_owned();
    mutation(
        "admin",
        Change::SetPolicy {
            policy,
            source,
            cas,
        },
    )
}

pub(crate) fn member(tag: u8) -> Member {
    Member {
        name: format!("member-{tag}"),
        peer_address: format!("127.0.0.{tag}:9081"),
        api_address: format!("http://127.0.0.{tag}:8081"),
        peer_key: [tag; 32],
        audit_key: [tag; 32],
        level: FEATURE_LEVEL,
        joined: 0,
    }
}

pub(crate) fn init(limits: VaultLimits) -> ClusterCommand {
    ClusterCommand::Init(Box::new(Init {
        cluster: Cluster {
            cluster_id: [1; 16],
            vault_id: [2; 16],
            recovery_epoch: 1,
            ca_certificate: b"example-certificate".to_vec(),
            ca_key_wrapped: b"example-wrapped".to_vec(),
        },
        limits,
        member: member(1),
        slot: SealSlot {
            kind: "key_file".to_owned(),
            node: None,
            blob: b"example-wrapped".to_vec(),
            created: 0,
        },
        epoch: b"example-wrapped".to_vec(),
        policy: policy(),
        policy_source: "example".to_owned(),
    }))
}
