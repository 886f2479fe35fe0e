//! Any decodable command yields a state and an answer, and bytes that are no command yield an error (rule 2).

use std::collections::{BTreeMap, BTreeSet};

use jarvis_domain::apply::{EntryContext, apply};
use jarvis_domain::audit::ClosedSegment;
use jarvis_domain::codec::{decode, encode};
use jarvis_domain::command::{Batch, Command};
use jarvis_domain::member::MAX_MEMBERS;
use jarvis_domain::outcome::{LogRef, Reply};
use jarvis_domain::state::{Core, State};
use jarvis_domain::window::Envelope;
use proptest::prelude::*;

use crate::arbitrary::{Proposal, command, proposals};
use crate::world::{FOUNDER, World, read, reload, tick};

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn arbitrary_commands_of_anyone_leave_a_coherent_state(
        begun in prop::bool::weighted(0.85),
        voters in prop::collection::vec(0_u64..6, 0..4),
        proposals in proposals(),
    ) {
        let mut world = if begun { World::begun() } else { World::empty() };
        for proposal in &proposals {
            one_entry(&mut world, proposal);
        }
        world.voters(&voters);
        survives_a_restart(&world);
    }

    #[test]
    fn random_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        kind in any::<u8>(),
    ) {
        let mut framed = vec![1];
        framed.extend_from_slice(&bytes);
        for bytes in [&bytes, &framed] {
            let _ = decode::<Batch>(bytes);
            let _ = decode::<Reply>(bytes);
            let _ = decode::<Core>(bytes);
            let _ = decode::<ClosedSegment>(bytes);
            let _ = State::load_core(bytes);
            let mut state = State::empty();
            let _ = state.load_record(kind % 13, bytes, bytes);
            let _ = state.loaded();
        }
    }

    #[test]
    fn a_batch_survives_the_codec_and_a_truncated_one_does_not(
        commands in prop::collection::vec(command(), 0..3),
        cut in any::<prop::sample::Index>(),
    ) {
        let batch = batch_of(commands);
        let bytes = encode(&batch);
        prop_assert_eq!(decode::<Batch>(&bytes), Ok(batch));
        prop_assert!(decode::<Batch>(&bytes[..cut.index(bytes.len())]).is_err());
        let mut longer = bytes;
        longer.push(0);
        prop_assert!(decode::<Batch>(&longer).is_err());
    }

    /// What still decodes after a bit flipped is a command like any other.
    #[test]
    fn a_flipped_bit_is_an_error_or_another_command(
        commands in prop::collection::vec(command(), 1..3),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..8), 1..4),
    ) {
        let mut bytes = encode(&batch_of(commands));
        for (place, bit) in flips {
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
        }
        if let Ok(batch) = decode::<Batch>(&bytes) {
            let mut world = World::begun();
            world.put("app/a");
            world.entry(world.now, false, &batch);
            coherent(&world.state);
            survives_a_restart(&world);
        }
    }
}

fn batch_of(commands: Vec<Command>) -> Batch {
    let envelope = World::empty().envelope(FOUNDER);
    Batch { envelope, commands }
}

fn one_entry(world: &mut World, proposal: &Proposal) {
    let (stamp, batch) = proposal.settle(world);
    let before = world.state.core.time;
    let applied = world.entry(stamp, proposal.stepped, &batch);
    let replies = if applied.skipped {
        0
    } else {
        batch.commands.len()
    };
    assert_eq!(applied.replies.len(), replies, "one answer per command");
    assert_eq!(world.state.core.time, before.max(stamp), "rule 5");
    coherent(&world.state);
}

/// What is counted is what is there, and no more than there may be.
fn coherent(state: &State) {
    assert!(state.core.windows.len() <= MAX_MEMBERS + 1, "rule 10");
    let keys: BTreeSet<_> = state
        .members
        .iter()
        .map(|(_, member)| member.peer_key)
        .collect();
    assert_eq!(keys.len(), state.members.len(), "rule 11");
    let (mut bytes, mut per_epoch) = (0, BTreeMap::new());
    for ((name, number), version) in state.versions.iter() {
        bytes += version.value.ciphertext.len() as u64 + name.as_str().len() as u64 + 256;
        *per_epoch.entry(version.value.epoch).or_insert(0_u64) += 1;
        assert_eq!(*number, version.number);
        assert!(state.epochs.contains(&version.value.epoch), "X2");
    }
    for (name, secret) in state.secrets.iter() {
        let about = &secret.about;
        let texts = [&about.description, &about.owner, &about.kind];
        let written: usize = texts.into_iter().flatten().map(String::len).sum();
        bytes += (written + name.as_str().len()) as u64 + 256;
    }
    assert_eq!(state.core.vault_bytes, bytes, "A7");
    assert!(bytes <= state.core.limits.max_vault_bytes, "A7");
    for (number, epoch) in state.epochs.iter() {
        let used = per_epoch.get(number).copied().unwrap_or(0);
        assert_eq!(epoch.versions, used, "epoch {number}");
    }
    let (mut live, mut numbered) = (0, 0);
    for (name, secret) in state.secrets.iter() {
        live += u64::from(secret.current().is_some());
        numbered += secret.versions.len();
        assert!(secret.versions.is_sorted_by(|left, right| left < right));
        assert!(secret.versions.last().copied().unwrap_or(0) <= secret.last_version);
        for number in &secret.versions {
            assert!(state.versions.contains(&(name.clone(), *number)));
        }
    }
    assert_eq!(state.live_secrets(), live);
    assert_eq!(state.versions.len(), numbered);
}

/// A saved and loaded state has the same hash, and goes on like the one it was saved from.
fn survives_a_restart(world: &World) {
    let mut states = [world.state.clone(), reload(&world.state)];
    assert_eq!(states[0].hash(), states[1].hash());
    let later = world.state.core.time.saturating_add(20_000_000_000);
    for step in 0..3_u64 {
        let batch = Batch {
            envelope: Envelope {
                node: FOUNDER,
                incarnation: u64::MAX,
                seq: u64::MAX - 2 + step,
            },
            commands: vec![tick(), read("admin", "app/a")],
        };
        let context = EntryContext {
            log: LogRef {
                term: 2,
                node: FOUNDER,
                index: world.index + 1 + step,
            },
            stamp: later,
            stepped: false,
        };
        let lines = states
            .each_mut()
            .map(|state| apply(state, context, &batch).lines);
        assert_eq!(lines[0], lines[1]);
        assert_eq!(states[0].hash(), states[1].hash());
    }
}
