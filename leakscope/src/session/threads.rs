//! The census, with what the session keeps of it.

use leakscope_common::counter::{COUNTERS, Tally};

use crate::bpf::BpfError;
use crate::bpf::object::Object;
use crate::census::{self, Taken, View};
use crate::report::names::Names;
use crate::stack::Stacks;

/// A census and its share of the counters.
pub(super) struct Seen {
    pub(super) taken: Taken,
    /// Stacks by their end, numbered as the kernel side's.
    pub(super) counters: Vec<u64>,
}

/// Takes a census; opens the debug files of what it finds.
pub(super) fn census(
    object: &mut Object,
    view: View<'_>,
    stacks: &mut Stacks,
    names: &mut Names,
) -> Result<Seen, BpfError> {
    let taken = census::take(object, view, stacks)?;
    for id in &taken.new_stacks {
        if let Some(stack) = stacks.get(*id) {
            names.prepare(view.space, stack);
        }
    }
    let mut counters = vec![0; COUNTERS as usize];
    for end in taken.census.threads.iter().filter_map(|t| Some(stacks.get(t.stack?)?.end)) {
        counters[Tally::StackEnd0 as usize + end as usize] += 1;
    }
    Ok(Seen { taken, counters })
}
