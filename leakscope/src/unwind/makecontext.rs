//! Where a coroutine of `makecontext` begins.
//!
//! glibc lets the coroutine's function return to `__start_context`, which resumes `uc_link` or ends the
//! program. Nothing called it, but its unwind entry has the default rule, which takes the pointer to the
//! next context for a return address. The function is private and has no name in a stripped library: it is
//! known as the code whose address `makecontext` puts in place of a return address, and by its first
//! instruction.
//!
//! Other libraries' coroutines (libucontext, Boost.Context, libco) say nothing of the kind about their first
//! frame, so their stacks end with another reason.

use std::ops::Range;

use iced_x86::{Code, Decoder, DecoderOptions, Mnemonic, Register};
use leakscope_common::unwind::{Row, cfa, rbp};
use object::{Object as _, ObjectSymbol as _};

use super::rows::FileRows;
use crate::process::ElfFile;

/// Bytes of `makecontext` that are looked at; glibc's has 700.
const BODY: u64 = 2048;
/// Bytes of `__start_context`, with the handling of a shadow stack.
const START: u64 = 256;
/// Longest instruction that pads functions.
const PADDING: u64 = 11;
/// `mov %rbx, %rsp`, which drops the arguments that `makecontext` put on the stack.
const DROP_ARGUMENTS: [u8; 3] = [0x48, 0x89, 0xdc];
/// `endbr64`
const ENDBR: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];

/// The rows of a file, in which a coroutine's first frame has no caller.
pub(super) fn end_coroutines(elf: &ElfFile, rows: FileRows) -> FileRows {
    let range = start_context(elf);
    match range.and_then(|r| Some((u32::try_from(r.start).ok()?, u32::try_from(r.end).ok()?))) {
        Some((start, end)) => {
            rows.replaced((start, end), vec![Row::new(start, cfa::END_OF_STACK, 0, rbp::SAME, 0)])
        }
        None => rows,
    }
}

/// The addresses that stand for `__start_context`: its code, and the byte before, by which it is looked up as
/// a return address.
pub(super) fn start_context(elf: &ElfFile) -> Option<Range<u64>> {
    let parsed = elf.parsed().ok()?;
    let makecontext = parsed.dynamic_symbols().chain(parsed.symbols()).find(|s| {
        s.is_definition() && s.name().is_ok_and(|name| name.split('@').next() == Some("makecontext"))
    })?;
    let (address, size) = (makecontext.address(), makecontext.size().clamp(1, BODY));
    let body = code(elf, address, size)?;
    let start = decode(body, address)
        .filter(|i| i.code() == Code::Lea_r64_m && i.memory_base() == Register::RIP)
        .map(|i| i.memory_displacement64())
        .find(|&target| begins_a_coroutine(elf, target))?;
    let last = decode(code(elf, start, START)?, start).find(|i| i.mnemonic() == Mnemonic::Hlt)?;
    // As a return address it is looked up by the byte before. Where a call ends there, that byte is the call's.
    let before = if is_padding(elf, start) { start - 1 } else { start };
    Some(before..last.next_ip())
}

fn begins_a_coroutine(elf: &ElfFile, address: u64) -> bool {
    code(elf, address, (ENDBR.len() + DROP_ARGUMENTS.len()) as u64)
        .is_some_and(|bytes| bytes.strip_prefix(&ENDBR).unwrap_or(bytes).starts_with(&DROP_ARGUMENTS))
}

/// Whether what ends before `address` only fills the gap to it.
fn is_padding(elf: &ElfFile, address: u64) -> bool {
    (1..=PADDING.min(address)).any(|length| {
        let Some(bytes) = code(elf, address - length, length) else { return false };
        let first = Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE).decode();
        first.len() as u64 == length && matches!(first.mnemonic(), Mnemonic::Nop | Mnemonic::Int3)
    })
}

/// At most `size` bytes of code at a virtual address.
fn code(elf: &ElfFile, address: u64, size: u64) -> Option<&[u8]> {
    let segment = elf
        .segments()
        .iter()
        .find(|s| s.executable && address.checked_sub(s.address).is_some_and(|into| into < s.file_size))?;
    let into = address - segment.address;
    elf.bytes_at(segment.offset.checked_add(into)?, size.min(segment.file_size - into)).ok()
}

fn decode(bytes: &[u8], address: u64) -> impl Iterator<Item = iced_x86::Instruction> {
    Decoder::with_ip(64, bytes, address, DecoderOptions::NONE).into_iter().take_while(|i| !i.is_invalid())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn this_machines_libc_has_it() {
        let libc = ElfFile::open(Path::new("/lib/x86_64-linux-gnu/libc.so.6")).expect("glibc");
        let range = start_context(&libc).expect("__start_context");
        let body = code(&libc, range.start + 1, 4).expect("its code");
        assert!(body.starts_with(&DROP_ARGUMENTS) || body == ENDBR, "{range:x?}: {body:x?}");
        let rows = crate::unwind::build(&libc, None).expect("rows");
        let rule = |pc: u64| {
            let after = rows.rows().partition_point(|row| u64::from(row.pc) <= pc);
            rows.rows()[after - 1].cfa_kind()
        };
        assert!(
            [range.start, range.start + 1, range.end - 1].iter().all(|&pc| rule(pc) == cfa::END_OF_STACK)
        );
        assert_ne!(rule(range.start - 1), cfa::END_OF_STACK, "nor the function before it");
        assert_ne!(rule(range.end), cfa::END_OF_STACK, "nor what follows");
    }

    #[test]
    fn a_file_without_coroutines_keeps_its_rows() {
        let own = ElfFile::open(&std::env::current_exe().expect("own path")).expect("own program");
        assert_eq!(start_context(&own), None);
    }
}
