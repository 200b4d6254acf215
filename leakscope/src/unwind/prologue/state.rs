//! What is known of the frame at an instruction, and what the instruction makes of it.

use iced_x86::{
    Code, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register,
};
use leakscope_common::unwind::wide::{CFA, CallerValue, RSP};
use leakscope_common::unwind::{Row, WideRule, cfa, rbp};

use super::super::wide::WideRules;
use crate::probe::x86;

/// Where the caller's rbp is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SavedRbp {
    /// In rbp.
    Same,
    /// So many bytes below the CFA.
    Below(i32),
    /// Nowhere that is known.
    Lost,
}

/// Where the return address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReturnAddress {
    /// Below the CFA, where the call has put it.
    OnStack,
    /// Taken off the stack, into the register with this number.
    InRegister(u8),
    /// Taken off, to where is not known.
    Elsewhere,
    /// Nowhere: it was taken off and then overwritten, so nothing returns. The first function of a thread.
    Dropped,
}

/// What is known of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// CFA = rsp + this.
    sp: Option<i32>,
    /// CFA = rbp + this, where rbp is a frame pointer.
    bp: Option<i32>,
    saved_rbp: SavedRbp,
    return_address: ReturnAddress,
}

/// Two ways lead to an instruction with different frames.
#[derive(Debug)]
pub(super) struct Conflict;

impl State {
    /// At a function's first instruction.
    pub(super) const ENTRY: Self =
        Self { sp: Some(8), bp: None, saved_rbp: SavedRbp::Same, return_address: ReturnAddress::OnStack };

    /// Whether anything tells where the CFA is.
    pub(super) fn is_known(self) -> bool {
        self.sp.is_some() || self.bp.is_some()
    }

    /// What holds whichever way was taken, where a frame pointer may make up for the stack pointer: it is
    /// lowered in a loop.
    pub(super) fn join_by_frame_pointer(self, other: Self) -> Result<Self, Conflict> {
        let by_pointer = |state: Self| Self { sp: None, ..state };
        self.join(other)
            .or_else(|_| by_pointer(self).join(by_pointer(other)))
            .and_then(|joined| if joined.is_known() { Ok(joined) } else { Err(Conflict) })
    }

    /// What holds whichever way was taken.
    pub(super) fn join(self, other: Self) -> Result<Self, Conflict> {
        fn both(a: Option<i32>, b: Option<i32>) -> Result<Option<i32>, Conflict> {
            match (a, b) {
                (Some(a), Some(b)) if a != b => Err(Conflict),
                (Some(a), Some(_)) => Ok(Some(a)),
                _ => Ok(None),
            }
        }
        if self.return_address != other.return_address {
            return Err(Conflict);
        }
        let sp = both(self.sp, other.sp)?;
        // A frame pointer on one way, and any other use of rbp on the other.
        let bp = if self.bp == other.bp { self.bp } else { None };
        if sp.is_none() && bp.is_none() && (self.sp.is_some() || other.sp.is_some()) {
            return Err(Conflict);
        }
        let saved_rbp = if self.saved_rbp == other.saved_rbp { self.saved_rbp } else { SavedRbp::Lost };
        Ok(Self { sp, bp, saved_rbp, ..self })
    }

    /// After the instruction, on whichever way it is left.
    pub(super) fn after(self, instruction: &Instruction, info: &mut InstructionInfoFactory) -> Self {
        let mut next = self.moved(instruction, info);
        // Taken off the stack and then copied: where it is from then on is not followed.
        if let ReturnAddress::InRegister(number) = self.return_address
            && next.return_address != ReturnAddress::OnStack
            && reads(instruction, number, info)
        {
            next.return_address = ReturnAddress::Elsewhere;
        }
        next
    }

    fn moved(self, instruction: &Instruction, info: &mut InstructionInfoFactory) -> Self {
        let mut next = self;
        let i = instruction;
        let moved = i.stack_pointer_increment();
        match i.mnemonic() {
            // A call comes back with the stack pointer as it was.
            Mnemonic::Call | Mnemonic::Syscall => {
                next.overwrite(i, info);
                return next;
            }
            Mnemonic::Push if moved == -8 => {
                next.sp = self.sp.and_then(|sp| sp.checked_add(8));
                if i.op0_register() == Register::RBP && self.saved_rbp == SavedRbp::Same {
                    next.saved_rbp = next.sp.map_or(SavedRbp::Same, SavedRbp::Below);
                }
                // Anything else in that place is not the return address.
                if let ReturnAddress::InRegister(number) = self.return_address
                    && next.sp == Some(8)
                    && x86::number(i.op0_register()) == Some(number)
                {
                    next.return_address = ReturnAddress::OnStack;
                }
            }
            Mnemonic::Pop if moved == 8 && i.op0_register() != Register::RSP => {
                next.pop(i.op0_register());
            }
            Mnemonic::Leave if i.code() == Code::Leaveq => {
                next.sp = self.bp;
                next.pop(Register::RBP);
            }
            Mnemonic::Sub if is_immediate(i, Register::RSP) => next.sp = self.lowered(i64_of(i)),
            Mnemonic::Add if is_immediate(i, Register::RSP) => {
                next.sp = self.lowered(i64_of(i).checked_neg())
            }
            Mnemonic::Lea if i.op0_register() == Register::RSP => next.sp = self.cfa_from(i),
            Mnemonic::Lea if i.op0_register() == Register::RBP => next.set_rbp(self.cfa_from(i)),
            Mnemonic::Mov if i.op0_register() == Register::RSP => {
                next.sp = if i.op1_register() == Register::RBP { self.bp } else { None };
            }
            Mnemonic::Mov if i.op0_register() == Register::RBP => {
                if i.op1_kind() == OpKind::Memory && self.is_saved_at(i) {
                    (next.saved_rbp, next.bp) = (SavedRbp::Same, None);
                } else {
                    next.set_rbp(if i.op1_register() == Register::RSP { self.sp } else { None });
                }
            }
            Mnemonic::Mov
                if i.op0_kind() == OpKind::Memory
                    && i.op1_register() == Register::RBP
                    && self.saved_rbp == SavedRbp::Same =>
            {
                if let Some(below) = self.cfa_from(i).filter(|&below| below > 8) {
                    next.saved_rbp = SavedRbp::Below(below);
                }
            }
            _ => next.overwrite(i, info),
        }
        next
    }

    /// Takes a word off the stack.
    fn pop(&mut self, to: Register) {
        let from = self.sp;
        self.sp = from.and_then(|sp| sp.checked_sub(8));
        if from == Some(8) {
            self.return_address = x86::number(to).map_or(ReturnAddress::Elsewhere, ReturnAddress::InRegister);
        }
        if to == Register::RBP {
            self.bp = None;
            let was_saved = matches!((self.saved_rbp, from), (SavedRbp::Below(at), Some(sp)) if at == sp);
            self.saved_rbp = if was_saved { SavedRbp::Same } else { SavedRbp::Lost };
        }
    }

    /// rbp gets another value, from which the CFA may be known.
    fn set_rbp(&mut self, bp: Option<i32>) {
        self.bp = bp;
        if self.saved_rbp == SavedRbp::Same {
            self.saved_rbp = SavedRbp::Lost;
        }
    }

    /// An instruction of any other kind.
    fn overwrite(&mut self, instruction: &Instruction, info: &mut InstructionInfoFactory) {
        let calls = is_call(instruction);
        let in_register = match self.return_address {
            ReturnAddress::InRegister(number) => Some(number),
            _ => None,
        };
        for used in info.info(instruction).used_registers() {
            let writes = matches!(
                used.access(),
                OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
            );
            if !writes {
                continue;
            }
            match used.register().full_register() {
                Register::RSP if !calls => self.sp = None,
                Register::RBP => self.set_rbp(None),
                register if in_register.is_some() && x86::number(register) == in_register => {
                    self.return_address = ReturnAddress::Dropped;
                }
                _ => {}
            }
        }
        if calls && in_register.is_some_and(is_clobbered) {
            self.return_address = ReturnAddress::Dropped;
        }
    }

    fn lowered(self, by: impl Into<Option<i64>>) -> Option<i32> {
        self.sp?.checked_add(i32::try_from(by.into()?).ok()?)
    }

    /// CFA - address of a memory operand that is relative to rsp or to the frame pointer.
    fn cfa_from(self, i: &Instruction) -> Option<i32> {
        let base = match i.memory_base() {
            Register::RSP => self.sp?,
            Register::RBP => self.bp?,
            _ => return None,
        };
        if i.memory_index() != Register::None {
            return None;
        }
        base.checked_sub(i32::try_from(i.memory_displacement64().cast_signed()).ok()?)
    }

    fn is_saved_at(self, i: &Instruction) -> bool {
        matches!((self.saved_rbp, self.cfa_from(i)), (SavedRbp::Below(a), Some(b)) if a == b)
    }

    /// The rule at an instruction with this state. `calls`: it is a call, after which registers are gone.
    pub(super) fn row(self, pc: u32, calls: bool, wide: &mut WideRules) -> Row {
        let none = Row::new(pc, cfa::NO_INFO, 0, rbp::SAME, 0);
        let ra = match self.return_address {
            ReturnAddress::OnStack => None,
            ReturnAddress::Dropped => return Row::new(pc, cfa::END_OF_STACK, 0, rbp::SAME, 0),
            ReturnAddress::InRegister(number) if calls && is_clobbered(number) => {
                return Row::new(pc, cfa::END_OF_STACK, 0, rbp::SAME, 0);
            }
            ReturnAddress::InRegister(number) => Some(CallerValue::value(number, 0)),
            // A frame pointer may still lead to it.
            ReturnAddress::Elsewhere => return none,
        };
        let (kind, base, offset) = match (self.sp, self.bp) {
            (Some(sp), _) => (cfa::RSP, RSP, sp),
            (None, Some(bp)) => (cfa::RBP, leakscope_common::unwind::wide::RBP, bp),
            (None, None) => return none,
        };
        let narrow = || {
            let (rbp_kind, below) = match self.saved_rbp {
                SavedRbp::Same => (rbp::SAME, 0),
                SavedRbp::Below(at) => (rbp::CFA, at),
                SavedRbp::Lost => (rbp::UNSUPPORTED, 0),
            };
            if offset % 8 != 0 || below % 8 != 0 || ra.is_some() {
                return None;
            }
            let (offset, below) = (u16::try_from(offset / 8).ok()?, i8::try_from(-below / 8).ok()?);
            Some(Row::new(pc, kind, offset, rbp_kind, below))
        };
        let rule = WideRule {
            ra: ra.unwrap_or(CallerValue::at(CFA, -8)),
            rbp: match self.saved_rbp {
                SavedRbp::Below(at) => CallerValue::at(CFA, -at),
                SavedRbp::Same | SavedRbp::Lost => CallerValue::SAME,
            },
            ..WideRule::usual(base, i64::from(offset))
        };
        narrow().or_else(|| wide.row(pc, rule)).unwrap_or(none)
    }
}

/// Whether an instruction reads the register with this number.
fn reads(i: &Instruction, number: u8, info: &mut InstructionInfoFactory) -> bool {
    info.info(i).used_registers().iter().any(|used| {
        let read = matches!(
            used.access(),
            OpAccess::Read | OpAccess::CondRead | OpAccess::ReadWrite | OpAccess::ReadCondWrite
        );
        read && x86::number(used.register().full_register()) == Some(number)
    })
}

/// Whether control goes somewhere and comes back.
pub(super) fn is_call(i: &Instruction) -> bool {
    matches!(i.flow_control(), FlowControl::Call | FlowControl::IndirectCall)
        && i.mnemonic() == Mnemonic::Call
}

/// Whether a function may change a register without keeping it: all but rbx, rbp and r12 to r15.
fn is_clobbered(number: u8) -> bool {
    !matches!(number, 3 | 5 | 12..=15)
}

fn is_immediate(i: &Instruction, register: Register) -> bool {
    i.op0_register() == register
        && matches!(i.op1_kind(), OpKind::Immediate8to64 | OpKind::Immediate32to64 | OpKind::Immediate8)
}

fn i64_of(i: &Instruction) -> i64 {
    i.immediate(1).cast_signed()
}

#[cfg(test)]
mod tests {
    use iced_x86::{Decoder, DecoderOptions};

    use super::*;

    /// The kind of the last instruction's row.
    fn last(code: &[u8]) -> u8 {
        let (mut state, mut info) = (State::ENTRY, InstructionInfoFactory::new());
        let mut kind = cfa::NO_INFO;
        for instruction in Decoder::with_ip(64, code, 0, DecoderOptions::NONE) {
            kind = state.row(0, is_call(&instruction), &mut WideRules::default()).cfa_kind();
            state = state.after(&instruction, &mut info);
        }
        kind
    }

    /// As V8's builtins have it (`Builtins_CallApiCallback`): the return address is taken off, something else put in
    /// its place, and it is put back further down, below a frame pointer. Frame pointers lead on.
    #[test]
    fn a_return_address_that_is_put_elsewhere() {
        // pop %rax; push %r10; push %rax; push %rbp; mov %rsp,%rbp; call *%rdx
        assert_eq!(last(&[0x58, 0x41, 0x52, 0x50, 0x55, 0x48, 0x89, 0xe5, 0xff, 0xd2]), cfa::NO_INFO);
        // pop %rax; mov %rax,(%r12); call *%rdx
        assert_eq!(last(&[0x58, 0x49, 0x89, 0x04, 0x24, 0xff, 0xd2]), cfa::NO_INFO);
    }

    /// As musl's `vfork` has it: taken off and put back; and as its `__clone`: never put back.
    #[test]
    fn a_return_address_that_is_put_back_or_dropped() {
        // pop %rdx; push %rdx; call *%rax
        assert_eq!(last(&[0x5a, 0x52, 0xff, 0xd0]), cfa::RSP);
        // pop %rdi; call *%r9
        assert_eq!(last(&[0x5f, 0x41, 0xff, 0xd1]), cfa::END_OF_STACK);
    }
}
