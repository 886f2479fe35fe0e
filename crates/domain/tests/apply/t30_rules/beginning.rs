//! How a cluster begins, and how it does not (rules 2, 10 and 11).

use jarvis_domain::command::{ClusterCommand, Command, Init};
use jarvis_domain::limits::{
    MAX_CIPHERTEXT_BYTES, MAX_PERIOD, MAX_VAULT_BYTES, MAX_VERSIONS_LIMIT, MIN_CIPHERTEXT_BYTES,
    MIN_VAULT_BYTES, VaultLimits,
};
use jarvis_domain::member::{MAX_BLOB_BYTES, MAX_MEMBERS};
use jarvis_domain::outcome::Rejection;

use crate::world::{FOUNDER, World, cluster, init, policy_of, tick, word, words};

/// Turns a beginning into nonsense.
type Spoil = fn(&mut Init);

#[test]
fn rule_2_a_beginning_with_nonsense_is_refused_and_leaves_one_event() {
    let nonsense: [(&str, Spoil); 24] = [
        ("no cluster id", |init| init.cluster.cluster_id = [0; 16]),
        ("no vault id", |init| init.cluster.vault_id = [0; 16]),
        ("no certificate", |init| init.cluster.ca_certificate.clear()),
        ("no CA key", |init| init.cluster.ca_key_wrapped.clear()),
        ("a long certificate", |init| {
            init.cluster.ca_certificate = vec![1; MAX_BLOB_BYTES + 1];
        }),
        ("no name", |init| init.member.name.clear()),
        ("no peer address", |init| init.member.peer_address.clear()),
        ("no port", |init| {
            init.member.peer_address = "127.0.0.1".to_owned();
        }),
        ("no API address", |init| init.member.api_address.clear()),
        ("no peer key", |init| init.member.peer_key = [0; 32]),
        ("no audit key", |init| init.member.audit_key = [0; 32]),
        ("no level", |init| init.member.level = 0),
        ("a slot of another node", |init| init.slot.node = Some(7)),
        ("a slot of no kind", |init| init.slot.kind.clear()),
        ("no root key", |init| init.slot.blob.clear()),
        ("no epoch key", |init| init.epoch.clear()),
        ("no vault", |init| {
            init.limits.max_vault_bytes = MIN_VAULT_BYTES - 1;
        }),
        ("no end of the vault", |init| {
            init.limits.max_vault_bytes = MAX_VAULT_BYTES + 1;
        }),
        ("no value", |init| {
            init.limits.max_ciphertext_bytes = MIN_CIPHERTEXT_BYTES as u64 - 1;
        }),
        ("no versions", |init| init.limits.max_versions = 0),
        ("for ever deleted", |init| {
            init.limits.undelete_ms = MAX_PERIOD + 1;
        }),
        ("expired at once", |init| init.limits.rotation_ms = 999),
        ("a policy of nobody", |init| {
            init.policy = policy_of([("not a client", vec![], vec![])]);
        }),
        ("a long policy", |init| {
            init.policy_source = "#".repeat(1024 * 1024 + 1);
        }),
    ];
    for (what, spoil) in nonsense {
        let mut world = World::empty();
        let refused = world.refused(begin_with(spoil));
        assert!(matches!(refused, Rejection::Invalid { .. }), "{what}");
        assert_eq!(world.events().len(), 1, "{what}: C3");
        let event = &world.events()[0];
        assert_eq!(event["event"], "cluster.init", "{what}");
        assert_eq!(event["outcome"], "refused", "{what}");
        assert_eq!(event["reason"], "invalid", "{what}");
        assert!(world.state.core.cluster.is_none(), "{what}");
        assert_eq!(world.state.records().count(), 0, "{what}");
        let right = world.run(cluster(init(VaultLimits::default())));
        assert_eq!(word(&right), "joined", "{what}");
    }
}

#[test]
fn a_cluster_begins_at_the_bounds_of_its_limits() {
    let smallest = VaultLimits {
        max_vault_bytes: MIN_VAULT_BYTES,
        max_ciphertext_bytes: MIN_CIPHERTEXT_BYTES as u64,
        max_versions: 1,
        undelete_ms: 0,
        rotation_ms: 1_000,
    };
    let largest = VaultLimits {
        max_vault_bytes: MAX_VAULT_BYTES,
        max_ciphertext_bytes: MAX_CIPHERTEXT_BYTES as u64,
        max_versions: MAX_VERSIONS_LIMIT,
        undelete_ms: MAX_PERIOD,
        rotation_ms: MAX_PERIOD,
    };
    for limits in [smallest, largest] {
        let mut world = World::with(limits);
        assert_eq!(world.put("app/key").version, 1);
    }
}

#[test]
fn rule_11_the_founder_is_node_1() {
    let mut world = World::empty();
    let begin = || cluster(init(VaultLimits::default()));
    let applied = world.propose(7, vec![begin()]);
    assert_eq!(words(&applied), ["invalid"]);
    assert_eq!(world.events().len(), 1, "C3");
    assert_eq!(world.events()[0]["node"], 7);
    assert!(world.state.core.cluster.is_none());
    assert_eq!(word(&world.run(begin())), "joined");
    let members: Vec<_> = world.state.members.iter().map(|(id, _)| *id).collect();
    assert_eq!(members, [FOUNDER]);
}

#[test]
fn rule_10_strangers_before_the_beginning_are_few_and_gone_behind_it() {
    let mut world = World::empty();
    for node in 2..200 {
        world.propose(node, vec![tick()]);
    }
    assert_eq!(world.state.core.windows.len(), MAX_MEMBERS);
    // They do not keep the founder out.
    let begun = world.run(cluster(init(VaultLimits::default())));
    assert_eq!(word(&begun), "joined");
    let heard: Vec<_> = world.state.core.windows.keys().copied().collect();
    assert_eq!(heard, [FOUNDER]);
    assert!(world.propose(2, vec![tick()]).skipped);
}

fn begin_with(spoil: Spoil) -> Command {
    let ClusterCommand::Init(mut init) = init(VaultLimits::default()) else {
        panic!("a beginning");
    };
    spoil(&mut init);
    cluster(ClusterCommand::Init(init))
}
