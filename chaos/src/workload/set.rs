//! New names, and lists of them: nothing that was acknowledged is ever missing.

use std::time::Duration;

use super::client::{Client, Writing};
use super::stretch;

/// After so many seconds names go into another folder: a list of one fits on a page.
const STRETCH_S: u64 = 20;
const ADD_PERCENT: u64 = 65;

pub(super) async fn run(mut client: Client, period: Duration) {
    while client.rest(period).await {
        let now = stretch(client.world.journal.now_ns(), STRETCH_S);
        let place = client.choose();
        if client.dice.chance(ADD_PERCENT) {
            let value = client.value();
            let key = format!("{}{value}", folder(&client, now));
            client.write(place, &key, &value, &Writing::default()).await;
        } else {
            // Older folders, too: what was there must stay.
            let any = client.dice.between(0, now);
            let folder = folder(&client, any);
            client.list(place, &folder, None).await;
        }
    }
}

fn folder(client: &Client, stretch: u64) -> String {
    format!("{}/set/{stretch}/", client.world.root)
}
