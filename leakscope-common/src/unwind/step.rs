//! The step from one frame to its caller.

use super::{ReadWord, Regs, Row, RowIndex, StackEnd, WideRule, cfa, rbp, wide};

/// Farthest that a frame pointer may lie above the stack pointer to be believed as it is.
const FRAME_POINTER_REACH: u64 = 1 << 20;
/// Farthest that it may lie there at all.
const FARTHEST_FRAME_POINTER: u64 = 1 << 32;
/// `rt_sigframe` of x86-64: `pretcode` is popped by the handler's return, then `ucontext` follows;
/// its `uc_mcontext` starts 40 bytes in (arch/x86/include/asm/sigframe.h, uapi/asm/sigcontext.h:
/// r8..r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip).
const SIGNAL_REGISTERS: u64 = 40;
/// Number of the goroutine that the runtime itself creates to run `main` (`src/runtime/asm_amd64.s`).
const MAIN_GOROUTINE: u64 = 1;

/// Applies `row` to `regs`, which become the caller's. `Err` says why there is no caller.
///
/// Invariants: on success the new `sp` lies above the old one, except across a signal frame, from one stack of Go's to
/// another or to that of C, and from a frame whose registers are all known; only a row says that a frame
/// is the outermost one, never what lies on the stack.
#[expect(clippy::too_many_lines, reason = "one rule an arm: the kernel side inlines it as one piece")]
#[inline(always)]
pub fn step(
    regs: &mut Regs,
    row: Row,
    index: &impl RowIndex,
    mem: &mut impl ReadWord,
) -> Result<(), StackEnd> {
    let cfa_addr = match row.cfa_kind() {
        cfa::RSP => regs.sp.wrapping_add(row.cfa_off as u64 * 8),
        cfa::RBP => regs.bp.wrapping_add(row.cfa_off as u64 * 8),
        cfa::PLT11 => regs.sp.wrapping_add(if regs.ip & 15 >= 11 { 16 } else { 8 }),
        cfa::PLT10 => regs.sp.wrapping_add(if regs.ip & 15 >= 10 { 16 } else { 8 }),
        cfa::DEREF_RSP | cfa::DEREF_RBP => {
            let base = if row.cfa_kind() == cfa::DEREF_RSP { regs.sp } else { regs.bp };
            let at = (row.cfa_off >> 8) as u8 as i8;
            let Some(word) = mem.word(base.wrapping_add((at as i64 as u64).wrapping_mul(8))) else {
                return Err(StackEnd::ReadFault);
            };
            word.wrapping_add((row.cfa_off & 0xff) as u64)
        }
        cfa::SIGNAL => {
            let base = regs.sp.wrapping_add(SIGNAL_REGISTERS);
            let (Some(bp), Some(sp), Some(ip)) = (
                mem.word(base.wrapping_add(80)),
                mem.word(base.wrapping_add(120)),
                mem.word(base.wrapping_add(128)),
            ) else {
                return Err(StackEnd::ReadFault);
            };
            *regs = Regs { ip, sp, bp, exact: base };
            return Ok(());
        }
        cfa::GO_CALLS_C => {
            let saved = regs.sp.wrapping_add((row.cfa_off & 15) as u64 * 8);
            let (Some(depth), Some(g)) = (mem.word(saved), mem.word(saved.wrapping_add(8))) else {
                return Err(StackEnd::ReadFault);
            };
            let at = match g {
                0 => depth,
                g => {
                    let Some(top) = mem.word(g.wrapping_add(8)) else { return Err(StackEnd::ReadFault) };
                    tell_goroutine(g, row, mem);
                    top.wrapping_sub(depth)
                }
            };
            let frame = (row.cfa_off >> 4 & 15) as u64 * 8;
            let return_at = at.wrapping_add(frame);
            let (Some(bp), Some(ip)) = (mem.word(at), mem.word(return_at)) else {
                return Err(StackEnd::ReadFault);
            };
            let bp = if frame > 0 { bp } else { regs.bp };
            *regs = Regs { ip, sp: return_at.wrapping_add(8), bp, exact: 0 };
            return if ip == 0 { Err(StackEnd::NoReturnAddress) } else { Ok(()) };
        }
        cfa::GO_CHANGES_STACK => {
            let return_at = regs.bp.wrapping_add(8);
            let (Some(bp), Some(ip)) = (mem.word(regs.bp), mem.word(return_at)) else {
                return Err(StackEnd::ReadFault);
            };
            *regs = Regs { ip, sp: return_at.wrapping_add(8), bp, exact: 0 };
            return if ip == 0 { Err(StackEnd::NoReturnAddress) } else { Ok(()) };
        }
        cfa::WIDE => {
            return match WideRule::read(index, row.wide_index()) {
                Some(rule) => wide::step(regs, rule, mem),
                None => Err(StackEnd::Unsupported),
            };
        }
        cfa::END_OF_STACK => return Err(StackEnd::Root),
        cfa::NO_INFO => return step_frame_pointer(regs, mem),
        _ => return Err(StackEnd::Unsupported),
    };
    if cfa_addr <= regs.sp {
        return Err(StackEnd::NotAbove);
    }
    let bp_at = match row.rbp_kind() {
        rbp::CFA => Some(cfa_addr.wrapping_add((row.rbp_off as i64 as u64).wrapping_mul(8))),
        rbp::RBP => Some(regs.bp.wrapping_add((row.rbp_off as i64 as u64).wrapping_mul(8))),
        _ => None,
    };
    if let Some(at) = bp_at {
        let Some(bp) = mem.word(at) else { return Err(StackEnd::ReadFault) };
        regs.bp = bp;
    }
    let Some(ip) = mem.word(cfa_addr.wrapping_sub(8)) else { return Err(StackEnd::ReadFault) };
    regs.ip = ip;
    regs.sp = cfa_addr;
    regs.exact = 0;
    if ip == 0 { Err(StackEnd::NoReturnAddress) } else { Ok(()) }
}

/// Tells of the goroutine that a row of [`cfa::GO_CALLS_C`] leads to. `runtime.main` is created by no statement.
#[inline(always)]
fn tell_goroutine(g: u64, row: Row, mem: &mut impl ReadWord) {
    let mut member = |words: u64| match words {
        0 => 0,
        words => mem.word(g.wrapping_add(words * 8)).unwrap_or(0),
    };
    let id = member((row.cfa_off >> 8) as u64);
    let created_at = member(row.rbp_off as u8 as u64);
    mem.goroutine(id, if id == MAIN_GOROUTINE { 0 } else { created_at });
}

/// The step where no row helps: follows the frame pointer, if it is to be believed.
///
/// Near the stack pointer it is; far above it, as under a frame of some MiB, only if what lies there looks
/// like a frame: a caller's frame pointer further up, and a return address behind a call.
#[inline(always)]
pub fn step_frame_pointer(regs: &mut Regs, mem: &mut impl ReadWord) -> Result<(), StackEnd> {
    let distance = regs.bp.wrapping_sub(regs.sp);
    if regs.bp < regs.sp || distance > FARTHEST_FRAME_POINTER || regs.bp & 7 != 0 {
        return Err(StackEnd::NoRows);
    }
    let cfa_addr = regs.bp.wrapping_add(16);
    let (Some(bp), Some(ip)) = (mem.word(regs.bp), mem.word(regs.bp.wrapping_add(8))) else {
        return Err(StackEnd::ReadFault);
    };
    if distance > FRAME_POINTER_REACH && (bp <= regs.bp || !follows_call(ip, mem)) {
        return Err(StackEnd::NoRows);
    }
    *regs = Regs { ip, sp: cfa_addr, bp, exact: 0 };
    if ip == 0 { Err(StackEnd::NoReturnAddress) } else { Ok(()) }
}

/// Whether the instruction before `ip` is a call: `e8` with 4 bytes of distance, or `ff /2` with any operand.
#[inline(always)]
fn follows_call(ip: u64, mem: &mut impl ReadWord) -> bool {
    let Some(code) = mem.word(ip.wrapping_sub(8)) else { return false };
    // `ff` and `/2` in the next byte, of indirect calls 2, 3, 4, 6 and 7 bytes long.
    let indirect = |length: u32| code >> (8 * (8 - length)) & 0x38ff == 0x10ff;
    code >> 24 & 0xff == 0xe8 || indirect(2) || indirect(3) || indirect(4) || indirect(6) || indirect(7)
}
