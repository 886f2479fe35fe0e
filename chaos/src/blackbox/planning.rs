//! What is going to be done: of what was asked for, what this machine and the time allow.

use std::collections::BTreeMap;
use std::path::Path;

use super::cluster::Cluster;
use super::faults::{FaultKind, Need};
use super::round::Setup;
use super::schedule::{Plan, Schedule};
use super::shim::Shim;
use super::volumes::Volume;

/// What is going to be done, and what is not.
pub(super) struct Planned {
    pub(super) schedule: Schedule,
    /// Asked for by name, and not possible.
    pub(super) impossible: BTreeMap<FaultKind, String>,
    /// Not asked for by name, and not possible or without time.
    pub(super) left_out: BTreeMap<FaultKind, String>,
}

/// What can be done on this machine.
pub(super) struct Planning<'a> {
    setup: &'a Setup,
    kinds: Vec<FaultKind>,
    impossible: BTreeMap<FaultKind, String>,
}

impl<'a> Planning<'a> {
    pub(super) fn of(setup: &'a Setup) -> Self {
        let mut planning = Self {
            setup,
            kinds: setup.wanted.kinds.clone(),
            impossible: BTreeMap::new(),
        };
        if setup.nodes < 5 {
            planning.leave_out(Need::FiveNodes, "it needs five nodes");
        }
        planning
    }

    fn leave_out(&mut self, need: Need, reason: &str) {
        let all = std::mem::take(&mut self.kinds);
        let (gone, kinds): (Vec<FaultKind>, Vec<FaultKind>) =
            all.into_iter().partition(|kind| kind.need() == need);
        self.kinds = kinds;
        let gone = gone.into_iter().map(|kind| (kind, reason.to_owned()));
        self.impossible.extend(gone);
    }

    fn needs(&self, need: Need) -> bool {
        self.kinds.iter().any(|kind| kind.need() == need)
    }

    pub(super) fn shim(&mut self, work: &Path) -> Option<Shim> {
        if !self.needs(Need::Shim) {
            return None;
        }
        match Shim::compile(work) {
            Ok(shim) => Some(shim),
            Err(reason) => {
                self.leave_out(Need::Shim, &reason);
                None
            }
        }
    }

    pub(super) fn volumes(&mut self, work: &Path, cluster: &mut Cluster) {
        if !self.needs(Need::Volumes) {
            return;
        }
        for (place, member) in cluster.members.iter_mut().enumerate() {
            let image = work.join(format!("n{}.img", place + 1));
            match Volume::take_over(&image, &member.data_dir) {
                Ok(volume) => member.volume = Some(volume),
                Err(reason) => return self.leave_out(Need::Volumes, &reason),
            }
        }
    }

    /// A program that is linked statically does not load the library.
    pub(super) fn check_attached(&mut self, cluster: &Cluster) {
        let mut controls = cluster
            .members
            .iter()
            .filter_map(|member| member.control.as_ref());
        if controls.any(|control| !control.is_attached()) {
            self.leave_out(
                Need::Shim,
                "the nodes do not load the library (linked statically?)",
            );
        }
    }

    pub(super) fn draw(self) -> Planned {
        let schedule = Schedule::draw(&Plan {
            seed: self.setup.seed,
            nodes: usize::from(self.setup.nodes),
            run_ms: self.setup.run_ms,
            kinds: self.kinds,
        });
        let no_time = schedule.left_out.iter();
        let no_time = no_time.map(|kind| (*kind, "there was no time for it".to_owned()));
        let mut gone = self.impossible;
        gone.extend(no_time);
        // Who names a fault wants it; who takes what there is gets what there is.
        let (impossible, left_out) = if self.setup.wanted.is_explicit {
            (gone, BTreeMap::new())
        } else {
            (BTreeMap::new(), gone)
        };
        Planned {
            schedule,
            impossible,
            left_out,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::blackbox::faults::Wanted;

    #[test]
    fn a_named_fault_that_is_impossible_is_a_failure_and_an_unnamed_one_a_gap() {
        let setup = |faults: &str| Setup {
            daemon: PathBuf::new(),
            work: PathBuf::new(),
            nodes: 3,
            run_ms: 180_000,
            seed: 1,
            wanted: Wanted::parse(faults).unwrap(),
            rate: 1,
            keep: false,
            command: String::new(),
            commit: String::new(),
        };
        let by_name = setup("ring,latency");
        let planned = Planning::of(&by_name).draw();
        assert!(planned.impossible.contains_key(&FaultKind::Ring));
        assert_eq!(planned.schedule.kinds(), [FaultKind::Latency]);
        let default = setup("default");
        let planned = Planning::of(&default).draw();
        assert!(planned.impossible.is_empty());
        assert!(planned.left_out.contains_key(&FaultKind::Ring));
    }
}
