//! Reads that may be old, of names that are written all the time.

use std::time::Duration;

use super::client::{Client, Reading, Writing};

/// Few, so that a read that is too old is noticed.
const KEYS: u64 = 3;
const WRITE_PERCENT: u64 = 40;
const DEFAULT_READ_PERCENT: u64 = 15;
/// What requests ask for, ms; the rule's bound is the last one and what counts without any.
const ASKED_MS: [Option<u64>; 4] = [Some(300), Some(1_000), Some(60_000), None];

pub(super) async fn run(mut client: Client, period: Duration) {
    let Some((token, rule_ms)) = client.world.credentials.stale.clone() else {
        return;
    };
    while client.rest(period).await {
        let key = client.dice.below(KEYS);
        let key = format!("{}/stale/{key}", client.world.root);
        if client.dice.chance(WRITE_PERCENT) {
            let (place, value) = (client.choose(), client.value());
            client.write(place, &key, &value, &Writing::default()).await;
            continue;
        }
        // Whatever node: those that are cut off are the ones that answer so.
        let count = client.world.api.count();
        let place = client.dice.place(count);
        let is_default = client.dice.chance(DEFAULT_READ_PERCENT);
        let asked = ASKED_MS[client.dice.place(ASKED_MS.len())];
        let reading = Reading {
            token: Some(&token),
            stale: (!is_default).then_some((rule_ms, asked)),
            ..Reading::default()
        };
        client.read(place, &key, &reading).await;
    }
}
