//! The last vote, committed marker and purge marker: what every new segment states again, so that older ones can go.

use bytes::Bytes;

use super::Record;

/// The newest of each marker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// The last vote, opaque.
    pub(super) vote: Option<Bytes>,
    /// The last committed marker, opaque.
    pub(super) committed: Option<Bytes>,
    /// The purge that reached furthest, with its opaque marker.
    pub(super) purged: Option<(u64, Bytes)>,
}

impl Marks {
    /// Takes note of `record`. A purge that reaches less far than an earlier one changes nothing.
    pub(super) fn note(&mut self, record: &Record) {
        match record {
            Record::Vote(vote) => self.vote = Some(vote.clone()),
            Record::Committed(committed) => self.committed = Some(committed.clone()),
            Record::Purge { upto, marker } => {
                if self
                    .purged
                    .as_ref()
                    .is_none_or(|(purged, _)| upto >= purged)
                {
                    self.purged = Some((*upto, marker.clone()));
                }
            }
            Record::Entry { .. } | Record::TruncateAfter { .. } => {}
        }
    }

    /// The records that say all of it again.
    pub(super) fn restated(&self) -> Vec<Record> {
        let vote = self.vote.clone().map(Record::Vote);
        let committed = self.committed.clone().map(Record::Committed);
        let purged = self
            .purged
            .clone()
            .map(|(upto, marker)| Record::Purge { upto, marker });
        [vote, committed, purged].into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restating_says_the_newest_of_each_and_the_furthest_purge() {
        let bytes = Bytes::from_static;
        let mut marks = Marks::default();
        for record in [
            Record::Vote(bytes(b"1")),
            Record::Purge {
                upto: 5,
                marker: bytes(b"five"),
            },
            Record::Vote(bytes(b"2")),
            Record::Committed(bytes(b"c")),
            Record::Purge {
                upto: 4,
                marker: bytes(b"four"),
            },
        ] {
            marks.note(&record);
        }
        let mut again = Marks::default();
        marks
            .restated()
            .iter()
            .for_each(|record| again.note(record));
        assert_eq!(again, marks);
        assert_eq!(again.purged, Some((5, bytes(b"five"))));
        assert_eq!(again.vote, Some(bytes(b"2")));
    }
}
