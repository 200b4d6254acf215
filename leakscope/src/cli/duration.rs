//! Durations and sizes as users write them.
//!
//! Durations are read by `humantime`, besides what it would read otherwise than people mean it here. Sizes are read by
//! ourselves: `parse-size` and `bytesize` make 0 of `0.0001k` and ten million of `10m`, where somebody who has mistaken
//! the option should be told.

use std::time::Duration;

use humantime::DurationError;

/// tokio's timers refuse more than decades; a century is "for ever".
const LONGEST: Duration = Duration::from_secs(3_000_000_000);
const SHORTEST: Duration = Duration::from_millis(1);

/// Parses `10`, `10s`, `500ms`, `5m`, `2h`, `1d`, `1.5s`, `1h30m`; a bare number is seconds. Less than a millisecond is
/// refused.
pub fn duration(text: &str) -> Result<Duration, String> {
    const HINT: &str = "write 10, 10s, 500ms, 5m, 2h or 1d";
    let zero = if text.starts_with('.') { "0" } else { "" };
    let seconds = if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') { "s" } else { "" };
    let unknown = |unit: &str| format!("unknown unit `{unit}`; {HINT}");
    if text.contains('M') {
        // A month, while who writes it means minutes.
        return Err(unknown("M"));
    }
    let span = match humantime::parse_duration(&format!("{zero}{text}{seconds}")) {
        Ok(span) => span.min(LONGEST),
        // Of a fraction it means too many digits.
        Err(DurationError::NumberOverflow) if !text.contains('.') => LONGEST,
        Err(DurationError::UnknownUnit { unit, .. }) => return Err(unknown(&unit)),
        Err(_) => return Err(format!("not a duration; {HINT}")),
    };
    if span < SHORTEST { Err("must be 1ms or longer".to_owned()) } else { Ok(span) }
}

/// Parses a count: `1000`, `10k`, `2M`, `1G` (powers of 1000) or `64KiB`, `64MiB` (of 1024).
pub fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let factor: u64 = match unit {
        "" | "B" => 1,
        "k" | "K" | "kB" => 1000,
        "M" | "MB" => 1_000_000,
        "G" | "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(format!("unknown unit `{unit}`; write 1000, 10k, 2M or 64MiB")),
    };
    let value: u64 =
        number.parse().map_err(|_| "not a whole number; write 1000, 10k, 2M or 64MiB".to_owned())?;
    value.checked_mul(factor).ok_or_else(|| "too large".to_owned())
}

fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let ms = |t| duration(t).map(|d| d.as_millis());
        assert_eq!(
            [ms("10"), ms("500ms"), ms("5m"), ms("1.5s"), ms("2h"), ms("1d")],
            [Ok(10_000), Ok(500), Ok(300_000), Ok(1500), Ok(7_200_000), Ok(86_400_000)]
        );
        assert_eq!(
            [ms(".25"), ms("10min"), ms("1h30m"), ms("1.5h")],
            [Ok(250), Ok(600_000), Ok(5_400_000), Ok(5_400_000)]
        );
        let told = |t| duration(t).expect_err("refused");
        assert_eq!(
            [told("5x"), told("5M"), told("ten"), told("0.5ms")],
            [
                "unknown unit `x`; write 10, 10s, 500ms, 5m, 2h or 1d",
                "unknown unit `M`; write 10, 10s, 500ms, 5m, 2h or 1d",
                "not a duration; write 10, 10s, 500ms, 5m, 2h or 1d",
                "must be 1ms or longer",
            ]
        );
        for bad in ["", "0", "0s", "0.0000000001", "0.5ms", "-1", "5x", "ten", "1e5", ".", "1..2"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert!(duration("99999999999999999999d").is_ok());
    }

    #[test]
    fn sizes() {
        assert_eq!(
            [size("7"), size("10k"), size("2M"), size("64MiB")],
            [Ok(7), Ok(10_000), Ok(2_000_000), Ok(64 << 20)]
        );
        for bad in ["", "1.5M", "-1", "5x", "99999999999999999999", "99999999999G"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
