//! A persistent map whose every change moves the state hash and is noted for the disk image.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{CodecError, decode, encode};
use crate::hash::Accumulator;

/// A record's place: kind of table and encoded key.
pub type RecordKey = (u8, Vec<u8>);

/// Collects what changed since it was last asked.
#[derive(Debug, Default)]
pub struct Tracker {
    pub(crate) sum: Accumulator,
    dirty: Vec<RecordKey>,
}

impl Clone for Tracker {
    /// The sum alone. A clone belongs to a view, which writes no image; with the list, each view made in an entry would
    /// copy the keys of everything that changed before it.
    fn clone(&self) -> Self {
        Self {
            sum: self.sum,
            dirty: Vec::new(),
        }
    }
}

impl Tracker {
    /// The keys of the records that changed since the last call, in order of change, with repeats.
    pub fn take_dirty(&mut self) -> Vec<RecordKey> {
        std::mem::take(&mut self.dirty)
    }
}

/// One kind of records.
#[derive(Clone)]
pub struct Table<K, V> {
    kind: u8,
    map: OrdMap<K, Arc<V>>,
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
        self.map.get(key)
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
        self.map.iter()
    }

    /// Records from `start` on, in key order.
    pub fn range_from<Q>(&self, start: &Q) -> impl Iterator<Item = (&K, &Arc<V>)>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.map
            .range::<_, Q>((Bound::Included(start), Bound::Unbounded))
    }

    pub(crate) fn put(&mut self, tracker: &mut Tracker, key: K, value: V) {
        self.put_arc(tracker, key, Arc::new(value));
    }

    pub(crate) fn put_arc(&mut self, tracker: &mut Tracker, key: K, value: Arc<V>) {
        let key_bytes = encode(&key);
        tracker.sum.add(self.kind, &key_bytes, &encode(&*value));
        if let Some(old) = self.map.insert(key, value) {
            tracker.sum.remove(self.kind, &key_bytes, &encode(&*old));
        }
        tracker.dirty.push((self.kind, key_bytes));
    }

    pub(crate) fn take<Q>(&mut self, tracker: &mut Tracker, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
        Q: Ord + Serialize + ?Sized,
    {
        let old = self.map.remove(key)?;
        let key_bytes = encode(key);
        tracker.sum.remove(self.kind, &key_bytes, &encode(&*old));
        tracker.dirty.push((self.kind, key_bytes));
        Some(old)
    }

    /// The encoded record of an encoded key, if it exists.
    pub(crate) fn record(&self, key: &[u8]) -> Option<Vec<u8>> {
        let key: K = decode(key).ok()?;
        self.map.get(&key).map(|value| encode(&**value))
    }

    pub(crate) fn load(
        &mut self,
        sum: &mut Accumulator,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), CodecError> {
        let (parsed_key, parsed_value): (K, V) = (decode(key)?, decode(value)?);
        sum.add(self.kind, key, value);
        self.map.insert(parsed_key, Arc::new(parsed_value));
        Ok(())
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = (u8, Vec<u8>, Vec<u8>)> {
        self.map
            .iter()
            .map(|(key, value)| (self.kind, encode(key), encode(&**value)))
    }
}
