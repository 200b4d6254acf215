//! Durations and sizes as users write them.

use std::time::Duration;

/// Parses `10`, `10s`, `500ms`, `5m`, `2h`, `1d`, `1.5s`; a bare number is seconds. Less than a millisecond is refused.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let factor = match unit {
        "" | "s" => 1.0,
        "ms" => 1e-3,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return Err(format!("unknown unit `{unit}`; write 10, 10s, 500ms, 5m, 2h or 1d")),
    };
    let value: f64 =
        number.parse().map_err(|_| "not a duration; write 10, 10s, 500ms, 5m, 2h or 1d".to_owned())?;
    let seconds = value * factor;
    if seconds < 1e-3 {
        return Err("must be 1ms or longer".to_owned());
    }
    // tokio's timers refuse more than decades; a century is "for ever".
    Duration::try_from_secs_f64(seconds.min(3e9)).map_err(|e| e.to_string())
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
