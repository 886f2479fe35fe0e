//! Versions, kids, compare-and-set, batches and limits (A2, A10, A14, A15, R2).

use jarvis_domain::command::{Change, Command, Write};
use jarvis_domain::limits::VaultLimits;
use jarvis_domain::outcome::{Outcome, Rejection};
use jarvis_domain::secret::About;

use crate::world::{
    NAME_COST, START, WRITE_COST, World, caller, delete, destroy, keyed, mutation, name, read,
    read_version, sealed, undelete, word, words, write,
};

#[test]
fn a10_a_second_kid_within_one_second_gets_a_suffix() {
    let mut world = World::begun();
    assert_eq!(world.put("app/key").kid, "app/key-20261122-030000");
    world.advance(400);
    assert_eq!(world.put("app/key").kid, "app/key-20261122-030000-2");
    assert_eq!(world.put("app/other").kid, "app/other-20261122-030000");
    world.run(delete("app/key"));
    assert_eq!(world.put("app/key").kid, "app/key-20261122-030000-3");
    world.run(destroy("app/key", None));
    assert_eq!(world.put("app/key").kid, "app/key-20261122-030000-4");
    world.advance(600);
    assert_eq!(world.put("app/key").kid, "app/key-20261122-030001");
}

#[test]
fn a10_a_version_carries_times_of_the_cluster() {
    let limits = VaultLimits {
        rotation_ms: 5_000,
        ..VaultLimits::default()
    };
    let mut world = World::with(limits);
    world.advance(1_234);
    let written = world.put("app/key");
    assert_eq!(written.expires, START + 1_234 + 5_000);
    let record = world
        .state
        .current_version(&name("app/key"))
        .expect("it is there");
    assert_eq!((record.created, record.index), (START + 1_234, world.index));
}

#[test]
fn a9_a_version_number_is_never_used_again_after_destroy() {
    let mut world = World::begun();
    for number in 1..=3 {
        assert_eq!(world.put("app/key").version, number);
    }
    world.run(destroy("app/key", None));
    assert_eq!(world.refused(read("admin", "app/key")), Rejection::NotFound);
    assert_eq!(world.refused(undelete("app/key")), Rejection::NotFound);
    assert_eq!(written(&mut world, "app/key", Some(0)), 4);
    assert_eq!(world.versions("app/key"), [4]);
}

#[test]
fn a9_destroying_the_current_version_makes_the_one_before_current() {
    let mut world = World::begun();
    for _ in 0..3 {
        world.put("app/key");
    }
    world.run(destroy("app/key", Some(vec![3])));
    let shown = world.run(read("admin", "app/key"));
    assert!(matches!(&shown, Outcome::Value { version, current: true } if version.number == 2));
    assert_eq!(written(&mut world, "app/key", Some(2)), 4);
    let gone = destroy("app/key", Some(vec![1, 3]));
    assert_eq!(world.refused(gone), Rejection::NotFound, "all or none");
    assert_eq!(world.versions("app/key"), [1, 2, 4]);
}

#[test]
fn a9_a_failed_compare_and_set_tells_the_version_found() {
    let mut world = World::begun();
    world.put("app/key");
    world.put("app/key");
    for (wanted, actual_version) in [(0, 2), (1, 2), (3, 2)] {
        let refused = world.refused(put_if("app/key", Some(wanted)));
        assert_eq!(refused, Rejection::Conflict { actual_version });
    }
    let refused = world.refused(put_if("app/new", Some(1)));
    assert_eq!(refused, Rejection::Conflict { actual_version: 0 });
    assert_eq!(written(&mut world, "app/key", Some(2)), 3);
}

#[test]
fn a15_a_batch_is_written_whole_or_not_at_all() {
    let mut world = World::begun();
    world.put("app/b");
    let batch = |cas| {
        let writes = vec![write("app/a", Some(0)), write("app/b", Some(cas))];
        mutation("admin", Change::Write(writes))
    };
    assert_eq!(
        world.refused(batch(7)),
        Rejection::Conflict { actual_version: 1 }
    );
    assert_eq!(world.events().len(), 1);
    assert!(world.versions("app/a").is_empty());
    assert_eq!(word(&world.run(batch(1))), "written");
    let events: Vec<_> = world.events().iter().map(|event| &event["batch"]).collect();
    assert_eq!(
        events,
        [2_u64, 2],
        "C3: one event per write, and each tells of the batch"
    );
}

#[test]
fn a15_a_batch_has_one_to_64_writes_of_different_names() {
    let mut world = World::begun();
    let many = |count: u32| {
        let writes = (0..count).map(|number| write(&format!("app/{number}"), None));
        mutation("admin", Change::Write(writes.collect()))
    };
    for count in [0, 65] {
        let refused = world.refused(many(count));
        assert!(matches!(refused, Rejection::Invalid { .. }), "{count}");
    }
    assert_eq!(word(&world.run(many(64))), "written");
    assert_eq!(world.events().len(), 64);
    let twice = Change::Write(vec![write("app/a", None), write("app/a", None)]);
    let refused = world.refused(mutation("admin", twice));
    assert!(matches!(refused, Rejection::Invalid { .. }));
}

#[test]
fn a7_a_full_vault_refuses_and_has_room_again_after_a_destruction() {
    let (name, version) = (NAME_COST + 5, WRITE_COST + 5);
    let limit = 3 * name + 2 * version;
    let limits = VaultLimits {
        max_vault_bytes: limit,
        ..VaultLimits::default()
    };
    let mut world = World::with(limits);
    world.put("app/a");
    world.put("app/b");
    assert_eq!(world.state.core.vault_bytes, 2 * (name + version));
    let third = || {
        keyed(
            "admin",
            "key-1",
            1,
            Change::Write(vec![write("app/c", None)]),
        )
    };
    assert_eq!(world.refused(third()), Rejection::Quota { limit });
    assert_eq!(world.events().len(), 1);
    assert_eq!(world.events()[0]["reason"], "quota");
    world.run(destroy("app/a", None));
    assert_eq!(world.state.core.vault_bytes, 2 * name + version);
    let outcome = world.run(third());
    assert_eq!(
        word(&outcome),
        "written",
        "a full vault is not remembered under the key"
    );
    assert_eq!(world.state.core.vault_bytes, limit);
}

#[test]
fn r2_the_oldest_version_goes_when_there_are_too_many() {
    let limits = VaultLimits {
        max_versions: 3,
        ..VaultLimits::default()
    };
    let mut world = World::with(limits);
    for _ in 0..5 {
        world.put("app/key");
    }
    assert_eq!(world.versions("app/key"), [3, 4, 5]);
    let name = NAME_COST + 7;
    assert_eq!(world.state.core.vault_bytes, name + 3 * (WRITE_COST + 7));
    let old = read_version(caller("admin"), "app/key", Some(2));
    assert_eq!(world.refused(old), Rejection::NotFound);
}

#[test]
fn a14_a_value_may_have_the_agreed_length_and_not_one_byte_more() {
    let limits = VaultLimits {
        max_ciphertext_bytes: 100,
        ..VaultLimits::default()
    };
    let mut world = World::with(limits);
    let of_length = |bytes| {
        let value = sealed(1, bytes, 1);
        let write = Write {
            value,
            ..write("app/key", None)
        };
        mutation("admin", Change::Write(vec![write]))
    };
    let applied = world.propose(1, vec![of_length(0), of_length(100), of_length(101)]);
    assert_eq!(words(&applied), ["written", "written", "invalid"]);
}

#[test]
fn r1_a_write_keeps_what_it_does_not_say_about_the_secret() {
    let mut world = World::begun();
    let describe = |owner: Option<&str>, description: Option<&str>| {
        let about = About {
            description: description.map(str::to_owned),
            owner: owner.map(str::to_owned),
            kind: None,
        };
        let write = Write {
            about,
            ..write("app/key", None)
        };
        mutation("admin", Change::Write(vec![write]))
    };
    world.run(describe(Some("team-a"), Some("example")));
    world.run(describe(Some("team-b"), None));
    let about = |world: &World| {
        let secret = world
            .state
            .secrets
            .get(&name("app/key"))
            .expect("it is there");
        (secret.about.owner.clone(), secret.about.description.clone())
    };
    let kept = (Some("team-b".to_owned()), Some("example".to_owned()));
    assert_eq!(about(&world), kept);
    let long = "x".repeat(1_025);
    let refused = world.refused(describe(Some(&long), None));
    assert!(matches!(refused, Rejection::Invalid { .. }));
    world.run(delete("app/key"));
    world.put("app/key");
    assert_eq!(about(&world), (None, None), "a deleted name starts over");
}

fn put_if(text: &str, cas: Option<u64>) -> Command {
    mutation("admin", Change::Write(vec![write(text, cas)]))
}

/// The number that a conditional write got.
fn written(world: &mut World, text: &str, cas: Option<u64>) -> u64 {
    match world.run(put_if(text, cas)) {
        Outcome::Written(written) => written[0].version,
        other => panic!("expected a version, got {}", word(&other)),
    }
}
