//! What a sound trail amounts to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

/// Most event names that are counted apart; the product has a few dozen. The rest is counted as [`OTHER_EVENTS`].
const MAX_EVENT_NAMES: usize = 256;
/// Stands for all event names beyond the bound.
const OTHER_EVENTS: &str = "(other)";

/// The result of a verification without findings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Events that were checked.
    pub events: u64,
    /// First event checked: 1, or the one after the last retirement; 0 for an empty trail.
    pub first_seq: u64,
    /// Last event checked; 0 for an empty trail.
    pub last_seq: u64,
    /// Chain head after the last event, 64 hex digits. Equal on all nodes at equal `last_seq`.
    pub head: String,
    /// Segments, the open one included.
    pub segments: u64,
    /// Checkpoints whose signature and head were checked.
    pub checkpoints: u64,
    /// Checkpoints that could not be checked because the signer's key or the signed event lies before a retirement.
    pub unchecked_checkpoints: u64,
    /// Nodes with at least one checked checkpoint.
    pub signers: BTreeSet<u64>,
    /// Highest event that checkpoints of a majority of the voters of their time cover; 0 when there is none.
    pub signed_upto_seq: u64,
    /// Events after it: vouched for by the chain and by fewer signatures.
    pub unsigned_tail: u64,
    /// Time of the first event, RFC 3339 UTC.
    pub first_time: Option<String>,
    /// Time of the last event, RFC 3339 UTC.
    pub last_time: Option<String>,
    /// Whether the open segment ends inside a line, as it does for a moment on a running node and after a crash.
    pub unfinished_last_line: bool,
    /// How many events of each name there are.
    pub by_event: BTreeMap<String, u64>,
}

impl Report {
    /// The report as one JSON object.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report holds only strings and numbers")
    }

    pub(super) fn count(&mut self, event: &str, time: &str) {
        self.events += 1;
        if self.first_time.is_none() {
            self.first_time = Some(time.to_owned());
        }
        match &mut self.last_time {
            Some(last) => {
                last.clear();
                last.push_str(time);
            }
            None => self.last_time = Some(time.to_owned()),
        }
        if let Some(count) = self.by_event.get_mut(event) {
            *count += 1;
            return;
        }
        let name = if self.by_event.len() < MAX_EVENT_NAMES {
            event
        } else {
            OTHER_EVENTS
        };
        *self.by_event.entry(name.to_owned()).or_default() += 1;
    }

    fn write_signatures(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signers: Vec<String> = self.signers.iter().map(u64::to_string).collect();
        let nodes = if signers.len() == 1 { "node" } else { "nodes" };
        let checkpoints = counted(self.checkpoints, "checkpoint", "checkpoints");
        let by = format!("{checkpoints} of {nodes} {}", signers.join(", "));
        match (self.signed_upto_seq, self.checkpoints) {
            (0, 0) if self.unchecked_checkpoints > 0 => {
                formatter.write_str("no signatures that can be checked")?;
            }
            (0, 0) => formatter.write_str("no signatures yet")?,
            (0, _) => write!(formatter, "not signed by a majority of voters yet ({by})")?,
            (seq, _) => write!(
                formatter,
                "signed by a majority of voters up to event {seq} ({by})"
            )?,
        }
        let newer = if self.signed_upto_seq == 0 {
            counted(self.unsigned_tail, "event is", "events are")
        } else {
            counted(self.unsigned_tail, "newer event is", "newer events are")
        };
        write!(formatter, "; {newer} chained only")
    }
}

/// `1 segment`, `2 segments`.
fn counted(count: u64, one: &str, several: &str) -> String {
    let what = if count == 1 { one } else { several };
    format!("{count} {what}")
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.events == 0 {
            return formatter.write_str("the trail is empty");
        }
        writeln!(
            formatter,
            "the chain holds: events {} to {} in {}",
            self.first_seq,
            self.last_seq,
            counted(self.segments, "segment", "segments")
        )?;
        writeln!(formatter, "head {}", self.head)?;
        self.write_signatures(formatter)?;
        if self.unchecked_checkpoints > 0 {
            let older = counted(
                self.unchecked_checkpoints,
                "older checkpoint",
                "older checkpoints",
            );
            write!(
                formatter,
                "\n{older} could not be checked: their keys were retired"
            )?;
        }
        if self.unfinished_last_line {
            write!(
                formatter,
                "\nthe last line is unfinished, as on a running node or after a crash"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn young() -> Report {
        Report {
            events: 4,
            first_seq: 1,
            last_seq: 4,
            segments: 1,
            unsigned_tail: 4,
            ..Report::default()
        }
    }

    #[test]
    fn x4_a_young_trail_says_that_nobody_has_signed_yet() {
        let text = young().to_string();
        assert!(
            text.starts_with("the chain holds: events 1 to 4 in 1 segment\n"),
            "{text}"
        );
        assert!(
            text.ends_with("\nno signatures yet; 4 events are chained only"),
            "{text}"
        );
    }

    #[test]
    fn x4_signatures_are_told_with_their_nodes_and_how_far_they_reach() {
        let one = Report {
            checkpoints: 1,
            signers: BTreeSet::from([1]),
            ..young()
        };
        let text = one.to_string();
        let expected = "not signed by a majority of voters yet (1 checkpoint of node 1); 4 events are chained only";
        assert!(text.ends_with(expected), "{text}");
        let several = Report {
            checkpoints: 2,
            signers: BTreeSet::from([1, 2]),
            signed_upto_seq: 3,
            unsigned_tail: 1,
            ..young()
        };
        let text = several.to_string();
        let expected = "signed by a majority of voters up to event 3 (2 checkpoints of nodes 1, 2); 1 newer event is chained only";
        assert!(text.ends_with(expected), "{text}");
    }
}
