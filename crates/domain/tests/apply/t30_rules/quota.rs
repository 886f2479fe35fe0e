//! What counts against the vault's quota: everything that a client can make grow (A7, rule 10).

use jarvis_domain::command::{Change, Command, Write};
use jarvis_domain::limits::VaultLimits;
use jarvis_domain::outcome::Rejection;
use jarvis_domain::secret::About;

use crate::world::{
    NAME_COST, WRITE_COST, World, delete, destroy, mutation, reload, tick, word, write,
};

/// Cost of a name of five bytes.
const NAME: u64 = NAME_COST + 5;
/// Cost of a version under it.
const VERSION: u64 = WRITE_COST + 5;

/// Nobody grows the memory of the nodes outside the quota by writing and destroying one name after the other.
#[test]
fn a7_a_name_counts_for_ever_and_only_once() {
    let limit = 6 * NAME + VERSION;
    let mut world = World::with(limited_to(limit));
    for number in 0..6 {
        let text = format!("app/{number}");
        assert_eq!(world.put(&text).version, 1);
        world.run(destroy(&text, None));
    }
    assert_eq!(world.state.core.vault_bytes, 6 * NAME);
    assert_eq!(world.refused(put("app/6")), Rejection::Quota { limit });
    assert_eq!(world.state.secrets.len(), 6);
    assert_eq!(world.put("app/0").version, 2, "a name that is known");
    assert_eq!(world.state.core.vault_bytes, limit);
    assert_eq!(reload(&world.state).core.vault_bytes, limit);
}

#[test]
fn a7_a_name_still_counts_when_its_time_to_undelete_is_over() {
    let limits = VaultLimits {
        undelete_ms: 1_000,
        ..VaultLimits::default()
    };
    let mut world = World::with(limits);
    world.put("app/0");
    world.run(delete("app/0"));
    assert_eq!(world.state.core.vault_bytes, NAME + VERSION);
    world.advance(1_000);
    world.run(tick());
    assert_eq!(world.state.core.vault_bytes, NAME);
}

#[test]
fn a7_what_people_write_about_a_secret_counts() {
    let mut world = World::begun();
    let bytes = |world: &World| world.state.core.vault_bytes;
    world.run(describe("app/0", 100));
    assert_eq!(bytes(&world), NAME + VERSION + 100);
    world.run(describe("app/0", 40));
    assert_eq!(bytes(&world), NAME + 2 * VERSION + 40, "it is replaced");
    world.put("app/0");
    assert_eq!(bytes(&world), NAME + 3 * VERSION + 40, "it stays");
    world.run(destroy("app/0", None));
    assert_eq!(bytes(&world), NAME, "it goes with the versions");
    world.run(describe("app/0", 7));
    world.run(delete("app/0"));
    world.put("app/0");
    assert_eq!(bytes(&world), NAME + VERSION, "a deleted name starts over");
}

#[test]
fn a7_a_description_that_does_not_fit_is_refused() {
    let limit = NAME + VERSION + 1_000;
    let mut world = World::with(limited_to(limit));
    let refused = world.refused(describe("app/0", 1_001));
    assert_eq!(refused, Rejection::Quota { limit });
    assert_eq!(world.state.core.vault_bytes, 0);
    assert_eq!(word(&world.run(describe("app/0", 1_000))), "written");
    assert_eq!(world.state.core.vault_bytes, limit);
}

fn limited_to(max_vault_bytes: u64) -> VaultLimits {
    VaultLimits {
        max_vault_bytes,
        ..VaultLimits::default()
    }
}

fn put(text: &str) -> Command {
    mutation("admin", Change::Write(vec![write(text, None)]))
}

fn describe(text: &str, length: usize) -> Command {
    let about = About {
        description: Some("d".repeat(length)),
        ..About::default()
    };
    let write = Write {
        about,
        ..write(text, None)
    };
    mutation("admin", Change::Write(vec![write]))
}
