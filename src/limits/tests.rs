//! I3 as stories, on a clock that stands still until it is moved.

use std::time::Duration;

use governor::clock::FakeRelativeClock;

use crate::config::{Config, Environment};

use super::clients::MAX_CLIENTS;
use super::*;

fn config() -> LimitsConfig {
    let path = std::path::Path::new("config.toml");
    let loaded = Config::parse(path, "", &Environment::default()).unwrap();
    LimitsConfig {
        unauthenticated_per_second: 5,
        forbidden_per_second: 3,
        per_client_concurrency: 2,
        ..loaded.config.limits
    }
}

fn limits(config: &LimitsConfig) -> (Limits<FakeRelativeClock>, FakeRelativeClock) {
    let clock = FakeRelativeClock::default();
    (Limits::with_clock(config, clock.clone()), clock)
}

#[test]
fn i3_strangers_share_one_bucket_and_the_rest_becomes_one_event() {
    let (limits, clock) = limits(&config());
    let refused = (0..100)
        .filter(|_| limits.unauthenticated().is_err())
        .count();
    assert_eq!(refused, 95);
    assert_eq!(
        limits.drain_aggregates(),
        [Aggregate {
            kind: "unauthenticated_flood",
            client: None,
            count: 95,
        }]
    );
    assert!(limits.drain_aggregates().is_empty());

    clock.advance(Duration::from_secs(1));
    assert_eq!(limits.unauthenticated(), Ok(()));
}

#[test]
fn i3_a_client_has_so_many_requests_at_a_time_and_others_are_not_touched() {
    let (limits, _clock) = limits(&config());
    let first = limits.enter("backend").unwrap();
    let _second = limits.enter("backend").unwrap();
    assert_eq!(
        limits.enter("backend").unwrap_err(),
        Reason::ClientConcurrency
    );
    assert!(limits.enter("db").is_ok());

    drop(first);
    assert!(limits.enter("backend").is_ok());
}

#[test]
fn i3_by_default_a_client_may_send_a_thousand_at_a_time_and_any_number_per_second() {
    let path = std::path::Path::new("config.toml");
    let loaded = Config::parse(path, "", &Environment::default()).unwrap();
    let (limits, _clock) = limits(&loaded.config.limits);
    let permits: Vec<_> = (0..1_024)
        .map(|_| limits.enter("backend").unwrap())
        .collect();
    assert!(limits.enter("backend").is_err());
    drop(permits);
    for _ in 0..10_000 {
        drop(limits.enter("backend").unwrap());
    }
}

#[test]
fn i3_a_request_rate_can_be_configured() {
    let config = LimitsConfig {
        client_requests_per_second: Some(10),
        ..config()
    };
    let (limits, clock) = limits(&config);
    for _ in 0..10 {
        drop(limits.enter("backend").unwrap());
    }
    assert_eq!(limits.enter("backend").unwrap_err(), Reason::ClientRate);
    clock.advance(Duration::from_millis(100));
    assert!(limits.enter("backend").is_ok());
}

#[test]
fn i3_a_flood_of_denied_requests_is_refused_and_allowed_ones_go_on() {
    let (limits, clock) = limits(&config());
    for _ in 0..3 {
        assert_eq!(limits.forbidden("mcp"), Ok(()));
    }
    for _ in 0..7 {
        assert_eq!(limits.forbidden("mcp"), Err(Reason::ForbiddenFlood));
    }
    assert!(limits.enter("mcp").is_ok());
    assert_eq!(limits.forbidden("backend"), Ok(()));
    assert_eq!(
        limits.drain_aggregates(),
        [Aggregate {
            kind: "forbidden_flood",
            client: Some("mcp".to_owned()),
            count: 7,
        }]
    );
    clock.advance(Duration::from_secs(1));
    assert_eq!(limits.forbidden("mcp"), Ok(()));
}

#[test]
fn i3_the_idlest_client_is_forgotten_and_never_a_busy_one() {
    let (limits, _clock) = limits(&config());
    let _busy = limits.enter("busy").unwrap();
    for _ in 0..3 {
        limits.forbidden("idle").unwrap();
    }
    for number in 0..2 * MAX_CLIENTS {
        drop(limits.enter(&format!("client-{number}")).unwrap());
    }
    assert_eq!(lock(&limits.shared.clients).len(), MAX_CLIENTS);

    let _second = limits.enter("busy").unwrap();
    assert_eq!(limits.enter("busy").unwrap_err(), Reason::ClientConcurrency);
    assert_eq!(limits.forbidden("idle"), Ok(()));
}

#[test]
fn rule_10_when_every_tracked_client_is_busy_another_one_is_refused() {
    let (limits, _clock) = limits(&config());
    let _permits: Vec<_> = (0..MAX_CLIENTS)
        .map(|number| limits.enter(&format!("client-{number}")).unwrap())
        .collect();
    assert_eq!(limits.enter("late").unwrap_err(), Reason::TooManyClients);
    assert!(limits.enter("client-0").is_ok());
}

#[test]
fn i3_refusals_decided_elsewhere_are_counted_too() {
    let (limits, _clock) = limits(&config());
    limits.count(Reason::Sealed, Some("backend"));
    limits.count(Reason::Sealed, Some("backend"));
    limits.count(Reason::NoLeader, None);
    let drained = limits.drain_aggregates();
    assert_eq!(drained.len(), 2);
    assert_eq!((drained[0].kind, drained[0].count), ("sealed", 2));
    assert_eq!((drained[1].kind, drained[1].count), ("no_leader", 1));
}

#[test]
fn i3_what_could_not_be_told_is_told_the_next_time() {
    let (limits, _clock) = limits(&config());
    for _ in 0..3 {
        limits.count(Reason::NoLeader, None);
    }
    limits.count(Reason::Sealed, Some("backend"));
    for aggregate in limits.drain_aggregates() {
        limits.put_back(&aggregate);
    }
    limits.count(Reason::NoLeader, None);
    let drained = limits.drain_aggregates();
    let told: Vec<_> = drained
        .iter()
        .map(|one| (one.kind, one.client.as_deref(), one.count))
        .collect();
    assert_eq!(
        told,
        [("sealed", Some("backend"), 1), ("no_leader", None, 4)]
    );
}
