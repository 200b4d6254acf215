//! Fits one rule of the call frame information into a [`Row`].
//!
//! Every rule of the twenty largest programs and libraries of a Debian machine fits into a row or a
//! [`WideRule`](leakscope_common::unwind::WideRule) (`tests::largest` counts them). What does not, and ends
//! a stack as `Unsupported`: expressions that are no sum of registers and constants with at most one read of
//! memory, and vector registers as places; none has been met. A rule by a register besides rsp and rbp holds,
//! but is of use only in the innermost frame or one that a signal interrupted: of callers no other register
//! is known. Compilers and assembly write such rules where no call is made.

use gimli::{
    CfaRule, EhFrame, EndianSlice, LittleEndian, Register, RegisterRule, UnwindExpression, UnwindTableRow,
    X86_64,
};
use leakscope_common::unwind::{Row, cfa, rbp};

use super::wide::{self, WideRules};

pub(super) type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// Storage for the rows that are being built. x86-64 code saves six registers, the return address
/// and in the odd function some vector registers, and remembers few states at a time; what needs
/// more is hostile.
pub(super) struct Storage;

impl gimli::UnwindContextStorage<usize> for Storage {
    type Rules = [(Register, RegisterRule<usize>); 40];
    type Stack = [UnwindTableRow<usize, Self>; 8];
}

/// What the row at `pc` says: in the row itself if that can hold it, else in one of the `wide` rules.
///
/// `signal` tells that the function is marked as a signal trampoline.
pub(super) fn row(
    eh_frame: &EhFrame<Slice<'_>>,
    source: &UnwindTableRow<usize, Storage>,
    pc: u32,
    signal: bool,
    wide: &mut WideRules,
) -> Row {
    match source.register(X86_64::RA) {
        Some(RegisterRule::Undefined) => return Row::new(pc, cfa::END_OF_STACK, 0, rbp::SAME, 0),
        Some(RegisterRule::Expression(at)) if signal && is_sigframe(eh_frame, source, at) => {
            return Row::new(pc, cfa::SIGNAL, 0, rbp::SAME, 0);
        }
        _ => {}
    }
    narrow(eh_frame, source, pc).or_else(|| wide.row(pc, wide::rule(eh_frame, source)?)).unwrap_or(Row::new(
        pc,
        cfa::UNSUPPORTED,
        0,
        rbp::SAME,
        0,
    ))
}

/// The rule in the row itself; `None` if it does not fit.
fn narrow(eh_frame: &EhFrame<Slice<'_>>, source: &UnwindTableRow<usize, Storage>, pc: u32) -> Option<Row> {
    if source.register(X86_64::RA) != Some(RegisterRule::Offset(-8)) || source.register(X86_64::RSP).is_some()
    {
        return None;
    }
    let (cfa_kind, cfa_off) = match source.cfa() {
        CfaRule::RegisterAndOffset { register, offset } => register_cfa(*register, *offset),
        CfaRule::Expression(expression) => bytes(eh_frame, *expression).and_then(expression_cfa),
    }?;
    let (rbp_kind, rbp_off) = saved_rbp(eh_frame, source)?;
    Some(Row::new(pc, cfa_kind, cfa_off, rbp_kind, rbp_off))
}

fn register_cfa(register: Register, offset: i64) -> Option<(u8, u16)> {
    let kind = match register {
        X86_64::RSP => cfa::RSP,
        X86_64::RBP => cfa::RBP,
        _ => return None,
    };
    if offset % 8 != 0 {
        return None;
    }
    Some((kind, u16::try_from(offset / 8).ok()?))
}

/// Where the caller's rbp is. One that is lost is `UNSUPPORTED`, which keeps rbp: most callers do not need
/// it.
fn saved_rbp(eh_frame: &EhFrame<Slice<'_>>, source: &UnwindTableRow<usize, Storage>) -> Option<(u8, i8)> {
    let (kind, offset) = match source.register(X86_64::RBP) {
        None | Some(RegisterRule::SameValue) => return Some((rbp::SAME, 0)),
        Some(RegisterRule::Undefined) => return Some((rbp::UNSUPPORTED, 0)),
        Some(RegisterRule::Offset(offset)) => (rbp::CFA, offset),
        Some(RegisterRule::Expression(at)) => match base_register(bytes(eh_frame, at)?)? {
            (X86_64::RBP, offset, []) => (rbp::RBP, offset),
            _ => return None,
        },
        Some(_) => return None,
    };
    if offset % 8 != 0 {
        return None;
    }
    Some((kind, i8::try_from(offset / 8).ok()?))
}

/// `rsp + 8 + (((rip & 15) >= N) << 3)`, which linkers write for lazy-binding PLTs; N follows.
const PLT_HEAD: [u8; 6] =
    [gimli::DW_OP_breg7.0, 8, gimli::DW_OP_breg16.0, 0, gimli::DW_OP_lit15.0, gimli::DW_OP_and.0];
const PLT_TAIL: [u8; 4] = [gimli::DW_OP_ge.0, gimli::DW_OP_lit3.0, gimli::DW_OP_shl.0, gimli::DW_OP_plus.0];

fn expression_cfa(bytes: &[u8]) -> Option<(u8, u16)> {
    if let Some(rest) = bytes.strip_prefix(&PLT_HEAD) {
        return match rest.split_first()? {
            (&n, tail) if n == gimli::DW_OP_lit11.0 && tail == PLT_TAIL => Some((cfa::PLT11, 0)),
            (&n, tail) if n == gimli::DW_OP_lit10.0 && tail == PLT_TAIL => Some((cfa::PLT10, 0)),
            _ => None,
        };
    }
    let (register, at, rest) = base_register(bytes)?;
    let Some(rest) = rest.strip_prefix(&[gimli::DW_OP_deref.0]) else {
        let add = plus(rest)?;
        return register_cfa(register, at.checked_add(add)?);
    };
    let kind = match register {
        X86_64::RSP => cfa::DEREF_RSP,
        X86_64::RBP => cfa::DEREF_RBP,
        _ => return None,
    };
    if at % 8 != 0 {
        return None;
    }
    Some((kind, Row::deref(i8::try_from(at / 8).ok()?, u8::try_from(plus(rest)?).ok()?)))
}

/// The kernel's `rt_sigframe` as C libraries describe it in their restorer: with rsp at the
/// `ucontext`, rsp and rip of the interrupted code are 160 and 168 bytes up.
fn is_sigframe(
    eh_frame: &EhFrame<Slice<'_>>,
    source: &UnwindTableRow<usize, Storage>,
    ra: UnwindExpression<usize>,
) -> bool {
    let CfaRule::Expression(cfa) = source.cfa() else { return false };
    let ra = bytes(eh_frame, ra).and_then(base_register);
    let cfa = bytes(eh_frame, *cfa).and_then(base_register);
    matches!(ra, Some((X86_64::RSP, 168, [])))
        && cfa.is_some_and(|(register, at, rest)| {
            register == X86_64::RSP && at == 160 && rest == [gimli::DW_OP_deref.0]
        })
}

fn bytes<'a>(eh_frame: &EhFrame<Slice<'a>>, expression: UnwindExpression<usize>) -> Option<&'a [u8]> {
    Some(expression.get(eh_frame).ok()?.0.slice())
}

/// `DW_OP_bregN offset` at the start of an expression: register, offset, what follows.
fn base_register(bytes: &[u8]) -> Option<(Register, i64, &[u8])> {
    let (&op, mut rest) = bytes.split_first()?;
    let number = op.checked_sub(gimli::DW_OP_breg0.0).filter(|&n| n < 32)?;
    let (mut value, mut shift) = (0i64, 0u32);
    loop {
        let (&byte, tail) = rest.split_first()?;
        rest = tail;
        // No frame is that large, and the shifts below stay in range.
        if shift > 48 {
            return None;
        }
        value |= i64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            if byte & 0x40 != 0 {
                value |= -1 << shift;
            }
            return Some((Register(u16::from(number)), value, rest));
        }
    }
}

/// Nothing, or `DW_OP_plus_uconst n` with a small `n`, up to the end of an expression.
fn plus(bytes: &[u8]) -> Option<i64> {
    match *bytes {
        [] => Some(0),
        [op, n] if op == gimli::DW_OP_plus_uconst.0 && n < 0x80 => Some(i64::from(n)),
        [op, low, high] if op == gimli::DW_OP_plus_uconst.0 && low >= 0x80 && high < 0x80 => {
            Some(i64::from(low & 0x7f) | i64::from(high) << 7)
        }
        _ => None,
    }
}
