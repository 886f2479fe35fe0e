//! Batches: all or none of a batch's writes are there, for every observer, and what they move around keeps its sum.
//!
//! The observer is a list: it shows the versions of all names with a prefix at one index of the log. (A list of several
//! pages is not one observation: batches need few enough names for one page.) A version stands for the batch that made
//! it: by its answer; or, for a batch whose outcome is unknown, by a value of it that somebody read, and then by the
//! versions that its other writes expected.

use std::collections::{BTreeMap, BTreeSet};

use super::evidence::Evidence;
use super::key_history::KeyHistories;
use super::{Inquiry, Report, Story};
use crate::history::{History, Kind, Operation, Outcome};

/// Checks every batch against every list; and that the amounts in each list add up to `total`.
///
/// Without `total` the first list in which all amounts are known sets it. Lists in which none of the names that carry
/// amounts exists yet are not summed.
#[must_use]
pub fn check(history: &History, total: Option<i64>) -> Report {
    let mut inquiry = Inquiry::new("batch");
    let histories = KeyHistories::of(history);
    let mut known = Known::default();
    for (key, key_history) in &histories.keys {
        let (evidence, _) = Evidence::of(key, key_history);
        for (value, version) in &evidence.versions {
            known.versions.insert((*key, *value), *version);
        }
        known
            .seen
            .extend(evidence.seen.iter().map(|value| (*key, *value)));
    }
    known.note_amounts(history);
    let snapshots: Vec<Snapshot<'_>> = history.operations.iter().filter_map(Snapshot::of).collect();
    inquiry.count("lists", snapshots.len() as u64);
    let links = links(&mut inquiry, history, &known);
    for snapshot in &snapshots {
        snapshot.all_or_none(&mut inquiry, &links);
    }
    sums(&mut inquiry, &snapshots, &known, total);
    inquiry.end("comparisons")
}

/// What is known of values, by key.
#[derive(Default)]
struct Known<'a> {
    versions: BTreeMap<(&'a str, &'a str), u64>,
    seen: BTreeSet<(&'a str, &'a str)>,
    /// (Key, version) → what it counts.
    amounts: BTreeMap<(&'a str, u64), i64>,
    /// Keys that carry amounts.
    accounts: BTreeSet<&'a str>,
}

impl<'a> Known<'a> {
    fn note_amounts(&mut self, history: &'a History) {
        for operation in &history.operations {
            if operation.kind == Kind::Batch {
                for item in &operation.writes {
                    self.note_amount(&item.key, &item.value, item.amount);
                }
            } else if let Some(value) = &operation.value {
                self.note_amount(&operation.key, value, operation.amount);
            }
        }
    }

    fn note_amount(&mut self, key: &'a str, value: &'a str, amount: Option<i64>) {
        let Some(amount) = amount else {
            return;
        };
        self.accounts.insert(key);
        if let Some(version) = self.versions.get(&(key, value)) {
            self.amounts.insert((key, *version), amount);
        }
    }

    /// The versions that a batch made, key by key, if it is known that it happened.
    fn made_by(&self, batch: &'a Operation) -> Option<Vec<(&'a str, u64)>> {
        let value_of = |index: usize| {
            let item = &batch.writes[index];
            (item.key.as_str(), item.value.as_str())
        };
        let was_seen = |index: usize| {
            let value = value_of(index);
            self.seen.contains(&value) || self.versions.contains_key(&value)
        };
        let happened = batch.is_ok() || (0..batch.writes.len()).any(was_seen);
        let made = batch.writes.iter().enumerate().map(|(index, item)| {
            let answered = batch.answer.items.iter().find(|told| told.key == item.key);
            let version = answered
                .map(|told| told.version)
                .or_else(|| self.versions.get(&value_of(index)).copied())
                .or_else(|| item.expected.map(|expected| expected.saturating_add(1)))?;
            Some((item.key.as_str(), version))
        });
        happened.then(|| made.flatten().collect())
    }
}

/// "Where one name has this version or a later one, another has that version or a later one."
struct Link<'a> {
    from: (&'a str, u64),
    to: (&'a str, u64),
    batch: &'a Operation,
}

/// The links of all batches. Those between a batch's first name and each other one say it all.
fn links<'a>(inquiry: &mut Inquiry, history: &'a History, known: &Known<'a>) -> Vec<Link<'a>> {
    let mut links = Vec::new();
    let batches = history.operations.iter();
    let batches = batches.filter(|operation| operation.kind == Kind::Batch);
    // A refused attempt says nothing of another one under its idempotency key.
    let alive: BTreeSet<&str> = batches
        .clone()
        .filter(|batch| batch.may_have_happened())
        .filter_map(|batch| batch.idempotency_key.as_deref())
        .collect();
    for batch in batches {
        inquiry.count("batches", 1);
        answered_for_all(inquiry, batch);
        let key = batch.idempotency_key.as_deref();
        if batch.outcome == Outcome::Fail && key.is_some_and(|key| alive.contains(key)) {
            continue;
        }
        let Some(made) = known.made_by(batch) else {
            continue;
        };
        inquiry.count("batches that happened", 1);
        if batch.outcome == Outcome::Fail {
            let what = "a value of a batch was seen that certainly did not happen";
            inquiry.violated(Story::new(what).with([batch]));
        }
        let Some((first, others)) = made.split_first() else {
            continue;
        };
        for other in others {
            for (from, to) in [(*first, *other), (*other, *first)] {
                links.push(Link { from, to, batch });
            }
        }
    }
    links
}

fn answered_for_all(inquiry: &mut Inquiry, batch: &Operation) {
    if !batch.is_ok() {
        return;
    }
    let is_told = |key: &str| batch.answer.items.iter().any(|told| told.key == key);
    let untold = batch.writes.iter().find(|item| !is_told(&item.key));
    if let Some(item) = untold {
        let what = format!("a batch was acknowledged without a version of {}", item.key);
        inquiry.violated(Story::new(what).with([batch]));
    }
}

/// The versions of all names with a prefix, at one index.
struct Snapshot<'a> {
    operation: &'a Operation,
    versions: BTreeMap<&'a str, u64>,
}

impl<'a> Snapshot<'a> {
    fn of(operation: &'a Operation) -> Option<Self> {
        let listed = operation.answer.listed.as_ref()?;
        if operation.kind != Kind::List || !operation.is_ok() {
            return None;
        }
        let versions = listed.iter();
        let versions = versions.filter_map(|name| Some((name.key.as_str(), name.version?)));
        let versions: BTreeMap<&str, u64> = versions.collect();
        // Without versions it is a list of names.
        let is_snapshot = !versions.is_empty() || listed.is_empty();
        is_snapshot.then_some(Self {
            operation,
            versions,
        })
    }

    /// 0 for a name that is not there; `None` for one that this list does not look at.
    fn version(&self, key: &str) -> Option<u64> {
        let is_covered = key.starts_with(self.operation.key.as_str());
        is_covered.then(|| self.versions.get(key).copied().unwrap_or(0))
    }

    fn all_or_none(&self, inquiry: &mut Inquiry, links: &[Link<'_>]) {
        let mut comparisons = 0;
        for Link { from, to, batch } in links {
            let (Some(here), Some(there)) = (self.version(from.0), self.version(to.0)) else {
                continue;
            };
            comparisons += 1;
            if here >= from.1 && there < to.1 {
                let what = format!(
                    "a list shows a part of a batch: {} at version {here}, {} at version {there} instead of {} or later",
                    from.0, to.0, to.1
                );
                inquiry.violated(Story::new(what).with([*batch, self.operation]));
            }
        }
        inquiry.count("comparisons", comparisons);
    }
}

fn sums(inquiry: &mut Inquiry, snapshots: &[Snapshot<'_>], known: &Known<'_>, total: Option<i64>) {
    inquiry.count("lists summed", 0);
    inquiry.count("lists not summed", 0);
    let mut total = total.map(|total| (total, None));
    for snapshot in snapshots {
        let accounts = known.accounts.iter();
        let versions: Option<Vec<(&str, u64)>> = accounts
            .map(|account| Some((*account, snapshot.version(account)?)))
            .collect();
        let Some(versions) = versions.filter(|all| all.iter().any(|(_, version)| *version > 0))
        else {
            continue;
        };
        let amounts = versions.iter().map(|(account, version)| {
            if *version == 0 {
                return Some(0);
            }
            known.amounts.get(&(*account, *version)).copied()
        });
        let Some(sum) = amounts.sum::<Option<i64>>() else {
            inquiry.count("lists not summed", 1);
            continue;
        };
        inquiry.count("lists summed", 1);
        let (total, first) = *total.get_or_insert((sum, Some(snapshot.operation)));
        if sum != total {
            let what = format!("the amounts in a list add up to {sum} instead of {total}");
            inquiry.violated(Story::new(what).with(first).with([snapshot.operation]));
        }
    }
}
