//! Mutations by clients: permission, idempotency, effect.

use crate::apply::access::{permit, permit_admin};
use crate::apply::{Txn, admin, secrets};
use crate::command::{Caller, Change, Idempotency, Mutation};
use crate::limits::{
    IDEMPOTENCY_PER_CLIENT, IDEMPOTENCY_TOTAL, IDEMPOTENCY_TTL, MAX_IDEMPOTENCY_KEY_BYTES,
    MAX_REQUEST_ID_BYTES,
};
use crate::name::ClientId;
use crate::outcome::{Outcome, Rejection, Reply};
use crate::policy::Verb;
use crate::state::{Expiring, IdempotencyRecord, State};

pub(super) fn decide(txn: &mut Txn<'_>, mutation: &Mutation) -> Reply {
    let caller = &mutation.caller;
    if let Err(rejection) = permit_change(txn, caller, &mutation.change) {
        return txn.reply(Outcome::Rejected(rejection));
    }
    let key = match &mutation.idempotency {
        _ if jarvis_mutants::active!(IdempotencyKeyForgotten) => None,
        Some(idempotency) => match look_up(txn, caller, idempotency) {
            Known::Repeat(reply) => return reply,
            Known::Refused(rejection) => {
                let reason = rejection_word(&rejection);
                refuse(txn, mutation, reason);
                return txn.reply(Outcome::Rejected(rejection));
            }
            Known::New => Some(idempotency),
        },
        None => None,
    };
    let outcome = if caller.request_id.len() > MAX_REQUEST_ID_BYTES {
        Err(Rejection::Invalid {
            reason: "request id too long".to_owned(),
        })
    } else {
        change(txn, caller, &mutation.change)
    };
    let outcome = match outcome {
        Ok(outcome) => outcome,
        // The node encrypts again and repeats: that repeat is the one that leaves the event.
        Err(rejection @ Rejection::StaleEpoch { .. }) => {
            return txn.reply(Outcome::Rejected(rejection));
        }
        Err(rejection) => {
            refuse(txn, mutation, rejection_word(&rejection));
            Outcome::Rejected(rejection)
        }
    };
    let reply = txn.reply(outcome);
    if let (Some(idempotency), true) = (key, worth_keeping(&reply.outcome)) {
        remember(txn, caller, idempotency, reply.clone());
    }
    reply
}

fn change(txn: &mut Txn<'_>, caller: &Caller, change: &Change) -> Result<Outcome, Rejection> {
    match change {
        Change::Write(writes) => secrets::write(txn, caller, writes),
        Change::Delete { name, cas } => secrets::delete(txn, caller, name, *cas),
        Change::Undelete { name } => secrets::undelete(txn, caller, name),
        Change::Destroy { name, versions } => {
            secrets::destroy(txn, caller, name, versions.as_deref())
        }
        Change::Rewrap {
            name,
            version,
            from_epoch,
            value,
        } => secrets::rewrap(txn, caller, (name, *version), *from_epoch, value),
        other => admin::change(txn, caller, other),
    }
}

/// The event's name of a change.
fn event(change: &Change) -> &'static str {
    match change {
        Change::Write(_) => "secret.write",
        Change::Delete { .. } => "secret.delete",
        Change::Undelete { .. } => "secret.undelete",
        Change::Destroy { .. } => "secret.destroy",
        Change::SetPolicy { .. } => "policy.set",
        Change::CreateToken { .. } => "token.create",
        Change::RevokeToken { .. } => "token.revoke",
        Change::RevokeCertificate { .. } => "certificate.revoke",
        Change::CreateJoinToken { .. } => "join_token.create",
        Change::AddSlot { .. } => "seal.slot.add",
        Change::RemoveSlot { .. } => "seal.slot.remove",
        Change::AddEpoch { .. } => "epoch.add",
        Change::RetireEpoch { .. } => "epoch.retire",
        Change::Rewrap { .. } => "secret.rewrap",
        Change::TransferLeader { .. } => "leader.transfer",
        Change::RemoveMember { .. } => "node.remove",
    }
}

/// The name the event is about, where there is one.
fn subject(change: &Change) -> Option<&str> {
    match change {
        Change::Write(writes) => writes.first().map(|write| write.name.as_str()),
        Change::Delete { name, .. }
        | Change::Undelete { name }
        | Change::Destroy { name, .. }
        | Change::Rewrap { name, .. } => Some(name.as_str()),
        _ => None,
    }
}

fn permit_change(txn: &mut Txn<'_>, caller: &Caller, change: &Change) -> Result<(), Rejection> {
    let event = event(change);
    match change {
        Change::Write(writes) => {
            for write in writes {
                permit(txn, caller, event, Verb::Write, &write.name)?;
            }
            if writes.is_empty() {
                permit_admin(txn, caller, event)
            } else {
                Ok(())
            }
        }
        Change::Delete { name, .. } | Change::Undelete { name } | Change::Destroy { name, .. } => {
            permit(txn, caller, event, Verb::Delete, name)
        }
        _ => permit_admin(txn, caller, event),
    }
}

enum Known {
    New,
    Repeat(Reply),
    Refused(Rejection),
}

fn look_up(txn: &mut Txn<'_>, caller: &Caller, idempotency: &Idempotency) -> Known {
    if idempotency.key.is_empty() || idempotency.key.len() > MAX_IDEMPOTENCY_KEY_BYTES {
        return Known::Refused(Rejection::Invalid {
            reason: "idempotency key length".to_owned(),
        });
    }
    let place = (caller.client.clone(), idempotency.key.clone());
    // One that is over but not cleared yet stands in nobody's way.
    let over = txn
        .state
        .idempotency
        .get(&place)
        .map(|record| record.expires);
    if let Some(expires) = over.filter(|expires| *expires <= txn.now) {
        txn.state.expiries.remove(&(
            expires,
            Expiring::Idempotency(place.0.clone(), place.1.clone()),
        ));
        forget_key(txn.state, &place);
    }
    match txn.state.idempotency.get(&place) {
        Some(record) if record.mac == idempotency.mac => Known::Repeat(record.reply.clone()),
        Some(_) => Known::Refused(Rejection::IdempotencyReused),
        None => {
            let of_client = txn
                .state
                .keys_per_client
                .get(&caller.client)
                .copied()
                .unwrap_or(0);
            if of_client >= IDEMPOTENCY_PER_CLIENT
                || txn.state.idempotency.len() >= IDEMPOTENCY_TOTAL
            {
                Known::Refused(Rejection::IdempotencyFull)
            } else {
                Known::New
            }
        }
    }
}

/// Forgets a key and makes room for another of its client.
pub(super) fn forget_key(state: &mut State, place: &(ClientId, String)) {
    if state.idempotency.take(&mut state.tracker, place).is_none() {
        return;
    }
    let left = state
        .keys_per_client
        .get(&place.0)
        .copied()
        .unwrap_or(1)
        .saturating_sub(1);
    if left == 0 {
        state.keys_per_client.remove(&place.0);
    } else {
        state.keys_per_client.insert(place.0.clone(), left);
    }
}

/// Outcomes a repeat must see again: what happened, and what was found. A full vault may have room later.
const fn worth_keeping(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Rejected(rejection) => {
            matches!(
                rejection,
                Rejection::Conflict { .. } | Rejection::NotFound | Rejection::Deleted(_)
            )
        }
        _ => true,
    }
}

fn remember(txn: &mut Txn<'_>, caller: &Caller, idempotency: &Idempotency, reply: Reply) {
    let expires = txn.now.saturating_add(IDEMPOTENCY_TTL);
    let place = (caller.client.clone(), idempotency.key.clone());
    let state = &mut *txn.state;
    state.expiries.insert((
        expires,
        Expiring::Idempotency(place.0.clone(), place.1.clone()),
    ));
    *state.keys_per_client.entry(place.0.clone()).or_insert(0) += 1;
    let record = IdempotencyRecord {
        mac: idempotency.mac,
        reply,
        expires,
    };
    state.idempotency.put(&mut state.tracker, place, record);
}

fn refuse(txn: &mut Txn<'_>, mutation: &Mutation, reason: &str) {
    let event = event(&mutation.change);
    txn.caller_line(event, "refused", &mutation.caller)
        .maybe("name", subject(&mutation.change))
        .text("reason", reason)
        .end();
}

/// The word of a refusal in the trail.
pub(super) fn rejection_word(rejection: &Rejection) -> &'static str {
    match rejection {
        Rejection::Unauthenticated => "credential",
        Rejection::NotAuthorized { .. } => "policy",
        Rejection::NotFound => "not_found",
        Rejection::Deleted(_) => "deleted",
        Rejection::Conflict { .. } => "conflict",
        Rejection::IdempotencyReused => "idempotency_key_reused",
        Rejection::IdempotencyFull => "idempotency_full",
        Rejection::StaleEpoch { .. } => "stale_epoch",
        Rejection::Quota { .. } => "quota",
        Rejection::Invalid { .. } => "invalid",
        Rejection::Repeat | Rejection::NotReady => "not_ready",
    }
}
