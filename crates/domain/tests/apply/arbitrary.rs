//! Nonsense: commands of every variant with plausible, extreme and contradictory contents.
//!
//! Names, clients, ids and epochs come from small sets, so that commands often meet what earlier ones left.

use jarvis_domain::NodeId;
use jarvis_domain::command::{
    Access, AdminView, Batch, Caller, Change, ClusterCommand, Command, Idempotency, Init,
    JournalEvent, Mutation, Target, Write,
};
use jarvis_domain::limits::VaultLimits;
use jarvis_domain::member::{MAX_BLOB_BYTES, Member};
use jarvis_domain::name::{ClientId, SecretName};
use jarvis_domain::policy::{Policy, VerbSet};
use jarvis_domain::secret::{About, SealedValue};
use jarvis_domain::time::{DAY, Millis};
use jarvis_domain::token::Credential;
use jarvis_domain::window::Envelope;
use proptest::prelude::*;

use crate::world::{
    FOUNDER, START, World, client, cluster, init, member, name, policy, policy_of, rule, sealed,
};

/// One entry to come: what it holds and who sends it.
#[derive(Debug, Clone)]
pub(crate) struct Proposal {
    stamp: Stamp,
    pub(crate) stepped: bool,
    origin: Origin,
    pub(crate) commands: Vec<Command>,
}

#[derive(Debug, Clone)]
enum Stamp {
    After(Millis),
    Before(Millis),
}

#[derive(Debug, Clone)]
enum Origin {
    /// The next envelope of one of the members.
    Member(prop::sample::Index),
    /// An envelope out of nowhere.
    Exact(Envelope),
}

impl Proposal {
    /// Settles stamp and envelope against the world it is proposed in.
    pub(crate) fn settle(&self, world: &mut World) -> (Millis, Batch) {
        let stamp = match self.stamp {
            Stamp::After(by) => world.now.saturating_add(by),
            Stamp::Before(by) => world.now.saturating_sub(by),
        };
        world.now = world.now.max(stamp);
        let members: Vec<NodeId> = world.state.members.iter().map(|(id, _)| *id).collect();
        let envelope = match &self.origin {
            Origin::Exact(envelope) => *envelope,
            Origin::Member(_) if members.is_empty() => world.envelope(FOUNDER),
            Origin::Member(which) => world.envelope(*which.get(&members)),
        };
        let commands = self.commands.clone();
        (stamp, Batch { envelope, commands })
    }
}

pub(crate) fn proposals() -> impl Strategy<Value = Vec<Proposal>> {
    prop::collection::vec(proposal(), 1..40)
}

fn proposal() -> impl Strategy<Value = Proposal> {
    let stamp = prop_oneof![
        24 => (0_u64..120_000).prop_map(Stamp::After),
        6 => (0..10 * DAY).prop_map(Stamp::After),
        3 => any::<u64>().prop_map(Stamp::Before),
        1 => any::<u64>().prop_map(Stamp::After),
    ];
    let near = (0_u64..4, 0_u64..2, 0_u64..60);
    let far = (any::<u64>(), any::<u64>(), any::<u64>());
    let envelope = |(node, incarnation, seq)| {
        Origin::Exact(Envelope {
            node,
            incarnation,
            seq,
        })
    };
    let origin = prop_oneof![
        24 => any::<prop::sample::Index>().prop_map(Origin::Member),
        4 => near.prop_map(envelope),
        1 => far.prop_map(envelope),
    ];
    (
        stamp,
        prop::bool::weighted(0.04),
        origin,
        prop::collection::vec(command(), 0..4),
    )
        .prop_map(|(stamp, stepped, origin, commands)| Proposal {
            stamp,
            stepped,
            origin,
            commands,
        })
}

pub(crate) fn command() -> impl Strategy<Value = Command> {
    let access = (caller(), target())
        .prop_map(|(caller, target)| Command::Access(Access { caller, target }));
    let mutation = (caller(), idempotency(), change()).prop_map(|(caller, idempotency, change)| {
        Command::Mutate(Mutation {
            caller,
            idempotency,
            change,
        })
    });
    prop_oneof![
        3 => access,
        7 => mutation,
        4 => cluster_command().prop_map(cluster),
    ]
}

fn target() -> impl Strategy<Value = Target> {
    let view = prop::sample::select(vec![
        AdminView::Policy,
        AdminView::Tokens,
        AdminView::Cluster,
        AdminView::Trail,
        AdminView::Seal,
        AdminView::Debug,
        AdminView::IssueCertificate,
        AdminView::SealNode,
    ]);
    prop_oneof![
        4 => (secret_name(), prop::option::of(small_or_any()))
            .prop_map(|(name, version)| Target::Value { name, version }),
        1 => secret_name().prop_map(|name| Target::Versions { name }),
        1 => Just(Target::List),
        1 => view.prop_map(Target::Admin),
        1 => text().prop_map(|reason| Target::Refused { reason }),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let numbers = prop::collection::vec(small_or_any(), 0..3);
    prop_oneof![
        12 => prop::collection::vec(write(), 0..4).prop_map(Change::Write),
        1 => write().prop_map(|write| Change::Write(vec![write; 65])),
        3 => (secret_name(), prop::option::of(small_or_any()))
            .prop_map(|(name, cas)| Change::Delete { name, cas }),
        2 => secret_name().prop_map(|name| Change::Undelete { name }),
        2 => (secret_name(), prop::option::of(numbers))
            .prop_map(|(name, versions)| Change::Destroy { name, versions }),
        1 => (a_policy(), text(), prop::option::weighted(0.3, small_or_any()))
            .prop_map(|(policy, source, cas)| Change::SetPolicy { policy, source, cas }),
        2 => (0_u8..4, client_id(), prop::option::of(millis())).prop_map(|(tag, client, ttl_ms)| {
            Change::CreateToken { id: [tag; 16], secret_hash: [tag; 32], client, ttl_ms }
        }),
        1 => (0_u8..4).prop_map(|tag| Change::RevokeToken { id: [tag; 16] }),
        1 => (serial(), millis()).prop_map(|(serial, by)| Change::RevokeCertificate {
            serial,
            not_after: START.saturating_add(by),
        }),
        2 => (0_u8..4, 0_u32..4, millis())
            .prop_map(|(tag, uses, ttl_ms)| {
                Change::CreateJoinToken { id: [tag; 16], hash: [tag; 32], uses, ttl_ms }
            }),
        1 => (slot_name(), text(), blob())
            .prop_map(|(slot, kind, blob)| Change::AddSlot { slot, kind, blob }),
        1 => slot_name().prop_map(|slot| Change::RemoveSlot { slot }),
        2 => (epoch(), blob()).prop_map(|(number, wrapped)| Change::AddEpoch { number, wrapped }),
        1 => epoch().prop_map(|number| Change::RetireEpoch { number }),
        2 => (secret_name(), small_or_any(), epoch(), sealed_value()).prop_map(
            |(name, version, from_epoch, value)| Change::Rewrap { name, version, from_epoch, value }
        ),
        1 => prop::option::of(small_or_any()).prop_map(|to| Change::TransferLeader { to }),
        1 => node_id().prop_map(|node| Change::RemoveMember { node }),
    ]
}

fn cluster_command() -> impl Strategy<Value = ClusterCommand> {
    let head = any::<u8>().prop_map(|tag| [tag; 32]);
    prop_oneof![
        1 => an_init(),
        3 => (0_u8..4, a_member()).prop_map(|(tag, member)| ClusterCommand::Join {
            token_hash: [tag; 32],
            member,
        }),
        1 => a_member().prop_map(|member| ClusterCommand::UpdateMember { member }),
        1 => blob().prop_map(|blob| ClusterCommand::AddNodeSlot { blob }),
        2 => (small_or_any(), small_or_any(), head, 62_usize..66).prop_map(
            |(index, seq, head, length)| ClusterCommand::Checkpoint {
                index,
                seq,
                head,
                signature: vec![5; length],
            }
        ),
        1 => small_or_any().prop_map(|upto_seq| ClusterCommand::RetireTrail { upto_seq }),
        2 => (small_or_any(), prop::collection::vec(journal_event(), 0..4))
            .prop_map(|(journal, events)| ClusterCommand::ImportJournal { journal, events }),
        1 => (text(), prop::option::of(client_id()), any::<u64>()).prop_map(
            |(kind, client, count)| ClusterCommand::Aggregate { kind, client, count }
        ),
        1 => prop_oneof![0_u32..4, any::<u32>()]
            .prop_map(|level| ClusterCommand::RaiseLevel { level }),
        2 => Just(ClusterCommand::Tick),
        1 => prop_oneof![slot_name(), text()].prop_map(|slot| ClusterCommand::Unsealed { slot }),
    ]
}

fn an_init() -> impl Strategy<Value = ClusterCommand> {
    let limits = prop_oneof![
        Just(VaultLimits::default()),
        (
            small_or_any(),
            small_or_any(),
            any::<u32>(),
            millis(),
            millis()
        )
            .prop_map(
                |(
                    max_vault_bytes,
                    max_ciphertext_bytes,
                    max_versions,
                    undelete_ms,
                    rotation_ms,
                )| {
                    VaultLimits {
                        max_vault_bytes,
                        max_ciphertext_bytes,
                        max_versions,
                        undelete_ms,
                        rotation_ms,
                    }
                }
            ),
    ];
    (limits, a_policy(), blob(), a_member()).prop_map(|(limits, policy, epoch, member)| match init(
        limits,
    ) {
        ClusterCommand::Init(init) => ClusterCommand::Init(Box::new(Init {
            policy,
            epoch,
            member,
            ..*init
        })),
        other => other,
    })
}

fn write() -> impl Strategy<Value = Write> {
    let about = (
        prop::option::weighted(0.2, text()),
        prop::option::weighted(0.2, text()),
    );
    (
        secret_name(),
        sealed_value(),
        prop::option::weighted(0.2, small_or_any()),
        about,
    )
        .prop_map(|(name, value, cas, (description, owner))| Write {
            name,
            value,
            cas,
            about: About {
                description,
                owner,
                kind: None,
            },
        })
}

fn sealed_value() -> impl Strategy<Value = SealedValue> {
    let bytes = prop_oneof![20 => 0_usize..80, 1 => Just(65 * 1024)];
    (any::<u8>(), bytes, epoch()).prop_map(|(tag, bytes, epoch)| sealed(tag, bytes, epoch))
}

fn epoch() -> impl Strategy<Value = u32> {
    prop_oneof![12 => Just(1_u32), 6 => Just(2), 2 => 0_u32..5, 1 => Just(u32::MAX)]
}

fn journal_event() -> impl Strategy<Value = JournalEvent> {
    (
        (small_or_any(), millis(), small_or_any(), any::<u64>()),
        (client_id(), secret_name(), text()),
        prop::option::of(small_or_any()),
        any::<bool>(),
    )
        .prop_map(
            |((seq, at, served_index, age_ms), (client, name, request_id), version, allowed)| {
                JournalEvent {
                    seq,
                    at,
                    client,
                    name,
                    version,
                    allowed,
                    served_index,
                    age_ms,
                    request_id,
                }
            },
        )
}

fn a_member() -> impl Strategy<Value = Member> {
    (
        0_u8..6,
        text(),
        prop_oneof![8 => Just(1_u32), 1 => any::<u32>()],
    )
        .prop_map(|(tag, name, level)| Member {
            name,
            level,
            ..member(tag)
        })
}

fn a_policy() -> impl Strategy<Value = Policy> {
    let narrowed = policy_of([("admin", vec![rule("*", VerbSet::ALL)], vec![])]);
    let no_client = policy_of([("not a client", vec![], vec![])]);
    let no_verbs = policy_of([("admin", vec![rule("*", VerbSet::default())], vec![])]);
    prop_oneof![
        8 => Just(policy()),
        2 => Just(narrowed),
        1 => Just(no_client),
        1 => Just(no_verbs),
        1 => Just(Policy::default()),
    ]
}

fn caller() -> impl Strategy<Value = Caller> {
    let credential = prop_oneof![
        12 => Just(Credential::Header),
        2 => (0_u8..4).prop_map(|tag| Credential::Token([tag; 16])),
        1 => (serial(), millis()).prop_map(|(serial, by)| Credential::Certificate {
            serial,
            not_after: START.saturating_add(by),
        }),
        1 => Just(Credential::System),
    ];
    (client_id(), credential, text()).prop_map(|(client, credential, request_id)| Caller {
        client,
        credential,
        request_id,
    })
}

fn idempotency() -> impl Strategy<Value = Option<Idempotency>> {
    let key = prop_oneof![
        8 => prop::sample::select(vec!["key-1", "key-2", "key-3"]).prop_map(str::to_owned),
        1 => Just(String::new()),
        1 => Just("k".repeat(129)),
    ];
    let one = (key, 0_u8..2).prop_map(|(key, tag)| Idempotency {
        key,
        mac: [tag; 32],
    });
    prop::option::weighted(0.4, one)
}

fn secret_name() -> impl Strategy<Value = SecretName> {
    prop_oneof![
        12 => prop::sample::select(vec!["app/a", "app/b", "app/root", "db/x"]).prop_map(name),
        1 => Just(name(&"n".repeat(512))),
    ]
}

fn client_id() -> impl Strategy<Value = ClientId> {
    prop_oneof![
        8 => Just(client("admin")),
        3 => Just(client("backend")),
        1 => Just(client("reader")),
        1 => Just(client("stranger")),
    ]
}

fn serial() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["0a", "ff", "", "NOT HEX"]).prop_map(str::to_owned)
}

fn slot_name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["passphrase", "node-1", "node-2", ""]).prop_map(str::to_owned)
}

fn node_id() -> impl Strategy<Value = NodeId> {
    prop_oneof![6 => 0_u64..20, 1 => any::<u64>()]
}

fn small_or_any() -> impl Strategy<Value = u64> {
    prop_oneof![12 => 0_u64..8, 1 => any::<u64>(), 1 => Just(u64::MAX)]
}

fn millis() -> impl Strategy<Value = Millis> {
    prop_oneof![6 => 0_u64..200_000, 3 => 0..30 * DAY, 1 => any::<u64>(), 1 => Just(u64::MAX)]
}

fn blob() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        12 => prop::collection::vec(any::<u8>(), 0..24),
        1 => Just(vec![7; MAX_BLOB_BYTES + 1]),
    ]
}

/// Text of any characters, also some that must be escaped in the trail, and some too long.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => Just("example".to_owned()),
        8 => prop::collection::vec(any::<char>(), 0..12)
            .prop_map(|characters| characters.into_iter().collect::<String>()),
        2 => Just("\"quoted\"\\ \n\r\u{0}\u{2028}\u{7f}".to_owned()),
        1 => Just("x".repeat(1_025)),
    ]
}
