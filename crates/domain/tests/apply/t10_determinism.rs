//! The same log leads to the same state on every node, also on one that was saved and loaded on the way (rules 1, 3).

use std::collections::BTreeMap;

use jarvis_domain::FEATURE_LEVEL;
use jarvis_domain::apply::{Applied, EntryContext, apply};
use jarvis_domain::codec::try_encode;
use jarvis_domain::command::Batch;
use jarvis_domain::limits::VaultLimits;
use jarvis_domain::outcome::LogRef;
use jarvis_domain::state::{LoadError, State};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use crate::arbitrary::{Proposal, proposals};
use crate::world::{FOUNDER, START, World, cluster, init, reload};

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn two_nodes_agree_also_when_one_restarts_in_the_middle(
        proposals in proposals(),
        restart in any::<prop::sample::Index>(),
    ) {
        let log = log_of(&proposals);
        let restart_at = restart.index(log.len());
        let (mut steady, mut restarted) = (State::empty(), State::empty());
        for (position, (context, batch)) in log.iter().enumerate() {
            if position == restart_at {
                restarted = reload(&restarted);
            }
            let left = apply(&mut steady, *context, batch);
            let right = apply(&mut restarted, *context, batch);
            prop_assert!(left.lines == right.lines, "the same trail");
            prop_assert_eq!(left.skipped, right.skipped);
            prop_assert_eq!(answers(&left), answers(&right));
            prop_assert_eq!(steady.hash(), restarted.hash());
            prop_assert_eq!(steady.core.trail, restarted.core.trail);
            prop_assert_eq!(steady.live_secrets(), restarted.live_secrets());
        }
    }

    #[test]
    fn the_incremental_hash_equals_one_rebuilt_from_the_records(proposals in proposals()) {
        let mut state = State::empty();
        for (context, batch) in log_of(&proposals) {
            apply(&mut state, context, &batch);
        }
        prop_assert_eq!(hash_of_records(&state), state.hash());
        prop_assert_eq!(reload(&state).hash(), state.hash());
    }

    /// What the image on disk follows: replacing the records that changed keeps a copy complete.
    #[test]
    fn the_changed_records_lead_from_one_state_to_the_next(proposals in proposals()) {
        let mut state = State::empty();
        let mut image = BTreeMap::new();
        for (context, batch) in log_of(&proposals) {
            apply(&mut state, context, &batch);
            for key in state.take_dirty() {
                match state.record(key.0, &key.1) {
                    Some(value) => image.insert(key, value),
                    None => image.remove(&key),
                };
            }
        }
        let records: BTreeMap<_, _> = state
            .records()
            .map(|(kind, key, value)| ((kind, key), value))
            .collect();
        prop_assert!(image == records);
    }
}

/// Rule 3: a build that does not know the level does not guess.
#[test]
fn a_state_of_an_unknown_level_is_not_loaded() {
    let mut world = World::begun();
    world.state.core.level = FEATURE_LEVEL + 1;
    let loaded = State::load_core(&world.state.core_bytes()).map(|_| ());
    let found = FEATURE_LEVEL + 1;
    assert_eq!(loaded, Err(LoadError::Level { found }));
}

/// A record lost on the disk shows in the hash, whichever it is.
#[test]
fn a_missing_record_shows_in_the_hash() {
    let mut world = World::begun();
    world.put("app/a");
    world.put("app/b");
    let records: Vec<_> = world.state.records().collect();
    for missing in 0..records.len() {
        let mut loaded = State::load_core(&world.state.core_bytes()).expect("the head loads");
        for (position, (kind, key, value)) in records.iter().enumerate() {
            if position != missing {
                loaded.load_record(*kind, key, value).expect("it loads");
            }
        }
        assert_ne!(loaded.loaded().hash(), world.state.hash());
    }
}

/// The log that the proposals come to, after `cluster init`.
fn log_of(proposals: &[Proposal]) -> Vec<(EntryContext, Batch)> {
    let mut world = World::empty();
    let envelope = world.envelope(FOUNDER);
    let commands = vec![cluster(init(VaultLimits::default()))];
    let begin = Batch { envelope, commands };
    world.entry(START, false, &begin);
    let mut log = vec![(context(world.index, START, false), begin)];
    for proposal in proposals {
        let (stamp, batch) = proposal.settle(&mut world);
        world.entry(stamp, proposal.stepped, &batch);
        log.push((context(world.index, stamp, proposal.stepped), batch));
    }
    log
}

fn context(index: u64, stamp: u64, stepped: bool) -> EntryContext {
    let log = LogRef {
        term: 1,
        node: FOUNDER,
        index,
    };
    EntryContext {
        log,
        stamp,
        stepped,
    }
}

/// Views can not be encoded: they count as equal here, and are covered by the state hash.
fn answers(applied: &Applied) -> Vec<Vec<u8>> {
    applied
        .replies
        .iter()
        .map(|reply| try_encode(reply).unwrap_or_default())
        .collect()
}

/// The state hash from its description alone: four lanes of SHA-256(kind ‖ length ‖ key ‖ value) added up.
fn hash_of_records(state: &State) -> [u8; 32] {
    let mut lanes = [0_u64; 4];
    for (kind, key, value) in state.records() {
        let mut hasher = Sha256::new();
        hasher.update([kind]);
        hasher.update((key.len() as u64).to_be_bytes());
        hasher.update(&key);
        hasher.update(&value);
        let digest: [u8; 32] = hasher.finalize().into();
        for (lane, part) in lanes.iter_mut().zip(digest.chunks_exact(8)) {
            let part = part.try_into().expect("chunks of eight bytes");
            *lane = lane.wrapping_add(u64::from_be_bytes(part));
        }
    }
    let mut hasher = Sha256::new();
    hasher.update(b"jarvis/v1/state");
    hasher.update(state.core_bytes());
    for lane in lanes {
        hasher.update(lane.to_be_bytes());
    }
    hasher.finalize().into()
}
