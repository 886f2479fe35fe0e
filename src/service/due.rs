//! When the next secret is due for rotation (M, R1).
//!
//! Finding out takes a look at every live secret: it is done beside the runtime that sends heartbeats, and what was found
//! stands for a while, since whoever may scrape may do so as often as they like.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jarvis_domain::name::SecretName;
use jarvis_domain::state::State;
use jarvis_domain::time::Millis;

use crate::service::Service;

/// How long an answer stands: half of a usual scrape interval.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// The last answer, and when it was found.
#[derive(Default)]
pub(super) struct Due {
    found: Mutex<Option<(Duration, Option<Millis>)>>,
}

impl Service {
    /// When the first of the live secrets is due for rotation, agreed time in ms, as far as this node has applied the log.
    pub async fn next_rotation_due(&self) -> Option<Millis> {
        let now = self.node.monotonic();
        if let Some((at, due)) = self.due.last()
            && now.saturating_sub(at) < LOOK_AGAIN
        {
            return due;
        }
        let state = self.node.view();
        let looking = self.node.env().blocking(move || earliest(&state));
        let due = looking.await.ok().flatten();
        self.due.remember(now, due);
        due
    }
}

impl Due {
    fn last(&self) -> Option<(Duration, Option<Millis>)> {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, at: Duration, due: Option<Millis>) {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some((at, due));
    }
}

fn earliest(state: &State) -> Option<Millis> {
    let due = |name: &SecretName, number: u64| {
        let version = state.versions.get(&(name.clone(), number))?;
        Some(version.expires)
    };
    state
        .secrets
        .iter()
        .filter_map(|(name, secret)| due(name, secret.current()?))
        .min()
}
