//! The live entries: where each one is, and the newest ones themselves.
//!
//! Invariants:
//! - indexes are consecutive: the live ones are `base + 1 ..= last`, one slot each;
//! - the payloads kept in memory are those of the newest entries, without a gap;
//! - an entry that is not on disk yet is always in memory.

use std::collections::VecDeque;

use bytes::Bytes;

use super::Record;

/// Which indexes are live. Copied and stepped by everyone who follows the log: the live log, the writer (as of what
/// is written), recovery (as of what is read).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    /// The index before the first live one.
    pub(super) base: u64,
    /// The last live index; equals `base` when there is none.
    pub(super) last: u64,
    /// Everything up to here was purged, if anything ever was.
    pub(super) purged: Option<u64>,
}

/// An entry that does not continue the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("entry {index} does not follow entry {last} of the write-ahead log")]
pub(super) struct OutOfOrder {
    /// The refused index.
    index: u64,
    /// The last live index.
    last: u64,
}

impl Bounds {
    /// What the bounds are after `record`.
    ///
    /// # Errors
    /// [`OutOfOrder`] for an entry that would leave a hole or replace another one. A log that is empty and was never
    /// purged may begin anywhere above 0.
    pub(super) fn step(&mut self, record: &Record) -> Result<(), OutOfOrder> {
        match record {
            Record::Entry { index, .. } => return self.step_entry(*index),
            Record::TruncateAfter { last_kept } => self.step_truncation(*last_kept),
            Record::Purge { upto, .. } => self.step_purge(*upto),
            Record::Vote(_) | Record::Committed(_) => {}
        }
        Ok(())
    }

    /// See [`Bounds::step`].
    pub(super) fn step_entry(&mut self, index: u64) -> Result<(), OutOfOrder> {
        let may_begin = self.last == self.base && self.purged.is_none() && index > 0;
        if index == self.last.saturating_add(1) {
            self.last = index;
        } else if may_begin {
            *self = Self {
                base: index - 1,
                last: index,
                purged: None,
            };
        } else {
            return Err(OutOfOrder {
                index,
                last: self.last,
            });
        }
        Ok(())
    }

    fn step_truncation(&mut self, last_kept: u64) {
        let last_kept = last_kept.max(self.purged.unwrap_or(0));
        if last_kept < self.last {
            self.last = last_kept;
            self.base = self.base.min(last_kept);
        }
    }

    fn step_purge(&mut self, upto: u64) {
        if self.purged.is_none_or(|purged| upto > purged) {
            self.purged = Some(upto);
        }
        self.base = self.base.max(upto);
        self.last = self.last.max(self.base);
    }

    fn count(&self) -> usize {
        usize::try_from(self.last - self.base).unwrap_or(usize::MAX)
    }
}

/// Where an entry's frame starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The segment's sequence.
    pub(super) segment: u64,
    /// The frame's offset in it.
    pub(super) offset: u64,
}

/// Where an entry was found.
#[derive(Debug, Clone)]
pub(super) enum Found {
    /// In memory.
    Memory(Bytes),
    /// On disk.
    Disk {
        /// Its frame.
        place: Place,
        /// Bytes of its payload.
        length: usize,
    },
}

impl Found {
    /// Bytes of the payload.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Memory(payload) => payload.len(),
            Self::Disk { length, .. } => *length,
        }
    }
}

/// One live entry.
#[derive(Debug, Clone, Copy)]
struct Slot {
    /// Tells entries of one index apart: the writer may still hold one that was truncated and replaced since.
    serial: u64,
    /// `None` until it is written.
    place: Option<Place>,
    /// Bytes of the payload, at most 16 MiB.
    length: u32,
}

/// The live log. Owned by the lock of the write-ahead log; nothing in here does I/O.
#[derive(Debug)]
pub(super) struct LiveLog {
    bounds: Bounds,
    slots: VecDeque<Slot>,
    /// Payloads of the newest entries.
    cache: VecDeque<Bytes>,
    cached_bytes: usize,
    cache_bound: usize,
    last_serial: u64,
}

impl LiveLog {
    /// A log without live entries that continues after `last`, and keeps about `cache_bound` bytes in memory.
    pub(super) fn new(last: u64, cache_bound: usize) -> Self {
        Self {
            bounds: Bounds {
                base: last,
                last,
                purged: None,
            },
            slots: VecDeque::new(),
            cache: VecDeque::new(),
            cached_bytes: 0,
            cache_bound,
            last_serial: 0,
        }
    }

    /// Which indexes are live.
    pub(super) fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Takes a record that will be written. Returns the serial of an entry, 0 for other records.
    pub(super) fn accept(&mut self, record: &Record) -> Result<u64, OutOfOrder> {
        let Record::Entry { index, payload } = record else {
            self.accept_mark(record)?;
            return Ok(0);
        };
        self.bounds.step_entry(*index)?;
        self.last_serial += 1;
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        self.slots.push_back(Slot {
            serial: self.last_serial,
            place: None,
            length,
        });
        self.cached_bytes += payload.len();
        self.cache.push_back(payload.clone());
        Ok(self.last_serial)
    }

    /// Takes an entry that recovery found on disk. Only before anything else was accepted: it is not in memory.
    pub(super) fn accept_written(
        &mut self,
        index: u64,
        place: Place,
        length: usize,
    ) -> Result<(), OutOfOrder> {
        self.bounds.step_entry(index)?;
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.slots.push_back(Slot {
            serial: 0,
            place: Some(place),
            length,
        });
        Ok(())
    }

    /// Takes a record that is not an entry, and drops the entries that it ends.
    fn accept_mark(&mut self, record: &Record) -> Result<(), OutOfOrder> {
        let before = self.bounds;
        self.bounds.step(record)?;
        if self.bounds.last < before.last {
            self.drop_back(self.bounds.count());
        }
        if self.bounds.base > before.base {
            self.drop_front(self.bounds.count());
        }
        Ok(())
    }

    fn drop_back(&mut self, keep: usize) {
        while self.slots.len() > keep {
            self.slots.pop_back();
            if let Some(payload) = self.cache.pop_back() {
                self.cached_bytes -= payload.len();
            }
        }
    }

    fn drop_front(&mut self, keep: usize) {
        while self.slots.len() > keep {
            self.slots.pop_front();
        }
        while self.cache.len() > keep {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(payload) = self.cache.pop_front() {
            self.cached_bytes -= payload.len();
        }
    }

    /// Notes where an entry was written, unless it was replaced or purged meanwhile.
    pub(super) fn settle(&mut self, index: u64, serial: u64, place: Place) {
        let slot = self
            .position(index)
            .and_then(|position| self.slots.get_mut(position));
        if let Some(slot) = slot
            && slot.serial == serial
        {
            slot.place = Some(place);
        }
    }

    /// Forgets the oldest payloads beyond the bound, as far as they are on disk.
    pub(super) fn evict(&mut self) {
        while self.cached_bytes > self.cache_bound {
            let oldest = self.slots.len() - self.cache.len();
            match self.slots.get(oldest) {
                Some(Slot { place: Some(_), .. }) => self.forget_oldest(),
                _ => return,
            }
        }
    }

    /// Where the entry of that index is, if it is live.
    pub(super) fn find(&self, index: u64) -> Option<Found> {
        let position = self.position(index)?;
        let slot = self.slots.get(position)?;
        let uncached = self.slots.len() - self.cache.len();
        match position.checked_sub(uncached) {
            Some(cached) => self.cache.get(cached).cloned().map(Found::Memory),
            None => slot.place.map(|place| Found::Disk {
                place,
                length: slot.length as usize,
            }),
        }
    }

    fn position(&self, index: u64) -> Option<usize> {
        let position = index.checked_sub(self.bounds.base)?.checked_sub(1)?;
        usize::try_from(position).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64) -> Record {
        Record::Entry {
            index,
            payload: Bytes::from(vec![index as u8; 10]),
        }
    }

    fn place(offset: u64) -> Place {
        Place { segment: 1, offset }
    }

    fn log_of(indexes: std::ops::RangeInclusive<u64>, cache_bound: usize) -> LiveLog {
        let mut log = LiveLog::new(0, cache_bound);
        for index in indexes {
            let serial = log.accept(&entry(index)).expect("in order");
            log.settle(index, serial, place(index));
            log.evict();
        }
        log
    }

    #[test]
    fn entries_leave_no_hole_and_replace_nothing() {
        let mut log = log_of(1..=3, 100);
        assert!(log.accept(&entry(5)).is_err());
        assert!(log.accept(&entry(3)).is_err());
        assert!(
            LiveLog::new(0, 0).accept(&entry(0)).is_err(),
            "0 means none"
        );
        log.accept(&Record::TruncateAfter { last_kept: 2 })
            .expect("truncate");
        log.accept(&entry(3)).expect("in order again");
        assert_eq!(
            log.bounds(),
            Bounds {
                base: 0,
                last: 3,
                purged: None
            }
        );
    }

    #[test]
    fn a_fresh_log_begins_anywhere_but_a_purged_one_continues() {
        let mut log = log_of(5..=6, 100);
        assert_eq!(
            log.bounds(),
            Bounds {
                base: 4,
                last: 6,
                purged: None
            }
        );
        log.accept(&Record::TruncateAfter { last_kept: 0 })
            .expect("truncate");
        assert_eq!(log.bounds(), Bounds::default());
        log.accept(&Record::Purge {
            upto: 9,
            marker: Bytes::new(),
        })
        .expect("purge");
        assert!(log.accept(&entry(11)).is_err());
        log.accept(&entry(10)).expect("continues after the purge");
        log.accept(&Record::TruncateAfter { last_kept: 3 })
            .expect("truncate");
        assert_eq!(
            log.bounds(),
            Bounds {
                base: 9,
                last: 9,
                purged: Some(9)
            }
        );
    }

    #[test]
    fn memory_is_bounded_and_the_rest_is_found_on_disk() {
        let log = log_of(1..=10, 35);
        assert_eq!(log.cached_bytes, 30);
        assert!(matches!(log.find(7), Some(Found::Disk { place: p, length: 10 }) if p == place(7)));
        assert!(matches!(log.find(8), Some(Found::Memory(payload)) if payload[0] == 8));
        assert!(log.find(0).is_none() && log.find(11).is_none());
    }

    #[test]
    fn what_is_not_written_stays_in_memory() {
        let mut log = LiveLog::new(0, 0);
        let first = log.accept(&entry(1)).expect("in order");
        let second = log.accept(&entry(2)).expect("in order");
        log.settle(2, second, place(2));
        log.evict();
        assert!(matches!(log.find(1), Some(Found::Memory(_))));
        log.settle(1, first, place(1));
        log.evict();
        assert!(matches!(log.find(1), Some(Found::Disk { .. })));
        assert!(matches!(log.find(2), Some(Found::Disk { .. })));
    }

    #[test]
    fn a_replaced_entry_does_not_inherit_the_place_of_the_old_one() {
        let mut log = LiveLog::new(0, 0);
        let old = log.accept(&entry(1)).expect("in order");
        log.accept(&Record::TruncateAfter { last_kept: 0 })
            .expect("truncate");
        let new = log.accept(&entry(1)).expect("in order");
        log.settle(1, old, place(100));
        log.evict();
        assert!(matches!(log.find(1), Some(Found::Memory(_))));
        log.settle(1, new, place(200));
        log.evict();
        assert!(matches!(log.find(1), Some(Found::Disk { place: p, .. }) if p == place(200)));
    }

    #[test]
    fn purging_and_truncating_keep_the_newest_in_memory() {
        let mut log = log_of(1..=10, 35);
        log.accept(&Record::Purge {
            upto: 8,
            marker: Bytes::new(),
        })
        .expect("purge");
        assert_eq!(log.cached_bytes, 20);
        assert!(log.find(8).is_none());
        assert!(matches!(log.find(9), Some(Found::Memory(payload)) if payload[0] == 9));
        log.accept(&Record::TruncateAfter { last_kept: 9 })
            .expect("truncate");
        assert!(log.find(10).is_none());
        assert_eq!(log.cached_bytes, 10);
        log.accept(&Record::Purge {
            upto: 20,
            marker: Bytes::new(),
        })
        .expect("purge beyond the end");
        assert_eq!(
            log.bounds(),
            Bounds {
                base: 20,
                last: 20,
                purged: Some(20)
            }
        );
        assert_eq!((log.cached_bytes, log.slots.len()), (0, 0));
    }
}
