//! Refusals too many for an audit event each: counted, and told once a minute (I3).

use std::collections::BTreeMap;

use super::reason::Reason;

/// Counters between two drains. Each becomes an entry of the log; what would be more than this is
/// counted together, without its client.
const MAX_COUNTERS: usize = 256;

/// How often something was refused since the last time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aggregate {
    /// Why: [`Reason::as_str`].
    pub kind: &'static str,
    /// Whom; `None` for callers without a name, and for those that were too many to name.
    pub client: Option<String>,
    /// How often; at least one.
    pub count: u64,
}

/// The running counts.
#[derive(Default)]
pub(super) struct Aggregates {
    counts: BTreeMap<(Reason, Option<Box<str>>), u64>,
}

impl Aggregates {
    pub(super) fn add(&mut self, reason: Reason, client: Option<&str>, times: u64) {
        let key = (reason, client.map(Box::<str>::from));
        if let Some(count) = self.counts.get_mut(&key) {
            *count += times;
            return;
        }
        let (reason, client) = key;
        let client = client.filter(|_| self.counts.len() < MAX_COUNTERS);
        *self.counts.entry((reason, client)).or_default() += times;
    }

    pub(super) fn drain(&mut self) -> Vec<Aggregate> {
        std::mem::take(&mut self.counts)
            .into_iter()
            .map(|((reason, client), count)| Aggregate {
                kind: reason.as_str(),
                client: client.map(String::from),
                count,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_10_many_names_do_not_make_many_counters() {
        let mut aggregates = Aggregates::default();
        let total = 10 * MAX_COUNTERS as u64;
        for number in 0..total {
            aggregates.add(Reason::ClientRate, Some(&format!("client-{number}")), 1);
        }
        let drained = aggregates.drain();
        assert!(drained.len() <= MAX_COUNTERS + Reason::ALL.len());
        assert_eq!(drained.iter().map(|one| one.count).sum::<u64>(), total);
        assert!(aggregates.drain().is_empty());
    }
}
