//! What can be done to a simulated cluster: the classes, and what each needs.

use serde::Serialize;

/// A class of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// One node reaches none of the others, and none of them it.
    IsolateOne,
    /// The same to the leader.
    IsolateLeader,
    /// The nodes fall into a majority and a minority.
    Halves,
    /// A node hears nobody, and is heard.
    OneWayIn,
    /// A node is heard by nobody, and hears.
    OneWayOut,
    /// Two groups that meet in one node only.
    Bridge,
    /// Each node reaches its two neighbours only: majorities that overlap, and no two the same.
    Ring,
    /// The clients do not reach some of the nodes.
    ClientCut,
    /// Messages from and to a node take much longer.
    Latency,
    /// What is sent from and to a node stands still, and arrives when it is over: as if the process had been stopped,
    /// but for its timers.
    Pause,
    /// The leader and one follower are cut off together; then from each other, too. The follower has heard a deposed
    /// leader to the last.
    DeposedPair,
    /// Nodes that a majority can do without lose power.
    PowerCutMinority,
    /// The leader loses power.
    PowerCutLeader,
    /// All nodes lose power at once.
    PowerCutAll,
    /// The power goes in the middle of a sync: what was to be synced is torn.
    PowerCutInSync,
    /// The process of a node that does not lead is killed; its disk keeps what was written.
    KillOne,
    /// The leader's process is killed.
    KillLeader,
    /// All processes are killed at once.
    KillAll,
    /// One after the other is killed and started again.
    RollingRestart,
    /// Syncs fail: the node must stop, and never acknowledge.
    SyncError,
    /// A node's log is taken away: it must refuse to start under its old identity (rule 11). Then the log comes back.
    LostLog,
    /// Syncs take up to seconds.
    SlowSync,
    /// A wall clock is wrong by an hour.
    ClockHour,
    /// A wall clock is wrong by a day.
    ClockDay,
    /// A wall clock jumps to and fro.
    ClockStrobe,
    /// Leadership is handed over, by the API.
    LeaderTransfer,
    /// A node is sealed, by the API, and unsealed again.
    Seal,
}

/// Faults of one group come one after the other; the groups overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// Between machines.
    Network,
    /// Processes and power.
    Power,
    /// Disks that are slow, clocks, and what operators do.
    Rest,
}

impl FaultKind {
    /// Every class.
    pub const ALL: [Self; 27] = [
        Self::IsolateOne,
        Self::IsolateLeader,
        Self::Halves,
        Self::OneWayIn,
        Self::OneWayOut,
        Self::Bridge,
        Self::Ring,
        Self::ClientCut,
        Self::Latency,
        Self::Pause,
        Self::DeposedPair,
        Self::PowerCutMinority,
        Self::PowerCutLeader,
        Self::PowerCutAll,
        Self::PowerCutInSync,
        Self::KillOne,
        Self::KillLeader,
        Self::KillAll,
        Self::RollingRestart,
        Self::SyncError,
        Self::LostLog,
        Self::SlowSync,
        Self::ClockHour,
        Self::ClockDay,
        Self::ClockStrobe,
        Self::LeaderTransfer,
        Self::Seal,
    ];

    /// How a history and a report call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::IsolateOne => "isolate_one",
            Self::IsolateLeader => "isolate_leader",
            Self::Halves => "halves",
            Self::OneWayIn => "one_way_in",
            Self::OneWayOut => "one_way_out",
            Self::Bridge => "bridge",
            Self::Ring => "ring",
            Self::ClientCut => "client_cut",
            Self::Latency => "latency",
            Self::Pause => "pause",
            Self::DeposedPair => "deposed_pair",
            Self::PowerCutMinority => "power_cut_minority",
            Self::PowerCutLeader => "power_cut_leader",
            Self::PowerCutAll => "power_cut_all",
            Self::PowerCutInSync => "power_cut_in_sync",
            Self::KillOne => "kill_one",
            Self::KillLeader => "kill_leader",
            Self::KillAll => "kill_all",
            Self::RollingRestart => "rolling_restart",
            Self::SyncError => "sync_error",
            Self::LostLog => "lost_log",
            Self::SlowSync => "slow_sync",
            Self::ClockHour => "clock_hour",
            Self::ClockDay => "clock_day",
            Self::ClockStrobe => "clock_strobe",
            Self::LeaderTransfer => "leader_transfer",
            Self::Seal => "seal",
        }
    }

    /// With what it does not overlap.
    pub(super) const fn group(self) -> Group {
        match self {
            Self::IsolateOne
            | Self::IsolateLeader
            | Self::Halves
            | Self::OneWayIn
            | Self::OneWayOut
            | Self::Bridge
            | Self::Ring
            | Self::ClientCut
            | Self::Latency
            | Self::Pause
            | Self::DeposedPair => Group::Network,
            Self::PowerCutMinority
            | Self::PowerCutLeader
            | Self::PowerCutAll
            | Self::PowerCutInSync
            | Self::KillOne
            | Self::KillLeader
            | Self::KillAll
            | Self::RollingRestart
            | Self::SyncError
            | Self::LostLog => Group::Power,
            Self::SlowSync
            | Self::ClockHour
            | Self::ClockDay
            | Self::ClockStrobe
            | Self::LeaderTransfer
            | Self::Seal => Group::Rest,
        }
    }

    /// Whether it makes sense with so many nodes.
    pub(super) const fn fits(self, nodes: usize) -> bool {
        match self {
            // Among three everybody is everybody's neighbour; and two who are cut off together leave one.
            Self::Ring | Self::DeposedPair => nodes >= 5,
            _ => true,
        }
    }

    /// Whether a majority could go on meanwhile, if this were the only fault.
    pub(super) const fn leaves_quorum(self) -> bool {
        !matches!(self, Self::PowerCutAll | Self::KillAll)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_class_has_a_name_of_its_own_and_the_same_one_in_json() {
        let names: BTreeSet<&str> = FaultKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), FaultKind::ALL.len());
        for kind in FaultKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }
}
