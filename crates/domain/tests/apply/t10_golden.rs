//! Feature level 1 is frozen (rule 3): this log, in these bytes, leads to this state and this trail, for ever.
//!
//! A mismatch after a release means that a node of the new release would disagree with its peers: what changed belongs
//! under a new level. The constants are replaced only together with [`FEATURE_LEVEL`](jarvis_domain::FEATURE_LEVEL),
//! or before the first release.

mod log;

use std::collections::BTreeSet;

use jarvis_domain::codec::{decode, encode};
use jarvis_domain::command::{AdminView, Batch, Change, ClusterCommand, Command, Target};
use sha2::{Digest, Sha256};

use self::log::log;
use crate::world::{World, reload, words};

/// SHA-256 over the encoded batches, each behind its length as eight big-endian bytes.
const ENCODED_SHA256: &str = "e8fd6599119c509617ee6ed5545d0898a657da1d303e02cb2c81ebc2c2953eee";
/// The state's hash after the last entry.
const STATE_HASH: &str = "fb4910b0b1253b2dde8c146158e6aaa05d6f5467dc123999198db466b9a9852a";
/// The trail's head after the last entry.
const AUDIT_HEAD: &str = "d062cdcecfd56f665babd9dca354ebf1aa9668aa7ef7ffd9d4d65dc4066f388c";

#[test]
fn the_golden_log_of_level_1_leads_to_the_golden_state() {
    let mut hasher = Sha256::new();
    let mut world = World::empty();
    for entry in log() {
        let bytes = encode(&entry.batch);
        hasher.update((bytes.len() as u64).to_be_bytes());
        hasher.update(&bytes);
        let batch: Batch = decode(&bytes).expect("what was encoded decodes");
        world.entry(entry.stamp, entry.stepped, &batch);
    }
    let encoded: [u8; 32] = hasher.finalize().into();
    let found = [
        hex::encode(encoded),
        hex::encode(world.state.hash()),
        hex::encode(world.state.core.trail.head),
    ];
    let [encoded, state, head] = &found;
    assert!(
        found == [ENCODED_SHA256, STATE_HASH, AUDIT_HEAD],
        "level 1 has changed, or its constants were never set. This build comes to\n\
         const ENCODED_SHA256: &str = \"{encoded}\";\n\
         const STATE_HASH: &str = \"{state}\";\n\
         const AUDIT_HEAD: &str = \"{head}\";"
    );
}

/// A golden log of refusals would prove little: each command has the outcome that it is there for.
#[test]
fn the_golden_log_does_what_it_was_written_for() {
    let mut world = World::empty();
    for entry in log() {
        let applied = world.entry(entry.stamp, entry.stepped, &entry.batch);
        let index = world.index;
        assert_eq!(words(&applied), entry.outcomes, "entry {index}");
    }
    assert_eq!(reload(&world.state).hash(), world.state.hash());
    assert_eq!(world.state.core.trail_first_seq, 4_097);
}

#[test]
fn the_golden_log_holds_every_command() {
    let mut found = BTreeSet::new();
    for entry in log() {
        found.extend(entry.batch.commands.iter().map(variant));
    }
    assert_eq!(found.len(), VARIANTS, "{found:?}");
}

/// A view is a number in the log and a word in the trail.
#[test]
fn the_views_of_level_1_keep_their_numbers_and_words() {
    let views = [
        (AdminView::Policy, 0, "policy.read"),
        (AdminView::Tokens, 1, "token.list"),
        (AdminView::Cluster, 2, "cluster.status"),
        (AdminView::Trail, 3, "audit.read"),
        (AdminView::Seal, 4, "seal.read"),
        (AdminView::Debug, 5, "debug.read"),
        (AdminView::IssueCertificate, 6, "certificate.issue"),
        (AdminView::SealNode, 7, "seal.close"),
    ];
    for (view, number, event) in views {
        // The format's version comes first.
        assert_eq!(encode(&view), [1_u8, number], "{view:?}");
        assert_eq!(view.event(), event);
    }
}

/// How many different words [`variant`] knows.
const VARIANTS: usize = 5 + 16 + 11;

/// A new variant does not compile until it is named here; then it needs a place in the log of its level.
fn variant(command: &Command) -> &'static str {
    match command {
        Command::Access(access) => match access.target {
            Target::Value { .. } => "value",
            Target::Versions { .. } => "versions",
            Target::List => "list",
            Target::Admin(_) => "admin",
            Target::Refused { .. } => "refused",
        },
        Command::Mutate(mutation) => match mutation.change {
            Change::Write(_) => "write",
            Change::Delete { .. } => "delete",
            Change::Undelete { .. } => "undelete",
            Change::Destroy { .. } => "destroy",
            Change::SetPolicy { .. } => "set_policy",
            Change::CreateToken { .. } => "create_token",
            Change::RevokeToken { .. } => "revoke_token",
            Change::RevokeCertificate { .. } => "revoke_certificate",
            Change::CreateJoinToken { .. } => "create_join_token",
            Change::AddSlot { .. } => "add_slot",
            Change::RemoveSlot { .. } => "remove_slot",
            Change::AddEpoch { .. } => "add_epoch",
            Change::RetireEpoch { .. } => "retire_epoch",
            Change::Rewrap { .. } => "rewrap",
            Change::TransferLeader { .. } => "transfer_leader",
            Change::RemoveMember { .. } => "remove_member",
        },
        Command::Cluster(command) => match **command {
            ClusterCommand::Init(_) => "init",
            ClusterCommand::Join { .. } => "join",
            ClusterCommand::UpdateMember { .. } => "update_member",
            ClusterCommand::AddNodeSlot { .. } => "add_node_slot",
            ClusterCommand::Checkpoint { .. } => "checkpoint",
            ClusterCommand::RetireTrail { .. } => "retire_trail",
            ClusterCommand::ImportJournal { .. } => "import_journal",
            ClusterCommand::Aggregate { .. } => "aggregate",
            ClusterCommand::RaiseLevel { .. } => "raise_level",
            ClusterCommand::Tick => "tick",
            ClusterCommand::Unsealed { .. } => "unsealed",
        },
    }
}
