//! The first thing that is wrong with a trail, and what it means.

use std::fmt;

use serde::Serialize;

/// Where and what. Verification stops at the first one: behind it nothing can be trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// File name inside the folder; empty when it is about the folder as a whole.
    pub file: String,
    /// Line number in that file (uncompressed), from 1; 0 when it is about the file as a whole.
    pub line: u64,
    /// The event that was expected there.
    pub seq: u64,
    /// What is wrong.
    #[serde(flatten)]
    pub kind: FindingKind,
    /// What that means, as a sentence for people.
    pub meaning: String,
}

/// What can be wrong with a trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum FindingKind {
    /// The line's hash is not that of its content and its predecessor.
    HashMismatch,
    /// The line has another sequence number than the one before it plus one.
    SeqGap {
        /// The number that was due.
        expected: u64,
        /// The number in the line.
        found: u64,
    },
    /// The line is not one that apply writes.
    BadJson {
        /// What the parser says.
        reason: String,
    },
    /// A checkpoint's signature does not fit its content and the node's key.
    BadSignature {
        /// Who is said to have signed.
        node: u64,
    },
    /// A checkpoint by a node that never was a member.
    UnknownSigner {
        /// Who is said to have signed.
        node: u64,
    },
    /// A node signed another history than the one in this trail.
    SignedHeadDiffers {
        /// Who signed.
        node: u64,
        /// The event up to which it signed.
        signed_seq: u64,
    },
    /// A checkpoint vouches for events that come after itself.
    CheckpointAhead {
        /// Who signed.
        node: u64,
        /// The event up to which it signed.
        signed_seq: u64,
    },
    /// The log index is lower than that of the line before.
    IndexWentBack {
        /// Index of the line before.
        before: u64,
        /// Index in the line.
        found: u64,
    },
    /// No segment starts with the next event, but later ones exist, and no retirement explains it.
    MissingSegment {
        /// First event of the missing segment.
        expected_first_seq: u64,
        /// First event of the next segment that exists.
        next_first_seq: u64,
    },
    /// Two different segments start with the same event.
    AmbiguousSegment {
        /// Their file names.
        names: Vec<String>,
    },
    /// A segment lies among the others without being part of the trail.
    StraySegment,
    /// The trail, or a closed segment, ends before its recorded end.
    CutEnd {
        /// The event it must reach, where that is known.
        recorded_seq: Option<u64>,
    },
    /// The trail reaches a recorded event, but with another content.
    HeadDiffers {
        /// The recorded event.
        recorded_seq: u64,
    },
    /// `audit.head` can not be understood.
    BadHeadFile {
        /// Why.
        reason: String,
    },
    /// A compressed segment can not be uncompressed.
    CorruptCompressed {
        /// What the decoder says.
        reason: String,
    },
    /// A file or the folder can not be read.
    Unreadable {
        /// What the system says.
        reason: String,
    },
}

impl Finding {
    pub(crate) fn new(file: &str, line: u64, seq: u64, kind: FindingKind) -> Self {
        let meaning = kind.meaning();
        Self {
            file: file.to_owned(),
            line,
            seq,
            kind,
            meaning,
        }
    }

    /// The finding as one JSON object, with the kind in `kind`.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a finding holds only strings and numbers")
    }
}

impl FindingKind {
    fn meaning(&self) -> String {
        match self {
            Self::HashMismatch => {
                "this line, or one before it, is not what was written: something \
                                   was changed here"
                    .to_owned()
            }
            Self::SeqGap { expected, found } => format!(
                "event {expected} is due and event {found} stands there: lines were removed, added \
                 or put in another order"
            ),
            Self::BadJson { reason } => {
                format!("this is not a line of the audit trail ({reason}): it was damaged")
            }
            Self::BadSignature { node } => format!(
                "the checkpoint in the name of node {node} does not carry its signature: the line \
                 is forged, or the key on record is not that node's"
            ),
            Self::UnknownSigner { node } => format!(
                "node {node} never was a member up to here, yet a checkpoint is signed in its name"
            ),
            Self::SignedHeadDiffers { node, signed_seq } => format!(
                "node {node} signed another history up to event {signed_seq}: events before it \
                 were rewritten"
            ),
            Self::CheckpointAhead { node, signed_seq } => format!(
                "node {node} vouches for event {signed_seq}, which must come before this line: \
                 events were taken out"
            ),
            Self::IndexWentBack { before, found } => format!(
                "log index {found} follows {before}: the log only moves forward, this line was \
                 not written here"
            ),
            Self::MissingSegment {
                expected_first_seq,
                next_first_seq,
            } => format!(
                "events {expected_first_seq} to {} are not in the folder, and no retirement on \
                 record allows that",
                next_first_seq.saturating_sub(1)
            ),
            Self::AmbiguousSegment { names } => format!(
                "the files {} claim the same events with different content",
                names.join(" and ")
            ),
            Self::StraySegment => "this file is not part of the trail: it was put here, or left \
                                   by an accident"
                .to_owned(),
            Self::CutEnd {
                recorded_seq: Some(seq),
            } => format!(
                "the trail reached event {seq} before, and now ends earlier: its end was cut off"
            ),
            Self::CutEnd { recorded_seq: None } => "this closed segment does not end with the \
                                                    event that its name promises: its end was \
                                                    cut off"
                .to_owned(),
            Self::HeadDiffers { recorded_seq } => format!(
                "event {recorded_seq} is on record with another hash: the trail was rewritten"
            ),
            Self::BadHeadFile { reason } => {
                format!("the record of how far the trail reaches can not be understood ({reason})")
            }
            Self::CorruptCompressed { reason } => format!(
                "the compressed segment is damaged ({reason}); another node has the same file"
            ),
            Self::Unreadable { reason } => format!("it can not be read ({reason})"),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = if self.file.is_empty() {
            "the audit folder"
        } else {
            self.file.as_str()
        };
        if self.line == 0 {
            write!(formatter, "{file}, event {}: {}", self.seq, self.meaning)
        } else {
            write!(
                formatter,
                "{file}, line {}, event {}: {}",
                self.line, self.seq, self.meaning
            )
        }
    }
}

impl std::error::Error for Finding {}
