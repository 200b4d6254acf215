//! The walk up a stack in userspace: what the kernel side does, for threads found blocked.

use leakscope_common::unwind::{
    MAX_FRAMES, MappingEntry, ReadWord, Regs, RowIndex, StackEnd, find_row, hash_frame, stack_identity, step,
    step_frame_pointer,
};

use crate::stack::StackFrame;

/// A stack, innermost frame first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walked {
    pub frames: Vec<StackFrame>,
    /// Why there are no more.
    pub end: StackEnd,
    /// The hash by which the kernel side would know the stack.
    pub hash: u64,
    /// Where each frame ends: the stack pointer of its caller. The last frame may have none.
    pub tops: Vec<u64>,
}

impl Walked {
    /// The stack pointer of the outermost frame that was reached: the live stack lies below it.
    pub fn top(&self) -> u64 {
        self.tops.last().copied().unwrap_or_default()
    }

    /// The frame that a word of the stack is in.
    pub fn frame_of(&self, address: u64) -> u32 {
        self.tops.partition_point(|&top| top <= address) as u32
    }
}

/// Return probes that are pending in the thread: they have replaced return addresses on its stack.
#[derive(Clone, Copy, Debug, Default)]
pub struct PendingReturns<'a> {
    /// Pairs of the address on the stack and the return address that belongs there, innermost first.
    /// Several of one address chain: the last one holds the caller's.
    pub replaced: &'a [[u64; 2]],
    /// Where the trampoline lies (`[uprobes]`), from start to end.
    pub trampoline: Option<(u64, u64)>,
}

impl PendingReturns<'_> {
    /// Puts the original return address back after a step.
    fn see_through(&self, regs: &mut Regs) -> Result<(), StackEnd> {
        let Some((start, end)) = self.trampoline else { return Ok(()) };
        if !(start..end).contains(&regs.ip) {
            return Ok(());
        }
        let at = regs.sp.wrapping_sub(8);
        let original = self.replaced.iter().rev().find(|[stack, _]| *stack == at);
        regs.ip = original.ok_or(StackEnd::Trampoline)?[1];
        Ok(())
    }
}

/// Walks up from `regs`. `mappings` are sorted by address.
pub fn walk(
    mut regs: Regs,
    mappings: &[MappingEntry],
    index: &impl RowIndex,
    mem: &mut impl ReadWord,
    returns: PendingReturns<'_>,
) -> Walked {
    let (mut frames, mut tops) = (Vec::new(), Vec::new());
    let mut hash = 0;
    let end = loop {
        if frames.len() >= MAX_FRAMES {
            break StackEnd::Truncated;
        }
        frames.push(StackFrame { address: regs.ip, exact: regs.exact != 0 });
        hash = hash_frame(hash, regs.ip);
        let ip = regs.lookup_ip();
        let Some(mapping) = find_mapping(mappings, ip) else { break StackEnd::NoMapping };
        let row = mapping.relative(ip).and_then(|relative| find_row(index, mapping, relative));
        let stepped = match row {
            Some(row) => step(&mut regs, row, index, mem),
            None => step_frame_pointer(&mut regs, mem),
        };
        if let Err(end) = returns.see_through(&mut regs).and(stepped) {
            break end;
        }
        tops.push(regs.sp);
    };
    Walked { frames, end, hash: stack_identity(hash, end as u64, 0), tops }
}

fn find_mapping(mappings: &[MappingEntry], ip: u64) -> Option<&MappingEntry> {
    let after = mappings.partition_point(|mapping| mapping.start <= ip);
    mappings[..after].last().filter(|mapping| ip < mapping.end)
}
