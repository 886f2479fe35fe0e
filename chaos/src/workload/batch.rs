//! Amounts moved between accounts, two writes in one batch: all or none, and the sum stays what it was.

use std::time::Duration;

use super::World;
use super::client::{Client, Reading};
use crate::history::{Item, Operation};

/// Few enough for one page of a list, and for clients to meet.
const ACCOUNTS: u64 = 6;
/// What every account begins with.
const FIRST_AMOUNT: i64 = 100;
const LIST_PERCENT: u64 = 30;
const MOST_MOVED: u64 = 20;
/// Between a value's own part, which makes it unique, and its amount.
const BEFORE_AMOUNT: char = ':';

/// What all accounts hold together.
pub(super) const TOTAL: i64 = ACCOUNTS as i64 * FIRST_AMOUNT;

pub(super) async fn run(mut client: Client, period: Duration) {
    while client.rest(period).await {
        if client.dice.chance(LIST_PERCENT) {
            let place = client.choose();
            let folder = folder(&client.world);
            client.list(place, &folder, None).await;
        } else {
            transfer(&mut client).await;
        }
    }
}

/// The accounts with what they begin with, if there are none yet.
pub(super) async fn open_accounts(client: &mut Client) -> Operation {
    let writes = (0..ACCOUNTS)
        .map(|account| item(client, account, FIRST_AMOUNT, 0))
        .collect();
    let place = client.choose();
    client.batch(place, writes).await
}

/// Moves something from one account to another; `None` if the accounts could not be read.
pub(super) async fn transfer(client: &mut Client) -> Option<Operation> {
    let from = client.dice.below(ACCOUNTS);
    let to = (from + client.dice.between(1, ACCOUNTS - 1)) % ACCOUNTS;
    let (from_amount, from_version) = balance(client, from).await?;
    let (to_amount, to_version) = balance(client, to).await?;
    let moved = i64::try_from(client.dice.between(1, MOST_MOVED)).unwrap_or(1);
    let writes = vec![
        item(client, from, from_amount - moved, from_version),
        item(client, to, to_amount + moved, to_version),
    ];
    let place = client.choose();
    Some(client.batch(place, writes).await)
}

/// What the names of all accounts begin with.
pub(super) fn folder(world: &World) -> String {
    format!("{}/batch/", world.root)
}

async fn balance(client: &mut Client, account: u64) -> Option<(i64, u64)> {
    let place = client.choose();
    let key = format!("{}{account}", folder(&client.world));
    let read = client.read(place, &key, &Reading::default()).await;
    let amount = amount(read.answer.value.as_deref()?)?;
    Some((amount, read.answer.version?))
}

fn item(client: &Client, account: u64, amount: i64, expected: u64) -> Item {
    Item {
        key: format!("{}{account}", folder(&client.world)),
        value: format!("{}{BEFORE_AMOUNT}{amount}", client.value()),
        amount: Some(amount),
        expected: Some(expected),
    }
}

fn amount(value: &str) -> Option<i64> {
    let (_, amount) = value.rsplit_once(BEFORE_AMOUNT)?;
    amount.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_reads_back_from_its_value() {
        assert_eq!(amount("v17:-5"), Some(-5));
        assert_eq!(amount("v17"), None);
        assert_eq!(TOTAL, 600);
    }
}
