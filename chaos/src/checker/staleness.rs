//! Freshness (C5): a default read sees every write acknowledged before it began; a stale one is no older than its rule
//! allows, and no older than it says.
//!
//! Versions tell: a write acknowledged before a moment has a version, and what is read at that moment or later has that
//! version or a higher one. A stale answer that says "at most 80 ms old" stands for the moment 80 ms before it was asked
//! for. Names that were deleted or destroyed are left out: there a lower version can be the newer state.

use std::collections::{BTreeMap, BTreeSet};

use super::{Inquiry, Report, Story};
use crate::history::{History, Kind, Operation};

const NS_PER_MS: u64 = 1_000_000;

/// Checks every read that shows a version, and every "not found". Clocks of client and server may differ by `slack_ns`
/// in what they take for an age.
#[must_use]
pub fn check(history: &History, slack_ns: u64) -> Report {
    let mut inquiry = Inquiry::new("staleness");
    let mut keys = Keys::default();
    for operation in &history.operations {
        keys.note(operation);
    }
    let writes = keys.written.values().map(|writes| writes.len() as u64);
    inquiry.count("acknowledged writes", writes.sum());
    keys.order();
    inquiry.count("stale reads", 0);
    inquiry.count("default reads", 0);
    for operation in &history.operations {
        keys.judge(&mut inquiry, operation, slack_ns);
    }
    inquiry.end("reads")
}

#[derive(Default)]
struct Keys<'a> {
    written: BTreeMap<&'a str, Vec<Known<'a>>>,
    left_out: BTreeSet<&'a str>,
}

/// From this moment on this version, or a higher one, was known.
#[derive(Clone, Copy)]
struct Known<'a> {
    over_ns: u64,
    version: u64,
    write: &'a Operation,
}

impl<'a> Keys<'a> {
    fn note(&mut self, operation: &'a Operation) {
        match operation.kind {
            Kind::Delete | Kind::Undelete | Kind::Destroy if operation.may_have_happened() => {
                self.left_out.insert(operation.key.as_str());
            }
            Kind::Write | Kind::Cas | Kind::Append if operation.is_ok() => {
                self.wrote(&operation.key, operation.answer.version, operation);
            }
            Kind::Batch if operation.is_ok() => {
                for item in &operation.answer.items {
                    self.wrote(&item.key, Some(item.version), operation);
                }
            }
            _ => {}
        }
    }

    fn wrote(&mut self, key: &'a str, version: Option<u64>, write: &'a Operation) {
        if let Some(version) = version {
            let written = self.written.entry(key).or_default();
            written.push(Known {
                over_ns: write.over_ns(),
                version,
                write,
            });
        }
    }

    /// In order of time, each with the highest version until then.
    fn order(&mut self) {
        for written in self.written.values_mut() {
            written.sort_by_key(|known| known.over_ns);
            let mut highest: Option<Known<'a>> = None;
            for known in written {
                let best = highest.filter(|best| best.version >= known.version);
                let best = best.unwrap_or(*known);
                *known = Known {
                    over_ns: known.over_ns,
                    ..best
                };
                highest = Some(best);
            }
        }
    }

    /// The highest version acknowledged before that moment, and its write.
    fn known_at(&self, key: &str, moment_ns: u64) -> Option<(u64, &'a Operation)> {
        let written = self.written.get(key)?;
        let count = written.partition_point(|known| known.over_ns < moment_ns);
        let last = written.get(count.checked_sub(1)?)?;
        Some((last.version, last.write))
    }

    fn judge(&self, inquiry: &mut Inquiry, read: &'a Operation, slack_ns: u64) {
        if read.kind != Kind::Read
            || read.asked_version.is_some()
            || self.left_out.contains(read.key.as_str())
        {
            return;
        }
        let version = if read.failed_with("not_found") && read.max_age_ms.is_none() {
            0
        } else if let (true, Some(version)) = (read.is_ok(), read.answer.version) {
            version
        } else {
            return;
        };
        inquiry.count("reads", 1);
        let key = read.key.as_str();
        let Some(age_ms) = read.answer.stale_age_ms else {
            inquiry.count("default reads", 1);
            if let Some((known, write)) = self.known_at(key, read.start_ns)
                && known > version
            {
                let what = format!(
                    "a read of {key} saw version {version}, though version {known} was acknowledged before it began"
                );
                inquiry.violated(Story::new(what).with([write, read]));
            }
            return;
        };
        inquiry.count("stale reads", 1);
        match read.max_age_ms {
            None => {
                let what = format!(
                    "a read of {key} was answered without a majority, and nobody had asked for that"
                );
                inquiry.violated(Story::new(what).with([read]));
            }
            Some(allowed) if age_ms > allowed => {
                let what =
                    format!("a stale read of {key} is {age_ms} ms old; {allowed} ms are allowed");
                inquiry.violated(Story::new(what).with([read]));
            }
            Some(_) => {}
        }
        let age_ns = age_ms.saturating_mul(NS_PER_MS).saturating_add(slack_ns);
        if let Some((known, write)) = self.known_at(key, read.start_ns.saturating_sub(age_ns))
            && known > version
        {
            let what = format!(
                "a stale read of {key} is older than the {age_ms} ms it says: version {known} was acknowledged before that"
            );
            inquiry.violated(Story::new(what).with([write, read]));
        }
    }
}
