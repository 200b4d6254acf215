//! The census, with what the session keeps of it.

use std::collections::HashMap;

use leakscope_common::counter::{COUNTERS, Tally};

use crate::bpf::BpfError;
use crate::bpf::object::Object;
use crate::collect::snapshot::{self, Taken, View};
use crate::stack::Stacks;
use crate::symbol::Names;

/// A census and its share of the counters.
pub(super) struct Seen {
    pub(super) taken: Taken,
    /// Stacks by their end, numbered as the kernel side's.
    pub(super) counters: Vec<u64>,
}

/// Context switches of the threads at one moment (CLOCK_MONOTONIC, ns).
#[derive(Default)]
pub(super) struct FirstLook {
    at_ns: u64,
    switches: HashMap<u32, u64>,
}

impl Seen {
    /// What a later census needs to know of this one.
    pub(super) fn look(&self) -> FirstLook {
        FirstLook { at_ns: self.taken.census.at_ns, switches: self.taken.switches.clone() }
    }

    /// Where the kernel does not tell how long a thread has been blocked: at least since an earlier look,
    /// if it has not run since.
    pub(super) fn bound_by(&mut self, earlier: &FirstLook) {
        let census = &mut self.taken.census;
        for thread in census.threads.iter_mut().filter(|t| t.blocked_at_least) {
            let now = self.taken.switches.get(&thread.tid);
            if now.is_some() && now == earlier.switches.get(&thread.tid) {
                thread.blocked_ns = Some(census.at_ns.saturating_sub(earlier.at_ns));
            }
        }
    }
}

/// Takes a census; opens the debug files of what it finds.
pub(super) fn census(
    object: &mut Object,
    view: View<'_>,
    stacks: &mut Stacks,
    names: &mut Names,
) -> Result<Seen, BpfError> {
    let taken = snapshot::take(object, view, stacks)?;
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
