//! The rules of the vault, pure.
//!
//! One function matters here: [`apply::apply`]. It takes the state and one entry of the replicated log and returns what
//! every node must agree on: the new state, an outcome per command, and the audit lines. It reads no clock, draws no
//! randomness, does no I/O and holds no key (rules 1–4 of the design): two nodes that applied the same log hold the
//! same bytes.
//!
//! Reading order: [`name`] and [`time`] are the vocabulary; [`secret`], [`policy`], [`token`] and [`member`] the nouns;
//! [`command`] what may be asked, [`outcome`] what may be answered; [`state`] where it is kept; [`apply`] the rules;
//! [`audit`] the trail; [`codec`] the one place where bytes are made.

pub mod apply;
pub mod audit;
pub mod codec;
pub mod command;
pub mod hash;
pub mod limits;
pub mod member;
pub mod name;
pub mod outcome;
pub mod policy;
pub mod secret;
pub mod state;
pub mod table;
pub mod time;
pub mod token;
pub mod window;

/// The feature level this build writes and understands (rule 3). A state at a higher level stops the node.
pub const FEATURE_LEVEL: u32 = 1;

/// A node's identity: the log index of its join entry; the founding node is [`FOUNDER`]. Never reused (rule 11).
pub type NodeId = u64;

/// The founding node: the only one that does not join. Its first entry has a higher index, so that no join gets this id.
pub const FOUNDER: NodeId = 1;
