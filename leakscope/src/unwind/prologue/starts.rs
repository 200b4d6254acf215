//! Where functions start.

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::Mnemonic;
use object::read::elf::FileHeader as _;
use object::{LittleEndian, Object as _, ObjectKind, ObjectSymbol as _, SymbolKind};

use super::code::Code;
use super::gaps::Gaps;
use crate::process::ElfFile;

/// `mov $15, %rax; syscall` and its short form: `rt_sigreturn`, to which a signal handler returns.
const SIGNAL_RETURNS: [&[u8]; 2] =
    [&[0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05], &[0xb8, 15, 0, 0, 0, 0x0f, 0x05]];
/// Least code without rows for which other code is searched for calls to it: less is what every program has
/// of its C library's start-up code.
const WORTH_A_SWEEP: u32 = 4096;
/// Most data that is searched for addresses of functions.
const MOST_DATA: u64 = 64 << 20;

/// Places in the code without rows.
#[derive(Debug, Default)]
pub(super) struct Starts {
    /// Functions, and where the symbol says that they end.
    pub(super) functions: BTreeMap<u32, Option<u32>>,
    /// Addresses that code takes, or data that is relocated: functions, if they lie where one can start.
    pub(super) taken: BTreeSet<u32>,
    /// Addresses in the data of a program that is not relocated: functions, or where computed jumps go.
    pub(super) held: BTreeSet<u32>,
    /// The program's first instruction.
    pub(super) entry: Option<u32>,
    /// Signal return trampolines, from start to end.
    pub(super) signal_returns: Vec<(u32, u32)>,
}

/// Finds them in symbols, in the code that has rows, and in data.
pub(super) fn find(elf: &ElfFile, code: &Code, gaps: &Gaps) -> Starts {
    let mut starts = Starts::default();
    if let Ok(parsed) = elf.parsed() {
        for symbol in parsed.symbols().chain(parsed.dynamic_symbols()) {
            let Ok(at) = u32::try_from(symbol.address()) else { continue };
            // The cold part of a function is jumped to, with the frame of the rest.
            let is_function = symbol.kind() == SymbolKind::Text && symbol.is_definition();
            if !is_function || !gaps.contains(at) || symbol.name_bytes().is_ok_and(is_part) {
                continue;
            }
            let end = u32::try_from(symbol.size()).ok().filter(|&n| n > 0).and_then(|n| at.checked_add(n));
            let known = starts.functions.entry(at).or_default();
            *known = (*known).max(end);
        }
        let entry = u32::try_from(parsed.elf_header().e_entry(LittleEndian)).ok();
        starts.entry = entry.filter(|&at| at != 0 && gaps.contains(at));
        starts
            .functions
            .extend(starts.entry.map(|at| (at, None)).filter(|(at, _)| !starts.functions.contains_key(at)));
    }
    for (start, end) in gaps.iter() {
        let Some(bytes) = code.bytes(start) else { continue };
        let bytes = &bytes[..bytes.len().min((end - start) as usize)];
        for pattern in SIGNAL_RETURNS {
            let found = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(pattern));
            starts
                .signal_returns
                .extend(found.map(|at| (start + at as u32, start + (at + pattern.len()) as u32)));
        }
    }
    if gaps.bytes() >= WORTH_A_SWEEP {
        sweep(code, gaps, &mut starts);
        data(elf, gaps, &mut starts);
    }
    starts
}

fn is_part(name: &[u8]) -> bool {
    name.windows(5).any(|part| part == b".cold")
}

/// Calls from the code that has rows, and addresses that it takes.
fn sweep(code: &Code, gaps: &Gaps, starts: &mut Starts) {
    for (start, end) in gaps.between(code) {
        for i in code.sweep(start, end) {
            if i.is_call_near() {
                let target = u32::try_from(i.near_branch_target()).ok().filter(|&at| gaps.contains(at));
                if let Some(target) = target {
                    starts.functions.entry(target).or_default();
                }
            } else if i.mnemonic() == Mnemonic::Lea && i.is_ip_rel_memory_operand() {
                let taken = u32::try_from(i.ip_rel_memory_address()).ok().filter(|&at| gaps.contains(at));
                starts.taken.extend(taken);
            }
        }
    }
}

/// Words of the data that are such addresses: pointers of programs that are not relocated, and the addends of
/// relocations.
fn data(elf: &ElfFile, gaps: &Gaps, starts: &mut Starts) {
    let relocated = elf.parsed().is_ok_and(|parsed| parsed.kind() == ObjectKind::Dynamic);
    let into = if relocated { &mut starts.taken } else { &mut starts.held };
    let mut left = MOST_DATA;
    for segment in elf.segments().iter().filter(|segment| !segment.executable) {
        let Some(rest) = left.checked_sub(segment.file_size) else { return };
        left = rest;
        let Ok(bytes) = super::read(elf, segment.offset, segment.file_size) else { continue };
        for word in bytes.as_chunks().0 {
            let word = u64::from_le_bytes(*word);
            into.extend(u32::try_from(word).ok().filter(|&at| gaps.contains(at)));
        }
    }
}
