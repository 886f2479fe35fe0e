//! openraft's state machine: domain::apply, the audit segments in its wake, and snapshots.
//!
//! Order within one call of apply: decide every entry → write their audit lines (no sync; rule 7 syncs) → announce the
//! index → tell the waiters. So whoever gets a reply finds its effect in every view taken after.

use std::io;
use std::sync::{Arc, Mutex};

use futures_util::{Stream, StreamExt};
use jarvis_audit::Position;
use jarvis_audit::writer::SegmentWriter;
use jarvis_domain::apply::{EntryContext, apply, apply_blank, apply_voters};
use jarvis_domain::audit::Lines;
use jarvis_domain::codec::decode;
use jarvis_domain::command::Batch;
use jarvis_domain::state::State;
use jarvis_domain::window::Envelope;
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, RaftStateMachine, Snapshot};
use openraft::type_config::alias::SnapshotOf;
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};

use crate::image::ImageSender;
use crate::raft::snapshot::{Head, SnapshotError, SnapshotFile, SnapshotStore};
use crate::raft::{
    Ack, LogId, Payload, SnapshotMeta, StoredMembership, TypeConfig, log_ref, voters,
};
use crate::shared::{Replies, Shared, lock};

/// The audit writer, shared with snapshots, retention and compression.
pub(crate) type AuditWriter = Arc<Trail>;

/// The trail's writer. Apply appends under its lock, so nobody holds that while the disk syncs.
pub(crate) struct Trail {
    writer: Mutex<SegmentWriter>,
    /// One sync at a time.
    syncing: Mutex<()>,
}

impl Trail {
    pub(crate) fn new(writer: SegmentWriter) -> AuditWriter {
        Arc::new(Self {
            writer: Mutex::new(writer),
            syncing: Mutex::new(()),
        })
    }

    /// Makes everything appended before this call durable. Blocks; never called on the runtime's thread.
    pub(crate) fn sync(&self) -> io::Result<()> {
        if jarvis_mutants::active!(PurgeBeforeAuditSync) {
            return Ok(());
        }
        let _turn = lock(&self.syncing);
        let job = lock(&self.writer).begin_sync()?;
        let outcome = job.run();
        lock(&self.writer).end_sync(&outcome);
        outcome.map(|_| ())
    }
}

impl std::ops::Deref for Trail {
    type Target = Mutex<SegmentWriter>;
    fn deref(&self) -> &Mutex<SegmentWriter> {
        &self.writer
    }
}

/// The replicated state machine of one node.
pub(crate) struct Machine {
    /// First event whose segment file is still here.
    trail_first_seq: u64,
    /// Holds the state.
    pub(crate) shared: Arc<Shared>,
    pub(crate) audit: AuditWriter,
    pub(crate) snapshots: SnapshotStore,
    pub(crate) image: ImageSender,
    /// Blocking work runs on the runtime's blocking pool; in simulation in place.
    pub(crate) simulated: bool,
}

/// The position of the trail that a state stands for.
pub(crate) fn position_of(state: &State) -> Position {
    Position {
        closed: state
            .segments
            .iter()
            .map(|(_, segment)| **segment)
            .collect(),
        open_first_seq: state.core.trail.open_first_seq,
        open_bytes: state.core.trail.open_bytes,
    }
}

impl Machine {
    pub(crate) fn new(
        shared: Arc<Shared>,
        audit: AuditWriter,
        (snapshots, image): (SnapshotStore, ImageSender),
        simulated: bool,
    ) -> Self {
        Self {
            trail_first_seq: shared.with_view(|state| state.core.trail_first_seq),
            shared,
            audit,
            snapshots,
            image,
            simulated,
        }
    }

    fn decide(
        &self,
        entry: &crate::raft::Entry,
    ) -> io::Result<(Lines, Option<(Envelope, Replies)>)> {
        let log = log_ref(&entry.log_id());
        let mut live = self.shared.live();
        live.last_applied = Some(entry.log_id());
        match &entry.payload {
            EntryPayload::Blank => {
                apply_blank(&mut live.state, log);
                Ok((Lines::default(), None))
            }
            EntryPayload::Membership(membership) => {
                live.membership = StoredMembership::new(Some(entry.log_id()), membership.clone());
                let voters = voters(&live.membership);
                Ok((apply_voters(&mut live.state, log, voters), None))
            }
            EntryPayload::Normal(payload) => self.decide_payload(&mut live.state, log, payload),
        }
    }

    fn decide_payload(
        &self,
        state: &mut State,
        log: jarvis_domain::outcome::LogRef,
        payload: &Payload,
    ) -> io::Result<(Lines, Option<(Envelope, Replies)>)> {
        let Some(envelope) = payload.envelope else {
            apply_blank(state, log);
            return Ok((Lines::default(), None));
        };
        // An entry this build can not read stops the node (rule 3): going on would make states diverge.
        let commands = decode(&payload.commands).map_err(|error| {
            io::Error::other(format!("log entry {} can not be read: {error}", log.index))
        })?;
        // Outside of apply, which can not read a clock; a mutant brings this node's in here.
        let stamp = if jarvis_mutants::active!(WallClockInApply) {
            self.shared.clock.wall_ms()
        } else {
            payload.stamp
        };
        let context = EntryContext {
            log,
            stamp,
            stepped: payload.stepped,
        };
        let applied = apply(state, context, &Batch { envelope, commands });
        self.shared.clock.observe(state.core.time, payload.stepped);
        self.image.noted(state);
        let decided = (!applied.skipped).then(|| (envelope, Arc::new(applied.replies)));
        Ok((applied.lines, decided))
    }

    fn write_lines(&self, lines: &Lines) -> io::Result<()> {
        if lines.bytes.is_empty() {
            return Ok(());
        }
        lock(&self.audit).append_entry(lines)
    }

    /// Lets go of the files of segments that the log retired.
    fn retire_segments(&mut self) -> io::Result<()> {
        let first = self.shared.with_view(|state| state.core.trail_first_seq);
        if first > self.trail_first_seq {
            lock(&self.audit).retire(first - 1)?;
            self.trail_first_seq = first;
        }
        Ok(())
    }

    fn builder(&self) -> io::Result<Builder> {
        // No entry is applied meanwhile: Raft asks for both from one task.
        let open_segment = lock(&self.audit).read_open()?;
        let live = self.shared.live();
        let mut state = live.state.clone();
        if jarvis_mutants::active!(SnapshotWithoutAuditHead) {
            state.core.trail.head = [0; 32];
        }
        let head = Head {
            last_log_id: live.last_applied,
            membership: live.membership.clone(),
            core: state.core_bytes(),
            open_segment,
        };
        Ok(Builder {
            head,
            state,
            audit: self.audit.clone(),
            snapshots: self.snapshots.clone(),
            simulated: self.simulated,
        })
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let live = self.shared.live();
        Ok((live.last_applied, live.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut decided = Vec::new();
        let mut responders = Vec::new();
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            let (lines, replies) = self.decide(&entry)?;
            self.write_lines(&lines)?;
            decided.extend(replies);
            responders.extend(responder);
        }
        self.retire_segments()?;
        self.shared.announce();
        for (envelope, replies) in decided {
            self.shared.decided(envelope, replies);
        }
        for responder in responders {
            responder.send(Ack);
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        // Reading the open segment back fails only when the disk does; the builder then fails with the same error.
        match self.builder() {
            Ok(builder) => builder,
            Err(error) => {
                tracing::error!(%error, "the open audit segment can not be read for a snapshot");
                Builder {
                    head: Head {
                        last_log_id: None,
                        membership: StoredMembership::default(),
                        core: Vec::new(),
                        open_segment: Vec::new(),
                    },
                    state: State::empty(),
                    audit: self.audit.clone(),
                    snapshots: self.snapshots.clone(),
                    simulated: self.simulated,
                }
            }
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotFile,
    ) -> Result<(), io::Error> {
        let snapshots = self.snapshots.clone();
        // Under its name only now: a snapshot that Raft did not want must not be what a restart finds.
        let (head, state) = blocking(self.simulated, move || {
            let file = snapshots.adopt(&snapshot.path).map_err(to_io)?;
            snapshots.load(&file.path).map_err(to_io)
        })
        .await?;
        lock(&self.audit)
            .install(position_of(&state), &head.open_segment, Vec::new())
            .map_err(io::Error::other)?;
        self.shared.clock.observe(state.core.time, false);
        self.trail_first_seq = state.core.trail_first_seq;
        {
            let mut live = self.shared.live();
            live.state = state;
            live.last_applied = meta.last_log_id;
            live.membership = meta.last_membership.clone();
            self.image.replaced();
        }
        self.shared.announce();
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<SnapshotOf<TypeConfig, SnapshotFile>>, io::Error> {
        if let Some((snapshot, meta)) = self.snapshots.checked() {
            return Ok(Some(Snapshot { meta, snapshot }));
        }
        let snapshots = self.snapshots.clone();
        let newest = blocking(self.simulated, move || snapshots.newest().map_err(to_io)).await?;
        Ok(newest.map(|(snapshot, head)| Snapshot {
            meta: head.meta(),
            snapshot,
        }))
    }
}

/// Writes one snapshot file, off the apply path.
pub(crate) struct Builder {
    head: Head,
    state: State,
    audit: AuditWriter,
    snapshots: SnapshotStore,
    simulated: bool,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<TypeConfig, SnapshotFile>, io::Error> {
        if self.head.core.is_empty() {
            return Err(io::Error::other("the open audit segment can not be read"));
        }
        let (audit, snapshots) = (self.audit.clone(), self.snapshots.clone());
        let (head, state) = (self.head.clone(), self.state.clone());
        let meta = head.meta();
        let file = blocking(self.simulated, move || {
            // Rule 7: the trail up to this snapshot is durable before the snapshot is.
            audit.sync()?;
            snapshots.write(&head, &state).map_err(to_io)
        })
        .await?;
        Ok(Snapshot {
            meta,
            snapshot: file,
        })
    }
}

/// Runs disk work where it does not stall Raft; in simulation in place, since threads would make it irreproducible.
pub(crate) async fn blocking<T: Send + 'static>(
    simulated: bool,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    if simulated {
        return work();
    }
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

fn to_io(error: SnapshotError) -> io::Error {
    match error {
        SnapshotError::Disk { source, .. } => source,
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}
