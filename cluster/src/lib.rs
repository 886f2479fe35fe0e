//! The replicated node: one log, many views of it. It sees ciphertext only and holds no key of the vault.
//!
//! Reading order: [`node`] is what others use; `proposer` and `barrier` are the two ways to ask; [`raft`] the adapters
//! to openraft; [`wal`], snapshots and image what is on disk; [`network`] and [`tls`] what is between nodes; [`mod@env`] the
//! seams to the machine.

pub mod node;

mod barrier;
mod clock;
mod directory;
pub mod env;
mod hand_over;
mod housekeeping;
mod image;
mod leader;
pub mod network;
mod peers;
mod proposer;
mod protocol;
pub mod raft;
mod shared;
mod status;
pub mod tls;
pub mod wal;

pub use node::{MemberStatus, Node, NodeConfig, StartError};
pub use peers::JoinDesk;
pub use proposer::ProposeError;
pub use protocol::Probe;
