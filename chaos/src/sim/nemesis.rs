//! Does to the cluster what the plan says: three tracks of faults that overlap.
//!
//! ```text
//!   track: pause ─▶ install ─▶ (lasts) ─▶ remedy ─▶ pause ─▶ …        a remedy may have several stages
//! ```

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jarvis_disk::Disk;

use super::disk::WAL_DIR;
use super::fault::FaultKind;
use super::links::Way;
use super::plan::Planned;
use super::power::Hands;
use crate::history::{Fault, FaultResult};

mod install;

use install::{install, needs_leader};

/// A fault that needs a leader waits so long for one, a look at a time.
const LEADER_LOOKS: u32 = 40;
const LOOK: Duration = Duration::from_millis(100);
/// Between two restarts of a rolling one.
const ROLL: Duration = Duration::from_millis(700);
/// The last stage of a deposed pair, ms: the old leader is not heard any more.
const ALONE_MS: (u64, u64) = (300, 1_500);

/// What a fault showed that must not be, by the name of the rule.
pub(super) type Breach = (&'static str, String);

/// A sequence of faults.
pub(super) struct Track {
    planned: VecDeque<Planned>,
    next_at: Duration,
    looks: u32,
    active: Option<Active>,
}

/// A fault in force.
struct Active {
    kind: FaultKind,
    fault: Fault,
    /// Its number in the history.
    number: usize,
    places: Vec<usize>,
    remedy: Remedy,
}

/// How a fault ends, or goes on.
enum Remedy {
    /// There is nothing to mend.
    Nothing,
    Mend(Vec<Way>),
    Release(Vec<Way>),
    Unslow(Vec<Way>),
    /// First these ways, and later those as well.
    Alone(Vec<Way>, Vec<Way>),
    Start,
    /// One is down, the others follow.
    Roll(Vec<usize>),
    /// The power may have gone in the middle of a sync.
    Cut,
    Sync,
    /// Its log, to be put back.
    Log(Vec<(PathBuf, Vec<u8>)>),
    Unstall,
    Clock,
    Unseal,
}

/// A fault that was just installed.
struct Installed {
    places: Vec<usize>,
    remedy: Remedy,
    /// If the plan's own time does not fit.
    lasts: Option<Duration>,
}

impl Track {
    /// These faults, from now on.
    pub(super) fn new(planned: &[Planned], now: Duration) -> Self {
        let first = planned.first().map_or(0, |planned| planned.pause_ms);
        Self {
            planned: planned.iter().copied().collect(),
            next_at: now + Duration::from_millis(first),
            looks: 0,
            active: None,
        }
    }

    /// Whether all faults came and went.
    pub(super) fn is_over(&self) -> bool {
        self.planned.is_empty() && self.active.is_none()
    }

    /// Begins, continues or ends a fault when it is time.
    pub(super) fn poll(&mut self, hands: &mut Hands<'_>) -> Vec<Breach> {
        let mut breaches = Vec::new();
        let now = hands.cluster.clock.now();
        if now < self.next_at {
            return breaches;
        }
        match self.active.take() {
            Some(active) => self.go_on(active, hands, &mut breaches),
            None => self.begin(hands),
        }
        breaches
    }

    fn begin(&mut self, hands: &mut Hands<'_>) {
        let now = hands.cluster.clock.now();
        let Some(planned) = self.planned.front().copied() else {
            return;
        };
        let leader = hands.cluster.leader().map(|(_, place)| place);
        if needs_leader(planned.kind) && leader.is_none() && self.looks < LEADER_LOOKS {
            self.looks += 1;
            self.next_at = now + LOOK;
            return;
        }
        self.looks = 0;
        self.planned.pop_front();
        let mut fault = Fault {
            kind: planned.kind.name().to_owned(),
            start_ns: hands.cluster.clock.now_ns(),
            leaves_quorum: planned.kind.leaves_quorum(),
            ..Fault::default()
        };
        match install(planned.kind, leader, hands) {
            Ok(installed) => {
                fault.nodes = ids(hands, &installed.places);
                fault.result = FaultResult::Installed;
                hands.cluster.tell(format!(
                    "fault {} on {}",
                    fault.kind,
                    hosts(hands, &installed.places)
                ));
                let planned_ms = Duration::from_millis(planned.lasts_ms);
                self.next_at = now + installed.lasts.unwrap_or(planned_ms);
                self.active = Some(Active {
                    kind: planned.kind,
                    number: hands.cluster.recorder.fault(fault.clone()),
                    fault,
                    places: installed.places,
                    remedy: installed.remedy,
                });
            }
            Err(reason) => {
                hands
                    .cluster
                    .tell(format!("fault {} is skipped: {reason}", fault.kind));
                fault.result = FaultResult::Skipped;
                fault.end_ns = Some(fault.start_ns);
                fault.note = Some(reason.to_owned());
                hands.cluster.recorder.fault(fault);
                self.next_at = now + self.pause();
            }
        }
    }

    fn go_on(&mut self, mut active: Active, hands: &mut Hands<'_>, breaches: &mut Vec<Breach>) {
        let now = hands.cluster.clock.now();
        let remedy = std::mem::replace(&mut active.remedy, Remedy::Nothing);
        if let Some((next, lasts)) = heal(remedy, &mut active, hands, breaches) {
            active.remedy = next;
            self.next_at = now + lasts;
            self.active = Some(active);
            return;
        }
        active.fault.end_ns = Some(hands.cluster.clock.now_ns());
        hands
            .cluster
            .tell(format!("fault {} is over", active.kind.name()));
        let recorder = &hands.cluster.recorder;
        recorder.fault_is_over(active.number, active.fault);
        self.next_at = now + self.pause();
    }

    fn pause(&self) -> Duration {
        let next = self.planned.front();
        Duration::from_millis(next.map_or(0, |planned| planned.pause_ms))
    }
}

/// Ends a fault, or one stage of it: then what comes next, and after how long.
fn heal(
    remedy: Remedy,
    active: &mut Active,
    hands: &mut Hands<'_>,
    breaches: &mut Vec<Breach>,
) -> Option<(Remedy, Duration)> {
    match remedy {
        Remedy::Nothing => {}
        Remedy::Mend(ways) => {
            hands.cluster.set_deposed(None);
            hands.links.mend(hands.sim, hands.cluster, &ways);
        }
        Remedy::Release(ways) => hands.links.release(hands.sim, &ways),
        Remedy::Unslow(ways) => hands.links.slow(hands.sim, &ways, None),
        Remedy::Alone(mut first, second) => {
            hands.links.cut(hands.sim, &second);
            first.extend(second);
            let alone_ms = hands.dice.between(ALONE_MS.0, ALONE_MS.1);
            return Some((Remedy::Mend(first), Duration::from_millis(alone_ms)));
        }
        Remedy::Start => active.places.iter().for_each(|place| hands.start(*place)),
        Remedy::Roll(mut left) => {
            if let Some(down) = active.places.last() {
                hands.start(*down);
            }
            let next = left.pop()?;
            hands.kill(next);
            active.places.push(next);
            active.fault.nodes = ids(hands, &active.places);
            return Some((Remedy::Roll(left), ROLL));
        }
        Remedy::Cut => {
            for place in &active.places {
                let machine = &hands.cluster.machines[*place];
                machine.disk.cut_after(None);
                if machine.is_on() {
                    active.fault.result = FaultResult::Skipped;
                    active.fault.note = Some("no sync came".to_owned());
                }
                hands.start(*place);
            }
        }
        Remedy::Sync => {
            for place in &active.places {
                let machine = &hands.cluster.machines[*place];
                machine.disk.fail(false);
                if machine.is_on() && !machine.has_failed_sync() {
                    active.fault.result = FaultResult::Skipped;
                    active.fault.note = Some("no sync came".to_owned());
                }
                hands.start(*place);
            }
        }
        Remedy::Log(files) => give_log_back(&files, active, hands, breaches),
        Remedy::Unstall => {
            for place in &active.places {
                hands.cluster.machines[*place].disk.stall(None);
            }
        }
        Remedy::Clock => {
            for place in &active.places {
                hands.cluster.machines[*place].clock.step(0);
                hands.cluster.machines[*place].clock.strobe(false);
            }
        }
        Remedy::Unseal => active
            .places
            .iter()
            .for_each(|place| hands.cluster.unseal(*place)),
    }
    None
}

/// The files of a machine's log, which are gone then.
fn take_log(hands: &Hands<'_>, place: usize) -> std::io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let machine = &hands.cluster.machines[place];
    machine.set_log_away(true);
    let (disk, dir) = (machine.disk.platter(), Path::new(WAL_DIR));
    let mut files = Vec::new();
    for path in disk.list(dir)? {
        files.push((path.clone(), disk.read(&path)?));
        disk.remove(&path)?;
    }
    disk.sync_dir(dir)?;
    Ok(files)
}

/// Rule 11: whoever lost its log does not come back under its identity. With its log it does.
fn give_log_back(
    files: &[(PathBuf, Vec<u8>)],
    active: &mut Active,
    hands: &mut Hands<'_>,
    breaches: &mut Vec<Breach>,
) {
    let Some(place) = active.places.first().copied() else {
        return;
    };
    let machine = &hands.cluster.machines[place];
    if let Some(node) = machine.node() {
        breaches.push((
            "identity",
            format!(
                "{} started as node {} although its log was gone",
                machine.host,
                node.id()
            ),
        ));
    }
    if !machine.refusal().is_some_and(|refusal| refusal.is_lost_log) {
        active.fault.result = FaultResult::Indeterminate;
    }
    hands.kill(place);
    let machine = &hands.cluster.machines[place];
    let (disk, dir) = (machine.disk.platter(), Path::new(WAL_DIR));
    let put_back = || -> std::io::Result<()> {
        for path in disk.list(dir)? {
            disk.remove(&path)?;
        }
        for (path, bytes) in files {
            let mut file = disk.create_new(path)?;
            file.append(bytes)?;
            file.sync_data()?;
        }
        disk.sync_dir(dir)
    };
    if let Err(error) = put_back() {
        breaches.push((
            "start",
            format!("the simulated log can not be put back: {error}"),
        ));
    }
    machine.set_log_away(false);
    hands.start(place);
}

fn ids(hands: &Hands<'_>, places: &[usize]) -> Vec<u64> {
    let machines = places.iter().map(|place| &hands.cluster.machines[*place]);
    machines.filter_map(super::machine::Machine::id).collect()
}

fn hosts(hands: &Hands<'_>, places: &[usize]) -> String {
    let machines = places
        .iter()
        .map(|place| hands.cluster.machines[*place].host);
    machines.collect::<Vec<_>>().join(", ")
}
