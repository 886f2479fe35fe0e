//! The simulation (VERIFICATION): seeds hold, a seed is the same run each time, and other seeds are other runs.
//!
//! `JARVIS_SIM_SEEDS=A..B` runs other seeds than the ones below; `jarvis-chaos sim` runs many.

use std::collections::BTreeMap;
use std::ops::Range;
use std::thread;

use jarvis_chaos::checker::Verdict;
use jarvis_chaos::sim::{Nodes, Options, SeedReport, run_one};

/// The seeds of every change, each run twice: as many as a minute holds in a build without optimisation.
const SEEDS: Range<u64> = 1..6;
/// Futures of such a build are large.
const STACK_BYTES: usize = 64 << 20;

#[test]
fn the_same_seed_is_the_same_run_and_it_holds() {
    assert!(
        cfg!(tokio_unstable),
        "RUSTFLAGS in the environment replaced those of .cargo/config.toml: add --cfg tokio_unstable"
    );
    let mut digests: BTreeMap<u64, u64> = BTreeMap::new();
    for seed in seeds() {
        // Side by side, so that they disturb each other as much as they can.
        let [first, second] = twice(seed, &Options::default());
        assert_ne!(first.verdict, Verdict::Violated, "{}", told(&first));
        assert!(first.events > 1_000, "{}", told(&first));
        assert_eq!(
            (first.digest, first.events),
            (second.digest, second.events),
            "seed {seed} is not the same run twice"
        );
        assert_eq!(first.history, second.history);
        assert_eq!(digests.insert(first.digest, seed), None);
    }
}

#[test]
fn peers_with_tls_hold_too() {
    let options = Options {
        nodes: Nodes::Three,
        mtls: true,
        ..Options::default()
    };
    let [report, _] = twice(1, &options);
    assert_ne!(report.verdict, Verdict::Violated, "{}", told(&report));
    assert!(report.coverage.committed > 0, "{}", told(&report));
}

#[test]
fn a_bug_that_this_build_does_not_have_proves_nothing() {
    let options = Options {
        mutant: Some("no-such-bug"),
        ..Options::default()
    };
    let report = run_one(1, &options);
    assert_eq!(report.verdict, Verdict::Unknown);
    assert!(!report.doubts.is_empty() && report.events == 0);
}

fn twice(seed: u64, options: &Options) -> [SeedReport; 2] {
    thread::scope(|scope| {
        let running = [(); 2].map(|()| {
            let thread = thread::Builder::new().stack_size(STACK_BYTES);
            thread
                .spawn_scoped(scope, || run_one(seed, options))
                .expect("a thread")
        });
        running.map(|thread| thread.join().expect("run_one keeps panics to itself"))
    })
}

fn told(report: &SeedReport) -> String {
    let violations = report.violations.iter();
    let violations = violations.map(|violation| format!("{}: {}", violation.by, violation.what));
    format!(
        "seed {} ({}): {:?}\n{}\n{:?}\nagain: jarvis-chaos replay {}",
        report.seed,
        report.plan,
        report.doubts,
        violations.collect::<Vec<_>>().join("\n"),
        report.coverage,
        report.seed
    )
}

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("JARVIS_SIM_SEEDS") else {
        return SEEDS;
    };
    let parsed = text
        .split_once("..")
        .and_then(|(first, end)| Some(first.parse().ok()?..end.parse().ok()?));
    parsed.expect("JARVIS_SIM_SEEDS is A..B")
}
