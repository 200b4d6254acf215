//! Functions that leave the whole work to another allocator function, which has its own probes.
//!
//! libstdc++'s `operator new` calls `malloc`; glibc's `reallocarray` jumps to `realloc`. A second
//! probe on top would cost as much as the first and tell nothing new. A function counts as such only
//! if nothing that could allocate or free is reachable in it without passing the other one.

use std::collections::{BTreeSet, HashSet};

use iced_x86::{Code, FlowControl, Instruction, InstructionInfoFactory, OpAccess, OpKind};
use leakscope_common::probe::Effect;

use super::callee::{Callee, callee};
use super::image::Image;
use super::table::{self, AllocatorFunction};
use super::x86;

const MAX_INSTRUCTIONS: usize = 512;
/// Bytes without a branch that are read at once.
const MAX_RUN: usize = 1024;

/// Functions that return and neither allocate nor free.
const HARMLESS: &[&str] = &["__errno_location", "_ZSt15get_new_handlerv", "__popcountdi2"];

/// Functions that do not return, or after which the caller does not.
const NO_RETURN: &[&str] = &[
    "abort",
    "__cxa_allocate_exception",
    "_Unwind_Resume",
    "__cxa_throw",
    "__cxa_rethrow",
    "_ZSt17__throw_bad_allocv",
    "_ZSt28__throw_bad_array_new_lengthv",
    "_ZSt9terminatev",
    "__stack_chk_fail",
];

/// Whether the analysis asks for functions of this name.
pub(crate) fn knows(name: &str) -> bool {
    table::lookup(name).is_some() || HARMLESS.contains(&name) || NO_RETURN.contains(&name)
}

/// The allocator functions, by name and address where defined in this file, that do all the work of
/// the function at `address`; `None` if it does some of it by itself.
pub(crate) fn delegates(
    image: &dyn Image,
    function: &AllocatorFunction,
    address: u64,
) -> Option<BTreeSet<(String, Option<u64>)>> {
    let mut found = BTreeSet::new();
    let mut info = InstructionInfoFactory::new();
    let mut seen = HashSet::new();
    let mut queue = vec![address];
    while let Some(start) = queue.pop() {
        let mut decoder = x86::decoder(image.code(start, MAX_RUN), start);
        loop {
            if !decoder.can_decode() {
                return None;
            }
            let instruction = decoder.decode();
            if !seen.insert(instruction.ip()) {
                break;
            }
            if seen.len() > MAX_INSTRUCTIONS || instruction.is_invalid() || works(&mut info, &instruction) {
                return None;
            }
            match instruction.flow_control() {
                FlowControl::Next => {}
                FlowControl::Return => break,
                FlowControl::Call | FlowControl::IndirectCall => {
                    let Callee::Named { name, address: callee } = callee(image, &instruction) else {
                        return None;
                    };
                    if NO_RETURN.contains(&name) {
                        break;
                    }
                    if HARMLESS.contains(&name) {
                        continue;
                    }
                    // What is called in mid-function may be a part of the work only (realloc calls
                    // malloc), except in C++ operators, which wrap it in the new handler's loop.
                    if function.is_operator() && takes_over(function, name) && callee != Some(address) {
                        found.insert((name.to_owned(), callee));
                        break;
                    }
                    return None;
                }
                FlowControl::UnconditionalBranch | FlowControl::IndirectBranch => {
                    match callee(image, &instruction) {
                        Callee::Named { name, address: callee }
                            if takes_over(function, name) && callee != Some(address) =>
                        {
                            found.insert((name.to_owned(), callee));
                        }
                        Callee::Local(target) => queue.push(target),
                        _ => return None,
                    }
                    break;
                }
                FlowControl::ConditionalBranch => queue.push(instruction.near_branch_target()),
                _ => return None,
            }
        }
    }
    (!found.is_empty()).then_some(found)
}

/// Whether the account stays right when only the function `name` is probed.
fn takes_over(function: &AllocatorFunction, name: &str) -> bool {
    let allocates = |effect| matches!(effect, Effect::Allocate | Effect::AllocateOut);
    table::lookup(name).is_some_and(|other| {
        function.effect == other.effect || allocates(function.effect) && allocates(other.effect)
    })
}

/// Whether the instruction changes memory other than the stack and `errno`.
fn works(info: &mut InstructionInfoFactory, instruction: &Instruction) -> bool {
    if matches!(instruction.code(), Code::Syscall) || instruction.has_lock_prefix() {
        return true;
    }
    let sets_errno = instruction.code() == Code::Mov_rm32_imm32
        && instruction.op1_kind() == OpKind::Immediate32
        && matches!(instruction.immediate32() as i32, libc::ENOMEM | libc::EINVAL);
    !sets_errno
        && info.info(instruction).used_memory().iter().any(|memory| {
            !matches!(memory.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess)
                && !matches!(x86::number(memory.base()), Some(4 | 5))
        })
}
