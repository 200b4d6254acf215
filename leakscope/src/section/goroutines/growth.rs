//! How much goroutines of a place have grown, and whether that is more than chance.

use std::collections::HashMap;

use crate::section::growth::growth;
use crate::section::model::{GoroutineSite, Goroutines};

/// Fewer new goroutines than this are no pile.
const PILE: i64 = 10;

/// Change of a site's number that all else that is known agrees with; `None` where there is none. Goroutines that go
/// from one place, state or set of labels to another are no growth: a place has grown by no more than all
/// that its creator made, and by no more than all together.
pub(super) fn of(site: &GoroutineSite, total: Option<i64>) -> Option<i64> {
    let known =
        [site.place_growth_since_first, site.spot_growth_since_first, site.creator_growth_since_first, total];
    let own = site.growth_since_first.filter(|growth| *growth != 0)?;
    let known = known.into_iter().flatten();
    let agreed = if own > 0 { known.fold(own, i64::min) } else { known.fold(own, i64::max) };
    (agreed.signum() == own.signum()).then_some(agreed)
}

/// The same of all goroutines in the function to blame that have this creator.
pub(super) fn of_spot(site: &GoroutineSite, total: Option<i64>) -> Option<i64> {
    let known = [site.creator_growth_since_first, total].into_iter().flatten();
    let own = site.spot_growth_since_first?;
    let agreed = if own > 0 { known.fold(own, i64::min) } else { known.fold(own, i64::max) };
    Some(if agreed.signum() == own.signum() { agreed } else { 0 })
}

/// Growth of all sites that have grown.
pub(super) fn total(all: &Goroutines) -> i64 {
    let grown = |site: &GoroutineSite| of(site, all.growth_since_first).unwrap_or(0).max(0);
    all.sites.iter().filter(|site| !site.system).map(grown).fold(0, i64::saturating_add)
}

/// Whether so many more in a site are no chance: notable, at least a hundredth of what is there and a tenth of all
/// growth, and more than numbers that come and go by chance differ.
pub(super) fn is_pile(grown: i64, count: u64, all_growth: i64) -> bool {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    is_notable(grown, count) && grown >= count / 100 && grown >= all_growth / 10
}

/// Whether so many more are no few, and no chance.
pub(super) fn is_notable(grown: i64, now: i64) -> bool {
    grown >= PILE && exceeds_chance(grown, now)
}

/// Whether a number that is `now` and was less by `grown` has changed by more than two standard deviations of
/// the difference of two counts with this mean (Poisson's).
pub(super) fn exceeds_chance(grown: i64, now: i64) -> bool {
    let both = i128::from(now) + i128::from(now.saturating_sub(grown).max(0));
    i128::from(grown) * i128::from(grown) >= 4 * both
}

/// A creator: the function of the `go` statement, and the one that it started. Lines change with the program.
type Creator<'a> = (Option<&'a str>, Option<&'a str>);

fn creator(site: &GoroutineSite) -> Creator<'_> {
    (site.created_by.as_ref().and_then(|frame| frame.function.as_deref()), site.start_function.as_deref())
}

fn spot(site: &GoroutineSite) -> (Creator<'_>, Option<&str>) {
    (creator(site), site.stack.blamed().and_then(|frame| frame.function.as_deref()))
}

fn counts<'a, K: Eq + std::hash::Hash>(
    all: &'a Goroutines,
    key: impl Fn(&'a GoroutineSite) -> K,
) -> HashMap<K, u64> {
    let mut counts: HashMap<K, u64> = HashMap::new();
    for site in &all.sites {
        let sum = counts.entry(key(site)).or_default();
        *sum = sum.saturating_add(site.count);
    }
    counts
}

/// Notes by how much spots and creators have grown from an earlier report on.
pub(super) fn between(first: &Goroutines, last: &mut Goroutines) {
    let (old_spots, old_creators) = (counts(first, spot), counts(first, creator));
    let (spots, creators) = (counts(last, spot), counts(last, creator));
    let at = |n: Option<&u64>| n.copied().unwrap_or(0);
    let grown = |site: &GoroutineSite| {
        let (spot, creator) = (spot(site), creator(site));
        (
            growth(at(old_spots.get(&spot)), at(spots.get(&spot))),
            growth(at(old_creators.get(&creator)), at(creators.get(&creator))),
        )
    };
    let grown: Vec<(i64, i64)> = last.sites.iter().map(grown).collect();
    for (site, (spot, creator)) in last.sites.iter_mut().zip(grown) {
        site.spot_growth_since_first = Some(spot);
        site.creator_growth_since_first = Some(creator);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_no_growth() {
        assert!(!is_pile(9, 9, 9), "too few");
        assert!(is_pile(20, 25, 20) && is_pile(940, 11_274, 940));
        assert!(!is_pile(20, 160, 20), "as many come and go by chance");
        assert!(!is_pile(60, 9_000, 60) && !is_pile(50, 60, 900));
        assert!(is_pile(i64::MAX, u64::MAX, i64::MAX));
    }
}
