//! A violation as somebody can read it: what is wrong, and the operations it takes to see it.

use std::fmt;

use serde::Serialize;

use crate::history::{History, Operation, seconds};

/// Operations that a story shows; more than a few are no story.
const MAX_OPERATIONS: usize = 40;

/// Operations that contradict each other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Story {
    /// What is wrong.
    pub what: String,
    /// The operations involved, by the time at which they began.
    pub operations: Vec<Operation>,
    /// What is no operation: a line of a trail, a place in a file.
    pub notes: Vec<String>,
}

impl Story {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            ..Self::default()
        }
    }

    pub(crate) fn with<'a>(mut self, operations: impl IntoIterator<Item = &'a Operation>) -> Self {
        for operation in operations {
            let is_there = self.operations.iter().any(|known| known.id == operation.id);
            if !is_there && self.operations.len() < MAX_OPERATIONS {
                self.operations.push(operation.clone());
            }
        }
        self.operations
            .sort_by_key(|operation| (operation.start_ns, operation.id));
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// The story with what happened to the cluster meanwhile.
    #[must_use]
    pub fn on_the_time_line(&self, history: &History) -> String {
        let starts = self.operations.iter().map(|operation| operation.start_ns);
        let Some(from) = starts.min() else {
            return self.to_string();
        };
        let ends = self.operations.iter();
        let ends = ends.map(|operation| operation.end_ns.unwrap_or(operation.start_ns));
        let to = ends.max().unwrap_or(from);
        let mut lines: Vec<(u64, String)> = Vec::new();
        for operation in &self.operations {
            lines.push((operation.start_ns, operation.to_string()));
        }
        for fault in &history.faults {
            let end = fault.end_ns.unwrap_or(u64::MAX);
            if fault.start_ns <= to && end >= from {
                let until = fault.end_ns.map_or_else(|| "…".to_owned(), seconds);
                let line = format!(
                    "{:>12} – {until:>12} s  fault {} on nodes {:?}",
                    seconds(fault.start_ns),
                    fault.kind,
                    fault.nodes
                );
                lines.push((fault.start_ns, line));
            }
        }
        for leader in &history.leaders {
            if (from..=to).contains(&leader.at_ns) {
                let (at, node, term) = (seconds(leader.at_ns), leader.node, leader.term);
                lines.push((
                    leader.at_ns,
                    format!("{at:>12} s  node {node} leads in term {term}"),
                ));
            }
        }
        lines.sort();
        let mut text = self.what.clone();
        for (_, line) in &lines {
            text.push_str("\n    ");
            text.push_str(line);
        }
        for note in &self.notes {
            text.push_str("\n    ");
            text.push_str(note);
        }
        text
    }
}

impl fmt::Display for Story {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "  {}", self.what)?;
        for operation in &self.operations {
            write!(formatter, "\n    {operation}")?;
        }
        for note in &self.notes {
            write!(formatter, "\n    {note}")?;
        }
        Ok(())
    }
}
