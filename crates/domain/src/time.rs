//! Agreed time as data: milliseconds since the Unix epoch, made by the leader's stamp (rule 5), never read here.

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// Milliseconds since 1970-01-01T00:00:00Z, cluster time.
pub type Millis = u64;

/// One second.
pub const SECOND: Millis = 1_000;
/// One day.
pub const DAY: Millis = 86_400 * SECOND;

/// The latest time that has a four-digit year: 9999-12-31T23:59:59.999Z. Later stamps are written as this one, so that
/// formatting is total.
pub const LATEST: Millis = 253_402_300_799_999;

const RFC3339_MILLIS: &[BorrowedFormatItem<'static>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
const KID: &[BorrowedFormatItem<'static>] =
    format_description!("[year][month][day]-[hour][minute][second]");

/// RFC 3339 in UTC with milliseconds (A10).
#[must_use]
pub fn rfc3339(at: Millis) -> String {
    format(at, RFC3339_MILLIS)
}

/// The `{YYYYMMDD}-{HHMMSS}` part of a kid (A10).
#[must_use]
pub fn kid_time(at: Millis) -> String {
    format(at, KID)
}

fn format(at: Millis, description: &[BorrowedFormatItem<'static>]) -> String {
    let nanoseconds = i128::from(at.min(LATEST)) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds)
        .ok()
        .and_then(|moment| moment.format(description).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc3339_utc_with_milliseconds() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_795_316_400_123), "2026-11-22T03:00:00.123Z");
        assert_eq!(kid_time(1_795_316_400_123), "20261122-030000");
    }

    #[test]
    fn formatting_is_total() {
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59.999Z");
    }
}
