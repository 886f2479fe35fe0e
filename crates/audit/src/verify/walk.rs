//! One walk over a trail from a start: the checks themselves, in the order of the lines.

use std::collections::BTreeSet;
use std::path::Path;

use jarvis_domain::audit::chain_hash;
use serde::Deserialize;

use super::Trust;
use super::events::{CheckpointEvent, Common, Membership, Retirement};
use super::finding::{Finding, FindingKind};
use super::heads::RecentHeads;
use super::report::Report;
use super::retirement::{RETIRE_EVENT, Start};
use super::signers::{Signers, Verdict};
use crate::cursor::{self, LineRead, Next, OpenedSegment};
use crate::head::HeadFile;
use crate::line;
use crate::names::{HEAD_NAME, OPEN_NAME};
use crate::position::Head;
use crate::reader;

pub(super) struct Walk<'a> {
    dir: &'a Path,
    start: &'a Start,
    /// Events whose heads are known from elsewhere: `audit.head` and what the caller noted.
    noted: Vec<(u64, Head)>,
    next_seq: u64,
    head: Head,
    last_index: u64,
    heads: RecentHeads,
    signers: Signers,
    /// First events of the segments that were walked.
    visited: BTreeSet<u64>,
    last_file: String,
    report: Report,
}

/// Where a line stands, for findings.
#[derive(Clone, Copy)]
struct Spot<'a> {
    file: &'a str,
    line: u64,
    seq: u64,
}

impl Spot<'_> {
    fn finding(self, kind: FindingKind) -> Finding {
        Finding::new(self.file, self.line, self.seq, kind)
    }

    fn bad(self, reason: impl Into<String>) -> Finding {
        self.finding(FindingKind::BadJson {
            reason: reason.into(),
        })
    }
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        dir: &'a Path,
        trust: &Trust,
        recorded: Option<HeadFile>,
        start: &'a Start,
    ) -> Self {
        let mut noted = trust.noted.clone();
        noted.extend(recorded.map(|recorded| (recorded.seq, recorded.head)));
        let mut signers = Signers::new(trust, start.members.is_none());
        if let Some(members) = &start.members {
            signers.adopt(members);
        }
        Self {
            dir,
            start,
            noted,
            next_seq: start.seq,
            head: start.head,
            last_index: 0,
            heads: RecentHeads::starting_with(start.seq - 1, start.head),
            signers,
            visited: BTreeSet::new(),
            last_file: String::new(),
            report: Report::default(),
        }
    }

    pub(super) fn run(mut self) -> Result<Report, Finding> {
        self.compare_noted(
            Spot {
                file: HEAD_NAME,
                line: 0,
                seq: self.start.seq - 1,
            },
            self.head,
        )?;
        loop {
            let folder = Spot {
                file: "",
                line: 0,
                seq: self.next_seq,
            };
            let next = cursor::find(&self.dir.into(), self.next_seq).map_err(|error| {
                folder.finding(FindingKind::Unreadable {
                    reason: error.to_string(),
                })
            })?;
            match next {
                Next::Segment(segment) => {
                    let open = segment.closed.is_none();
                    self.segment(segment)?;
                    if open {
                        break;
                    }
                }
                Next::End { unfinished } => {
                    self.report.unfinished_last_line = unfinished;
                    break;
                }
                Next::Gap { next_first_seq } => {
                    let expected_first_seq = self.next_seq;
                    return Err(folder.finding(FindingKind::MissingSegment {
                        expected_first_seq,
                        next_first_seq,
                    }));
                }
                Next::Ambiguous { names } => {
                    return Err(folder.finding(FindingKind::AmbiguousSegment { names }));
                }
            }
        }
        self.finish()
    }

    fn segment(&mut self, mut segment: OpenedSegment) -> Result<(), Finding> {
        self.visited.insert(self.next_seq);
        self.report.segments += 1;
        let file = segment.file_name.clone();
        let mut buffer = Vec::new();
        let mut number = 0;
        loop {
            let read = segment.next_line(&mut buffer);
            let spot = Spot {
                file: &file,
                line: number + 1,
                seq: self.next_seq,
            };
            match read {
                Ok(LineRead::Line) => self.line(spot, &buffer)?,
                Ok(LineRead::End) => break,
                Ok(LineRead::TooLong) => return Err(spot.bad("it is too long")),
                Ok(LineRead::Unfinished) if segment.closed.is_none() => {
                    self.report.unfinished_last_line = true;
                    break;
                }
                Ok(LineRead::Unfinished) => {
                    return Err(spot.finding(FindingKind::CutEnd { recorded_seq: None }));
                }
                Err(error) => {
                    let reason = error.to_string();
                    return Err(spot.finding(if segment.compressed {
                        FindingKind::CorruptCompressed { reason }
                    } else {
                        FindingKind::Unreadable { reason }
                    }));
                }
            }
            number += 1;
        }
        let ends_as_promised = segment
            .closed
            .as_ref()
            .is_none_or(|name| number > 0 && name.matches_head(&self.head));
        if !ends_as_promised {
            let spot = Spot {
                file: &file,
                line: number,
                seq: self.next_seq,
            };
            return Err(spot.finding(FindingKind::CutEnd { recorded_seq: None }));
        }
        self.last_file = file;
        Ok(())
    }

    fn line(&mut self, spot: Spot<'_>, line: &[u8]) -> Result<(), Finding> {
        let parts = line::split(line).ok_or_else(|| spot.bad("it does not end in a hash"))?;
        let common: Common<'_> = parse(spot, line)?;
        if common.seq != spot.seq {
            return Err(spot.finding(FindingKind::SeqGap {
                expected: spot.seq,
                found: common.seq,
            }));
        }
        let hash = chain_hash(&self.head, parts.body);
        if hash != parts.hash {
            return Err(spot.finding(FindingKind::HashMismatch));
        }
        if common.index < self.last_index {
            let (before, found) = (self.last_index, common.index);
            return Err(spot.finding(FindingKind::IndexWentBack { before, found }));
        }
        self.compare_noted(spot, hash)?;
        if common.took_effect() {
            self.follow(spot, &common.event, line)?;
        }
        self.head = hash;
        self.heads.push(hash);
        self.last_index = common.index;
        self.next_seq += 1;
        self.report.count(&common.event, &common.time);
        Ok(())
    }

    /// What the events mean for verification itself.
    fn follow(&mut self, spot: Spot<'_>, event: &str, line: &[u8]) -> Result<(), Finding> {
        match event {
            "audit.checkpoint" => self.checkpoint(spot, &parse(spot, line)?),
            RETIRE_EVENT => self.retirement(spot, line),
            _ if event == "voters"
                || event.starts_with("node.")
                || event.starts_with("cluster.") =>
            {
                let change: Membership = parse(spot, line)?;
                self.signers
                    .follow(event, &change)
                    .map_err(|reason| spot.bad(reason))
            }
            _ => Ok(()),
        }
    }

    fn checkpoint(&mut self, spot: Spot<'_>, event: &CheckpointEvent) -> Result<(), Finding> {
        if event.signed_seq >= spot.seq {
            let (node, signed_seq) = (event.node, event.signed_seq);
            return Err(spot.finding(FindingKind::CheckpointAhead { node, signed_seq }));
        }
        let head = self.head_at(event.signed_seq);
        match self
            .signers
            .check(event, head)
            .map_err(|kind| spot.finding(kind))?
        {
            Verdict::Checked => {
                self.report.checkpoints += 1;
                self.report.signers.insert(event.node);
            }
            Verdict::NotCheckable => self.report.unchecked_checkpoints += 1,
        }
        Ok(())
    }

    fn retirement(&self, spot: Spot<'_>, line: &[u8]) -> Result<(), Finding> {
        let retirement: Retirement = parse(spot, line)?;
        if retirement.upto_seq >= spot.seq {
            return Err(spot.bad("it retires itself"));
        }
        let recorded_seq = retirement.upto_seq;
        if self
            .head_at(recorded_seq)
            .is_some_and(|head| head != retirement.head.0)
        {
            return Err(spot.finding(FindingKind::HeadDiffers { recorded_seq }));
        }
        Ok(())
    }

    /// The trail's own head after an event before the present line; `None` where that part is retired.
    fn head_at(&self, seq: u64) -> Option<Head> {
        if let Some(head) = self.heads.at(seq) {
            return Some(head);
        }
        if seq < self.start.seq {
            return None;
        }
        let found = reader::from_seq(self.dir, seq, 1)
            .ok()?
            .into_iter()
            .next()?;
        if found.seq != seq {
            return None;
        }
        line::split(found.json.as_bytes()).map(|parts| parts.hash)
    }

    fn compare_noted(&self, spot: Spot<'_>, head: Head) -> Result<(), Finding> {
        let differs = self
            .noted
            .iter()
            .any(|(seq, noted)| *seq == spot.seq && *noted != head);
        if differs {
            return Err(spot.finding(FindingKind::HeadDiffers {
                recorded_seq: spot.seq,
            }));
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Report, Finding> {
        let last_seq = self.next_seq - 1;
        let file = if self.last_file.is_empty() {
            OPEN_NAME
        } else {
            self.last_file.as_str()
        };
        let end = Spot {
            file,
            line: 0,
            seq: self.next_seq,
        };
        let recorded_seq = self.noted.iter().map(|(seq, _)| *seq).max();
        if recorded_seq.is_some_and(|recorded| recorded > last_seq) {
            return Err(end.finding(FindingKind::CutEnd { recorded_seq }));
        }
        let names = cursor::list(&self.dir.into()).map_err(|error| {
            end.finding(FindingKind::Unreadable {
                reason: error.to_string(),
            })
        })?;
        for name in names {
            let passed = (self.start.seq..=last_seq).contains(&name.first_seq);
            if passed && !self.visited.contains(&name.first_seq) {
                let stray = Spot {
                    file: &name.plain(),
                    line: 0,
                    seq: name.first_seq,
                };
                return Err(stray.finding(FindingKind::StraySegment));
            }
        }
        let report = &mut self.report;
        report.first_seq = if report.events == 0 {
            0
        } else {
            self.start.seq
        };
        report.last_seq = last_seq;
        report.head = hex::encode(self.head);
        report.signed_upto_seq = self.signers.signed_upto_seq;
        report.unsigned_tail = last_seq.saturating_sub(report.signed_upto_seq);
        Ok(self.report)
    }
}

fn parse<'line, T: Deserialize<'line>>(spot: Spot<'_>, line: &'line [u8]) -> Result<T, Finding> {
    serde_json::from_slice(line).map_err(|error| spot.bad(error.to_string()))
}
