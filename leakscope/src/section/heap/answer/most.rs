//! Where most of a heap is from: a line, a function of many lines, or nothing notable.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::human::cut;
use crate::runtime::rules;
use crate::section::by::By;
use crate::section::frame::Frame;
use crate::section::group::is_closure;
use crate::section::heap::callers::{Caller, beyond, is_notable};
use crate::section::heap::place::Place;
use crate::section::heap::words::{HeapSaid, Most};
use crate::section::heap::{GO, MALLOC};
use crate::section::label::{LONGEST_NAME, line, name, place};
use crate::section::model::Heap;
use crate::section::site::StackSite as _;
use crate::symbol::{FrameOwner, wrapper_name};

/// Fewest samples that a place in a sentence rests on.
const FEW_SAMPLES: u64 = 2;
/// So much that has come is worth a place, however large the heap is.
const ENOUGH: u64 = 1 << 20;
/// Most callers that a sentence names.
const CALLERS: usize = 3;

/// The place of a source that has most and a frame, the first of equals as in the tables.
fn largest<'a>(heap: &'a Heap, source: &str) -> Option<&'a Place> {
    let known = heap.places.iter().filter(|place| place.source == source && place.stack().shown().is_some());
    known.rev().max_by_key(|place| place.live_bytes)
}

/// Where most of a source, `all`, is from, and the place that stands for it: told of the rows that the tables show.
fn most<'a>(heap: &'a Heap, source: &str, all: u64) -> Option<(Most, &'a Place)> {
    let largest = largest(heap, source)?;
    let bytes = largest.live_bytes;
    if let Some(function) = largest_function(heap, source, bytes, all) {
        return Some(function);
    }
    if is_notable(bytes, all) {
        let place = largest.stack().shown().and_then(place).unwrap_or_else(|| largest.label.clone());
        let alike = |other: &&Place| {
            other.source == source
                && other.rank != largest.rank
                && other.live_bytes.saturating_mul(10) >= bytes.saturating_mul(9)
        };
        let alike = heap.places.iter().filter(alike).count() as u64;
        // Of itself alone it would say nothing.
        let more = |caller: &&Caller| caller.live_bytes / 2 >= bytes;
        let below = heap.callers.first().filter(|_| alike > 0 && heap.sources.len() < 2).filter(more);
        let below = below.map(|caller| (caller.label.clone(), caller.live_bytes));
        return Some((Most::Place { bytes, place, stacks: largest.stacks, alike, below }, largest));
    }
    let places = heap.places.iter().filter(|place| place.source == source && place.live_objects > 0);
    let places = places.count() as u64;
    // Callers are those of all sources together.
    let below = heap
        .callers
        .first()
        .filter(|_| heap.sources.len() < 2)
        .map(|caller| (caller.label.clone(), caller.live_bytes));
    Some((Most::Spread { places, largest_bytes: bytes, below }, largest))
}

/// What tells functions of a source apart: name, source file, module, and the line that it begins at. Inlined functions
/// have no scope in their names, so two of one name can lie in one file.
type Function<'a> = (&'a str, Option<&'a str>, Option<&'a str>, Option<u32>);

fn function(frame: &Frame) -> Option<Function<'_>> {
    let name = frame.function.as_deref()?;
    Some((name, frame.file.as_deref(), frame.module.as_deref(), frame.function_line))
}

fn function_of(place: &Place) -> Option<Function<'_>> {
    place.stack().shown().and_then(function)
}

/// The function that has most, if its lines together have at least a quarter more than the largest place, which has
/// `place_bytes`. The share of one line would read as that of its function.
fn largest_function<'a>(
    heap: &'a Heap,
    source: &str,
    place_bytes: u64,
    all: u64,
) -> Option<(Most, &'a Place)> {
    let mut functions: HashMap<Function<'_>, (u64, Vec<&'a Place>)> = HashMap::new();
    let live = heap.places.iter().filter(|place| place.source == source && place.live_bytes > 0);
    for place in live {
        // What all closures are called tells none of them.
        let Some(function) = function_of(place).filter(|(name, ..)| !is_closure(name)) else { continue };
        let (bytes, lines) = functions.entry(function).or_default();
        *bytes = bytes.saturating_add(place.live_bytes);
        lines.push(place);
    }
    let (_, (bytes, lines)) =
        functions.into_iter().max_by(|a, b| a.1.0.cmp(&b.1.0).then_with(|| b.0.cmp(&a.0)))?;
    let more = bytes.saturating_sub(place_bytes).saturating_mul(4) >= place_bytes;
    if lines.len() < 2 || !more || !is_notable(bytes, all) {
        return None;
    }
    let first = *lines.iter().rev().max_by_key(|place| place.live_bytes)?;
    let frame = first.stack().shown()?;
    let most = Most::Function {
        bytes,
        function: cut(first.function.as_deref()?, LONGEST_NAME),
        lines: lines.len() as u64,
        known: lines.iter().all(|place| place.line.is_some()),
        line: line(frame).unwrap_or_else(|| first.label.clone()),
        line_bytes: first.live_bytes,
    };
    Some((most, first))
}

/// What a sentence tells of a source; nothing where too little of it is known to name a place.
pub(super) fn told(heap: &Heap, source: &str) -> Option<Most> {
    answer(heap, source).map(|(most, _)| most)
}

fn answer<'a>(heap: &'a Heap, source: &str) -> Option<(Most, &'a Place)> {
    let all = heap.sums(source).live_bytes;
    // Of what is no part of the heap worth to be named, or was seen once, no place is an answer.
    let is_answer = source != GO
        || (all >= ENOUGH || is_notable(all, heap.go_in_use_bytes.unwrap_or(0)))
            && largest(heap, GO).is_some_and(|place| place.samples.is_none_or(|n| n >= FEW_SAMPLES));
    if is_answer { most(heap, source, all) } else { None }
}

/// An expression for `--wrapper` that is that function alone; none for names that a shell could take for more.
fn expression(function: &str) -> Option<String> {
    let name = wrapper_name(function);
    let harmless = |c: char| c.is_ascii_alphanumeric() || "_:<>~*&, ()[]".contains(c);
    (name.len() <= LONGEST_NAME && name.chars().all(harmless)).then(|| format!("^{}$", regex::escape(name)))
}

/// Who calls the function that most is charged to, where several do; none where stacks are not whole any more.
pub(crate) fn callers_of_most(heap: &Heap) -> Option<HeapSaid> {
    let live = heap.live_of();
    let source = if live(MALLOC) >= live(GO) { MALLOC } else { GO };
    let place = match answer(heap, source)? {
        (Most::Spread { .. }, _) => return None,
        (_, place) => place,
    };
    let (named, key) = (place.function.clone()?, function_of(place)?);
    // Many stacks share their frames: what one says is found out once.
    let mut frames: HashMap<*const Frame, Option<String>, FixedState> = HashMap::default();
    let caller = |frame: &Frame| {
        let own = rules().owners.owner(&frame.blame_input()) == FrameOwner::User;
        let other = frame.function.as_deref().is_some_and(|name| name != &*named);
        (own && other).then(|| name(&By::Function.of(frame)))
    };
    let mut callers: HashMap<String, (u64, u64)> = HashMap::new();
    let (mut all, mut allocated) = (0u64, 0u64);
    for site in heap.sites.iter().filter(|site| site.source == source) {
        let mut outward = beyond(site).iter();
        if outward.next().and_then(|frame| function(frame)) != Some(key) {
            continue;
        }
        all = all.saturating_add(site.live_bytes);
        allocated = allocated.saturating_add(site.alloc_objects);
        let is_caller =
            |frame: &&Arc<Frame>| frames.entry(Arc::as_ptr(frame)).or_insert_with(|| caller(frame)).is_some();
        let found = outward.find(is_caller).map(Arc::as_ptr);
        let Some(Some(label)) = found.and_then(|frame| frames.get(&frame)) else { continue };
        if !callers.contains_key(label) {
            callers.insert(label.clone(), (0, 0));
        }
        if let Some((bytes, objects)) = callers.get_mut(label) {
            *bytes = bytes.saturating_add(site.live_bytes);
            *objects = objects.saturating_add(site.alloc_objects);
        }
    }
    // It has several, also where one alone keeps what it gets.
    let often = callers.values().filter(|(_, objects)| is_notable(*objects, allocated)).count();
    let mut callers: Vec<(String, u64)> = callers
        .into_iter()
        .map(|(caller, (bytes, _))| (caller, bytes))
        .filter(|(_, bytes)| *bytes > 0)
        .collect();
    callers.sort_by(|a, b| (b.1, &a.0).cmp(&(a.1, &b.0)));
    callers.truncate(CALLERS);
    let several = often > 1 || callers.get(1).is_some_and(|(_, bytes)| is_notable(*bytes, all));
    let wrapper = (source == MALLOC).then(|| expression(&named)).flatten();
    (several && !callers.is_empty()).then(|| HeapSaid::Callers {
        function: named.to_string(),
        callers,
        bytes: all,
        wrapper,
    })
}
