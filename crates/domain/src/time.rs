//! Agreed time as data: milliseconds since the Unix epoch, made by the leader's stamp (rule 5), never read here.

use time::OffsetDateTime;

/// Milliseconds since 1970-01-01T00:00:00Z, cluster time.
pub type Millis = u64;

/// One second.
pub const SECOND: Millis = 1_000;
/// One day.
pub const DAY: Millis = 86_400 * SECOND;

/// The latest time that has a four-digit year: 9999-12-31T23:59:59.999Z. Later stamps are written as this one, so that
/// formatting is total.
pub const LATEST: Millis = 253_402_300_799_999;

/// RFC 3339 in UTC with milliseconds (A10).
#[must_use]
pub fn rfc3339(at: Millis) -> String {
    text(&rfc3339_digits(at))
}

/// The same as ASCII: it stands in every audit line, and a general formatter would cost more than the line's hash.
pub(crate) fn rfc3339_digits(at: Millis) -> [u8; 24] {
    let at = at.min(LATEST);
    let moment = moment(at);
    let (year, month, day) = moment.to_calendar_date();
    let (hour, minute, second) = moment.to_hms();
    let mut out = *b"0000-00-00T00:00:00.000Z";
    digits(&mut out[0..4], u64::from(year.unsigned_abs()));
    digits(&mut out[5..7], u64::from(u8::from(month)));
    digits(&mut out[8..10], u64::from(day));
    digits(&mut out[11..13], u64::from(hour));
    digits(&mut out[14..16], u64::from(minute));
    digits(&mut out[17..19], u64::from(second));
    digits(&mut out[20..23], at % SECOND);
    out
}

/// The `{YYYYMMDD}-{HHMMSS}` part of a kid (A10).
#[must_use]
pub fn kid_time(at: Millis) -> String {
    let moment = moment(at.min(LATEST));
    let (year, month, day) = moment.to_calendar_date();
    let (hour, minute, second) = moment.to_hms();
    let mut out = *b"00000000-000000";
    digits(&mut out[0..4], u64::from(year.unsigned_abs()));
    digits(&mut out[4..6], u64::from(u8::from(month)));
    digits(&mut out[6..8], u64::from(day));
    digits(&mut out[9..11], u64::from(hour));
    digits(&mut out[11..13], u64::from(minute));
    digits(&mut out[13..15], u64::from(second));
    text(&out)
}

/// The second of a time up to [`LATEST`], in UTC.
fn moment(at: Millis) -> OffsetDateTime {
    i64::try_from(at / SECOND)
        .ok()
        .and_then(|second| OffsetDateTime::from_unix_timestamp(second).ok())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Fills all of `place` with the last digits of a number.
fn digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Digits and signs only: always UTF-8.
fn text(ascii: &[u8]) -> String {
    String::from_utf8_lossy(ascii).into_owned()
}

#[cfg(test)]
mod tests {
    use time::format_description::BorrowedFormatItem;
    use time::macros::format_description;

    use super::*;

    const RFC3339_MILLIS: &[BorrowedFormatItem<'static>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    const KID: &[BorrowedFormatItem<'static>] =
        format_description!("[year][month][day]-[hour][minute][second]");

    fn by_the_library(at: Millis, description: &[BorrowedFormatItem<'static>]) -> String {
        let nanoseconds = i128::from(at) * 1_000_000;
        let moment = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).unwrap();
        moment.format(description).unwrap()
    }

    #[test]
    fn a10_days_of_eight_thousand_years_are_written_as_the_library_writes_them() {
        let odd_part_of_a_day = 45_296_789;
        // A prime number of days: every day of the year comes up, leap days too.
        let days = (0..=LATEST).step_by(97 * DAY as usize);
        let moments = days.flat_map(|day| [day, day + odd_part_of_a_day, day + DAY - 1]);
        for at in moments.filter(|at| *at <= LATEST) {
            assert_eq!(rfc3339(at), by_the_library(at, RFC3339_MILLIS));
            assert_eq!(kid_time(at), by_the_library(at, KID));
        }
    }

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
