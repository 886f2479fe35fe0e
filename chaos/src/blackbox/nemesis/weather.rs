//! What is slow, rude, or wrong about time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{Done, Rig};
use crate::blackbox::faults::FaultKind;
use crate::blackbox::schedule::Step;
use crate::blackbox::shim::Control;
use crate::dice::Dice;

const HOUR_MS: i64 = 3_600_000;
/// Between two resets of one fault.
const RESET_EVERY_MS: (u64, u64) = (300, 800);
/// Between two jumps of a clock.
const STROBE_EVERY_MS: (u64, u64) = (50, 400);
/// Some of these are longer than the shortest election timeout there and back, most are not.
const DELAY_MS: (u64, u64) = (5, 120);
const SLOW_SYNC_MS: (u64, u64) = (20, 400);
/// A slow link, in bytes a second: a heartbeat passes, a snapshot takes its time.
const NARROW: (u64, u64) = (64 * 1024, 512 * 1024);

pub(super) async fn run(rig: Arc<Rig>, steps: Vec<Step>) {
    for step in steps {
        let waited = rig.wait_for(&step).await;
        let start_ns = rig.now_ns();
        let done = match waited {
            Ok(()) => perform(&rig, &step).await,
            Err(reason) => Done::skipped(reason),
        };
        rig.record(step.kind, start_ns, done);
    }
}

async fn perform(rig: &Rig, step: &Step) -> Done {
    let mut dice = Dice::new(step.luck);
    match step.kind {
        FaultKind::Latency => latency(rig, step, &mut dice).await,
        FaultKind::Reset | FaultKind::HalfClose => rude(rig, step, &mut dice).await,
        _ => {
            let place = rig.any(&mut dice);
            let Some(control) = &rig.controls[place] else {
                return Done::skipped("the node has no library between it and the system");
            };
            let done = match step.kind {
                FaultKind::SlowSync => slow_sync(control, step, &mut dice).await,
                FaultKind::ClockStrobe => strobe(control, step, &mut dice).await,
                _ => clock_step(control, step, &mut dice).await,
            };
            match done {
                Ok((is_seen, note)) => {
                    let otherwise = "no system call of the node's was met";
                    let done = Done::if_seen(vec![place], is_seen, otherwise);
                    if is_seen { done.note(note) } else { done }
                }
                Err(error) => Done::skipped(format!("its library can not be told: {error}")),
            }
        }
    }
}

/// All that one node says and hears takes longer, or everything between all of them.
async fn latency(rig: &Rig, step: &Step, dice: &mut Dice) -> Done {
    let nodes = rig.nodes();
    let victim = rig.any(dice);
    let is_everywhere = dice.chance(40);
    let delay_ms = dice.between(DELAY_MS.0, DELAY_MS.1);
    let jitter_ms = dice.between(0, delay_ms);
    let bytes_per_s = if dice.chance(30) {
        dice.between(NARROW.0, NARROW.1)
    } else {
        0
    };
    let is_meant = |from: usize, to: usize| is_everywhere || from == victim || to == victim;
    let set = |(delay_ms, jitter_ms, bytes_per_s): (u64, u64, u64)| {
        for from in 0..nodes {
            for to in (0..nodes).filter(|to| is_meant(from, *to)) {
                rig.network.way(from, to).change(|rule| {
                    rule.delay_ms = delay_ms;
                    rule.jitter_ms = jitter_ms;
                    rule.bytes_per_s = bytes_per_s;
                });
            }
        }
    };
    let before = rig.network.bytes();
    set((delay_ms, jitter_ms, bytes_per_s));
    tokio::time::sleep(Duration::from_millis(step.hold_ms)).await;
    set((0, 0, 0));
    let places = if is_everywhere {
        (0..nodes).collect()
    } else {
        vec![victim]
    };
    let is_seen = rig.network.bytes() > before;
    let done = Done::if_seen(places, is_seen, "nothing was under way there");
    if is_seen {
        return done.note(format!("{delay_ms} to {} ms", delay_ms + jitter_ms));
    }
    done
}

/// Connections are reset, or closed in one direction, again and again.
async fn rude(rig: &Rig, step: &Step, dice: &mut Dice) -> Done {
    let before = rig.network.closed();
    let mut places = Vec::new();
    let mut left_ms = step.hold_ms;
    loop {
        let pair = rig.several(dice, 2);
        let (from, to) = (pair[0], pair[1]);
        let way = rig.network.way(from, to);
        if step.kind == FaultKind::Reset {
            way.reset();
        } else {
            way.half_close();
        }
        places.extend(pair);
        let pause_ms = dice.between(RESET_EVERY_MS.0, RESET_EVERY_MS.1);
        tokio::time::sleep(Duration::from_millis(pause_ms.min(left_ms))).await;
        if pause_ms >= left_ms {
            break;
        }
        left_ms -= pause_ms;
    }
    places.sort_unstable();
    places.dedup();
    let closed = rig.network.closed() - before;
    let done = Done::if_seen(places, closed > 0, "there was no connection to close");
    if closed > 0 {
        return done.note(format!("{closed} connections"));
    }
    done
}

async fn slow_sync(control: &Control, step: &Step, dice: &mut Dice) -> io::Result<(bool, String)> {
    let before = control.slowed();
    let by_ms = dice.between(SLOW_SYNC_MS.0, SLOW_SYNC_MS.1);
    control.slow_syncs(by_ms)?;
    tokio::time::sleep(Duration::from_millis(step.hold_ms)).await;
    control.slow_syncs(0)?;
    let slowed = control.slowed() - before;
    Ok((slowed > 0, format!("{slowed} syncs, {by_ms} ms each")))
}

async fn clock_step(control: &Control, step: &Step, dice: &mut Dice) -> io::Result<(bool, String)> {
    let by_ms = if dice.chance(50) { HOUR_MS } else { -HOUR_MS };
    control.step_clock(by_ms)?;
    tokio::time::sleep(Duration::from_millis(step.hold_ms)).await;
    control.step_clock(0)?;
    Ok((control.is_attached(), format!("{by_ms} ms")))
}

async fn strobe(control: &Control, step: &Step, dice: &mut Dice) -> io::Result<(bool, String)> {
    let by_ms = i64::try_from(dice.between(1_000, 600_000)).unwrap_or(HOUR_MS);
    let mut left_ms = step.hold_ms;
    let mut jumps = 0;
    loop {
        let wrong_ms = match dice.below(3) {
            0 => by_ms,
            1 => -by_ms,
            _ => 0,
        };
        control.step_clock(wrong_ms)?;
        jumps += 1;
        let pause_ms = dice.between(STROBE_EVERY_MS.0, STROBE_EVERY_MS.1);
        tokio::time::sleep(Duration::from_millis(pause_ms.min(left_ms))).await;
        if pause_ms >= left_ms {
            break;
        }
        left_ms -= pause_ms;
    }
    control.step_clock(0)?;
    Ok((
        control.is_attached(),
        format!("{jumps} jumps of {by_ms} ms"),
    ))
}
