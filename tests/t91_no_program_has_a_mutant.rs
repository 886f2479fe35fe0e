//! What is shipped has none of the known bugs that tests of the tests put back (crates/mutants), not even their names.
//!
//! A build that has them is told apart by its bytes; here it has to be found out:
//!
//! ```sh
//! RUSTFLAGS="--cfg tokio_unstable --cfg jarvis_mutants" \
//!     cargo test --target-dir target/mutants --test t91_no_program_has_a_mutant
//! ```

#![allow(
    clippy::unwrap_used,
    reason = "a test program; its helpers are not marked as tests"
)]

use std::collections::BTreeSet;
use std::fs;

const DAEMON: &str = env!("CARGO_BIN_EXE_jarvis-secretsd");

/// What a program that has mutants says first.
const MARKER: &str = "jarvis-mutant:";
/// All of them.
const NAMES: &[&str] = &[
    "no-fsync",
    "vote-not-persisted",
    "snapshot-not-synced",
    "purge-before-audit-sync",
    "snapshot-without-audit-head",
    "read-without-barrier",
    "audit-after-answer",
    "wall-clock-in-apply",
    "idempotency-key-forgotten",
    "envelope-forgotten",
    "policy-on-lagging-state",
    "unauthenticated-from-local-state",
    "put-under-old-epoch",
    "freshness-from-heartbeats",
    "node-id-reused",
];

/// Those just built, and those of the other profile, if they were ever built: people take them from one place.
#[cfg(not(jarvis_mutants))]
#[test]
fn no_program_has_a_mutant() {
    use std::path::Path;

    let target = Path::new(DAEMON).parent().unwrap().parent().unwrap();
    let mut looked_at = 0;
    for profile in ["debug", "release"] {
        for program in ["jarvis-secretsd", "jarvis-secrets"] {
            let path = target.join(profile).join(program);
            if path.is_file() {
                let found = found_in(&fs::read(&path).unwrap());
                assert!(found.is_empty(), "{} has {found:?}", path.display());
                looked_at += 1;
            }
        }
    }
    let own = fs::read(DAEMON).unwrap();
    assert!(found_in(&own).is_empty());
    assert!(looked_at >= 2, "{} has no programs", target.display());
}

/// The same search, where it has to find all.
#[cfg(jarvis_mutants)]
#[test]
fn a_program_with_mutants_is_found_out_and_says_so() {
    use std::process::Command;

    let found = found_in(&fs::read(DAEMON).unwrap());
    let all: BTreeSet<&str> = NAMES.iter().copied().chain([MARKER]).collect();
    assert_eq!(found, all);
    let names: Vec<&str> = jarvis_mutants::names().collect();
    assert_eq!(names, NAMES, "this test knows others than there are");

    let said = |mutant: &str| {
        let mut daemon = Command::new(DAEMON);
        daemon.arg("--version").env("JARVIS_MUTANT", mutant);
        let output = daemon.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), text)
    };
    let (code, text) = said("no-fsync");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("jarvis-mutant: no-fsync"), "{text}");
    for unusable in ["no-such", "level-ignored"] {
        let (code, text) = said(unusable);
        assert_eq!(code, Some(2), "{text}");
        assert!(
            text.starts_with(MARKER) && text.contains(unusable),
            "{text}"
        );
    }
}

#[test]
fn the_search_finds_what_is_there() {
    assert!(found_in(b"").is_empty());
    assert!(found_in(b"no-fsyn jarvis-mutant").is_empty());
    let bytes = b"\0\x7fELFno-fsync\0nnode-id-reused: jarvis-mutant:";
    assert_eq!(
        found_in(bytes),
        BTreeSet::from([MARKER, "no-fsync", "node-id-reused"])
    );
}

/// The marker and the names that occur anywhere, in one pass: unoptimised programs have a hundred megabytes.
fn found_in(bytes: &[u8]) -> BTreeSet<&'static str> {
    let wanted: Vec<&'static str> = NAMES.iter().copied().chain([MARKER]).collect();
    let mut begins = [false; 256];
    for text in &wanted {
        begins[usize::from(text.as_bytes()[0])] = true;
    }
    let mut found = BTreeSet::new();
    for (at, byte) in bytes.iter().enumerate() {
        if begins[usize::from(*byte)] {
            let here = wanted
                .iter()
                .filter(|text| bytes[at..].starts_with(text.as_bytes()));
            found.extend(here.copied());
        }
    }
    found
}
