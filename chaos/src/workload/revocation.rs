//! Tokens: made, used, revoked, used again, on whatever node. And a permission, given and taken away by the policy.

use std::time::Duration;

use super::Permission;
use super::client::{Client, Reading};
use crate::history::Kind;

/// Uses right after a token was made, and right after it was revoked.
const USES: usize = 3;
const PERMISSION_PERCENT: u64 = 35;

pub(super) async fn run(mut client: Client, period: Duration) {
    let permission = client.world.credentials.permission.clone();
    while client.rest(period).await {
        match &permission {
            Some(permission) if client.dice.chance(PERMISSION_PERCENT) => {
                flip(&mut client, permission).await;
            }
            _ => cycle(&mut client).await,
        }
    }
}

async fn cycle(client: &mut Client) {
    let label = format!("token-{}", client.value());
    let place = client.choose();
    let (_, made) = client.grant(place, &label).await;
    let Some((id, token)) = made else {
        return;
    };
    use_it(client, &label, &token).await;
    let place = client.choose();
    client.revoke(place, &label, &id).await;
    use_it(client, &label, &token).await;
}

/// There is one client that does this: policies replace each other whole.
async fn flip(client: &mut Client, permission: &Permission) {
    let Permission {
        label,
        token,
        with,
        without,
    } = permission;
    for (kind, policy) in [(Kind::Grant, with), (Kind::Revoke, without)] {
        let place = client.choose();
        client.set_policy(place, kind, label, policy).await;
        use_it(client, label, token).await;
    }
}

async fn use_it(client: &mut Client, label: &str, token: &str) {
    let key = format!("{}/probe", client.world.root);
    let reading = Reading {
        token: Some(token),
        credential: Some(label),
        ..Reading::default()
    };
    for _ in 0..USES {
        let place = client.choose();
        client.read(place, &key, &reading).await;
    }
}
