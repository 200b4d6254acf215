//! The frees by which glibc empties a thread's cache.
//!
//! As a thread ends, `tcache_thread_shutdown` hands each block in the thread's cache, and the cache itself, to
//! `free`. The program freed those blocks long ago, and never had the cache: they are no frees of its own.
//! They are told by their return addresses. In a library all others call `free` through its procedure linkage
//! table, so that a program can replace it; in a static program the function is found by its name.

use std::ops::Range;

use iced_x86::InstructionInfoFactory;

use super::image::{FunctionSymbol, Image, for_each_function};
use super::place::{Placement, writes};
use super::x86;
use super::{Allocator, PlannedProbe};
use crate::process::ElfFile;

/// The functions that empty a cache, by what the compiler made of them.
const FUNCTIONS: [&str; 2] = ["tcache_thread_shutdown", "__malloc_arena_thread_freeres"];
/// How far from `free` they may lie: in the same source file.
const NEAR: u64 = 32 << 10;
/// `call` of a fixed target, and its length.
const CALL: (u8, u64) = (0xe8, 5);

/// Tells the probe of glibc's `free` which calls of it come from there.
pub(super) fn mark(elf: &ElfFile, image: &dyn Image, addresses: &[(u64, u64)], probes: &mut [PlannedProbe]) {
    let is_free =
        |probe: &&mut PlannedProbe| probe.allocator == Allocator::Glibc && probe.names.contains(&"free");
    let Some(probe) = probes.iter_mut().find(is_free) else { return };
    let Some(&(free, _)) = addresses.iter().find(|(_, offset)| *offset == probe.offset) else { return };
    if !stack_is_untouched(image, free, &probe.placement) {
        return;
    }
    let Some(calls) = flushes(elf, image, free, addresses) else { return };
    let probed = free.wrapping_add(probe.placement.distance);
    let start = i16::try_from(calls.start.wrapping_sub(probed).cast_signed());
    let length = u8::try_from(calls.end - calls.start);
    probe.placement.flushes = start.ok().zip(length.ok());
}

/// Whether the return address is on top of the stack at the probe.
fn stack_is_untouched(image: &dyn Image, free: u64, placement: &Placement) -> bool {
    let Ok(length) = usize::try_from(placement.distance) else { return false };
    let mut info = InstructionInfoFactory::new();
    x86::decoder(image.code(free, length), free).iter().all(|instruction| {
        let used = info.info(&instruction);
        let mut written = used.used_registers().iter().filter(|r| writes(r.access()));
        !written.any(|r| x86::number(r.register()) == Some(super::place::RSP))
    })
}

/// From the first to behind the last return address of the calls of `free` that empty a cache.
fn flushes(elf: &ElfFile, image: &dyn Image, free: u64, known: &[(u64, u64)]) -> Option<Range<u64>> {
    let mut named: Vec<Range<u64>> = Vec::new();
    let mut is_library = false;
    for_each_function(elf, |&FunctionSymbol { name, address, size, .. }| {
        if FUNCTIONS.contains(&name) {
            named.push(address..address.saturating_add(size));
        }
        is_library |= name == "__libc_freeres" && elf.is_library();
    });
    let calls = direct_calls(image, free);
    let calls: Vec<u64> = if !named.is_empty() {
        calls.into_iter().filter(|at| named.iter().any(|function| function.contains(at))).collect()
    } else if is_library {
        // realloc's call is inside a call of realloc, which is told by that.
        let is_known = |at: u64| {
            image
                .extent(at)
                .is_none_or(|function| known.iter().any(|(address, _)| function.contains(address)))
        };
        calls.into_iter().filter(|&at| !is_known(at)).collect()
    } else {
        return None;
    };
    let (first, last) = (*calls.first()?, *calls.last()?);
    // All in one function, or what lies between them is not known.
    let together = named.len() == 1 || image.extent(first).is_some_and(|function| function.contains(&last));
    together.then(|| first.saturating_add(CALL.1)..last.saturating_add(CALL.1 + 1))
}

/// The direct calls of `target` near it. Bytes that only look like one would have to hold its distance, too.
fn direct_calls(image: &dyn Image, target: u64) -> Vec<u64> {
    let start = (target.saturating_sub(NEAR)..target)
        .step_by(4096)
        .find(|&at| !image.code(at, 1).is_empty())
        .unwrap_or(target);
    let code = image.code(start, 2 * NEAR as usize);
    code.windows(CALL.1 as usize)
        .zip(start..)
        .filter(|(bytes, at)| {
            let distance = i32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
            bytes[0] == CALL.0 && at.wrapping_add(CALL.1).wrapping_add_signed(distance.into()) == target
        })
        .map(|(_, at)| at)
        .collect()
}
