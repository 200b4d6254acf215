//! What the kernel side tells of a span that is taken, or of an object in a window.

use super::super::spans::Span;
use super::mix::Site;

/// Most objects of a span.
const MOST_ELEMENTS: u64 = 1024;

/// A span that is about to serve its first object since it was taken, or one that is about to serve any, in a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenSpan {
    /// Address of its description.
    pub span: u64,
    /// The P that took it; 0: not known.
    pub p: u64,
    /// The class of the object that is taken in a window; `None` as a span is taken.
    pub object: Option<u8>,
    /// Odd in a window.
    pub phase: u64,
    pub site: Site,
    /// The heap's sweep generation.
    pub generation: u32,
    /// Whether a collection marked.
    pub marking: bool,
    pub description: Span,
    /// The bits of its objects: whether they were live as it was swept. Empty if they are not known.
    pub bits: Vec<u8>,
}

impl TakenSpan {
    /// Whether an object's place is taken.
    pub(super) fn is_taken(&self, index: u64) -> Option<bool> {
        if index < self.description.free_index {
            return Some(true);
        }
        let byte = self.bits.get(usize::try_from(index / 8).ok()?)?;
        Some(byte >> (index % 8) & 1 != 0)
    }

    /// The object that comes next (`nextFreeIndex`).
    pub(super) fn next(&self) -> Option<u64> {
        let span = &self.description;
        if span.alloc_cache != 0 {
            let next = span.free_index.checked_add(u64::from(span.alloc_cache.trailing_zeros()))?;
            return Some(next).filter(|next| *next < span.elements);
        }
        let from = span.free_index.checked_add(64)? & !63;
        (from..span.elements.min(MOST_ELEMENTS)).find(|index| self.is_taken(*index) == Some(false))
    }
}
