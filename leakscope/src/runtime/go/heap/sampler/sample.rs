//! An object that is followed.

use super::mix::Site;

/// What became of a sampled object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The span was not swept since the last collection.
    Pending,
    /// The span serves other objects now, or none.
    Gone,
    /// It was swept, and the object was live or not.
    Swept(bool),
}

/// What a sample is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Large,
    /// An object that was taken in a window.
    Seen {
        phase: u64,
    },
    /// The first object of a batch.
    First,
}

/// A sampled object.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) number: u64,
    pub(super) site: Site,
    pub(super) kind: Kind,
    pub(super) span: u64,
    pub(super) start: u64,
    pub(super) class: u8,
    pub(super) size: u64,
    pub(super) index: u64,
    pub(super) marking: bool,
    /// Generation of the last collection that it was looked at for.
    pub(super) checked: u32,
    pub(super) survived: u32,
    pub(super) dead: bool,
    /// Samples that it stands for: it was kept with a chance of one in so many.
    pub(super) factor: u64,
}

impl Sample {
    /// Bytes of a large object and of those that it stands for.
    pub(super) fn bytes(&self) -> u64 {
        self.size.saturating_mul(self.factor)
    }

    /// It was live in the collection that led to this generation.
    pub(super) fn survives(&mut self, generation: u32) {
        let passed = generation.wrapping_sub(self.checked);
        if passed > 0 && passed < 1 << 31 {
            self.checked = generation;
            self.survived = self.survived.saturating_add(passed.div_ceil(2));
        }
    }

    pub(super) fn is_live(&self) -> bool {
        self.survived > u32::from(self.marking)
    }

    /// The last collection has left it, if only because it was allocated while that one marked.
    pub(super) fn is_left(&self) -> bool {
        self.survived > 0
    }
}
