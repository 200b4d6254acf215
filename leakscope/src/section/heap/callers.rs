//! Callers below which memory was allocated: what to look at where it is from so many places that none holds three
//! tenths.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::{Heap, Site};
use crate::runtime;
use crate::section::by::By;
use crate::section::frame::Frame;
use crate::section::label::name;
use crate::symbol::FrameOwner;

/// A part that is worth to be named: one in so many.
const NOTABLE: u64 = 20;
/// Most callers that are told.
const MOST: usize = 10;

/// A function that the program's own code has, and what is allocated below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Caller {
    /// Function; where it has no name, its place.
    pub label: String,
    /// Source file, if it is known.
    pub file: Option<Arc<str>>,
    /// File that the code is in.
    pub module: Option<Arc<str>>,
    /// Stacks that it is on.
    pub stacks: u64,
    /// Bytes in live blocks that were allocated below it. Callers that call each other share what is below both.
    pub live_bytes: u64,
    /// These blocks.
    pub live_objects: u64,
}

/// Whether a part of `all` is worth to be named.
pub(crate) fn is_notable(part: u64, all: u64) -> bool {
    u128::from(part) * u128::from(NOTABLE) >= u128::from(all)
}

/// Whether a place with so much of `all` is an answer by itself.
fn is_much(part: u64, all: u64) -> bool {
    u128::from(part) * 10 >= u128::from(all) * 3
}

/// Whether it is so much of `all` that it says nothing, as of `main`.
fn is_most(part: u64, all: u64) -> bool {
    u128::from(part) * 20 >= u128::from(all) * 19
}

/// What functions are told apart by.
type Function<'a> = (Option<&'a str>, Option<&'a str>, Option<u64>);

fn function(frame: &Frame) -> Function<'_> {
    let offset = if frame.function.is_none() { frame.offset.map(|at| at.0) } else { None };
    (frame.function.as_deref(), frame.module.as_deref(), offset)
}

/// What is below one function.
struct Below<'a> {
    frame: &'a Frame,
    own: bool,
    /// The site that was added last, as a function may be on a stack more than once.
    last: usize,
    stacks: u64,
    bytes: u64,
    objects: u64,
}

/// All functions, by number.
#[derive(Default)]
struct Functions<'a> {
    below: Vec<Below<'a>>,
    numbers: HashMap<Function<'a>, usize>,
    /// Of frames that many stacks share, so that their texts are hashed once.
    shared: HashMap<*const Frame, usize, FixedState>,
}

impl<'a> Functions<'a> {
    fn number(&mut self, frame: &'a Arc<Frame>) -> usize {
        if let Some(&number) = self.shared.get(&Arc::as_ptr(frame)) {
            return number;
        }
        let next = self.below.len();
        let number = *self.numbers.entry(function(frame)).or_insert(next);
        if number == next {
            let own = runtime::rules().owners.owner(&frame.blame_input()) == FrameOwner::User;
            self.below.push(Below { frame, own, last: usize::MAX, stacks: 0, bytes: 0, objects: 0 });
        }
        self.shared.insert(Arc::as_ptr(frame), number);
        number
    }
}

/// The frames that called what a site is charged to, and that itself.
pub(super) fn beyond(site: &Site) -> &[Arc<Frame>] {
    let charged = site.stack.blame.and_then(|at| usize::try_from(at).ok()).unwrap_or(0);
    site.stack.frames.get(charged..).unwrap_or_default()
}

/// The innermost functions below each of which a notable part of what is live was allocated, where no place holds
/// three tenths; most first. Each stack speaks for the first such function on its way out, and what a function has is
/// all that is below it.
pub(crate) fn callers(heap: &Heap) -> Vec<Caller> {
    let all = heap.totals.live_bytes;
    let largest = heap.places.iter().map(|place| place.live_bytes).max().unwrap_or(0);
    // Exact counts and estimates are no parts of one whole.
    if all == 0 || is_much(largest, all) || heap.sources.len() > 1 {
        return Vec::new();
    }
    let live = || heap.sites.iter().enumerate().filter(|(_, site)| site.live_bytes > 0);
    let mut functions = Functions::default();
    for (site_number, site) in live() {
        for frame in beyond(site) {
            let number = functions.number(frame);
            let entry = &mut functions.below[number];
            if entry.own && entry.last != site_number {
                entry.last = site_number;
                entry.stacks += 1;
                entry.bytes = entry.bytes.saturating_add(site.live_bytes);
                entry.objects = entry.objects.saturating_add(site.live_objects);
            }
        }
    }
    let mut spoken = vec![0u64; functions.below.len()];
    for (_, site) in live() {
        // Of what is not the program's own, no bytes are counted.
        for frame in beyond(site) {
            let first = functions.number(frame);
            if is_notable(functions.below[first].bytes, all) {
                spoken[first] = spoken[first].saturating_add(site.live_bytes);
                break;
            }
        }
    }
    let below = functions.below;
    let notable = |&at: &usize| is_notable(spoken[at], all);
    let mut found: Vec<usize> = (0..below.len()).filter(notable).collect();
    // What all is below says little, but more than nothing.
    if found.iter().any(|&at| !is_most(below[at].bytes, all)) {
        found.retain(|&at| !is_most(below[at].bytes, all));
    }
    found.sort_by_key(|&at| Reverse(spoken[at]));
    found.truncate(MOST);
    found.into_iter().map(|at| caller(&below[at])).collect()
}

fn caller(below: &Below<'_>) -> Caller {
    let frame = By::Function.of(below.frame);
    Caller {
        label: name(&frame),
        file: below.frame.file.clone(),
        module: below.frame.module.clone(),
        stacks: below.stacks,
        live_bytes: below.bytes,
        live_objects: below.objects,
    }
}
