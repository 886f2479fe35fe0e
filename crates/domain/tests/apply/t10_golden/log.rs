//! The golden log of feature level 1. Nothing in here may change once a release wrote it.

use jarvis_domain::NodeId;
use jarvis_domain::command::{
    AdminView, Batch, Change, ClusterCommand, Command, JournalEvent, Target, Write,
};
use jarvis_domain::limits::VaultLimits;
use jarvis_domain::member::Member;
use jarvis_domain::policy::VerbSet;
use jarvis_domain::secret::About;
use jarvis_domain::time::{DAY, Millis};
use jarvis_domain::token::Credential;
use jarvis_domain::window::Envelope;

use crate::world::{
    FOUNDER, START, access_by, caller, caller_with, client, cluster, delete, destroy, init, keyed,
    member, mutation, name, policy, policy_of, read, read_by, read_version, rule, sealed,
    set_policy, tick, undelete, write,
};

const HOUR: Millis = 3_600_000;
/// Enough stale reads to close the first segment of the trail.
const IMPORTED: u64 = 4_100;

/// One entry and the words its replies must be.
pub(super) struct Entry {
    pub(super) stamp: Millis,
    pub(super) stepped: bool,
    pub(super) batch: Batch,
    pub(super) outcomes: Vec<&'static str>,
}

#[derive(Default)]
struct Log {
    entries: Vec<Entry>,
    now: Millis,
    stepped: bool,
}

impl Log {
    /// The founder's next entry.
    fn say<const N: usize>(&mut self, commands: [(Command, &'static str); N]) {
        self.say_as(FOUNDER, commands);
    }

    fn say_as<const N: usize>(&mut self, node: NodeId, commands: [(Command, &'static str); N]) {
        let (commands, outcomes): (Vec<_>, Vec<_>) = commands.into_iter().unzip();
        self.push(node, commands, outcomes);
    }

    fn push(&mut self, node: NodeId, commands: Vec<Command>, outcomes: Vec<&'static str>) {
        let envelope = Envelope {
            node,
            incarnation: 1,
            seq: self.next_index(),
        };
        self.now += 250;
        self.entries.push(Entry {
            stamp: self.now,
            stepped: std::mem::take(&mut self.stepped),
            batch: Batch { envelope, commands },
            outcomes,
        });
    }

    fn next_index(&self) -> u64 {
        self.entries.len() as u64 + 1
    }
}

pub(super) fn log() -> Vec<Entry> {
    let mut log = Log {
        now: START,
        ..Log::default()
    };
    secrets(&mut log);
    policies_and_credentials(&mut log);
    let node = members_and_slots(&mut log);
    epochs(&mut log);
    trail(&mut log);
    farewell(&mut log, node);
    passing_time(&mut log);
    log.entries
}

fn secrets(log: &mut Log) {
    log.say([(read("admin", "app/key"), "not_ready")]);
    log.say([(cluster(init(VaultLimits::default())), "joined")]);
    log.say([
        (read("admin", "app/key"), "not_found"),
        (access_by(caller("reader"), Target::List), "view"),
    ]);
    let about = About {
        description: Some("an \"example\"".to_owned()),
        owner: Some("example-team".to_owned()),
        kind: Some("password".to_owned()),
    };
    let described = Write {
        about,
        ..write("app/key", None)
    };
    let first = keyed("backend", "golden-1", 1, Change::Write(vec![described]));
    log.say([(first.clone(), "written")]);
    log.say([(first, "written")]);
    let other = Change::Write(vec![write("app/key", None)]);
    log.say([(keyed("backend", "golden-1", 2, other), "key_reused")]);
    let two = vec![write("app/one", Some(0)), write("app/two", None)];
    log.say([(mutation("admin", Change::Write(two)), "written")]);
    log.say([
        (change_of(write("app/key", Some(1))), "written"),
        (change_of(write("app/key", Some(9))), "conflict"),
    ]);
    let versions = Target::Versions {
        name: name("app/key"),
    };
    log.say([
        (read("reader", "app/key"), "value"),
        (read_version(caller("reader"), "app/key", Some(1)), "value"),
        (
            read_version(caller("reader"), "app/key", Some(7)),
            "not_found",
        ),
        (access_by(caller("reader"), versions), "view"),
    ]);
    log.say([
        (admin(AdminView::Policy), "view"),
        (admin(AdminView::Tokens), "view"),
        (admin(AdminView::Cluster), "view"),
        (admin(AdminView::Trail), "view"),
        (admin(AdminView::Seal), "view"),
        (admin(AdminView::Debug), "view"),
    ]);
    let one = Change::Delete {
        name: name("app/one"),
        cas: Some(1),
    };
    log.say([
        (mutation("admin", one), "deleted"),
        (read("reader", "app/one"), "is_deleted"),
    ]);
    log.say([(undelete("app/one"), "undeleted")]);
    log.say([
        (destroy("app/two", None), "destroyed"),
        (destroy("app/key", Some(vec![1])), "destroyed"),
    ]);
    log.say([
        (undelete("app/none"), "not_found"),
        (
            mutation("reader", Change::Write(vec![write("app/key", None)])),
            "not_authorized",
        ),
        (read("backend", "app/root"), "not_authorized"),
        (read("stranger", "app/key"), "not_authorized"),
    ]);
}

fn policies_and_credentials(log: &mut Log) {
    let narrowed = policy_of([("admin", vec![rule("*", VerbSet::ALL)], vec![])]);
    log.say([
        (set_policy(narrowed, "narrowed", Some(1)), "policy"),
        (read("backend", "app/key"), "not_authorized"),
    ]);
    log.say([(set_policy(policy(), "example", None), "policy")]);
    log.say([
        (create_token(1, Some(HOUR)), "created"),
        (create_token(2, None), "created"),
        (create_token(2, None), "conflict"),
    ]);
    let revoke = Change::RevokeToken { id: [2; 16] };
    log.say([
        (read_with_token(1), "value"),
        (read_with_token(2), "value"),
        (mutation("admin", revoke), "done"),
        (read_with_token(2), "unauthenticated"),
    ]);
    let not_after = START + DAY;
    let certificate = Credential::Certificate {
        serial: "0a".to_owned(),
        not_after,
    };
    let revoke = Change::RevokeCertificate {
        serial: "0a".to_owned(),
        not_after,
    };
    log.say([
        (
            read_by(caller_with("backend", certificate.clone()), "app/key"),
            "value",
        ),
        (mutation("admin", revoke), "done"),
        (
            read_by(caller_with("backend", certificate), "app/key"),
            "unauthenticated",
        ),
    ]);
}

/// Returns the second node's id.
fn members_and_slots(log: &mut Log) -> NodeId {
    let hash = [7; 32];
    let create = Change::CreateJoinToken {
        id: [7; 16],
        hash,
        uses: 1,
        ttl_ms: HOUR,
    };
    log.say([(mutation("admin", create), "created")]);
    let node = log.next_index();
    let join = |tag| {
        cluster(ClusterCommand::Join {
            token_hash: hash,
            member: member(tag),
        })
    };
    log.say([(join(2), "joined")]);
    log.say([(join(2), "joined")]);
    log.say([(join(3), "unauthenticated")]);
    let moved = Member {
        peer_address: "127.0.0.22:9081".to_owned(),
        ..member(2)
    };
    let slot = ClusterCommand::AddNodeSlot {
        blob: b"example-wrapped-2".to_vec(),
    };
    log.say_as(
        node,
        [
            (
                cluster(ClusterCommand::UpdateMember { member: moved }),
                "done",
            ),
            (cluster(slot), "done"),
        ],
    );
    let add = Change::AddSlot {
        slot: "passphrase".to_owned(),
        kind: "passphrase".to_owned(),
        blob: b"example-wrapped-3".to_vec(),
    };
    let remove = Change::RemoveSlot {
        slot: "passphrase".to_owned(),
    };
    log.say([(mutation("admin", add), "slot_added")]);
    log.say([(mutation("admin", remove), "done")]);
    node
}

fn epochs(log: &mut Log) {
    let add = Change::AddEpoch {
        number: 2,
        wrapped: b"example-wrapped-4".to_vec(),
    };
    log.say([
        (mutation("admin", add), "done"),
        (change_of(write("app/key", None)), "stale_epoch"),
    ]);
    let retire = || mutation("admin", Change::RetireEpoch { number: 1 });
    log.say([(rewrap("app/key", 2), "done"), (retire(), "invalid")]);
    log.say([(rewrap("app/one", 1), "done"), (retire(), "done")]);
    log.say([(rewrap("app/one", 1), "conflict")]);
}

fn trail(log: &mut Log) {
    let signature = vec![9; 64];
    let checkpoint = ClusterCommand::Checkpoint {
        index: 5,
        seq: 4,
        head: [3; 32],
        signature,
    };
    log.say([(cluster(checkpoint), "done")]);
    let event = |seq| JournalEvent {
        seq,
        at: START + seq,
        client: client("backend"),
        name: name("app/key"),
        version: (seq % 3 != 0).then_some(2),
        allowed: seq % 5 != 0,
        served_index: 9,
        age_ms: seq % 100,
        request_id: "stale-1".to_owned(),
    };
    let import = ClusterCommand::ImportJournal {
        journal: 5,
        events: (1..=IMPORTED).map(event).collect(),
    };
    log.say([(cluster(import), "done")]);
    let retire = |upto_seq| cluster(ClusterCommand::RetireTrail { upto_seq });
    log.say([(retire(4_095), "invalid"), (retire(4_096), "done")]);
    let aggregate = ClusterCommand::Aggregate {
        kind: "unauthenticated".to_owned(),
        client: None,
        count: 12,
    };
    log.say([
        (cluster(aggregate), "done"),
        (cluster(ClusterCommand::RaiseLevel { level: 9 }), "invalid"),
    ]);
}

fn farewell(log: &mut Log, node: NodeId) {
    log.say([
        (
            mutation("admin", Change::TransferLeader { to: Some(FOUNDER) }),
            "done",
        ),
        (mutation("admin", Change::RemoveMember { node }), "done"),
    ]);
    // A removed node is refused for ever: no reply to its one command.
    log.push(node, vec![tick()], vec![]);
}

fn passing_time(log: &mut Log) {
    log.say([(delete("app/one"), "deleted")]);
    log.now += 2 * HOUR;
    log.say([(tick(), "done")]);
    log.now += 8 * DAY;
    log.stepped = true;
    log.say([(tick(), "done")]);
    log.now += HOUR;
    log.say([(tick(), "done")]);
    log.now -= DAY;
    log.say([(tick(), "done")]);
    let under_two = Write {
        value: sealed(4, 40, 2),
        ..write("app/one", Some(0))
    };
    log.say([(change_of(under_two), "written")]);
    log.say([(admin(AdminView::Debug), "view")]);
    let reason = "header_contradicts_credential".to_owned();
    log.say([(
        access_by(caller("admin"), Target::Refused { reason }),
        "not_authorized",
    )]);
    let slot = "node-1".to_owned();
    log.say([(cluster(ClusterCommand::Unsealed { slot }), "done")]);
}

fn change_of(write: Write) -> Command {
    mutation("admin", Change::Write(vec![write]))
}

fn admin(view: AdminView) -> Command {
    access_by(caller("admin"), Target::Admin(view))
}

fn create_token(tag: u8, ttl_ms: Option<Millis>) -> Command {
    let create = Change::CreateToken {
        id: [tag; 16],
        secret_hash: [tag; 32],
        client: client("backend"),
        ttl_ms,
    };
    mutation("admin", create)
}

fn read_with_token(tag: u8) -> Command {
    read_by(
        caller_with("backend", Credential::Token([tag; 16])),
        "app/key",
    )
}

/// From epoch 1 to epoch 2.
fn rewrap(text: &str, version: u64) -> Command {
    let rewrap = Change::Rewrap {
        name: name(text),
        version,
        from_epoch: 1,
        value: sealed(8, 16, 2),
    };
    mutation("admin", rewrap)
}
