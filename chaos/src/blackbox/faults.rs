//! The classes of faults: what each needs, in which lane it runs, and how long it lasts.

use std::fmt;

use crate::dice::Dice;

/// The longest election timeout of the nodes in a run, ms. Pauses are measured in it.
pub(crate) const ELECTION_MAX_MS: u64 = 600;

/// A class of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// kill -9 of any node.
    KillOne,
    /// kill -9 of the leader.
    KillLeader,
    /// kill -9 of as many nodes as may die, at once.
    KillMinority,
    /// kill -9 of all nodes, at once.
    KillAll,
    /// SIGSTOP of any node for 1 to 10 election timeouts.
    PauseOne,
    /// SIGSTOP of the leader for 1 to 10 election timeouts.
    PauseLeader,
    /// Leadership handed over through the API.
    TransferLeader,
    /// One node after the other stopped in order and started again.
    RollingRestart,
    /// A sync of the log fails: the node must stop, and not acknowledge.
    SyncError,
    /// One node's disk loses what was not synced.
    PowerCutOne,
    /// All nodes' disks lose what was not synced, at once.
    PowerCutAll,
    /// No room on one node's disk.
    DiskFull,
    /// Any node cut off from all others.
    IsolateOne,
    /// The leader cut off from all others.
    IsolateLeader,
    /// The nodes parted in a majority and a minority.
    SplitMajority,
    /// Nothing reaches one node; it is heard.
    OneWayIn,
    /// Nothing of one node is heard; it hears all.
    OneWayOut,
    /// Two halves that see each other only through one node.
    Bridge,
    /// Each node sees another majority (five nodes).
    Ring,
    /// Every byte takes longer, and not equally long.
    Latency,
    /// Connections between peers are reset again and again.
    Reset,
    /// Connections are closed in one direction.
    HalfClose,
    /// One node's disk takes its time.
    SlowSync,
    /// One node's clock jumps by an hour.
    ClockStep,
    /// One node's clock jumps to and fro.
    ClockStrobe,
}

/// Faults of one lane never overlap; those of different lanes do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// What happens to processes and disks.
    Process,
    /// Who can hear whom.
    Cuts,
    /// What is slow, rude or wrong about time.
    Weather,
}

/// What a fault can not do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Nothing,
    /// The library that stands between a node and its system calls.
    Shim,
    /// A file system of each node's own (root).
    Volumes,
    FiveNodes,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [Self; 25] = [
        Self::KillOne,
        Self::KillLeader,
        Self::KillMinority,
        Self::KillAll,
        Self::PauseOne,
        Self::PauseLeader,
        Self::TransferLeader,
        Self::RollingRestart,
        Self::SyncError,
        Self::PowerCutOne,
        Self::PowerCutAll,
        Self::DiskFull,
        Self::IsolateOne,
        Self::IsolateLeader,
        Self::SplitMajority,
        Self::OneWayIn,
        Self::OneWayOut,
        Self::Bridge,
        Self::Ring,
        Self::Latency,
        Self::Reset,
        Self::HalfClose,
        Self::SlowSync,
        Self::ClockStep,
        Self::ClockStrobe,
    ];

    /// How it is called on the command line and in a history.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::KillOne => "kill_one",
            Self::KillLeader => "kill_leader",
            Self::KillMinority => "kill_minority",
            Self::KillAll => "kill_all",
            Self::PauseOne => "pause_one",
            Self::PauseLeader => "pause_leader",
            Self::TransferLeader => "transfer_leader",
            Self::RollingRestart => "rolling_restart",
            Self::SyncError => "sync_error",
            Self::PowerCutOne => "power_cut_one",
            Self::PowerCutAll => "power_cut_all",
            Self::DiskFull => "disk_full",
            Self::IsolateOne => "isolate_one",
            Self::IsolateLeader => "isolate_leader",
            Self::SplitMajority => "split_majority",
            Self::OneWayIn => "one_way_in",
            Self::OneWayOut => "one_way_out",
            Self::Bridge => "bridge",
            Self::Ring => "ring",
            Self::Latency => "latency",
            Self::Reset => "reset",
            Self::HalfClose => "half_close",
            Self::SlowSync => "slow_sync",
            Self::ClockStep => "clock_step",
            Self::ClockStrobe => "clock_strobe",
        }
    }

    /// The class of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    pub(crate) const fn lane(self) -> Lane {
        match self {
            Self::KillOne
            | Self::KillLeader
            | Self::KillMinority
            | Self::KillAll
            | Self::PauseOne
            | Self::PauseLeader
            | Self::TransferLeader
            | Self::RollingRestart
            | Self::SyncError
            | Self::PowerCutOne
            | Self::PowerCutAll
            | Self::DiskFull => Lane::Process,
            Self::IsolateOne
            | Self::IsolateLeader
            | Self::SplitMajority
            | Self::OneWayIn
            | Self::OneWayOut
            | Self::Bridge
            | Self::Ring => Lane::Cuts,
            Self::Latency
            | Self::Reset
            | Self::HalfClose
            | Self::SlowSync
            | Self::ClockStep
            | Self::ClockStrobe => Lane::Weather,
        }
    }

    /// Its lane, counted from 0: processes, cuts, weather.
    pub(crate) fn lane_number(self) -> usize {
        match self.lane() {
            Lane::Process => 0,
            Lane::Cuts => 1,
            Lane::Weather => 2,
        }
    }

    pub(crate) const fn need(self) -> Need {
        match self {
            Self::PowerCutOne | Self::PowerCutAll | Self::DiskFull => Need::Volumes,
            Self::SyncError | Self::SlowSync | Self::ClockStep | Self::ClockStrobe => Need::Shim,
            Self::Ring => Need::FiveNodes,
            _ => Need::Nothing,
        }
    }

    /// Whether another node has to lead because of it.
    pub(crate) const fn moves_leadership(self) -> bool {
        matches!(
            self,
            Self::KillLeader
                | Self::KillAll
                | Self::TransferLeader
                | Self::RollingRestart
                | Self::PowerCutAll
                | Self::IsolateLeader
        )
    }

    /// How long it lasts, ms.
    pub(crate) fn draw_hold_ms(self, dice: &mut Dice) -> u64 {
        match self {
            Self::KillOne
            | Self::KillLeader
            | Self::KillMinority
            | Self::KillAll
            | Self::PowerCutOne
            | Self::PowerCutAll => dice.between(200, 2_500),
            Self::PauseOne | Self::PauseLeader => {
                dice.between(1, 10) * ELECTION_MAX_MS * dice.between(80, 120) / 100
            }
            Self::TransferLeader | Self::RollingRestart | Self::SyncError => 0,
            Self::DiskFull => dice.between(1_000, 3_000),
            Self::IsolateOne
            | Self::IsolateLeader
            | Self::SplitMajority
            | Self::OneWayIn
            | Self::OneWayOut
            | Self::Bridge
            | Self::Ring => dice.between(1_500, 5_000),
            Self::Latency | Self::SlowSync | Self::ClockStep | Self::ClockStrobe => {
                dice.between(2_000, 5_000)
            }
            Self::Reset | Self::HalfClose => dice.between(1_500, 4_000),
        }
    }

    /// What it takes beside that, about, ms: starts, elections, the look whether it happened. A later fault of its lane is
    /// not planned earlier.
    pub(crate) const fn overhead_ms(self, nodes: usize) -> u64 {
        match self {
            Self::KillOne | Self::KillLeader | Self::KillMinority | Self::KillAll => 2_000,
            Self::PowerCutOne | Self::PowerCutAll | Self::DiskFull => 3_000,
            Self::SyncError => 3_500,
            Self::TransferLeader => 1_000,
            Self::RollingRestart => 2_500 * nodes as u64,
            _ => 300,
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What `--faults` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) kinds: Vec<FaultKind>,
    /// Named one by one: what can not be done is then a failure, and not a gap.
    pub(crate) is_explicit: bool,
}

impl Wanted {
    /// `default` (all that needs no root), `all`, `none`, or names with commas between them.
    ///
    /// # Errors
    /// Which word is none of them.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut kinds = Vec::new();
        let mut is_explicit = false;
        for word in text.split(',').map(str::trim) {
            match word {
                "none" | "" => {}
                "all" => kinds.extend(FaultKind::ALL),
                "default" => {
                    let without_root = |kind: &FaultKind| kind.need() != Need::Volumes;
                    kinds.extend(FaultKind::ALL.into_iter().filter(without_root));
                }
                name => {
                    let names = FaultKind::ALL.map(FaultKind::name).join(", ");
                    kinds.push(FaultKind::parse(name).ok_or_else(|| {
                        format!("there is no fault '{name}'; there are default, all, none, {names}")
                    })?);
                    is_explicit = true;
                }
            }
        }
        kinds.sort_unstable();
        kinds.dedup();
        Ok(Self { kinds, is_explicit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_a_name_of_its_own_and_is_found_by_it() {
        for kind in FaultKind::ALL {
            assert_eq!(FaultKind::parse(kind.name()), Some(kind));
            assert_eq!(kind.to_string(), kind.name());
        }
        let mut all = FaultKind::ALL.to_vec();
        all.dedup();
        assert_eq!(all.len(), FaultKind::ALL.len());
    }

    #[test]
    fn the_default_needs_no_root_and_a_misspelt_fault_is_named() {
        let default = Wanted::parse("default").unwrap();
        assert!(!default.is_explicit);
        assert!(default.kinds.contains(&FaultKind::SyncError));
        assert!(!default.kinds.contains(&FaultKind::PowerCutOne));
        assert_eq!(Wanted::parse("all").unwrap().kinds, FaultKind::ALL);
        assert!(Wanted::parse("none").unwrap().kinds.is_empty());
        let named = Wanted::parse("latency, kill_one,latency").unwrap();
        assert_eq!(named.kinds, [FaultKind::KillOne, FaultKind::Latency]);
        assert!(named.is_explicit);
        let error = Wanted::parse("kill_every").unwrap_err();
        assert!(error.contains("'kill_every'") && error.contains("kill_all"));
    }

    #[test]
    fn a_pause_is_one_to_ten_election_timeouts() {
        let told = crate::blackbox::formation::SETTINGS.iter();
        let told = told.filter(|(name, _)| name.ends_with("ELECTION_MAX_MS"));
        let told: Vec<&str> = told.map(|(_, value)| *value).collect();
        assert_eq!(told, [ELECTION_MAX_MS.to_string()]);
        let mut dice = Dice::new(3);
        for _ in 0..200 {
            let held = FaultKind::PauseOne.draw_hold_ms(&mut dice);
            assert!((480..=7_200).contains(&held), "{held}");
        }
    }
}
