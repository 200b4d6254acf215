//! Where in the runtime's functions probes stand.
//!
//! Never a return probe: Go moves stacks, and would find the trampoline's address on them. Each probe
//! stands on an instruction that the kernel emulates (`push`, `jbe`, `call`).

use std::collections::HashSet;

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, Register};

use super::code::references;
use super::moduledata::Part;
use super::pclntab::Function;
use super::program::Program;
use leakscope_common::go::{BEFORE_GROWTH, SPAN_IN_RBX};

/// What a probe sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoEvent {
    /// A goroutine is created.
    Created,
    /// A goroutine ends.
    Exited,
    /// A span was taken from the heap, for an object of its own or for many small ones.
    Allocated,
}

/// A place in the runtime that is probed, and what that means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoProbe {
    /// What it sees.
    pub event: GoEvent,
    /// The function that it stands in.
    pub function: &'static str,
    /// Address of the instruction in the target.
    pub address: u64,
    /// Where that is in the program's file.
    pub offset: u64,
    /// What the kernel side is told.
    pub cookie: u64,
}

/// Most bytes of a function that are decoded.
const LONGEST_FUNCTION: u64 = 1 << 16;
/// Most functions that are looked at for those that allocate.
const MOST_ALLOCATORS: usize = 256;
/// Most instructions before the frame is made.
const PROLOGUE: usize = 6;
/// Functions that a collection runs only while it marks: they begin with a look at the write barrier.
const MARKERS: [&str; 2] = ["runtime.gcDrain", "runtime.gcDrainN"];

/// The probes on goroutines; what cannot be placed is missing.
pub fn goroutines(program: &Program) -> Vec<GoProbe> {
    let entry = |event, function| {
        let (address, cookie) = prologue(&code(program, function)?)?;
        probe(program, event, function, address, cookie)
    };
    [entry(GoEvent::Created, "runtime.newproc1"), entry(GoEvent::Exited, "runtime.goexit0")]
        .into_iter()
        .flatten()
        .collect()
}

/// The probes on the heap: both, or none.
pub fn heap(program: &Program) -> Vec<GoProbe> {
    let find = || {
        let entry = |name| program.function(name).map(|(_, f)| f.entry);
        // After a refill the search for a free object begins anew: its first argument is the span.
        let free = "runtime.(*mcache).nextFree";
        let refill = entry("runtime.(*mcache).refill")?;
        let index = entry("runtime.(*mspan).nextFreeIndex")?;
        let calls = calls(&code(program, free)?);
        let refilled = calls.iter().position(|(_, target)| *target == refill)?;
        let (small, _) = *calls.get(refilled + 1).filter(|(_, target)| *target == index)?;
        // A large object's span joins the list of those that are full: its second argument.
        let large = "runtime.(*mcache).allocLarge";
        let push = entry("runtime.(*spanSet).push")?;
        let (joins, _) = *self::calls(&code(program, large)?).iter().find(|(_, target)| *target == push)?;
        Some(vec![
            probe(program, GoEvent::Allocated, free, small, 0)?,
            probe(program, GoEvent::Allocated, large, joins, SPAN_IN_RBX)?,
        ])
    };
    find().unwrap_or_default()
}

/// Where the functions stand that allocate small objects: all that look for a free object (`nextFree`), whatever they
/// are called. Not those that others of them call (`mallocgcSmallNoScanSlowPath` of Go 1.27): an object would count
/// twice. Offset in the file and cookie; empty if one of them cannot be probed.
pub fn allocators(program: &Program) -> Vec<(u64, u64)> {
    let find = || {
        let (part, free) = program.function("runtime.(*mcache).nextFree")?;
        let table = &part.pclntab;
        let named = |i| table.function(i).filter(|f| table.name(*f).starts_with("runtime.malloc"));
        let mut found: Vec<(u64, Vec<Instruction>)> = Vec::new();
        for function in (0..table.functions()).filter_map(named).take(MOST_ALLOCATORS) {
            let code = code_of(program, part, function)?;
            if calls(&code).iter().any(|(_, target)| *target == free.entry) {
                found.push((function.entry, code));
            }
        }
        let called: HashSet<u64> = found.iter().flat_map(|(_, code)| calls(code)).map(|(_, to)| to).collect();
        let outer = found.iter().filter(|(entry, _)| !called.contains(entry));
        outer
            .map(|(_, code)| {
                let (address, cookie) = prologue(code)?;
                Some((program.file_offset(address)?, cookie))
            })
            .collect::<Option<Vec<_>>>()
    };
    find().unwrap_or_default()
}

/// Address of a byte that is not 0 while a collection marks (`runtime.writeBarrier`).
pub fn marking(program: &Program) -> Option<u64> {
    let part = program.parts.first()?;
    let first =
        |function| references(program, function).into_iter().find(|address| part.is_variable(*address));
    let [one, other] = MARKERS.map(first);
    one.filter(|one| other.is_none_or(|other| *one == other))
}

fn probe(
    program: &Program,
    event: GoEvent,
    function: &'static str,
    address: u64,
    cookie: u64,
) -> Option<GoProbe> {
    Some(GoProbe { event, function, address, offset: program.file_offset(address)?, cookie })
}

/// The instructions of a function.
pub(super) fn code(program: &Program, name: &str) -> Option<Vec<Instruction>> {
    let (part, function) = program.function(name)?;
    code_of(program, part, function)
}

fn code_of(program: &Program, part: &Part, function: Function) -> Option<Vec<Instruction>> {
    let length = (part.pclntab.end(function) - function.entry).min(LONGEST_FUNCTION);
    let bytes = program.constant(function.entry, usize::try_from(length).ok()?)?;
    Some(Decoder::with_ip(64, &bytes, function.entry, DecoderOptions::NONE).iter().collect())
}

/// The calls of a function, in the order of addresses, and what they call.
pub(super) fn calls(code: &[Instruction]) -> Vec<(u64, u64)> {
    code.iter()
        .filter(|i| i.code() == Code::Call_rel32_64)
        .map(|i| (i.ip(), i.near_branch_target()))
        .collect()
}

/// The instruction of a prologue at which arguments are in their registers and the return address is on
/// top of the stack, and the cookie that says which one it is: the `push` of the frame pointer, or, before
/// Go 1.21, the jump that leads to where stacks grow.
pub(super) fn prologue(code: &[Instruction]) -> Option<(u64, u64)> {
    let mut jump = None;
    for instruction in code.iter().take(PROLOGUE) {
        match instruction.mnemonic() {
            Mnemonic::Push if instruction.op0_register() == Register::RBP => {
                return Some((instruction.ip(), 0));
            }
            Mnemonic::Cmp => {}
            // A large frame's end: r12 is free.
            Mnemonic::Lea | Mnemonic::Mov if instruction.op0_register() == Register::R12 => {}
            Mnemonic::Sub if instruction.op0_register() == Register::R12 => {}
            Mnemonic::Jbe if jump.is_none() => jump = Some((instruction.ip(), BEFORE_GROWTH)),
            Mnemonic::Jb if instruction.flow_control() == FlowControl::ConditionalBranch => {}
            _ => break,
        }
    }
    jump
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8]) -> Vec<Instruction> {
        Decoder::with_ip(64, bytes, 0x1000, DecoderOptions::NONE).iter().collect()
    }

    #[test]
    fn prologues() {
        // cmp rsp, [r14+16]; jbe; push rbp; mov rbp, rsp
        let push = [0x49, 0x3b, 0x66, 0x10, 0x0f, 0x86, 0x6d, 3, 0, 0, 0x55, 0x48, 0x89, 0xe5];
        assert_eq!(prologue(&decode(&push)), Some((0x100a, 0)));
        let near = [0x49, 0x3b, 0x66, 0x10, 0x76, 0x18, 0x55, 0x48, 0x89, 0xe5];
        assert_eq!(prologue(&decode(&near)), Some((0x1006, 0)));
        // Go 1.19: cmp; jbe; sub rsp, 0x48
        let sub = [0x49, 0x3b, 0x66, 0x10, 0x0f, 0x86, 0x86, 3, 0, 0, 0x48, 0x83, 0xec, 0x48];
        assert_eq!(prologue(&decode(&sub)), Some((0x1004, BEFORE_GROWTH)));
        // A large frame: lea r12, [rsp-0x88]; cmp r12, [r14+16]; jbe; push rbp
        let large =
            [0x4c, 0x8d, 0xa4, 0x24, 0x78, 0xff, 0xff, 0xff, 0x4d, 0x3b, 0x66, 0x10, 0x76, 0x10, 0x55];
        assert_eq!(prologue(&decode(&large)), Some((0x100e, 0)));
        // sub rsp first: arguments are there, but not the frame.
        assert_eq!(prologue(&decode(&[0x48, 0x83, 0xec, 0x48])), None);
        assert_eq!(prologue(&[]), None);
    }

    #[test]
    fn calls_in_order() {
        let code = [0xe8, 0xfb, 0x0f, 0, 0, 0x90, 0xe8, 0xf5, 0x1f, 0, 0, 0xff, 0xd0];
        assert_eq!(calls(&decode(&code)), [(0x1000, 0x2000), (0x1006, 0x3000)]);
    }
}
