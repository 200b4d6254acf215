//! Which allocator functions there are, where they are in a file, and where a probe goes.
//!
//! [`mod@allocators`] lists the functions as data, and [`table`] finds them by name. [`plan`] finds those
//! that a file defines, leaves out those that only pass the work on, and chooses for each of the others the
//! cheapest safe instruction.
//!
//! C++ operators count only where an allocator implements them: libstdc++'s call `malloc`, and a
//! second probe would double the cost of every `new`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

pub mod allocators;
mod cache_flush;
mod callee;
mod delegate;
pub mod discover;
pub mod image;
pub mod place;
mod returns;
pub mod table;
#[cfg(test)]
mod tests;
pub(crate) mod x86;

use leakscope_common::probe::Effect;

use crate::process::{ElfError, ElfFile};
pub use allocators::Allocator;
pub use discover::{SkipReason, Skipped};
pub use place::{CostClass, Exit, PlaceError, Placement};
pub use table::{AllocatorFunction, Family};

/// A function that gets probes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedProbe {
    /// Its names, the most canonical first; never empty.
    pub names: Vec<&'static str>,
    /// Which allocator it is a part of.
    pub allocator: Allocator,
    /// What it does.
    pub function: AllocatorFunction,
    /// File offset of its first instruction.
    pub offset: u64,
    /// Where the probes go.
    pub placement: Placement,
    /// Functions of one group end in the same instructions ([`Exit::Instructions`]) and must share
    /// one function number and one probe on each. The number is the index of the group's first
    /// function in [`Plan::probes`].
    pub group: usize,
    /// What the user should know: cost, returns that are not seen.
    pub warnings: Vec<String>,
}

impl PlannedProbe {
    /// The most canonical name.
    pub fn name(&self) -> &'static str {
        self.function.name
    }

    /// What it does to the account.
    pub fn effect(&self) -> Effect {
        self.function.effect
    }
}

/// What is to be probed in one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The functions that get probes, by file offset.
    pub probes: Vec<PlannedProbe>,
    /// Those that do not, and why.
    pub skipped: Vec<Skipped>,
    /// The code of all that is seen to allocate or free, there or where it leaves the work to: virtual addresses.
    pub code: Vec<Range<u64>>,
}

/// Finds the allocator functions of a file and chooses their probes. A file without any gives an
/// empty plan.
pub fn plan(elf: &ElfFile) -> Result<Plan, ElfError> {
    elf.parsed()?;
    let mut found = discover::discover(elf);
    let mut plan = Plan { skipped: std::mem::take(&mut found.skipped), ..Plan::default() };
    if found.functions.is_empty() {
        return Ok(plan);
    }
    let image = image::ElfImage::new(elf, delegate::knows);
    let has_allocator = found
        .functions
        .iter()
        .any(|f| f.function.effect == Effect::Allocate && f.function.family != Family::Operator);
    let standard = standard_allocator(&found);
    let usable: BTreeSet<u64> = found.functions.iter().map(|f| f.address).collect();
    let mut passed_on: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for found in &found.functions {
        let skip = |reason| Skipped { names: found.names.clone(), reason };
        if !has_allocator && found.function.family == Family::Operator {
            plan.skipped.push(skip(SkipReason::NoAllocator));
            continue;
        }
        if let Some(delegates) = delegate::delegates(&image, &found.function, found.address) {
            let inner: BTreeSet<u64> = delegates.iter().filter_map(|&(_, address)| address).collect();
            // One that is defined here and was left out (an indirect function) sees nothing.
            if inner.is_subset(&usable) && !reaches(&passed_on, &inner, found.address) {
                passed_on.insert(found.address, inner);
                let names = delegates.into_iter().map(|(name, _)| name).collect();
                plan.skipped.push(skip(SkipReason::Delegates(names)));
                plan.code.push(found.address..found.address.saturating_add(found.size));
                continue;
            }
        }
        match place::place(&image, &found.function, found.address, found.size) {
            Ok(placement) => {
                // The size of some symbols is 0; the probe lies in the function all the same.
                let size = found.size.max(placement.distance.saturating_add(1));
                plan.code.push(found.address..found.address.saturating_add(size));
                plan.probes.push(PlannedProbe {
                    names: found.names.clone(),
                    allocator: own_allocator(&found.names).unwrap_or(standard),
                    function: found.function,
                    offset: found.offset,
                    warnings: warnings(found, &placement),
                    placement,
                    group: 0,
                });
            }
            Err(error) => plan.skipped.push(skip(error.into())),
        }
    }
    group(&mut plan.probes);
    let addresses: Vec<_> = found.functions.iter().map(|f| (f.address, f.offset)).collect();
    cache_flush::mark(elf, &image, &addresses, &mut plan.probes);
    Ok(plan)
}

/// Which allocators the probes of a file belong to.
pub fn allocators(probes: &[PlannedProbe]) -> BTreeSet<Allocator> {
    probes.iter().map(|probe| probe.allocator).collect()
}

/// Whether functions that pass their work on lead from `from` back to `to`.
fn reaches(passed_on: &BTreeMap<u64, BTreeSet<u64>>, from: &BTreeSet<u64>, to: u64) -> bool {
    let mut queue: Vec<u64> = from.iter().copied().collect();
    let mut seen = BTreeSet::new();
    while let Some(address) = queue.pop() {
        if address == to {
            return true;
        }
        if seen.insert(address) {
            queue.extend(passed_on.get(&address).into_iter().flatten());
        }
    }
    false
}

/// The allocator that one of these names gives away.
fn own_allocator(names: &[&'static str]) -> Option<Allocator> {
    names.iter().filter_map(|name| table::lookup(name)).find_map(|function| match function.family {
        Family::Own(allocator) => {
            let others = allocator.row().not_beside;
            let beside = names.iter().any(|name| others.iter().any(|other| name.starts_with(other)));
            (!beside).then_some(allocator)
        }
        Family::C | Family::Operator => None,
    })
}

/// The allocator behind the standard names of a file. What a program brings with it takes the place of its C
/// library's, which may be in the same file.
fn standard_allocator(found: &discover::Discovered) -> Allocator {
    let malloc = found.functions.iter().find(|f| f.names.contains(&"malloc"));
    let names = malloc.map_or(&[][..], |f| &f.names);
    let told = |allocator: &Allocator| {
        found.marked.contains(allocator)
            || allocator.row().malloc_is_also.iter().any(|other| names.contains(other))
    };
    own_allocator(names)
        .or_else(|| Allocator::ALL.iter().rev().copied().find(told))
        .unwrap_or(Allocator::Other)
}

fn warnings(found: &discover::Function, placement: &Placement) -> Vec<String> {
    let name = found.function.name;
    let mut warnings = Vec::new();
    if let CostClass::SingleStep(why) = placement.cost {
        warnings.push(format!("{name}: every call costs up to 17 us, because {why}"));
    }
    if let Exit::Instructions { offsets, complete } = &placement.exit {
        warnings.push(format!(
            "{name}: it may throw, so its {} return instructions are probed, up to 17 us a call",
            offsets.len()
        ));
        if let Err(why) = complete {
            warnings.push(format!("{name}: some of its blocks may not be seen, because {why}"));
        }
    }
    if found.ambiguous {
        warnings.push(format!("{name}: its other names ({}) mean something else", found.names.join(", ")));
    }
    warnings
}

/// Numbers the groups of functions that share a return instruction.
fn group(probes: &mut [PlannedProbe]) {
    let mut first: BTreeMap<u64, usize> = BTreeMap::new();
    for index in 0..probes.len() {
        probes[index].group = index;
        let Exit::Instructions { offsets, .. } = probes[index].placement.exit.clone() else { continue };
        let joined: BTreeSet<usize> =
            offsets.iter().filter_map(|offset| first.get(offset)).map(|&i| probes[i].group).collect();
        let Some(&lowest) = joined.first() else {
            first.extend(offsets.iter().map(|&offset| (offset, index)));
            continue;
        };
        for probe in &mut probes[..index] {
            if joined.contains(&probe.group) {
                probe.group = lowest;
            }
        }
        probes[index].group = lowest;
        for offset in offsets {
            first.entry(offset).or_insert(index);
        }
    }
}
