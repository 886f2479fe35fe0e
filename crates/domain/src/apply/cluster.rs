//! What nodes propose on their own account: the beginning, joining, signatures, imports, the passing of time.

use crate::apply::Txn;
use crate::audit::Head;
use crate::command::{ClusterCommand, Init, JournalEvent};
use crate::limits::{MAX_CIPHERTEXT_BYTES, MAX_TEXT_BYTES, MAX_VERSIONS_LIMIT};
use crate::member::{Epoch, MAX_BLOB_BYTES, MAX_MEMBERS, Member, SealSlot};
use crate::name::ClientId;
use crate::outcome::{Outcome, Rejection, Reply};
use crate::state::PolicyRecord;
use crate::{FEATURE_LEVEL, NodeId};

/// Journals remembered per node: one per start of its process; older ones were imported long ago.
const JOURNALS_PER_NODE: usize = 8;

pub(super) fn decide(txn: &mut Txn<'_>, command: &ClusterCommand) -> Reply {
    let outcome = match command {
        ClusterCommand::Init(init) => begin(txn, init),
        ClusterCommand::Join { token_hash, member } => join(txn, token_hash, member),
        ClusterCommand::UpdateMember { member } => update_member(txn, member),
        ClusterCommand::AddNodeSlot { blob } => add_node_slot(txn, blob),
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
    };
    txn.reply(outcome.unwrap_or_else(Outcome::Rejected))
}

fn begin(txn: &mut Txn<'_>, init: &Init) -> Result<Outcome, Rejection> {
    if txn.state.core.cluster.is_some() {
        return Err(invalid("the cluster has begun"));
    }
    init.policy
        .validate()
        .map_err(|error| invalid(&error.to_string()))?;
    check_member(&init.member)?;
    let limits = &init.limits;
    let too_long = limits.max_ciphertext_bytes > MAX_CIPHERTEXT_BYTES as u64;
    if too_long || limits.max_versions == 0 || limits.max_versions > MAX_VERSIONS_LIMIT {
        return Err(invalid("the vault's limits are out of bounds"));
    }
    if init.slot.blob.len() > MAX_BLOB_BYTES || init.epoch.len() > MAX_BLOB_BYTES {
        return Err(invalid("a wrapped key is too long"));
    }
    let (node, now) = (txn.origin, txn.now);
    let state = &mut *txn.state;
    state.core.cluster = Some(init.cluster.clone());
    state.core.limits = init.limits.clone();
    state.core.epoch = 1;
    let epoch = Epoch {
        wrapped: init.epoch.clone(),
        created: now,
        versions: 0,
    };
    state.epochs.put(&mut state.tracker, 1, epoch);
    let policy = PolicyRecord {
        version: 1,
        policy: init.policy.clone(),
        source: init.policy_source.clone(),
    };
    state.policy.put(&mut state.tracker, 0, policy);
    state.members.put(
        &mut state.tracker,
        node,
        Member {
            joined: now,
            ..init.member.clone()
        },
    );
    let slot = SealSlot {
        created: now,
        node: Some(node),
        ..init.slot.clone()
    };
    state.slots.put(&mut state.tracker, slot_name(node), slot);
    let audit_key = hex::encode(init.member.audit_key);
    let cluster = hex::encode(init.cluster.cluster_id);
    txn.line("cluster.init", "ok")
        .text("cluster", &cluster)
        .number("recovery_epoch", init.cluster.recovery_epoch)
        .number("node", node)
        .text("audit_key", &audit_key)
        .end();
    Ok(Outcome::Joined { node })
}

fn join(txn: &mut Txn<'_>, token_hash: &[u8; 32], member: &Member) -> Result<Outcome, Rejection> {
    check_member(member)?;
    let mut token = match txn.state.join_tokens.get(token_hash) {
        Some(token) if token.expires > txn.now => (**token).clone(),
        _ => return refuse_join(txn, "join_token"),
    };
    if member.level < txn.state.core.level {
        return refuse_join(txn, "feature_level");
    }
    if let Some((_, node)) = token
        .consumed
        .iter()
        .find(|(key, _)| *key == member.peer_key)
    {
        if txn.state.core.removed.contains(node) {
            return refuse_join(txn, "removed");
        }
        return Ok(Outcome::Joined { node: *node });
    }
    if token.uses == 0 {
        return refuse_join(txn, "join_token_used_up");
    }
    if txn.batch_len != 1 || txn.state.members.len() >= MAX_MEMBERS {
        return refuse_join(txn, "too_many_members");
    }
    let node: NodeId = txn.log.index;
    token.uses -= 1;
    token.consumed.push((member.peer_key, node));
    let now = txn.now;
    let state = &mut *txn.state;
    state
        .join_tokens
        .put(&mut state.tracker, *token_hash, token);
    state.members.put(
        &mut state.tracker,
        node,
        Member {
            joined: now,
            ..member.clone()
        },
    );
    txn.line("node.join", "ok")
        .number("node", node)
        .text("name", &member.name)
        .text("audit_key", &hex::encode(member.audit_key))
        .end();
    Ok(Outcome::Joined { node })
}

fn refuse_join(txn: &mut Txn<'_>, reason: &str) -> Result<Outcome, Rejection> {
    txn.line("node.join", "refused")
        .text("reason", reason)
        .end();
    Err(Rejection::Unauthenticated)
}

fn update_member(txn: &mut Txn<'_>, member: &Member) -> Result<Outcome, Rejection> {
    check_member(member)?;
    let node = txn.origin;
    let old = txn
        .state
        .members
        .get(&node)
        .cloned()
        .ok_or(Rejection::NotFound)?;
    let new = Member {
        joined: old.joined,
        peer_key: old.peer_key,
        ..member.clone()
    };
    if new == *old {
        return Ok(Outcome::Done);
    }
    txn.state.members.put(&mut txn.state.tracker, node, new);
    txn.line("node.update", "ok")
        .number("node", node)
        .text("name", &member.name)
        .text("audit_key", &hex::encode(member.audit_key))
        .end();
    Ok(Outcome::Done)
}

fn add_node_slot(txn: &mut Txn<'_>, blob: &[u8]) -> Result<Outcome, Rejection> {
    if blob.len() > MAX_BLOB_BYTES {
        return Err(invalid("a wrapped key is too long"));
    }
    let (node, created) = (txn.origin, txn.now);
    if !txn.state.members.contains(&node) {
        return Err(Rejection::NotFound);
    }
    let slot = SealSlot {
        kind: "key_file".to_owned(),
        node: Some(node),
        blob: blob.to_vec(),
        created,
    };
    txn.state
        .slots
        .put(&mut txn.state.tracker, slot_name(node), slot);
    txn.line("seal.slot.add", "ok")
        .number("node", node)
        .text("slot", &slot_name(node))
        .end();
    Ok(Outcome::Done)
}

fn checkpoint(
    txn: &mut Txn<'_>,
    (index, seq): (u64, u64),
    head: &Head,
    signature: &[u8],
) -> Result<Outcome, Rejection> {
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

fn retire_trail(txn: &mut Txn<'_>, upto_seq: u64) -> Result<Outcome, Rejection> {
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

fn import(txn: &mut Txn<'_>, journal: u64, events: &[JournalEvent]) -> Result<Outcome, Rejection> {
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
            .text("request_id", &event.request_id)
            .number("node", node)
            .text("name", event.name.as_str())
            .number("version", event.version.unwrap_or(0))
            .text("served_at", &crate::time::rfc3339(event.at))
            .number("served_index", event.served_index)
            .number("age_ms", event.age_ms)
            .number("journal", journal)
            .number("journal_seq", event.seq)
            .end();
        super::note_new_segments(txn);
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
) -> Result<Outcome, Rejection> {
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

fn raise_level(txn: &mut Txn<'_>, level: u32) -> Result<Outcome, Rejection> {
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

fn check_member(member: &Member) -> Result<(), Rejection> {
    let texts = [&member.name, &member.peer_address, &member.api_address];
    if texts.into_iter().any(|text| text.len() > MAX_TEXT_BYTES) {
        return Err(invalid(
            "a member's name and addresses have at most 1,024 bytes",
        ));
    }
    Ok(())
}

fn slot_name(node: NodeId) -> String {
    format!("{}{node}", super::admin::NODE_SLOT_PREFIX)
}

fn invalid(reason: &str) -> Rejection {
    Rejection::Invalid {
        reason: reason.to_owned(),
    }
}
