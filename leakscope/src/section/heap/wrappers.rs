//! Functions that allocate on their callers' behalf, found by what they do.
//!
//! A wrapper such as Redis' `zmalloc` asks the allocator for whatever its caller wants. So one and the same call in
//! it gives blocks of many sizes, and yet each of its callers gets blocks of one size: that of the type which the
//! caller needs room for. The other kinds of functions that many callers allocate through do not look so:
//!
//! - what makes objects of one type (`new_node`) asks for the same size whoever calls it;
//! - what copies strings asks for sizes that differ at each of its callers, too;
//! - what grows a container asks for sizes that differ by powers of two, or differ at each of its callers;
//! - what makes and copies, as a cache that keeps a copy of a value beside an entry of its own, has a call that
//!   always asks for the same size.
//!
//! These are what their stacks are charged to: they say what the memory is for.
//!
//! Calls are told apart by all of the stack that lies below them, so what one function does in two places, or by way
//! of two others, is never mixed. A wrapper of wrappers (`xcalloc`, which calls `xmalloc`) is one path, too: sizes that
//! the outer function's callers choose have passed through all functions below.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use foldhash::fast::FixedState;

use crate::human::cut;
use crate::section::model::{Frame, Site};
use crate::symbol::{BlameInput, Charging, FrameOwner, Owners, wrapper_name};

/// Fewest functions that call a wrapper and get blocks of one size each, and fewest such sizes.
const FEW: usize = 3;
/// Fewest blocks that show that a call always asks for the same size.
const OFTEN: u64 = 3;
/// Of the functions that call a wrapper, one in so many at least gets blocks of one size.
const ONE_IN: usize = 4;
/// Sizes of types are mostly multiples of this, lengths of strings are no more often than others.
const GRAIN: u64 = 4;
/// Most wrappers on one stack that are found at once.
const DEPTH: usize = 3;
/// Most frames beyond the blame frame that are looked at.
const REACH: usize = 24;
/// Most wrappers that a table names, and how long their names are there at most.
const MOST_TOLD: usize = 6;
const LONGEST_TOLD: usize = 60;
/// Most times that stacks are charged further out and looked at again.
const ROUNDS: usize = 6;

/// Charges `sites` to callers of the wrappers among their functions. Returns the names of all that were
/// found, now or before.
pub(super) fn charge_callers(sites: &mut [Site], owners: &Owners, charging: &Charging) -> Vec<String> {
    if !charging.finds() {
        return Vec::new();
    }
    let mut charging = charging.clone();
    for _ in 0..ROUNDS {
        let new = find(sites, owners, &charging);
        if new.is_empty() {
            break;
        }
        charging.learn(new);
        recharge_all(sites, owners, &charging);
    }
    charging.found().iter().cloned().collect()
}

/// What a table says of them.
pub(super) fn told(wrappers: &[String]) -> Option<String> {
    let (shown, more) = wrappers.split_at(wrappers.len().min(MOST_TOLD));
    let mut told: Vec<String> = shown.iter().map(|name| cut(name, LONGEST_TOLD)).collect();
    if !more.is_empty() {
        told.push(format!("{} more", more.len()));
    }
    let last = told.pop()?;
    let all = if told.is_empty() { last } else { format!("{} and {last}", told.join(", ")) };
    Some(format!(
        "Wrappers: blocks that {all} allocated are charged to the callers, which choose their sizes (--no-wrappers)"
    ))
}

/// Charges the sites that are charged to a wrapper to what called that.
pub(crate) fn recharge_all(sites: &mut [Site], owners: &Owners, charging: &Charging) {
    sites.iter_mut().for_each(|site| recharge(site, owners, charging));
}

/// Charges a site that is charged to a wrapper to what called that.
fn recharge(site: &mut Site, owners: &Owners, charging: &Charging) {
    let function = site.stack.blamed().and_then(|frame| frame.function.as_deref());
    let Some(blame) = site.stack.blame.filter(|_| function.is_some_and(|name| charging.is_wrapper(name)))
    else {
        return;
    };
    let inputs: Vec<BlameInput<'_>> = site.stack.frames.iter().map(|frame| frame.blame_input()).collect();
    let blame = usize::try_from(blame).unwrap_or(usize::MAX);
    site.stack.blame = Some(owners.charge_beyond(&inputs, blame, charging) as u64);
}

/// Names of functions that are found to be wrappers and were not known to be.
fn find(sites: &[Site], owners: &Owners, charging: &Charging) -> BTreeSet<String> {
    let mut calls = Calls { owners, charging, known: HashMap::default(), calls: BTreeMap::new() };
    for site in sites.iter().filter(|site| site.source == super::MALLOC && site.alloc_objects > 0) {
        calls.add(site);
    }
    let makers: BTreeSet<&str> = calls
        .calls
        .values()
        .filter(|call| call.makes())
        .filter_map(|call| call.functions.last().copied())
        .collect();
    let through = calls.calls.values().filter(|call| call.passes_on());
    let through = through.filter(|call| !call.functions.iter().any(|function| makers.contains(function)));
    through.flat_map(|call| &call.functions).map(|&name| name.to_owned()).collect()
}

/// The calls in which functions of the program allocate.
struct Calls<'a> {
    owners: &'a Owners,
    charging: &'a Charging,
    /// Whether frames, which many stacks share, are of the user's functions.
    known: HashMap<*const Frame, bool, FixedState>,
    /// By all that lies below.
    calls: BTreeMap<u64, Call<'a>>,
}

/// A call in a function.
struct Call<'a> {
    /// The user's functions that it leads through, innermost first; the last one is the function that it is in.
    functions: Vec<&'a str>,
    /// Who called that function, and what each of the callers' calls got.
    callers: HashMap<Caller<'a>, HashMap<u64, Blocks>>,
}

/// A function, or where it has no name, an address in it.
#[derive(PartialEq, Eq, Hash)]
enum Caller<'a> {
    Named(&'a str),
    At(u64),
}

/// Blocks that were allocated.
#[derive(Clone, Copy)]
struct Blocks {
    objects: u64,
    /// The size of each; none if they differ.
    size: Option<u64>,
}

impl<'a> Calls<'a> {
    fn add(&mut self, site: &'a Site) {
        let frames = &site.stack.frames;
        let Some(mut at) = site.stack.blame.and_then(|blame| usize::try_from(blame).ok()) else { return };
        let end = frames.len().min(at.saturating_add(REACH));
        if at >= end || !self.is_users(&frames[at]) {
            return;
        }
        let mut path = DefaultHasher::new();
        frames.iter().take(at).for_each(|frame| place(frame).hash(&mut path));
        let mut functions = Vec::new();
        for _ in 0..DEPTH {
            let Some(name) = frames[at].function.as_deref().map(wrapper_name) else { return };
            functions.push(name);
            place(&frames[at]).hash(&mut path);
            let caller = (at + 1..end).find(|&i| self.is_users(&frames[i]));
            // What calls itself passes nothing on.
            let Some(caller) =
                caller.filter(|&i| frames[i].function.as_deref().map(wrapper_name) != Some(name))
            else {
                return;
            };
            let call = self.calls.entry(path.finish());
            let call = call.or_insert_with(|| Call { functions: functions.clone(), callers: HashMap::new() });
            call.add(&frames[caller], site);
            at = caller;
        }
    }

    fn is_users(&mut self, frame: &'a Frame) -> bool {
        let (owners, charging) = (self.owners, self.charging);
        *self.known.entry(std::ptr::from_ref(frame)).or_insert_with(|| {
            owners.owner(&frame.blame_input()) == FrameOwner::User
                && !frame.function.as_deref().is_some_and(|function| charging.is_wrapper(function))
        })
    }
}

impl<'a> Call<'a> {
    fn add(&mut self, caller: &'a Frame, site: &Site) {
        let at = place(caller);
        let name = caller.function.as_deref().map_or(Caller::At(at), Caller::Named);
        let objects = site.alloc_objects;
        let size = site.alloc_bytes.is_multiple_of(objects).then_some(site.alloc_bytes / objects);
        let blocks = self.callers.entry(name).or_default().entry(at);
        let blocks = blocks.or_insert(Blocks { objects: 0, size });
        blocks.objects = blocks.objects.saturating_add(objects);
        blocks.size = blocks.size.filter(|_| blocks.size == size);
    }

    /// Whether sizes come from the callers: each of several gets blocks of one size, and these sizes differ.
    fn passes_on(&self) -> bool {
        // One of which any call gets blocks of several sizes may be what a container grows by.
        let fixed = |calls: &&HashMap<u64, Blocks>| calls.values().all(|blocks| blocks.size.is_some());
        let often = |calls: &HashMap<u64, Blocks>| calls.values().all(|blocks| blocks.objects >= OFTEN);
        let fixed: Vec<_> = self.callers.values().filter(fixed).filter(|calls| often(calls)).collect();
        let callers = fixed.len();
        let sizes: BTreeSet<u64> =
            fixed.iter().flat_map(|calls| calls.values()).filter_map(|blocks| blocks.size).collect();
        let of_types = sizes.iter().filter(|size| size.is_multiple_of(GRAIN)).count();
        // Containers double: then sizes differ by powers of two alone.
        let doubled =
            sizes.iter().map(|&size| size >> size.trailing_zeros().min(63)).collect::<BTreeSet<_>>();
        callers >= FEW
            && callers * ONE_IN >= self.callers.len()
            && sizes.len() >= FEW
            && doubled.len() > 1
            && more_than_chance(of_types as u64, sizes.len() as u64)
    }

    /// Whether it asks for the same size whoever called.
    fn makes(&self) -> bool {
        let mut sizes = self.callers.values().flat_map(HashMap::values).map(|blocks| blocks.size);
        let first = sizes.next().flatten();
        self.callers.len() >= FEW && first.is_some() && sizes.all(|size| size == first)
    }
}

/// Whether `multiples` of `all` lengths would be multiples of [`GRAIN`] in one of a hundred cases at most, if it took
/// each length alike: they are 2.3 standard deviations above the mean of the binomial distribution.
fn more_than_chance(multiples: u64, all: u64) -> bool {
    let above = (multiples * GRAIN).saturating_sub(all);
    above.saturating_mul(above) >= GRAIN * GRAIN * all
}

/// What tells calls apart. Functions that are inlined lie at their callers' addresses.
fn place(frame: &Frame) -> u64 {
    if !frame.inlined {
        return frame.address.map_or(0, |address| address.0);
    }
    let mut hasher = DefaultHasher::new();
    (&frame.function, &frame.file, frame.line).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
