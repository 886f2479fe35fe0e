//! Policy: show, apply, explain (P1–P3).

use jarvis_domain::command::{AdminView, Caller, Change};
use jarvis_domain::name::{ClientId, SecretName};
use jarvis_domain::outcome::{Outcome, Rejection};
use jarvis_domain::policy::{Decision, DenyReason, Policy, Verb};
use jarvis_wire::policy::{
    ApplyPolicy, ExplainPolicy, PolicyApplied, PolicyDocument, PolicyExplanation,
};

use crate::policy_file;
use crate::service::{Service, ServiceError, refused, secrets, unknown};

/// Apply decides by the policy in force, so that this one would be the last.
const NO_ADMINISTRATOR: &str = "under this policy no client could administer the cluster: nobody could ever apply another \
     one, make or revoke a token, admit a node, add a seal or read the trail, and there is no way back. Nothing was changed. \
     Give a client `allow: [\"*\"]`, or the verb admin on the name \"*\"; if it is really meant, say \
     \"allow_no_administrator\": true (jarvis-secrets policy apply --allow-no-administrator)";

impl Service {
    /// The policy in force.
    ///
    /// # Errors
    /// A7's errors.
    pub async fn policy(&self, caller: Caller) -> Result<PolicyDocument, ServiceError> {
        let state = self
            .admin_view(caller, AdminView::Policy, "the policy")
            .await?;
        let record = state.policy_record().ok_or_else(unknown)?;
        Ok(PolicyDocument {
            version: record.version,
            policy: record.source.clone(),
        })
    }

    /// Replaces the policy; a dry run only says whether it would change anything, or why it would be refused.
    ///
    /// # Errors
    /// A7's errors; `invalid_request` names the client and rule that is wrong, and refuses a policy that nobody could
    /// ever replace, unless that is what is asked for.
    pub async fn apply_policy(
        &self,
        caller: Caller,
        request: &ApplyPolicy,
        key: Option<(String, [u8; 32])>,
    ) -> Result<PolicyApplied, ServiceError> {
        let policy = policy_file::parse(&request.policy)
            .map_err(|error| ServiceError::invalid(error.to_string()))?;
        if !policy.has_administrator() && !request.allow_no_administrator {
            return Err(ServiceError::invalid(NO_ADMINISTRATOR));
        }
        if request.dry_run {
            let client = caller.client.to_string();
            let state = self
                .admin_view(caller, AdminView::Policy, "the policy")
                .await?;
            let record = state.policy_record().ok_or_else(unknown)?;
            let actual_version = record.version;
            if request.cas.is_some_and(|wanted| wanted != actual_version) {
                let conflict = Rejection::Conflict { actual_version };
                return Err(refused(conflict, &client, "the policy"));
            }
            let changed = record.policy != policy || record.source != request.policy;
            return Ok(PolicyApplied {
                version: record.version,
                changed,
            });
        }
        let change = Change::SetPolicy {
            policy,
            source: request.policy.clone(),
            cas: request.cas,
        };
        let reply = self
            .mutate(caller, secrets::idempotency(key), change, "the policy")
            .await?;
        match reply.outcome {
            Outcome::Policy { version, changed } => Ok(PolicyApplied { version, changed }),
            _ => Err(unknown()),
        }
    }

    /// Says why a client may or may not do something.
    ///
    /// # Errors
    /// A7's errors.
    pub async fn explain(
        &self,
        caller: Caller,
        request: &ExplainPolicy,
    ) -> Result<PolicyExplanation, ServiceError> {
        let client = ClientId::parse(&request.client)
            .map_err(|error| ServiceError::invalid(format!("client: {error}")))?;
        let verb = Verb::parse(request.verb.as_str()).ok_or_else(unknown)?;
        if verb != Verb::Admin {
            SecretName::parse(&request.name)
                .map_err(|error| ServiceError::invalid(format!("name: {error}")))?;
        }
        let state = self
            .admin_view(caller, AdminView::Policy, "the policy")
            .await?;
        let record = state.policy_record().ok_or_else(unknown)?;
        let decision = decide(&record.policy, &client, verb, &request.name);
        let rule = match &decision {
            Decision::Allow { rule, .. } => format!("allow {rule}"),
            Decision::Deny(DenyReason::Rule(rule)) => format!("deny {rule}"),
            Decision::Deny(DenyReason::UnknownClient) => {
                "the policy does not name this client".to_owned()
            }
            Decision::Deny(DenyReason::NoRule) if verb == Verb::Admin => {
                "no allow rule for the name \"*\" has the verb admin (default deny)".to_owned()
            }
            Decision::Deny(DenyReason::NoRule) => "no allow rule matches (default deny)".to_owned(),
        };
        Ok(PolicyExplanation {
            allowed: decision.is_allow(),
            rule,
            policy_version: record.version,
        })
    }
}

/// As requests are decided: administering is about the cluster and not about a name, and a name stands in the lists of
/// whoever may read it (A4).
fn decide(policy: &Policy, client: &ClientId, verb: Verb, name: &str) -> Decision {
    let by = |verb| policy.decide(client, verb, name);
    match verb {
        Verb::Admin => policy.decide_admin(client),
        Verb::List if by(Verb::Read).is_allow() => by(Verb::Read),
        verb => by(verb),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p2_an_explanation_says_what_a_request_would_be_told() {
        let yaml = "clients:\n  c:\n    allow: [a, { name: b, verbs: [list] }]\n  admin:\n    allow: [\"*\"]\n";
        let policy = policy_file::parse(yaml).unwrap();
        let allowed = |client: &str, verb, name: &str| {
            decide(&policy, &ClientId::parse(client).unwrap(), verb, name).is_allow()
        };
        // What may be read stands in the list.
        assert!(allowed("c", Verb::List, "a") && allowed("c", Verb::List, "b"));
        assert!(allowed("c", Verb::Read, "a") && !allowed("c", Verb::Read, "b"));
        // Names that one may administer do not exist.
        assert!(!allowed("c", Verb::Admin, "d/x") && allowed("admin", Verb::Admin, "d/x"));
        assert!(!allowed("stranger", Verb::List, "a"));
    }
}
