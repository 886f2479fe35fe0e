//! Writes, deletes, undeletes, destructions and re-wraps of secrets.

use std::collections::BTreeSet;

use crate::apply::Txn;
use crate::command::{Caller, Write};
use crate::limits::{MAX_BATCH_WRITES, MAX_NAMES, MAX_TEXT_BYTES, VERSION_OVERHEAD_BYTES};
use crate::name::SecretName;
use crate::outcome::{Outcome, Rejection, Written};
use crate::secret::{About, Deleted, SealedValue, Secret, Version};
use crate::state::State;
use crate::time::{SECOND, kid_time};

pub(super) fn write(
    txn: &mut Txn<'_>,
    caller: &Caller,
    writes: &[Write],
) -> Result<Outcome, Rejection> {
    check_batch(writes)?;
    for write in writes {
        check_value(txn, &write.value)?;
        check_about(&write.about)?;
        check_cas(txn, &write.name, write.cas)?;
    }
    check_quota(txn, writes)?;
    let batch = writes.len() as u64;
    let written = writes
        .iter()
        .map(|write| put(txn, caller, write, batch))
        .collect();
    Ok(Outcome::Written(written))
}

fn check_batch(writes: &[Write]) -> Result<(), Rejection> {
    if writes.is_empty() || writes.len() > MAX_BATCH_WRITES {
        return Err(invalid("a batch holds 1 to 64 writes"));
    }
    let names: BTreeSet<_> = writes.iter().map(|write| &write.name).collect();
    if names.len() != writes.len() {
        return Err(invalid("a batch names each secret once"));
    }
    Ok(())
}

fn check_value(txn: &Txn<'_>, value: &SealedValue) -> Result<(), Rejection> {
    let current = txn.state.core.epoch;
    let is_current = value.epoch == current || jarvis_mutants::active!(PutUnderOldEpoch);
    if !is_current || !txn.state.epochs.contains(&current) {
        return Err(Rejection::StaleEpoch { current });
    }
    if value.ciphertext.len() as u64 > txn.state.core.limits.max_ciphertext_bytes {
        return Err(invalid("value longer than the agreed limit"));
    }
    Ok(())
}

fn check_about(about: &About) -> Result<(), Rejection> {
    let texts = [&about.description, &about.owner, &about.kind];
    if texts
        .into_iter()
        .flatten()
        .any(|text| text.len() > MAX_TEXT_BYTES)
    {
        return Err(invalid(
            "description, owner and type have at most 1,024 bytes",
        ));
    }
    Ok(())
}

fn check_cas(txn: &Txn<'_>, name: &SecretName, cas: Option<u64>) -> Result<(), Rejection> {
    let actual_version = txn
        .state
        .secrets
        .get(name)
        .and_then(|secret| secret.current())
        .unwrap_or(0);
    match cas {
        Some(wanted) if wanted != actual_version => Err(Rejection::Conflict { actual_version }),
        _ => Ok(()),
    }
}

/// Counts what comes and not what goes with it (the oldest version, the text that is replaced): never over the limit.
fn check_quota(txn: &Txn<'_>, writes: &[Write]) -> Result<(), Rejection> {
    let added: u64 = writes
        .iter()
        .map(|write| {
            let is_new = !txn.state.secrets.contains(&write.name);
            let name = if is_new {
                Secret::name_cost(&write.name)
            } else {
                0
            };
            cost(&write.name, &write.value) + name + write.about.bytes()
        })
        .sum();
    let limit = txn.state.core.limits.max_vault_bytes;
    let new_names = writes
        .iter()
        .filter(|write| !txn.state.secrets.contains(&write.name))
        .count();
    if new_names > 0 && txn.state.secrets.len() + new_names > MAX_NAMES {
        return Err(Rejection::Quota { limit });
    }
    if txn.state.core.vault_bytes.saturating_add(added) > limit {
        return Err(Rejection::Quota { limit });
    }
    Ok(())
}

/// What a version counts against the quota, bytes.
fn cost(name: &SecretName, value: &SealedValue) -> u64 {
    value.ciphertext.len() as u64 + name.as_str().len() as u64 + VERSION_OVERHEAD_BYTES
}

fn put(txn: &mut Txn<'_>, caller: &Caller, write: &Write, batch: u64) -> Written {
    let name = &write.name;
    let now = txn.now;
    let mut secret = txn
        .state
        .secrets
        .get(name)
        .map(|secret| (**secret).clone())
        .unwrap_or_else(|| Secret {
            last_version: 0,
            versions: Vec::new(),
            created: now,
            deleted: None,
            kid_second: (0, 0),
            about: About::default(),
        });
    revive(txn, name, &mut secret);
    let number = secret.last_version + 1;
    let kid = next_kid(name, &mut secret, now);
    let expires = now.saturating_add(txn.state.core.limits.rotation_ms);
    let version = Version {
        number,
        kid: kid.clone(),
        value: write.value.clone(),
        created: now,
        expires,
        created_by: caller.client.clone(),
        index: txn.log.index,
    };
    secret.last_version = number;
    secret.versions.push(number);
    merge(&mut secret.about, &write.about);
    let state = &mut *txn.state;
    state.core.vault_bytes += cost(name, &write.value);
    state
        .versions
        .put(&mut state.tracker, (name.clone(), number), version);
    let keep = state.core.limits.max_versions.max(1) as usize;
    // In the common case the version that goes is of the epoch of the one that comes: nothing to count then.
    let mut came = Some(write.value.epoch);
    while secret.versions.len() > keep {
        let oldest = secret.versions.remove(0);
        let went = take_version(state, name, oldest);
        if went == came {
            came = None;
        } else if let Some(epoch) = went {
            count_epoch(state, epoch, false);
        }
    }
    if let Some(epoch) = came {
        count_epoch(state, epoch, true);
    }
    state.put_secret(name.clone(), secret);
    let audit_seq = txn
        .caller_line("secret.write", "allow", caller)
        .text("name", name.as_str())
        .number("version", number)
        .text("kid", &kid)
        .number("batch", batch)
        .end();
    Written {
        name: name.clone(),
        kid,
        version: number,
        expires,
        audit_seq,
    }
}

/// A write to a deleted name starts over with the number that follows; what was deleted is destroyed.
fn revive(txn: &mut Txn<'_>, name: &SecretName, secret: &mut Secret) {
    if let Some(deleted) = secret.deleted.take() {
        txn.state.deletions.remove(&(deleted.until, name.clone()));
        for number in std::mem::take(&mut secret.versions) {
            forget_version(txn.state, name, number);
        }
        secret.about = About::default();
        secret.created = txn.now;
    }
}

fn next_kid(name: &SecretName, secret: &mut Secret, now: u64) -> String {
    let second = now / SECOND;
    let count = if secret.kid_second.0 == second {
        secret.kid_second.1.saturating_add(1)
    } else {
        1
    };
    secret.kid_second = (second, count);
    let plain = format!("{name}-{}", kid_time(now));
    if count == 1 {
        plain
    } else {
        format!("{plain}-{count}")
    }
}

fn merge(about: &mut About, new: &About) {
    for (old, new) in [
        (&mut about.description, &new.description),
        (&mut about.owner, &new.owner),
        (&mut about.kind, &new.kind),
    ] {
        if new.is_some() {
            old.clone_from(new);
        }
    }
}

pub(super) fn delete(
    txn: &mut Txn<'_>,
    caller: &Caller,
    name: &SecretName,
    cas: Option<u64>,
) -> Result<Outcome, Rejection> {
    let secret = txn
        .state
        .secrets
        .get(name)
        .cloned()
        .ok_or(Rejection::NotFound)?;
    if let Some(deleted) = secret.deleted.filter(|_| !secret.versions.is_empty()) {
        return Err(Rejection::Deleted(deleted));
    }
    let current = secret.current().ok_or(Rejection::NotFound)?;
    check_cas(txn, name, cas)?;
    let deleted = Deleted {
        at: txn.now,
        until: txn.now.saturating_add(txn.state.core.limits.undelete_ms),
    };
    txn.state.deletions.insert((deleted.until, name.clone()));
    txn.state.put_secret(
        name.clone(),
        Secret {
            deleted: Some(deleted),
            ..(*secret).clone()
        },
    );
    txn.caller_line("secret.delete", "allow", caller)
        .text("name", name.as_str())
        .number("version", current)
        .end();
    Ok(Outcome::Deleted(deleted))
}

pub(super) fn undelete(
    txn: &mut Txn<'_>,
    caller: &Caller,
    name: &SecretName,
) -> Result<Outcome, Rejection> {
    let secret = txn
        .state
        .secrets
        .get(name)
        .cloned()
        .ok_or(Rejection::NotFound)?;
    let Some(&version) = secret.versions.last() else {
        return Err(Rejection::NotFound);
    };
    let Some(deleted) = secret.deleted else {
        return Err(Rejection::Conflict {
            actual_version: version,
        });
    };
    txn.state.deletions.remove(&(deleted.until, name.clone()));
    txn.state.put_secret(
        name.clone(),
        Secret {
            deleted: None,
            ..(*secret).clone()
        },
    );
    let kid = txn
        .state
        .current_version(name)
        .map(|version| version.kid.clone())
        .unwrap_or_default();
    txn.caller_line("secret.undelete", "allow", caller)
        .text("name", name.as_str())
        .number("version", version)
        .end();
    Ok(Outcome::Undeleted { version, kid })
}

pub(super) fn destroy(
    txn: &mut Txn<'_>,
    caller: &Caller,
    name: &SecretName,
    versions: Option<&[u64]>,
) -> Result<Outcome, Rejection> {
    let secret = txn
        .state
        .secrets
        .get(name)
        .cloned()
        .ok_or(Rejection::NotFound)?;
    let wanted: BTreeSet<u64> = match versions {
        Some(numbers) => numbers.iter().copied().collect(),
        None => secret.versions.iter().copied().collect(),
    };
    if wanted.is_empty() || !wanted.iter().all(|number| secret.versions.contains(number)) {
        return Err(Rejection::NotFound);
    }
    let mut left = (*secret).clone();
    left.versions.retain(|number| !wanted.contains(number));
    for number in &wanted {
        forget_version(txn.state, name, *number);
    }
    if left.versions.is_empty() {
        if let Some(deleted) = left.deleted {
            txn.state.deletions.remove(&(deleted.until, name.clone()));
        }
        left.about = About::default();
        left.deleted.get_or_insert(Deleted {
            at: txn.now,
            until: txn.now,
        });
    }
    txn.state.put_secret(name.clone(), left);
    txn.caller_line("secret.destroy", "allow", caller)
        .text("name", name.as_str())
        .numbers("versions", wanted.iter().copied())
        .end();
    Ok(Outcome::Destroyed(wanted.into_iter().collect()))
}

pub(super) fn rewrap(
    txn: &mut Txn<'_>,
    caller: &Caller,
    (name, number): (&SecretName, u64),
    from_epoch: u32,
    value: &SealedValue,
) -> Result<Outcome, Rejection> {
    check_value(txn, value)?;
    let place = (name.clone(), number);
    let old = txn
        .state
        .versions
        .get(&place)
        .cloned()
        .ok_or(Rejection::NotFound)?;
    if old.value.ciphertext.len() != value.ciphertext.len() {
        return Err(invalid("a re-wrapped value has the length of the old one"));
    }
    if old.value.epoch != from_epoch {
        return Err(Rejection::Conflict {
            actual_version: number,
        });
    }
    let state = &mut *txn.state;
    count_epoch(state, from_epoch, false);
    count_epoch(state, value.epoch, true);
    state.core.vault_bytes =
        (state.core.vault_bytes + cost(name, value)).saturating_sub(cost(name, &old.value));
    state.versions.put(
        &mut state.tracker,
        place,
        Version {
            value: value.clone(),
            ..(*old).clone()
        },
    );
    txn.caller_line("secret.rewrap", "allow", caller)
        .text("name", name.as_str())
        .number("version", number)
        .number("epoch", u64::from(value.epoch))
        .end();
    Ok(Outcome::Done)
}

/// Removes a version's record and what it counted for.
pub(super) fn forget_version(state: &mut State, name: &SecretName, number: u64) {
    if let Some(epoch) = take_version(state, name, number) {
        count_epoch(state, epoch, false);
    }
}

/// Removes a version's record and its cost; whoever calls counts the epoch that is told.
fn take_version(state: &mut State, name: &SecretName, number: u64) -> Option<u32> {
    let version = state
        .versions
        .take(&mut state.tracker, &(name.clone(), number))?;
    state.core.vault_bytes = state
        .core
        .vault_bytes
        .saturating_sub(cost(name, &version.value));
    Some(version.value.epoch)
}

fn count_epoch(state: &mut State, number: u32, up: bool) {
    if let Some(epoch) = state.epochs.get(&number) {
        let mut epoch = (**epoch).clone();
        epoch.versions = if up {
            epoch.versions + 1
        } else {
            epoch.versions.saturating_sub(1)
        };
        state.epochs.put(&mut state.tracker, number, epoch);
    }
}

fn invalid(reason: &str) -> Rejection {
    Rejection::Invalid {
        reason: reason.to_owned(),
    }
}
