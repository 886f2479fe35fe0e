//! Accesses: the decision, the event, and what may be shown. Nothing else changes.

use crate::apply::Txn;
use crate::command::{Access, Caller, Target};
use crate::name::SecretName;
use crate::outcome::{Outcome, Rejection, Reply};
use crate::policy::{Decision, DenyReason, Verb};
use crate::token::Credential;

/// What a list asks for, in the words of its refusal: "client x not allowed to access the list of secrets" (A7).
const LIST: &str = "the list of secrets";
/// Longest reason of a node's own refusal, bytes.
const MAX_REASON_BYTES: usize = 64;

pub(super) fn decide(txn: &mut Txn<'_>, access: &Access) -> Reply {
    let caller = &access.caller;
    let outcome = match &access.target {
        Target::Value { name, version } => value(txn, caller, name, *version),
        Target::Versions { name } => versions(txn, caller, name),
        Target::List => list(txn, caller),
        Target::Admin(view) => admin(txn, caller, view.event()),
        Target::Refused { reason } => refused(txn, caller, reason),
    };
    txn.reply(outcome)
}

fn value(txn: &mut Txn<'_>, caller: &Caller, name: &SecretName, version: Option<u64>) -> Outcome {
    const EVENT: &str = "secret.read";
    if let Err(rejection) = permit(txn, caller, EVENT, Verb::Read, name) {
        return Outcome::Rejected(rejection);
    }
    match find(txn, name, version) {
        Ok((number, current)) => {
            txn.caller_line(EVENT, "allow", caller)
                .text("name", name.as_str())
                .number("version", number)
                .end();
            match txn.state.versions.get(&(name.clone(), number)) {
                Some(record) => Outcome::Value {
                    version: record.clone(),
                    current,
                },
                None => Outcome::Rejected(Rejection::NotFound),
            }
        }
        Err(rejection) => {
            txn.caller_line(EVENT, "not_found", caller)
                .text("name", name.as_str())
                .end();
            Outcome::Rejected(rejection)
        }
    }
}

/// The number of the version asked for, and whether it is the current one.
fn find(txn: &Txn<'_>, name: &SecretName, version: Option<u64>) -> Result<(u64, bool), Rejection> {
    let secret = txn.state.secrets.get(name).ok_or(Rejection::NotFound)?;
    if let Some(deleted) = secret.deleted {
        return Err(if secret.versions.is_empty() {
            Rejection::NotFound
        } else {
            Rejection::Deleted(deleted)
        });
    }
    let current = secret.current().ok_or(Rejection::NotFound)?;
    let number = version.unwrap_or(current);
    if secret.versions.contains(&number) {
        Ok((number, number == current))
    } else {
        Err(Rejection::NotFound)
    }
}

fn versions(txn: &mut Txn<'_>, caller: &Caller, name: &SecretName) -> Outcome {
    const EVENT: &str = "secret.versions";
    if let Err(rejection) = permit(txn, caller, EVENT, Verb::Read, name) {
        return Outcome::Rejected(rejection);
    }
    let known = txn
        .state
        .secrets
        .get(name)
        .is_some_and(|secret| !secret.versions.is_empty());
    let outcome = if known { "allow" } else { "not_found" };
    txn.caller_line(EVENT, outcome, caller)
        .text("name", name.as_str())
        .end();
    if known {
        view(txn)
    } else {
        Outcome::Rejected(Rejection::NotFound)
    }
}

/// Lists are open to every client the policy names; which names it sees is decided name by name in the view (A4).
fn list(txn: &mut Txn<'_>, caller: &Caller) -> Outcome {
    const EVENT: &str = "secret.list";
    if let Err(rejection) = authenticate(txn, caller, EVENT, None) {
        return Outcome::Rejected(rejection);
    }
    let known = txn
        .state
        .policy_record()
        .is_some_and(|record| record.policy.clients.contains_key(caller.client.as_str()));
    if !known {
        let asked = (None, LIST);
        return Outcome::Rejected(deny(txn, caller, EVENT, asked, &DenyReason::UnknownClient));
    }
    txn.caller_line(EVENT, "allow", caller).end();
    view(txn)
}

fn admin(txn: &mut Txn<'_>, caller: &Caller, event: &str) -> Outcome {
    if let Err(rejection) = permit_admin(txn, caller, event) {
        return Outcome::Rejected(rejection);
    }
    txn.caller_line(event, "allow", caller).end();
    view(txn)
}

/// A refusal by the node: the event, and the refusal again.
fn refused(txn: &mut Txn<'_>, caller: &Caller, reason: &str) -> Outcome {
    let reason = &reason[..reason.floor_char_boundary(MAX_REASON_BYTES)];
    txn.caller_line("request.refused", "deny", caller)
        .text("reason", reason)
        .end();
    Outcome::Rejected(Rejection::NotAuthorized {
        target: String::new(),
        reason: reason.to_owned(),
    })
}

/// A handle on the state as of this command: cheap, since a clone shares the records and leaves out what was noted for the
/// image.
fn view(txn: &Txn<'_>) -> Outcome {
    Outcome::View(Box::new(txn.state.clone()))
}

/// Credential and policy for one name; a refusal leaves its event.
pub(super) fn permit(
    txn: &mut Txn<'_>,
    caller: &Caller,
    event: &str,
    verb: Verb,
    name: &SecretName,
) -> Result<(), Rejection> {
    authenticate(txn, caller, event, Some(name))?;
    // No client is the system: the node that was asked has put this in its decision's place.
    if jarvis_mutants::active!(PolicyOnLaggingState) && caller.credential == Credential::System {
        return Ok(());
    }
    let permitted = match txn.state.policy_record() {
        Some(record) => record.policy.permit(&caller.client, verb, name.as_str()),
        None => Err(DenyReason::UnknownClient),
    };
    permitted.map_err(|reason| {
        let asked = (Some(name), name.as_str());
        deny(txn, caller, event, asked, &reason)
    })
}

/// Credential and policy for the cluster itself; a refusal leaves its event, and says what was asked for in its word.
pub(super) fn permit_admin(
    txn: &mut Txn<'_>,
    caller: &Caller,
    event: &str,
) -> Result<(), Rejection> {
    authenticate(txn, caller, event, None)?;
    if caller.credential == Credential::System {
        return Ok(());
    }
    let decision = match txn.state.policy_record() {
        Some(record) => record.policy.decide_admin(&caller.client),
        None => Decision::Deny(DenyReason::UnknownClient),
    };
    match decision {
        Decision::Allow { .. } => Ok(()),
        Decision::Deny(reason) => Err(deny(txn, caller, event, (None, event), &reason)),
    }
}

fn authenticate(
    txn: &mut Txn<'_>,
    caller: &Caller,
    event: &str,
    name: Option<&SecretName>,
) -> Result<(), Rejection> {
    if txn.credential_holds(&caller.client, &caller.credential) {
        return Ok(());
    }
    txn.caller_line(event, "deny", caller)
        .maybe("name", name.map(SecretName::as_str))
        .text("reason", "credential")
        .end();
    Err(Rejection::Unauthenticated)
}

/// The event names the secret, where there is one; the answer says what was asked for in any case.
fn deny(
    txn: &mut Txn<'_>,
    caller: &Caller,
    event: &str,
    (name, target): (Option<&SecretName>, &str),
    reason: &DenyReason,
) -> Rejection {
    let rule = match reason {
        DenyReason::Rule(rule) => Some(rule.as_str()),
        DenyReason::UnknownClient | DenyReason::NoRule => None,
    };
    txn.caller_line(event, "deny", caller)
        .maybe("name", name.map(SecretName::as_str))
        .text("reason", reason.as_str())
        .maybe("rule", rule)
        .end();
    Rejection::NotAuthorized {
        target: target.to_owned(),
        reason: reason.as_str().to_owned(),
    }
}
