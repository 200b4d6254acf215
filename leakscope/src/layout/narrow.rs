//! Numbers in few columns.

/// Bytes in at most five columns: `912B`, `84.2M`, `1.50G`.
pub(crate) fn size(n: u64) -> String {
    const UNITS: [&str; 6] = ["K", "M", "G", "T", "P", "E"];
    if n < 1000 {
        return format!("{n}B");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = match value {
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$}{}", UNITS[unit])
}

/// Signed bytes in at most six columns; nothing is `0`.
pub(crate) fn growth(n: i64) -> String {
    match n {
        0 => "0".to_owned(),
        _ => format!("{}{}", if n < 0 { '-' } else { '+' }, size(n.unsigned_abs())),
    }
}

/// A time span in at most six columns: `45s`, `3m20s`, `2h05m`, `4d01h`.
pub(crate) fn span(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    match seconds {
        0 if ns < 1_000_000 => format!("{}us", ns / 1000),
        0 => format!("{}ms", ns / 1_000_000),
        1..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        86400..8_640_000 => format!("{}d{:02}h", seconds / 86400, seconds % 86400 / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_in_their_columns() {
        assert_eq!(
            [0, 999, 1000, 1 << 20, 84_200_000, 1_048_575_999, 1 << 30].map(size),
            ["0B", "999B", "0.98K", "1.00M", "80.3M", "0.98G", "1.00G"]
        );
        for shift in 0..64 {
            for near in [0, 1] {
                assert!(size((1u64 << shift) - near).len() <= 5);
            }
        }
        assert_eq!([growth(0), growth(-2048), growth(5 << 20)], ["0", "-2.00K", "+5.00M"]);
        const S: u64 = 1_000_000_000;
        let times = [5_000, 850_000_000, 45 * S, 200 * S, 7500 * S, 349_200 * S, 9_000_000 * S].map(span);
        assert_eq!(times, ["5us", "850ms", "45s", "3m20s", "2h05m", "4d01h", "104d"]);
    }
}
