//! One case each, by name.

use proptest::prelude::*;

use super::super::nesting::SMALLEST_SIGNAL_FRAME;
use super::super::{Arguments, Frame, Free, Walk};
use super::books::Machine;
use super::functions::{Function, Given, free_cookie};
use crate::counter::{Loss, Tally};
use crate::heap::{LiveBlock, SiteTotals};
use crate::unwind::StackEnd;

/// The only thread.
const TID: u32 = 1;
/// Frames of calls, each inside the one before.
const OUTER: Frame = Frame { cfa: 0x8000, return_address: 0x11 };
const INNER: Frame = Frame { cfa: 0x7000, return_address: 0x22 };
const INNERMOST: Frame = Frame { cfa: 0x6000, return_address: 0x33 };
/// Where a signal frame is, for a walk.
const SIGNAL: Frame = Frame { cfa: 0, return_address: 0 };
/// Blocks.
const A: u64 = 0xa000;
const B: u64 = 0xb000;

/// A machine, and what is on the stack of its thread.
struct Scene(Machine);

impl Scene {
    fn new() -> Self {
        Self(Machine::new(10))
    }

    /// A call of `function`; `path` is the stack, from the call's own frame on.
    fn enter(&mut self, function: Function, given: Given, path: &[Frame]) {
        self.enter_by(function, given, path, StackEnd::Root);
    }

    fn enter_by(&mut self, function: Function, given: Given, path: &[Frame], end: StackEnd) {
        self.0.enter(TID, function.cookie(), path[0], 7, &given.registers(), |frames, count| {
            let mut walk = Walk::default();
            for frame in path {
                if *frame == SIGNAL {
                    walk.signalled = 1;
                } else {
                    walk.reach(frames, count, frame.cfa, frame.return_address);
                }
            }
            walk.end = end as u64;
            walk
        });
    }

    fn leave(&mut self, function: Function, frame: Frame, result: u64) {
        self.0.leave(TID, function.cookie(), frame.cfa, result);
    }

    /// A call that nothing happens in.
    fn call(&mut self, function: Function, given: Given, result: u64) {
        self.enter(function, given, &[OUTER]);
        self.leave(function, OUTER, result);
    }

    fn free(&mut self, address: u64) {
        self.free_by(TID, address, 0x100, 0x200);
    }

    /// A function that frees is probed at `probed`.
    fn free_by(&mut self, tid: u32, address: u64, probed: u64, sp: u64) {
        self.0.free(tid, Free { cookie: free_cookie(), address, probed, sp });
    }

    /// Live blocks and their sizes.
    fn live(&self) -> Vec<(u64, u64)> {
        let mut live: Vec<_> = self.0.books.live.iter().map(|(at, block)| (*at, block.size)).collect();
        live.sort_unstable();
        live
    }

    fn totals(&self) -> SiteTotals {
        self.0.books.sites.get(&7).copied().unwrap_or_default()
    }
}

fn sized(size: u64) -> Given {
    Given { size, ..Given::default() }
}

fn of_block(pointer: u64, size: u64) -> Given {
    Given { pointer, size, ..Given::default() }
}

#[test]
fn a_block_is_live_from_the_return_to_the_free() {
    let mut scene = Scene::new();
    scene.enter(Function::Malloc, sized(100), &[OUTER]);
    assert_eq!(scene.live(), []);
    scene.leave(Function::Malloc, OUTER, A);
    assert_eq!(scene.0.books.live[&A], LiveBlock { size: 100, site: 7, at_ns: 1, base: 0 });
    scene.free(A);
    scene.free(A);
    assert_eq!(scene.live(), []);
    let expected = SiteTotals {
        alloc_objects: 1,
        alloc_bytes: 100,
        free_objects: 1,
        free_bytes: 100,
        ..SiteTotals::ZERO
    };
    assert_eq!(scene.totals(), expected);
    assert_eq!((scene.0.seen(Tally::FreedObjects), scene.0.seen(Tally::UnknownFrees)), (1, 1));
}

#[test]
fn the_outer_call_is_charged_not_the_one_inside_it() {
    let mut scene = Scene::new();
    scene.enter(Function::Calloc, Given { size: 10, count: 3, ..Given::default() }, &[OUTER]);
    scene.enter(Function::Malloc, sized(48), &[INNER, OUTER]);
    scene.leave(Function::Malloc, INNER, A);
    scene.leave(Function::Calloc, OUTER, A);
    assert_eq!(scene.live(), [(A, 30)]);
    assert_eq!(scene.0.seen(Tally::NestedCalls), 1);
}

#[test]
fn realloc_moves_a_block() {
    let mut scene = Scene::new();
    scene.call(Function::Malloc, sized(100), A);
    scene.enter(Function::Realloc, of_block(A, 200), &[OUTER]);
    assert_eq!(scene.live(), []);
    scene.enter(Function::Malloc, sized(200), &[INNER, OUTER]);
    scene.leave(Function::Malloc, INNER, B);
    scene.free(A);
    scene.leave(Function::Realloc, OUTER, B);
    assert_eq!(scene.live(), [(B, 200)]);
    assert_eq!((scene.totals().free_bytes, scene.0.seen(Tally::FreedObjects)), (100, 1));
    assert_eq!(scene.0.seen(Tally::UnknownFrees), 0);
}

/// `operator delete` calls free, a wrapper's free the one of the C library, or each jumps there.
#[test]
fn one_free_through_several_functions_counts_once() {
    const WRAPPER: u64 = 0x900;
    const DELETE: u64 = 0x500;
    const FREE: u64 = 0x100;
    for known in [true, false] {
        let mut scene = Scene::new();
        if known {
            scene.call(Function::Malloc, sized(100), A);
        }
        scene.free_by(TID, A, WRAPPER, 0x400);
        scene.free_by(TID, A, DELETE, 0x3e8);
        // It had saved two registers as it was probed.
        scene.free_by(TID, A, FREE, 0x3f8);
        let counted = [Tally::FreedObjects, Tally::UnknownFrees].map(|tally| scene.0.seen(tally));
        assert_eq!(counted, if known { [1, 0] } else { [0, 1] });
        assert_eq!(scene.0.seen(Tally::Frees), 3);
    }
}

#[test]
fn frees_that_are_several() {
    let unknown = |frees: &[(u32, u64, u64, u64)]| {
        let mut scene = Scene::new();
        frees.iter().for_each(|&(tid, address, probed, sp)| scene.free_by(tid, address, probed, sp));
        scene.0.seen(Tally::UnknownFrees)
    };
    assert_eq!(unknown(&[(TID, A, 0x100, 0x400), (TID, A, 0x100, 0x400)]), 2, "the same function");
    assert_eq!(unknown(&[(TID, A, 0x500, 0x400), (TID, B, 0x100, 0x3f0)]), 2, "another block");
    assert_eq!(unknown(&[(TID, A, 0x500, 0x400), (2, A, 0x100, 0x3f0)]), 2, "another thread");
    assert_eq!(unknown(&[(TID, A, 0x500, 0x400), (TID, A, 0x100, 0x800)]), 2, "called from further out");
    // Another thread in between changes nothing.
    assert_eq!(unknown(&[(TID, A, 0x500, 0x400), (2, B, 0x500, 0x400), (TID, A, 0x100, 0x3f0)]), 2);
}

/// However often it grows, and whoever grows it.
#[test]
fn a_reallocated_block_keeps_its_age() {
    let mut scene = Scene::new();
    scene.call(Function::Malloc, sized(100), A);
    let born = scene.0.books.live[&A].at_ns;
    scene.call(Function::Realloc, of_block(A, 200), B);
    scene.call(Function::Realloc, of_block(B, 300), B);
    scene.call(Function::Realloc, of_block(B, 400), 0);
    scene.call(Function::Reallocf, of_block(B, 500), A);
    assert_eq!(scene.0.books.live[&A], LiveBlock { size: 500, site: 7, at_ns: born, base: 0 });
    scene.free(A);
    scene.call(Function::Malloc, sized(1), A);
    assert!(scene.0.books.live[&A].at_ns > born, "another block at the same address");
}

#[test]
fn realloc_in_all_other_outcomes() {
    for (function, size, result, live, failed) in [
        (Function::Realloc, 200, A, vec![(A, 200)], 0),
        (Function::Realloc, 200, 0, vec![(A, 100)], 1),
        (Function::Reallocf, 200, 0, vec![], 1),
        (Function::Realloc, 0, 0, vec![], 0),
        (Function::Expand, 120, A, vec![(A, 120)], 0),
        (Function::Expand, 120, 0, vec![(A, 100)], 0),
        (Function::ResizeInPlace, 80, 80, vec![(A, 80)], 0),
        (Function::ResizeInPlace, 200, 112, vec![(A, 100)], 0),
    ] {
        let mut scene = Scene::new();
        scene.call(Function::Malloc, sized(100), A);
        scene.call(function, of_block(A, size), result);
        assert_eq!(scene.live(), live, "{function:?} {size} -> {result:#x}");
        assert_eq!(scene.0.seen(Tally::FailedCalls), failed, "{function:?} {size} -> {result:#x}");
    }
}

/// What was there before is not what the call has allocated.
#[test]
fn a_block_from_before_is_charged_with_its_growth() {
    let mut scene = Scene::new();
    scene.call(Function::Realloc, of_block(A, 100), B);
    scene.call(Function::Realloc, of_block(0, 50), A);
    let held = |scene: &Scene| scene.0.books.live.get(&B).map(|block| (block.base, block.grown()));
    assert_eq!(held(&scene), Some((100, 0)));
    assert_eq!(scene.0.books.live[&A].base, 0);
    for (size, expected) in [(120, (100, 20)), (80, (80, 0)), (130, (80, 50))] {
        scene.call(Function::Realloc, of_block(B, size), B);
        assert_eq!(held(&scene), Some(expected), "{size}");
    }
    // It failed.
    scene.call(Function::Realloc, of_block(B, 500), 0);
    assert_eq!(held(&scene), Some((80, 50)));
    scene.call(Function::Expand, of_block(B, 140), B);
    assert_eq!(held(&scene), Some((80, 60)));
    scene.call(Function::ResizeInPlace, of_block(B, 60), 60);
    assert_eq!(held(&scene), Some((60, 0)));
    assert_eq!(scene.0.seen(Tally::UnknownFrees), 0);
    scene.free(B);
    assert_eq!(scene.live(), [(A, 50)]);
    let totals = scene.totals();
    assert_eq!(totals.alloc_bytes - totals.free_bytes, 50);
    assert_eq!((totals.alloc_objects - totals.free_objects, scene.0.seen(Tally::UnknownFrees)), (1, 0));
}

#[test]
fn all_ways_to_resize_a_block_from_before() {
    for (function, size, result, live, unknown) in [
        (Function::Realloc, 100, A, vec![(A, 100)], 0),
        (Function::Realloc, 100, 0, vec![], 0),
        (Function::Realloc, 0, 0, vec![], 1),
        (Function::Reallocf, 100, B, vec![(B, 100)], 0),
        (Function::Reallocf, 100, 0, vec![], 1),
        (Function::Expand, 120, A, vec![(A, 120)], 0),
        (Function::Expand, 120, 0, vec![], 0),
        (Function::ResizeInPlace, 80, 80, vec![(A, 80)], 0),
        (Function::ResizeInPlace, 200, 112, vec![], 0),
    ] {
        let mut scene = Scene::new();
        scene.call(function, of_block(A, size), result);
        assert_eq!(scene.live(), live, "{function:?} {size} -> {result:#x}");
        assert!(scene.0.books.live.values().all(|block| block.grown() == 0), "{function:?} {size}");
        assert_eq!(scene.0.seen(Tally::UnknownFrees), unknown, "{function:?} {size} -> {result:#x}");
    }
}

/// Nobody knows how much of it is new: it is treated as if nothing were, and the loss is counted.
#[test]
fn a_block_that_was_lost_is_one_from_before() {
    let mut scene = Scene::new();
    scene.0.books.room = 0;
    scene.call(Function::Malloc, sized(100), A);
    scene.call(Function::Realloc, of_block(A, 200), A);
    assert_eq!((scene.live(), scene.0.lost(Loss::LiveFull)), (vec![], 2));
    scene.0.books.room = 1;
    scene.call(Function::Realloc, of_block(A, 300), A);
    assert_eq!(scene.0.books.live[&A], LiveBlock { size: 300, site: 7, at_ns: 3, base: 300 });
    assert_eq!(scene.0.seen(Tally::UnknownFrees), 0);
}

#[test]
fn a_moved_block_s_address_may_be_taken_before_the_return() {
    let mut scene = Scene::new();
    scene.call(Function::Malloc, sized(100), A);
    scene.enter(Function::Realloc, of_block(A, 200), &[OUTER]);
    // Another thread gets it.
    scene.0.enter(2, Function::Malloc.cookie(), OUTER, 7, &sized(60).registers(), |_, _| Walk::default());
    scene.0.leave(2, Function::Malloc.cookie(), OUTER.cfa, A);
    scene.leave(Function::Realloc, OUTER, B);
    assert_eq!(scene.live(), [(A, 60), (B, 200)]);
    assert_eq!(scene.0.lost(Loss::FreeMissed), 0);
}

#[test]
fn a_block_stored_to_memory() {
    let mut scene = Scene::new();
    let given = Given { size: 40, out: 0x500, ..Given::default() };
    scene.0.books.memory.insert(0x500, A);
    // The high half of the register means nothing.
    scene.call(Function::PosixMemalign, given, 1 << 32);
    scene.call(Function::PosixMemalign, given, 12);
    scene.0.books.memory.clear();
    scene.call(Function::PosixMemalign, given, 0);
    assert_eq!(scene.live(), [(A, 40)]);
    assert_eq!((scene.0.seen(Tally::FailedCalls), scene.0.lost(Loss::OutUnreadable)), (1, 1));
}

#[test]
fn what_a_signal_handler_allocates_is_its_own() {
    let mut scene = Scene::new();
    scene.enter(Function::Malloc, sized(100), &[OUTER]);
    scene.enter(Function::Malloc, sized(30), &[INNER, SIGNAL, OUTER]);
    scene.enter(Function::Malloc, sized(32), &[INNERMOST, INNER, SIGNAL, OUTER]);
    scene.leave(Function::Malloc, INNERMOST, B);
    scene.leave(Function::Malloc, INNER, B);
    scene.leave(Function::Malloc, OUTER, A);
    assert_eq!(scene.live(), [(A, 100), (B, 30)]);
    assert_eq!(scene.0.seen(Tally::NestedCalls), 1);
}

#[test]
fn a_call_left_by_longjmp_is_dropped_at_the_next_one() {
    let mut scene = Scene::new();
    scene.call(Function::Malloc, sized(100), A);
    scene.enter(Function::Realloc, of_block(A, 200), &[INNER]);
    scene.call(Function::Malloc, sized(50), B);
    assert_eq!(scene.live(), [(A, 100), (B, 50)]);
    assert_eq!(scene.0.lost(Loss::CallAbandoned), 1);
}

#[test]
fn a_call_left_by_an_exception_is_no_loss() {
    let mut scene = Scene::new();
    scene.enter(Function::New, sized(100), &[INNER]);
    scene.call(Function::Malloc, sized(50), B);
    assert_eq!((scene.0.lost(Loss::CallAbandoned), scene.0.seen(Tally::CallUnwound)), (0, 1));
}

#[test]
fn a_return_drops_the_calls_that_were_left_inside_it() {
    let mut scene = Scene::new();
    scene.call(Function::Malloc, sized(100), A);
    scene.enter(Function::Malloc, sized(30), &[OUTER]);
    scene.enter(Function::Realloc, of_block(A, 200), &[INNER, SIGNAL, OUTER]);
    // siglongjmp within the handler, which then returns.
    scene.leave(Function::Malloc, OUTER, B);
    assert_eq!(scene.live(), [(A, 100), (B, 30)]);
    assert_eq!(scene.0.lost(Loss::CallAbandoned), 1);
}

#[test]
fn a_call_made_again_drops_the_one_before_and_what_was_inside_it() {
    let mut scene = Scene::new();
    scene.enter(Function::Malloc, sized(100), &[OUTER]);
    scene.enter(Function::Malloc, sized(30), &[INNER, SIGNAL, OUTER]);
    // siglongjmp out of both, and the loop goes on.
    scene.call(Function::Malloc, sized(50), A);
    assert_eq!(scene.live(), [(A, 50)]);
    assert_eq!((scene.0.lost(Loss::CallAbandoned), scene.0.seen(Tally::NestedCalls)), (2, 0));
}

#[test]
fn where_the_stack_ends_short_its_memory_tells() {
    // The return address is in its place, and there is no room for a signal frame; there is; it is not.
    for (cfa, word, nested, unsure, left) in [
        (INNER.cfa + 64, 0x11, 1, 0, 0),
        (INNER.cfa + SMALLEST_SIGNAL_FRAME, 0x11, 1, 1, 0),
        (INNER.cfa + 64, 0x99, 0, 0, 1),
        (INNER.cfa, 0x11, 0, 0, 1),
    ] {
        let mut scene = Scene::new();
        scene.enter(Function::Calloc, sized(100), &[Frame { cfa, return_address: 0x11 }]);
        scene.0.books.memory.insert(cfa - 8, word);
        scene.enter_by(Function::Malloc, sized(10), &[INNER], StackEnd::NoRows);
        assert_eq!(scene.0.seen(Tally::NestedCalls), nested, "{cfa:#x} {word:#x}");
        assert_eq!(scene.0.lost(Loss::NestingUnsure), unsure, "{cfa:#x} {word:#x}");
        assert_eq!(scene.0.lost(Loss::CallAbandoned), left, "{cfa:#x} {word:#x}");
    }
}

#[test]
fn a_thread_ends_with_calls_pending() {
    let mut scene = Scene::new();
    scene.call(Function::Malloc, sized(100), A);
    scene.enter(Function::Malloc, sized(30), &[OUTER]);
    scene.enter(Function::Realloc, of_block(A, 200), &[INNER, SIGNAL, OUTER]);
    scene.0.end(TID);
    assert_eq!(scene.live(), [(A, 100)]);
    assert_eq!(scene.0.lost(Loss::CallAbandoned), 2);
}

#[test]
fn a_block_handed_out_twice_was_freed_unseen() {
    let mut scene = Scene::new();
    scene.call(Function::Malloc, sized(100), A);
    scene.call(Function::Malloc, sized(40), A);
    assert_eq!(scene.live(), [(A, 40)]);
    assert_eq!((scene.0.lost(Loss::FreeMissed), scene.totals().free_bytes), (1, 100));
}

#[test]
fn a_return_without_an_entry_is_early() {
    let mut scene = Scene::new();
    scene.leave(Function::Malloc, OUTER, A);
    assert_eq!((scene.live(), scene.0.seen(Tally::EarlyReturns)), (vec![], 1));
}

#[test]
fn frees_of_the_c_library_are_not_the_program_s() {
    let mut scene = Scene::new();
    scene.0.books.linker = 0x9000..0xa000;
    for (return_address, expected) in [
        (Some(0x110), Tally::CacheFlushes),
        (Some(0x9100), Tally::LinkerFrees),
        (Some(0x5000), Tally::UnknownFrees),
        (None, Tally::UnknownFrees),
    ] {
        let before = scene.0.seen(expected);
        scene.0.books.memory.clear();
        scene.0.books.memory.extend(return_address.map(|word| (0x200, word)));
        let cookie = free_cookie().flushing(0x10, 0x20);
        scene.0.free(TID, Free { cookie, address: A, probed: 0x100, sp: 0x200 });
        assert_eq!(scene.0.seen(expected), before + 1, "{return_address:x?}");
    }
}

proptest! {
    #[test]
    fn a_product_is_what_it_is_or_overflows(size: u64, count: u64, shifts in (0u32..64, 0u32..64)) {
        let (size, count) = (size >> shifts.0, count >> shifts.1);
        let given = Given { size, count, ..Given::default() };
        let read = Arguments::read(Function::Calloc.cookie(), &given.registers());
        prop_assert_eq!(read.size, size.saturating_mul(count));
    }
}
