//! What is more than before.

/// New less old, as far as a number goes.
pub(crate) fn growth(old: u64, new: u64) -> i64 {
    let difference = i128::from(new) - i128::from(old);
    i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX })
}

/// The part of a growth that one site has, in words.
pub(crate) fn part(site: i64, all: i64) -> String {
    if site >= all {
        return "all of that or more".to_owned();
    }
    format!("{:.0} % of that", site as f64 * 100.0 / all as f64)
}
