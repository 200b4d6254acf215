//! A part of the goroutines' stacks.

use super::words::GoroutinesSaid;
use crate::section::focus::Focus;
use crate::section::model::{GoroutineSite, Goroutines};
use crate::section::site::rank;

/// Leaves the asked-for sites; sums are those of what is left.
pub(crate) fn select(all: &mut Goroutines, focus: &Focus) -> GoroutinesSaid {
    let before = all.total;
    all.sites.retain(|site| focus.keeps(&site.stack));
    rank(&mut all.sites);
    let sum = |system: bool| {
        let sites = all.sites.iter().filter(|site| site.system == system);
        sites.map(|site| site.count).fold(0, u64::saturating_add)
    };
    (all.total, all.system) = (sum(false), sum(true));
    let growth = |of: fn(&GoroutineSite) -> Option<i64>| {
        all.sites.iter().filter(|site| !site.system).filter_map(of).fold(0, i64::saturating_add)
    };
    all.growth = all.growth.map(|_| growth(|site| site.growth));
    all.growth_since_first = all.growth_since_first.map(|_| growth(|site| site.growth_since_first));
    GoroutinesSaid::Selected { count: all.total, of: before }
}
