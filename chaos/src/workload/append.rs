//! A sequence under one key, appended to by compare-and-set.

use std::time::Duration;

use super::client::{Client, Reading};
use super::stretch;
use crate::history::Operation;

/// After so many seconds a new sequence begins: the old one stays short enough to be read again and again.
const STRETCH_S: u64 = 30;

pub(super) async fn run(mut client: Client, period: Duration) {
    while client.rest(period).await {
        let stretch = stretch(client.world.journal.now_ns(), STRETCH_S);
        let key = format!("{}/append/{stretch}", client.world.root);
        let place = client.choose();
        let read = read(&client, place, &key).await;
        if let Some((elements, version)) = known(&read) {
            let element = client.value();
            let place = client.choose();
            client
                .append(place, &key, &elements, &element, version)
                .await;
        }
    }
}

pub(super) async fn read(client: &Client, place: usize, key: &str) -> Operation {
    let reading = Reading {
        is_sequence: true,
        ..Reading::default()
    };
    client.read(place, key, &reading).await
}

/// The elements and the version that a read showed; none and 0 where there is nothing yet.
pub(super) fn known(read: &Operation) -> Option<(Vec<String>, u64)> {
    if read.failed_with("not_found") {
        return Some((Vec::new(), 0));
    }
    let elements = read.answer.sequence.clone()?;
    Some((elements, read.answer.version?))
}
