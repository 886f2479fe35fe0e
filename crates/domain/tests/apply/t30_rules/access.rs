//! Who may do what, from which index on (C3, I1, P1, P3, P4).

use jarvis_domain::command::{AdminView, Caller, Change, Command, Target};
use jarvis_domain::outcome::{Outcome, Rejection};
use jarvis_domain::policy::VerbSet;
use jarvis_domain::time::{DAY, Millis};
use jarvis_domain::token::Credential;

use crate::world::{
    FOUNDER, START, World, access_by, caller, caller_with, client, delete, mutation, mutation_by,
    name, policy, policy_of, read, read_by, rule, set_policy, word, words, write,
};

#[test]
fn p1_each_denial_has_its_reason_and_one_event() {
    let mut world = World::begun();
    for (id, text, reason) in [
        ("stranger", "app/key", "unknown_client"),
        ("backend", "app/root/key", "deny_rule"),
        ("backend", "db/x", "no_rule"),
    ] {
        let refused = world.refused(read(id, text));
        let expected = Rejection::NotAuthorized {
            target: text.to_owned(),
            reason: reason.to_owned(),
        };
        assert_eq!(refused, expected);
        assert_eq!(world.events().len(), 1);
        let event = &world.events()[0];
        assert_eq!(event["event"], "secret.read");
        assert_eq!(event["outcome"], "deny");
        assert_eq!(event["client"], id);
        assert_eq!(event["name"], text);
        assert_eq!(event["reason"], reason);
    }
}

#[test]
fn p1_a_denied_list_says_what_was_asked_for() {
    let mut world = World::begun();
    let refused = world.refused(access_by(caller("stranger"), Target::List));
    let expected = Rejection::NotAuthorized {
        target: "the list of secrets".to_owned(),
        reason: "unknown_client".to_owned(),
    };
    assert_eq!(refused, expected);
    assert_eq!(world.events().len(), 1);
    let event = &world.events()[0];
    assert_eq!(event["event"], "secret.list");
    assert_eq!(event["outcome"], "deny");
    assert!(event.get("name").is_none(), "it is about no secret");
}

#[test]
fn p3_verbs_are_told_apart() {
    let mut world = World::begun();
    world.put("app/key");
    let writes = mutation("reader", Change::Write(vec![write("app/key", None)]));
    let administers = mutation("backend", Change::TransferLeader { to: None });
    let applied = world.propose(
        FOUNDER,
        vec![
            read("reader", "app/key"),
            writes,
            administers,
            access_by(caller("backend"), Target::Admin(AdminView::Trail)),
            access_by(caller("backend"), Target::List),
            access_by(caller("stranger"), Target::List),
        ],
    );
    assert_eq!(
        words(&applied),
        [
            "value",
            "not_authorized",
            "not_authorized",
            "not_authorized",
            "view",
            "not_authorized"
        ]
    );
    assert_eq!(world.events().len(), 6, "C3: one event each");
}

#[test]
fn i1_what_changes_nothing_replicated_needs_admin_and_has_an_event_of_its_own() {
    for (view, name) in [
        (AdminView::IssueCertificate, "certificate.issue"),
        (AdminView::SealNode, "seal.close"),
    ] {
        let mut world = World::begun();
        for (id, outcome) in [("admin", "allow"), ("backend", "deny")] {
            world.run(access_by(caller(id), Target::Admin(view)));
            assert_eq!(world.events().len(), 1, "C3: one event each");
            let event = &world.events()[0];
            assert_eq!(event["event"], name);
            assert_eq!(event["outcome"], outcome);
            assert_eq!(event["client"], id);
            assert_eq!(event["node"], FOUNDER, "the node that was asked");
        }
    }
}

#[test]
fn p4_a_change_of_policy_takes_effect_between_two_commands_of_one_batch() {
    let mut world = World::begun();
    world.put("app/key");
    let narrowed = policy_of([("admin", vec![rule("*", VerbSet::ALL)], vec![])]);
    let applied = world.propose(
        FOUNDER,
        vec![
            read("backend", "app/key"),
            set_policy(narrowed, "narrowed", Some(1)),
            read("backend", "app/key"),
            set_policy(policy(), "example", Some(2)),
            read("backend", "app/key"),
        ],
    );
    assert_eq!(
        words(&applied),
        ["value", "policy", "not_authorized", "policy", "value"]
    );
}

#[test]
fn p2_a_policy_has_a_version_that_moves_only_when_it_changes() {
    let mut world = World::begun();
    let same = world.run(set_policy(policy(), "example", None));
    assert!(matches!(
        same,
        Outcome::Policy {
            version: 1,
            changed: false
        }
    ));
    let text = world.run(set_policy(policy(), "# a comment\nexample", Some(1)));
    assert!(matches!(
        text,
        Outcome::Policy {
            version: 2,
            changed: true
        }
    ));
    let late = world.refused(set_policy(policy(), "late", Some(1)));
    assert_eq!(late, Rejection::Conflict { actual_version: 2 });
    let broken = policy_of([("not a client", vec![], vec![])]);
    let refused = world.refused(set_policy(broken, "broken", None));
    assert!(matches!(refused, Rejection::Invalid { .. }));
    let record = world.state.policy_record().expect("the cluster has begun");
    assert_eq!(record.version, 2);
}

#[test]
fn i1_a_revoked_token_is_denied_from_the_same_index_on() {
    let mut world = World::begun();
    world.put("app/key");
    world.run(create_token(5, None));
    let revoke = mutation("admin", Change::RevokeToken { id: [5; 16] });
    let use_it = || read_by(with_token("backend", 5), "app/key");
    let applied = world.propose(FOUNDER, vec![use_it(), revoke.clone(), use_it()]);
    assert_eq!(words(&applied), ["value", "done", "unauthenticated"]);
    assert_eq!(world.events().len(), 3);
    assert_eq!(world.events()[2]["reason"], "credential");
    assert_eq!(world.refused(use_it()), Rejection::Unauthenticated);
    assert_eq!(world.refused(revoke), Rejection::NotFound);
}

#[test]
fn i1_a_token_stands_for_its_own_client_only() {
    let mut world = World::begun();
    world.put("app/key");
    world.run(create_token(5, None));
    for command in [
        read_by(with_token("admin", 5), "app/key"),
        read_by(with_token("backend", 6), "app/key"),
        mutation_by(with_token("admin", 5), Change::TransferLeader { to: None }),
    ] {
        assert_eq!(world.refused(command), Rejection::Unauthenticated);
        assert_eq!(world.events().len(), 1, "C3");
    }
}

#[test]
fn i1_a_token_works_until_its_time_is_up() {
    let mut world = World::begun();
    world.put("app/key");
    let Outcome::Created { expires, .. } = world.run(create_token(5, Some(1_000))) else {
        panic!("created");
    };
    assert_eq!(expires, Some(START + 1_000));
    let again = world.refused(create_token(5, None));
    assert_eq!(again, Rejection::Conflict { actual_version: 1 });
    let use_it = || read_by(with_token("backend", 5), "app/key");
    world.advance(999);
    assert_eq!(word(&world.run(use_it())), "value");
    world.advance(1);
    assert_eq!(world.refused(use_it()), Rejection::Unauthenticated);
    let events: Vec<_> = world.events().iter().map(|event| &event["event"]).collect();
    assert_eq!(events, ["token.expire", "secret.read"]);
    assert!(world.state.tokens.is_empty());
}

#[test]
fn i1_a_certificate_works_until_it_is_revoked_or_ends() {
    let mut world = World::begun();
    world.put("app/key");
    let not_after = START + DAY;
    let use_it = |serial: &str| {
        let serial = serial.to_owned();
        let credential = Credential::Certificate { serial, not_after };
        read_by(caller_with("backend", credential), "app/key")
    };
    let revoke = Change::RevokeCertificate {
        serial: "0a".to_owned(),
        not_after,
    };
    let applied = world.propose(
        FOUNDER,
        vec![
            use_it("0a"),
            mutation("admin", revoke),
            use_it("0a"),
            use_it("0b"),
        ],
    );
    assert_eq!(
        words(&applied),
        ["value", "done", "unauthenticated", "value"]
    );
    world.advance(DAY);
    for serial in ["0a", "0b"] {
        assert_eq!(world.refused(use_it(serial)), Rejection::Unauthenticated);
    }
    assert!(
        world.state.revoked.is_empty(),
        "the record went with the certificate"
    );
    let odd = Change::RevokeCertificate {
        serial: "0A".to_owned(),
        not_after,
    };
    let refused = world.refused(mutation("admin", odd));
    assert!(matches!(refused, Rejection::Invalid { .. }));
}

/// The scheduler and the bootstrap act for the node; names still need a rule.
#[test]
fn the_node_itself_may_administer_but_reads_no_secret_without_a_rule() {
    let mut world = World::begun();
    world.put("app/key");
    let system = || caller_with("jarvis-node", Credential::System);
    let create = mutation_by(system(), Change::TransferLeader { to: None });
    assert_eq!(word(&world.run(create)), "done");
    let refused = world.refused(read_by(system(), "app/key"));
    assert!(matches!(refused, Rejection::NotAuthorized { .. }));
}

#[test]
fn c3_an_access_to_what_is_not_there_leaves_its_event() {
    let mut world = World::begun();
    let name = name("app/none");
    for command in [
        read("admin", "app/none"),
        access_by(caller("admin"), Target::Versions { name }),
    ] {
        assert_eq!(world.refused(command), Rejection::NotFound);
        assert_eq!(world.events().len(), 1);
        assert_eq!(world.events()[0]["outcome"], "not_found");
    }
}

#[test]
fn c3_a_refusal_by_the_node_itself_leaves_its_event() {
    let mut world = World::begun();
    let refused = |reason: &str| {
        let reason = reason.to_owned();
        access_by(caller("backend"), Target::Refused { reason })
    };
    let outcome = world.refused(refused("example"));
    let expected = Rejection::NotAuthorized {
        target: String::new(),
        reason: "example".to_owned(),
    };
    assert_eq!(outcome, expected);
    assert_eq!(world.events().len(), 1);
    let event = &world.events()[0];
    assert_eq!(event["event"], "request.refused");
    assert_eq!(event["outcome"], "deny");
    assert_eq!(event["reason"], "example");
    // Two bytes a letter, and one before: the bound of 64 bytes falls into the middle of one.
    world.refused(refused(&format!("a{}", "ä".repeat(100))));
    let kept = world.events()[0]["reason"].as_str().map(str::len);
    assert_eq!(kept, Some(63));
}

#[test]
fn i1_a_certificate_that_has_ended_can_not_be_revoked_any_more() {
    let mut world = World::begun();
    let revoke = |not_after| {
        let serial = "0a".to_owned();
        mutation("admin", Change::RevokeCertificate { serial, not_after })
    };
    let refused = world.refused(revoke(START));
    assert!(matches!(refused, Rejection::Invalid { .. }));
    assert_eq!(world.events().len(), 1, "C3");
    assert_eq!(word(&world.run(revoke(START + 1))), "done");
}

/// DESIGN section 2: a list is a view as of its index, untouched by what follows in the same batch.
#[test]
fn a_view_does_not_change_behind_its_reader() {
    let mut world = World::begun();
    world.put("app/key");
    let list = access_by(caller("admin"), Target::List);
    let applied = world.propose(FOUNDER, vec![list, delete("app/key")]);
    let Outcome::View(view) = &applied.replies[0].outcome else {
        panic!("a view");
    };
    assert_eq!((view.live_secrets(), world.state.live_secrets()), (1, 0));
}

/// Rule 10: a view is cheap however much changed before it in its entry; the disk image hears of all that nevertheless.
#[test]
fn a_view_leaves_out_what_was_noted_for_the_image() {
    let mut world = World::begun();
    world.state.take_dirty();
    let put = mutation("admin", Change::Write(vec![write("app/key", None)]));
    let list = access_by(caller("admin"), Target::List);
    let mut applied = world.propose(FOUNDER, vec![put, list]);
    let Outcome::View(view) = &mut applied.replies[1].outcome else {
        panic!("a view");
    };
    assert!(view.take_dirty().is_empty());
    assert_eq!(view.live_secrets(), 1);
    assert!(!world.state.take_dirty().is_empty());
}

fn with_token(id: &str, tag: u8) -> Caller {
    caller_with(id, Credential::Token([tag; 16]))
}

fn create_token(tag: u8, ttl_ms: Option<Millis>) -> Command {
    let create = Change::CreateToken {
        id: [tag; 16],
        secret_hash: [tag; 32],
        client: client("backend"),
        ttl_ms,
    };
    mutation("admin", create)
}
