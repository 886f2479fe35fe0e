//! One run: form a cluster, work under faults, heal, converge, look at every key, judge.
//!
//! ```text
//!   form ─▶ tokens ─▶ clients ∥ three tracks of faults ─▶ heal ─▶ agree ─▶ read, write, read every key at every node
//!        ─▶ agree again ─▶ checkers ∧ invariants ∧ something happened at all
//! ```
//!
//! One step of virtual time after the other; between two steps this loop does what the plan says to the cluster, and looks
//! at everything. Nothing here draws from anything but the seed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jarvis_disk::Disk;
use turmoil::{Builder, Sim};

use super::cluster::{CLIENTS, Cluster, Stage};
use super::disk::{AUDIT_DIR, JOURNAL_DIR};
use super::judge::{self, Coverage};
use super::links::Links;
use super::nemesis::Track;
use super::observer::{Broken, Observer};
use super::panics;
use super::plan::Plan;
use super::power::Hands;
use super::trace::Line;
use super::{Violation, software, workload};
use crate::checker::{Report, Verdict};
use crate::dice::Dice;
use crate::history::History;

/// A step of virtual time: a tenth of a heartbeat, so that timers keep their order.
const TICK: Duration = Duration::from_millis(5);
/// Segments a connection holds, and connections that wait to be accepted: far more than five nodes need.
const TCP_CAPACITY: usize = 4_096;
/// All machines become voters within this time.
const FORMING: Duration = Duration::from_secs(40);
/// The clients have their tokens within this time.
const PREPARING: Duration = Duration::from_secs(15);
/// After the last fault: everything agrees, every key can be read and written through every node (VERIFICATION).
const HEALING: Duration = Duration::from_secs(30);

/// What came of a run.
pub(super) struct Ran {
    pub(super) violations: Vec<Violation>,
    pub(super) reports: Vec<Report>,
    pub(super) doubts: Vec<String>,
    pub(super) coverage: Coverage,
    pub(super) history: History,
    pub(super) digest: u64,
    pub(super) events: u64,
    pub(super) lines: Vec<Line>,
    /// When it ended, or broke.
    pub(super) at: Duration,
}

struct Run {
    sim: Sim<'static>,
    cluster: Arc<Cluster>,
    links: Links,
    observer: Observer,
    dice: Dice,
}

/// The whole run of a plan.
pub(super) fn run(plan: Plan, keeps_lines: bool) -> anyhow::Result<Ran> {
    let cluster = Cluster::new(plan, keeps_lines)?;
    let mut run = Run::new(Arc::clone(&cluster));
    let outcome = run.whole();
    if let Err(violation) = &outcome {
        cluster.tell(format!("VIOLATION by {}: {}", violation.by, violation.what));
    }
    let nodes = cluster.node_ids();
    let history = cluster.recorder.history(&cluster.plan, nodes);
    let coverage = judge::coverage(&cluster, &history, run.observer.counts());
    let at = cluster.clock.now();
    let mut ran = Ran {
        violations: outcome.err().into_iter().collect(),
        reports: Vec::new(),
        doubts: Vec::new(),
        coverage,
        digest: cluster.trace.digest(),
        events: cluster.trace.events(),
        lines: cluster.trace.lines(),
        history,
        at,
    };
    ran.judge(&cluster)?;
    for machine in &cluster.machines {
        drop(machine.ends());
    }
    Ok(ran)
}

impl Ran {
    fn judge(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        // A run that broke off has no end to be judged by: what is missing in it is missing because of that.
        if self.violations.is_empty() {
            self.reports = judge::reports(cluster, &self.history)?;
        }
        for report in &self.reports {
            match judge::verdict_of(report) {
                Verdict::Held => {}
                Verdict::Unknown => {
                    let doubts = report.doubts.iter();
                    self.doubts
                        .extend(doubts.map(|doubt| format!("{}: {doubt}", report.checker)));
                }
                Verdict::Violated => {
                    let stories = report.stories.iter();
                    let told = stories.map(|story| story.on_the_time_line(&self.history));
                    let what: Vec<String> = told.collect();
                    self.violations.push(Violation {
                        by: report.checker.to_owned(),
                        what: what.join("\n"),
                    });
                }
            }
        }
        let emptiness = self.coverage.emptiness();
        self.doubts.extend(emptiness.map(str::to_owned));
        Ok(())
    }
}

impl Run {
    fn new(cluster: Arc<Cluster>) -> Self {
        let mut dice = Dice::stream(cluster.plan.seed, "faults");
        let mut sim = Builder::new()
            .rng_seed(dice.draw())
            .tick_duration(TICK)
            .simulation_duration(Duration::MAX)
            .max_message_latency(Duration::from_millis(cluster.plan.latency_ms))
            .tcp_capacity(TCP_CAPACITY)
            .enable_random_order()
            .build();
        for (place, machine) in cluster.machines.iter().enumerate() {
            let shared = Arc::clone(&cluster);
            sim.host(machine.host, move || {
                software::run(Arc::clone(&shared), place)
            });
        }
        let shared = Arc::clone(&cluster);
        sim.host(CLIENTS, move || workload::run(Arc::clone(&shared)));
        Self {
            sim,
            links: Links::new(&cluster),
            observer: Observer::new(&cluster),
            dice,
            cluster,
        }
    }

    fn whole(&mut self) -> Result<(), Violation> {
        self.until(FORMING, "all machines vote", |run| run.has_formed())?;
        self.observer.has_formed();
        self.cluster.enter(Stage::Preparing);
        self.until(PREPARING, "the clients have their tokens", |run| {
            run.cluster.tokens().is_some()
        })?;
        self.cluster.enter(Stage::Working);
        self.work()?;
        self.heal();
        self.cluster.enter(Stage::Healing);
        let end = self.sim.elapsed() + HEALING;
        self.before(end, "all nodes agree after healing", Self::agrees)?;
        self.cluster.enter(Stage::Finale);
        self.before(end, "every key is read and written at every node", |run| {
            run.cluster.finale().is_some()
        })?;
        if let Some(Err(what)) = self.cluster.finale() {
            return Err(self.late(&what));
        }
        self.cluster.enter(Stage::Over);
        self.before(end, "all nodes agree in the end", Self::agrees)?;
        self.observer.settle().map_err(broken)
    }

    /// Clients ask until every fault came and went.
    fn work(&mut self) -> Result<(), Violation> {
        let now = self.sim.elapsed();
        let cluster = Arc::clone(&self.cluster);
        let lists = cluster.plan.faults.iter();
        let mut tracks: Vec<Track> = lists.map(|faults| Track::new(faults, now)).collect();
        while !tracks.iter().all(Track::is_over) {
            for track in &mut tracks {
                let breaches = track.poll(&mut self.hands(&cluster));
                if let Some((by, what)) = breaches.into_iter().next() {
                    return Err(Violation {
                        by: by.to_owned(),
                        what,
                    });
                }
            }
            self.step()?;
        }
        Ok(())
    }

    /// Ends every fault.
    fn heal(&mut self) {
        let cluster = Arc::clone(&self.cluster);
        self.links.heal(&self.sim, &cluster);
        for (place, machine) in cluster.machines.iter().enumerate() {
            machine.clock.step(0);
            machine.clock.strobe(false);
            machine.disk.stall(None);
            machine.disk.fail(false);
            machine.disk.cut_after(None);
            cluster.unseal(place);
            self.hands(&cluster).start(place);
        }
    }

    fn hands<'a>(&'a mut self, cluster: &'a Cluster) -> Hands<'a> {
        Hands {
            sim: &mut self.sim,
            cluster,
            links: &mut self.links,
            dice: &mut self.dice,
        }
    }

    /// One step of virtual time, and a look at what happened in it.
    fn step(&mut self) -> Result<(), Violation> {
        // A task that panics takes its machine's runtime along, and the step with it.
        let stepped = catch_unwind(AssertUnwindSafe(|| self.sim.step()));
        if let Some(message) = panics::take() {
            return Err(Violation::new("panic", message));
        }
        match stepped {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                let what = format!("the software of a machine ended: {error}");
                return Err(Violation::new("start", what));
            }
            Err(_) => return Err(Violation::new("panic", "a task panicked")),
        }
        self.cluster.clock.stepped(self.sim.elapsed());
        let cluster = Arc::clone(&self.cluster);
        self.observer.look(&cluster).map_err(broken)?;
        self.look_after_processes(&cluster)
    }

    /// Processes that ended by themselves, and machines whose power went.
    fn look_after_processes(&mut self, cluster: &Cluster) -> Result<(), Violation> {
        for (place, machine) in cluster.machines.iter().enumerate() {
            if machine.disk.is_dead() {
                self.hands(cluster).cut_power(place);
                continue;
            }
            let is_disk_s_fault = machine.has_failed_sync();
            if let Some(reason) = machine.take_fatal() {
                if !is_disk_s_fault {
                    let what = format!("{} can not go on: {reason}", machine.host);
                    return Err(Violation::new("fatal", what));
                }
                cluster.tell(format!("{} stops: {reason}", machine.host));
                self.hands(cluster).kill(place);
                if !machine.disk.is_failing() {
                    self.hands(cluster).start(place);
                }
                continue;
            }
            let refusal = machine.refusal();
            let refusal = refusal.filter(|_| !is_disk_s_fault && !machine.is_log_away());
            if let Some(refusal) = refusal {
                let what = format!("{} does not start: {}", machine.host, refusal.reason);
                return Err(Violation::new("start", what));
            }
        }
        Ok(())
    }

    fn until(
        &mut self,
        at_most: Duration,
        what: &str,
        is_done: impl FnMut(&Self) -> bool,
    ) -> Result<(), Violation> {
        self.before(self.sim.elapsed() + at_most, what, is_done)
    }

    fn before(
        &mut self,
        end: Duration,
        what: &str,
        mut is_done: impl FnMut(&Self) -> bool,
    ) -> Result<(), Violation> {
        while !is_done(&*self) {
            if self.sim.elapsed() > end {
                return Err(self.late(what));
            }
            self.step()?;
        }
        Ok(())
    }

    fn late(&self, what: &str) -> Violation {
        let nodes = self.cluster.describe();
        Violation::new("late", format!("not in time: {what}\n{nodes}"))
    }

    /// All nodes run, hold their keys, and know each other as voters.
    fn has_formed(&self) -> bool {
        let count = self.cluster.machines.len();
        let mut machines = self.cluster.machines.iter();
        machines.all(|machine| {
            machine.process().is_some_and(|process| {
                let voters = process.node.with_view(|state| state.core.voters.len());
                voters == count && !process.vault.is_sealed()
            })
        })
    }

    /// All nodes run, know one leader, applied the same, and owe the log and the trail nothing; nobody waits for an answer.
    fn agrees(&self) -> bool {
        if self.cluster.recorder.under_way() > 0 {
            return false;
        }
        let mut agreed = None;
        let mut machines = self.cluster.machines.iter().enumerate();
        machines.all(|(place, machine)| {
            let Some(process) = machine.process() else {
                return false;
            };
            if process.vault.is_sealed() {
                // An order that was under way when the faults ended.
                self.cluster.unseal(place);
                return false;
            }
            let (applied, closed) = process
                .node
                .with_view(|state| (state.core.applied, state.segments.iter().count()));
            let platter = machine.disk.platter();
            let files = |dir: &str| platter.list(Path::new(dir)).unwrap_or_default();
            // Beside the closed segments: the open one, and where the last sync ended.
            let has_trail = files(AUDIT_DIR).len() > closed;
            let leader = process.node.leader();
            let stands = (leader, applied);
            let is_same = *agreed.get_or_insert(stands) == stands;
            is_same && leader.is_some() && has_trail && files(JOURNAL_DIR).is_empty()
        })
    }
}

fn broken(Broken { by, what }: Broken) -> Violation {
    Violation::new(by, what)
}
