//! Walks the user stack by the uploaded rows.

use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_user};
use core::ffi::{c_long, c_void};
use leakscope_common::config::{MAX_MAPPINGS, state};
use leakscope_common::heap::INFLIGHT_DEPTH;
use leakscope_common::unwind::{
    MAX_FRAMES, MappingEntry, ReadWord, Row, RowIndex, StackEnd, WINDOW_BYTES, cfa, find_row, hash_frame,
    stack_identity, step,
};

use crate::maps::{self, BUCKETS, CACHED_ROWS, MAPPINGS, ROW_CACHE, ROWS, SCRATCH};
use crate::stack::Scratch;
use crate::{emit, known, task};

/// A remembered row. `key ^ row` is the address and generation it was found for, so a pair that was
/// torn by preemption does not match.
#[repr(C)]
pub(crate) struct CachedRow {
    key: u64,
    row: u64,
}

/// Where a walk begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// At a function's entry, where the stack pointer is still that of its first instruction: its
    /// caller needs no row.
    Entry,
    /// Anywhere in a function.
    Anywhere,
}

/// Reads the stack from `s.regs` on into the window, and notes the table in use.
#[inline(always)]
pub(crate) fn read_window(s: &mut Scratch) {
    s.table = maps::slot(state::TABLE);
    s.window_at = 0;
    let at = s.regs.sp & !7;
    // SAFETY: reads the user's stack into the window; the helper checks the address.
    if unsafe { bpf_probe_read_user((&raw mut s.window).cast(), WINDOW_BYTES as u32, at as *const c_void) }
        == 0
    {
        s.window_at = at;
    }
}

/// Unwinds from `s.regs` until the stack ends; the window was read.
#[inline(always)]
pub(crate) fn walk(s: &mut Scratch, index: u32, start: Start) {
    s.hash = 0;
    s.depth = 0;
    s.frame_pointer_frames = 0;
    s.proven_sp = s.regs.sp;
    s.end = StackEnd::Truncated as u64;
    (s.trampoline, s.return_instance) = task::pending_returns();
    if start == Start::Entry {
        record_frame(s);
        let at = s.regs.sp;
        let Some(return_address) = Window(s).word(at) else {
            s.end = StackEnd::ReadFault as u64;
            return;
        };
        s.regs.ip = return_address;
        s.regs.sp = at.wrapping_add(8);
        s.regs.exact = 0;
        if let Err(end) = see_through(s) {
            s.end = end as u64;
            return;
        }
    }
    let mut context = index;
    // SAFETY: `frame` matches the callback's signature, and `context` outlives the call.
    unsafe {
        bpf_loop(MAX_FRAMES as u32, frame as *const () as *mut c_void, (&raw mut context).cast(), 0);
    }
}

/// Identifies the stack: its frames and how it ended.
#[inline(always)]
pub(crate) fn identity(s: &Scratch) -> u64 {
    if s.known != 0 { s.known } else { stack_identity(s.hash, s.end) }
}

/// One frame; returns 1 to stop. Static and not inlined, as `bpf_loop` needs it.
#[inline(never)]
unsafe extern "C" fn frame(_: u32, context: *mut c_void) -> c_long {
    // SAFETY: `walk` passes a pointer to its slot index.
    let index = unsafe { *context.cast::<u32>() };
    let Some(p) = SCRATCH.get_ptr_mut(index) else { return 1 };
    // SAFETY: the slot was claimed by the program that called `walk`.
    let s = unsafe { &mut *p };
    match next(s) {
        Ok(()) => 0,
        Err(end) => {
            s.end = end as u64;
            1
        }
    }
}

#[inline(always)]
fn next(s: &mut Scratch) -> Result<(), StackEnd> {
    let depth = s.depth;
    if depth >= MAX_FRAMES as u64 {
        return Err(StackEnd::Truncated);
    }
    record_frame(s);
    let row = cached_row(s, s.regs.lookup_ip())?;
    if row.cfa_kind() == cfa::END {
        s.frame_pointer_frames += 1;
    }
    if row.cfa_kind() == cfa::SIGNAL {
        s.signalled = 1;
    }
    let mut regs = s.regs;
    let index = Uploaded(&raw mut s.hidden);
    let stepped = step(&mut regs, row, &index, &mut Window(s));
    s.regs = regs;
    see_through(s)?;
    stepped
}

/// Adds the current frame to the record.
#[inline(always)]
fn record_frame(s: &mut Scratch) {
    let ip = s.regs.ip;
    s.record.frames[(s.depth & 127) as usize] = ip | ((s.regs.exact != 0) as u64) << 63;
    s.depth += 1;
    s.hash = hash_frame(s.hash, ip);
}

/// After a step: replaces the return probes' trampoline by what it stands for, and notices a frame that is
/// looked out for.
#[inline(always)]
fn see_through(s: &mut Scratch) -> Result<(), StackEnd> {
    if s.trampoline != 0 && s.regs.ip == s.trampoline {
        let at = s.regs.sp.wrapping_sub(8);
        s.words = known::TOO_MANY;
        s.regs.ip = task::original_return(s, at)?;
    }
    if s.watch != 0 {
        look_out(s);
    }
    Ok(())
}

/// Notes the first of the frames looked out for that the walk comes to.
#[inline(always)]
fn look_out(s: &mut Scratch) {
    if s.frame_pointer_frames == 0 {
        s.proven_sp = s.regs.sp;
    }
    let mut i = 0;
    while i < INFLIGHT_DEPTH {
        let watched = s.watched[i];
        if (i as u64) < s.watch
            && s.crossed == 0
            && s.regs.sp == watched.cfa
            && s.regs.ip == watched.return_address
        {
            s.crossed = i as u64 + 1;
            s.from_handler = s.signalled;
        }
        i += 1;
    }
}

/// Reads words through the window, which moves along with the walk.
struct Window<'a>(&'a mut Scratch);

impl ReadWord for Window<'_> {
    #[inline(always)]
    fn word(&mut self, addr: u64) -> Option<u64> {
        let s = &mut *self.0;
        if addr & 7 == 0 {
            let distance = addr.wrapping_sub(s.window_at);
            if s.window_at != 0 && distance < WINDOW_BYTES as u64 {
                let at = (distance >> 3) as usize & (WINDOW_BYTES / 8 - 1);
                let word = s.window[at];
                known::note(s, at, word);
                return Some(word);
            }
            s.words = known::TOO_MANY;
            let window = (&raw mut s.window).cast();
            // SAFETY: the helper checks the user's address; the window has that size.
            if unsafe { bpf_probe_read_user(window, WINDOW_BYTES as u32, addr as *const c_void) } == 0 {
                s.window_at = addr;
                return Some(s.window[0]);
            }
            s.window_at = 0;
        }
        s.words = known::TOO_MANY;
        let mut word = 0u64;
        // SAFETY: as above, for 8 bytes.
        let read = unsafe { bpf_probe_read_user((&raw mut word).cast(), 8, addr as *const c_void) };
        (read == 0).then_some(word)
    }

    #[inline(always)]
    fn register(&mut self, number: u8) -> Option<u64> {
        let s = &mut *self.0;
        // What is remembered of a stack is compared by its words and its three registers.
        s.words = known::TOO_MANY;
        Some(s.registers[(number & 15) as usize])
    }
}

#[inline(always)]
fn cached_row(s: &mut Scratch, ip: u64) -> Result<Row, StackEnd> {
    let generation = s.table >> 32;
    let wanted = ip ^ (generation << 48);
    let slot = ((ip >> 1) as u32).wrapping_mul(0x9E37_79B1) >> (32 - CACHED_ROWS.trailing_zeros());
    let Some(cached) = ROW_CACHE.get_ptr_mut(slot) else { return Err(StackEnd::NoRows) };
    // SAFETY: a value of this CPU's array; torn pairs are told by the key.
    let (key, bits) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*cached).key),
            core::ptr::read_volatile(&raw const (*cached).row),
        )
    };
    if key ^ bits == wanted {
        return Ok(Row::from_bits(bits));
    }
    let row = find(s, ip)?;
    let bits = row.to_bits();
    // SAFETY: as above.
    unsafe {
        core::ptr::write_volatile(&raw mut (*cached).key, wanted ^ bits);
        core::ptr::write_volatile(&raw mut (*cached).row, bits);
    }
    Ok(row)
}

#[inline(always)]
fn find(s: &mut Scratch, ip: u64) -> Result<Row, StackEnd> {
    let Some(mapping) = find_mapping(s, ip) else {
        emit::ask_refresh();
        // The next one may find a mapping.
        s.words = known::TOO_MANY;
        return Err(StackEnd::NoMapping);
    };
    let relative = mapping.relative(ip);
    let row = relative.and_then(|relative| find_row(&Uploaded(&raw mut s.hidden), &mapping, relative));
    Ok(row.unwrap_or(Row::new(0, cfa::END, 0, 0, 0)))
}

/// The uploaded table, and a word of map memory to hide values in.
struct Uploaded(*mut u64);

/// Passes a value through map memory, whose content the verifier knows nothing about.
#[inline(always)]
fn hide(through: *mut u64, value: u32) -> u32 {
    // SAFETY: `through` points into the claimed scratch slot.
    unsafe {
        core::ptr::write_volatile(through, value as u64);
        core::ptr::read_volatile(through) as u32
    }
}

impl RowIndex for Uploaded {
    #[inline(always)]
    fn bucket(&self, index: u32) -> Option<u32> {
        BUCKETS.get(index).copied()
    }

    #[inline(always)]
    fn row(&self, index: u32) -> Option<Row> {
        ROWS.get(index).copied()
    }

    #[inline(always)]
    fn hide(&self, value: u32) -> u32 {
        hide(self.0, value)
    }
}

#[inline(always)]
fn find_mapping(s: &mut Scratch, ip: u64) -> Option<MappingEntry> {
    let base = ((s.table >> 32) as u32 & 1) * MAX_MAPPINGS;
    if s.mapping < s.table & 0xffff_ffff
        && let Some(last) = MAPPINGS.get(base.wrapping_add(s.mapping as u32))
        && last.start <= ip
        && ip < last.end
    {
        return Some(*last);
    }
    let (mut low, mut high) = (0u32, s.table as u32);
    let mut round = 0;
    while round < 14 {
        if low >= high {
            break;
        }
        let middle = (low + high) >> 1;
        let entry = MAPPINGS.get(base.wrapping_add(middle))?;
        if ip < entry.start {
            high = middle;
        } else if ip >= entry.end {
            low = middle + 1;
        } else {
            s.mapping = middle as u64;
            return Some(*entry);
        }
        low = hide(&raw mut s.hidden, low);
        high = hide(&raw mut s.hidden, high);
        round += 1;
    }
    None
}
