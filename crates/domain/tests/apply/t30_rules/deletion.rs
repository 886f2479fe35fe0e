//! Delete, undelete, retention, and the hold after agreed time stepped (A9, rule 5).

use jarvis_domain::command::{Batch, Change, Target};
use jarvis_domain::limits::{DESTRUCTION_HOLD, DUE_PER_ENTRY, VaultLimits};
use jarvis_domain::outcome::{Outcome, Rejection};
use jarvis_domain::time::{DAY, Millis};

use crate::world::{
    FOUNDER, NAME_COST, START, World, access_by, caller, delete, destroy, mutation, name, read,
    tick, undelete, word, write,
};

const WEEK: Millis = 7 * DAY;

#[test]
fn a9_a_deleted_secret_is_not_shown_but_its_versions_are_listed() {
    let mut world = World::begun();
    world.put("app/key");
    let Outcome::Deleted(deleted) = world.run(delete("app/key")) else {
        panic!("deleted");
    };
    assert_eq!((deleted.at, deleted.until), (START, START + WEEK));
    let refused = world.refused(read("admin", "app/key"));
    assert_eq!(refused, Rejection::Deleted(deleted));
    assert_eq!(
        world.refused(delete("app/key")),
        Rejection::Deleted(deleted)
    );
    assert_eq!(world.state.live_secrets(), 0);
    let name = name("app/key");
    let versions = access_by(caller("admin"), Target::Versions { name });
    assert_eq!(word(&world.run(versions)), "view");
}

#[test]
fn a9_a_write_to_a_deleted_name_starts_over_with_the_number_that_follows() {
    let mut world = World::begun();
    world.put("app/key");
    world.put("app/key");
    world.run(delete("app/key"));
    let create = Change::Write(vec![write("app/key", Some(0))]);
    assert_eq!(word(&world.run(mutation("admin", create))), "written");
    assert_eq!(world.versions("app/key"), [3]);
    let refused = world.refused(undelete("app/key"));
    assert_eq!(refused, Rejection::Conflict { actual_version: 3 });
    world.advance(WEEK);
    world.run(tick());
    assert!(world.events().is_empty(), "the old deletion is forgotten");
    assert_eq!(world.versions("app/key"), [3]);
}

#[test]
fn a9_undelete_works_within_the_window_and_not_after() {
    let mut world = World::begun();
    world.put("app/key");
    world.run(delete("app/key"));
    world.advance(WEEK - 1);
    let outcome = world.run(undelete("app/key"));
    assert!(matches!(&outcome, Outcome::Undeleted { version: 1, kid }
        if kid == "app/key-20261122-030000"));
    assert_eq!(word(&world.run(read("admin", "app/key"))), "value");
    world.run(delete("app/key"));
    world.advance(WEEK);
    assert_eq!(world.refused(undelete("app/key")), Rejection::NotFound);
    let event = &world.events()[0];
    assert_eq!(event["event"], "secret.destroy");
    assert_eq!(event["reason"], "retention");
    assert_eq!(event["versions"], serde_json::json!([1]));
    assert_eq!(world.state.core.vault_bytes, NAME_COST + 7, "the name");
    assert_eq!(world.put("app/key").version, 2);
}

#[test]
fn a9_a_destroyed_secret_is_not_destroyed_again_when_its_window_ends() {
    let mut world = World::begun();
    world.put("app/key");
    world.run(delete("app/key"));
    world.run(destroy("app/key", None));
    world.advance(WEEK);
    world.run(tick());
    assert!(world.events().is_empty());
}

#[test]
fn rule_5_destruction_waits_an_hour_after_agreed_time_stepped() {
    let mut world = World::begun();
    world.put("app/key");
    world.run(delete("app/key"));
    world.advance(10 * WEEK);
    step(&mut world);
    assert_eq!(world.events().len(), 1);
    assert_eq!(world.events()[0]["event"], "clock.step");
    assert_eq!(world.versions("app/key"), [1]);
    assert!(!world.state.has_due(world.now));
    world.advance(DESTRUCTION_HOLD - 1);
    world.run(tick());
    assert_eq!(world.versions("app/key"), [1]);
    world.advance(1);
    assert!(world.state.has_due(world.now));
    world.run(tick());
    assert!(world.versions("app/key").is_empty());
    assert_eq!(world.events()[0]["event"], "secret.destroy");
}

#[test]
fn rule_5_a_step_is_told_once_though_several_entries_say_it() {
    let mut world = World::begun();
    step(&mut world);
    assert_eq!(world.events().len(), 1);
    let held = world.state.core.hold_destruction_until;
    assert_eq!(held, START + DESTRUCTION_HOLD);
    world.advance(9_999);
    step(&mut world);
    assert!(world.events().is_empty());
    assert_eq!(world.state.core.hold_destruction_until, held);
    world.advance(1);
    step(&mut world);
    assert_eq!(
        world.events().len(),
        1,
        "ten seconds later it is another step"
    );
    assert_eq!(world.state.core.hold_destruction_until, held + 10_000);
}

#[test]
fn rule_5_time_never_runs_backwards() {
    let mut world = World::begun();
    world.advance(5_000);
    assert_eq!(world.reply(tick()).time, START + 5_000);
    world.now = START + 1_000;
    assert_eq!(world.reply(tick()).time, START + 5_000);
    let written = world.put("app/key");
    assert_eq!(written.kid, "app/key-20261122-030005");
    assert_eq!(world.state.core.time, START + 5_000);
}

#[test]
fn rule_10_many_due_destructions_are_spread_over_entries() {
    let limits = VaultLimits {
        undelete_ms: 1_000,
        ..VaultLimits::default()
    };
    let mut world = World::with(limits);
    for number in 0..DUE_PER_ENTRY + 6 {
        let text = format!("app/{number}");
        world.put(&text);
        world.run(delete(&text));
    }
    world.advance(1_000);
    world.run(tick());
    assert_eq!(world.events().len(), DUE_PER_ENTRY);
    assert!(world.state.has_due(world.now), "the rest is still due");
    world.run(tick());
    assert_eq!(world.events().len(), 6);
    assert!(!world.state.has_due(world.now));
}

/// An entry whose stamp follows a step of the clocks.
fn step(world: &mut World) {
    let batch = Batch {
        envelope: world.envelope(FOUNDER),
        commands: vec![tick()],
    };
    world.entry(world.now, true, &batch);
}
