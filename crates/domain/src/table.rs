//! A persistent map whose every change moves the state hash and is noted for the disk image.

use std::borrow::Borrow;
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

/// A round that is never reached: a loaded record has not been noted.
const NEVER: u64 = u64::MAX;

/// Collects what changed since it was last asked.
#[derive(Debug, Default)]
pub struct Tracker {
    pub(crate) sum: Accumulator,
    dirty: Vec<RecordKey>,
    /// Counts the rounds of [`Self::take_dirty`]: a record notes the round it was last noted in.
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
    /// The keys of the records that changed since the last call; a record that came and went may stand there twice.
    pub fn take_dirty(&mut self) -> Vec<RecordKey> {
        self.round += 1;
        std::mem::take(&mut self.dirty)
    }

    /// How many keys [`Self::take_dirty`] would tell.
    #[must_use]
    pub const fn dirty_len(&self) -> usize {
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
        let slot = Slot {
            value: Arc::new(value),
            element,
            noted: tracker.round,
        };
        let old = self.map.insert(key, slot);
        if let Some(old) = &old {
            tracker.sum.remove(old.element);
        }
        if old.is_none_or(|old| old.noted != tracker.round) {
            tracker.dirty.push((self.kind, key_bytes));
        }
    }

    pub(crate) fn take<Q>(&mut self, tracker: &mut Tracker, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
        Q: Ord + Serialize + ?Sized,
    {
        let old = self.map.remove(key)?;
        tracker.sum.remove(old.element);
        tracker.dirty.push((self.kind, encode(key)));
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
        };
        self.map.insert(parsed_key, slot);
        Ok(())
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = (u8, Vec<u8>, Vec<u8>)> {
        self.iter()
            .map(|(key, value)| (self.kind, encode(key), encode(&**value)))
    }
}
