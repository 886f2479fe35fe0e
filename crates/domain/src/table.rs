//! A persistent map whose every change moves the state hash and is noted for the disk image.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{CodecError, decode, encode, encode_onto};
use crate::hash::{Accumulator, Element};

/// A record's place: kind of table and encoded key.
pub type RecordKey = (u8, Vec<u8>);

/// A round that is never reached.
const NEVER: u64 = u64::MAX;

/// Collects what changed since it was last asked.
#[derive(Debug, Default)]
pub struct Tracker {
    pub(crate) sum: Accumulator,
    /// A record that came and went within a round is not among them.
    dirty: BTreeSet<RecordKey>,
    /// Counts the calls of [`Self::take_dirty`]: a record remembers the rounds it was born and last noted in.
    round: u64,
    /// Encoded values pass through here.
    scratch: Vec<u8>,
}

impl Clone for Tracker {
    /// The sum alone. A clone belongs to a view, which writes no image; with the list, each view made in an entry would
    /// copy the keys of everything that changed before it.
    fn clone(&self) -> Self {
        Self {
            sum: self.sum,
            round: self.round + 1,
            ..Self::default()
        }
    }
}

impl Tracker {
    /// The keys of the records that changed since the last call, without those that came and went in between.
    pub fn take_dirty(&mut self) -> BTreeSet<RecordKey> {
        self.round += 1;
        std::mem::take(&mut self.dirty)
    }

    /// How many keys [`Self::take_dirty`] would tell.
    #[must_use]
    pub fn dirty_len(&self) -> usize {
        self.dirty.len()
    }

    fn element<V: Serialize>(&mut self, kind: u8, key: &[u8], value: &V) -> Element {
        self.scratch.clear();
        encode_onto(value, &mut self.scratch);
        Element::of(kind, key, &self.scratch)
    }
}

/// A record with what is derived from it.
#[derive(Clone)]
struct Slot<V> {
    value: Arc<V>,
    /// Its part of the state hash.
    element: Element,
    /// The tracker's round in which it was last noted as changed.
    noted: u64,
    /// The round in which it came, unless something under its key had changed in that round before.
    born: u64,
}

/// One kind of records.
#[derive(Clone)]
pub struct Table<K, V> {
    kind: u8,
    map: OrdMap<K, Slot<V>>,
}

impl<K, V> fmt::Debug for Table<K, V> {
    /// The kind only: a table may hold thousands of records.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Table")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl<K, V> Table<K, V>
where
    K: Ord + Clone + Serialize + DeserializeOwned,
    V: Clone + Serialize + DeserializeOwned,
{
    pub(crate) fn new(kind: u8) -> Self {
        Self {
            kind,
            map: OrdMap::new(),
        }
    }

    /// Looks a record up.
    pub fn get<Q>(&self, key: &Q) -> Option<&Arc<V>>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.map.get(key).map(|slot| &slot.value)
    }

    /// Whether there is such a record.
    pub fn contains<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.map.contains_key(key)
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// All records in key order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &Arc<V>)> {
        self.map.iter().map(|(key, slot)| (key, &slot.value))
    }

    /// Records from `start` on, in key order.
    pub fn range_from<Q>(&self, start: &Q) -> impl Iterator<Item = (&K, &Arc<V>)>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.map
            .range::<_, Q>((Bound::Included(start), Bound::Unbounded))
            .map(|(key, slot)| (key, &slot.value))
    }

    pub(crate) fn put(&mut self, tracker: &mut Tracker, key: K, value: V) {
        let key_bytes = encode(&key);
        let element = tracker.element(self.kind, &key_bytes, &value);
        tracker.sum.add(element);
        let round = tracker.round;
        let mut slot = Slot {
            value: Arc::new(value),
            element,
            noted: round,
            born: NEVER,
        };
        match self.map.get(&key) {
            Some(old) => {
                tracker.sum.remove(old.element);
                slot.born = old.born;
                if old.noted != round {
                    tracker.dirty.insert((self.kind, key_bytes));
                }
            }
            // What stood under the key before the round is gone from memory only, if the key is noted already.
            None if tracker.dirty.insert((self.kind, key_bytes)) => slot.born = round,
            None => {}
        }
        self.map.insert(key, slot);
    }

    pub(crate) fn take<Q>(&mut self, tracker: &mut Tracker, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
        Q: Ord + Serialize + ?Sized,
    {
        let old = self.map.remove(key)?;
        tracker.sum.remove(old.element);
        let place = (self.kind, encode(key));
        if old.born == tracker.round {
            tracker.dirty.remove(&place);
        } else {
            tracker.dirty.insert(place);
        }
        Some(old.value)
    }

    /// The encoded record of an encoded key, if it exists.
    pub(crate) fn record(&self, key: &[u8]) -> Option<Vec<u8>> {
        let key: K = decode(key).ok()?;
        self.get(&key).map(|value| encode(&**value))
    }

    pub(crate) fn load(
        &mut self,
        sum: &mut Accumulator,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), CodecError> {
        let (parsed_key, parsed_value): (K, V) = (decode(key)?, decode(value)?);
        let element = Element::of(self.kind, key, value);
        sum.add(element);
        let slot = Slot {
            value: Arc::new(parsed_value),
            element,
            noted: NEVER,
            born: NEVER,
        };
        self.map.insert(parsed_key, slot);
        Ok(())
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = (u8, Vec<u8>, Vec<u8>)> {
        self.iter()
            .map(|(key, value)| (self.kind, encode(key), encode(&**value)))
    }
}
