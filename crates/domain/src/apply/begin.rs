//! The beginning of a cluster: the first command of its log, which nothing could mend afterwards.

use crate::apply::Txn;
use crate::apply::admin::{MAX_ID_BYTES, MAX_POLICY_SOURCE_BYTES};
use crate::apply::cluster::{Refusal, invalid};
use crate::apply::members::slot_name;
use crate::command::Init;
use crate::limits::LimitsError;
use crate::member::{Epoch, MAX_BLOB_BYTES, Member, MemberError, SealSlot};
use crate::outcome::Outcome;
use crate::policy::PolicyError;
use crate::state::PolicyRecord;
use crate::{FOUNDER, NodeId};

/// Why a cluster can not begin like this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InitError {
    /// The founder.
    #[error("the founding node is node {FOUNDER}, not node {node}")]
    Founder {
        /// Who tried to be it.
        node: NodeId,
    },
    /// The founder's description.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// The founder's release.
    #[error("feature levels count from 1, and the founding node says it knows none")]
    Level,
    /// An id that nobody drew.
    #[error("the cluster's id and the vault's are drawn at random: neither is all zeros")]
    NoId,
    /// The CA's certificate, or a wrapped key.
    #[error("{what} has 1 to {MAX_BLOB_BYTES} bytes, not {found}")]
    Blob {
        /// Which.
        what: &'static str,
        /// How many bytes it has.
        found: usize,
    },
    /// The founder's seal slot.
    #[error("the first seal slot names its kind (1 to {MAX_ID_BYTES} bytes) and no other node")]
    Slot,
    /// The agreed limits.
    #[error(transparent)]
    Limits(#[from] LimitsError),
    /// The seed policy.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Its text.
    #[error("a policy's text has at most {MAX_POLICY_SOURCE_BYTES} bytes")]
    PolicySource,
}

impl Init {
    /// Whether a cluster can begin like this. Apply refuses what fails; `cluster init` asks before it writes anything down.
    ///
    /// # Errors
    /// [`InitError`] for the first thing wrong.
    pub fn validate(&self, founder: NodeId) -> Result<(), InitError> {
        if founder != FOUNDER {
            return Err(InitError::Founder { node: founder });
        }
        self.member.validate()?;
        if self.member.level == 0 {
            return Err(InitError::Level);
        }
        let cluster = &self.cluster;
        if cluster.cluster_id == [0; 16] || cluster.vault_id == [0; 16] {
            return Err(InitError::NoId);
        }
        for (what, blob) in [
            (
                "the certificate of the cluster's CA",
                &cluster.ca_certificate,
            ),
            (
                "the wrapped key of the cluster's CA",
                &cluster.ca_key_wrapped,
            ),
            ("the wrapped root key", &self.slot.blob),
            ("the wrapped key of the first epoch", &self.epoch),
        ] {
            let found = blob.len();
            if found == 0 || found > MAX_BLOB_BYTES {
                return Err(InitError::Blob { what, found });
            }
        }
        let kind_fits = (1..=MAX_ID_BYTES).contains(&self.slot.kind.len());
        if !kind_fits || self.slot.node.is_some_and(|node| node != founder) {
            return Err(InitError::Slot);
        }
        self.limits.validate()?;
        self.policy.validate()?;
        if self.policy_source.len() > MAX_POLICY_SOURCE_BYTES {
            return Err(InitError::PolicySource);
        }
        Ok(())
    }
}

pub(super) fn begin(txn: &mut Txn<'_>, init: &Init) -> Result<Outcome, Refusal> {
    if txn.state.core.cluster.is_some() {
        return Err(invalid("the cluster has begun"));
    }
    let (node, now) = (txn.origin, txn.now);
    init.validate(node)
        .map_err(|error| invalid(&error.to_string()))?;
    let state = &mut *txn.state;
    // Whoever else was heard before there were members is a stranger from here on.
    state.core.windows.retain(|known, _| *known == node);
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
