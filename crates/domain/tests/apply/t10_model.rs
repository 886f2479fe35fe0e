//! `apply` against a naive model written from the requirements (A9–A11, A15, P1–P3, R2, I1, C3, rules 5 and 8).
//!
//! A walk is a random log: several clients write, delete, read, hand out tokens and change the policy while time passes.
//! After each entry outcomes, versions, quota and the number of events must agree with the model.

mod model;
mod walk;

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use self::walk::{steps, walk};

/// Walks per run; each has up to 40 entries.
const WALKS: u32 = 64;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: WALKS,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn apply_agrees_with_the_naive_model(steps in steps()) {
        walk(&steps);
    }
}

/// A test that exercised nothing proves nothing: fixed walks must come to every answer a client can get here.
#[test]
fn the_walks_reach_every_answer() {
    let mut runner = TestRunner::deterministic();
    let mut reached = BTreeSet::new();
    for _ in 0..WALKS {
        let tree = steps().new_tree(&mut runner).expect("steps can be drawn");
        reached.extend(walk(&tree.current()));
    }
    let wanted = BTreeSet::from([
        "value",
        "view",
        "written",
        "deleted",
        "undeleted",
        "destroyed",
        "policy",
        "created",
        "done",
        "unauthenticated",
        "not_authorized",
        "not_found",
        "is_deleted",
        "conflict",
        "key_reused",
        "stale_epoch",
        "quota",
        "invalid",
        "an idempotent repeat",
        "a retention destruction",
        "a token expiry",
    ]);
    let missing: Vec<_> = wanted.difference(&reached).collect();
    assert!(missing.is_empty(), "never reached: {missing:?}");
}
