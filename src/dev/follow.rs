//! Follows a cluster from outside: one line when the leader or a node's state changes.
//!
//! Asks only what needs no credential and leaves no audit event (C10), so that watching a cluster
//! changes nothing in it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::cli::client::{Call, Client};

use super::screen::Screen;

/// Between two looks: a fail-over takes about as long (C8), so that each one is seen.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);
/// How long a node may take to answer before it counts as down: it is on this machine.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a node looks like from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Down,
    Live,
    Ready,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct View {
    health: Health,
    leads: bool,
}

/// A cluster that serves: what the first look is compared with.
const SERVES: View = View {
    health: Health::Ready,
    leads: false,
};

/// Prints changes for ever. The names are in the order of the client's addresses.
pub(super) async fn follow(client: Arc<Client>, names: Vec<String>, screen: &Screen) -> Infallible {
    let mut before = vec![SERVES; names.len()];
    loop {
        let now = look(&client, names.len()).await;
        for line in changes(&names, &before, &now) {
            screen.say(line);
        }
        before = now;
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

/// Whether a node is ready to serve.
pub(super) async fn is_ready(client: &Client, index: usize) -> bool {
    answers(client, index, "readyz").await
}

async fn look(client: &Arc<Client>, count: usize) -> Vec<View> {
    let mut looks = JoinSet::new();
    for index in 0..count {
        let client = Arc::clone(client);
        looks.spawn(async move { (index, view(&client, index).await) });
    }
    let down = View {
        health: Health::Down,
        leads: false,
    };
    let mut views = vec![down; count];
    while let Some(looked) = looks.join_next().await {
        if let Ok((index, view)) = looked
            && let Some(place) = views.get_mut(index)
        {
            *place = view;
        }
    }
    views
}

async fn view(client: &Client, index: usize) -> View {
    let health = if answers(client, index, "readyz").await {
        Health::Ready
    } else if answers(client, index, "livez").await {
        Health::Live
    } else {
        Health::Down
    };
    let leads = health != Health::Down && answers(client, index, "leader").await;
    View { health, leads }
}

async fn answers(client: &Client, index: usize, path: &str) -> bool {
    let call = Call::get([path]);
    let asked = tokio::time::timeout(PATIENCE, client.call_at(index, &call));
    matches!(asked.await, Ok(Ok(_)))
}

fn changes(names: &[String], before: &[View], now: &[View]) -> Vec<String> {
    let mut lines: Vec<String> = names
        .iter()
        .zip(before.iter().zip(now))
        .filter(|(_, (before, now))| before.health != now.health)
        .map(|(name, (_, now))| match now.health {
            Health::Down => format!("{name} does not answer"),
            Health::Live => format!("{name} is up, but not ready"),
            Health::Ready => format!("{name} is ready"),
        })
        .collect();
    let leaders = |views: &[View]| -> Vec<String> {
        let pairs = names.iter().zip(views).filter(|(_, view)| view.leads);
        pairs.map(|(name, _)| name.clone()).collect()
    };
    let now_leading = leaders(now);
    if now_leading != leaders(before) {
        lines.push(match now_leading.as_slice() {
            [] => "no node leads".to_owned(),
            leading => format!("{} leads", leading.join(" and ")),
        });
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        ["n1", "n2", "n3"].map(str::to_owned).to_vec()
    }

    #[test]
    fn design_10_one_line_for_each_change_and_none_without() {
        let led = |leader: usize| -> Vec<View> {
            (0..3)
                .map(|index| View {
                    leads: index == leader,
                    ..SERVES
                })
                .collect()
        };
        assert_eq!(changes(&names(), &[SERVES; 3], &led(0)), ["n1 leads"]);
        assert!(changes(&names(), &led(0), &led(0)).is_empty());

        let mut without_first = led(1);
        without_first[0].health = Health::Down;
        assert_eq!(
            changes(&names(), &led(0), &without_first),
            ["n1 does not answer", "n2 leads"]
        );
        assert_eq!(changes(&names(), &without_first, &led(1)), ["n1 is ready"]);
        assert_eq!(changes(&names(), &led(1), &[SERVES; 3]), ["no node leads"]);
    }
}
