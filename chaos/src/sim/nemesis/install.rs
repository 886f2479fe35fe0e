//! How each class of faults begins.

use std::time::Duration;

use super::{Hands, Installed, ROLL, Remedy, take_log};
use crate::sim::cluster::Order;
use crate::sim::fault::FaultKind;
use crate::sim::links::{Way, both_ways};

/// A node that lost its log gets so long to refuse.
const REFUSAL: Duration = Duration::from_millis(600);
/// The first stage of a deposed pair, ms: the others need about a second for their leader, and the old one is heard now and
/// then for as long as it lasts.
const DEPOSED_MS: (u64, u64) = (3_500, 5_000);
/// How slow messages are, ms.
const SLOW_MS: (u64, u64) = (60, 250);
/// How slow syncs are, ms.
const STALL_MS: (u64, u64) = (50, 1_300);
/// Syncs until the power goes in the middle of one.
const SYNCS: u64 = 8;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Whether it is done to the leader.
pub(super) const fn needs_leader(kind: FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::IsolateLeader
            | FaultKind::DeposedPair
            | FaultKind::PowerCutLeader
            | FaultKind::KillLeader
            | FaultKind::LeaderTransfer
    )
}

/// Does it. The words say why it can not be done now.
pub(super) fn install(
    kind: FaultKind,
    leader: Option<usize>,
    hands: &mut Hands<'_>,
) -> Result<Installed, &'static str> {
    let machines = hands.cluster.machines.len();
    let all: Vec<usize> = (0..machines).collect();
    let running = hands.cluster.nodes().into_iter();
    let running: Vec<usize> = running.map(|(place, _)| place).collect();
    let led = leader.ok_or("there is no leader");
    // The leader as often as any other, and never mind which.
    let someone = match leader {
        Some(leader) if hands.dice.chance(50) => leader,
        _ => hands.dice.place(machines),
    };
    match kind {
        FaultKind::IsolateOne | FaultKind::IsolateLeader => {
            let place = if kind == FaultKind::IsolateLeader {
                led?
            } else {
                someone
            };
            let ways = hands.links.around(place);
            Ok(cut(hands, vec![place], ways))
        }
        FaultKind::Halves => {
            let (minority, majority) = split(all, (machines - 1) / 2, hands);
            let ways = between(&minority, &majority);
            Ok(cut(hands, minority, both_ways(ways)))
        }
        FaultKind::OneWayIn => {
            let others = all.into_iter().filter(|other| *other != someone);
            let ways = others.map(|other| (other, someone)).collect();
            Ok(cut(hands, vec![someone], ways))
        }
        FaultKind::OneWayOut => {
            let others = all.into_iter().filter(|other| *other != someone);
            let ways = others.map(|other| (someone, other)).collect();
            Ok(cut(hands, vec![someone], ways))
        }
        FaultKind::Bridge => {
            let others = all.into_iter().filter(|other| *other != someone).collect();
            let (one, other) = split(others, (machines - 1) / 2, hands);
            let ways = both_ways(between(&one, &other));
            Ok(cut(hands, vec![someone], ways))
        }
        FaultKind::Ring => {
            let mut circle = all.clone();
            hands.dice.shuffle(&mut circle);
            Ok(cut(hands, all, both_ways(across(&circle))))
        }
        FaultKind::ClientCut => {
            let (unreached, _) = split(all, 1 + machines / 2, hands);
            let clients = hands.links.clients();
            let ways = both_ways(unreached.iter().map(|place| (clients, *place)));
            Ok(cut(hands, unreached, ways))
        }
        FaultKind::Latency => {
            let ways = hands.links.around(someone);
            let slow = Duration::from_millis(hands.dice.between(SLOW_MS.0, SLOW_MS.1));
            hands.links.slow(hands.sim, &ways, Some(slow));
            Ok(installed(vec![someone], Remedy::Unslow(ways)))
        }
        FaultKind::Pause => {
            let mut ways = hands.links.around(someone);
            ways.extend(both_ways([(hands.links.clients(), someone)]));
            hands.links.hold(hands.sim, &ways);
            Ok(installed(vec![someone], Remedy::Release(ways)))
        }
        FaultKind::DeposedPair => {
            let leader = led?;
            let follower = (leader + 1 + hands.dice.place(machines - 1)) % machines;
            let pair = [leader, follower];
            let others: Vec<usize> = all
                .into_iter()
                .filter(|place| !pair.contains(place))
                .collect();
            let first = both_ways(between(&pair, &others));
            let second = both_ways([(leader, follower)]);
            hands.links.cut(hands.sim, &first);
            hands.cluster.set_deposed(Some((leader, follower)));
            let lasts_ms = hands.dice.between(DEPOSED_MS.0, DEPOSED_MS.1);
            Ok(Installed {
                places: pair.to_vec(),
                remedy: Remedy::Alone(first, second),
                lasts: Some(Duration::from_millis(lasts_ms)),
            })
        }
        FaultKind::PowerCutMinority | FaultKind::KillOne => {
            let most = if kind == FaultKind::KillOne {
                1
            } else {
                (machines - 1) / 2
            };
            let count = 1 + hands.dice.place(most.max(1));
            let (down, _) = split(running, count, hands);
            take_down(hands, kind, down)
        }
        FaultKind::PowerCutLeader | FaultKind::KillLeader => take_down(hands, kind, vec![led?]),
        FaultKind::PowerCutAll | FaultKind::KillAll => take_down(hands, kind, running),
        FaultKind::RollingRestart => {
            let (mut order, _) = split(running, machines, hands);
            let first = order.pop().ok_or("no node runs")?;
            hands.kill(first);
            Ok(Installed {
                places: vec![first],
                remedy: Remedy::Roll(order),
                lasts: Some(ROLL),
            })
        }
        FaultKind::PowerCutInSync => {
            let place = running_one(hands, &running, someone)?;
            let syncs = hands.dice.below(SYNCS);
            hands.cluster.machines[place].disk.cut_after(Some(syncs));
            Ok(installed(vec![place], Remedy::Cut))
        }
        FaultKind::SyncError => {
            let place = running_one(hands, &running, someone)?;
            hands.cluster.machines[place].disk.fail(true);
            Ok(installed(vec![place], Remedy::Sync))
        }
        FaultKind::LostLog => {
            let place = running_one(hands, &running, someone)?;
            hands.kill(place);
            let files = take_log(hands, place).map_err(|_| "its log can not be taken away")?;
            hands.start(place);
            Ok(Installed {
                places: vec![place],
                remedy: Remedy::Log(files),
                lasts: Some(REFUSAL),
            })
        }
        FaultKind::SlowSync => {
            hands.cluster.machines[someone].disk.stall(Some(STALL_MS));
            Ok(installed(vec![someone], Remedy::Unstall))
        }
        FaultKind::ClockHour | FaultKind::ClockDay => {
            let step_ms = if kind == FaultKind::ClockHour {
                HOUR_MS
            } else {
                DAY_MS
            };
            let step_ms = if hands.dice.chance(50) {
                step_ms
            } else {
                -step_ms
            };
            hands.cluster.machines[someone].clock.step(step_ms);
            Ok(installed(vec![someone], Remedy::Clock))
        }
        FaultKind::ClockStrobe => {
            hands.cluster.machines[someone].clock.strobe(true);
            Ok(installed(vec![someone], Remedy::Clock))
        }
        FaultKind::LeaderTransfer => {
            hands.cluster.order(Order::Transfer(someone));
            Ok(installed(vec![led?], Remedy::Nothing))
        }
        FaultKind::Seal => {
            hands.cluster.order(Order::Seal(someone));
            Ok(installed(vec![someone], Remedy::Unseal))
        }
    }
}

fn installed(places: Vec<usize>, remedy: Remedy) -> Installed {
    Installed {
        places,
        remedy,
        lasts: None,
    }
}

fn cut(hands: &mut Hands<'_>, places: Vec<usize>, ways: Vec<Way>) -> Installed {
    hands.links.cut(hands.sim, &ways);
    installed(places, Remedy::Mend(ways))
}

fn take_down(
    hands: &mut Hands<'_>,
    kind: FaultKind,
    places: Vec<usize>,
) -> Result<Installed, &'static str> {
    if places.is_empty() {
        return Err("no node runs");
    }
    let is_power = matches!(
        kind,
        FaultKind::PowerCutMinority | FaultKind::PowerCutLeader | FaultKind::PowerCutAll
    );
    for place in &places {
        if is_power {
            hands.cut_power(*place);
        } else {
            hands.kill(*place);
        }
    }
    Ok(installed(places, Remedy::Start))
}

fn running_one(
    hands: &mut Hands<'_>,
    running: &[usize],
    wanted: usize,
) -> Result<usize, &'static str> {
    if running.contains(&wanted) {
        return Ok(wanted);
    }
    let place = hands.dice.place(running.len());
    running.get(place).copied().ok_or("no node runs")
}

/// So many of them, and the rest; any order.
fn split(mut places: Vec<usize>, count: usize, hands: &mut Hands<'_>) -> (Vec<usize>, Vec<usize>) {
    hands.dice.shuffle(&mut places);
    let rest = places.split_off(count.min(places.len()));
    (places, rest)
}

fn between(these: &[usize], those: &[usize]) -> Vec<Way> {
    let ways = these.iter();
    ways.flat_map(|one| those.iter().map(|other| (*one, *other)))
        .collect()
}

/// The pairs that are no neighbours in a circle.
fn across(circle: &[usize]) -> Vec<Way> {
    let count = circle.len();
    let mut ways = Vec::new();
    for one in 0..count {
        for other in one + 2..count {
            if (other + 1) % count != one {
                ways.push((circle[one], circle[other]));
            }
        }
    }
    ways
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_ring_of_five_everybody_keeps_two_neighbours() {
        let cut = across(&[4, 2, 0, 1, 3]);
        for place in 0..5 {
            let lost = cut
                .iter()
                .filter(|(one, other)| *one == place || *other == place);
            assert_eq!(lost.count(), 2, "{place}");
        }
        assert!(across(&[0, 1, 2]).is_empty());
        assert_eq!(between(&[0, 1], &[2]), [(0, 2), (1, 2)]);
    }
}
