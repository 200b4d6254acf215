//! The distinct places that stacks go through. One place is one address, with what was inlined there.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::section::frame::Frame;

/// Frames of one address, innermost first; and whether they are where a stack begins.
#[derive(Clone, Copy, Debug)]
struct Key<'a> {
    frames: &'a [Arc<Frame>],
    innermost: bool,
    /// Whether frames come from several processes: then one address can be several places.
    several: bool,
}

impl Hash for Key<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // What differs between nearly all; the rest is for the comparison.
        self.innermost.hash(state);
        for frame in self.frames {
            frame.address.hash(state);
            frame.line.hash(state);
            if frame.address.is_none() {
                frame.function.hash(state);
            }
        }
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.innermost == other.innermost
            && self.frames.len() == other.frames.len()
            && self
                .frames
                .iter()
                .zip(other.frames)
                .all(|(a, b)| Arc::ptr_eq(a, b) || same(a, b, self.several))
    }
}

impl Eq for Key<'_> {}

/// Whether two frames are the same place. What follows from the rest is not compared: there are millions.
fn same(a: &Frame, b: &Frame, several: bool) -> bool {
    let named = |frame: &Frame| frame.function.is_some();
    a.address == b.address
        && a.line == b.line
        && a.function == b.function
        && (named(a) && !several || a.module == b.module && a.build_id == b.build_id)
        && (named(a) || (&a.offset, &a.why_unknown) == (&b.offset, &b.why_unknown))
}

/// A place.
#[derive(Clone, Copy, Debug)]
pub struct Location<'a> {
    /// Its frames, innermost first; never empty.
    pub frames: &'a [Arc<Frame>],
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
    several: bool,
}

impl<'a> Locations<'a> {
    /// For stacks of one process, or of several, whose addresses mean nothing to each other.
    pub fn new(several: bool) -> Self {
        Self { several, ..Self::default() }
    }

    /// The numbers of the places of a stack, innermost first.
    pub fn enter(&mut self, frames: &'a [Arc<Frame>]) -> impl Iterator<Item = u32> {
        let several = self.several;
        frames.split_inclusive(|frame| !frame.inlined).enumerate().map(move |(depth, frames)| {
            let key = Key { frames, innermost: depth == 0, several };
            *self.known.entry(key).or_insert_with(|| {
                let address = frames[0].address.map_or(0, |address| address.0);
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
