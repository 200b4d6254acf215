//! Fits rules that are too large for a [`Row`] into a [`WideRule`].

use std::collections::HashMap;

use gimli::{
    CfaRule, EhFrame, Encoding, Format, Operation, Register, RegisterRule, UnwindExpression, UnwindTableRow,
    X86_64,
};
use leakscope_common::unwind::wide::{CFA, CallerValue, NO_INDEX, RBP, RSP};
use leakscope_common::unwind::{Row, WideRule};

use super::rule::{Slice, Storage};

/// Most wide rules of a file. librustc_driver has 40; a file with more is hostile.
const MOST: usize = 1 << 16;
/// Operations of an expression that are looked at.
const OPERATIONS: usize = 32;

/// The wide rules of a file, each once.
#[derive(Clone, Debug, Default)]
pub(super) struct WideRules {
    rules: Vec<WideRule>,
    known: HashMap<WideRule, u32>,
}

impl WideRules {
    /// The row at `pc` that points to `rule`; `None` if there are too many.
    pub(super) fn row(&mut self, pc: u32, rule: WideRule) -> Option<Row> {
        let next = self.rules.len();
        let index = match self.known.get(&rule) {
            Some(&index) => index,
            None if next >= MOST => return None,
            None => {
                let index = next as u32;
                self.known.insert(rule, index);
                self.rules.push(rule);
                index
            }
        };
        Some(Row::wide(pc, index * WideRule::SLOTS as u32))
    }

    /// The rules, in the order of the indices that rows hold.
    pub(super) fn into_rules(self) -> Vec<WideRule> {
        self.rules
    }
}

/// What the source row says; `None` if that is not even a wide rule.
pub(super) fn rule(
    eh_frame: &EhFrame<Slice<'_>>,
    source: &UnwindTableRow<usize, Storage>,
) -> Option<WideRule> {
    let mut rule = match source.cfa() {
        CfaRule::RegisterAndOffset { register, offset } => WideRule::usual(number(*register)?, *offset),
        CfaRule::Expression(expression) => cfa_of(evaluate(eh_frame, *expression, None)?)?,
    };
    let place = |register| place(eh_frame, source.register(register));
    rule.ra = place(X86_64::RA).filter(|&ra| ra != CallerValue::SAME)?;
    // A frame pointer that is lost is kept as it is: most callers do not need it.
    rule.rbp = place(X86_64::RBP).unwrap_or(CallerValue::SAME);
    rule.rsp = place(X86_64::RSP)?;
    Some(rule)
}

fn place(eh_frame: &EhFrame<Slice<'_>>, rule: Option<RegisterRule<usize>>) -> Option<CallerValue> {
    let offset = |value: i64| i32::try_from(value).ok();
    Some(match rule {
        None | Some(RegisterRule::SameValue) => CallerValue::SAME,
        Some(RegisterRule::Offset(at)) => CallerValue::at(CFA, offset(at)?),
        Some(RegisterRule::ValOffset(at)) => CallerValue::value(CFA, offset(at)?),
        Some(RegisterRule::Register(register)) => CallerValue::value(number(register)?, 0),
        Some(RegisterRule::Expression(at)) => match evaluate(eh_frame, at, Some(Value::of(CFA, 0)))? {
            Value::Sum { base, index: None, offset: at } => CallerValue::at(base, offset(at)?),
            _ => return None,
        },
        Some(RegisterRule::ValExpression(value)) => match evaluate(eh_frame, value, Some(Value::of(CFA, 0)))?
        {
            Value::Sum { base, index: None, offset: at } => CallerValue::value(base, offset(at)?),
            _ => return None,
        },
        Some(_) => return None,
    })
}

/// The number that x86-64 encodes a general register with.
fn number(register: Register) -> Option<u8> {
    // rax, rdx, rcx, rbx, rsi, rdi, rbp, rsp: the order of DWARF (System V ABI, figure 3.36).
    const DWARF: [u8; 8] = [0, 2, 1, 3, 6, 7, RBP, RSP];
    match register.0 {
        n @ 0..8 => Some(DWARF[usize::from(n)]),
        n @ 8..16 => Some(n as u8),
        _ => None,
    }
}

/// What an expression comes to.
#[derive(Clone, Copy, Debug)]
enum Value {
    Constant(i64),
    /// base + offset, and perhaps another register times a power of two.
    Sum {
        base: u8,
        index: Option<(u8, u8)>,
        offset: i64,
    },
    /// A register times a power of two.
    Scaled(u8, u8),
    /// What lies in memory at base + offset + index, and something added.
    Memory {
        base: u8,
        index: Option<(u8, u8)>,
        offset: i64,
        add: i64,
    },
}

impl Value {
    fn of(base: u8, offset: i64) -> Self {
        Self::Sum { base, index: None, offset }
    }

    fn plus(self, other: Self) -> Option<Self> {
        Some(match (self, other) {
            (Self::Constant(a), Self::Constant(b)) => Self::Constant(a.checked_add(b)?),
            (Self::Sum { base, index, offset }, Self::Constant(n))
            | (Self::Constant(n), Self::Sum { base, index, offset }) => {
                Self::Sum { base, index, offset: offset.checked_add(n)? }
            }
            (Self::Memory { base, index, offset, add }, Self::Constant(n))
            | (Self::Constant(n), Self::Memory { base, index, offset, add }) => {
                Self::Memory { base, index, offset, add: add.checked_add(n)? }
            }
            (Self::Sum { base, index: None, offset }, Self::Scaled(register, shift))
            | (Self::Scaled(register, shift), Self::Sum { base, index: None, offset }) => {
                Self::Sum { base, index: Some((register, shift)), offset }
            }
            _ => return None,
        })
    }

    /// Times a power of two, whose exponent is given.
    fn shifted(self, by: u8) -> Option<Self> {
        match self {
            Self::Constant(n) => Some(Self::Constant(n.checked_mul(1 << by)?)),
            Self::Sum { base, index: None, offset: 0 } => Some(Self::Scaled(base, by)),
            _ => None,
        }
    }

    fn times(self, other: Self) -> Option<Self> {
        match (self, other) {
            (value, Self::Constant(n)) | (Self::Constant(n), value) => {
                let n = u64::try_from(n).ok().filter(|n| n.is_power_of_two() && *n <= 1 << 16)?;
                value.shifted(n.trailing_zeros() as u8)
            }
            _ => None,
        }
    }
}

fn cfa_of(value: Value) -> Option<WideRule> {
    let (base, index, offset, memory) = match value {
        Value::Sum { base, index, offset } => (base, index, offset, None),
        Value::Memory { base, index, offset, add } => (base, index, offset, Some(i32::try_from(add).ok()?)),
        Value::Constant(_) | Value::Scaled(..) => return None,
    };
    let (index, shift) = index.unwrap_or((NO_INDEX, 0));
    let deref = u8::from(memory.is_some());
    Some(WideRule { index, shift, deref, add: memory.unwrap_or(0), ..WideRule::usual(base, offset) })
}

/// Evaluates an expression without knowing the registers.
fn evaluate(
    eh_frame: &EhFrame<Slice<'_>>,
    expression: UnwindExpression<usize>,
    first: Option<Value>,
) -> Option<Value> {
    let encoding = Encoding { address_size: 8, format: Format::Dwarf32, version: 4 };
    let mut operations = expression.get(eh_frame).ok()?.operations(encoding);
    let mut stack: Vec<Value> = first.into_iter().collect();
    for _ in 0..OPERATIONS {
        let Some(operation) = operations.next().ok()? else { return stack.pop() };
        let value = match operation {
            Operation::RegisterOffset { register, offset, .. } => Value::of(number(register)?, offset),
            Operation::UnsignedConstant { value } => Value::Constant(i64::try_from(value).ok()?),
            Operation::SignedConstant { value } => Value::Constant(value),
            Operation::PlusConstant { value } => {
                stack.pop()?.plus(Value::Constant(i64::try_from(value).ok()?))?
            }
            Operation::Plus => {
                let (b, a) = (stack.pop()?, stack.pop()?);
                a.plus(b)?
            }
            Operation::Mul => {
                let (b, a) = (stack.pop()?, stack.pop()?);
                a.times(b)?
            }
            Operation::Shl => match (stack.pop()?, stack.pop()?) {
                (Value::Constant(by @ 0..=16), value) => value.shifted(by as u8)?,
                _ => return None,
            },
            Operation::Deref { size: 8, space: false, .. } => match stack.pop()? {
                Value::Sum { base, index, offset } => Value::Memory { base, index, offset, add: 0 },
                _ => return None,
            },
            _ => return None,
        };
        stack.push(value);
    }
    None
}
