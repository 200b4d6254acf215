//! The walk up a stack in userspace: what the kernel side does, for threads found blocked.

use leakscope_common::unwind::{
    MAX_FRAMES, MappingEntry, ReadWord, Regs, RowIndex, StackEnd, find_row, step, step_frame_pointer,
};

/// A stack, innermost frame first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walked {
    /// Instruction pointers; all but the first (and those that a signal interrupted) are return
    /// addresses.
    pub frames: Vec<u64>,
    /// Why there are no more.
    pub end: StackEnd,
}

/// Walks up from `regs`. `mappings` are sorted by address.
pub fn walk(
    mut regs: Regs,
    mappings: &[MappingEntry],
    index: &impl RowIndex,
    mem: &mut impl ReadWord,
) -> Walked {
    let mut frames = Vec::new();
    let end = loop {
        if frames.len() >= MAX_FRAMES {
            break StackEnd::Truncated;
        }
        frames.push(regs.ip);
        let ip = regs.lookup_ip();
        let Some(mapping) = find_mapping(mappings, ip) else { break StackEnd::NoMapping };
        let row = mapping.relative(ip).and_then(|relative| find_row(index, mapping, relative));
        let stepped = match row {
            Some(row) => step(&mut regs, row, mem),
            None => step_frame_pointer(&mut regs, mem),
        };
        if let Err(end) = stepped {
            break end;
        }
    };
    Walked { frames, end }
}

fn find_mapping(mappings: &[MappingEntry], ip: u64) -> Option<&MappingEntry> {
    let after = mappings.partition_point(|mapping| mapping.start <= ip);
    mappings[..after].last().filter(|mapping| ip < mapping.end)
}
