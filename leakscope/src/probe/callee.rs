//! Who is called: through the procedure linkage table, a pointer of the loader's, or directly.

use iced_x86::{Code, Instruction, OpKind};

use super::image::Image;
use super::x86;

/// The destination of a call or of a jump out of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Callee<'a> {
    /// A function known by name; `address` is where this file defines it.
    Named {
        /// Its symbol.
        name: &'a str,
        /// Where this file defines it, if it does.
        address: Option<u64>,
    },
    /// Code of this file at an address.
    Local(u64),
    /// A register or a pointer that is not the loader's.
    Unknown,
}

/// The destination of a direct or indirect call or jump.
pub(crate) fn callee<'a>(image: &'a dyn Image, instruction: &Instruction) -> Callee<'a> {
    match instruction.code() {
        Code::Jmp_rm64 | Code::Call_rm64 => import(image, instruction),
        _ if instruction.near_branch_target() != 0 => at(image, instruction.near_branch_target()),
        _ => Callee::Unknown,
    }
}

fn import<'a>(image: &'a dyn Image, instruction: &Instruction) -> Callee<'a> {
    if instruction.op0_kind() != OpKind::Memory || !instruction.is_ip_rel_memory_operand() {
        return Callee::Unknown;
    }
    match image.import(instruction.ip_rel_memory_address()) {
        Some((name, address)) => Callee::Named { name, address },
        None => Callee::Unknown,
    }
}

fn at(image: &dyn Image, target: u64) -> Callee<'_> {
    if let Some(name) = image.name_at(target) {
        return Callee::Named { name, address: Some(target) };
    }
    // A stub of the procedure linkage table: at most `endbr64`, then a jump through a pointer.
    let stub = image.code(target, 16);
    let jump = x86::decoder(stub, target).into_iter().find(|i| i.code() != Code::Endbr64);
    match jump {
        Some(jump) if jump.code() == Code::Jmp_rm64 => match import(image, &jump) {
            Callee::Unknown => Callee::Local(target),
            named => named,
        },
        _ => Callee::Local(target),
    }
}
