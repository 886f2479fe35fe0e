//! What the first start still has to propose, and unsealing; until both are done.

use std::sync::Arc;
use std::time::Duration;

use jarvis_cluster::Node;
use jarvis_domain::command::{Caller, Change, ClusterCommand, Command, Init, Mutation};
use jarvis_domain::name::ClientId;
use jarvis_domain::outcome::Outcome;
use jarvis_domain::token::{Credential, TokenId};
use tokio::time::Instant;

use crate::config::Config;
use crate::service::{self, KeyFileSource, Vault};
use crate::setup::{Files, First};

/// The first entries of a new cluster, or of a new node, may take this long per try.
const FIRST_DEADLINE: Duration = Duration::from_secs(10);
/// Between two tries.
const RETRY: Duration = Duration::from_millis(100);

/// Settles a node that has just started.
pub(super) async fn settle(
    node: Node,
    vault: Arc<Vault>,
    (config, key_file): (Arc<Config>, KeyFileSource),
    files: Files,
    first: Option<First>,
) {
    let own_slot = match &first {
        Some(First::Slot(blob)) => Some(blob.clone()),
        _ => None,
    };
    let begun = matches!(first, Some(First::Begin { .. }));
    if let Some(First::Begin { init, token }) = first {
        begin(&node, *init, token).await;
    }
    let mut told = false;
    let mut by_key_file = false;
    // A passphrase may come first; that unsealing is told by whoever did it.
    while vault.is_sealed() {
        let slot = own_slot.as_deref();
        match service::unseal_with_key_file(&node, &vault, (&*config, &key_file), slot) {
            Ok(true) => {
                tracing::info!("unsealed with the key file");
                by_key_file = true;
                // At once: whoever seals the node from here on means it.
                break;
            }
            Ok(false) => {}
            Err(reason) if !told => {
                told = true;
                tracing::error!(
                    reason,
                    "this node stays sealed: unseal it with `jarvis-secrets unseal`, or mend the key file and start again"
                );
            }
            Err(_) => {}
        }
        tokio::time::sleep(RETRY).await;
    }
    let has_first = begun || own_slot.is_some();
    let add_slot = async {
        if let Some(blob) = own_slot {
            let command = Command::Cluster(Box::new(ClusterCommand::AddNodeSlot { blob }));
            while !done(&node, command.clone()).await {
                tokio::time::sleep(RETRY).await;
            }
        }
    };
    let tell = async {
        if by_key_file {
            service::tell_unsealed_with_key_file(&node).await;
        }
    };
    // Together, so that a new node's slot and its unsealing share an entry.
    tokio::join!(add_slot, tell);
    if !has_first {
        return;
    }
    if let Err(error) = files.first_is_done() {
        // It is proposed again at the next start, which changes nothing.
        tracing::warn!(%error, "what the first start proposed can not be removed");
    }
}

async fn begin(node: &Node, init: Init, (id, secret_hash, client): (TokenId, [u8; 32], ClientId)) {
    while node.with_view(|state| state.core.cluster.is_none()) {
        let begun = node
            .begin(init.clone(), Instant::now() + FIRST_DEADLINE)
            .await;
        if let Err(reason) = begun {
            tracing::warn!(reason, "the cluster has not begun yet; trying again");
            tokio::time::sleep(RETRY).await;
        }
    }
    let caller = Caller {
        client: client.clone(),
        credential: Credential::System,
        request_id: "cluster-init".to_owned(),
    };
    let change = Change::CreateToken {
        id,
        secret_hash,
        client,
        ttl_ms: None,
    };
    let command = Command::Mutate(Mutation {
        caller,
        idempotency: None,
        change,
    });
    while node.with_view(|state| !state.tokens.contains(&id)) {
        done(node, command.clone()).await;
        tokio::time::sleep(RETRY).await;
    }
}

async fn done(node: &Node, command: Command) -> bool {
    let reply = node.propose(command, Instant::now() + FIRST_DEADLINE).await;
    matches!(reply, Ok(reply) if !matches!(reply.outcome, Outcome::Rejected(_)))
}
