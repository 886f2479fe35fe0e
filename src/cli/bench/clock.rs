//! The bench's one look at the clock, and the durations of its flags.

use std::time::{Duration, Instant};

/// Units of a duration flag and their length in milliseconds, longest suffix first.
const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

/// No measurement needs more than a day; the bound keeps sums of instants from overflowing.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);

/// The monotonic clock: latencies are what this program is for.
#[allow(
    clippy::disallowed_methods,
    reason = "a load generator measures real time and is no part of the server"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// Sleeps until the instant; the timer's granularity is one millisecond, late and never early.
pub(super) async fn sleep_until(instant: Instant) {
    tokio::time::sleep_until(tokio::time::Instant::from_std(instant)).await;
}

/// Reads `500ms`, `10s`, `2m` or `1h`; at most a day.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let malformed = || format!("{text:?} is not a duration such as 500ms, 10s or 2m");
    let (digits, milliseconds_per_unit) = UNITS
        .into_iter()
        .find_map(|(suffix, length)| text.strip_suffix(suffix).map(|digits| (digits, length)))
        .ok_or_else(malformed)?;
    let number: u64 = digits.parse().map_err(|_| malformed())?;
    let duration = Duration::from_millis(number.saturating_mul(milliseconds_per_unit));
    if duration > LONGEST {
        return Err(format!("{text:?} is longer than a day"));
    }
    Ok(duration)
}

/// Like [`parse_duration`], but not zero.
pub(super) fn parse_positive_duration(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text)?;
    if duration.is_zero() {
        return Err("the duration must be longer than zero".to_owned());
    }
    Ok(duration)
}

/// Milliseconds with three decimals, for people and for JSON.
pub(super) fn rounded_milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_every_unit_are_read() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_duration("1h"), Ok(Duration::from_secs(3_600)));
        assert_eq!(parse_duration("0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn each_bad_duration_is_refused() {
        for text in [
            "",
            "s",
            "10",
            "10 s",
            "-1s",
            "1.5s",
            "25h",
            "99999999999999999999s",
        ] {
            assert!(parse_duration(text).is_err(), "{text:?} was accepted");
        }
        assert!(parse_positive_duration("0s").is_err());
    }

    #[test]
    fn milliseconds_keep_three_decimals() {
        assert_eq!(
            rounded_milliseconds(Duration::from_nanos(1_234_567)).to_string(),
            "1.235"
        );
    }
}
