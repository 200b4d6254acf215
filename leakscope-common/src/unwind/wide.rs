//! Rules that a [`Row`] cannot hold: any frame size, any register, and return addresses, frame and stack
//! pointers that are kept anywhere.
//!
//! They lie in the row space too, behind their file's rows, [`WideRule::SLOTS`] slots each. A row of kind
//! [`cfa::WIDE`](super::cfa::WIDE) tells where; only a walk that meets one pays for it.

use super::{ReadWord, Regs, Row, RowIndex, StackEnd};

/// Numbers of registers as x86-64 encodes them.
pub const RSP: u8 = 4;
pub const RBP: u8 = 5;
/// No register: the canonical frame address. A place may be relative to it.
pub const CFA: u8 = 16;
/// No index register in a rule.
pub const NO_INDEX: u8 = 31;

/// How a value of the caller is found; the high 3 bits of a [`CallerValue::kind`].
mod kind {
    /// As it is.
    pub(super) const SAME: u8 = 0;
    /// In memory at base + offset.
    pub(super) const AT: u8 = 1;
    /// base + offset itself.
    pub(super) const VALUE: u8 = 2;
}

/// Where a register of the caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallerValue {
    /// How in the high 3 bits, the base register in the low 5.
    kind: u8,
    offset: i32,
}

impl CallerValue {
    /// The register is unchanged, or nothing tells where it is.
    pub const SAME: Self = Self { kind: kind::SAME << 5, offset: 0 };

    /// In memory, at this register (or [`CFA`]) + offset.
    pub const fn at(base: u8, offset: i32) -> Self {
        Self { kind: kind::AT << 5 | base & 31, offset }
    }

    /// This register (or [`CFA`]) + offset.
    pub const fn value(base: u8, offset: i32) -> Self {
        Self { kind: kind::VALUE << 5 | base & 31, offset }
    }
}

/// A rule of any kind: CFA = base + offset + (index << shift), or what lies there in memory + add.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WideRule {
    /// Base register of the CFA.
    pub base: u8,
    /// Index register, or [`NO_INDEX`].
    pub index: u8,
    /// How far the index is shifted.
    pub shift: u8,
    /// 1 if the CFA lies in memory there.
    pub deref: u8,
    /// Offset to the base.
    pub offset: i64,
    /// Added to what lies in memory.
    pub add: i32,
    /// The return address.
    pub ra: CallerValue,
    pub rbp: CallerValue,
    /// The caller's rsp, if it is not the CFA ([`CallerValue::SAME`]).
    pub rsp: CallerValue,
}

impl WideRule {
    /// Slots of the row space that a rule takes.
    pub const SLOTS: usize = 4;

    /// The usual rule: CFA = base + offset, and the return address below it.
    pub const fn usual(base: u8, offset: i64) -> Self {
        Self {
            base,
            index: NO_INDEX,
            shift: 0,
            deref: 0,
            offset,
            add: 0,
            ra: CallerValue::at(CFA, -8),
            rbp: CallerValue::SAME,
            rsp: CallerValue::SAME,
        }
    }

    /// The rule as it lies in the row space.
    pub const fn to_rows(self) -> [Row; Self::SLOTS] {
        [
            Row::from_bits(u64::from_le_bytes([
                self.base,
                self.index,
                self.shift,
                self.deref,
                self.ra.kind,
                self.rbp.kind,
                self.rsp.kind,
                0,
            ])),
            Row::from_bits(self.offset as u64),
            Row::from_bits(both(self.add, self.ra.offset)),
            Row::from_bits(both(self.rbp.offset, self.rsp.offset)),
        ]
    }

    /// The rule at this index of the row space.
    #[inline(always)]
    pub fn read(index: &impl RowIndex, at: u32) -> Option<Self> {
        let head = index.row(at)?.to_bits();
        let offset = index.row(at.wrapping_add(1))?.to_bits();
        let first = index.row(at.wrapping_add(2))?.to_bits();
        let second = index.row(at.wrapping_add(3))?.to_bits();
        let byte = |at: u32| (head >> (8 * at)) as u8;
        Some(Self {
            base: byte(0),
            index: byte(1),
            shift: byte(2),
            deref: byte(3),
            offset: offset as i64,
            add: first as i32,
            ra: CallerValue { kind: byte(4), offset: (first >> 32) as i32 },
            rbp: CallerValue { kind: byte(5), offset: second as i32 },
            rsp: CallerValue { kind: byte(6), offset: (second >> 32) as i32 },
        })
    }
}

const fn both(low: i32, high: i32) -> u64 {
    low as u32 as u64 | (high as u32 as u64) << 32
}

/// Applies `rule` to `regs`, as [`step`](super::step) does.
///
/// Registers besides rsp and rbp are known of the innermost frame and of one that a signal interrupted:
/// elsewhere a rule that needs one ends the stack. Such frames alone may have their caller's stack anywhere.
#[inline(always)]
pub(super) fn step(regs: &mut Regs, rule: WideRule, mem: &mut impl ReadWord) -> Result<(), StackEnd> {
    let base = register(*regs, 0, rule.base, mem)?;
    let mut cfa = base.wrapping_add(rule.offset as u64);
    if rule.index != NO_INDEX {
        let index = register(*regs, 0, rule.index, mem)?;
        cfa = cfa.wrapping_add(index << (rule.shift & 63));
    }
    if rule.deref != 0 {
        let Some(word) = mem.word(cfa) else { return Err(StackEnd::ReadFault) };
        cfa = word.wrapping_add(rule.add as i64 as u64);
    }
    let sp = if rule.rsp.kind == CallerValue::SAME.kind { cfa } else { find(*regs, cfa, rule.rsp, 0, mem)? };
    let bp = find(*regs, cfa, rule.rbp, regs.bp, mem)?;
    let ip = find(*regs, cfa, rule.ra, 0, mem)?;
    if sp <= regs.sp && regs.exact == 0 {
        return Err(StackEnd::NotAbove);
    }
    *regs = Regs { ip, sp, bp, exact: 0 };
    if ip == 0 { Err(StackEnd::NoReturnAddress) } else { Ok(()) }
}

/// What is at a place; `own` if it is unchanged.
#[inline(always)]
fn find(
    regs: Regs,
    cfa: u64,
    place: CallerValue,
    own: u64,
    mem: &mut impl ReadWord,
) -> Result<u64, StackEnd> {
    let kind = place.kind >> 5;
    if kind == kind::SAME {
        return Ok(own);
    }
    let value = register(regs, cfa, place.kind & 31, mem)?.wrapping_add(place.offset as i64 as u64);
    if kind != kind::AT {
        return Ok(value);
    }
    match mem.word(value) {
        Some(word) => Ok(word),
        None => Err(StackEnd::ReadFault),
    }
}

/// The value of a register of the frame.
#[inline(always)]
fn register(regs: Regs, cfa: u64, number: u8, mem: &mut impl ReadWord) -> Result<u64, StackEnd> {
    if number == RSP {
        return Ok(regs.sp);
    }
    if number == RBP {
        return Ok(regs.bp);
    }
    if number == CFA {
        return Ok(cfa);
    }
    let value = match regs.exact {
        0 => None,
        Regs::INNERMOST => mem.register(number),
        // Which of the words of `sigcontext`, by the register's number.
        saved => mem.word(saved.wrapping_add((0x7654_3210_89af_bced >> (4 * (number & 15)) & 15) * 8)),
    };
    match value {
        Some(value) => Ok(value),
        None => Err(StackEnd::Unsupported),
    }
}
