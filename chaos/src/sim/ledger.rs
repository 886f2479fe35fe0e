//! What the durable half of a machine's disk says about its log: what a loss of power would leave.
//!
//! Read from outside, record by record, as it becomes durable; the node does not notice.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jarvis_cluster::raft::TypeConfig;
use jarvis_cluster::wal::{Record, watch};
use jarvis_disk::SimDisk;
use jarvis_domain::codec::decode;
use openraft::entry::RaftEntry;
use openraft::type_config::alias::{EntryOf, LogIdOf, VoteOf};

use super::disk::WAL_DIR;
use super::trace::digest;

/// The leader of an entry, or the candidate of a vote: openraft allows several leaders in a term, and orders them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LeaderId {
    pub(super) term: u64,
    pub(super) node: u64,
}

/// The identity of an entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EntryId {
    pub(super) leader: LeaderId,
    pub(super) index: u64,
}

/// A vote, as it was promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ballot {
    pub(super) leader: LeaderId,
    /// A majority granted it.
    pub(super) is_committed: bool,
}

/// An entry as it lies in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Logged {
    pub(super) id: EntryId,
    /// The identity of the entry before it, if that is in the log.
    pub(super) before: Option<EntryId>,
    /// Stands for its bytes.
    pub(super) digest: u64,
    pub(super) bytes: Bytes,
}

/// What became durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    Entry(Logged),
    Vote(Ballot),
}

/// The durable log of one machine.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// How many syncs the disk had done at the last look: without another one nothing more is durable.
    syncs: (u64, u64),
    /// How far each segment was read.
    read: BTreeMap<PathBuf, usize>,
    entries: BTreeMap<u64, Logged>,
    /// Entries below this index are in a snapshot.
    purged: u64,
    vote: Option<Ballot>,
}

impl Ledger {
    /// Reads on.
    pub(super) fn look(&mut self, disk: &SimDisk) -> Result<Vec<News>, String> {
        let syncs = (disk.syncs(), disk.dir_syncs());
        if std::mem::replace(&mut self.syncs, syncs) == syncs {
            return Ok(Vec::new());
        }
        let mut files = disk.durable_files(Path::new(WAL_DIR));
        files.retain(|(path, _)| {
            path.extension()
                .is_some_and(|ending| ending == watch::EXTENSION)
        });
        self.read
            .retain(|path, _| files.iter().any(|(file, _)| file == path));
        let mut news = Vec::new();
        for (path, length) in files {
            let from = self.read.get(&path).copied().unwrap_or(0);
            if length <= from {
                continue;
            }
            let bytes = disk
                .read_durable(&path)
                .map_err(|error| error.to_string())?;
            let (records, end) = watch::records(&bytes, from);
            self.read.insert(path, end);
            for record in &records {
                news.extend(self.take(record)?);
            }
        }
        // A start begins its segment with the vote before the last group and then repeats that group: only what stands
        // at the end of a sync was ever promised by it.
        if let Some(last) = news.iter().rposition(|item| matches!(item, News::Vote(_))) {
            let mut place = 0;
            news.retain(|item| {
                place += 1;
                place == last + 1 || !matches!(item, News::Vote(_))
            });
        }
        Ok(news)
    }

    /// Whether this entry would survive: itself, or in a snapshot.
    pub(super) fn holds(&self, id: EntryId) -> bool {
        id.index < self.purged
            || self
                .entries
                .get(&id.index)
                .is_some_and(|entry| entry.id == id)
    }

    /// The entry at this index.
    pub(super) fn entry(&self, index: u64) -> Option<&Logged> {
        self.entries.get(&index)
    }

    /// The last vote.
    pub(super) const fn vote(&self) -> Option<Ballot> {
        self.vote
    }

    fn take(&mut self, record: &Record) -> Result<Option<News>, String> {
        match record {
            // The log counts from one above Raft's index.
            Record::Entry { index, payload } => {
                let logged = self.read_entry(payload)?;
                if logged.id.index + 1 != *index {
                    return Err(format!(
                        "the log has entry {:?} in place {index}",
                        logged.id
                    ));
                }
                self.entries.insert(logged.id.index, logged.clone());
                Ok(Some(News::Entry(logged)))
            }
            Record::Vote(bytes) => {
                let vote: VoteOf<TypeConfig> =
                    decode(bytes).map_err(|error| format!("a vote: {error}"))?;
                let ballot = Ballot {
                    leader: LeaderId {
                        term: vote.leader_id.term,
                        node: vote.leader_id.node_id,
                    },
                    is_committed: vote.committed,
                };
                let is_new = self.vote.replace(ballot) != Some(ballot);
                Ok(is_new.then_some(News::Vote(ballot)))
            }
            Record::TruncateAfter { last_kept } => {
                drop(self.entries.split_off(last_kept));
                Ok(None)
            }
            Record::Purge { upto, .. } => {
                self.purged = self.purged.max(*upto);
                self.entries = self.entries.split_off(upto);
                Ok(None)
            }
            Record::Committed(_) => Ok(None),
        }
    }

    fn read_entry(&self, payload: &Bytes) -> Result<Logged, String> {
        let entry: EntryOf<TypeConfig> =
            decode(payload).map_err(|error| format!("an entry: {error}"))?;
        let id = entry_id(&entry.log_id());
        let before = id.index.checked_sub(1);
        let before = before.and_then(|index| self.entries.get(&index));
        Ok(Logged {
            id,
            before: before.map(|entry| entry.id),
            digest: digest(payload),
            bytes: payload.clone(),
        })
    }
}

/// openraft's identity of an entry in ours.
fn entry_id(id: &LogIdOf<TypeConfig>) -> EntryId {
    let leader = id.committed_leader_id();
    EntryId {
        leader: LeaderId {
            term: leader.term,
            node: leader.node_id,
        },
        index: id.index(),
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LeaderId { term, node } = self.leader;
        write!(formatter, "{term}-{node}-{}", self.index)
    }
}

impl fmt::Display for LeaderId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "term {} of node {}", self.term, self.node)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use jarvis_cluster::wal::{Driver, Wal, WalOptions};
    use jarvis_domain::codec::encode;
    use openraft::testing::blank_ent;

    use super::*;

    pub(in crate::sim) const fn id(term: u64, node: u64, index: u64) -> EntryId {
        EntryId {
            leader: LeaderId { term, node },
            index,
        }
    }

    pub(in crate::sim) fn logged(id: EntryId, before: Option<EntryId>, digest: u64) -> Logged {
        Logged {
            id,
            before,
            digest,
            bytes: Bytes::new(),
        }
    }

    impl Ledger {
        /// A log that holds these, for tests of what looks at it.
        pub(in crate::sim) fn holding(entries: &[EntryId], vote: Option<Ballot>) -> Self {
            let entries = entries.iter();
            Self {
                entries: entries.map(|id| (id.index, logged(*id, None, 0))).collect(),
                vote,
                ..Self::default()
            }
        }
    }

    fn blank(term: u64, node: u64, index: u64) -> Bytes {
        Bytes::from(encode(&blank_ent::<TypeConfig>(term, node, index)))
    }

    #[test]
    fn a_log_is_followed_through_truncations_purges_and_new_segments() {
        let disk = SimDisk::new();
        let options = WalOptions {
            segment_bytes: 256,
            ..WalOptions::new(Arc::new(|| Duration::ZERO))
        };
        let fatal = Arc::new(|error: std::io::Error| panic!("{error}"));
        let dir = Path::new(WAL_DIR);
        let opened = Wal::open(disk.clone(), dir, options, Driver::Inline, fatal);
        let (wal, _) = opened.unwrap();
        let mut ledger = Ledger::default();
        let append = |term, node, index| Record::Entry {
            index: index + 1,
            payload: blank(term, node, index),
        };
        for index in 0..8 {
            wal.submit(vec![append(1, 1, index)], Box::new(|_| {}));
        }
        let news = ledger.look(&disk).unwrap();
        assert_eq!(news.len(), 8);
        assert!(ledger.look(&disk).unwrap().is_empty());
        assert!(ledger.entry(7).is_some() && ledger.entry(8).is_none());
        assert_eq!(ledger.entry(5).unwrap().before, Some(id(1, 1, 4)));
        wal.submit(
            vec![Record::TruncateAfter { last_kept: 6 }, append(2, 3, 6)],
            Box::new(|_| {}),
        );
        ledger.look(&disk).unwrap();
        assert!(
            ledger.holds(id(2, 3, 6)) && !ledger.holds(id(1, 1, 6)) && !ledger.holds(id(1, 1, 7))
        );
        let purge = Record::Purge {
            upto: 4,
            marker: Bytes::new(),
        };
        wal.submit(vec![purge], Box::new(|_| {}));
        ledger.look(&disk).unwrap();
        assert!(ledger.holds(id(1, 1, 3)), "it is in a snapshot");
        assert!(ledger.entry(3).is_none() && ledger.entry(4).is_some());
    }
}
