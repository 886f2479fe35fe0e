//! Durations on the command line: `30s`, `15m`, `12h`, `90d` (R1's spelling).

/// Longest duration accepted, in seconds: ten years, so that a sum with a date can not overflow.
const MAX_SECS: u64 = 10 * 365 * 86_400;

/// Reads a duration; the result is in seconds, 1 to ten years.
pub(crate) fn parse_secs(text: &str) -> Result<u64, String> {
    let explain =
        || format!("'{text}' is not a duration: write a number and s, m, h or d, such as 90d");
    let unit = text.chars().last().ok_or_else(explain)?;
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(explain()),
    };
    let digits = &text[..text.len() - unit.len_utf8()];
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(explain());
    }
    let seconds = digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor));
    match seconds {
        Some(seconds @ 1..=MAX_SECS) => Ok(seconds),
        _ => Err(format!("'{text}' is out of range: from 1s to 3650d")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r1_the_four_units_are_read_and_everything_else_is_refused() {
        assert_eq!(parse_secs("2s"), Ok(2));
        assert_eq!(parse_secs("15m"), Ok(900));
        assert_eq!(parse_secs("12h"), Ok(43_200));
        assert_eq!(parse_secs("90d"), Ok(7_776_000));
        for bad in [
            "",
            "d",
            "90",
            "0s",
            "-1d",
            "+1d",
            "1w",
            "3651d",
            "99999999999999999999d",
            "1é",
        ] {
            assert!(parse_secs(bad).is_err(), "{bad}");
        }
    }
}
