//! Revocations (P4): no use that began after the revocation was acknowledged succeeds, on any node.
//!
//! A credential is a token, a certificate, or a permission: whatever grants, revocations and uses name alike. Any
//! operation with a `credential` uses it, but for those two. Two things excuse a success: a grant that may have come
//! after the revocation; and an answer without a majority, which is as old as it says it is.

use std::collections::BTreeMap;

use super::{Inquiry, Report, Story};
use crate::history::{History, Kind, Operation};

const NS_PER_MS: u64 = 1_000_000;

/// Checks every use of every revoked credential.
#[must_use]
pub fn check(history: &History) -> Report {
    let mut inquiry = Inquiry::new("revocation");
    let mut credentials: BTreeMap<&str, Credential<'_>> = BTreeMap::new();
    for operation in &history.operations {
        let Some(name) = operation.credential.as_deref() else {
            continue;
        };
        let credential = credentials.entry(name).or_default();
        match operation.kind {
            Kind::Grant => credential.grants.push(operation),
            Kind::Revoke if operation.is_ok() => credential.revocations.push(operation),
            Kind::Revoke => {}
            _ => credential.uses.push(operation),
        }
    }
    inquiry.count("revocations", 0);
    inquiry.count("uses refused afterwards", 0);
    for (name, credential) in &credentials {
        credential.check(&mut inquiry, name);
    }
    inquiry.end("uses after a revocation")
}

#[derive(Default)]
struct Credential<'a> {
    grants: Vec<&'a Operation>,
    revocations: Vec<&'a Operation>,
    uses: Vec<&'a Operation>,
}

impl<'a> Credential<'a> {
    fn check(&self, inquiry: &mut Inquiry, name: &str) {
        inquiry.count("revocations", self.revocations.len() as u64);
        for used in &self.uses {
            let Some(revocation) = self.revocation_before(used) else {
                continue;
            };
            inquiry.count("uses after a revocation", 1);
            if used.is_ok() {
                let what = format!("{name} worked after its revocation was acknowledged");
                inquiry.violated(Story::new(what).with([revocation, *used]));
            } else {
                inquiry.count("uses refused afterwards", 1);
            }
        }
    }

    /// A revocation that the use had to know of, and that no grant can have undone.
    fn revocation_before(&self, used: &Operation) -> Option<&'a Operation> {
        let age_ns = used
            .answer
            .stale_age_ms
            .unwrap_or(0)
            .saturating_mul(NS_PER_MS);
        let knows_from_ns = used.start_ns.saturating_sub(age_ns);
        let mut revocations = self.revocations.iter().copied();
        revocations.find(|revocation| {
            let is_undone = |grant: &&Operation| {
                let may_be_after = !grant.is_over_before(revocation.start_ns);
                let may_be_before = grant.start_ns <= used.over_ns();
                grant.may_have_happened() && may_be_after && may_be_before
            };
            revocation.is_over_before(knows_from_ns) && !self.grants.iter().any(is_undone)
        })
    }
}
