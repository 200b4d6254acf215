//! [`step`] for every kind of row.

use std::collections::HashMap;

use leakscope_common::unwind::{ReadWord, Regs, Row, StackEnd, cfa, find_row, rbp, step, step_frame_pointer};

use crate::unwind::{UnwindTable, build_from_sections};

const REGS: Regs = Regs { ip: 0x1234, sp: 0x1000, bp: 0x2000, exact: 1 };

/// Memory that holds these words alone, and the goroutine that was told of.
struct Words(HashMap<u64, u64>, Option<(u64, u64)>);

impl ReadWord for Words {
    fn word(&mut self, addr: u64) -> Option<u64> {
        self.0.get(&addr).copied()
    }

    fn goroutine(&mut self, id: u64, created_at: u64) {
        self.1 = Some((id, created_at));
    }
}

fn no_rows() -> UnwindTable {
    UnwindTable::new(0, 0)
}

fn apply(row: Row, regs: Regs, words: &[(u64, u64)]) -> Result<Regs, StackEnd> {
    let mut regs = regs;
    step(&mut regs, row, &no_rows(), &mut Words(words.iter().copied().collect(), None)).map(|()| regs)
}

fn caller(ip: u64, sp: u64, bp: u64) -> Result<Regs, StackEnd> {
    Ok(Regs { ip, sp, bp, exact: 0 })
}

#[test]
fn cfa_from_rsp() {
    let row = Row::new(0, cfa::RSP, 3, rbp::SAME, 0);
    assert_eq!(apply(row, REGS, &[(0x1010, 7)]), caller(7, 0x1018, 0x2000));
    let row = Row::new(0, cfa::RSP, u16::MAX, rbp::SAME, 0);
    assert_eq!(apply(row, REGS, &[(0x1000 + 8 * 65534, 7)]), caller(7, 0x1000 + 8 * 65535, 0x2000));
}

#[test]
fn cfa_from_rbp_with_rbp_saved_below() {
    let row = Row::new(0, cfa::RBP, 2, rbp::CFA, -2);
    assert_eq!(apply(row, REGS, &[(0x2008, 7), (0x2000, 8)]), caller(7, 0x2010, 8));
}

#[test]
fn rbp_saved_relative_to_rbp() {
    let row = Row::new(0, cfa::DEREF_RBP, Row::deref(-1, 0), rbp::RBP, -2);
    let words = [(0x1ff8, 0x3000), (0x2ff8, 7), (0x1ff0, 8)];
    assert_eq!(apply(row, REGS, &words), caller(7, 0x3000, 8));
}

#[test]
fn rbp_that_cannot_be_recovered_is_kept() {
    let row = Row::new(0, cfa::RSP, 1, rbp::UNSUPPORTED, 0);
    assert_eq!(apply(row, REGS, &[(0x1000, 7)]), caller(7, 0x1008, 0x2000));
}

#[test]
fn from_c_to_the_goroutine_that_called_it() {
    // The goroutine at 0x5000 has a stack that ends at 0x9000; it called 0x100 bytes below that.
    let row = Row::go_calls_c(0, (5, 0), (0, 0));
    let words = [(0x1028, 0x100), (0x1030, 0x5000), (0x5008, 0x9000), (0x8f00, 7)];
    assert_eq!(apply(row, REGS, &words), caller(7, 0x8f08, 0x2000));
    // Below the thread's stack is as good as above.
    let words = [(0x1028, 0x100), (0x1030, 0x5000), (0x5008, 0x900), (0x800, 7)];
    assert_eq!(apply(row, REGS, &words), caller(7, 0x808, 0x2000));
    // The caller's frame pointer was pushed.
    let row = Row::go_calls_c(0, (0, 1), (0, 0));
    let words = [(0x1000, 0x100), (0x1008, 0x5000), (0x5008, 0x9000), (0x8f00, 6), (0x8f08, 7)];
    assert_eq!(apply(row, REGS, &words), caller(7, 0x8f10, 6));
    // On the thread's stack already.
    let row = Row::go_calls_c(0, (0, 0), (0, 0));
    assert_eq!(apply(row, REGS, &[(0x1000, 0x1100), (0x1008, 0), (0x1100, 7)]), caller(7, 0x1108, 0x2000));
    for missing in 0..4 {
        let mut words = vec![(0x1000, 0x100), (0x1008, 0x5000), (0x5008, 0x9000), (0x8f00, 7)];
        words.remove(missing);
        assert_eq!(apply(row, REGS, &words), Err(StackEnd::ReadFault));
    }
    let words = [(0x1000, 0x100), (0x1008, 0x5000), (0x5008, 0x9000), (0x8f00, 0)];
    assert_eq!(apply(row, REGS, &words), Err(StackEnd::NoReturnAddress));
}

#[test]
fn the_goroutine_that_calls_c() {
    // Its number lies 20 words in, its statement 200.
    let row = Row::go_calls_c(0, (0, 0), (20, 200));
    let told = |words: &[(u64, u64)]| {
        let whole = [(0x1000, 0x100), (0x1008, 0x5000), (0x5008, 0x9000), (0x8f00, 7)];
        let mut memory = Words(whole.iter().chain(words).copied().collect(), None);
        let mut regs = REGS;
        assert_eq!(step(&mut regs, row, &no_rows(), &mut memory), Ok(()));
        memory.1
    };
    assert_eq!(told(&[(0x50a0, 34), (0x5640, 0x77)]), Some((34, 0x77)));
    // `main` runs in the first one, which no statement created.
    assert_eq!(told(&[(0x50a0, 1), (0x5640, 0x77)]), Some((1, 0)));
    assert_eq!(told(&[]), Some((0, 0)));
}

#[test]
fn to_the_stack_that_go_came_from() {
    let row = Row::new(0, cfa::GO_CHANGES_STACK, 0, rbp::SAME, 0);
    assert_eq!(apply(row, REGS, &[(0x2000, 0x2100), (0x2008, 7)]), caller(7, 0x2010, 0x2100));
    // Below the stack as good as above.
    let regs = Regs { bp: 0x800, ..REGS };
    assert_eq!(apply(row, regs, &[(0x800, 0x900), (0x808, 7)]), caller(7, 0x810, 0x900));
    assert_eq!(apply(row, REGS, &[(0x2000, 0x2100)]), Err(StackEnd::ReadFault));
    assert_eq!(apply(row, REGS, &[(0x2000, 0x2100), (0x2008, 0)]), Err(StackEnd::NoReturnAddress));
}

#[test]
fn cfa_from_memory() {
    let row = Row::new(0, cfa::DEREF_RSP, Row::deref(34, 200), rbp::SAME, 0);
    assert_eq!(apply(row, REGS, &[(0x1110, 0x3000), (0x30c0, 7)]), caller(7, 0x30c8, 0x2000));
    let row = Row::new(0, cfa::DEREF_RSP, Row::deref(-128, 8), rbp::SAME, 0);
    assert_eq!(apply(row, REGS, &[(0xc00, 0x3000), (0x3000, 7)]), caller(7, 0x3008, 0x2000));
}

#[test]
fn lazy_binding_plt_before_and_after_its_push() {
    for (kind, threshold) in [(cfa::PLT11, 11), (cfa::PLT10, 10)] {
        let row = Row::new(0, kind, 0, rbp::SAME, 0);
        for offset in 0..16 {
            let regs = Regs { ip: 0x4560 + offset, ..REGS };
            let pushed = if offset >= threshold { 8 } else { 0 };
            let expected = caller(7, 0x1008 + pushed, 0x2000);
            assert_eq!(apply(row, regs, &[(0x1000 + pushed, 7)]), expected, "{offset}");
        }
    }
}

#[test]
fn signal_frame_restores_the_interrupted_registers() {
    let row = Row::new(0, cfa::SIGNAL, 0, rbp::SAME, 0);
    let words = [(0x1000 + 120, 0xb), (0x1000 + 160, 0x500), (0x1000 + 168, 0xa)];
    // An alternate stack may lie above the interrupted one.
    let expected = Regs { ip: 0xa, sp: 0x500, bp: 0xb, exact: 0x1028 };
    assert_eq!(apply(row, REGS, &words), Ok(expected));
    assert_eq!((expected.lookup_ip(), REGS.lookup_ip()), (0xa, 0x1234));
    assert_eq!(apply(row, REGS, &words[1..]), Err(StackEnd::ReadFault));
}

#[test]
fn ends() {
    let ends = [
        (Row::new(0, cfa::END_OF_STACK, 0, rbp::SAME, 0), StackEnd::Root),
        (Row::new(0, cfa::UNSUPPORTED, 0, rbp::SAME, 0), StackEnd::Unsupported),
        (Row::new(0, 0, 0, rbp::SAME, 0), StackEnd::Unsupported),
        // A wide rule that is not there.
        (Row::wide(0, 7), StackEnd::Unsupported),
        (Row::new(0, cfa::RSP, 0, rbp::SAME, 0), StackEnd::NotAbove),
        (Row::new(0, cfa::RSP, 1, rbp::SAME, 0), StackEnd::ReadFault),
        (Row::new(0, cfa::DEREF_RSP, 0, rbp::SAME, 0), StackEnd::ReadFault),
        (Row::new(0, cfa::RBP, 2, rbp::CFA, -2), StackEnd::ReadFault),
    ];
    for (row, end) in ends {
        assert_eq!(apply(row, REGS, &[]), Err(end), "{row:?}");
    }
    let row = Row::new(0, cfa::RSP, 1, rbp::SAME, 0);
    // Memory alone makes no root, whatever lies there.
    let zero = Err(StackEnd::NoReturnAddress);
    assert_eq!(apply(row, REGS, &[(0x1000, 0)]), zero);
    let row = Row::new(0, cfa::RBP, 2, rbp::CFA, -2);
    assert_eq!(apply(row, REGS, &[(0x2000, 0), (0x2008, 0)]), zero);
    let end = Row::new(0, cfa::NO_INFO, 0, rbp::SAME, 0);
    for saved in [0, 8] {
        assert_eq!(apply(end, REGS, &[(0x2000, saved), (0x2008, 0)]), zero);
    }
    let below = Regs { bp: 0x800, ..REGS };
    assert_eq!(apply(Row::new(0, cfa::RBP, 2, rbp::CFA, -2), below, &[]), Err(StackEnd::NotAbove));
}

#[test]
fn frame_pointers_are_believed_only_when_near_and_aligned() {
    let words = Words([(0x2000, 8), (0x2008, 7)].into(), None);
    let follow = |bp| {
        let mut regs = Regs { bp, ..REGS };
        let mut words = Words(words.0.clone(), None);
        step_frame_pointer(&mut regs, &mut words).map(|()| regs)
    };
    assert_eq!(follow(0x2000), caller(7, 0x2010, 8));
    assert_eq!(follow(0x2001), Err(StackEnd::NoRows));
    assert_eq!(follow(0xff8), Err(StackEnd::NoRows));
    assert_eq!(follow(0x1000 + (1 << 20)), Err(StackEnd::ReadFault));
    assert_eq!(follow(0x1000 + (1 << 20) + 8), Err(StackEnd::ReadFault));
    assert_eq!(follow(0x1000 + (1 << 32) + 8), Err(StackEnd::NoRows));
    // A row that says "no function here" does the same.
    let end = Row::new(0, cfa::NO_INFO, 0, rbp::SAME, 0);
    assert_eq!(apply(end, REGS, &[(0x2000, 8), (0x2008, 7)]), caller(7, 0x2010, 8));
}

#[test]
fn a_far_frame_pointer_is_believed_only_where_a_frame_lies() {
    const FAR: u64 = 0x1000 + (64 << 20);
    const RETURN: u64 = 0x40_1000;
    let follow = |bp, code: [u8; 8]| {
        let mut regs = Regs { bp: FAR, ..REGS };
        let words = [(FAR, bp), (FAR + 8, RETURN), (RETURN - 8, u64::from_le_bytes(code))];
        step_frame_pointer(&mut regs, &mut Words(words.into(), None)).map(|()| regs)
    };
    let calls = [
        [0, 0, 0, 0xe8, 1, 2, 3, 4],
        [0, 0, 0, 0, 0, 0, 0xff, 0xd0],
        [0, 0, 0, 0, 0, 0xff, 0x50, 8],
        [0, 0, 0, 0, 0xff, 0x54, 0x24, 8],
        [0, 0, 0xff, 0x15, 1, 2, 3, 4],
        [0, 0xff, 0x94, 0x24, 1, 2, 3, 4],
    ];
    for code in calls {
        assert_eq!(follow(FAR + 64, code), caller(RETURN, FAR + 16, FAR + 64), "{code:x?}");
        assert_eq!(follow(FAR, code), Err(StackEnd::NoRows), "no frame above");
    }
    for code in [[0; 8], [0xe8, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0xff, 0xe0]] {
        assert_eq!(follow(FAR + 64, code), Err(StackEnd::NoRows), "{code:x?} is no call");
    }
}

#[test]
fn no_input_overflows() {
    let extremes = [0, 1, 8, u64::MAX / 2, u64::MAX - 7, u64::MAX];
    struct Echo;
    impl ReadWord for Echo {
        fn word(&mut self, addr: u64) -> Option<u64> {
            Some(!addr)
        }
    }
    for kinds in 0..=u8::MAX {
        for (cfa_off, rbp_off) in [(0, 0), (u16::MAX, i8::MIN), (0x7fff, -1), (0x8000, i8::MAX)] {
            for (sp, bp) in extremes.iter().flat_map(|&a| extremes.iter().map(move |&b| (a, b))) {
                let mut regs = Regs { ip: sp ^ bp, sp, bp, exact: 0 };
                // Only that it returns matters.
                let _ = step(&mut regs, Row { pc: 0, cfa_off, kinds, rbp_off }, &no_rows(), &mut Echo);
            }
        }
    }
}

#[test]
fn lookup_without_rows() {
    let table = UnwindTable::new(10, 10);
    let mapping = leakscope_common::unwind::MappingEntry {
        start: 0x1000,
        end: 0x2000,
        bias: 0x1000,
        bucket_base: 0,
        buckets: 0,
    };
    assert_eq!(find_row(&table, &mapping, 5), None);
    assert_eq!(mapping.relative(0x1005), Some(5));
    assert_eq!(mapping.relative(0xfff), None);
    assert_eq!(mapping.relative(0x1000 + (1 << 32)), None);
    assert_eq!(build_from_sections(&[], 0).rows().len(), 1, "the row at 0");
}
