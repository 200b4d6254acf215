//! What calls return, and what they have done by then.

use super::functions::Function;
use super::program::Program;
use super::stack::Pending;
use crate::counter::{Loss, Tally};
use crate::heap::LiveBlock;

impl Program {
    /// What a noted call returns: a block, or a number. `None`: it can't return yet.
    pub(super) fn result(&mut self, call: &Pending, outcome: u8, block: u64) -> Option<u64> {
        let given = call.given;
        let untouched = call.inner.is_none() && !call.released;
        let fails = outcome.is_multiple_of(4) && untouched;
        match call.function {
            Function::Malloc | Function::Calloc | Function::New | Function::PosixMemalign if fails => Some(0),
            Function::Malloc | Function::Calloc | Function::New | Function::PosixMemalign => {
                Some(call.inner.or_else(|| self.new_block(block)).unwrap_or(0))
            }
            Function::Realloc | Function::Reallocf if fails => Some(0),
            // Freed: some return a new block of no size instead.
            Function::Realloc | Function::Reallocf if given.size == 0 && call.inner.is_none() => Some(0),
            Function::Realloc | Function::Reallocf if untouched && outcome % 4 == 1 && given.pointer != 0 => {
                Some(given.pointer)
            }
            Function::Realloc | Function::Reallocf => {
                let moved = call.inner.or_else(|| self.new_block(block));
                (moved.is_some() || !call.released || call.function == Function::Reallocf)
                    .then_some(moved.unwrap_or(0))
            }
            Function::ResizeInPlace => Some(match outcome % 3 {
                0 => given.size.saturating_sub(1),
                1 => given.size + given.extra / 2,
                // The usable size may be more than what was asked for.
                _ => given.size + given.extra + 100,
            }),
            Function::Expand => Some(if outcome.is_multiple_of(2) { given.pointer } else { 0 }),
        }
    }

    /// Has the model book a noted call. For posix_memalign `result` is the block, and becomes what the memory
    /// holds; it returns 0 then, which its caller's registers show with anything in the high half.
    pub(super) fn book(&mut self, call: &Pending, result: &mut u64) {
        let given = call.given;
        match call.function {
            Function::Malloc | Function::New => self.allocated(call, *result, Some(given.size), 0),
            Function::Calloc => self.allocated(call, *result, given.size.checked_mul(given.count), 0),
            Function::PosixMemalign => self.stored(call, result),
            Function::Realloc | Function::Reallocf => self.reallocated(call, *result),
            Function::ResizeInPlace => {
                if *result >= given.size {
                    self.resized(call, (*result).min(given.size + given.extra));
                }
            }
            Function::Expand => {
                if *result != 0 {
                    self.resized(call, given.size);
                }
            }
        }
    }

    /// A block that is resized where it is. One that nobody knows was there before.
    fn resized(&mut self, call: &Pending, size: u64) {
        let at = call.given.pointer;
        if at != 0 && !self.truth.resize(at, size) {
            self.allocated(call, at, Some(size), size);
        }
    }

    /// A new block of that size, of which so much was there before; `None`: the product of count and size overflows.
    fn allocated(&mut self, call: &Pending, at: u64, size: Option<u64>, base: u64) {
        if at == 0 {
            self.truth.count(Tally::FailedCalls as u32);
            return;
        }
        if size.is_none() {
            self.truth.count(Loss::SizeOverflow as u32);
        }
        if self.truth.has_room() {
            let block = LiveBlock { size: size.unwrap_or(0), site: call.site, at_ns: call.at_ns, base };
            self.truth.allocate(at, block);
        } else {
            self.truth.count(Loss::LiveFull as u32);
        }
    }

    fn stored(&mut self, call: &Pending, result: &mut u64) {
        let block = std::mem::replace(result, 0xdead << 32);
        let memory = &mut self.machine.books.memory;
        memory.remove(&call.given.out);
        if block == 0 {
            *result |= 12;
            self.truth.count(Tally::FailedCalls as u32);
        } else if call.given.size.is_multiple_of(5) {
            self.truth.count(Loss::OutUnreadable as u32);
        } else {
            memory.insert(call.given.out, block);
            self.allocated(call, block, Some(call.given.size), 0);
        }
    }

    fn reallocated(&mut self, call: &Pending, result: u64) {
        let given = call.given;
        let failed = result == 0 && given.size != 0;
        if failed {
            self.truth.count(Tally::FailedCalls as u32);
        }
        if failed && call.function == Function::Realloc {
            // The old block stays.
            if let Some(old) = call.old {
                self.put_back(given.pointer, old);
            }
            return;
        }
        if let Some(old) = call.old {
            self.truth.free(old);
            self.truth.count(Tally::FreedObjects as u32);
        } else if given.pointer != 0 && result == 0 {
            self.truth.count(Tally::UnknownFrees as u32);
        }
        if result != given.pointer && !call.released {
            self.heap.remove(&given.pointer);
        }
        if result != 0 {
            // What is resized stays as old as it was.
            let at_ns = call.old.map_or(call.at_ns, |old| old.at_ns);
            let unknown = if given.pointer == 0 { 0 } else { given.size };
            let base = call.old.map_or(unknown, |old| old.base.min(given.size));
            self.allocated(&Pending { at_ns, ..call.clone() }, result, Some(given.size), base);
        }
    }
}
