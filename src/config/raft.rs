//! `[raft]`: timing of elections, sizes of log and snapshots (F6, DESIGN 4 and 7). All nodes of a
//! cluster should agree.

use std::time::Duration;

use super::error::ConfigError;
use super::reader::Table;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// An election must survive this many lost heartbeats, or every delayed packet costs a fail-over.
const HEARTBEATS_PER_ELECTION: u32 = 2;

/// `[raft]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftConfig {
    /// Between two heartbeats of the leader.
    pub heartbeat: Duration,
    /// Shortest wait without a leader before an election.
    pub election_min: Duration,
    /// Longest such wait; also the leader's lease.
    pub election_max: Duration,
    /// A snapshot is made, and the log before it purged, after this many bytes of log.
    pub snapshot_wal_bytes: u64,
    /// Bytes of one segment of the write-ahead log.
    pub wal_segment_bytes: u64,
}

impl RaftConfig {
    pub(super) fn read(table: &mut Table<'_>) -> Result<Self, ConfigError> {
        let config = Self {
            heartbeat: table.milliseconds("heartbeat_ms", 50, 10..=5_000)?,
            election_min: table.milliseconds("election_min_ms", 200, 30..=30_000)?,
            election_max: table.milliseconds("election_max_ms", 400, 60..=60_000)?,
            // From 4 KiB, so that chaos runs can make a snapshot every hundred entries.
            snapshot_wal_bytes: table.bytes(
                "snapshot_wal_bytes",
                256 * MIB,
                4 * KIB..=65_536 * MIB,
            )?,
            wal_segment_bytes: table.bytes("wal_segment_bytes", 16 * MIB, 64 * KIB..=256 * MIB)?,
        };
        config.check_order()?;
        Ok(config)
    }

    fn check_order(&self) -> Result<(), ConfigError> {
        let Self {
            heartbeat,
            election_min,
            election_max,
            ..
        } = self;
        if *election_min < *heartbeat * HEARTBEATS_PER_ELECTION {
            return Err(ConfigError::Conflict {
                problem: format!(
                    "[raft] election_min_ms = {} is less than {HEARTBEATS_PER_ELECTION} heartbeats of {} ms",
                    election_min.as_millis(),
                    heartbeat.as_millis()
                ),
                mend:
                    "one late heartbeat would cost a fail-over; for example heartbeat_ms = 50 and \
                       election_min_ms = 200"
                        .to_owned(),
            });
        }
        if election_min >= election_max {
            return Err(ConfigError::Conflict {
                problem: format!(
                    "[raft] election_min_ms = {} is not below election_max_ms = {}",
                    election_min.as_millis(),
                    election_max.as_millis()
                ),
                mend: "nodes need different waits to elect a leader; for example election_min_ms = 200 \
                       and election_max_ms = 400"
                    .to_owned(),
            });
        }
        Ok(())
    }
}
