//! Where in a function the entry probe goes.
//!
//! The first instruction that the kernel emulates and at which every argument of interest is still in
//! a register. The walk follows the straight line from the entry and ends where an instruction is the
//! target of a branch, so the chosen one runs exactly once a call. Where none fits, the probe goes on
//! the first instruction and costs a single step.

use std::collections::HashSet;

use iced_x86::{Code, FlowControl, Instruction, InstructionInfoFactory, OpAccess, OpKind, Register};
use leakscope_common::probe::{Cookie, Effect, NO_REGISTER};

use super::image::Image;
use super::returns;
use super::table::AllocatorFunction;
use super::x86::{self, Emulated};

/// What a hit of the entry probe costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CostClass {
    /// The kernel emulates the instruction: about 1 us.
    Emulated,
    /// The kernel single-steps a copy of the instruction: up to 17 us. With the reason why nothing
    /// cheaper fits.
    SingleStep(&'static str),
}

/// How the function's return is observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It is not: the entry says all.
    None,
    /// A return probe at the entry's instruction.
    ReturnProbe,
    /// Probes on the `ret` instructions themselves, because the function may throw and a return
    /// probe would break that.
    Instructions {
        /// File offsets, sorted.
        offsets: Vec<u64>,
        /// Why the function can also return elsewhere.
        complete: Result<(), String>,
    },
}

/// The probes of one function.
///
/// At the entry probe of a function with an [`Exit`] other than `None`, rsp is what it was on entry:
/// the return address is on top of the stack. The same holds at the exit instructions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// File offset of the probed instruction.
    pub entry: u64,
    /// Its distance from the start of the function.
    pub distance: u64,
    /// Cost of a hit.
    pub cost: CostClass,
    /// What the function does to the account.
    pub effect: Effect,
    /// Register of the size, as [`leakscope_common::probe::Register`] numbers them.
    pub size: u8,
    /// Register of the element count.
    pub count: u8,
    /// Register of the pointer.
    pub pointer: u8,
    /// Register of the address that the new block's address is stored to.
    pub out: u8,
    /// Register of xallocx's `extra`.
    pub extra: u8,
    /// The probed instruction as text.
    pub instruction: String,
    /// How the return is observed.
    pub exit: Exit,
    /// Of glibc's `free`: the return addresses of its calls that only empty a thread's cache, as the distance
    /// of the first from the probed instruction, and how many bytes they span.
    pub flushes: Option<(i16, u8)>,
}

impl Placement {
    /// The cookie of the entry and of every exit, for the function numbered `function` (not 0).
    pub fn cookie(&self, function: u16) -> Cookie {
        let cookie =
            Cookie::new(self.effect, self.size, self.count, self.pointer, self.out, self.extra, function);
        let cookie = match self.flushes {
            Some((first, span)) => cookie.flushing(first, span),
            None => cookie,
        };
        if matches!(self.exit, Exit::Instructions { .. }) { cookie.throwing() } else { cookie }
    }
}

/// Why a function can't be probed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Its address is not in the code of the file.
    #[error("its symbol points outside of the file's code")]
    NoCode,
    /// Its first bytes are no instruction.
    #[error("its first bytes are no x86-64 instruction")]
    Undecodable,
    /// The kernel refuses a probe there.
    #[error("`{instruction}`: {reason}")]
    Refused {
        /// The first instruction.
        instruction: String,
        /// What the kernel has against it.
        reason: &'static str,
    },
}

/// Bytes and instructions of the entry that are looked at.
const WINDOW: usize = 256;
const MAX_STEPS: usize = 48;
/// Bytes of a function that are searched for branches.
const MAX_BODY: usize = 64 << 10;

/// The registers of the System V calling convention, by argument index.
const ARGUMENTS: [u8; 6] = [7, 6, 2, 1, 8, 9];
pub(super) const RSP: u8 = 4;

/// Chooses the probes of the function at `address`, which is `size` bytes long (0 if unknown).
pub fn place(
    image: &dyn Image,
    function: &AllocatorFunction,
    address: u64,
    size: u64,
) -> Result<Placement, PlaceError> {
    let end = end_of(image, address, size);
    let window = image.code(address, WINDOW.min((end - address).try_into().unwrap_or(usize::MAX)));
    let first = x86::decoder(window, address).iter().next().ok_or(PlaceError::NoCode)?;
    if first.is_invalid() {
        return Err(PlaceError::Undecodable);
    }
    let (chosen, arguments, cost) = match choose(image, function, address, end, window) {
        Ok((chosen, arguments)) => (chosen, arguments, CostClass::Emulated),
        Err(why) => {
            if let Some(reason) = x86::refused(&window[..first.len()], &first) {
                return Err(PlaceError::Refused { instruction: x86::text(&first), reason });
            }
            (first, Arguments::new(function), CostClass::SingleStep(why))
        }
    };
    let exit = match (function.needs_return(), function.may_throw) {
        (false, _) => Exit::None,
        (true, false) => Exit::ReturnProbe,
        (true, true) => returns::instructions(image, address, end),
    };
    let register = |argument: Option<u8>| argument.map_or(NO_REGISTER, |a| arguments.register(a));
    Ok(Placement {
        entry: image.offset(chosen.ip()).ok_or(PlaceError::NoCode)?,
        distance: chosen.ip() - address,
        cost,
        effect: function.effect,
        size: register(function.size),
        count: register(function.count),
        pointer: register(function.pointer),
        out: register(function.out),
        extra: register(function.extra),
        instruction: x86::text(&chosen),
        exit,
        flushes: None,
    })
}

/// The end of the function for the purpose of choosing: its symbol's, or its unwind entry's, but not
/// past another function's start.
fn end_of(image: &dyn Image, address: u64, size: u64) -> u64 {
    let end = match size {
        0 => image.extent(address).map_or(address.saturating_add(WINDOW as u64), |extent| extent.end),
        size => address.saturating_add(size),
    };
    image.next_function(address).map_or(end, |next| end.min(next)).max(address.saturating_add(1))
}

fn choose(
    image: &dyn Image,
    function: &AllocatorFunction,
    address: u64,
    end: u64,
    window: &[u8],
) -> Result<(Instruction, Arguments), &'static str> {
    let targets = branch_targets(image.code(address, MAX_BODY.min((end - address) as usize)), address, end);
    let mut arguments = Arguments::new(function);
    let mut info = InstructionInfoFactory::new();
    let mut decoder = x86::decoder(window, address);
    let mut fallback: Result<(Instruction, Arguments), &'static str> = Err("no cheaper instruction near");
    let mut only_nops = true;
    let mut checked_null = false;
    let mut previous: Option<Instruction> = None;
    for _ in 0..MAX_STEPS {
        if !decoder.can_decode() {
            break;
        }
        let at = decoder.position();
        let instruction = decoder.decode();
        if instruction.is_invalid() {
            return fallback.or(Err("undecodable bytes come before a cheaper instruction"));
        }
        if instruction.ip() != address && targets.contains(&instruction.ip()) {
            return fallback.or(Err("a branch target comes before a cheaper instruction"));
        }
        match x86::emulated(&window[at..decoder.position()]) {
            Some(Emulated::Nop) if only_nops && fallback.is_err() => fallback = Ok((instruction, arguments)),
            Some(Emulated::Nop) | None => {}
            Some(Emulated::ConditionalJump)
                if !checked_null
                    && skips_null(image, function, &arguments, previous.as_ref(), &instruction) =>
            {
                // What follows runs for all but NULL, which changes no account.
                checked_null = true;
                fallback = Ok((instruction, arguments));
            }
            Some(_) => return Ok((instruction, arguments)),
        }
        only_nops &= instruction.code() == Code::Endbr64
            || x86::emulated(&window[at..decoder.position()]) == Some(Emulated::Nop);
        if !matches!(instruction.flow_control(), FlowControl::Next | FlowControl::ConditionalBranch) {
            return fallback.or(Err("control leaves before a cheaper instruction"));
        }
        if let Err(why) = follow(&mut arguments, function, &mut info, &instruction) {
            return fallback.or(Err(why));
        }
        previous = Some(instruction);
    }
    fallback
}

/// Applies an instruction to what is known about the arguments.
fn follow(
    arguments: &mut Arguments,
    function: &AllocatorFunction,
    info: &mut InstructionInfoFactory,
    instruction: &Instruction,
) -> Result<(), &'static str> {
    let used = info.info(instruction);
    // The block may be handed over by a store: past one, a free may already have taken effect.
    if function.pointer.is_some()
        && used.used_memory().iter().any(|m| writes(m.access()) && x86::number(m.base()) != Some(RSP))
    {
        return Err("memory is written before a cheaper instruction");
    }
    let copy = match instruction.code() {
        Code::Mov_r64_rm64 | Code::Mov_rm64_r64
            if instruction.op0_kind() == OpKind::Register && instruction.op1_kind() == OpKind::Register =>
        {
            x86::number(instruction.op0_register()).zip(x86::number(instruction.op1_register()))
        }
        _ => None,
    };
    if let Some((to, from)) = copy.filter(|&(to, _)| to != RSP) {
        arguments.copy(to, from);
    } else {
        for register in used.used_registers().iter().filter(|r| writes(r.access())) {
            let Some(number) = x86::number(register.register()) else { continue };
            if number == RSP && function.needs_return() {
                return Err("rsp changes before a cheaper instruction");
            }
            arguments.clobber(number);
        }
    }
    if arguments.intact() { Ok(()) } else { Err("an argument is overwritten before a cheaper instruction") }
}

pub(super) fn writes(access: OpAccess) -> bool {
    matches!(access, OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite)
}

/// Whether `jump` is the `je` of a NULL check of the freed pointer, to code that does nothing but
/// return.
fn skips_null(
    image: &dyn Image,
    function: &AllocatorFunction,
    arguments: &Arguments,
    previous: Option<&Instruction>,
    jump: &Instruction,
) -> bool {
    let (Effect::Free, Some(pointer), Some(test)) = (function.effect, function.pointer, previous) else {
        return false;
    };
    let tested = match test.code() {
        Code::Test_rm64_r64 if test.op0_kind() == OpKind::Register => {
            (test.op0_register() == test.op1_register()).then(|| test.op0_register())
        }
        _ => None,
    };
    matches!(jump.code(), Code::Je_rel8_64 | Code::Je_rel32_64)
        && tested.and_then(x86::number).is_some_and(|r| arguments.holds(pointer, r))
        && only_returns(image, jump.near_branch_target())
}

/// Whether the code at `address` does nothing but return.
fn only_returns(image: &dyn Image, address: u64) -> bool {
    for instruction in x86::decoder(image.code(address, 64), address).iter().take(8) {
        match instruction.code() {
            _ if x86::is_return(&instruction) => return true,
            Code::Pop_r64 | Code::Endbr64 | Code::Leaveq => {}
            Code::Xor_r32_rm32 | Code::Xor_rm32_r32
                if instruction.op0_kind() == OpKind::Register
                    && instruction.op1_kind() == OpKind::Register => {}
            Code::Add_rm64_imm8 | Code::Add_rm64_imm32 if instruction.op0_register() == Register::RSP => {}
            code if code.mnemonic() == iced_x86::Mnemonic::Nop => {}
            _ => return false,
        }
    }
    false
}

/// The targets of direct branches within `address..end`.
fn branch_targets(body: &[u8], address: u64, end: u64) -> HashSet<u64> {
    x86::decoder(body, address)
        .iter()
        .filter(|i| {
            matches!(i.flow_control(), FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch)
        })
        .map(|i| i.near_branch_target())
        .filter(|target| (address..end).contains(target))
        .collect()
}

/// Which registers hold which argument, as bit masks.
#[derive(Clone, Copy, Debug)]
struct Arguments {
    held: [u16; 6],
    wanted: [bool; 6],
}

impl Arguments {
    fn new(function: &AllocatorFunction) -> Self {
        let mut wanted = [false; 6];
        let all = [function.size, function.count, function.pointer, function.out, function.extra];
        for index in all.into_iter().flatten() {
            if let Some(slot) = wanted.get_mut(usize::from(index)) {
                *slot = true;
            }
        }
        Self { held: ARGUMENTS.map(|register| 1 << register), wanted }
    }

    fn copy(&mut self, to: u8, from: u8) {
        for mask in &mut self.held {
            let holds = *mask >> from & 1;
            *mask = *mask & !(1 << to) | holds << to;
        }
    }

    fn clobber(&mut self, register: u8) {
        for mask in &mut self.held {
            *mask &= !(1 << register);
        }
    }

    fn intact(&self) -> bool {
        self.held.iter().zip(self.wanted).all(|(&mask, wanted)| !wanted || mask != 0)
    }

    fn holds(&self, argument: u8, register: u8) -> bool {
        self.held.get(usize::from(argument)).is_some_and(|mask| mask >> register & 1 != 0)
    }

    /// The register of an argument: its own while it is intact, else the lowest copy.
    fn register(&self, argument: u8) -> u8 {
        let index = usize::from(argument);
        match (ARGUMENTS.get(index), self.held.get(index)) {
            (Some(&own), Some(mask)) if mask >> own & 1 != 0 => own,
            (_, Some(mask)) if *mask != 0 => mask.trailing_zeros() as u8,
            _ => NO_REGISTER,
        }
    }
}
