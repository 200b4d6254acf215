//! What a figure was in the last minutes, and how it grows.

use std::collections::VecDeque;

/// Samples that are kept.
const KEPT: usize = 64;
/// Growth rests on the samples of the last quarter of a minute…
const GROWTH_NS: u64 = 15_000_000_000;
/// …and the steady slope on those of the last half minute…
const STEADY_NS: u64 = 30_000_000_000;
/// …but on at least so many, where refreshes are rare.
const FEWEST: usize = 6;
/// Most samples that the median of slopes is taken of: it looks at each pair.
const MOST_PAIRED: usize = 32;

/// Samples, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    samples: VecDeque<(u64, u64)>,
}

impl History {
    /// Adds what the figure is at `at_ns`.
    pub fn push(&mut self, at_ns: u64, value: u64) {
        if self.samples.len() == KEPT {
            self.samples.pop_front();
        }
        self.samples.push_back((at_ns, value));
    }

    /// The latest value.
    pub fn last(&self) -> Option<u64> {
        self.samples.back().map(|s| s.1)
    }

    /// The latest samples.
    fn window(&self, ns: u64) -> impl ExactSizeIterator<Item = (f64, f64)> + Clone {
        let from = self.samples.back().map_or(0, |last| last.0.saturating_sub(ns));
        let first = self.samples.partition_point(|s| s.0 < from);
        let first = first.min(self.samples.len().saturating_sub(FEWEST));
        let origin = self.samples.get(first).map_or(0, |s| s.0);
        self.samples.range(first..).map(move |s| ((s.0 - origin) as f64 / 1e9, s.1 as f64))
    }

    /// Growth a second by least squares; `None` for fewer than two samples.
    pub fn slope(&self) -> Option<f64> {
        let window = self.window(GROWTH_NS);
        if window.len() < 2 {
            return None;
        }
        let n = window.len() as f64;
        let (time, value) = window.clone().fold((0.0, 0.0), |(t, v), s| (t + s.0, v + s.1));
        let (time, value) = (time / n, value / n);
        let (over, under) = window.fold((0.0, 0.0), |(over, under), (t, v)| {
            (over + (t - time) * (v - value), under + (t - time) * (t - time))
        });
        (under > 0.0).then(|| over / under)
    }

    /// Growth a second as the median of the slopes between each two samples: up to 29 % of the samples may
    /// lie anywhere. `None` for fewer than four samples.
    pub fn steady_slope(&self) -> Option<f64> {
        let window: Vec<(f64, f64)> = self.window(STEADY_NS).collect();
        if window.len() < 4 {
            return None;
        }
        let step = window.len().div_ceil(MOST_PAIRED);
        let chosen: Vec<(f64, f64)> = window.iter().rev().step_by(step).copied().collect();
        let mut slopes: Vec<f64> = Vec::with_capacity(chosen.len() * chosen.len() / 2);
        for (i, late) in chosen.iter().enumerate() {
            let earlier = chosen[i + 1..].iter().filter(|early| late.0 > early.0);
            slopes.extend(earlier.map(|early| (late.1 - early.1) / (late.0 - early.0)));
        }
        if slopes.is_empty() {
            return None;
        }
        let middle = slopes.len() / 2;
        Some(*slopes.select_nth_unstable_by(middle, f64::total_cmp).1)
    }

    /// The last `width` figures as heights from 0 to 7, oldest first; fewer if there are fewer. The scale goes
    /// from the least to the most, but over at least a tenth of the most: what hardly moves is flat.
    pub fn heights(&self, width: usize) -> Vec<u8> {
        let shown = self.samples.range(self.samples.len().saturating_sub(width)..).map(|s| s.1);
        heights(shown)
    }

    /// The values that [`heights`](Self::heights) would draw.
    pub fn values(&self) -> Vec<u64> {
        self.samples.iter().map(|s| s.1).collect()
    }
}

/// Values as heights from 0 to 7.
pub fn heights(values: impl Iterator<Item = u64> + Clone) -> Vec<u8> {
    let most = values.clone().max().unwrap_or(0);
    let least = values.clone().min().unwrap_or(0).min(most - most / 10);
    let range = (most - least).max(1);
    values.map(|v| ((v - least).saturating_mul(7) as f64 / range as f64).round().min(7.0) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn history(values: impl IntoIterator<Item = u64>) -> History {
        let mut history = History::default();
        for (i, value) in values.into_iter().enumerate() {
            history.push(7 * SECOND + i as u64 * SECOND, value);
        }
        history
    }

    #[test]
    fn steady_growth_is_what_it_is() {
        let history = history((0..40).map(|i| 1000 + i * 50));
        assert!((history.slope().expect("a slope") - 50.0).abs() < 1e-6);
        assert!((history.steady_slope().expect("a slope") - 50.0).abs() < 1e-6);
    }

    #[test]
    fn what_begins_to_grow_is_seen_at_once() {
        let history = history((0..60).map(|i: u64| 1000 + i.saturating_sub(57) * 50_000_000));
        assert!(history.slope().expect("a slope") > 1_000_000.0);
    }

    #[test]
    fn one_jump_is_no_trend() {
        let history = history((0..30).map(|i| if i < 22 { 1000 } else { 900_000 }));
        assert!(history.slope().expect("a slope") > 10_000.0);
        assert_eq!(history.steady_slope(), Some(0.0));
    }

    #[test]
    fn too_little_is_known() {
        assert_eq!(history([]).slope(), None);
        assert_eq!(history([5]).slope(), None);
        assert_eq!(history([5, 6]).slope(), Some(1.0));
        assert_eq!(history([5, 6, 7]).steady_slope(), None);
        let mut still = History::default();
        (0..9).for_each(|i| still.push(SECOND, i));
        assert_eq!((still.slope(), still.steady_slope()), (None, None));
    }

    #[test]
    fn rare_refreshes_still_have_a_slope() {
        let mut history = History::default();
        (0..9).for_each(|i| history.push(i * 60 * SECOND, i * 600));
        assert!((history.slope().expect("a slope") - 10.0).abs() < 1e-9);
        assert_eq!(history.steady_slope(), Some(10.0));
    }

    #[test]
    fn heights_show_what_moves() {
        assert_eq!(history([100, 100, 100]).heights(8), [7, 7, 7]);
        assert_eq!(history([1000, 1001, 1000]).heights(8), [7, 7, 7]);
        assert_eq!(history([0, 50, 100]).heights(8), [0, 4, 7]);
        assert_eq!(history([0, 0, 0]).heights(2), [0, 0]);
        assert_eq!(history(0..100).heights(8).len(), 8);
        assert!(history([]).heights(8).is_empty());
    }
}
