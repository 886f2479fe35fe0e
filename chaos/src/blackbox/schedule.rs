//! When which fault happens: a function of the seed, the number of nodes and the time there is.
//!
//! ```text
//! process  ──■ kill_leader ■──■ pause_one ■───────■ sync_error ■──
//! cuts     ─────■ one_way_in ■────■ bridge ■──■ isolate_leader ■──
//! weather  ──■ latency ■───■ clock_step ■──────■ reset ■──────────
//!          start           lanes overlap, a lane's own faults do not          end
//! ```
//! Each lane goes through its faults in an order of its own, then again in another one, as long as there is time. So
//! every fault happens if all fit once; what does not fit is named.

use super::faults::{FaultKind, Lane};
use crate::dice::Dice;

/// Before the first fault: leaders, histories and trails have begun.
const WARM_UP_MS: u64 = 2_500;
/// After the last one, so that its end is still seen by clients.
const COOL_DOWN_MS: u64 = 1_500;
/// Between two faults of a lane: long enough for an election, short enough for overlaps.
const MIN_GAP_MS: u64 = 800;
const MAX_GAP_MS: u64 = 3_500;

/// What a schedule is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    pub(crate) run_ms: u64,
    pub(crate) kinds: Vec<FaultKind>,
}

/// One fault to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) kind: FaultKind,
    /// When, ms since the beginning of the run. It begins later if the one before it took longer than thought.
    pub(crate) at_ms: u64,
    /// How long it lasts, ms.
    pub(crate) hold_ms: u64,
    /// Whom it strikes and how hard is drawn from this, once it is known who leads and who is up.
    pub(crate) luck: u64,
}

/// All faults to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Schedule {
    pub(crate) process: Vec<Step>,
    pub(crate) cuts: Vec<Step>,
    pub(crate) weather: Vec<Step>,
    /// There was no time for these.
    pub(crate) left_out: Vec<FaultKind>,
}

impl Schedule {
    /// Draws it.
    pub(crate) fn draw(plan: &Plan) -> Self {
        let mut left_out = Vec::new();
        let mut lane = |lane: Lane| {
            let kinds = plan.kinds.iter().copied();
            let kinds: Vec<FaultKind> = kinds.filter(|kind| kind.lane() == lane).collect();
            let steps = draw_lane(plan, lane, &kinds);
            let is_missing = |kind: &FaultKind| !steps.iter().any(|step| step.kind == *kind);
            left_out.extend(kinds.into_iter().filter(is_missing));
            steps
        };
        let (process, cuts, weather) = (lane(Lane::Process), lane(Lane::Cuts), lane(Lane::Weather));
        Self {
            process,
            cuts,
            weather,
            left_out,
        }
    }

    /// The same, so much later.
    pub(crate) fn later(mut self, by_ms: u64) -> Self {
        let steps = self.process.iter_mut().chain(&mut self.cuts);
        for step in steps.chain(&mut self.weather) {
            step.at_ms += by_ms;
        }
        self
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.process.len() + self.cuts.len() + self.weather.len()
    }

    /// The classes that are to happen.
    pub(crate) fn kinds(&self) -> Vec<FaultKind> {
        let steps = self.process.iter().chain(&self.cuts).chain(&self.weather);
        let mut kinds: Vec<FaultKind> = steps.map(|step| step.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }
}

fn draw_lane(plan: &Plan, lane: Lane, kinds: &[FaultKind]) -> Vec<Step> {
    let mut dice = Dice::stream(plan.seed, &format!("{lane:?}"));
    let end_ms = plan.run_ms.saturating_sub(COOL_DOWN_MS);
    let mut steps = Vec::new();
    let mut now_ms = WARM_UP_MS;
    loop {
        let mut order = kinds.to_vec();
        dice.shuffle(&mut order);
        let before = steps.len();
        for kind in order {
            let at_ms = now_ms + dice.between(MIN_GAP_MS, MAX_GAP_MS);
            let hold_ms = kind.draw_hold_ms(&mut dice);
            let luck = dice.draw();
            let over_ms = at_ms + hold_ms + kind.overhead_ms(plan.nodes);
            if over_ms > end_ms {
                // A shorter one may still fit.
                continue;
            }
            steps.push(Step {
                kind,
                at_ms,
                hold_ms,
                luck,
            });
            now_ms = over_ms;
        }
        if steps.len() == before {
            return steps;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blackbox::faults::Wanted;

    fn plan(seed: u64, minutes: u64) -> Plan {
        Plan {
            seed,
            nodes: 3,
            run_ms: minutes * 60_000,
            kinds: Wanted::parse("default").unwrap().kinds,
        }
    }

    #[test]
    fn the_schedule_is_a_function_of_the_seed() {
        assert_eq!(Schedule::draw(&plan(7, 3)), Schedule::draw(&plan(7, 3)));
        assert_ne!(Schedule::draw(&plan(7, 3)), Schedule::draw(&plan(8, 3)));
    }

    #[test]
    fn it_fits_the_minutes_lanes_overlap_and_a_lane_s_own_faults_do_not() {
        for seed in 0..50 {
            let plan = plan(seed, 3);
            let schedule = Schedule::draw(&plan);
            for lane in [&schedule.process, &schedule.cuts, &schedule.weather] {
                assert!(
                    lane.windows(2)
                        .all(|pair| { pair[0].at_ms + pair[0].hold_ms < pair[1].at_ms })
                );
                let last = lane.last().unwrap();
                assert!(last.at_ms + last.hold_ms < plan.run_ms);
            }
            let overlaps = |step: &Step| {
                let during = |other: &Step| {
                    other.at_ms < step.at_ms + step.hold_ms
                        && step.at_ms < other.at_ms + other.hold_ms
                };
                schedule.cuts.iter().any(during)
            };
            assert!(schedule.process.iter().any(overlaps), "seed {seed}");
        }
    }

    #[test]
    fn in_three_minutes_every_default_fault_happens() {
        for seed in 0..50 {
            let schedule = Schedule::draw(&plan(seed, 3));
            assert!(
                schedule.left_out.is_empty(),
                "seed {seed}: {:?}",
                schedule.left_out
            );
            assert!(schedule.count() >= 30, "seed {seed}: {}", schedule.count());
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let short = Plan {
            run_ms: 10_000,
            ..plan(1, 1)
        };
        let schedule = Schedule::draw(&short);
        assert!(!schedule.left_out.is_empty());
        let planned = schedule.kinds();
        assert!(schedule.left_out.iter().all(|kind| !planned.contains(kind)));
        assert_eq!(planned.len() + schedule.left_out.len(), short.kinds.len());
    }
}
