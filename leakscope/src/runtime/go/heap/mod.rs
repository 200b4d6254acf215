//! What a Go program's heap holds.
//!
//! [`buckets`] reads the runtime's own memory profile, where the program keeps one; [`spans`] adds up
//! the heap by size class, always. [`read`] puts both together. Where there is no profile, [`sampler`]
//! estimates what lives by site from samples that the kernel side takes, of small objects in windows that `windows`
//! opens and closes; [`sampled`] makes an account of it.

pub mod areas;
pub mod buckets;
mod counts;
pub mod follow;
pub(super) mod places;
pub mod sampler;
pub mod spans;
mod windows;

use super::error::GoError;
use super::frames::{CodeAddress, Frames};
use super::heap_account::{GoHeap, GoHeapSite, SAMPLED_METHOD, is_since_attach};
use super::program::Program;
use crate::human;
use sampler::{Estimates, Stack};
use spans::Totals;

/// Quantile of the normal distribution for an interval of 95 %.
const QUANTILE: f64 = 1.96;
/// [`GoHeap::method`] where the program keeps no profile.
pub const NO_PROFILE_METHOD: &str = "the program keeps no memory profile: it is known how much the heap \
                                     holds, but not what allocated it";

/// The heap as the runtime itself accounts for it: the profile, where there is one, and the totals by
/// size class. Takes a few milliseconds.
pub fn read(program: &Program, frames: &mut Frames) -> Result<GoHeap, GoError> {
    let profile = match buckets::find(program)? {
        Some(places) => buckets::read(program, places)?,
        None => None,
    };
    let heap = match profile {
        Some(profile) => profile.heap(program, frames),
        None => GoHeap { method: NO_PROFILE_METHOD.to_owned(), ..GoHeap::default() },
    };
    Ok(with_totals(heap, spans::find(program)?.totals(program)?))
}

/// The account of samples that were taken since recording began. `stack` knows the addresses of a sample's
/// stack: that of an instruction, then return addresses.
pub fn sampled(
    program: &Program,
    frames: &mut Frames,
    estimates: &Estimates,
    mut stack: impl FnMut(u32) -> Option<Vec<u64>>,
) -> Result<GoHeap, GoError> {
    let mut heap = GoHeap { method: sampled_method(estimates), ..GoHeap::default() };
    for (place, site) in &estimates.sites {
        let addresses = place.map(|place| with_caller(place, stack(place.number))).unwrap_or_default();
        let addresses: Vec<CodeAddress> =
            addresses.iter().enumerate().map(|(i, pc)| CodeAddress { pc: *pc, exact: i == 0 }).collect();
        heap.sites.push(GoHeapSite {
            live_bytes: site.live_bytes,
            live_objects: site.live_objects,
            alloc_bytes: site.alloc_bytes,
            alloc_objects: site.alloc_objects,
            live_bytes_bounds: Some(site.bounds),
            samples: Some(site.samples),
            frames: buckets::without_runtime(program, frames.stack(program, &addresses)),
        });
    }
    heap.error_bytes = Some(estimates.error_bytes);
    Ok(with_totals(heap, spans::find(program)?.totals(program)?))
}

/// The addresses of a stack. Where the kernel walks it at a function's entry it misses the caller, up to Linux 6.10
/// and where no `push` of the frame pointer stands there.
fn with_caller(place: Stack, addresses: Option<Vec<u64>>) -> Vec<u64> {
    let mut addresses = addresses.unwrap_or_default();
    if place.caller != 0 && !addresses.is_empty() && addresses.get(1) != Some(&place.caller) {
        addresses.insert(1, place.caller);
    }
    addresses
}

fn sampled_method(estimates: &Estimates) -> String {
    let Estimates { batches, windows, seen, collections, odd, one_in, by_first, .. } = estimates;
    let mut text = format!(
        "{SAMPLED_METHOD}: {seen} objects in {windows} windows, {batches} spans, {collections} collections"
    );
    if *by_first > 0.01 {
        text.push_str(&format!(
            "; of {:.0} % of what was allocated only the first object of each span was seen, so its places are not sure",
            (100.0 * by_first).min(100.0)
        ));
    }
    if *odd > 0 {
        text.push_str(&format!("; {odd} spans could not be told apart and are left out"));
    }
    if *one_in > 1 {
        text.push_str(&format!("; an object that is followed stands for up to {one_in}"));
    }
    text
}

/// Whether the program keeps a memory profile of its own.
pub fn is_profiled(program: &Program) -> Result<bool, GoError> {
    match buckets::find(program)? {
        Some(places) => Ok(buckets::rate(program, places)? > 0),
        None => Ok(false),
    }
}

/// Adds the totals, and says how far the sites agree with them.
pub fn with_totals(mut heap: GoHeap, totals: Totals) -> GoHeap {
    if !heap.sites.is_empty() {
        let since_attach = is_since_attach(&heap.method);
        let live = heap.sites.iter().fold(0u64, |sum, site| sum.saturating_add(site.live_bytes));
        heap.agreement = Some(agreement(live, totals.in_use_bytes, heap.error_bytes, since_attach));
    }
    heap.heap_in_use_bytes = totals.in_use_bytes;
    heap.totals_by_class = totals.classes;
    heap
}

/// How far a sum of sites agrees with the bytes in use.
fn agreement(live: u64, in_use: u64, error: Option<u64>, since_attach: bool) -> String {
    let (sites, heap) = (human::bytes(live), human::bytes(in_use));
    let share = 100.0 * live as f64 / in_use.max(1) as f64;
    let expected = (live / 50).max(error.unwrap_or(0));
    let error = error.map(|error| format!(" ± {}", human::bytes(error))).unwrap_or_default();
    let rest = if live <= in_use && since_attach {
        "; the rest is older than leakscope, was allocated since the last collection, or is garbage that was not swept"
    } else if live <= in_use {
        "; the rest was allocated since, or is garbage that was not swept"
    } else if live - in_use <= expected {
        ""
    } else {
        "; what the sites hold more is sampling error, or was freed since"
    };
    format!("the sites hold {sites}{error}, {share:.0} % of the {heap} in use{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_in_words() {
        let text = agreement(900 << 10, 1000 << 10, Some(100 << 10), false);
        assert!(text.starts_with("the sites hold 900.0 KiB ± 100.0 KiB, 90 % of the 1000.0 KiB"), "{text}");
        assert!(agreement(2000, 1000, None, false).contains("200 %"));
        assert!(agreement(1, 0, None, true).contains("in use"));
        assert!(agreement(1, 5, None, true).contains("older than leakscope"));
    }
}
