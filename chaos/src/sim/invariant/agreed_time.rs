//! Agreed time (rule 5) never runs backwards along the log, and a lone clock moves nothing: whatever one node's clock says,
//! time is never ahead of all clocks that are right. (No run sets a majority of clocks.)

use super::Invariant;
use crate::sim::clock::{WALL_SPREAD_MS, WALL_START_MS};
use crate::sim::scene::{Scene, Sight};

/// A stamp is rounded, and a step of the simulation is looked at when it is over.
const SLACK_MS: u64 = 1_000;

pub(super) struct AgreedTime;

impl Invariant for AgreedTime {
    fn name(&self) -> &'static str {
        "agreed_time"
    }

    fn see(&mut self, sight: &Sight<'_>, scene: &Scene) -> Result<(), String> {
        let Sight::Committed { entry } = sight else {
            return Ok(());
        };
        let (id, time) = (entry.standing.id, entry.standing.time);
        if time < entry.time_before {
            let before = entry.time_before;
            return Err(format!("entry {id} sets time back from {before} to {time}"));
        }
        let ahead = WALL_START_MS + WALL_SPREAD_MS + scene.now_ms + SLACK_MS;
        if time > ahead {
            return Err(format!(
                "at entry {id} agreed time is {time}, ahead of every clock that is right ({ahead})"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::replica::{Committed, Standing};
    use crate::sim::scene::tests::empty;

    #[test]
    fn time_that_runs_back_or_ahead_is_noticed() {
        let scene = empty();
        let see = |time_before, time| {
            let standing = Standing {
                time,
                ..crate::sim::replica::standing(scene.replica.state())
            };
            let entry = Committed {
                standing,
                time_before,
                epoch_before: 0,
                envelope: None,
                commands: Vec::new(),
                replies: Vec::new(),
                was_skipped: false,
            };
            AgreedTime.see(&Sight::Committed { entry: &entry }, &scene)
        };
        assert!(see(WALL_START_MS, WALL_START_MS + 5).is_ok());
        assert!(see(WALL_START_MS, WALL_START_MS - 1).is_err());
        assert!(see(WALL_START_MS, WALL_START_MS + 3_600_000).is_err());
    }
}
