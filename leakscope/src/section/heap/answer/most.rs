//! Where most of a heap is from: a line, a function of many lines, or nothing notable.

use std::collections::HashMap;
use std::sync::Arc;

use crate::human::cut;
use crate::runtime::rules;
use crate::section::by::By;
use crate::section::frame::Frame;
use crate::section::heap::callers::{beyond, is_notable};
use crate::section::heap::place::Place;
use crate::section::heap::words::{HeapSaid, Most};
use crate::section::heap::{GO, MALLOC};
use crate::section::label::{LONGEST_NAME, line, name, place};
use crate::section::model::Heap;
use crate::section::site::StackSite as _;
use crate::symbol::FrameOwner;

/// Most callers that a sentence names.
const CALLERS: usize = 3;

/// The place of a source that has most and a frame, the first of equals as in the tables.
pub(super) fn largest<'a>(heap: &'a Heap, source: &str) -> Option<&'a Place> {
    let known = heap.places.iter().filter(|place| place.source == source && place.stack().shown().is_some());
    known.rev().max_by_key(|place| place.live_bytes)
}

/// Where most of a source, `all`, is from: told of the rows that the tables show.
pub(super) fn most(heap: &Heap, source: &str, all: u64) -> Option<Most> {
    let largest = largest(heap, source)?;
    let bytes = largest.live_bytes;
    if let Some(function) = largest_function(heap, source, bytes, all) {
        return Some(function);
    }
    if is_notable(bytes, all) {
        let place = largest.stack().shown().and_then(place).unwrap_or_else(|| largest.label.clone());
        return Some(Most::Place { bytes, place, stacks: largest.stacks });
    }
    let places = heap.places.iter().filter(|place| place.source == source && place.live_objects > 0);
    let places = places.count() as u64;
    // Callers are those of all sources together.
    let below = heap
        .callers
        .first()
        .filter(|_| heap.sources.len() < 2)
        .map(|caller| (caller.label.clone(), caller.live_bytes));
    Some(Most::Spread { places, largest_bytes: bytes, below })
}

/// What tells functions of a source apart: name, source file and module.
type Function<'a> = (&'a str, Option<&'a str>, Option<&'a str>);

fn function(place: &Place) -> Option<Function<'_>> {
    Some((place.function.as_deref()?, place.file.as_deref(), place.module.as_deref()))
}

/// The function that has most, if its lines together have at least a quarter more than the largest place, which has
/// `place_bytes`. The share of one line would read as that of its function.
fn largest_function(heap: &Heap, source: &str, place_bytes: u64, all: u64) -> Option<Most> {
    let mut functions: HashMap<Function<'_>, (u64, Vec<&Place>)> = HashMap::new();
    let live = heap.places.iter().filter(|place| place.source == source && place.live_bytes > 0);
    for place in live.filter(|place| place.line.is_some()) {
        let Some(function) = function(place) else { continue };
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
    let first = lines.iter().rev().max_by_key(|place| place.live_bytes)?;
    let frame = first.stack().shown()?;
    Some(Most::Function {
        bytes,
        function: cut(first.function.as_deref()?, LONGEST_NAME),
        lines: lines.len() as u64,
        line: line(frame)?,
        line_bytes: first.live_bytes,
    })
}

/// Who calls the function that most is charged to, where several do; none where stacks are not whole any more.
pub(crate) fn callers_of_most(heap: &Heap) -> Option<HeapSaid> {
    let live = heap.live_of();
    let source = if live(MALLOC) >= live(GO) { MALLOC } else { GO };
    let place = match most(heap, source, live(source))? {
        Most::Place { .. } => largest(heap, source)?,
        Most::Function { function: named, .. } => {
            let is_it = |function: &str| cut(function, LONGEST_NAME) == named;
            let mut places = heap.places.iter().filter(|place| place.source == source);
            places.find(|place| place.function.as_deref().is_some_and(is_it))?
        }
        Most::Spread { .. } => return None,
    };
    let function = place.function.clone()?;
    let owners = &rules().owners;
    let mut callers: HashMap<String, u64> = HashMap::new();
    let mut all = 0u64;
    for site in heap.sites.iter().filter(|site| site.source == source && site.live_bytes > 0) {
        let mut outward = beyond(site).iter();
        if outward.next()?.function.as_deref() != Some(&function) {
            continue;
        }
        all = all.saturating_add(site.live_bytes);
        let is_caller = |frame: &&Arc<Frame>| {
            frame.function.as_deref().is_some_and(|name| name != &*function)
                && owners.owner(&frame.blame_input()) == FrameOwner::User
        };
        let caller = outward.find(is_caller).map(|frame| name(&By::Function.of(frame)));
        if let Some(caller) = caller {
            let bytes = callers.entry(caller).or_default();
            *bytes = bytes.saturating_add(site.live_bytes);
        }
    }
    let mut callers: Vec<(String, u64)> = callers.into_iter().collect();
    callers.sort_by(|a, b| (b.1, &a.0).cmp(&(a.1, &b.0)));
    callers.truncate(CALLERS);
    let second = callers.get(1)?.1;
    is_notable(second, all).then(|| HeapSaid::Callers { function: function.to_string(), callers, bytes: all })
}
