//! Wide rules: from call frame information, through the table, to the caller.

use std::collections::HashMap;

use gimli::{
    DW_CFA_def_cfa_expression, DW_CFA_expression, DW_CFA_offset, DW_CFA_register, DW_CFA_val_expression,
    DW_CFA_val_offset,
};
use leakscope_common::unwind::wide::{CFA, CallerValue, NO_INDEX, RBP, RSP};
use leakscope_common::unwind::{MappingEntry, ReadWord, Regs, StackEnd, WideRule, cfa, find_row, step};

use super::rows::EhFrame;
use crate::unwind::{FileRows, UnwindTable};

const USUAL: WideRule = WideRule::usual(RSP, 8);

fn file(code: &[u8]) -> FileRows {
    let mut section = EhFrame::default();
    let cie = section.cie("zR", &[]);
    section.fde(cie, 0x40, 0x20, code);
    section.build()
}

/// The one wide rule that the code makes.
fn rule(code: &[u8]) -> WideRule {
    let file = file(code);
    assert_eq!((file.rows()[1].cfa_kind(), file.stats().wide, file.stats().unsupported), (cfa::WIDE, 1, 0));
    let &[rule] = file.wide() else { panic!("{:?}", file.wide()) };
    rule
}

fn cfa_expression(expression: &[u8]) -> WideRule {
    rule(&[&[DW_CFA_def_cfa_expression.0, expression.len() as u8], expression].concat())
}

#[test]
fn canonical_frame_addresses() {
    assert_eq!(rule(&[0x0c, 10, 0]), WideRule::usual(10, 0), "r10");
    assert_eq!(rule(&[0x0c, 1, 16]), WideRule::usual(2, 16), "rdx is number 1 of DWARF");
    assert_eq!(rule(&[0x0c, 7, 12]), WideRule::usual(RSP, 12), "no multiple of 8");
    // 64 KiB words, 4 MiB, 4 GiB, and below the register.
    assert_eq!(rule(&[0x0c, 7, 0x80, 0x80, 0x20]), WideRule::usual(RSP, 512 << 10));
    assert_eq!(rule(&[0x0c, 7, 0x80, 0x80, 0x80, 0x02]), WideRule::usual(RSP, 4 << 20));
    assert_eq!(rule(&[0x0c, 6, 0x80, 0x80, 0x80, 0x80, 0x10]), WideRule::usual(RBP, 4 << 30));
    assert_eq!(rule(&[0x12, 6, 1]), WideRule::usual(RBP, -8));
    let memory = |base, offset, add| WideRule { deref: 1, add, ..WideRule::usual(base, offset) };
    assert_eq!(cfa_expression(&[0x76, 0x78, 6, 0x23, 0xc8, 2]), memory(RBP, -8, 328));
    assert_eq!(cfa_expression(&[0x77, 4, 6]), memory(RSP, 4, 0));
    assert_eq!(cfa_expression(&[0x73, 0, 6]), memory(3, 0, 0));
    // *(rsp + 8 + r9 * 8) + 8, as in OpenSSL's Montgomery multiplication.
    let indexed = cfa_expression(&[0x77, 8, 0x79, 0, 0x38, 0x1e, 0x22, 6, 0x23, 8]);
    assert_eq!(indexed, WideRule { index: 9, shift: 3, ..memory(RSP, 8, 8) });
    assert_eq!(cfa_expression(&[0x77, 8, 0x79, 0, 0x33, 0x24, 0x22, 6, 0x23, 8]), indexed, "shifted");
}

#[test]
fn places_of_registers() {
    assert_eq!(rule(&[DW_CFA_offset.0 | 16, 2]), WideRule { ra: CallerValue::at(CFA, -16), ..USUAL });
    assert_eq!(rule(&[DW_CFA_register.0, 16, 5]), WideRule { ra: CallerValue::value(7, 0), ..USUAL }, "rdi");
    let ra = |code: &[u8]| rule(&[&[DW_CFA_expression.0, 16, code.len() as u8], code].concat()).ra;
    assert_eq!(ra(&[0x77, 0xa8, 1]), CallerValue::at(RSP, 168));
    assert_eq!(ra(&[0x23, 8]), CallerValue::at(CFA, 8), "the CFA is what an expression starts with");
    let rbp = |code: &[u8]| rule(code).rbp;
    assert_eq!(rbp(&[DW_CFA_offset.0 | 6, 0x81, 1]), CallerValue::at(CFA, -1032));
    assert_eq!(rbp(&[DW_CFA_register.0, 6, 9]), CallerValue::value(9, 0));
    assert_eq!(rbp(&[DW_CFA_val_offset.0, 6, 2]), CallerValue::value(CFA, -16));
    assert_eq!(rbp(&[DW_CFA_expression.0, 6, 2, 0x76, 0x71]), CallerValue::at(RBP, -15));
    assert_eq!(rbp(&[DW_CFA_val_expression.0, 6, 2, 0x70, 4]), CallerValue::value(0, 4));
    assert_eq!(rule(&[DW_CFA_register.0, 7, 8]).rsp, CallerValue::value(8, 0));
    assert_eq!(rule(&[DW_CFA_offset.0 | 7, 3]).rsp, CallerValue::at(CFA, -24));
}

#[test]
fn each_rule_is_kept_once_and_leads_back_through_the_table() {
    let mut table = UnwindTable::new(100, 100);
    let small = file(&[0x0c, 7, 12]);
    // Two rules in four rows.
    let large = file(&[0x0c, 7, 12, 0x42, 0x0c, 10, 0, 0x42, 0x0c, 7, 12, 0x42, 0x0c, 7, 16]);
    assert_eq!((large.stats().wide, large.wide().len(), large.slots()), (3, 2, 6 + 2 * WideRule::SLOTS));
    table.add_file(&small).expect("fits");
    let slot = table.add_file(&large).expect("fits");
    let mapping = MappingEntry {
        start: 0,
        end: 1 << 32,
        bias: 0,
        bucket_base: slot.bucket_base,
        buckets: slot.buckets,
    };
    let at = |pc| {
        let row = find_row(&table, &mapping, pc).expect("a row");
        assert_eq!(row.cfa_kind(), cfa::WIDE);
        WideRule::read(&table, row.wide_index()).expect("its rule")
    };
    assert_eq!(
        [0x40, 0x42, 0x44].map(at),
        [12, 0, 12].map(|n| WideRule::usual(if n == 0 { 10 } else { RSP }, n))
    );
    assert_eq!(table.row_count(), small.slots() + large.slots());
    let mut full = UnwindTable::new(large.slots() as u32 - 1, 100);
    assert!(full.add_file(&large).is_err(), "the rules need room too");
}

#[test]
fn more_rules_than_any_file_has_are_unsupported() {
    let mut code = Vec::new();
    for at in 0..70_000u32 {
        code.extend([
            0x41,
            0x0c,
            10,
            (at & 0x7f) as u8 | 0x80,
            (at >> 7 & 0x7f) as u8 | 0x80,
            (at >> 14) as u8,
        ]);
    }
    let mut section = EhFrame::default();
    let cie = section.cie("zR", &[]);
    section.fde(cie, 0x40, 0x20000, &code);
    let stats = section.build().stats();
    assert_eq!((stats.wide, stats.unsupported), (1 << 16, 1), "the rest are one run of the same row");
}

struct Words(HashMap<u64, u64>);

impl ReadWord for Words {
    fn word(&mut self, addr: u64) -> Option<u64> {
        self.0.get(&addr).copied()
    }

    fn register(&mut self, number: u8) -> Option<u64> {
        Some(0x7000 + u64::from(number) * 0x100)
    }
}

const REGS: Regs = Regs { ip: 0x1234, sp: 0x1000, bp: 0x2000, exact: Regs::INNERMOST };
const CALLER: Regs = Regs { exact: 0, ..REGS };

fn apply(code: &[u8], mut regs: Regs, words: &[(u64, u64)]) -> Result<Regs, StackEnd> {
    let mut table = UnwindTable::new(100, 100);
    table.add_file(&file(code)).expect("fits");
    let row = leakscope_common::unwind::RowIndex::row(&table, 1).expect("the function's");
    step(&mut regs, row, &table, &mut Words(words.iter().copied().collect())).map(|()| regs)
}

fn caller(ip: u64, sp: u64, bp: u64) -> Result<Regs, StackEnd> {
    Ok(Regs { ip, sp, bp, exact: 0 })
}

#[test]
fn a_frame_of_any_size() {
    let frame = [0x0c, 7, 0x80, 0x80, 0x80, 0x20];
    for regs in [REGS, CALLER] {
        assert_eq!(
            apply(&frame, regs, &[(0x1000 + (64 << 20) - 8, 7)]),
            caller(7, 0x1000 + (64 << 20), 0x2000)
        );
        assert_eq!(apply(&frame, regs, &[(0x1000 + (64 << 20) - 8, 0)]), Err(StackEnd::NoReturnAddress));
        assert_eq!(apply(&frame, regs, &[]), Err(StackEnd::ReadFault));
    }
    assert_eq!(apply(&[0x12, 6, 1], CALLER, &[(0x1ff0, 7)]), caller(7, 0x1ff8, 0x2000));
    let below = [0x12, 7, 1];
    assert_eq!(apply(&below, CALLER, &[(0xff0, 7)]), Err(StackEnd::NotAbove));
}

#[test]
fn registers_are_known_of_the_innermost_frame_and_of_an_interrupted_one() {
    let by_r10 = [0x0c, 10, 0];
    assert_eq!(apply(&by_r10, REGS, &[(0x79f8, 7)]), caller(7, 0x7a00, 0x2000));
    assert_eq!(apply(&by_r10, CALLER, &[(0x79f8, 7)]), Err(StackEnd::Unsupported));
    // Interrupted: the kernel keeps the registers on the stack, r8 first.
    let interrupted = Regs { exact: 0x5000, ..REGS };
    assert_eq!(apply(&by_r10, interrupted, &[(0x5010, 0x3000), (0x2ff8, 7)]), caller(7, 0x3000, 0x2000));
    assert_eq!(apply(&by_r10, interrupted, &[]), Err(StackEnd::Unsupported));
    // Where `sigcontext` has each of them (DWARF's number, index of the word).
    let words = [(0, 13), (1, 12), (2, 14), (3, 11), (4, 9), (5, 8), (8, 0), (9, 1), (12, 4), (15, 7)];
    for (register, index) in words {
        let found = apply(&[0x0c, register, 0], interrupted, &[(0x5000 + 8 * index, 0x3000), (0x2ff8, 7)]);
        assert_eq!(found, caller(7, 0x3000, 0x2000), "register {register} of DWARF");
    }
    // vfork: the return address is in rdi, and the CFA is the stack pointer.
    let vfork = [0x0c, 7, 0, DW_CFA_register.0, 16, 5];
    assert_eq!(apply(&vfork, REGS, &[]), caller(0x7700, 0x1000, 0x2000));
    assert_eq!(apply(&vfork, CALLER, &[]), Err(StackEnd::Unsupported));
    // longjmp: everything is in registers.
    let longjmp = [0x0c, 5, 0, DW_CFA_register.0, 16, 1, DW_CFA_register.0, 6, 9, DW_CFA_register.0, 7, 8];
    assert_eq!(apply(&longjmp, REGS, &[]), caller(0x7200, 0x7800, 0x7900));
}

#[test]
fn memory_at_a_sum_of_registers() {
    let code = [DW_CFA_def_cfa_expression.0, 10, 0x77, 8, 0x79, 0, 0x38, 0x1e, 0x22, 6, 0x23, 8];
    let at = 0x1000 + 8 + 0x7900 * 8;
    assert_eq!(apply(&code, REGS, &[(at, 0x9000), (0x9000, 7)]), caller(7, 0x9008, 0x2000));
    assert_eq!(apply(&code, REGS, &[]), Err(StackEnd::ReadFault));
}

#[test]
fn no_rule_overflows() {
    struct Echo;
    impl ReadWord for Echo {
        fn word(&mut self, addr: u64) -> Option<u64> {
            Some(!addr)
        }
        fn register(&mut self, number: u8) -> Option<u64> {
            Some(u64::MAX - u64::from(number))
        }
    }
    let places = [
        CallerValue::SAME,
        CallerValue::at(31, i32::MIN),
        CallerValue::value(CFA, i32::MAX),
        CallerValue::at(3, -1),
    ];
    for (base, index, shift) in [(RSP, NO_INDEX, 0), (255, 255, 255), (CFA, 3, 63), (RBP, RSP, 64)] {
        for (offset, add) in [(0, 0), (i64::MIN, i32::MIN), (i64::MAX, i32::MAX), (-1, -1)] {
            for (n, deref) in [(0, 0), (1, 1), (2, 255), (3, 0)] {
                let rule = WideRule {
                    index,
                    shift,
                    deref,
                    add,
                    ra: places[n],
                    rbp: places[3 - n],
                    rsp: places[n],
                    ..WideRule::usual(base, offset)
                };
                struct One(WideRule);
                impl leakscope_common::unwind::RowIndex for One {
                    fn bucket(&self, _: u32) -> Option<u32> {
                        None
                    }
                    fn row(&self, index: u32) -> Option<leakscope_common::unwind::Row> {
                        self.0.to_rows().get(index as usize).copied()
                    }
                }
                assert_eq!(WideRule::read(&One(rule), 0), Some(rule));
                for exact in [0, 1, 8, u64::MAX] {
                    let mut regs = Regs { ip: u64::MAX, sp: u64::MAX, bp: 0, exact };
                    // Only that it returns matters.
                    let _ = step(&mut regs, leakscope_common::unwind::Row::wide(0, 0), &One(rule), &mut Echo);
                }
            }
        }
    }
}
