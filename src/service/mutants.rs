//! Reads as they must not be answered: known bugs of this layer, in builds that have mutants.

use std::sync::Arc;

use jarvis_domain::command::{Access, Caller, Target};
use jarvis_domain::name::SecretName;
use jarvis_domain::outcome::Outcome;
use jarvis_domain::policy::Verb;
use jarvis_domain::secret::Version;
use jarvis_domain::token::Credential;
use jarvis_mutants::active;

use crate::service::{GotSecret, Service, ServiceError, refused, secrets, unknown};

impl Service {
    /// The answer of a node with one of these bugs; `None`: this read is answered as it should be.
    pub(super) async fn get_wrongly(
        &self,
        caller: &Caller,
        name: &SecretName,
        version: Option<u64>,
    ) -> Option<Result<GotSecret, ServiceError>> {
        let (caller, known) = if active!(ReadWithoutBarrier) {
            (caller.clone(), Some(self.known_here(name, version)?))
        } else if active!(PolicyOnLaggingState) && self.is_allowed_here(caller, name) {
            // In the place of a decision: apply believes it, and asks no policy.
            let credential = Credential::System;
            let decided = Caller {
                credential,
                ..caller.clone()
            };
            (decided, None)
        } else if active!(AuditAfterAnswer) && self.is_allowed_here(caller, name) {
            return self.before_its_event(caller, name, version).await;
        } else {
            return None;
        };
        Some(self.through_the_log(caller, name, version, known).await)
    }

    /// As a read should be, but for what is shown: a version that was known before.
    async fn through_the_log(
        &self,
        caller: Caller,
        name: &SecretName,
        version: Option<u64>,
        known: Option<Arc<Version>>,
    ) -> Result<GotSecret, ServiceError> {
        let client = caller.client.clone();
        let reply = self.access(caller, value_of(name, version)).await?;
        match reply.outcome {
            Outcome::Value { version, .. } => {
                let shown = known.unwrap_or(version);
                self.open(name.clone(), shown, reply.log.index, None)
            }
            Outcome::Rejected(rejection) => {
                let what = secrets::describe(name, version);
                Err(refused(rejection, client.as_str(), &what))
            }
            _ => Err(unknown()),
        }
    }

    /// Shows the value after a barrier, and proposes the event behind it.
    async fn before_its_event(
        &self,
        caller: &Caller,
        name: &SecretName,
        version: Option<u64>,
    ) -> Option<Result<GotSecret, ServiceError>> {
        if !self.node.barrier(self.deadline()).await {
            return None;
        }
        let index = self.node.with_view(|state| state.core.applied.index);
        let known = self.known_here(name, version)?;
        let (node, deadline) = (self.node.clone(), self.deadline());
        let access = Access {
            caller: caller.clone(),
            target: value_of(name, version),
        };
        tokio::spawn(async move { node.access(access, deadline).await });
        Some(self.open(name.clone(), known, index, None))
    }

    /// The version as far as this node has applied the log.
    fn known_here(&self, name: &SecretName, version: Option<u64>) -> Option<Arc<Version>> {
        self.node.with_view(|state| {
            let secret = state.secrets.get(name)?;
            if secret.deleted.is_some() {
                return None;
            }
            let number = version.or_else(|| secret.current())?;
            state.versions.get(&(name.clone(), number)).cloned()
        })
    }

    /// What the policy says as far as this node has applied the log.
    fn is_allowed_here(&self, caller: &Caller, name: &SecretName) -> bool {
        self.node.with_view(|state| {
            let record = state.policy_record();
            record.is_some_and(|record| {
                let decision = record
                    .policy
                    .permit(&caller.client, Verb::Read, name.as_str());
                decision.is_ok()
            })
        })
    }
}

fn value_of(name: &SecretName, version: Option<u64>) -> Target {
    Target::Value {
        name: name.clone(),
        version,
    }
}
