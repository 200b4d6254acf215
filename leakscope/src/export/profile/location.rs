//! The distinct places that stacks go through. One place is one address, with what was inlined there.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use foldhash::fast::RandomState;

use crate::export::names::hex;
use crate::report::model::Frame;

/// Frames of one address, innermost first; and whether they are where a stack begins.
#[derive(Clone, Copy, Debug)]
struct Key<'a> {
    frames: &'a [Frame],
    innermost: bool,
}

impl Hash for Key<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // What differs between nearly all; the rest is for the comparison.
        self.innermost.hash(state);
        for frame in self.frames {
            frame.address.hash(state);
            if frame.address.is_empty() {
                frame.function.hash(state);
            }
        }
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.innermost == other.innermost
            && self.frames.len() == other.frames.len()
            && self.frames.iter().zip(other.frames).all(|(a, b)| same(a, b))
    }
}

impl Eq for Key<'_> {}

/// Whether two frames are the same place. What follows from the rest is not compared: there are millions.
fn same(a: &Frame, b: &Frame) -> bool {
    let named = |frame: &Frame| frame.function.is_some();
    a.address == b.address
        && a.line == b.line
        && a.function == b.function
        && a.module == b.module
        && a.build_id == b.build_id
        && (named(a) || (&a.offset, &a.why_unknown) == (&b.offset, &b.why_unknown))
}

/// A place.
#[derive(Clone, Copy, Debug)]
pub struct Location<'a> {
    /// Its frames, innermost first; never empty.
    pub frames: &'a [Frame],
    /// Its address as reports have it: of callers, where the call returns to.
    pub address: u64,
    /// The address of the instruction: within the call.
    pub instruction: u64,
}

/// Places by number.
#[derive(Debug, Default)]
pub struct Locations<'a> {
    /// With a quick hash: millions of frames are looked up.
    known: HashMap<Key<'a>, u32, RandomState>,
    all: Vec<Location<'a>>,
}

impl<'a> Locations<'a> {
    /// The numbers of the places of a stack, innermost first.
    pub fn enter(&mut self, frames: &'a [Frame]) -> impl Iterator<Item = u32> {
        frames.split_inclusive(|frame| !frame.inlined).enumerate().map(|(depth, frames)| {
            let key = Key { frames, innermost: depth == 0 };
            *self.known.entry(key).or_insert_with(|| {
                let address = hex(&frames[0].address);
                let instruction = address.saturating_sub(u64::from(depth > 0));
                self.all.push(Location { frames, address, instruction });
                // Memory ends long before.
                u32::try_from(self.all.len() - 1).unwrap_or(u32::MAX)
            })
        })
    }

    /// All places.
    pub fn all(&self) -> &[Location<'a>] {
        &self.all
    }
}
