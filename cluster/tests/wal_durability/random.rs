//! Random submissions, power cuts, torn writes and interrupted starts, against a model of what was acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use jarvis_cluster::wal::{Record, Recovered, Wal, WalError, WalOptions};
use jarvis_disk::SimDisk;
use proptest::prelude::*;

use super::{entries, open, options, submit, try_open};

/// One thing that happens.
#[derive(Debug, Clone)]
enum Event {
    /// A submission that works.
    Submit(Vec<Change>),
    /// A submission during which syncs begin to fail, then a power cut that keeps part of what was not synced.
    TornSubmit {
        changes: Vec<Change>,
        syncs: u64,
        kept_permille: usize,
    },
    /// A power cut, then a start that is itself cut short, as often as there are numbers.
    CrashWhileOpening(Vec<(u64, usize)>),
    /// A power cut.
    Crash,
    /// The process ends without a word and begins again; the machine goes on.
    Kill,
    /// An orderly stop.
    Close,
}

/// One record, relative to the state it meets.
#[derive(Debug, Clone)]
enum Change {
    Append { length: usize },
    Vote,
    Committed,
    Truncate { back: u64 },
    Purge { ahead: u64 },
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (0_usize..120).prop_map(|length| Change::Append { length }),
        1 => Just(Change::Vote),
        1 => Just(Change::Committed),
        1 => (0_u64..6).prop_map(|back| Change::Truncate { back }),
        1 => (0_u64..12).prop_map(|ahead| Change::Purge { ahead }),
    ]
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec(change(), 1..6)
}

fn event() -> impl Strategy<Value = Event> {
    let interrupted = prop::collection::vec((0_u64..8, 0_usize..=1_000), 1..4);
    prop_oneof![
        8 => changes().prop_map(Event::Submit),
        3 => (changes(), 0_u64..4, 0_usize..=1_000).prop_map(|(changes, syncs, kept_permille)| {
            Event::TornSubmit { changes, syncs, kept_permille }
        }),
        2 => interrupted.prop_map(Event::CrashWhileOpening),
        1 => Just(Event::Crash),
        1 => Just(Event::Kill),
        1 => Just(Event::Close),
    ]
}

/// What was acknowledged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Model {
    vote: Option<Bytes>,
    committed: Option<Bytes>,
    purged: Option<(u64, Bytes)>,
    entries: BTreeMap<u64, Bytes>,
}

impl Model {
    fn purged_upto(&self) -> u64 {
        self.purged.as_ref().map_or(0, |(upto, _)| *upto)
    }

    fn last(&self) -> u64 {
        self.entries
            .keys()
            .next_back()
            .copied()
            .unwrap_or_else(|| self.purged_upto())
    }

    /// The record that `change` means here, taken into the model. `unique` tells its bytes from all others.
    fn apply(&mut self, change: &Change, unique: u64) -> Record {
        let text = Bytes::from(format!("unique {unique}"));
        match change {
            Change::Append { length } => {
                let index = self.last() + 1;
                let mut payload = text.to_vec();
                payload.resize(payload.len() + length, b'.');
                let payload = Bytes::from(payload);
                self.entries.insert(index, payload.clone());
                Record::Entry { index, payload }
            }
            Change::Vote => {
                self.vote = Some(text.clone());
                Record::Vote(text)
            }
            Change::Committed => {
                self.committed = Some(text.clone());
                Record::Committed(text)
            }
            Change::Truncate { back } => {
                let last_kept = self.last().saturating_sub(*back);
                self.entries.retain(|index, _| *index <= last_kept);
                Record::TruncateAfter { last_kept }
            }
            Change::Purge { ahead } => {
                let upto = self.purged_upto() + ahead;
                self.purged = Some((upto, text.clone()));
                self.entries.retain(|index, _| *index > upto);
                Record::Purge { upto, marker: text }
            }
        }
    }

    fn seen(wal: &Wal, recovered: &Recovered) -> Self {
        Self {
            vote: recovered.vote.clone(),
            committed: recovered.committed.clone(),
            purged: recovered.purged.clone(),
            entries: entries(wal).into_iter().collect(),
        }
    }
}

/// The log, its disk, and what it must hold.
struct World {
    disk: Arc<SimDisk>,
    options: WalOptions,
    wal: Wal,
    model: Model,
    unique: u64,
}

impl World {
    fn new(options: WalOptions) -> Self {
        let disk = SimDisk::new();
        let (wal, _) = open(&disk, options.clone());
        Self {
            disk,
            options,
            wal,
            model: Model::default(),
            unique: 0,
        }
    }

    /// The records of the changes, and the model after them.
    fn records(&mut self, changes: &[Change]) -> (Vec<Record>, Model) {
        let mut after = self.model.clone();
        let mut records = Vec::new();
        for change in changes {
            self.unique += 1;
            records.push(after.apply(change, self.unique));
        }
        (records, after)
    }

    /// Opens again; the log must hold one of `possible`, and goes on from there.
    fn reopen(&mut self, possible: &[&Model]) {
        let (wal, recovered) = open(&self.disk, self.options.clone());
        let seen = Model::seen(&wal, &recovered);
        assert!(possible.contains(&&seen), "saw {seen:?}\nof {possible:?}");
        assert_eq!(
            (wal.first_index(), wal.last_index()),
            (recovered.first_index, recovered.last_index)
        );
        self.wal = wal;
        self.model = seen;
    }

    fn step(&mut self, event: &Event) {
        let before = self.model.clone();
        match event {
            Event::Submit(changes) => {
                let (records, after) = self.records(changes);
                submit(&self.wal, records).expect("acknowledged");
                self.model = after;
                let live: Vec<_> = self.model.entries.clone().into_iter().collect();
                assert_eq!(entries(&self.wal), live);
                assert_eq!(self.wal.last_index(), self.model.last());
            }
            Event::TornSubmit {
                changes,
                syncs,
                kept_permille,
            } => {
                let (records, after) = self.records(changes);
                self.disk.fail_syncs_after(*syncs);
                let acknowledged = submit(&self.wal, records).is_ok();
                self.disk
                    .crash_torn(|_, unsynced| unsynced * kept_permille / 1_000);
                self.disk.fail_syncs(false);
                if acknowledged {
                    self.reopen(&[&after]);
                } else {
                    self.reopen(&[&before, &after]);
                }
            }
            Event::CrashWhileOpening(interruptions) => {
                self.disk.crash();
                for (syncs, kept_permille) in interruptions {
                    self.disk.fail_syncs_after(*syncs);
                    match try_open(&self.disk, self.options.clone()) {
                        Ok(_) | Err(WalError::Io(_)) => {}
                        Err(error) => panic!("an interrupted start is not damage: {error}"),
                    }
                    self.disk
                        .crash_torn(|_, unsynced| unsynced * kept_permille / 1_000);
                }
                self.disk.fail_syncs(false);
                self.reopen(&[&before]);
            }
            Event::Crash => {
                self.disk.crash();
                self.reopen(&[&before]);
            }
            Event::Kill => self.reopen(&[&before]),
            Event::Close => {
                self.wal.close();
                self.reopen(&[&before]);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn c7_whatever_happens_the_log_holds_what_it_acknowledged(
        events in prop::collection::vec(event(), 1..40),
        segment_bytes in 150_u64..1_500,
        cache_bytes in 0_usize..600,
    ) {
        let mut world = World::new(WalOptions { segment_bytes, cache_bytes, ..options() });
        for event in &events {
            world.step(event);
        }
    }
}
