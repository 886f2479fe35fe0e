//! The rules: `(state, entry) → state, outcomes, audit lines`.
//!
//! Pure (rule 1), total (rule 2) and frozen per feature level (rule 3). An entry is decided in this order:
//!
//! 1. agreed time moves, never backwards; due destructions and expiries happen;
//! 2. the batch's envelope is checked: a repeat has no effect and leaves no event (rule 8);
//! 3. each command: credential valid? policy allows? idempotency key seen? compare-and-set holds? epoch current?
//!    Then its effect, and exactly one event (one per write in a batch of writes), whatever came of it (C3).

use crate::audit::{Line, Lines};
use crate::command::{Batch, ClusterCommand, Command};
use crate::limits::{DESTRUCTION_HOLD, MAX_REQUEST_ID_BYTES};
use crate::member::MAX_MEMBERS;
use crate::name::ClientId;
use crate::outcome::{LogRef, Outcome, Rejection, Reply};
use crate::state::State;
use crate::time::Millis;
use crate::token::Credential;
use crate::window::Freshness;
use crate::{FEATURE_LEVEL, FOUNDER, NodeId};

mod access;
mod admin;
mod begin;
mod cluster;
mod due;
mod members;
mod mutate;
mod secrets;

pub use begin::InitError;

/// Entries stamped within this time after a step tell of the same step.
const STEP_REPEAT: Millis = 10_000;

/// The entry around a batch: what the leader and Raft added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryContext {
    /// Position in the log.
    pub log: LogRef,
    /// The leader's stamp (rule 5).
    pub stamp: Millis,
    /// Agreed time jumped by more than a minute at this stamp.
    pub stepped: bool,
}

/// What one entry came to.
#[derive(Debug, Clone, Default)]
pub struct Applied {
    /// One reply per command, in order; empty for a repeat.
    pub replies: Vec<Reply>,
    /// The events.
    pub lines: Lines,
    /// The batch was a repeat or came from a replaced process.
    pub skipped: bool,
}

/// Apply in progress: the state, the entry, and the lines so far.
pub(crate) struct Txn<'a> {
    pub(crate) state: &'a mut State,
    pub(crate) log: LogRef,
    pub(crate) now: Millis,
    pub(crate) origin: NodeId,
    pub(crate) batch_len: usize,
    pub(crate) lines: Lines,
}

impl Txn<'_> {
    /// Starts the one event of a command.
    pub(crate) fn line(&mut self, event: &str, outcome: &str) -> Line<'_> {
        let at = (self.now, self.log.index);
        Line::begin(
            &mut self.state.core.trail,
            &mut self.lines,
            at,
            event,
            outcome,
        )
    }

    /// Starts an event that a client caused.
    pub(crate) fn caller_line(
        &mut self,
        event: &str,
        outcome: &str,
        caller: &crate::command::Caller,
    ) -> Line<'_> {
        let origin = self.origin;
        self.line(event, outcome)
            .text("client", caller.client.as_str())
            .text("credential", caller.credential.as_str())
            .text("request_id", bounded(&caller.request_id))
            .number("node", origin)
    }

    /// Whether the credential stands for the client at this index.
    pub(crate) fn credential_holds(&self, client: &ClientId, credential: &Credential) -> bool {
        match credential {
            Credential::Token(id) => self.state.tokens.get(id).is_some_and(|token| {
                token.client == *client && token.expires.is_none_or(|at| at > self.now)
            }),
            Credential::Certificate { serial, not_after } => {
                !self.state.revoked.contains(serial) && *not_after > self.now
            }
            Credential::Header | Credential::System => true,
        }
    }

    pub(crate) fn reply(&self, outcome: Outcome) -> Reply {
        Reply {
            log: self.log,
            audit_seq: self.state.core.trail.seq,
            time: self.now,
            outcome,
        }
    }
}

/// A request id as long as the trail keeps one (rule 10).
fn bounded(request_id: &str) -> &str {
    clip(request_id, MAX_REQUEST_ID_BYTES)
}

/// The beginning of a text, as many whole characters as fit.
fn clip(text: &str, max_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(max_bytes)]
}

/// Applies one batch.
///
/// # Panics
/// Only when the state itself is damaged (an invariant of this crate is broken), never for any decodable batch.
pub fn apply(state: &mut State, entry: EntryContext, batch: &Batch) -> Applied {
    assert!(
        state.core.level <= FEATURE_LEVEL,
        "loading refuses unknown levels"
    );
    let now = state.core.time.max(entry.stamp);
    state.core.time = now;
    state.core.applied = entry.log;
    let origin = batch.envelope.node;
    let lines = Lines::default();
    let mut txn = Txn {
        state,
        log: entry.log,
        now,
        origin,
        batch_len: batch.commands.len(),
        lines,
    };
    let before = txn.state.core.trail.seq;
    // Said by every entry until one is applied: the first one counts.
    let is_told =
        txn.state.core.hold_destruction_until > now.saturating_add(DESTRUCTION_HOLD - STEP_REPEAT);
    if entry.stepped && !is_told {
        txn.state.core.hold_destruction_until = now.saturating_add(DESTRUCTION_HOLD);
        txn.line("clock.step", "ok").end();
    }
    due::settle(&mut txn);
    note_closed_segments(txn.state, &txn.lines);
    if txn.state.core.trail.seq > before {
        txn.state.core.content_seq = txn.state.core.trail.seq;
    }
    if !admit(&mut txn, batch) {
        return Applied {
            replies: Vec::new(),
            lines: txn.lines,
            skipped: true,
        };
    }
    let mut replies = Vec::with_capacity(batch.commands.len());
    for command in &batch.commands {
        let reply = decide(&mut txn, command);
        replies.push(reply);
    }
    Applied {
        replies,
        lines: txn.lines,
        skipped: false,
    }
}

/// Applies a membership entry: the voters from here on.
pub fn apply_voters(
    state: &mut State,
    log: LogRef,
    voters: impl IntoIterator<Item = NodeId>,
) -> Lines {
    state.core.applied = log;
    let voters = voters.into_iter().collect();
    let mut lines = Lines::default();
    if state.core.voters == voters {
        return lines;
    }
    let at = (state.core.time, log.index);
    Line::begin(&mut state.core.trail, &mut lines, at, "voters", "ok")
        .numbers("voters", voters.iter().copied())
        .end();
    state.core.voters = voters;
    state.core.content_seq = state.core.trail.seq;
    note_closed_segments(state, &lines);
    lines
}

/// Applies an entry without content.
pub const fn apply_blank(state: &mut State, log: LogRef) {
    state.core.applied = log;
}

/// A batch of a removed node, a repeat, or one from a replaced process has no effect.
///
/// Windows are kept for members only, so that they stay as few as the members are. Before the beginning nobody is one: then
/// the founder and the first few others are heard, so that a beginning by the wrong node is refused and not passed over;
/// the beginning forgets all but the founder.
fn admit(txn: &mut Txn<'_>, batch: &Batch) -> bool {
    let node = batch.envelope.node;
    let core = &txn.state.core;
    if core.removed.contains(&node) {
        return false;
    }
    let known = if core.cluster.is_some() {
        txn.state.members.contains(&node)
    } else {
        let is_heard = node == FOUNDER || core.windows.contains_key(&node);
        is_heard || core.windows.len() < MAX_MEMBERS
    };
    if !known {
        return false;
    }
    let window = txn.state.core.windows.entry(node).or_default();
    window.admit(batch.envelope) == Freshness::New || jarvis_mutants::active!(EnvelopeForgotten)
}

fn decide(txn: &mut Txn<'_>, command: &Command) -> Reply {
    let is_init = matches!(command, Command::Cluster(cluster) if matches!(**cluster, ClusterCommand::Init(_)));
    // Without an event: there is no policy, no credential and no cluster yet whose trail it could stand in.
    if txn.state.core.cluster.is_none() && !is_init {
        return txn.reply(Outcome::Rejected(Rejection::NotReady));
    }
    let before = txn.state.core.trail.seq;
    let reply = match command {
        Command::Access(access) => access::decide(txn, access),
        Command::Mutate(mutation) => mutate::decide(txn, mutation),
        Command::Cluster(command) => cluster::decide(txn, command),
    };
    note_closed_segments(txn.state, &txn.lines);
    if txn.state.core.trail.seq > before && !is_checkpoint(command) {
        txn.state.core.content_seq = txn.state.core.trail.seq;
    }
    reply
}

fn is_checkpoint(command: &Command) -> bool {
    matches!(command, Command::Cluster(cluster) if matches!(**cluster, ClusterCommand::Checkpoint { .. }))
}

/// Closed segments become records as soon as they are closed. The lines are those of the whole entry so far: what an
/// earlier command of it closed is a record already, or was retired since and stays away.
fn note_closed_segments(state: &mut State, lines: &Lines) {
    let first_kept = state.core.trail_first_seq;
    for (_, segment) in &lines.closes {
        let first_seq = segment.first_seq;
        if first_seq >= first_kept && !state.segments.contains(&first_seq) {
            state.segments.put(&mut state.tracker, first_seq, *segment);
        }
    }
}
