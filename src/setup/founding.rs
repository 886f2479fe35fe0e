//! What a new cluster begins with: its first command, and the first token.

use std::fmt;

use jarvis_crypto::seal::key_file::KeyFile;
use jarvis_crypto::{Keyring, RandomSource, SecretBytes, tokens};
use jarvis_domain::FOUNDER;
use jarvis_domain::command::Init;
use jarvis_domain::limits::VaultLimits;
use jarvis_domain::member::{Cluster, Member, SealSlot};
use jarvis_domain::name::ClientId;
use jarvis_domain::policy::Policy;

use crate::setup::{First, SetupError, slot_context};

/// Whom the first token stands for.
const FIRST_CLIENT: &str = "admin";
/// The first key epoch.
const FIRST_EPOCH: u32 = 1;

/// Everything that is decided about a new cluster before its first node starts; the vault's keys are in a keyring.
pub struct Founding {
    /// Its id, drawn at random.
    pub cluster_id: [u8; 16],
    /// The cluster CA's certificate, DER.
    pub ca_certificate: Vec<u8>,
    /// The CA's key, wrapped by the root key.
    pub ca_key_wrapped: Vec<u8>,
    /// The first node.
    pub member: Member,
    /// The vault's limits.
    pub limits: VaultLimits,
    /// The first policy.
    pub policy: Policy,
    /// What it was read from.
    pub policy_source: String,
}

/// A cluster as its first node is to propose it.
pub struct Founded {
    /// What the first start proposes.
    pub first: First,
    /// The text of the first token, for client `admin`: shown once and kept nowhere.
    pub root_token: SecretBytes,
}

impl Founding {
    /// Makes the first key epoch, the founder's seal slot and the first token, and the command that begins the cluster
    /// with them.
    ///
    /// # Errors
    /// [`SetupError::Crypto`], or [`SetupError::Beginning`] for what apply would refuse: that must not wait for the first
    /// start.
    pub fn make(
        self,
        keyring: &Keyring,
        key_file: &KeyFile,
        random: &RandomSource,
    ) -> Result<Founded, SetupError> {
        let crypto = |error: &dyn fmt::Display| SetupError::Crypto(error.to_string());
        let slot = key_file
            .wrap_root(keyring.root(), &slot_context(&self.cluster_id, FOUNDER))
            .map_err(|error| crypto(&error))?;
        let epoch = keyring
            .generate_epoch(FIRST_EPOCH)
            .map_err(|error| crypto(&error))?;
        let (token_id, secret, root_token) =
            tokens::generate(random).map_err(|error| crypto(&error))?;
        let client = ClientId::parse(FIRST_CLIENT).map_err(|error| crypto(&error))?;
        let init = Init {
            cluster: Cluster {
                cluster_id: self.cluster_id,
                vault_id: *keyring.vault_id(),
                recovery_epoch: 0,
                ca_certificate: self.ca_certificate,
                ca_key_wrapped: self.ca_key_wrapped,
            },
            limits: self.limits,
            member: self.member,
            slot: SealSlot {
                kind: "key_file".to_owned(),
                node: Some(FOUNDER),
                blob: slot,
                created: 0,
            },
            epoch,
            policy: self.policy,
            policy_source: self.policy_source,
        };
        init.validate(FOUNDER)?;
        let token = (token_id, tokens::hash(&secret), client);
        Ok(Founded {
            first: First::Begin {
                init: Box::new(init),
                token,
            },
            root_token,
        })
    }
}
