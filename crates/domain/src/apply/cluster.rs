//! What nodes propose on their own account: the beginning, joining, signatures, imports, the passing of time.

use crate::apply::admin::MAX_ID_BYTES;
use crate::apply::mutate::rejection_word;
use crate::apply::{Txn, begin, bounded, clip, members};
use crate::audit::Head;
use crate::command::{ClusterCommand, JournalEvent};
use crate::member::{MAX_NODE_NAME_BYTES, Member};
use crate::name::ClientId;
use crate::outcome::{Outcome, Rejection, Reply};
use crate::{FEATURE_LEVEL, NodeId};

/// Journals remembered per node: one per start of its process; older ones were imported long ago.
const JOURNALS_PER_NODE: usize = 8;

/// A refusal of such a command.
pub(super) struct Refusal {
    /// What is answered.
    pub(super) rejection: Rejection,
    /// The word that stands in the trail; it may say more than the answer does.
    pub(super) reason: &'static str,
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        let reason = rejection_word(&rejection);
        Self { rejection, reason }
    }
}

pub(super) fn decide(txn: &mut Txn<'_>, command: &ClusterCommand) -> Reply {
    let outcome = match command {
        ClusterCommand::Init(init) => begin::begin(txn, init),
        ClusterCommand::Join { token_hash, member } => members::join(txn, token_hash, member),
        ClusterCommand::UpdateMember { member } => members::update_member(txn, member),
        ClusterCommand::AddNodeSlot { blob } => members::add_node_slot(txn, blob),
        ClusterCommand::Checkpoint {
            index,
            seq,
            head,
            signature,
        } => checkpoint(txn, (*index, *seq), head, signature),
        ClusterCommand::RetireTrail { upto_seq } => retire_trail(txn, *upto_seq),
        ClusterCommand::ImportJournal { journal, events } => import(txn, *journal, events),
        ClusterCommand::Aggregate {
            kind,
            client,
            count,
        } => aggregate(txn, kind, client.as_ref(), *count),
        ClusterCommand::RaiseLevel { level } => raise_level(txn, *level),
        ClusterCommand::Tick => Ok(Outcome::Done),
        ClusterCommand::Unsealed { slot } => unsealed(txn, slot),
    };
    let outcome = outcome.unwrap_or_else(|refusal| {
        tell(txn, command, refusal.reason);
        Outcome::Rejected(refusal.rejection)
    });
    txn.reply(outcome)
}

/// The one event of a refused command (C3).
///
/// What an operator or a node asked for and did not get is told: a beginning, a membership, a seal slot, a level. (An honest
/// node's own description is never refused, though it would be repeated every second: configurations are read by stricter
/// rules.) So is an aggregate, which stands for denials itself: they must not vanish without a word.
///
/// A refused signature and a refused cut of the trail leave none. Nobody asked for them, nobody is denied anything, and
/// they are repeated by themselves: by a node that is out of step, by a leader that did not see its predecessor's cut.
/// Their events would fill a quiet trail with its own housekeeping. An auditor misses nothing: a signature that is not there
/// shows in verification, and a cut that was made has its own event.
fn tell(txn: &mut Txn<'_>, command: &ClusterCommand, reason: &str) {
    let node = txn.origin;
    let refused = "refused";
    let line = match command {
        ClusterCommand::Init(init) => txn
            .line("cluster.init", refused)
            .text("cluster", &hex::encode(init.cluster.cluster_id))
            .number("node", node),
        // The newcomer has no id; "via" is the member that it asked.
        ClusterCommand::Join { member, .. } => txn
            .line("node.join", refused)
            .text("name", clip(&member.name, MAX_NODE_NAME_BYTES))
            .text("peer_key", &hex::encode(member.peer_key))
            .number("via", node),
        ClusterCommand::UpdateMember { .. } => {
            txn.line("node.update", refused).number("node", node)
        }
        ClusterCommand::AddNodeSlot { .. } => {
            txn.line("seal.slot.add", refused).number("node", node)
        }
        ClusterCommand::Unsealed { .. } => txn.line("seal.open", refused).number("node", node),
        ClusterCommand::RaiseLevel { level } => txn
            .line("level.raise", refused)
            .number("level", u64::from(*level))
            .number("node", node),
        ClusterCommand::Aggregate { client, count, .. } => txn
            .line("requests.refused", refused)
            .maybe("client", client.as_ref().map(ClientId::as_str))
            .number("count", *count)
            .number("node", node),
        ClusterCommand::Checkpoint { .. }
        | ClusterCommand::RetireTrail { .. }
        | ClusterCommand::ImportJournal { .. }
        | ClusterCommand::Tick => return,
    };
    line.text("reason", reason).end();
}

fn checkpoint(
    txn: &mut Txn<'_>,
    (index, seq): (u64, u64),
    head: &Head,
    signature: &[u8],
) -> Result<Outcome, Refusal> {
    // Whether the signature is right is for verification to say (no keys in apply); here only sizes are checked.
    if signature.len() != 64 || seq > txn.state.core.trail.seq {
        return Err(invalid("not a checkpoint of this trail"));
    }
    let node = txn.origin;
    txn.line("audit.checkpoint", "ok")
        .number("node", node)
        .number("signed_index", index)
        .number("signed_seq", seq)
        .text("signed_head", &hex::encode(head))
        .text("signature", &hex::encode(signature))
        .end();
    Ok(Outcome::Done)
}

fn retire_trail(txn: &mut Txn<'_>, upto_seq: u64) -> Result<Outcome, Refusal> {
    let due: Vec<_> = txn
        .state
        .segments
        .iter()
        .map(|(_, segment)| **segment)
        .filter(|segment| segment.last_seq <= upto_seq)
        .collect();
    let Some(last) = due
        .last()
        .filter(|segment| segment.last_seq == upto_seq)
        .copied()
    else {
        return Err(invalid("retention cuts only behind a closed segment"));
    };
    for segment in due {
        txn.state
            .segments
            .take(&mut txn.state.tracker, &segment.first_seq);
    }
    txn.state.core.trail_first_seq = upto_seq + 1;
    // What verification needs to know about the part that goes: identity, voters and keys.
    let core = &txn.state.core;
    let cluster = core
        .cluster
        .as_ref()
        .map_or([0; 16], |cluster| cluster.cluster_id);
    let recovery_epoch = core
        .cluster
        .as_ref()
        .map_or(0, |cluster| cluster.recovery_epoch);
    let voters = core.voters.clone();
    let key = |(id, member): (&NodeId, &std::sync::Arc<Member>)| {
        format!("{id}:{}", hex::encode(member.audit_key))
    };
    let signers: Vec<String> = txn.state.members.iter().map(key).collect();
    txn.line("audit.retire", "ok")
        .number("upto_seq", upto_seq)
        .text("head", &hex::encode(last.head))
        .text("cluster", &hex::encode(cluster))
        .number("recovery_epoch", recovery_epoch)
        .numbers("voters", voters)
        .text("signers", &signers.join(","))
        .end();
    Ok(Outcome::Done)
}

fn import(txn: &mut Txn<'_>, journal: u64, events: &[JournalEvent]) -> Result<Outcome, Refusal> {
    let node = txn.origin;
    let floor = txn
        .state
        .core
        .journal_floors
        .get(&node)
        .copied()
        .unwrap_or(0);
    if journal <= floor {
        return Ok(Outcome::Done);
    }
    for event in events {
        let mark = txn.state.core.journals.entry((node, journal)).or_insert(0);
        if event.seq <= *mark {
            continue;
        }
        *mark = event.seq;
        let outcome = match (event.allowed, event.version) {
            (false, _) => "deny",
            (true, None) => "not_found",
            (true, Some(_)) => "allow",
        };
        txn.line("secret.read.stale", outcome)
            .text("client", event.client.as_str())
            .text("request_id", bounded(&event.request_id))
            .number("node", node)
            .text("name", event.name.as_str())
            .number("version", event.version.unwrap_or(0))
            .text("served_at", &crate::time::rfc3339(event.at))
            .number("served_index", event.served_index)
            .number("age_ms", event.age_ms)
            .number("journal", journal)
            .number("journal_seq", event.seq)
            .end();
    }
    forget_old_journals(txn);
    Ok(Outcome::Done)
}

fn forget_old_journals(txn: &mut Txn<'_>) {
    let node = txn.origin;
    let journals = &mut txn.state.core.journals;
    let own: Vec<_> = journals
        .range((node, 0)..=(node, u64::MAX))
        .map(|(key, _)| *key)
        .collect();
    for key in own.iter().take(own.len().saturating_sub(JOURNALS_PER_NODE)) {
        journals.remove(key);
        txn.state.core.journal_floors.insert(node, key.1);
    }
}

fn aggregate(
    txn: &mut Txn<'_>,
    kind: &str,
    client: Option<&ClientId>,
    count: u64,
) -> Result<Outcome, Refusal> {
    if kind.len() > 64 {
        return Err(invalid("aggregate kind too long"));
    }
    let node = txn.origin;
    txn.line("requests.refused", "deny")
        .text("reason", kind)
        .maybe("client", client.map(ClientId::as_str))
        .number("count", count)
        .number("node", node)
        .end();
    Ok(Outcome::Done)
}

fn raise_level(txn: &mut Txn<'_>, level: u32) -> Result<Outcome, Refusal> {
    if level != txn.state.core.level + 1 || level > FEATURE_LEVEL {
        return Err(invalid(
            "levels rise one at a time, to one this release knows",
        ));
    }
    if txn
        .state
        .members
        .iter()
        .any(|(_, member)| member.level < level)
    {
        return Err(invalid("a member does not know this level yet"));
    }
    txn.state.core.level = level;
    txn.line("level.raise", "ok")
        .number("level", u64::from(level))
        .end();
    Ok(Outcome::Done)
}

/// Whether the slot exists is not asked: who opened a node and removed the slot at once must not vanish from the trail.
fn unsealed(txn: &mut Txn<'_>, slot: &str) -> Result<Outcome, Refusal> {
    if slot.is_empty() || slot.len() > MAX_ID_BYTES {
        return Err(invalid("a seal slot's name has 1 to 128 bytes"));
    }
    let node = txn.origin;
    txn.line("seal.open", "ok")
        .number("node", node)
        .text("slot", slot)
        .end();
    Ok(Outcome::Done)
}

pub(super) fn invalid(reason: &str) -> Refusal {
    let reason = reason.to_owned();
    Rejection::Invalid { reason }.into()
}
