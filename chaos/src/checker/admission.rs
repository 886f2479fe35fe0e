//! Grants (I1, P4): what was granted before a use began, and not taken away, is not refused, on any node.
//!
//! The other half of [`revocation`](super::revocation), with the same names: a token that one node made is good at all
//! others at once, also at one that has not heard of it yet. `unauthenticated` refuses any credential;
//! `not_authorized` believes the credential and refuses what was asked, so that it counts against permissions only:
//! credentials whose names begin with [`PERMISSION`]. Answers without a majority are left out: such a node judges by what
//! it last knew and by its own clock (C5).

use std::collections::BTreeMap;

use super::{Inquiry, Report, Story};
use crate::history::{History, Kind, Operation};

/// How the names of permissions begin: `permission:<client>:<name>`.
pub const PERMISSION: &str = "permission:";

/// Checks every use of every credential that was granted in the history.
#[must_use]
pub fn check(history: &History) -> Report {
    let mut inquiry = Inquiry::new("admission");
    let mut credentials: BTreeMap<&str, Credential<'_>> = BTreeMap::new();
    for operation in &history.operations {
        let Some(name) = operation.credential.as_deref() else {
            continue;
        };
        let credential = credentials.entry(name).or_default();
        match operation.kind {
            Kind::Grant if operation.is_ok() => credential.grants.push(operation),
            Kind::Grant => {}
            Kind::Revoke => credential.revocations.push(operation),
            _ => credential.uses.push(operation),
        }
    }
    inquiry.count("uses answered", 0);
    for (name, credential) in &credentials {
        credential.check(&mut inquiry, name);
    }
    inquiry.end("uses after a grant")
}

#[derive(Default)]
struct Credential<'a> {
    grants: Vec<&'a Operation>,
    revocations: Vec<&'a Operation>,
    uses: Vec<&'a Operation>,
}

impl<'a> Credential<'a> {
    fn check(&self, inquiry: &mut Inquiry, name: &str) {
        for used in &self.uses {
            if used.max_age_ms.is_some() {
                continue;
            }
            let Some(grant) = self.grant_before(used) else {
                continue;
            };
            inquiry.count("uses after a grant", 1);
            let is_refused = used.failed_with("unauthenticated")
                || (used.failed_with("not_authorized") && name.starts_with(PERMISSION));
            if is_refused {
                let what = format!("{name} was refused after it was granted");
                inquiry.violated(Story::new(what).with([grant, *used]));
            } else if used.is_ok() {
                inquiry.count("uses answered", 1);
            }
        }
    }

    /// A grant that the use had to know of, and that no revocation can have undone.
    fn grant_before(&self, used: &Operation) -> Option<&'a Operation> {
        let mut grants = self.grants.iter().copied();
        grants.find(|grant| {
            let may_undo = |revocation: &&Operation| {
                let is_before = revocation.is_over_before(grant.start_ns);
                let is_after = used.is_over_before(revocation.start_ns);
                revocation.may_have_happened() && !is_before && !is_after
            };
            grant.is_over_before(used.start_ns) && !self.revocations.iter().any(may_undo)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::Verdict;
    use crate::history::Outcome;

    const TOKEN: &str = "t1";
    const ALLOWED: &str = "permission:backend:a";

    /// At these times, with that outcome; a failure with that code.
    fn operation(
        (kind, credential): (Kind, &str),
        (start_ns, end_ns): (u64, u64),
        outcome: Outcome,
        error: Option<&str>,
    ) -> Operation {
        Operation {
            id: start_ns,
            kind,
            credential: Some(credential.to_owned()),
            start_ns,
            end_ns: Some(end_ns),
            outcome,
            error: error.map(str::to_owned),
            ..Operation::default()
        }
    }

    fn done(kind: Kind, credential: &str, times: (u64, u64)) -> Operation {
        operation((kind, credential), times, Outcome::Ok, None)
    }

    fn refused(credential: &str, times: (u64, u64), code: &str) -> Operation {
        operation((Kind::Read, credential), times, Outcome::Fail, Some(code))
    }

    fn judged(operations: Vec<Operation>) -> Report {
        check(&History {
            operations,
            ..History::default()
        })
    }

    #[test]
    fn a_granted_credential_that_is_refused_is_a_violation() {
        for (credential, code) in [
            (TOKEN, "unauthenticated"),
            (ALLOWED, "unauthenticated"),
            (ALLOWED, "not_authorized"),
        ] {
            let grant = done(Kind::Grant, credential, (10, 20));
            let report = judged(vec![grant, refused(credential, (21, 30), code)]);
            assert_eq!(report.verdict, Verdict::Violated, "{report}");
            assert_eq!(report.stories[0].operations.len(), 2);
        }
    }

    #[test]
    fn a_granted_credential_that_works_holds() {
        let grant = done(Kind::Grant, TOKEN, (10, 20));
        let busy = refused(TOKEN, (40, 50), "no_leader");
        let denied = refused(TOKEN, (60, 70), "not_authorized");
        let used = done(Kind::Read, TOKEN, (21, 30));
        let report = judged(vec![grant, used, busy, denied]);
        assert_eq!(report.verdict, Verdict::Held, "{report}");
        assert_eq!(report.count("uses after a grant"), 3);
        assert_eq!(report.count("uses answered"), 1);
    }

    #[test]
    fn what_may_not_be_granted_or_may_be_revoked_may_be_refused() {
        let grant = || done(Kind::Grant, TOKEN, (10, 20));
        let use_of = |times| refused(TOKEN, times, "unauthenticated");
        let revocation = |times, outcome| operation((Kind::Revoke, TOKEN), times, outcome, None);
        let unknown = operation((Kind::Grant, TOKEN), (10, 20), Outcome::Info, None);
        let stale = Operation {
            max_age_ms: Some(1_000),
            ..use_of((30, 40))
        };
        for allowed in [
            vec![use_of((30, 40))],
            vec![grant(), use_of((20, 30))],
            vec![unknown, use_of((30, 40))],
            vec![grant(), revocation((30, 35), Outcome::Ok), use_of((40, 50))],
            vec![
                grant(),
                revocation((30, 35), Outcome::Info),
                use_of((40, 50)),
            ],
            vec![grant(), revocation((45, 60), Outcome::Ok), use_of((40, 50))],
            vec![grant(), stale],
        ] {
            let report = judged(allowed);
            assert_eq!(report.verdict, Verdict::Unknown, "{report}");
        }
        for (revoked, outcome) in [
            ((2, 5), Outcome::Ok),
            ((60, 70), Outcome::Ok),
            ((30, 35), Outcome::Fail),
        ] {
            let history = vec![grant(), revocation(revoked, outcome), use_of((40, 50))];
            let report = judged(history);
            assert_eq!(report.verdict, Verdict::Violated, "{report}");
        }
    }
}
