//! Nodes join, and say what there is to know about themselves.

use crate::NodeId;
use crate::apply::Txn;
use crate::apply::admin::NODE_SLOT_PREFIX;
use crate::apply::cluster::{Refusal, invalid};
use crate::member::{MAX_BLOB_BYTES, MAX_MEMBERS, Member, SealSlot};
use crate::outcome::{Outcome, Rejection};

pub(super) fn join(
    txn: &mut Txn<'_>,
    token_hash: &[u8; 32],
    member: &Member,
) -> Result<Outcome, Refusal> {
    check(member)?;
    let mut token = match txn.state.join_tokens.get(token_hash) {
        Some(token) if token.expires > txn.now => (**token).clone(),
        _ => return Err(not_admitted("join_token")),
    };
    if member.level < txn.state.core.level {
        return Err(not_admitted("feature_level"));
    }
    if let Some((_, node)) = token
        .consumed
        .iter()
        .find(|(key, _)| *key == member.peer_key)
    {
        if txn.state.core.removed.contains(node) {
            return Err(not_admitted("removed"));
        }
        return Ok(Outcome::Joined { node: *node });
    }
    // Rule 11. Two ids with one key would be two voices of one node, and the handshake could not tell them apart.
    if let Some(node) = holder(txn, &member.peer_key) {
        return Err(Refusal {
            reason: "peer_key",
            ..invalid(&format!(
                "this key is node {node}'s already, and a key names one member; nothing was changed. Repeat the join with \
                 the token that admitted it while that lives, or join from an empty folder, which makes another key"
            ))
        });
    }
    if token.uses == 0 {
        return Err(not_admitted("join_token_used_up"));
    }
    if txn.batch_len != 1 {
        return Err(not_admitted("not_alone"));
    }
    if txn.state.members.len() >= MAX_MEMBERS {
        return Err(not_admitted("too_many_members"));
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

/// The live member with this key; at most [`MAX_MEMBERS`] are looked at.
fn holder(txn: &Txn<'_>, peer_key: &[u8; 32]) -> Option<NodeId> {
    let mut members = txn.state.members.iter();
    members
        .find(|(_, member)| member.peer_key == *peer_key)
        .map(|(node, _)| *node)
}

/// A newcomer is told nothing but that its token does not admit it; the trail has the reason.
const fn not_admitted(reason: &'static str) -> Refusal {
    Refusal {
        rejection: Rejection::Unauthenticated,
        reason,
    }
}

pub(super) fn update_member(txn: &mut Txn<'_>, member: &Member) -> Result<Outcome, Refusal> {
    check(member)?;
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

pub(super) fn add_node_slot(txn: &mut Txn<'_>, blob: &[u8]) -> Result<Outcome, Refusal> {
    if blob.is_empty() || blob.len() > MAX_BLOB_BYTES {
        return Err(invalid("a wrapped key has 1 to 65,536 bytes"));
    }
    let (node, created) = (txn.origin, txn.now);
    if !txn.state.members.contains(&node) {
        return Err(Rejection::NotFound.into());
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

fn check(member: &Member) -> Result<(), Refusal> {
    member
        .validate()
        .map_err(|error| invalid(&error.to_string()))
}

/// What the slot of a node's key file is called.
pub(super) fn slot_name(node: NodeId) -> String {
    format!("{NODE_SLOT_PREFIX}{node}")
}
