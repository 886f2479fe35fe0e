//! Changes only administrators make: policy, credentials, seals, epochs, membership.

use crate::NodeId;
use crate::apply::Txn;
use crate::command::{Caller, Change};
use crate::limits::MAX_ADMIN_RECORDS;
use crate::member::{Epoch, JoinToken, MAX_BLOB_BYTES, MAX_EPOCHS, MAX_SLOTS, SealSlot};
use crate::name::ClientId;
use crate::outcome::{Outcome, Rejection};
use crate::policy::Policy;
use crate::state::{Expiring, PolicyRecord};
use crate::time::Millis;
use crate::token::{Token, TokenId};

/// Longest policy text kept, bytes.
pub(super) const MAX_POLICY_SOURCE_BYTES: usize = 1024 * 1024;
/// Most nodes one join token admits.
const MAX_JOIN_USES: u32 = 100;
/// Slots of nodes are named after them.
pub(super) const NODE_SLOT_PREFIX: &str = "node-";
/// Longest serial number, slot name or kind of slot, bytes.
pub(super) const MAX_ID_BYTES: usize = 128;

pub(super) fn change(
    txn: &mut Txn<'_>,
    caller: &Caller,
    change: &Change,
) -> Result<Outcome, Rejection> {
    match change {
        Change::SetPolicy {
            policy,
            source,
            cas,
        } => set_policy(txn, caller, policy, source, *cas),
        Change::CreateToken {
            id,
            secret_hash,
            client,
            ttl_ms,
        } => create_token(txn, caller, *id, (*secret_hash, client), *ttl_ms),
        Change::RevokeToken { id } => revoke_token(txn, caller, id),
        Change::RevokeCertificate { serial, not_after } => {
            revoke_certificate(txn, caller, serial, *not_after)
        }
        Change::CreateJoinToken {
            id,
            hash,
            uses,
            ttl_ms,
        } => create_join_token(txn, caller, (*id, *hash), *uses, *ttl_ms),
        Change::AddSlot { slot, kind, blob } => add_slot(txn, caller, slot, kind, blob),
        Change::RemoveSlot { slot } => remove_slot(txn, caller, slot),
        Change::AddEpoch { number, wrapped } => add_epoch(txn, caller, *number, wrapped),
        Change::RetireEpoch { number } => retire_epoch(txn, caller, *number),
        Change::TransferLeader { to } => {
            txn.caller_line("leader.transfer", "allow", caller)
                .number("to", to.unwrap_or(0))
                .end();
            Ok(Outcome::Done)
        }
        Change::RemoveMember { node } => remove_member(txn, caller, *node),
        Change::Write(_)
        | Change::Delete { .. }
        | Change::Undelete { .. }
        | Change::Destroy { .. }
        | Change::Rewrap { .. } => Err(invalid("not an administrator's change")),
    }
}

fn set_policy(
    txn: &mut Txn<'_>,
    caller: &Caller,
    policy: &Policy,
    source: &str,
    cas: Option<u64>,
) -> Result<Outcome, Rejection> {
    let record = txn
        .state
        .policy
        .get(&0)
        .cloned()
        .ok_or(Rejection::NotReady)?;
    let actual_version = record.version;
    if cas.is_some_and(|wanted| wanted != actual_version) {
        return Err(Rejection::Conflict { actual_version });
    }
    policy
        .validate()
        .map_err(|error| invalid(&error.to_string()))?;
    if source.len() > MAX_POLICY_SOURCE_BYTES {
        return Err(invalid("policy text longer than 1 MiB"));
    }
    let changed = record.policy != *policy || record.source != source;
    let version = if changed {
        actual_version + 1
    } else {
        actual_version
    };
    if changed {
        let new = PolicyRecord {
            version,
            policy: policy.clone(),
            source: source.to_owned(),
        };
        txn.state.policy.put(&mut txn.state.tracker, 0, new);
    }
    txn.caller_line("policy.set", "allow", caller)
        .number("version", version)
        .number("changed", u64::from(changed))
        .end();
    Ok(Outcome::Policy { version, changed })
}

fn create_token(
    txn: &mut Txn<'_>,
    caller: &Caller,
    id: TokenId,
    (secret_hash, client): ([u8; 32], &ClientId),
    ttl_ms: Option<Millis>,
) -> Result<Outcome, Rejection> {
    if txn.state.tokens.contains(&id) {
        return Err(Rejection::Conflict { actual_version: 1 });
    }
    if txn.state.tokens.len() >= MAX_ADMIN_RECORDS {
        return Err(invalid("too many tokens: revoke some"));
    }
    let expires = ttl_ms.map(|ttl| txn.now.saturating_add(ttl));
    let token = Token {
        secret_hash,
        client: client.clone(),
        created: txn.now,
        expires,
    };
    txn.state.tokens.put(&mut txn.state.tracker, id, token);
    if let Some(at) = expires {
        txn.state.expiries.insert((at, Expiring::Token(id)));
    }
    txn.caller_line("token.create", "allow", caller)
        .text("token", &hex::encode(id))
        .text("for", client.as_str())
        .end();
    Ok(Outcome::Created { id, expires })
}

fn revoke_token(txn: &mut Txn<'_>, caller: &Caller, id: &TokenId) -> Result<Outcome, Rejection> {
    let token = txn
        .state
        .tokens
        .take(&mut txn.state.tracker, id)
        .ok_or(Rejection::NotFound)?;
    if let Some(at) = token.expires {
        txn.state.expiries.remove(&(at, Expiring::Token(*id)));
    }
    txn.caller_line("token.revoke", "allow", caller)
        .text("token", &hex::encode(id))
        .text("for", token.client.as_str())
        .end();
    Ok(Outcome::Done)
}

fn revoke_certificate(
    txn: &mut Txn<'_>,
    caller: &Caller,
    serial: &str,
    not_after: Millis,
) -> Result<Outcome, Rejection> {
    let hexadecimal = serial
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if serial.is_empty() || serial.len() > MAX_ID_BYTES || !hexadecimal {
        return Err(invalid("a serial number is lower-case hex"));
    }
    if not_after <= txn.now {
        return Err(invalid(
            "this certificate has ended already: check not_after",
        ));
    }
    if txn.state.revoked.len() >= MAX_ADMIN_RECORDS {
        return Err(invalid("too many revoked certificates"));
    }
    let mut not_after = not_after;
    if let Some(old) = txn.state.revoked.get(serial).map(|old| **old) {
        not_after = not_after.max(old);
        txn.state
            .expiries
            .remove(&(old, Expiring::Certificate(serial.to_owned())));
    }
    txn.state
        .revoked
        .put(&mut txn.state.tracker, serial.to_owned(), not_after);
    txn.state
        .expiries
        .insert((not_after, Expiring::Certificate(serial.to_owned())));
    txn.caller_line("certificate.revoke", "allow", caller)
        .text("serial", serial)
        .end();
    Ok(Outcome::Done)
}

fn create_join_token(
    txn: &mut Txn<'_>,
    caller: &Caller,
    (id, hash): (TokenId, [u8; 32]),
    uses: u32,
    ttl_ms: Millis,
) -> Result<Outcome, Rejection> {
    if uses == 0 || uses > MAX_JOIN_USES {
        return Err(invalid("a join token admits 1 to 100 nodes"));
    }
    if txn.state.join_tokens.contains(&hash) {
        return Err(Rejection::Conflict { actual_version: 1 });
    }
    if txn.state.join_tokens.len() >= MAX_ADMIN_RECORDS {
        return Err(invalid("too many join tokens"));
    }
    let expires = txn.now.saturating_add(ttl_ms);
    let token = JoinToken {
        uses,
        expires,
        consumed: Vec::new(),
    };
    txn.state
        .join_tokens
        .put(&mut txn.state.tracker, hash, token);
    txn.state
        .expiries
        .insert((expires, Expiring::JoinToken(hash)));
    txn.caller_line("join_token.create", "allow", caller)
        .number("uses", u64::from(uses))
        .end();
    Ok(Outcome::Created {
        id,
        expires: Some(expires),
    })
}

fn add_slot(
    txn: &mut Txn<'_>,
    caller: &Caller,
    slot: &str,
    kind: &str,
    blob: &[u8],
) -> Result<Outcome, Rejection> {
    if slot.is_empty()
        || slot.len() > MAX_ID_BYTES
        || kind.len() > MAX_ID_BYTES
        || blob.len() > MAX_BLOB_BYTES
    {
        return Err(invalid("slot name, kind or blob out of bounds"));
    }
    if slot.starts_with(NODE_SLOT_PREFIX) {
        return Err(invalid(
            "names that begin with \"node-\" are for the nodes' own slots",
        ));
    }
    if txn.state.slots.contains(slot) {
        return Err(Rejection::Conflict { actual_version: 1 });
    }
    if txn.state.slots.len() >= MAX_SLOTS {
        return Err(invalid("at most 64 seal slots"));
    }
    let record = SealSlot {
        kind: kind.to_owned(),
        node: None,
        blob: blob.to_vec(),
        created: txn.now,
    };
    txn.state
        .slots
        .put(&mut txn.state.tracker, slot.to_owned(), record);
    txn.caller_line("seal.slot.add", "allow", caller)
        .text("slot", slot)
        .text("kind", kind)
        .end();
    Ok(Outcome::SlotAdded {
        slot: slot.to_owned(),
    })
}

fn remove_slot(txn: &mut Txn<'_>, caller: &Caller, slot: &str) -> Result<Outcome, Rejection> {
    if !txn.state.slots.contains(slot) {
        return Err(Rejection::NotFound);
    }
    if txn.state.slots.len() == 1 {
        return Err(invalid(
            "the last seal slot can not be removed: nothing could unseal the vault",
        ));
    }
    txn.state.slots.take(&mut txn.state.tracker, slot);
    txn.caller_line("seal.slot.remove", "allow", caller)
        .text("slot", slot)
        .end();
    Ok(Outcome::Done)
}

fn add_epoch(
    txn: &mut Txn<'_>,
    caller: &Caller,
    number: u32,
    wrapped: &[u8],
) -> Result<Outcome, Rejection> {
    let current = txn.state.core.epoch;
    if current.checked_add(1) != Some(number) {
        return Err(Rejection::Conflict {
            actual_version: u64::from(current),
        });
    }
    if wrapped.len() > MAX_BLOB_BYTES || txn.state.epochs.len() >= MAX_EPOCHS {
        return Err(invalid(
            "at most 64 key epochs: re-wrap and retire old ones",
        ));
    }
    let epoch = Epoch {
        wrapped: wrapped.to_vec(),
        created: txn.now,
        versions: 0,
    };
    txn.state.epochs.put(&mut txn.state.tracker, number, epoch);
    txn.state.core.epoch = number;
    txn.caller_line("epoch.add", "allow", caller)
        .number("epoch", u64::from(number))
        .end();
    Ok(Outcome::Done)
}

fn retire_epoch(txn: &mut Txn<'_>, caller: &Caller, number: u32) -> Result<Outcome, Rejection> {
    let epoch = txn.state.epochs.get(&number).ok_or(Rejection::NotFound)?;
    if number == txn.state.core.epoch {
        return Err(invalid("the current epoch can not be retired"));
    }
    if epoch.versions > 0 {
        return Err(invalid("versions still use this epoch: re-wrap them first"));
    }
    txn.state.epochs.take(&mut txn.state.tracker, &number);
    txn.caller_line("epoch.retire", "allow", caller)
        .number("epoch", u64::from(number))
        .end();
    Ok(Outcome::Done)
}

fn remove_member(txn: &mut Txn<'_>, caller: &Caller, node: NodeId) -> Result<Outcome, Rejection> {
    if !txn.state.members.contains(&node) {
        return Err(Rejection::NotFound);
    }
    if txn.state.core.voters.contains(&node) {
        return Err(invalid("a voter leaves the voters first"));
    }
    if txn
        .state
        .slots
        .iter()
        .all(|(_, slot)| slot.node == Some(node))
    {
        return Err(invalid(
            "the last seal slot would go with this node: nothing could unseal the vault",
        ));
    }
    let state = &mut *txn.state;
    state.members.take(&mut state.tracker, &node);
    state.core.removed.insert(node);
    state.core.windows.remove(&node);
    let own: Vec<String> = state
        .slots
        .iter()
        .filter(|(_, slot)| slot.node == Some(node))
        .map(|(name, _)| name.clone())
        .collect();
    for slot in own {
        state.slots.take(&mut state.tracker, &slot);
    }
    txn.caller_line("node.remove", "allow", caller)
        .number("member", node)
        .end();
    Ok(Outcome::Done)
}

fn invalid(reason: &str) -> Rejection {
    Rejection::Invalid {
        reason: reason.to_owned(),
    }
}
