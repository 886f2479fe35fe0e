//! Values that must be found in no file, log, argument or environment.

use std::time::Duration;

use super::client::{Client, Reading, Writing};
use crate::checker::secrecy::Canary;

/// Three pieces of sixteen characters that occur nowhere by accident.
const VALUE_LETTERS: usize = 48;

pub(super) async fn run(mut client: Client, period: Duration) {
    while client.rest(period).await {
        let number = client.world.journal.number();
        let key = format!("{}/canary/{number}", client.world.root);
        let value = client.dice.text(VALUE_LETTERS);
        // Before it is sent: an answer that is lost does not make it harmless.
        client.world.add_canary(Canary {
            name: key.clone(),
            bytes: value.clone().into_bytes(),
        });
        let place = client.choose();
        client.write(place, &key, &value, &Writing::default()).await;
        let place = client.choose();
        client.read(place, &key, &Reading::default()).await;
    }
}
