//! The pairing of allocator calls: which block is live, how large it is, and which call it is charged to.
//!
//! A call is noted as it is entered ([`begin`]) and booked as it returns ([`returned`]). A block is charged to
//! the outermost allocator call of its thread: what an allocator calls inside itself (calloc → malloc,
//! realloc → malloc and free) is left to the outer call. Whether a call is inside another is told by the
//! unwound stack, not by a counter ([`nesting`](Walk)): a pending call that the stack does not pass through was
//! left by longjmp or an exception and is dropped.
//!
//! A block that is not in the account and is reallocated was there before. Its record has a base
//! ([`LiveBlock::base`]): what it holds beyond that is its site's, and nothing else.
//!
//! This is a state machine without maps, registers or helpers of the kernel: it works on the pending calls of
//! one thread and on an [`Account`]. The BPF programs implement that on their maps, the tests on a `HashMap`.
//! An entry is three steps, because the walk of the stack lies between them and is dear:
//!
//! ```text
//! again        the same call was entered before: that one never returned
//! look_out     which frames the walk is to look out for   -> the walk
//! admit        whose call this is, and whether it is noted -> its site is looked up
//! begin        notes it
//! ```
//!
//! Everything is inlined, loops are bounded by constants and indexes are masked: the verifier of the kernel
//! has to follow it.

mod arguments;
mod booking;
mod calls;
mod nesting;

#[cfg(test)]
mod tests;

pub use arguments::Arguments;
pub use booking::{Free, LastFree, freed};
pub use calls::{Call, admit, again, begin, ended, look_out, returned};
pub use nesting::{Frame, Walk};

use crate::counter::{Loss, Tally};
use crate::heap::LiveBlock;

/// The account that calls are booked in, as the thread sees it whose calls they are.
///
/// Other threads change it at the same time: no method may rely on what an earlier one has found.
pub trait Account {
    /// The record of a live block.
    fn block(&mut self, address: u64) -> Option<LiveBlock>;
    /// Takes a block out.
    fn remove(&mut self, address: u64) -> Removed;
    /// Adds a block at an address where there is none.
    fn insert(&mut self, address: u64, block: &LiveBlock) -> Inserted;
    /// Changes the size of a block, and has its base be no more than that.
    fn resize(&mut self, address: u64, size: u64) -> Option<Resized>;
    /// Adds to the totals of a site, if there is one of that number.
    fn charge(&mut self, site: u64, charge: Charge);
    /// How many calls of the current thread are pending.
    fn pending(&mut self) -> u64;
    /// Notes a call of a freeing function; returns the one that the current thread has made before, or of another
    /// one if that is not known.
    fn free_before(&mut self, free: LastFree) -> LastFree;
    /// A word of the target's memory.
    fn word(&mut self, address: u64) -> Option<u64>;
    /// Whether the address lies in the code of the dynamic linker.
    fn in_linker(&mut self, address: u64) -> bool;
    /// Counts a loss.
    fn lose(&mut self, loss: Loss);
    /// Counts something seen.
    fn tally(&mut self, tally: Tally);
}

/// What became of a block that was to be taken out of the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// It is out.
    Done,
    /// It was not there any more.
    Gone,
    /// It is still there.
    Failed,
}

/// What became of a block that was to be added to the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is there.
    Done,
    /// There is another one at its address.
    Occupied,
    /// There is no room.
    Full,
    /// The kernel has no memory for it at this moment.
    NoMemory,
}

/// A block whose size was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resized {
    /// Its size before.
    pub before: u64,
    pub site: u64,
}

/// What a site is charged with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// A new block of so many bytes.
    Allocated(u64),
    /// The end of a block of so many bytes.
    Freed(u64),
    /// A block that grew by so many bytes.
    Grown(u64),
    /// A block that shrank by so many bytes.
    Shrunk(u64),
}
