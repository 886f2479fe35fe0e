//! What happens because time passed: destruction of deleted secrets, expiry of credentials and keys.
//!
//! At most [`DUE_PER_ENTRY`] destructions and [`EXPIRIES_PER_ENTRY`] expiries per entry; the rest waits for the next one.

use crate::apply::Txn;
use crate::limits::{DUE_PER_ENTRY, EXPIRIES_PER_ENTRY};
use crate::state::Expiring;

pub(super) fn settle(txn: &mut Txn<'_>) {
    for _ in 0..EXPIRIES_PER_ENTRY {
        match txn.state.expiries.get_min() {
            Some((at, _)) if *at <= txn.now => expire(txn),
            _ => break,
        }
    }
    if txn.now < txn.state.core.hold_destruction_until {
        return;
    }
    for _ in 0..DUE_PER_ENTRY {
        match txn.state.deletions.get_min() {
            Some((at, _)) if *at <= txn.now => destroy(txn),
            _ => break,
        }
    }
}

fn expire(txn: &mut Txn<'_>) {
    let state = &mut *txn.state;
    let Some((_, what)) = state.expiries.remove_min() else {
        return;
    };
    match what {
        Expiring::Idempotency(client, key) => {
            super::mutate::forget_key(state, &(client, key));
        }
        Expiring::Token(id) => {
            if let Some(token) = state.tokens.take(&mut state.tracker, &id) {
                txn.line("token.expire", "ok")
                    .text("token", &hex::encode(id))
                    .text("client", token.client.as_str())
                    .end();
            }
        }
        Expiring::JoinToken(hash) => {
            state.join_tokens.take(&mut state.tracker, &hash);
        }
        Expiring::Certificate(serial) => {
            state.revoked.take(&mut state.tracker, &serial);
        }
    }
}

fn destroy(txn: &mut Txn<'_>) {
    let Some((_, name)) = txn.state.deletions.remove_min() else {
        return;
    };
    let Some(secret) = txn.state.secrets.get(&name).cloned() else {
        return;
    };
    for number in &secret.versions {
        super::secrets::forget_version(txn.state, &name, *number);
    }
    let remembered = crate::secret::Secret {
        versions: Vec::new(),
        about: crate::secret::About::default(),
        ..(*secret).clone()
    };
    txn.state.put_secret(name.clone(), remembered);
    txn.line("secret.destroy", "ok")
        .text("name", name.as_str())
        .text("reason", "retention")
        .numbers("versions", secret.versions.iter().copied())
        .end();
}
