//! What the policy forbids: each refusal leaves its one event, and shows and changes nothing.

use std::time::Duration;

use super::client::{Client, Reading, Writing};

pub(super) async fn run(mut client: Client, period: Duration) {
    let Some(stranger) = client.world.credentials.stranger.clone() else {
        return;
    };
    while client.rest(period).await {
        let place = client.choose();
        let root = &client.world.root;
        // A name that is there, and one that nobody may make.
        let (probe, forbidden) = (format!("{root}/probe"), format!("{root}/forbidden"));
        match client.dice.below(4) {
            0 => {
                client.list(place, &forbidden, Some(&stranger)).await;
            }
            1 => {
                let value = client.value();
                let writing = Writing {
                    token: Some(&stranger),
                    ..Writing::default()
                };
                client.write(place, &forbidden, &value, &writing).await;
            }
            _ => {
                let reading = Reading {
                    token: Some(&stranger),
                    ..Reading::default()
                };
                client.read(place, &probe, &reading).await;
            }
        }
    }
}
