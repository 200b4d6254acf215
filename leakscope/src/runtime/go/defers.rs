//! Calls that functions have deferred and that unlock a lock: whoever has one still to make holds the lock.
//!
//! A function whose `defer` statements are few and in no loop keeps them in its frame: a byte with a bit for each
//! that was reached, and slots with the closures (`runtime/panic.go`, `runOpenDeferFrame` until Go 1.21 and
//! `nextFrame` since; `cmd/compile/internal/ssagen/ssa.go`, `emitOpenDeferInfo`). Others are not seen.

use std::collections::HashMap;
use std::sync::Arc;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Register};

use super::bytes::{u64_at, varint};
use super::frames::{CodeAddress, Frames};
use super::memory::Piece;
use super::program::Program;

/// Most deferred calls that are kept so (`ssagen.buildssa`: eight bits).
const MOST_DEFERS: usize = 8;
/// Bytes of what is told of a function's.
const TOLD: usize = 64;
/// The first version in which the slots lie one after the other.
const FIRST_WITH_SLOTS: u32 = 22;
/// Most bytes of a deferred function's code that are decoded.
const LONGEST: u64 = 1 << 10;
/// Most functions whose code is looked at.
const MOST_FUNCTIONS: usize = 1 << 12;
/// Functions that unlock, and whether readers call them (`sync/mutex.go`, `sync/rwmutex.go`).
const UNLOCKS: [(&str, bool); 3] =
    [("sync.(*Mutex).Unlock", false), ("sync.(*RWMutex).Unlock", false), ("sync.(*RWMutex).RUnlock", true)];

/// Where a frame keeps its deferred calls, from the stack pointer of the innermost frame.
#[derive(Clone, Debug)]
pub(super) struct DeferSlots {
    /// The function, and where it goes on.
    pub function: Arc<str>,
    pub address: u64,
    bits: usize,
    /// By bit.
    slots: Vec<usize>,
}

/// An unlock that a goroutine will call as a function of it returns.
#[derive(Clone, Debug)]
pub(super) struct PendingUnlock {
    /// Index of the goroutine.
    pub goroutine: usize,
    /// The lock, where the call has it as an argument, and addresses that its code has.
    pub captured: u64,
    pub named: Arc<[u64]>,
    /// Whether it unlocks for a reader.
    pub reads: bool,
    pub function: Arc<str>,
    /// Where the function goes on.
    pub address: u64,
}

/// The frames of a stack that can have deferred calls.
pub(super) fn slots(program: &Program, frames: &mut Frames, stack: &[CodeAddress]) -> Vec<DeferSlots> {
    let (mut found, mut depth) = (Vec::new(), 0usize);
    for at in stack {
        let Some(place) = frames.place(program, *at) else { break };
        let Some(size) = place.frame_size.map(|size| size as usize) else { break };
        // Locals lie below the caller's frame pointer, which lies below the return address.
        let top = (depth + size).checked_sub(8).filter(|_| size > 0);
        let own = top.and_then(|top| in_frame(program, at.pc, depth, top));
        if let (Some((bits, slots)), Some(frame)) = (own, place.frames().last()) {
            found.push(DeferSlots { function: Arc::clone(&frame.function), address: at.pc, bits, slots });
        }
        depth += size + 8;
    }
    found
}

/// Where the frame between `low` and `top` has its bits and slots.
fn in_frame(program: &Program, pc: u64, low: usize, top: usize) -> Option<(usize, Vec<usize>)> {
    let (part, function) = program.function_at(pc)?;
    let told = u64::from(part.pclntab.defers(function)?);
    let data = part.word(program.offsets.find("moduledata", "gofunc")?)?.checked_add(told)?;
    let bytes = program.constant(data, TOLD)?;
    let below = |offset: u32| top.checked_sub(offset as usize).filter(|at| *at >= low);
    let (bits, at) = varint(&bytes, 0)?;
    let (second, mut at) = varint(&bytes, at)?;
    let bits = below(bits)?;
    if program.minor >= FIRST_WITH_SLOTS {
        let first = below(second)?;
        // The highest slots may lie beyond what the function has; their bits are not set.
        return Some((bits, (0..MOST_DEFERS).map(|i| first + 8 * i).collect()));
    }
    let mut slots = Vec::new();
    for _ in 0..(second as usize).min(MOST_DEFERS) {
        let (offset, next) = varint(&bytes, at)?;
        slots.push(below(offset)?);
        at = next;
    }
    slots.reverse();
    Some((bits, slots))
}

/// The unlocks that are pending. `stacks` are goroutines with their stack pointers and the frames to look at.
pub(super) fn pending(
    program: &Program,
    frames: &mut Frames,
    stacks: &[(usize, u64, &DeferSlots)],
) -> Vec<PendingUnlock> {
    let memory = program.memory();
    let at = |sp: u64, offset: usize| sp.saturating_add(offset as u64);
    let pieces: Vec<Piece> = stacks.iter().map(|(_, sp, slots)| (at(*sp, slots.bits), 1)).collect();
    let bits = memory.read_many(&pieces);
    let mut calls = Vec::new();
    for (i, (_, sp, slots)) in stacks.iter().enumerate() {
        let bits = bits.get(i).and_then(|byte| byte.first()).copied().unwrap_or(0);
        let set = slots.slots.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1);
        calls.extend(set.map(|(_, offset)| (i, at(*sp, *offset))));
    }
    let pieces: Vec<Piece> = calls.iter().map(|(_, slot)| (*slot, 8)).collect();
    let slots = memory.read_many(&pieces);
    let closure = |i| slots.get(i).and_then(|word| u64_at(word, 0)).unwrap_or(0);
    // A closure: its code, then what it has captured.
    let words = |i: usize| [(closure(i), 8), (closure(i).saturating_add(8), 8)];
    let pieces: Vec<Piece> = (0..calls.len()).flat_map(words).collect();
    let closures = memory.read_many(&pieces);
    let word = |i| closures.get(i).and_then(|word| u64_at(word, 0));
    let mut known = HashMap::new();
    let mut found = Vec::new();
    for (i, (stack, _)) in calls.iter().enumerate() {
        let Some(code) = word(2 * i) else { continue };
        if !known.contains_key(&code) && known.len() >= MOST_FUNCTIONS {
            continue;
        }
        let unlocks = known.entry(code).or_insert_with(|| unlocks(program, frames, code));
        let (Some((reads, named)), (goroutine, _, slots)) = (unlocks, &stacks[*stack]) else { continue };
        found.push(PendingUnlock {
            goroutine: *goroutine,
            captured: word(2 * i + 1).unwrap_or(0),
            named: Arc::clone(named),
            reads: *reads,
            function: Arc::clone(&slots.function),
            address: slots.address,
        });
    }
    found
}

/// Whether a deferred function unlocks, for readers or not, and what addresses its code has.
fn unlocks(program: &Program, frames: &mut Frames, entry: u64) -> Option<(bool, Arc<[u64]>)> {
    let (part, function) = program.function_at(entry).filter(|(_, function)| function.entry == entry)?;
    let length = (part.pclntab.end(function) - entry).min(LONGEST);
    let code = program.constant(entry, length as usize)?;
    let mut decoder = Decoder::with_ip(64, &code, entry, DecoderOptions::NONE);
    let (mut reads, mut named) = (None, Vec::new());
    while decoder.can_decode() {
        let instruction = decoder.decode();
        let here = CodeAddress { pc: instruction.ip(), exact: true };
        if reads.is_none() {
            // The outermost one counts: to unlock for writing is to unlock a mutex, too.
            let place = frames.place(program, here);
            let inlined = place.iter().flat_map(|place| place.frames().map(|frame| &*frame.function));
            reads = inlined.filter_map(unlock).last();
        }
        if reads.is_none() && instruction.flow_control() == FlowControl::Call {
            let target = program.function_at(instruction.near_branch_target());
            reads = target.and_then(|(part, function)| unlock(&part.pclntab.name(function)));
        }
        let relative = instruction.is_ip_rel_memory_operand() && instruction.memory_base() == Register::RIP;
        if relative {
            named.push(instruction.ip_rel_memory_address());
        }
    }
    Some((reads?, named.into()))
}

fn unlock(function: &str) -> Option<bool> {
    UNLOCKS.iter().find(|(name, _)| *name == function).map(|(_, reads)| *reads)
}
