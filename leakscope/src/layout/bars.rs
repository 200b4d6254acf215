//! Histograms as a line of bars.

use leakscope_common::wait::{WAIT_BUCKETS, bucket_bound_ns};

use crate::human::{columns, duration};

/// The most bars of a histogram.
const MOST_BARS: usize = 40;

/// Where the last class would end if it had an end: its bound is the longest wait in it.
const LAST: u64 = bucket_bound_ns(WAIT_BUCKETS as u32 - 1);

/// Waits by their length as bars, one for each doubling, with the range they cover.
pub(crate) fn line(histogram: &[(u64, u64)]) -> Option<String> {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let (&(first, _), &(last, _)) = (histogram.first()?, histogram.last()?);
    let most = histogram.iter().map(|(_, n)| *n).max().filter(|n| *n > 0)?;
    let mut text = String::new();
    let mut before = None;
    for &(upper, n) in histogram {
        let upper = upper.min(LAST);
        // Empty steps are not in the list.
        let mut next = before.map_or(upper, |b: u64| b.saturating_mul(2));
        while next < upper - upper / 4 && columns(&text) < MOST_BARS {
            text.push('·');
            next = next.saturating_mul(2).max(1);
        }
        let height = (n as f64 * 8.0 / most as f64).ceil() as usize;
        text.push(if n == 0 { '·' } else { BARS[height.clamp(1, 8) - 1] });
        before = Some(upper);
    }
    let first = first.min(LAST) / 2;
    let from = if first < 1000 { "under 1 us".to_owned() } else { duration(first) };
    Some(format!("their lengths, {from} to {}: {text}", duration(last)))
}

#[cfg(test)]
mod tests {
    use super::{LAST, columns, line};

    #[test]
    fn a_bar_for_each_doubling() {
        assert_eq!(line(&[]), None);
        assert_eq!(line(&[(1024, 3)]).as_deref(), Some("their lengths, under 1 us to 1 us: █"));
        let ms = 1 << 20;
        let text = line(&[(ms, 1), (2 * ms, 4), (4 * ms, 8), (32 * ms, 1)]).expect("bars");
        assert_eq!(text, "their lengths, 524 us to 33 ms: ▁▄█··▁");
        let days = 6 * 86_400_000_000_000;
        let text = line(&[(LAST / 2, 1), (days, 2)]).expect("bars");
        assert_eq!(text, "their lengths, 9 h 46 m to 6 d 0 h: ▄█");
        // Whatever the bounds are, it ends.
        for odd in [&[(0, 1), (u64::MAX, 1)][..], &[(5, 0)], &[(9, 1), (3, u64::MAX)], &[(1, 1), (1, 1)]] {
            assert!(line(odd).is_none_or(|text| columns(&text) < 100), "{odd:?}");
        }
    }
}
