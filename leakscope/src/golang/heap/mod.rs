//! What a Go program's heap holds.
//!
//! [`buckets`] reads the runtime's own memory profile, where the program keeps one; [`spans`] adds up
//! the heap by size class, always. [`read`] puts both together.

pub mod buckets;
pub mod spans;

use super::error::GoError;
use super::frames::Frames;
use super::heap_account::GoHeap;
use super::program::Program;
use crate::human;
use spans::Totals;

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

/// Whether the program keeps a memory profile of its own.
pub fn is_profiled(program: &Program) -> Result<bool, GoError> {
    match buckets::find(program)? {
        Some(places) => Ok(buckets::read(program, places)?.is_some()),
        None => Ok(false),
    }
}

/// Adds the totals, and says how far the sites agree with them.
pub fn with_totals(mut heap: GoHeap, totals: Totals) -> GoHeap {
    if !heap.sites.is_empty() {
        let live = heap.sites.iter().fold(0u64, |sum, site| sum.saturating_add(site.live_bytes));
        heap.agreement = Some(agreement(live, totals.in_use_bytes, heap.error_bytes));
    }
    heap.heap_in_use_bytes = totals.in_use_bytes;
    heap.totals_by_class = totals.classes;
    heap
}

/// How far a sum of sites agrees with the bytes in use.
fn agreement(live: u64, in_use: u64, error: Option<u64>) -> String {
    let (sites, heap) = (human::bytes(live), human::bytes(in_use));
    let share = 100.0 * live as f64 / in_use.max(1) as f64;
    let error = error.map(|error| format!(" ± {}", human::bytes(error))).unwrap_or_default();
    let rest = if live <= in_use {
        "; the rest was allocated since, or is garbage that was not swept"
    } else if live - in_use <= live / 50 {
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
        let text = agreement(900 << 10, 1000 << 10, Some(100 << 10));
        assert!(text.starts_with("the sites hold 900.0 KiB ± 100.0 KiB, 90 % of the 1000.0 KiB"), "{text}");
        assert!(agreement(2000, 1000, None).contains("200 %"));
        assert!(agreement(1, 0, None).contains("in use"));
    }
}
