//! Key epochs and seal slots (X2, X3).

use jarvis_domain::command::{Change, ClusterCommand, Command, Write};
use jarvis_domain::outcome::Rejection;

use crate::world::{
    FOUNDER, START, World, cluster, delete, destroy, keyed, mutation, name, sealed, word, words,
    write,
};

#[test]
fn x2_a_write_under_an_old_epoch_is_refused_without_an_event() {
    let mut world = World::begun();
    world.run(add_epoch(2));
    let under = |epoch| {
        let value = sealed(1, 16, epoch);
        let write = Write {
            value,
            ..write("app/key", None)
        };
        keyed("admin", "key-1", 1, Change::Write(vec![write]))
    };
    for epoch in [0, 1, 3] {
        let refused = world.refused(under(epoch));
        assert_eq!(refused, Rejection::StaleEpoch { current: 2 });
        assert!(world.events().is_empty(), "the repeat leaves the event");
    }
    assert!(
        world.state.idempotency.is_empty(),
        "the repeat uses the key"
    );
    assert_eq!(word(&world.run(under(2))), "written");
    assert_eq!(world.events().len(), 1);
}

#[test]
fn x2_an_epoch_is_not_retired_while_a_version_uses_it() {
    let mut world = World::begun();
    world.put("app/key");
    world.put("app/key");
    world.run(add_epoch(2));
    let refused = world.refused(retire(1));
    assert!(matches!(refused, Rejection::Invalid { .. }));
    assert_eq!(world.events().len(), 1);
    assert_eq!(word(&world.run(rewrap(1, 1))), "done");
    let refused = world.refused(retire(1));
    assert!(
        matches!(refused, Rejection::Invalid { .. }),
        "version 2 is left"
    );
    assert_eq!(word(&world.run(rewrap(2, 1))), "done");
    assert_eq!(word(&world.run(retire(1))), "done");
    assert_eq!(world.refused(retire(1)), Rejection::NotFound);
    let refused = world.refused(retire(2));
    assert!(
        matches!(refused, Rejection::Invalid { .. }),
        "it is current"
    );
}

#[test]
fn x2_a_deleted_secret_holds_its_epoch_and_a_destroyed_one_does_not() {
    let mut world = World::begun();
    world.put("app/key");
    world.run(delete("app/key"));
    world.run(add_epoch(2));
    assert!(matches!(
        world.refused(retire(1)),
        Rejection::Invalid { .. }
    ));
    world.run(destroy("app/key", None));
    assert_eq!(word(&world.run(retire(1))), "done");
}

#[test]
fn x2_a_rewrap_changes_the_ciphertext_and_nothing_else() {
    let mut world = World::begun();
    world.put("app/key");
    let place = (name("app/key"), 1);
    let before = world
        .state
        .versions
        .get(&place)
        .cloned()
        .expect("it is there");
    world.advance(5_000);
    world.run(add_epoch(2));
    assert_eq!(word(&world.run(rewrap(1, 1))), "done");
    let after = world
        .state
        .versions
        .get(&place)
        .cloned()
        .expect("it is there");
    assert_eq!((after.value.epoch, after.value.version_id), (2, [9; 32]));
    assert_eq!((before.created, after.created), (START, START));
    assert_eq!((&after.kid, after.index), (&before.kid, before.index));
    let twice = world.refused(rewrap(1, 1));
    assert_eq!(twice, Rejection::Conflict { actual_version: 1 });
    assert_eq!(world.refused(rewrap(2, 1)), Rejection::NotFound);
}

#[test]
fn x2_epochs_are_added_in_order() {
    let mut world = World::begun();
    for number in [0, 1, 3, u32::MAX] {
        let refused = world.refused(add_epoch(number));
        assert_eq!(refused, Rejection::Conflict { actual_version: 1 });
    }
    assert_eq!(word(&world.run(add_epoch(2))), "done");
}

#[test]
fn x3_the_last_seal_slot_can_not_be_removed() {
    let mut world = World::begun();
    let remove = |slot: &str| {
        let slot = slot.to_owned();
        mutation("admin", Change::RemoveSlot { slot })
    };
    assert!(matches!(
        world.refused(remove("node-1")),
        Rejection::Invalid { .. }
    ));
    let add = mutation(
        "admin",
        Change::AddSlot {
            slot: "passphrase".to_owned(),
            kind: "passphrase".to_owned(),
            blob: b"example-wrapped".to_vec(),
        },
    );
    let applied = world.propose(
        FOUNDER,
        vec![
            add.clone(),
            add,
            remove("node-1"),
            remove("passphrase"),
            remove("other"),
        ],
    );
    assert_eq!(
        words(&applied),
        ["slot_added", "conflict", "done", "invalid", "not_found"]
    );
}

#[test]
fn c3_who_opened_a_node_is_told_also_when_the_slot_is_gone() {
    let mut world = World::begun();
    let id = world.join(2);
    let unsealed = |slot: &str| {
        let slot = slot.to_owned();
        cluster(ClusterCommand::Unsealed { slot })
    };
    let before: Vec<_> = world.state.records().collect();
    for slot in ["node-1", "passphrase-gone", &"ä".repeat(64)] {
        let applied = world.propose(id, vec![unsealed(slot)]);
        assert_eq!(words(&applied), ["done"]);
        assert_eq!(world.events().len(), 1);
        let told = &world.events()[0];
        assert_eq!(told["event"], "seal.open");
        assert_eq!(told["outcome"], "ok");
        assert_eq!(told["node"], id);
        assert_eq!(told["slot"], slot);
    }
    let after: Vec<_> = world.state.records().collect();
    assert!(before == after, "nothing changed but the trail");
    let core = &world.state.core;
    assert_eq!(core.content_seq, core.trail.seq, "X4: it is signed");
}

fn add_epoch(number: u32) -> Command {
    let wrapped = b"example-wrapped".to_vec();
    mutation("admin", Change::AddEpoch { number, wrapped })
}

fn retire(number: u32) -> Command {
    mutation("admin", Change::RetireEpoch { number })
}

/// A version of `app/key`, to epoch 2.
fn rewrap(version: u64, from_epoch: u32) -> Command {
    let rewrap = Change::Rewrap {
        name: name("app/key"),
        version,
        from_epoch,
        value: sealed(9, 16, 2),
    };
    mutation("admin", rewrap)
}
