//! What is known of a span class without samples: how many objects it had as recording began, and how many the last
//! collection has left. So many objects at least, and at most, are of sites that were seen since, whatever the samples
//! say, and the estimates are fitted to it.

use super::super::counts::Counts;

/// Times its error that a sum may be too low.
const FAR: f64 = 3.0;

/// Counts of objects by span class.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    before: Option<Counts>,
    left: Option<(u32, Counts)>,
}

/// How many objects of a class are of sites that were seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Range {
    pub(super) low: f64,
    pub(super) high: f64,
}

/// How estimates of a class are fitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fit {
    /// What they are multiplied by.
    pub(super) factor: f64,
    /// Half the width of the interval around their sum.
    pub(super) error: f64,
    /// Whether that is less than the samples alone say.
    is_known: bool,
    /// How many times further off the sum was than its error had said; at least 1.
    worse: f64,
    /// Objects that are there and that no sample tells of.
    pub(super) missing: f64,
}

impl Known {
    pub(super) fn began_with(&mut self, counts: Option<Counts>) {
        self.before = counts;
    }

    pub(super) fn counted(&mut self, generation: u32, counts: Counts) {
        self.left = Some((generation, counts));
    }

    /// Whether the last count is of the collection that led to this generation.
    pub(super) fn is_of(&self, generation: u32) -> bool {
        self.left.as_ref().is_some_and(|(counted, _)| *counted == generation)
    }

    /// What is known of a class after the collection that led to `generation`.
    pub(super) fn range(&self, class: u8, generation: Option<u32>) -> Option<Range> {
        let at = usize::from(class);
        let (counted, left) = self.left.as_ref()?;
        let high = *left.get(at).filter(|_| Some(*counted) == generation)?;
        let before =
            self.before.as_ref().map_or(u64::MAX, |before| before.get(at).copied().unwrap_or(u64::MAX));
        Some(Range { low: high.saturating_sub(before) as f64, high: high as f64 })
    }
}

impl Range {
    /// Fits a sum with half an interval's width of `error`.
    ///
    /// A sum that is too low by far is not that of all sites: what is missing was allocated where nothing was seen.
    pub(super) fn fit(self, sum: f64, error: f64) -> Fit {
        let width = self.high - self.low;
        let fitted = sum.clamp(self.low, self.high);
        let fit = Fit { error: error.min(width), is_known: width < error, ..Fit::none(error) };
        if sum <= 0.0 || fitted > sum + FAR * error {
            return Fit { missing: fitted - sum, ..fit };
        }
        let worse = if error > 0.0 { ((sum - fitted).abs() / error).max(1.0) } else { 1.0 };
        Fit { factor: fitted / sum, worse, ..fit }
    }
}

impl Fit {
    /// Nothing is known.
    pub(super) const fn none(error: f64) -> Self {
        Self { factor: 1.0, error, is_known: false, worse: 1.0, missing: 0.0 }
    }

    /// Half the width of the interval around what a site has after it is fitted: `error` and `rest` are those of the
    /// site and of all others, and `share` is the site's.
    ///
    /// If the sum is known, only the share is uncertain, to which both contribute.
    pub(super) fn error_of(self, share: f64, error: f64, rest: f64) -> f64 {
        let alone = self.factor.max(1.0) * error * self.worse;
        if !self.is_known {
            return alone;
        }
        let of_share = ((1.0 - share) * error).hypot(share * rest) * self.worse;
        (self.factor * of_share).hypot(share * self.error).min(alone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::go::heap::spans::CLASSES;

    fn counts(of: u64) -> Counts {
        [of; CLASSES as usize]
    }

    #[test]
    fn what_was_there_before_may_be_left_or_not() {
        let mut known = Known::default();
        assert_eq!(known.range(5, Some(4)), None);
        known.counted(4, counts(100));
        assert_eq!(known.range(5, Some(4)), Some(Range { low: 0.0, high: 100.0 }));
        known.began_with(Some(counts(30)));
        assert_eq!(known.range(5, Some(4)), Some(Range { low: 70.0, high: 100.0 }));
        assert_eq!(known.range(5, Some(6)), None, "of another collection");
        assert_eq!(known.range(255, Some(4)), None);
    }

    #[test]
    fn a_sum_is_fitted() {
        let range = Range { low: 70.0, high: 100.0 };
        let fit = |sum, error| range.fit(sum, error);
        assert_eq!(fit(80.0, 10.0), Fit::none(10.0));
        let few = fit(50.0, 10.0);
        assert_eq!((few.factor, few.error, few.worse, few.missing), (1.4, 10.0, 2.0, 0.0));
        let many = fit(200.0, 50.0);
        assert_eq!((many.factor, many.error, many.worse, many.missing), (0.5, 30.0, 2.0, 0.0));
    }

    #[test]
    fn what_nothing_was_seen_of_is_nobodys() {
        let range = Range { low: 70.0, high: 100.0 };
        let far = range.fit(10.0, 5.0);
        assert_eq!((far.factor, far.error, far.missing), (1.0, 5.0, 60.0));
        assert_eq!(range.fit(0.0, 0.0).missing, 70.0);
        assert_eq!(range.fit(10.0, f64::INFINITY).factor, 7.0, "nothing is known but that");
    }

    #[test]
    fn a_site_alone_is_as_sure_as_the_sum() {
        let fit = Range { low: 100.0, high: 100.0 }.fit(90.0, 20.0);
        assert_eq!(fit.error_of(1.0, 20.0, 0.0), 0.0);
        let half = fit.error_of(0.5, 15.0, 15.0);
        assert!((10.0..15.0).contains(&half), "{half}");
    }
}
